//! What is called, and what should become of it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tonic::{
    Code, Status,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::HealthCheckRequest;
use tower_http_retry::{BoxError, RetryEvent, RetryLayer, RetryReport, policy::RetryPolicy};

use super::{
    client::{Client, client},
    server::{Server, Step},
    wire::Fault,
};

/// The longest that a call may take, unless it says so itself.
const DEADLINE: Duration = Duration::from_secs(10);

/// Which method is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// `Check`, which has one answer.
    Unary,
    /// The same, by a caller who waits for so long.
    UnaryWithin(Duration),
    /// `Watch`, which has a stream of them.
    Stream,
    /// `Check` so often before, of which nothing is told.
    UnaryAfter(usize),
}

/// One call.
pub(super) struct Scenario {
    pub(super) title: &'static str,
    pub(super) faults: &'static [Fault],
    pub(super) steps: &'static [Step],
    pub(super) call: Call,
    pub(super) tls: bool,
    pub(super) expected: Expected,
}

/// What should become of it.
pub(super) struct Expected {
    attempts: usize,
    code: Code,
    messages: usize,
    /// Why there was no further attempt.
    stop: &'static [&'static str],
    /// The waits together, at least.
    waited: Duration,
}

/// What became of it.
pub(super) struct Outcome {
    pub(super) code: Code,
    pub(super) text: String,
    messages: usize,
    /// There is none for a call that succeeded at once.
    pub(super) report: Option<RetryReport>,
    /// What the server was told, with each call.
    pub(super) told: Vec<String>,
}

const SUCCESS: Expected = Expected {
    attempts: 1,
    code: Code::Ok,
    messages: 1,
    stop: &["succeeded"],
    waited: Duration::ZERO,
};

const FAILURE: Expected = Expected {
    code: Code::Unavailable,
    messages: 0,
    ..SUCCESS
};

const PLAIN: Scenario = Scenario {
    title: "",
    faults: &[],
    steps: &[],
    call: Call::Unary,
    tls: false,
    expected: SUCCESS,
};

use Step::{Fail, PushBack, Stream};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        title: "a call that succeeds",
        ..PLAIN
    },
    Scenario {
        title: "UNAVAILABLE twice, in a head that is all of the response",
        steps: &[Fail(Code::Unavailable), Fail(Code::Unavailable)],
        expected: Expected {
            attempts: 3,
            ..SUCCESS
        },
        ..PLAIN
    },
    Scenario {
        title: "UNAVAILABLE in trailers, behind a head",
        steps: &[Stream(0, Err(Code::Unavailable)), Stream(2, Ok(()))],
        call: Call::Stream,
        expected: Expected {
            attempts: 2,
            messages: 2,
            ..SUCCESS
        },
        ..PLAIN
    },
    Scenario {
        title: "UNAVAILABLE each time",
        steps: &[Fail(Code::Unavailable); 4],
        expected: Expected {
            attempts: 4,
            stop: &["count_exhausted"],
            ..FAILURE
        },
        ..PLAIN
    },
    Scenario {
        title: "NOT_FOUND, which is not listed",
        steps: &[Fail(Code::NotFound)],
        expected: Expected {
            code: Code::NotFound,
            stop: &["grpc_status_not_listed"],
            ..FAILURE
        },
        ..PLAIN
    },
    Scenario {
        title: "a pushback of 300 ms",
        steps: &[PushBack(Code::Unavailable, "300")],
        expected: Expected {
            attempts: 2,
            waited: Duration::from_millis(300),
            ..SUCCESS
        },
        ..PLAIN
    },
    Scenario {
        title: "a pushback that says never",
        steps: &[PushBack(Code::Unavailable, "-1")],
        expected: Expected {
            stop: &["forbidden_by_server"],
            ..FAILURE
        },
        ..PLAIN
    },
    Scenario {
        title: "a stream that breaks behind its first message",
        steps: &[Stream(1, Err(Code::Unavailable))],
        call: Call::Stream,
        // The caller has seen it: the retries have nothing to do with it.
        expected: Expected {
            messages: 1,
            ..FAILURE
        },
        ..PLAIN
    },
    Scenario {
        title: "GOAWAY, and the call is above its last stream",
        faults: &[Fault::GoAway],
        expected: Expected {
            attempts: 2,
            ..SUCCESS
        },
        ..PLAIN
    },
    Scenario {
        title: "REFUSED_STREAM",
        faults: &[Fault::RefuseStream],
        expected: Expected {
            attempts: 2,
            ..SUCCESS
        },
        ..PLAIN
    },
    Scenario {
        title: "a connection that closes: UNAVAILABLE to gRPC",
        faults: &[Fault::Close],
        expected: Expected {
            attempts: 2,
            ..SUCCESS
        },
        ..PLAIN
    },
    Scenario {
        title: "a throttle that is used up by the calls before",
        steps: &[Fail(Code::Unavailable); 9],
        // Ten tokens: after five failures half of them are left.
        call: Call::UnaryAfter(2),
        expected: Expected {
            stop: &["budget_exhausted"],
            ..FAILURE
        },
        ..PLAIN
    },
    Scenario {
        title: "a server that hangs, and a caller who waits for 300 ms",
        faults: &[Fault::Hang],
        call: Call::UnaryWithin(Duration::from_millis(300)),
        expected: Expected {
            code: Code::DeadlineExceeded,
            // The timer of the channel may be the first one.
            stop: &["deadline_exceeded", "grpc_status_not_listed"],
            ..FAILURE
        },
        ..PLAIN
    },
    Scenario {
        title: "UNAVAILABLE once, over TLS",
        steps: &[Fail(Code::Unavailable)],
        tls: true,
        expected: Expected {
            attempts: 2,
            ..SUCCESS
        },
        ..PLAIN
    },
];

/// Starts a server and calls it.
pub(super) async fn run(scenario: &Scenario) -> Result<Outcome, BoxError> {
    let certified = match scenario.tls {
        true => Some(generate_simple_self_signed(["localhost".to_owned()])?),
        false => None,
    };
    let pem = |CertifiedKey { cert, signing_key }: &CertifiedKey<_>| {
        let key: &rcgen::KeyPair = signing_key;
        (cert.pem(), key.serialize_pem())
    };
    let pem = certified.as_ref().map(pem);
    let identity = pem
        .as_ref()
        .map(|(cert, key)| Identity::from_pem(cert, key));
    let server = Server::start(scenario.faults, scenario.steps, identity).await?;
    let port = server.address.port();
    let channel = match &pem {
        None => Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?,
        Some((cert, _)) => {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(cert));
            Endpoint::from_shared(format!("https://localhost:{port}"))?.tls_config(tls)?
        }
    };
    let reports = Reports::default();
    let retries = RetryLayer::new(RetryPolicy::grpc())
        .deadline(DEADLINE)
        .on_event(reports.hook());
    let client = client(channel.connect_lazy(), retries);

    let mut messages = 0;
    let result = call(client, scenario.call, &mut messages).await;
    let (code, text) = match result {
        Ok(()) => (Code::Ok, format!("{messages} message(s)")),
        Err(status) => (status.code(), status.message().to_owned()),
    };
    Ok(Outcome {
        code,
        text,
        messages,
        report: match scenario.call {
            Call::UnaryAfter(before) => reports.get(before),
            Call::Unary | Call::UnaryWithin(_) | Call::Stream => reports.get(0),
        },
        told: server.told(),
    })
}

async fn call(mut client: Client, call: Call, messages: &mut usize) -> Result<(), Status> {
    let request = || {
        let service = "showcase".to_owned();
        tonic::Request::new(HealthCheckRequest { service })
    };
    match call {
        Call::Unary => client.check(request()).await?,
        Call::UnaryWithin(time) => {
            let mut request = request();
            request.set_timeout(time);
            client.check(request).await?
        }
        Call::UnaryAfter(before) => {
            for _ in 0..before {
                let _ = client.check(request()).await;
            }
            client.check(request()).await?
        }
        Call::Stream => {
            let mut stream = client.watch(request()).await?.into_inner();
            while stream.message().await?.is_some() {
                *messages += 1;
            }
            return Ok(());
        }
    };
    *messages = 1;
    Ok(())
}

/// The reports of all calls that did not simply succeed.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<RetryReport>>>);

impl Reports {
    fn hook(&self) -> impl Fn(&RetryEvent<'_>) + Send + Sync + use<> {
        let Self(reports) = self.clone();
        move |event| {
            if let RetryEvent::Recovered(report) | RetryEvent::GaveUp(report) = event {
                let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
                reports.push((*report).clone());
            }
        }
    }

    fn get(&self, at: usize) -> Option<RetryReport> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.get(at).cloned()
    }
}

impl Outcome {
    fn attempts(&self) -> usize {
        self.report.as_ref().map_or(1, RetryReport::attempt_count)
    }

    fn stop(&self) -> &'static str {
        let stop = self.report.as_ref().map(|report| report.stop.name());
        stop.unwrap_or("succeeded")
    }

    fn waited(&self) -> Duration {
        self.report
            .as_ref()
            .map_or(Duration::ZERO, RetryReport::waited)
    }
}

impl Expected {
    /// What is not as it should be.
    pub(super) fn differs_from(&self, seen: &Outcome) -> Option<String> {
        let expected = (self.attempts, self.code, self.messages);
        let found = (seen.attempts(), seen.code, seen.messages);
        if !self.stop.contains(&seen.stop()) {
            let (stop, seen) = (self.stop, seen.stop());
            return Some(format!("to stop for {stop:?} was expected, not for {seen}"));
        }
        if found != expected {
            return Some(format!("{expected:?} was expected, not {found:?}"));
        }
        let (least, waited) = (self.waited, seen.waited());
        (waited < least).then(|| format!("a wait of {least:?} was expected, not {waited:?}"))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, self.code, self.attempts, &self.stop.join(" or "))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, self.code, self.attempts(), self.stop())
    }
}

fn line(f: &mut fmt::Formatter<'_>, code: Code, count: usize, stop: &str) -> fmt::Result {
    write!(f, "{code:?} after {}", attempts(count))?;
    match stop {
        "succeeded" => Ok(()),
        stop => write!(f, ": {stop}"),
    }
}

fn attempts(number: usize) -> String {
    match number {
        1 => "1 attempt".to_owned(),
        number => format!("{number} attempts"),
    }
}
