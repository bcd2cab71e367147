//! What the other tests rely on: the server does as it is told, and the clock stands still.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{io::AsyncReadExt, time};
use tokio_test::{assert_pending, assert_ready, task};

use test_support::net::{
    client::{self, Body, FaultClient},
    clock::{self, Still},
    fault::{Act, Attempt, FaultServer, Play, Protocol, in_turn},
    tls::{self, Identity},
};

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

fn post(server: &FaultServer) -> Request<Body> {
    let body = Full::new(Bytes::from_static(b"content"));
    Request::post(server.uri("/path"))
        .header("idempotency-key", "\"a-key\"")
        .body(body.map_err(Into::into).boxed_unsync())
        .expect("a request")
}

/// Sends a request, and reads the answer to its end.
async fn send(client: &FaultClient, request: Request<Body>) -> Option<StatusCode> {
    let response = client.request(request).await.ok()?;
    let status = response.status();
    response.into_body().collect().await.ok()?;
    Some(status)
}

#[tokio::test]
async fn each_attempt_gets_its_play_and_is_logged() {
    let identity = Identity::new();
    for protocol in PROTOCOLS {
        for identity in [None, Some(&identity)] {
            let plays = [
                Play::Refuse,
                Play::serve([Act::ReadAll, Act::Apply, Act::answer(503)]),
                Play::NoName,
                Play::serve([Act::ReadAll, Act::Apply, Act::Reset]),
                Play::close(),
                Play::serve([Act::Apply, Act::Close]),
                Play::succeed(),
            ];
            let server = FaultServer::start(protocol, identity, in_turn(plays)).await;
            let config = match identity {
                Some(identity) => tls::trusting(identity),
                None => tls::trusting_all([]),
            };
            let client = client::of(&server, protocol, config, 1);
            let before = time::Instant::now();
            let mut statuses = Vec::new();
            for _ in 0..7 {
                let status = send(&client, post(&server)).await;
                statuses.push(status.map_or(0, |status| status.as_u16()));
            }
            assert_eq!(statuses, [0, 503, 0, 0, 0, 0, 200], "{protocol:?}");

            let log = server.log();
            assert_eq!(log.len(), 7, "{protocol:?}: {log:#?}");
            let arrived = [false, true, false, true, false, true, true];
            // Half a request is not applied, and the content of the sixth was not read.
            let applied = [false, true, false, true, false, false, true];
            for (number, attempt) in log.iter().enumerate() {
                assert!(before <= attempt.at && attempt.at <= time::Instant::now());
                assert_eq!(attempt.method.is_some(), arrived[number], "{number}");
                assert_eq!(attempt.applied, applied[number], "{number}");
                if attempt.applied {
                    assert_eq!(attempt.path.as_deref(), Some("/path"));
                    assert_eq!(attempt.key.as_deref(), Some("\"a-key\""));
                    assert_eq!(attempt.received, 7);
                    assert_eq!(attempt.digest, Attempt::digest_of(b"content"));
                }
            }
            drop(client);
            server.closed().await;
            assert_eq!(server.open(), 0);
        }
    }
}

#[tokio::test]
async fn a_connection_is_kept_until_a_play_needs_another() {
    let plays = [
        Play::succeed(),
        Play::succeed(),
        Play::reset_after(1),
        Play::succeed(),
    ];
    let server = FaultServer::start(Protocol::Http2, None, in_turn(plays)).await;
    let client = client::of(&server, Protocol::Http2, tls::trusting_all([]), 1);
    let mut accepted = Vec::new();
    for _ in 0..4 {
        let _ = send(&client, post(&server)).await;
        accepted.push(server.accepted());
    }
    assert_eq!(accepted, [1, 1, 2, 3]);
}

#[tokio::test]
async fn a_stall_is_told_and_ends_with_the_client() {
    for protocol in PROTOCOLS {
        let plays = [Play::succeed(), Play::serve([Act::ReadAll, Act::Stall])];
        let server = FaultServer::start(protocol, None, in_turn(plays)).await;
        let client = client::of(&server, protocol, tls::trusting_all([]), 1);
        send(&client, post(&server)).await.expect("an answer");
        tokio::select! {
            _ = client.request(post(&server)) => panic!("{protocol:?}: answered"),
            number = server.stalled() => assert_eq!(number, 1, "{protocol:?}"),
        }
        assert!(server.open() > 0);
        drop(client);
        server.closed().await;
    }
}

/// Whether something arrives from a peer within an hour, where the peer sends after so long a time
/// or never.
async fn arrives_in_time(after: Option<Duration>) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
    let (mut far, _) = listener.accept().expect("a connection");
    let (over, is_over) = mpsc::channel::<()>();
    let peer = std::thread::spawn(move || {
        if let Some(after) = after {
            // A sleep that ends early where nobody waits any more.
            let _ = is_over.recv_timeout(after);
            let _ = far.write_all(b"!");
        }
        let _ = is_over.recv();
    });
    near.set_nonblocking(true).expect("a socket");
    let mut near = tokio::net::TcpStream::from_std(near).expect("a socket");
    let arrives = tokio::select! {
        byte = near.read_u8() => byte.is_ok(),
        () = time::sleep(Duration::from_secs(3600)) => false,
    };
    drop(over);
    peer.join().expect("no panic");
    arrives
}

#[test]
fn the_clock_stands_still_while_a_socket_is_waited_for() {
    let arrives = clock::paused().block_on(async {
        let _still = Still::new();
        arrives_in_time(Some(Duration::from_millis(20))).await
    });
    assert!(arrives);
    // What it would do otherwise, which is why it must not.
    assert!(!clock::paused().block_on(arrives_in_time(None)));
}

#[test]
fn a_clock_that_stands_still_can_be_moved() {
    clock::paused().block_on(async {
        let _still = Still::new();
        let mut sleep = task::spawn(time::sleep(Duration::from_secs(3600)));
        assert_pending!(sleep.poll());
        time::advance(Duration::from_secs(3599)).await;
        assert_pending!(sleep.poll());
        time::advance(Duration::from_secs(1)).await;
        assert_ready!(sleep.poll());
    });
}
