//! Fetches what the command line asks for.

use std::{
    fmt::Display,
    io::{self, Write},
};

use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};
use tower_http_retry::{BoxError, RetryError, RetryLayer, RetryReport, policy::RetryPolicy};

use crate::{
    cli::{Cli, usage},
    connect::{self, Connector},
    json::{Attempt, Effects, Fetched, Stop},
    output::{Broken, Output},
    paint::Paint,
    progress::Progress,
    upload::{Body, Upload},
};

type Service = BoxCloneService<Request<Body>, Response<Incoming>, RetryError>;

/// How much of stdin is kept to be sent again.
const REPLAY_LIMIT: u64 = 1024 * 1024;

const USER_AGENT: HeaderValue = HeaderValue::from_static("tower-http-retry-fetch");

/// Everything that is needed to fetch, checked.
pub(crate) struct Fetcher {
    cli: Cli,
    policy: RetryPolicy,
    connector: Connector,
    upload: Upload,
}

impl Fetcher {
    /// Checks what the command line says.
    ///
    /// # Errors
    ///
    /// It describes no valid policy, or names a file that cannot be used.
    pub(crate) fn new(cli: Cli) -> Result<Self, clap::Error> {
        let policy = cli.knobs.policy().map_err(usage)?;
        let connector = connect::connector(&cli).map_err(usage)?;
        let upload = Upload::new(cli.data.as_deref());
        if let Upload::File(path) = &upload {
            let opened = upload.open();
            opened.map_err(|error| usage(format_args!("--data {}: {error}", path.display())))?;
        }
        Ok(Self {
            cli,
            policy,
            connector,
            upload,
        })
    }

    /// Fetches one URL after the other; `false` if one of them failed for good.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    pub(crate) async fn run(&self) -> io::Result<bool> {
        let mut all_well = true;
        for url in &self.cli.urls {
            all_well &= self.fetch(url).await?;
        }
        Ok(all_well)
    }

    async fn fetch(&self, url: &Uri) -> io::Result<bool> {
        let request = self.request(url).map_err(io::Error::other)?;
        let line = format!("{} {url}", request.method());
        let progress = match self.cli.verbose {
            0 => Progress::start(line.clone()),
            // Its lines and those of the log would run into each other.
            _ => Progress::hidden(),
        };
        let service = self.service(&progress);
        let started = Instant::now();
        let result = service.oneshot(request).await;
        progress.finish();

        let mut fetched = Fetched {
            url: url.to_string(),
            method: self.cli.method().to_string(),
            success: false,
            status: None,
            attempts: 1,
            elapsed_seconds: 0.0,
            stop: Stop::of(None),
            effects: Effects::default(),
            body_bytes: 0,
            error: None,
            history: Vec::new(),
        };
        let report = match &result {
            Ok(response) => response.extensions().get::<RetryReport>(),
            Err(error) => Some(error.report()),
        };
        if let Some(report) = report {
            fetched.attempts = report.attempt_count();
            fetched.stop = Stop::of(Some(report));
            fetched.history = Attempt::all_of(report);
            fetched.effects = Effects::of(report.effects());
        }
        match (report, &result) {
            _ if self.cli.json => {}
            (None, Ok(response)) => {
                let status = response.status();
                tell(format_args!("{line}: {status} at the first attempt\n"));
            }
            (None, Err(error)) => tell(format_args!("{error}\n")),
            (Some(report), _) => tell(paint().timeline(report, "")),
        }
        match result {
            Ok(response) => {
                let status = response.status();
                fetched.status = Some(status.as_u16());
                if fetched.history.is_empty() {
                    fetched.effects = Effects::of(u32::from(status.is_success())..=1);
                }
                fetched.success = !(status.is_client_error() || status.is_server_error());
                match self.output().write(response, self.cli.include).await {
                    Ok(bytes) => fetched.body_bytes = bytes,
                    Err(Broken::Output(error)) => return Err(error),
                    Err(Broken::Response { bytes, error }) => {
                        fetched.body_bytes = bytes;
                        let error = format!("the body broke off after {bytes} bytes: {error}");
                        self.complain(&line, &error);
                        fetched.error = Some(error);
                        fetched.success = false;
                    }
                }
            }
            Err(error) => fetched.error = Some(error.to_string()),
        }
        fetched.elapsed_seconds = started.elapsed().as_secs_f64();
        if self.cli.json {
            let json = serde_json::to_string(&fetched)?;
            writeln!(io::stdout(), "{json}")?;
        }
        Ok(fetched.success)
    }

    fn complain(&self, line: &str, error: &dyn Display) {
        if !self.cli.json {
            let line = paint().red(&format!("{line}: {error}"));
            tell(format_args!("{line}\n"));
        }
    }

    fn output(&self) -> Output<'_> {
        match &self.cli.output {
            Some(path) => Output::File(path),
            None if self.cli.json => Output::Nowhere,
            None => Output::Stdout,
        }
    }

    fn request(&self, url: &Uri) -> Result<Request<Body>, BoxError> {
        let mut request = Request::builder()
            .method(self.cli.method())
            .uri(url)
            .body(self.upload.open()?)?;
        let headers = request.headers_mut();
        for (name, value) in &self.cli.headers {
            headers.append(name, value.clone());
        }
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let any = HeaderValue::from_static("*/*");
        headers.entry(header::ACCEPT).or_insert(any);
        Ok(request)
    }

    fn service(&self, progress: &Progress) -> Service {
        let knobs = &self.cli.knobs;
        let mut layer = RetryLayer::new(self.policy.clone())
            .attempt_timeout(knobs.attempt_timeout)
            .on_event(progress.hook());
        if let Some(deadline) = knobs.deadline {
            layer = layer.deadline(deadline);
        }
        if self.upload.can_reopen() && knobs.replay_limit.is_none() {
            let upload = self.upload.clone();
            ServiceBuilder::new()
                .layer(layer.reopen_bodies(move |_| upload.open()))
                .service(self.client())
                .boxed_clone()
        } else {
            let limit = knobs.replay_limit.unwrap_or(REPLAY_LIMIT);
            ServiceBuilder::new()
                .layer(layer.replay_bodies(limit))
                .service(self.client())
                .boxed_clone()
        }
    }

    fn client<B>(&self) -> Client<Connector, B>
    where
        B: HttpBody + Send,
        B::Data: Send,
    {
        Client::builder(TokioExecutor::new()).build(self.connector.clone())
    }
}

/// Writes to stderr; that it is closed is no reason to stop.
fn tell(text: impl Display) {
    let _ = write!(io::stderr(), "{text}");
}

fn paint() -> Paint {
    Paint::for_output(&io::stderr())
}
