//! What a proxy says to CONNECT, through hyper-util's own tunnel, on sockets.
//!
//! A tunnel that is not there has carried nothing: that is proved by the client's `is_connect()`,
//! whatever the proxy said. Whether it makes sense to ask the proxy again is another question. Of
//! an answer that is neither 200 nor 407 hyper-util keeps nothing at all: 403 and 502 are the same
//! error, so that they are asked again, as often as `connect` allows.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, proxy::Tunnel},
    },
    rt::TokioExecutor,
};
use test_support::net;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    RetryError, RetryLayer,
    classify::{Cause, FailureKind, Sent, classify},
    policy::RetryPolicy,
};

const RETRIES: u32 = 2;

/// What the proxy does once it has read a CONNECT.
#[derive(Clone, Copy, Debug)]
enum Proxy {
    Says(&'static str),
    /// More head than hyper-util reads.
    NeverEnds,
    Resets,
    /// The tunnel is there, and breaks when the request has gone through it.
    BreaksTheTunnel,
}

#[derive(Debug, Default)]
struct Seen {
    connects: AtomicU32,
    requests: AtomicU32,
}

impl Proxy {
    async fn start(self) -> (SocketAddr, Arc<Seen>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen::default());
        let told = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.play(stream, Arc::clone(&told)));
            }
        });
        (addr, seen)
    }

    async fn play(self, mut stream: TcpStream, seen: Arc<Seen>) {
        let head = read_head(&mut stream).await;
        assert!(
            head.starts_with("CONNECT origin.test:443 HTTP/1.1"),
            "{head}"
        );
        seen.connects.fetch_add(1, Relaxed);
        // The client may be gone before all is written.
        match self {
            Self::Says(answer) => {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            Self::NeverEnds => {
                let line = format!("X-Line: {}\r\n", "x".repeat(1000));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
                while stream.write_all(line.as_bytes()).await.is_ok() {}
            }
            Self::Resets => net::reset(stream).expect("a socket"),
            Self::BreaksTheTunnel => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                if read_head(&mut stream).await.starts_with("POST ") {
                    seen.requests.fetch_add(1, Relaxed);
                }
                net::reset(stream).expect("a socket");
            }
        }
    }
}

/// Reads up to the end of a head, or of the stream.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A POST through such a proxy, with the default policy.
async fn post(proxy: Proxy) -> (Arc<Seen>, RetryError) {
    let (addr, seen) = proxy.start().await;
    let tunnel = Tunnel::new(net::uri(addr, "/"), HttpConnector::new());
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(tunnel);
    let policy = RetryPolicy::builder()
        .connect(RETRIES)
        .backoff_factor(0.0)
        .budget(None);
    let layer = RetryLayer::new(policy.build().expect("valid"));
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://origin.test:443/pay");
    let request = request.body(Full::from("12.50")).expect("valid");
    let result = layer.layer(client).oneshot(request).await;
    (seen, result.expect_err("there is no tunnel"))
}

#[tokio::test]
async fn a_tunnel_that_a_proxy_refuses_has_carried_nothing_and_other_credentials_are_not_guessed() {
    // What comes before the colon is all that hyper-util tells of it.
    for (proxy, cause, asked_again) in [
        (
            Proxy::Says("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            Cause::ProxyAuthentication,
            false,
        ),
        (
            Proxy::Says("HTTP/1.1 403 Forbidden\r\n\r\n"),
            Cause::ConnectOther,
            true,
        ),
        (
            Proxy::Says("HTTP/1.1 502 Bad Gateway\r\n\r\n"),
            Cause::ConnectOther,
            true,
        ),
        (
            Proxy::Says("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            Cause::ConnectOther,
            true,
        ),
        (
            Proxy::Says("HTTP/1.1 504 Gateway Timeout\r\n\r\n"),
            Cause::ConnectOther,
            true,
        ),
        // Successes that open no tunnel for hyper-util.
        (
            Proxy::Says("HTTP/1.1 204 No Content\r\n\r\n"),
            Cause::ConnectOther,
            true,
        ),
        (
            Proxy::Says("220 mail ready\r\n\r\n"),
            Cause::ConnectOther,
            true,
        ),
        (Proxy::Says("HTTP/1.1 200 O"), Cause::ConnectOther, true),
        (Proxy::Says(""), Cause::ConnectOther, true),
        (Proxy::NeverEnds, Cause::ConnectOther, true),
        (Proxy::Resets, Cause::ConnectReset, true),
    ] {
        let (seen, error) = post(proxy).await;
        let source = std::error::Error::source(&error).expect("the client's error");
        let failure = classify(source);
        assert_eq!(
            (failure.cause, failure.sent),
            (cause, Sent::Never),
            "{proxy:?}: {error}"
        );
        let (attempts, stop) = if asked_again {
            assert_eq!(failure.kind, FailureKind::Connect, "{proxy:?}");
            (1 + RETRIES, "count_exhausted")
        } else {
            (1, "not_transient")
        };
        assert_eq!(seen.connects.load(Relaxed), attempts, "{proxy:?}: {error}");
        assert_eq!(error.report().stop.name(), stop, "{proxy:?}");
        assert_eq!(error.report().effects(), 0..=0, "{proxy:?}");
        assert_eq!(seen.requests.load(Relaxed), 0);
    }
}

#[tokio::test]
async fn a_tunnel_that_breaks_behind_the_request_may_have_carried_it() {
    let (seen, error) = post(Proxy::BreaksTheTunnel).await;
    assert_eq!(seen.requests.load(Relaxed), 1, "{error}");
    assert_eq!(error.report().effects(), 0..=1);
}
