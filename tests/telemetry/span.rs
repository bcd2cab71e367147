//! A claim of `guide::ordering` in a process of its own: a subscriber of one thread can miss events
//! whose call sites other threads are just about to register.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::trace::TraceLayer;
use tower_http_retry::{RetryLayer, TARGET, policy::RetryPolicy};

type Body = Full<Bytes>;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().expect("not poisoned");
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn trace_above_has_the_retries_inside_its_span() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let left = Arc::new(Mutex::new(2));
    let stack = ServiceBuilder::new()
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|_: &Request<Body>| tracing::info_span!("whole")),
        )
        .layer(RetryLayer::new(RetryPolicy::default()))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|_: &Request<Body>| tracing::info_span!("part")),
        )
        .service(service_fn(move |_: Request<Body>| {
            let mut left = left.lock().expect("not poisoned");
            let status = if *left > 0 { 503 } else { 200 };
            *left -= 1;
            let response = Response::builder().status(status).body(Body::default());
            async { Ok::<_, Infallible>(response.expect("valid")) }
        }));
    let request = Request::get("http://a.test/").body(Body::default());
    stack
        .oneshot(request.expect("valid"))
        .await
        .expect("a response");

    let log = String::from_utf8(log.0.lock().expect("not poisoned").clone()).expect("text");
    let own: Vec<&str> = log
        .lines()
        // What the layer says of its settings is no event of a request.
        .filter(|line| line.contains(TARGET) && !line.contains(": lint"))
        .collect();
    assert_eq!(own.len(), 3, "two retries and the recovery: {log}");
    assert!(
        own.iter()
            .all(|line| line.contains("whole:") && !line.contains("part:")),
        "{log}"
    );
}
