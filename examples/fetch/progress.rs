//! A spinner that shows which attempt runs, or how long is still to be waited for the next.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::time::Instant;
use tower_http_retry::{AttemptOutcome, RetryEvent};

/// The spinner of one request; hidden unless stderr is a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
}

/// What the spinner shows.
#[derive(Default)]
struct State {
    /// Retries so far.
    retries: u32,
    /// When the next attempt starts, and what the last one came to.
    waiting: Option<(Instant, String)>,
}

impl Progress {
    pub(crate) fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            state: Arc::default(),
        }
    }

    pub(crate) fn start(line: String) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let bar = ProgressBar::new_spinner();
        let shown = Arc::clone(&state);
        let now = move |_: &ProgressState, to: &mut dyn Write| {
            let state = shown.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody is told of an error here.
            let _ = state.show(to);
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {now}  {wide_msg}") {
            bar.set_style(style.with_key("now", now));
        }
        bar.set_message(line);
        bar.enable_steady_tick(Duration::from_millis(80));
        Self { bar, state }
    }

    /// What the layer is to tell.
    pub(crate) fn hook(&self) -> impl Fn(&RetryEvent<'_>) + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move |event| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let RetryEvent::Retry { attempt, .. } = event else {
                return;
            };
            if let Some(wait) = &attempt.wait {
                let outcome = match &attempt.outcome {
                    AttemptOutcome::Failed { cause, .. } => cause.to_string(),
                    outcome => outcome.to_string(),
                };
                let until = Instant::now().checked_add(wait.planned);
                let shown = format!("{outcome}; {}", wait.why);
                state.retries = attempt.number;
                state.waiting = until.map(|until| (until, shown));
            }
        }
    }

    /// Removes the spinner, so that other output can follow.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl State {
    fn show(&self, to: &mut dyn Write) -> fmt::Result {
        let left = self
            .waiting
            .as_ref()
            .map(|(until, why)| (until.saturating_duration_since(Instant::now()), why));
        match left {
            Some((left, why)) if !left.is_zero() => {
                let (next, left) = (self.retries + 1, left.as_secs_f64());
                write!(to, "attempt {next} in {left:.1} s ({why})")
            }
            _ => write!(to, "attempt {} …", self.retries + 1),
        }
    }
}
