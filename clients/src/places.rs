//! Places where no server is.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A name that no resolver can find: its first label is longer than the 63 octets that one may
/// have (RFC 1035, section 2.3.4), so that it is refused without a question to anybody.
pub const NO_SUCH_NAME: &str =
    "this-label-is-longer-than-the-sixty-three-octets-that-the-dns-allows.invalid";

/// An address that is kept as long as this lives.
#[derive(Debug)]
pub struct Place {
    address: SocketAddr,
    _socket: Kept,
}

#[derive(Debug)]
#[allow(dead_code, reason = "kept for their drop")]
enum Kept {
    Bound(TcpSocket),
    Full(TcpListener, Vec<TcpStream>),
}

impl Place {
    /// A port that refuses every connection. It is bound, so that nobody else gets it.
    pub fn closed() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        Self {
            address: socket.local_addr().expect("bound"),
            _socket: Kept::Bound(socket),
        }
    }

    /// A port on which nobody answers: its queue is full, so that the system drops every further
    /// attempt to connect.
    pub async fn unanswered() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(1).expect("listening");
        let address = listener.local_addr().expect("bound");
        let mut waiting = Vec::new();
        // The system rounds the length of a queue up, so it is filled until one has to wait.
        while let Ok(Ok(stream)) = tokio::time::timeout(
            std::time::Duration::from_millis(50),
            TcpStream::connect(address),
        )
        .await
        {
            waiting.push(stream);
            assert!(waiting.len() < 64, "the queue is never full");
        }
        Self {
            address,
            _socket: Kept::Full(listener, waiting),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
