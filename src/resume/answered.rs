//! What becomes of a body that broke, and of the answers to what is asked then.

use std::{error::Error, pin::Pin};

use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    ResumeBody, ResumeErrorKind,
    asking::Line,
    body::{State, Step},
    plan::Answer,
    story::What,
};
use crate::{
    BoxError, RetryError, classify,
    policy::Policy,
    reason::{NotResumed, StopReason},
    report::{AttemptOutcome, RetryReport},
    trial::Ruling,
};

impl<S, P, ReqBody, ResBody> ResumeBody<S, P, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    P: Policy,
    ResBody: Body,
{
    /// The body broke, which is let go of.
    pub(super) fn interrupted(
        mut self: Pin<&mut Self>,
        kind: ResumeErrorKind,
        source: Option<BoxError>,
    ) -> Step {
        self.as_mut().project().state.set(State::Readying);
        self.as_mut().tell(kind, source);
        if let Err(because) = self.progress.plan() {
            return self.fail(StopReason::NotResumable { because });
        }
        let this = self.as_mut().project();
        let (bytes, ends) = (this.asked.settings.progress, this.asked.ends());
        if let (true, Some(story)) = (this.progress.starts_anew(bytes), this.story) {
            story.start_anew(ends);
        }
        self.ask(&What::Break)
    }

    /// A response has ended before the download has.
    pub(super) fn part_ended(mut self: Pin<&mut Self>) -> Step {
        let this = self.as_mut().project();
        let bytes = this.asked.settings.progress;
        // The server has given all that it said it would: less than it was asked for, but enough.
        if this.progress.is_part_whole() && this.progress.starts_anew(bytes) {
            let ends = this.asked.ends();
            let mut state = this.state;
            state.set(State::Readying);
            if let Some(story) = this.story {
                story.start_anew(ends);
            }
            return Step::Next;
        }
        self.interrupted(ResumeErrorKind::Short, None)
    }

    /// Asks the policy whether, and when, it goes on.
    fn ask(mut self: Pin<&mut Self>, what: &What<'_>) -> Step {
        let now = Instant::now();
        let mut this = self.as_mut().project();
        let left = this
            .asked
            .ends()
            .map(|ends| ends.saturating_duration_since(now));
        let times = (this.asked.started, now);
        let (Line::Get { head, policy, .. }, Some(story)) = (&this.asked.line, this.story) else {
            unreachable!("only a GET that broke is continued")
        };
        let stop = match story.rule(policy, head, what, left, times) {
            Some(Ruling::Retry(retry, permit)) => {
                let until = story.goes_on(retry, permit, this.asked, now);
                this.state.set(State::Waiting { until });
                return Step::Next;
            }
            Some(Ruling::Stop(stop)) => {
                if let Some(last) = story.report.attempts.last_mut() {
                    last.gates = stop.gates;
                    last.note = stop.note.map(Box::new);
                    last.clean();
                }
                stop.reason
            }
            Some(Ruling::Accept) => match what {
                What::Answer(status, _) => StopReason::NotResumable {
                    because: NotResumed::Status { status: *status },
                },
                What::Break | What::Error(..) => StopReason::Disabled,
            },
            None => StopReason::NotResumable {
                because: NotResumed::HeadNotKept,
            },
        };
        self.fail(stop)
    }

    /// The response to a continuation is there.
    pub(super) fn answered(mut self: Pin<&mut Self>, response: Response<ResBody>) -> Step {
        let now = Instant::now();
        let (head, body) = response.into_parts();
        let mut this = self.as_mut().project();
        let Some(story) = this.story else {
            unreachable!("what is continued has broken before")
        };
        let below = head.extensions.get::<RetryReport>();
        let outcome = AttemptOutcome::Response(head.status);
        story.ended(below, outcome, this.asked.started, now);
        let answer = match this.progress.plan() {
            Ok(plan) => plan.judge(&head),
            Err(why) => Answer::Refused(why),
        };
        match answer {
            Answer::GoesOn { skip, take } => {
                this.progress.go_on(skip, take);
                this.state.set(State::Reading { body });
                Step::Next
            }
            Answer::Refused(because) => self.fail(StopReason::NotResumable { because }),
            Answer::Failed => match below {
                // The layer below has asked already.
                Some(report) => self.fail(report.stop.clone()),
                None => {
                    // Nothing is held while it waits.
                    drop(body);
                    self.ask(&What::Answer(head.status, &head.headers))
                }
            },
        }
    }

    /// A continuation has no response.
    pub(super) fn unanswered(
        mut self: Pin<&mut Self>,
        error: &(dyn Error + Send + Sync + 'static),
    ) -> Step {
        let now = Instant::now();
        let mut this = self.as_mut().project();
        this.state.set(State::Readying);
        let Some(story) = this.story else {
            unreachable!("what is continued has broken before")
        };
        let failure = classify::examine(error, &[]).failure;
        let below = error.downcast_ref::<RetryError>().map(RetryError::report);
        let outcome = AttemptOutcome::failed(failure, classify::chain(error));
        story.ended(below, outcome, this.asked.started, now);
        match below {
            // The layer below has asked already.
            Some(report) => self.fail(report.stop.clone()),
            None => self.ask(&What::Error(failure, error)),
        }
    }
}
