//! What an HTTP/1.1 server reads and writes.

use std::io;

use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{Script, Step};

/// A whole answer, after which the connection can be used again.
pub const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// The beginning of a response's head.
pub const HALF_A_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-";
/// The greeting of a mail server.
pub const GARBAGE: &str = "220 mail ready\r\n\r\n";
/// A response with less of a body than its head promises.
pub const HALF_A_BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
/// A chunked response without its last chunk.
pub const HALF_THE_CHUNKS: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
/// A chunked response with a chunk whose size is not a number.
pub const BAD_CHUNK_SIZE: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfour\r\nhalf\r\n";
/// A redirect to itself.
pub const REDIRECT: &str = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
/// An answer that says failure.
pub const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// An answer that says failure for good.
pub const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// Reads the request's head, writes this and closes the connection.
pub fn answer(bytes: &str) -> Script {
    vec![Step::ReadHead, Step::write(bytes)]
}

/// Reads a request up to the empty line after its head; its body, if any, stays unread.
pub(super) async fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(())
}
