//! Every way in which a request can fail, produced for real, and what it is called.
//!
//! With it goes what each preset makes of it, for a `GET` and for a `POST`.
//!
//! One test for each row; the rows' order is that of a request's way: connecting, TLS, the
//! request itself, HTTP/1.1 up to the response's head and after it, HTTP/2, the pool, the layers
//! above the client, and reqwest on top of it.
#![cfg(all(feature = "hyper", feature = "h2", feature = "tower"))]

use std::{convert::Infallible, error::Error, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioTimer,
};
use tokio::{net::TcpStream, sync::Notify};
use tokio_test::{assert_pending, task};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::timeout::{ResponseBodyTimeoutLayer, TimeoutBody, TimeoutLayer};
use tower_http_retry::{
    BoxError,
    classify::{Cause, Failure, FailureKind, Outcome, Sent, chain, classify},
    policy::{Attempt, Decision, LimitKind, Policy, RetryPolicy, Session, StopReason, WaitReason},
};

use test_support::net::{
    self, Refused, Saturated, Script, Server, Step,
    client::{self, Body, OwnError, get, get_in, post, post_parts},
    http1, http2,
    tls::{self, Identity},
};

/// What a policy does after the first attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// It sends the request again at once, outside of the counts.
    Again,
    /// It sends the request again and charges this limit.
    Retry(LimitKind),
    /// It stops, because the request may have been applied and its method is not idempotent.
    Method,
    /// It stops, because the status is not in its list.
    Status,
    /// It stops, because the failure is there to stay.
    Permanent,
}

/// What is known of all failures of a class, and what the presets make of them for a `GET` and for
/// a `POST`.
///
/// The verdicts follow from the rules of the crate and of urllib3: a connect failure is repeated
/// for every method; a read failure for idempotent ones; another one like a read failure, but
/// under urllib3 for every method; and what was certainly never processed is no retry at all, but
/// under urllib3 a connect failure.
struct Class {
    kind: FailureKind,
    sent: Sent,
    default: [Verdict; 2],
    urllib3: [Verdict; 2],
}

use Verdict::{Again, Method as NotThisMethod, Permanent, Retry, Status as NotThisStatus};

/// Nothing of the request was sent.
const NEVER_SENT: Class = Class {
    kind: FailureKind::Connect,
    sent: Sent::Never,
    default: [Retry(LimitKind::Connect); 2],
    urllib3: [Retry(LimitKind::Connect); 2],
};

/// The request came back from the pool as it went in.
const CANCELED: Class = Class {
    default: [Again; 2],
    ..NEVER_SENT
};

/// The server says that it did not process the request.
const REFUSED: Class = Class {
    sent: Sent::Unprocessed,
    ..CANCELED
};

/// The request may have been applied.
const AMBIGUOUS: Class = Class {
    kind: FailureKind::Read,
    sent: Sent::Unknown,
    default: [Retry(LimitKind::Read), NotThisMethod],
    urllib3: [Retry(LimitKind::Read), NotThisMethod],
};

/// The server has begun to answer.
const ANSWERED: Class = Class {
    sent: Sent::Answered,
    ..AMBIGUOUS
};

/// Nothing is known.
const UNKNOWN: Class = Class {
    kind: FailureKind::Other,
    default: [Retry(LimitKind::Other), NotThisMethod],
    urllib3: [Retry(LimitKind::Other); 2],
    ..AMBIGUOUS
};

/// The server, or what it speaks, is not to be trusted; urllib3 tries again all the same.
const UNTRUSTED: Class = Class {
    sent: Sent::Never,
    default: [Permanent; 2],
    ..UNKNOWN
};

/// The server does not trust the client, and may say so late.
const UNWELCOME: Class = Class {
    sent: Sent::Unknown,
    ..UNTRUSTED
};

/// reqwest cannot make a request of it.
#[cfg(feature = "reqwest")]
const NOT_A_REQUEST: Class = MISTAKEN;

/// The server wants an older version; urllib3 tries again all the same.
const OUTDATED: Class = Class {
    default: [Permanent; 2],
    ..AMBIGUOUS
};

/// A mistake in the request keeps it from being sent.
const IMPOSSIBLE: Class = Class {
    kind: FailureKind::Other,
    sent: Sent::Never,
    default: [Permanent; 2],
    urllib3: [Permanent; 2],
};

/// A mistake in the request, of which the server may have seen a part.
const MISTAKEN: Class = Class {
    sent: Sent::Unknown,
    ..IMPOSSIBLE
};

/// The server has answered with a status that the default policy lists; urllib3's lists none.
#[cfg(feature = "reqwest")]
const LISTED: Class = Class {
    kind: FailureKind::Status,
    sent: Sent::Answered,
    default: [Retry(LimitKind::Status), NotThisMethod],
    urllib3: [NotThisStatus; 2],
};

/// The server has answered with a status that no policy lists.
#[cfg(feature = "reqwest")]
const NOT_LISTED: Class = Class {
    default: [NotThisStatus; 2],
    ..LISTED
};

/// The server has answered with a dead end.
#[cfg(feature = "reqwest")]
const DEAD_END: Class = Class {
    sent: Sent::Answered,
    ..IMPOSSIBLE
};

/// Asserts that `error` is classified as this cause, with all that follows from it.
#[track_caller]
fn assert_row(error: &(dyn Error + 'static), cause: Cause, class: &Class) {
    let failure = classify(error);
    let chain = chain(error);
    assert_eq!(failure, Failure::new(cause, class.sent), "{chain}");
    assert_eq!(failure.kind, class.kind, "{chain}");
    for (policy, verdicts) in [
        (RetryPolicy::default(), class.default),
        (RetryPolicy::urllib3(), class.urllib3),
    ] {
        for (method, expected) in [Method::GET, Method::POST].into_iter().zip(verdicts) {
            let verdict = verdict(&policy, &method, failure, error);
            assert_eq!(verdict, expected, "{method} under {policy:?}: {chain}");
        }
    }
}

/// What the policy does when the first attempt of a request fails like this.
fn verdict(
    policy: &RetryPolicy,
    method: &Method,
    failure: Failure,
    error: &(dyn Error + 'static),
) -> Verdict {
    let (head, ()) = Request::builder()
        .method(method)
        .body(())
        .unwrap()
        .into_parts();
    let error = Some(error);
    let attempt = Attempt::new(1, method, Outcome::Error { failure, error });
    match policy.session(&(&head).into()).decide(&attempt) {
        Decision::Retry(retry) => match retry.charged {
            Some(kind) => Retry(kind),
            None => {
                assert_eq!(retry.why, WaitReason::NeverProcessed);
                assert!(retry.wait.is_zero());
                Again
            }
        },
        Decision::Stop(stop) => match stop.reason {
            StopReason::MethodNotAllowed { method: named } if named == method => NotThisMethod,
            StopReason::StatusNotListed { .. } => NotThisStatus,
            StopReason::NotTransient { cause } if cause == failure.cause => Permanent,
            reason => panic!("{method} stopped: {reason}"),
        },
        decision => panic!("{method}: {decision:?}"),
    }
}

/// Sends a `GET` over HTTP/1.1 to a server with this script.
async fn http1_error(script: Script) -> BoxError {
    let server = Server::playing(script).await;
    let request = get(server.uri("/"));
    client::http1().request(request).await.unwrap_err().into()
}

/// Reads the body of a response, over HTTP/1.1, from a server that answers this.
async fn http1_body_error(answer: &str) -> BoxError {
    let server = Server::playing(http1::answer(answer)).await;
    let response = client::http1().request(get(server.uri("/"))).await;
    response
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap_err()
        .into()
}

/// Sends a `GET` over HTTP/2 to a server with this script.
async fn http2_error(script: Script) -> BoxError {
    let server = Server::playing(script).await;
    let request = get(server.uri("/"));
    client::http2().request(request).await.unwrap_err().into()
}

/// Reads the body of a response, over HTTP/2, from a server that breaks its stream off.
async fn http2_body_error(code: u32) -> BoxError {
    let frames = [
        http2::head(1),
        http2::data(1, b"half"),
        http2::rst_stream(1, code),
    ];
    let server = Server::playing(http2::answer(&frames)).await;
    let response = client::http2().request(get(server.uri("/"))).await;
    response
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap_err()
        .into()
}

/// Sends a `GET` over TLS to a server.
async fn tls_error(server: &Server, trusted: &Identity) -> BoxError {
    let uri = format!("https://localhost:{}/", server.addr().port());
    let client = client::https(tls::trusting(trusted));
    client
        .request(get(uri.parse().unwrap()))
        .await
        .unwrap_err()
        .into()
}

/// Sends a `GET` to a server whose connection is gone before the client sees that it is made: the
/// runtime does not run in between.
fn hurried_error(end: impl FnOnce(std::net::TcpStream)) -> BoxError {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = net::uri(listener.local_addr().unwrap(), "/");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut response = task::spawn(client::http1().request(get(uri)));
        assert_pending!(response.poll());
        let (accepted, _) = listener.accept().unwrap();
        end(accepted);
        response.await.unwrap_err().into()
    })
}

mod connecting {
    use super::*;

    #[tokio::test]
    async fn refused() {
        let port = Refused::new();
        let error = client::http1().request(get(port.uri("/"))).await;
        assert_row(&error.unwrap_err(), Cause::ConnectionRefused, &NEVER_SENT);
    }

    /// The resolver fails in place of the network, with the error that the system's has.
    #[tokio::test]
    async fn name_not_resolved() {
        let resolver = service_fn(|_| async {
            Err::<std::vec::IntoIter<std::net::SocketAddr>, _>(io::Error::other(
                "failed to lookup address information: Name or service not known",
            ))
        });
        let client = client::builder().build(HttpConnector::new_with_resolver(resolver));
        let error = client.request(get("http://name.invalid/".parse().unwrap()));
        assert_row(&error.await.unwrap_err(), Cause::Dns, &NEVER_SENT);
    }

    #[tokio::test]
    async fn timed_out() {
        let port = Saturated::new();
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(20)));
        let client = client::builder().build(connector);
        let error = client.request(get(port.uri("/"))).await.unwrap_err();
        assert_row(&error, Cause::ConnectTimeout, &NEVER_SENT);
    }

    /// A tower timeout in the connector, as reqwest has it.
    #[tokio::test]
    async fn timed_out_in_a_layer_of_the_connector() {
        let port = Saturated::new();
        let connector = ServiceBuilder::new()
            .map_future(Box::pin)
            .timeout(Duration::from_millis(20))
            .service(HttpConnector::new());
        let client = client::builder().build(connector);
        let error = client.request(get(port.uri("/"))).await.unwrap_err();
        assert_row(&error, Cause::ConnectTimeout, &NEVER_SENT);
    }

    #[test]
    fn reset() {
        let error = hurried_error(|stream| {
            stream.set_nonblocking(true).unwrap();
            net::reset(TcpStream::from_std(stream).unwrap()).unwrap();
        });
        assert_row(&*error, Cause::ConnectReset, &NEVER_SENT);
    }

    /// That a connection is closed is seen by reading from it, which HTTP does: the error looks
    /// like one that follows a request, but names no connection that had one.
    #[test]
    fn closed() {
        let error = hurried_error(drop);
        assert_row(&*error, Cause::ConnectReset, &NEVER_SENT);
        let error: &hyper_util::client::legacy::Error = error.downcast_ref().unwrap();
        assert!(!error.is_connect() && error.connect_info().is_none());
    }

    /// Without such care a reset meets the client anywhere between its connect and its wait for
    /// the answer, most often when the request waits for the connection to take it.
    #[tokio::test]
    async fn reset_at_any_time() {
        for _ in 0..50 {
            let error = http1_error(vec![Step::Reset]).await;
            let cause = classify(&*error).cause;
            match cause {
                Cause::ConnectReset => assert_row(&*error, cause, &NEVER_SENT),
                Cause::ConnectionReset => assert_row(&*error, cause, &AMBIGUOUS),
                _ => panic!("{cause:?}: {}", chain(&*error)),
            }
        }
    }

    /// Two requests wait for the same HTTP/2 connection, which only one of them makes.
    #[tokio::test]
    async fn refused_to_another_request() {
        let port = Refused::new();
        for retry in [true, false] {
            let client: Client<_, Body> = client::builder()
                .http2_only(true)
                .retry_canceled_requests(retry)
                .build_http();
            let [mut first, mut second] =
                [0; 2].map(|_| task::spawn(client.request(get(port.uri("/")))));
            assert_pending!(first.poll());
            assert_pending!(second.poll());
            let error = first.await.unwrap_err();
            assert_row(&error, Cause::ConnectionRefused, &NEVER_SENT);
            let error = second.await.unwrap_err();
            assert_row(&error, Cause::ConnectOther, &NEVER_SENT);
        }
    }

    #[tokio::test]
    async fn scheme_not_supported() {
        let uri = "https://127.0.0.1:1/".parse().unwrap();
        let error = client::http1().request(get(uri)).await.unwrap_err();
        assert_row(&error, Cause::UnsupportedScheme, &IMPOSSIBLE);
    }

    #[tokio::test]
    async fn scheme_not_supported_by_the_tls_connector() {
        let client = client::https(tls::trusting(&Identity::new()));
        let request = get("ftp://localhost/".parse().unwrap());
        let error = client.request(request).await.unwrap_err();
        assert_row(&error, Cause::UnsupportedScheme, &IMPOSSIBLE);
    }
}

mod tls_handshake {
    use super::*;

    #[tokio::test]
    async fn certificate_not_trusted() {
        let server = tls::server(&Identity::new()).await;
        let error = tls_error(&server, &Identity::new()).await;
        assert_row(&*error, Cause::Certificate, &UNTRUSTED);
    }

    #[tokio::test]
    async fn certificate_for_another_name() {
        let identity = Identity::new();
        let server = tls::server(&identity).await;
        let uri = format!("https://{}/", server.addr()).parse().unwrap();
        let client = client::https(tls::trusting(&identity));
        let error = client.request(get(uri)).await.unwrap_err();
        assert_row(&error, Cause::Certificate, &UNTRUSTED);
    }

    #[tokio::test]
    async fn peer_speaks_plaintext() {
        let script = vec![Step::ReadByte, Step::write(http1::ANSWER)];
        let error = tls_error(&Server::playing(script).await, &Identity::new()).await;
        assert_row(&*error, Cause::TlsProtocol, &UNTRUSTED);
    }

    #[tokio::test]
    async fn closed() {
        let server = Server::playing(vec![Step::ReadByte]).await;
        let error = tls_error(&server, &Identity::new()).await;
        assert_row(&*error, Cause::TlsHandshake, &NEVER_SENT);
    }

    #[tokio::test]
    async fn reset() {
        let server = Server::playing(vec![Step::ReadByte, Step::Reset]).await;
        let error = tls_error(&server, &Identity::new()).await;
        assert_row(&*error, Cause::ConnectReset, &NEVER_SENT);
    }

    /// With TLS 1.3 the server's refusal comes when the client's part of the handshake is done.
    #[tokio::test]
    async fn client_certificate_missing() {
        let identity = Identity::new();
        let server = tls::server_for_known_clients(&identity).await;
        let error = tls_error(&server, &identity).await;
        assert_row(&*error, Cause::ClientCertificate, &UNWELCOME);
    }
}

mod request {
    use super::*;

    #[tokio::test]
    async fn uri_is_relative() {
        let error = client::http1().request(get("/".parse().unwrap())).await;
        assert_row(&error.unwrap_err(), Cause::InvalidUri, &IMPOSSIBLE);
    }

    #[tokio::test]
    async fn version_is_not_supported() {
        let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
        for version in [Version::HTTP_09, Version::HTTP_2] {
            let request = get_in(version, server.uri("/"));
            let error = client::http1().request(request).await.unwrap_err();
            assert_row(&error, Cause::UnsupportedVersion, &IMPOSSIBLE);
        }
    }

    #[tokio::test]
    async fn body_fails() {
        let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
        let frames = stream::iter([Ok(Bytes::from("half")), Err(OwnError.into())]);
        let request = post_parts(server.uri("/"), frames);
        let error = client::http1().request(request).await.unwrap_err();
        assert_row(&error, Cause::RequestBody, &MISTAKEN);
    }

    /// Whatever the body says of itself: here it is one that came over a connection of its own.
    #[tokio::test]
    async fn body_fails_with_an_io_error() {
        let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
        let failure = io::Error::from(io::ErrorKind::ConnectionRefused);
        let frames = stream::iter([Ok(Bytes::from("half")), Err(failure.into())]);
        let request = post_parts(server.uri("/"), frames);
        let error = client::http1().request(request).await.unwrap_err();
        assert_row(&error, Cause::RequestBody, &MISTAKEN);
    }

    /// Over HTTP/2, hyper keeps the body's error to itself and resets the stream.
    #[tokio::test]
    async fn body_fails_over_http2() {
        let server = Server::playing(http2::answer(&[])).await;
        let frames = stream::iter([Ok(Bytes::from("half")), Err(OwnError.into())]);
        let request = post_parts(server.uri("/"), frames);
        let error = client::http2().request(request).await.unwrap_err();
        assert_row(&error, Cause::RequestBody, &MISTAKEN);
    }
}

mod before_the_response {
    use super::*;

    #[tokio::test]
    async fn closed() {
        let error = http1_error(http1::answer("")).await;
        assert_row(&*error, Cause::IncompleteMessage, &AMBIGUOUS);
    }

    /// The server did answer, but the error is the same.
    #[tokio::test]
    async fn closed_in_the_head() {
        let error = http1_error(http1::answer(http1::HALF_A_HEAD)).await;
        assert_row(&*error, Cause::IncompleteMessage, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn reset() {
        let error = http1_error(vec![Step::ReadHead, Step::Reset]).await;
        assert_row(&*error, Cause::ConnectionReset, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn reset_while_the_body_was_sent() {
        let server = Server::playing(vec![Step::ReadHead, Step::ReadByte, Step::Reset]).await;
        // More than the buffers of a socket hold, so that the client is still writing.
        let endless = stream::repeat(Bytes::from(vec![0; 1 << 16])).map(Ok);
        let request = post_parts(server.uri("/"), endless);
        let error = client::http1().request(request).await.unwrap_err();
        assert_row(&error, Cause::ConnectionReset, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn not_http() {
        let error = http1_error(http1::answer(http1::GARBAGE)).await;
        assert_row(&*error, Cause::InvalidResponse, &ANSWERED);
    }

    /// The runtime that the client's connections live in shuts down.
    #[test]
    fn dispatch_task_gone() {
        #[derive(Clone)]
        struct Elsewhere(tokio::runtime::Handle);

        impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Elsewhere {
            fn execute(&self, future: F) {
                self.0.spawn(future);
            }
        }

        let new_runtime = || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap()
        };
        let (runtime, elsewhere) = (new_runtime(), new_runtime());
        let executor = Elsewhere(elsewhere.handle().clone());
        let error = runtime.block_on(async {
            let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
            let client = hyper_util::client::legacy::Client::builder(executor).build_http();
            let response = tokio::spawn(client.request(get(server.uri("/"))));
            server.head_received().await;
            elsewhere.shutdown_background();
            response.await.unwrap().unwrap_err()
        });
        assert_row(&error, Cause::DispatchGone, &AMBIGUOUS);
    }
}

mod in_the_response_body {
    use super::{http2::code, *};

    #[tokio::test]
    async fn reset() {
        let read = Arc::new(Notify::new());
        let mut script = http1::answer(http1::HALF_A_BODY);
        // An RST overtakes what was not read yet.
        script.extend([Step::Wait(Arc::clone(&read)), Step::Reset]);
        let server = Server::playing(script).await;
        let response = client::http1().request(get(server.uri("/"))).await;
        let mut body = response.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        read.notify_one();
        let error = body.frame().await.unwrap().unwrap_err();
        assert_row(&error, Cause::ResponseBody, &ANSWERED);
    }

    #[tokio::test]
    async fn shorter_than_its_length() {
        let error = http1_body_error(http1::HALF_A_BODY).await;
        assert_row(&*error, Cause::ResponseBody, &ANSWERED);
    }

    #[tokio::test]
    async fn closed_between_chunks() {
        let error = http1_body_error(http1::HALF_THE_CHUNKS).await;
        assert_row(&*error, Cause::ResponseBody, &ANSWERED);
    }

    #[tokio::test]
    async fn chunk_size_is_no_number() {
        let error = http1_body_error(http1::BAD_CHUNK_SIZE).await;
        assert_row(&*error, Cause::InvalidResponse, &ANSWERED);
    }

    #[tokio::test]
    async fn stream_reset() {
        let error = http2_body_error(code::INTERNAL_ERROR).await;
        assert_row(&*error, Cause::ResponseBody, &ANSWERED);
    }

    /// A server that has begun to answer cannot refuse any more.
    #[tokio::test]
    async fn stream_refused() {
        let error = http2_body_error(code::REFUSED_STREAM).await;
        assert_row(&*error, Cause::ResponseBody, &ANSWERED);
    }
}

mod over_http2 {
    use super::{http2::code, *};

    /// The error of a request whose stream is reset with this code.
    async fn reset(code: u32) -> BoxError {
        http2_error(http2::answer(&[http2::rst_stream(1, code)])).await
    }

    /// The error of a request which this `GOAWAY` says was not processed.
    async fn goaway(code: u32) -> BoxError {
        http2_error(http2::answer(&[http2::goaway(0, code)])).await
    }

    #[tokio::test]
    async fn stream_refused() {
        let error = reset(code::REFUSED_STREAM).await;
        assert_row(&*error, Cause::RefusedStream, &REFUSED);
    }

    #[tokio::test]
    async fn stream_reset() {
        let error = reset(code::INTERNAL_ERROR).await;
        assert_row(&*error, Cause::Http2(code::INTERNAL_ERROR), &AMBIGUOUS);
    }

    #[tokio::test]
    async fn goaway_before_the_request() {
        let error = goaway(code::NO_ERROR).await;
        assert_row(&*error, Cause::GoAway, &REFUSED);
    }

    /// Whatever the code: what is above the last stream was not processed (RFC 9113, section 6.8).
    #[tokio::test]
    async fn goaway_with_an_error() {
        for code in (1..0xd).filter(|code| *code != code::ENHANCE_YOUR_CALM) {
            let error = goaway(code).await;
            assert_row(&*error, Cause::Http2(code), &REFUSED);
        }
    }

    #[tokio::test]
    async fn throttled() {
        let error = goaway(code::ENHANCE_YOUR_CALM).await;
        assert_row(&*error, Cause::EnhanceYourCalm, &REFUSED);
        let error = reset(code::ENHANCE_YOUR_CALM).await;
        assert_row(&*error, Cause::EnhanceYourCalm, &AMBIGUOUS);
    }

    /// The server would answer the same over HTTP/2 again.
    #[tokio::test]
    async fn http_1_1_required() {
        let error = reset(0xd).await;
        assert_row(&*error, Cause::Http2(0xd), &OUTDATED);
        let failure = classify(&*goaway(0xd).await);
        assert_eq!(failure, Failure::new(Cause::Http2(0xd), Sent::Unprocessed));
        assert!(failure.cause.is_permanent() && !failure.is_unprocessed());
    }

    /// That there was a `GOAWAY` does not show in the error.
    #[tokio::test]
    async fn closed_after_a_goaway_that_owed_an_answer() {
        let goaway = http2::goaway(1, code::NO_ERROR);
        let error = http2_error(http2::answer_and_close(&[goaway])).await;
        assert_row(&*error, Cause::BrokenPipe, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn closed() {
        let error = http2_error(http2::answer_and_close(&[])).await;
        assert_row(&*error, Cause::BrokenPipe, &AMBIGUOUS);
    }

    /// Which of the two, depends on whether reading or writing comes first.
    #[tokio::test]
    async fn connection_reset() {
        let error = http2_error(vec![Step::OpenHttp2, Step::Reset]).await;
        let cause = classify(&*error).cause;
        assert!(matches!(cause, Cause::ConnectionReset | Cause::BrokenPipe));
        assert_row(&*error, cause, &AMBIGUOUS);
    }

    /// A keep-alive ping is not answered.
    #[tokio::test(start_paused = true)]
    async fn connection_dead() {
        let server = Server::playing(http2::answer(&[])).await;
        let client: Client<_, Body> = client::builder()
            .timer(TokioTimer::new())
            .http2_only(true)
            .http2_keep_alive_interval(Duration::from_secs(1))
            .http2_keep_alive_timeout(Duration::from_secs(1))
            .build_http();
        let error = client.request(get(server.uri("/"))).await.unwrap_err();
        assert_row(&error, Cause::Timeout, &AMBIGUOUS);
    }
}

mod in_the_pool {
    use super::*;

    /// The server closes a connection that the client has kept, and the client learns that when
    /// it has chosen that connection for the next request.
    ///
    /// When it learns it is decided by how often its runtime looks at the socket in between, so
    /// that every number of looks is tried until the right one is found.
    #[tokio::test]
    async fn canceled() {
        for looks in 0..10 {
            let close = Arc::new(Notify::new());
            let mut script = http1::answer(http1::ANSWER);
            script.push(Step::Wait(Arc::clone(&close)));
            let server = Server::playing(script).await;
            let client: Client<_, Body> = client::builder()
                .retry_canceled_requests(false)
                .build_http();

            let response = client.request(get(server.uri("/"))).await.unwrap();
            response.into_body().collect().await.unwrap();
            // The connection goes back to the pool.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            close.notify_one();
            for _ in 0..looks {
                tokio::task::yield_now().await;
            }
            let Err(error) = client.request(get(server.uri("/"))).await else {
                continue;
            };
            if classify(&error).cause == Cause::Canceled {
                assert_row(&error, Cause::Canceled, &CANCELED);
                return;
            }
        }
        panic!("the client never chose a connection that was closed");
    }
}

mod in_layers {
    use super::*;

    fn never(_: Request<Body>) -> impl Future<Output = Result<Response<Body>, Infallible>> {
        std::future::pending()
    }

    #[tokio::test(start_paused = true)]
    async fn timed_out() {
        let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
        let service = ServiceBuilder::new()
            .timeout(Duration::from_secs(1))
            .service(client::http1());
        let error = service.oneshot(get(server.uri("/"))).await.unwrap_err();
        assert_row(&*error, Cause::Timeout, &AMBIGUOUS);
    }

    #[tokio::test(start_paused = true)]
    async fn timed_out_below_a_buffer() {
        let service = ServiceBuilder::new()
            .buffer(1)
            .timeout(Duration::from_secs(1))
            .service_fn(never);
        let error = service.oneshot(get(any_uri())).await.unwrap_err();
        assert_row(&*error, Cause::Timeout, &AMBIGUOUS);
    }

    /// How a layer of the user's own will do it.
    #[tokio::test(start_paused = true)]
    async fn timed_out_by_tokio() {
        let error = tokio::time::timeout(Duration::from_secs(1), never(get(any_uri())))
            .await
            .unwrap_err();
        assert_row(&error, Cause::Timeout, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn overloaded() {
        let service = ServiceBuilder::new()
            .load_shed()
            .concurrency_limit(0)
            .service_fn(never);
        let error = service.oneshot(get(any_uri())).await.unwrap_err();
        assert_row(&*error, Cause::Overloaded, &NEVER_SENT);
    }

    /// tower-http's `Timeout` answers in the server's place: there is no error to classify.
    #[tokio::test(start_paused = true)]
    async fn timed_out_with_a_response() {
        let timeout = Duration::from_secs(1);
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::with_status_code(
                StatusCode::GATEWAY_TIMEOUT,
                timeout,
            ))
            .service_fn(never);
        let response = service.oneshot(get(any_uri())).await.unwrap();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn response_body_timed_out() {
        let script = vec![
            Step::ReadHead,
            Step::write(http1::HALF_A_BODY),
            Step::Silence,
        ];
        let server = Server::playing(script).await;
        let service = ServiceBuilder::new()
            .layer(ResponseBodyTimeoutLayer::new(Duration::from_secs(1)))
            .service(client::http1());
        let response = service.oneshot(get(server.uri("/"))).await.unwrap();
        let error = response.into_body().collect().await.unwrap_err();
        assert_row(&*error, Cause::Timeout, &AMBIGUOUS);
    }

    /// The request's own body was too slow.
    #[tokio::test(start_paused = true)]
    async fn request_body_timed_out() {
        let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let request = post(
            server.uri("/"),
            TimeoutBody::new(Duration::from_secs(1), body),
        );
        let error = client::http1().request(request).await.unwrap_err();
        assert_row(&error, Cause::RequestBody, &MISTAKEN);
    }

    /// An error of the user's own service.
    #[tokio::test]
    async fn unknown() {
        assert_row(&OwnError, Cause::Unknown, &UNKNOWN);
    }

    fn any_uri() -> Uri {
        Uri::from_static("http://127.0.0.1/")
    }
}

#[cfg(feature = "reqwest")]
mod in_reqwest {
    use tower_http_retry::reqwest::ReqwestService;

    use super::*;

    fn client() -> reqwest::ClientBuilder {
        reqwest::Client::builder().no_proxy()
    }

    /// Sends a `GET` to a server with this script, as reqwest does it by itself.
    async fn error(client: reqwest::ClientBuilder, script: Script) -> reqwest::Error {
        let server = Server::playing(script).await;
        let client = client.build().unwrap();
        read(&client, server.uri("/")).await.unwrap_err()
    }

    async fn read(client: &reqwest::Client, uri: Uri) -> reqwest::Result<Bytes> {
        let response = client.get(uri.to_string()).send().await?;
        response.error_for_status()?.bytes().await
    }

    /// Sends a `GET` with a client that sends no more than that, and with one that might; what is
    /// proved by the first one's error is not by the second one's.
    async fn assert_rows(client: fn() -> reqwest::ClientBuilder, uri: Uri, cause: Cause) {
        let request = |uri: &Uri| Request::get(uri).body(reqwest::Body::default()).unwrap();
        let built = ReqwestService::build(client()).unwrap();
        let error = built.oneshot(request(&uri)).await.unwrap_err();
        assert_row(&error, cause, &NEVER_SENT);
        assert_eq!(classify(&*error), Failure::new(cause, Sent::Unknown));

        let foreign = ReqwestService::new(client().build().unwrap());
        let error = foreign.oneshot(request(&uri)).await.unwrap_err();
        assert_row(&error, cause, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn refused() {
        let port = Refused::new();
        assert_rows(client, port.uri("/"), Cause::ConnectionRefused).await;
    }

    #[tokio::test]
    async fn name_not_resolved() {
        struct NoNames;

        impl reqwest::dns::Resolve for NoNames {
            fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
                Box::pin(async { Err(OwnError.into()) })
            }
        }

        let uri = "http://name.invalid/".parse().unwrap();
        assert_rows(|| client().dns_resolver(NoNames), uri, Cause::Dns).await;
    }

    #[tokio::test]
    async fn connect_timed_out() {
        let port = Saturated::new();
        let hurried = || client().connect_timeout(Duration::from_millis(20));
        assert_rows(hurried, port.uri("/"), Cause::ConnectTimeout).await;
    }

    #[tokio::test]
    async fn closed() {
        let error = error(client(), http1::answer("")).await;
        assert_row(&error, Cause::IncompleteMessage, &AMBIGUOUS);
    }

    #[tokio::test(start_paused = true)]
    async fn timed_out() {
        let timeout = Duration::from_secs(1);
        for client in [client().timeout(timeout), client().read_timeout(timeout)] {
            let error = error(client, vec![Step::ReadHead, Step::Silence]).await;
            assert_row(&error, Cause::Timeout, &AMBIGUOUS);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timed_out_in_the_response_body() {
        let client = client().read_timeout(Duration::from_secs(1));
        let mut script = http1::answer(http1::HALF_A_BODY);
        script.push(Step::Silence);
        let error = error(client, script).await;
        assert_row(&error, Cause::Timeout, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn response_body_cut_off() {
        let error = error(client(), http1::answer(http1::HALF_A_BODY)).await;
        assert_row(&error, Cause::ResponseBody, &AMBIGUOUS);
    }

    #[tokio::test]
    async fn request_body_fails() {
        let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
        // To reqwest, too, this looks like a request that timed out.
        let failure = io::Error::from(io::ErrorKind::TimedOut);
        let frames = stream::iter([Ok("half"), Err(failure)]);
        let request = client()
            .build()
            .unwrap()
            .post(server.uri("/").to_string())
            .body(reqwest::Body::wrap_stream(frames));
        let error = request.send().await.unwrap_err();
        assert!(error.is_timeout());
        assert_row(&error, Cause::RequestBody, &MISTAKEN);
    }

    #[tokio::test]
    async fn redirects_without_end() {
        let error = error(client(), http1::answer(http1::REDIRECT)).await;
        assert_row(&error, Cause::Redirect, &DEAD_END);
    }

    /// What the policies make of these, they make of the response, too.
    #[tokio::test]
    async fn status() {
        for (answer, status, class) in [
            (http1::UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, &LISTED),
            (http1::NOT_FOUND, StatusCode::NOT_FOUND, &NOT_LISTED),
        ] {
            let error = error(client(), http1::answer(answer)).await;
            assert_row(&error, Cause::Status(status), class);
        }
    }

    #[tokio::test]
    async fn scheme_not_supported() {
        let client = client().build().unwrap();
        let error = read(&client, "ftp://localhost/".parse().unwrap()).await;
        assert_row(
            &error.unwrap_err(),
            Cause::UnsupportedScheme,
            &NOT_A_REQUEST,
        );
    }

    #[tokio::test]
    async fn request_is_invalid() {
        let client = client().build().unwrap();
        let request = client.get("http://localhost/").header("a b", "c");
        let error = request.send().await.unwrap_err();
        assert_row(&error, Cause::InvalidRequest, &NOT_A_REQUEST);
    }

    #[tokio::test]
    async fn no_message_shows_a_secret() {
        let port = Refused::new();
        let uri = port.uri("/path?key=s3cr3t").to_string();
        let uri = uri.replace("http://", "http://joe:s3cr3t@");
        let client = client().build().unwrap();
        let error = client.get(&uri).send().await.unwrap_err();
        assert!(error.to_string().contains("s3cr3t"), "{error}");
        let chain = chain(&error);
        assert!(
            chain.contains("/path") && !chain.contains("s3cr3t"),
            "{chain}"
        );
    }
}
