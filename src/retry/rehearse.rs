//! Dry runs of a layer.

use std::time::Duration;

use http::{HeaderValue, Request};
use tokio::time::Instant;

use super::RetryLayer;
use crate::{
    classify::{Exchange, Outcome},
    dry_run::{
        Explanation, Schedule, ScriptedOutcome, Sequence, Venue, explain, explain_sequence,
        schedule,
    },
    policy::{IDEMPOTENCY_KEY, Idempotent, Policy, RequestHead},
    retry::RequestOptions,
    trial::Judged,
};

impl<P: Policy, R> RetryLayer<P, R> {
    /// What becomes of `request` in this layer, for each kind of outcome that an attempt can
    /// have: as [`Explain::explain`](crate::dry_run::Explain::explain), and with the
    /// deadline, the classifiers and the idempotency keys of the layer.
    ///
    /// What the request brings along in its extensions counts as well. The body, which may not
    /// be replayable, and what other requests share (a throttle, retries in flight, hints) are
    /// left out.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::{
    ///     dry_run::Scenario,
    ///     policy::{Backoff, RequestHead, RetryPolicy, StopReason},
    ///     RetryLayer,
    /// };
    ///
    /// let policy = RetryPolicy::builder()
    ///     .backoff(Backoff::constant(Duration::from_secs(4)))
    ///     .build()?;
    /// let layer = RetryLayer::new(policy).deadline(Duration::from_secs(10));
    /// let request = http::Request::get("http://example.com/").body(())?;
    /// let explanation = layer.explain(&RequestHead::of(&request));
    /// let refused = explanation.case(Scenario::Connect).unwrap();
    /// assert_eq!(refused.most, 2); // not the 3 that the policy allows
    /// assert!(matches!(refused.stop, Some(StopReason::DeadlineTooClose { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(&self, request: &RequestHead<'_>) -> Explanation {
        let mut explanation = self.rehearse(request, |request, venue| {
            explain(&self.policy, request, venue)
        });
        let admissions = self.settings.admissions.iter();
        explanation.admissions = admissions.filter_map(|one| one.explain()).collect();
        explanation
    }

    /// What becomes of `request` in this layer when its attempts end as `script` says: as
    /// [`Explain::explain_sequence`](crate::dry_run::Explain::explain_sequence), and with
    /// what [`explain`](Self::explain) knows of the layer. An attempt that takes longer than the
    /// attempt timeout ends with it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::StatusCode;
    /// use tower_http_retry::{
    ///     dry_run::ScriptedOutcome,
    ///     policy::{RequestHead, RetryPolicy},
    ///     RetryLayer,
    /// };
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default()).attempt_timeout(Duration::from_secs(2));
    /// let request = http::Request::get("http://example.com/").body(())?;
    /// let sequence = layer.explain_sequence(
    ///     &RequestHead::of(&request),
    ///     &[
    ///         ScriptedOutcome::response(StatusCode::OK).took(Duration::from_secs(9)),
    ///         StatusCode::OK.into(),
    ///     ],
    /// );
    /// assert_eq!(sequence.report().attempt_count(), 2);
    /// # Ok::<(), http::Error>(())
    /// ```
    pub fn explain_sequence(
        &self,
        request: &RequestHead<'_>,
        script: &[ScriptedOutcome],
    ) -> Sequence {
        self.rehearse(request, |request, venue| {
            explain_sequence(&self.policy, request, script, venue)
        })
    }

    /// When each retry of `request` in this layer is sent if every attempt ends with `outcome`:
    /// as [`Explain::schedule`](crate::dry_run::Explain::schedule), and with what
    /// [`explain`](Self::explain) knows of the layer.
    pub fn schedule(&self, request: &RequestHead<'_>, outcome: &ScriptedOutcome) -> Schedule {
        self.rehearse(request, |request, venue| {
            schedule(&self.policy, request, outcome, venue)
        })
    }

    /// Calls `run` with the request as the layer would send it, and with what the layer adds to
    /// the policy.
    fn rehearse<T>(
        &self,
        request: &RequestHead<'_>,
        run: impl FnOnce(&RequestHead<'_>, &Venue<'_>) -> T,
    ) -> T {
        let settings = &self.settings;
        let brought = RequestOptions::of(request.extensions());
        let left =
            |deadline: crate::RequestDeadline| -> Duration { deadline.remaining(Instant::now()) };
        let judge = |number: u32, outcome: Outcome<'_>| -> Judged {
            let judged = settings.judge(|| Exchange::new(number, outcome, request));
            judged.unwrap_or_default()
        };
        let venue = Venue {
            attempt_timeout: settings.attempt_timeout,
            deadline: brought.deadline.map(left).or(settings.deadline),
            min_attempt: settings.min_attempt,
            judge: Some(&judge),
            ..Venue::default()
        };
        if !settings.gives_key(request.method(), request.headers()) {
            return run(request, &venue);
        }
        let mut keyed = Request::new(());
        *keyed.method_mut() = request.method().clone();
        *keyed.uri_mut() = request.uri().clone();
        *keyed.version_mut() = request.version();
        *keyed.headers_mut() = request.headers().clone();
        *keyed.extensions_mut() = request.extensions().clone();
        // The key itself does not matter, and whoever makes keys need not know of a dry run.
        let key = HeaderValue::from_static("\"dry run\"");
        keyed.headers_mut().insert(IDEMPOTENCY_KEY, key);
        keyed.extensions_mut().insert(Idempotent);
        run(&RequestHead::of(&keyed), &venue)
    }
}
