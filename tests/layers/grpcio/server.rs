//! The server that both clients call: it follows the script of each case and writes down what it was
//! sent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::{
    framed,
    script::{Case, Step},
};

/// Which client's which call of which case it is.
type Key = (String, usize, usize);

/// What each attempt of a call said of how many there were before.
pub(super) type Attempts = Vec<Option<String>>;

#[derive(Clone)]
pub(super) struct Server {
    cases: Arc<Vec<Case>>,
    seen: Arc<Mutex<HashMap<Key, Attempts>>>,
}

impl Server {
    /// Serves at every address of this machine, of which there are enough for each client to have
    /// a name of its own for the server. Returns the port.
    pub(super) async fn start(cases: Arc<Vec<Case>>) -> (Self, u16) {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = Self {
            cases,
            seen: Arc::default(),
        };
        let this = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(this.clone().connection(stream));
            }
        });
        (server, port)
    }

    /// What was sent of a call.
    pub(super) fn attempts(&self, by: &str, case: usize, call: usize) -> Attempts {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (by.to_owned(), case, call);
        seen.get(&key).cloned().unwrap_or_default()
    }

    async fn connection(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            let this = self.clone();
            tokio::spawn(async move { this.attempt(request, respond).await });
        }
    }

    async fn attempt(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, mut stream) = request.into_parts();
        while let Some(Ok(data)) = stream.data().await {
            let _ = stream.flow_control().release_capacity(data.len());
        }
        let field = |name: &str| {
            let value = head.headers.get(name)?;
            Some(value.to_str().expect("a text").to_owned())
        };
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let by = field("case-by").expect("a client of ours");
        let call = number(&field("case-call").expect("the number of a call"));
        let service = head.uri.path().split('/').nth(1).expect("a service");
        let case = number(service.strip_prefix("case.Number").expect("a case"));
        let step = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let attempts = seen.entry((by, case, call)).or_default();
            attempts.push(field("grpc-previous-rpc-attempts"));
            let steps = &self.cases[case].calls[call].steps;
            steps.get(attempts.len() - 1).copied()
        };
        // A client that has gone is told in what it says.
        let _ = answer(step.unwrap_or(Step::Ok), &mut respond);
    }
}

fn answer(step: Step, respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    match step {
        Step::Ok => {
            head.headers_mut().insert("content-type", grpc);
            let mut stream = respond.send_response(head, false)?;
            stream.send_data(framed(b"pong"), false)?;
            stream.send_trailers(status(0, None))
        }
        Step::Fail {
            code,
            behind,
            pushback,
        } => {
            head.headers_mut().insert("content-type", grpc);
            if behind {
                let mut stream = respond.send_response(head, false)?;
                return stream.send_trailers(status(code, pushback));
            }
            head.headers_mut().extend(status(code, pushback));
            respond.send_response(head, true).map(drop)
        }
        Step::Http(status) => {
            *head.status_mut() = status.try_into().expect("a status");
            respond.send_response(head, true).map(drop)
        }
        Step::Reset(reason) => {
            respond.send_reset(reason);
            Ok(())
        }
    }
}

fn status(code: u8, pushback: Option<&'static str>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Some(value) = pushback {
        let value = HeaderValue::from_static(value);
        fields.insert("grpc-retry-pushback-ms", value);
    }
    fields
}
