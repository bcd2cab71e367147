//! What a layer logs about its own mistakes. A process of its own: a subscriber of one thread can
//! miss events whose call sites other threads are just about to register.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower::{Layer, service_fn};
use tower_http_retry::{RetryLayer, TARGET, lint::LintCode, mounts::Mounts, policy::RetryPolicy};
use tracing::Level;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines since the last call.
    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().expect("not poisoned"));
        let text = String::from_utf8(bytes).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn subscriber(log: &Log, level: Level) -> impl tracing::Subscriber + Send + Sync + 'static {
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish()
}

fn make_service<P: tower_http_retry::policy::Policy + Clone>(layer: &RetryLayer<P>) {
    let inner = service_fn(|_: http::Request<()>| async {
        Ok::<_, io::Error>(http::Response::new(String::new()))
    });
    drop(layer.layer(inner));
}

#[test]
fn each_finding_is_logged_once_for_each_layer() {
    let log = Log::default();

    // Nobody listens: nothing is spent, and nothing counts as said.
    let layer = RetryLayer::new(RetryPolicy::urllib3());
    tracing::subscriber::with_default(subscriber(&log, Level::ERROR), || {
        make_service(&layer);
    });
    assert_eq!(log.lines(), [""; 0]);

    let _guard = tracing::subscriber::set_default(subscriber(&log, Level::INFO));
    make_service(&layer);
    let lines = log.lines();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, code) in lines.iter().zip([
        LintCode::NoTimeLimit,
        LintCode::NoStatusListed,
        LintCode::NoBackoff,
    ]) {
        assert!(line.trim_start().starts_with("WARN "), "{line}");
        assert!(line.contains(TARGET), "{line}");
        assert!(line.contains(&format!("code=\"{code}\"")), "{line}");
        assert!(line.contains("help="), "{line}");
    }

    // Neither the next service says it again, nor a clone's.
    make_service(&layer);
    make_service(&layer.clone());
    assert_eq!(log.lines(), [""; 0]);

    // Another layer is another matter, and so is one that was changed.
    let timed = layer.clone().attempt_timeout(Duration::from_secs(1));
    make_service(&timed);
    assert_eq!(log.lines().len(), 2);
    let fine = timed
        .allow(LintCode::NoStatusListed)
        .allow(LintCode::NoBackoff);
    make_service(&fine);
    assert_eq!(log.lines(), [""; 0]);
    make_service(&RetryLayer::new(RetryPolicy::default()));
    let lines = log.lines();
    assert!(
        lines.len() == 1 && lines[0].contains("no-time-limit"),
        "{lines:#?}"
    );

    // The same mistake in thousands of policies does not fill the log.
    let mut mounts = Mounts::new();
    for n in 0..5_000 {
        let prefix = format!("https://t{n}.test");
        mounts = mounts
            .mount(&prefix, RetryPolicy::urllib3())
            .expect("a prefix");
    }
    make_service(&RetryLayer::new(mounts));
    let lines = log.lines();
    assert_eq!(lines.len(), 101);
    assert!(
        lines[100].contains("more findings") && lines[100].contains("count="),
        "{}",
        lines[100]
    );

    // A note is no warning.
    let noted = RetryLayer::new(RetryPolicy::default()).deadline(Duration::from_secs(20));
    make_service(&noted);
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].trim_start().starts_with("INFO "), "{}", lines[0]);
    assert!(lines[0].contains("retry-after-cap-over-deadline"));
}
