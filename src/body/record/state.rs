//! What the attempts of one request share: the caller's body, and what was read from it.
//!
//! Everything here runs under the lock, so nothing here runs foreign code that could block or
//! come back: the body is taken out to be polled, and what is to be dropped or woken leaves in
//! [`Leftovers`]. The exceptions are the getters `size_hint` and `is_end_stream` of the body.

use std::{
    collections::VecDeque,
    mem,
    task::{Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::{BoxError, body::NotReplayable};

/// A poll of the caller's body, its error boxed and its data made shareable.
pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// Where the caller's body is.
#[derive(Debug)]
enum Source<B> {
    Here(B),
    /// An attempt polls it at this moment.
    Taken,
    Ended,
}

/// Whether what is read is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    All,
    Nothing,
    /// Nothing, because the body is longer than the limit.
    OverLimit,
}

/// What the attempt that asks for its next frame gets.
#[derive(Debug)]
pub(super) enum Turn<B> {
    /// A frame that an earlier attempt has read.
    Replay(Frame<Bytes>),
    /// An error that an earlier attempt has met.
    Failed(BoxError),
    /// The body itself, to read on. It must come back through [`State::give_back`].
    Read(B),
    /// An earlier attempt still polls the body; the waker that is parked is woken after it.
    Busy,
    End,
    Superseded,
}

/// What is woken and dropped after the lock is released. Each may run foreign code, which may
/// drop a future that holds the other half of this very body.
#[derive(Debug)]
pub(super) struct Leftovers<B> {
    wake: Option<Waker>,
    waker: Option<Waker>,
    body: Option<B>,
    /// One `Option` for both, as it is looked at for each chunk.
    sent: Option<(VecDeque<Bytes>, Option<HeaderMap>)>,
}

impl<B> Leftovers<B> {
    pub(super) const fn new() -> Self {
        Self {
            wake: None,
            waker: None,
            body: None,
            sent: None,
        }
    }

    /// To be called without the lock.
    #[inline]
    pub(super) fn settle(self) {
        if let Some(waker) = self.wake {
            waker.wake();
        }
        drop((self.waker, self.body, self.sent));
    }
}

#[derive(Debug)]
pub(super) struct State<B> {
    source: Source<B>,
    /// The size hint that the body began with.
    whole: SizeHint,
    /// Bytes read from the body by all attempts together.
    read: u64,

    limit: u64,
    keep: Keep,
    chunks: VecDeque<Bytes>,
    /// Bytes in `chunks`, as long as all is kept.
    kept: u64,
    trailers: Option<HeaderMap>,
    /// Something that was read is no longer there for a further attempt.
    lost: bool,
    failed: bool,
    /// What an attempt read after another had taken over, and what could not be recorded.
    handed_on: Option<Result<Frame<Bytes>, BoxError>>,

    /// The attempt that may read; all others are superseded.
    attempt: u64,
    /// How many of `chunks` it has sent. Always 0 unless all is kept: what is sent then leaves
    /// the queue.
    cursor: usize,
    /// Bytes it has sent.
    sent: u64,
    trailers_sent: bool,
    /// Of the task that waits in it.
    waker: Option<Waker>,
    /// Nothing can take over any more.
    abandoned: bool,
}

impl<B: Body> State<B> {
    pub(super) fn new(body: B, limit: u64) -> Self {
        let whole = body.size_hint();
        Self {
            source: Source::Here(body),
            whole,
            read: 0,
            limit,
            keep: if whole.lower() > limit {
                Keep::OverLimit
            } else {
                Keep::All
            },
            chunks: VecDeque::new(),
            kept: 0,
            trailers: None,
            lost: false,
            failed: false,
            handed_on: None,
            attempt: 0,
            cursor: 0,
            sent: 0,
            trailers_sent: false,
            waker: None,
            abandoned: false,
        }
    }

    pub(super) fn size_hint(&self, attempt: u64) -> SizeHint {
        if attempt != self.attempt {
            return SizeHint::default();
        }
        let rest = match &self.source {
            Source::Here(body) => body.size_hint(),
            Source::Ended if !self.failed => SizeHint::with_exact(0),
            // While an earlier attempt polls the body, what it said at first stands in.
            Source::Taken | Source::Ended => {
                return hint(
                    self.whole.lower().saturating_sub(self.sent),
                    self.whole
                        .upper()
                        .map(|upper| upper.saturating_sub(self.sent)),
                );
            }
        };
        let unsent = self.read.saturating_sub(self.sent);
        hint(
            rest.lower().saturating_add(unsent),
            rest.upper().and_then(|upper| upper.checked_add(unsent)),
        )
    }

    pub(super) fn is_end_stream(&self, attempt: u64) -> bool {
        let ended = match &self.source {
            Source::Here(body) => body.is_end_stream(),
            Source::Taken => false,
            Source::Ended => true,
        };
        ended
            && attempt == self.attempt
            && self.cursor == self.chunks.len()
            && (self.trailers.is_none() || self.trailers_sent)
            && self.handed_on.is_none()
    }
}

#[cfg(feature = "hedge")]
impl<B: Body> State<B> {
    /// Whether all that `attempt` sends was read, and is still there.
    pub(super) fn check_whole(&self, attempt: u64) -> Result<(), NotReplayable> {
        self.check()?;
        let ended = match &self.source {
            // A client that knows the length need not ask once more, nor one that has the trailers,
            // after which nothing comes.
            Source::Here(body) => body.is_end_stream() || self.trailers.is_some(),
            Source::Taken => false,
            Source::Ended => true,
        };
        let whole =
            ended && attempt == self.attempt && self.keep == Keep::All && self.handed_on.is_none();
        if whole {
            Ok(())
        } else {
            Err(NotReplayable::NotKept)
        }
    }

    /// A copy of all that `attempt` sends.
    pub(super) fn copy(&self, attempt: u64) -> Result<super::copy::Copied, NotReplayable> {
        self.check_whole(attempt)?;
        let (chunks, trailers) = (self.chunks.clone(), self.trailers.clone());
        Ok(super::copy::Copied::new(chunks, trailers))
    }
}

impl<B> State<B> {
    /// What `attempt` gets next.
    pub(super) fn turn(&mut self, attempt: u64) -> Turn<B> {
        if attempt != self.attempt {
            return Turn::Superseded;
        }
        if let Some(chunk) = self.next_chunk() {
            self.sent = self.sent.saturating_add(length(&chunk));
            return Turn::Replay(Frame::data(chunk));
        }
        if let Some(trailers) = self.next_trailers() {
            return Turn::Replay(Frame::trailers(trailers));
        }
        match self.handed_on.take() {
            Some(Ok(frame)) => {
                self.lost = true;
                self.sent = self.sent.saturating_add(content(&frame));
                return Turn::Replay(frame);
            }
            Some(Err(error)) => return Turn::Failed(error),
            None => {}
        }
        match mem::replace(&mut self.source, Source::Taken) {
            Source::Here(body) => Turn::Read(body),
            Source::Taken => Turn::Busy,
            Source::Ended => {
                self.source = Source::Ended;
                Turn::End
            }
        }
    }

    fn next_chunk(&mut self) -> Option<Bytes> {
        if self.keep == Keep::All {
            let chunk = self.chunks.get(self.cursor)?.clone();
            self.cursor += 1;
            return Some(chunk);
        }
        let chunk = self.chunks.pop_front()?;
        self.lost = true;
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
        Some(chunk)
    }

    fn next_trailers(&mut self) -> Option<HeaderMap> {
        if self.trailers_sent || self.trailers.is_none() {
            return None;
        }
        self.trailers_sent = true;
        if self.keep == Keep::All {
            self.trailers.clone()
        } else {
            self.lost = true;
            self.trailers.take()
        }
    }

    /// Keeps `waker` for the attempt that waits.
    pub(super) fn park(&mut self, waker: &Waker, left: &mut Leftovers<B>) {
        if !matches!(&self.waker, Some(parked) if parked.will_wake(waker)) {
            left.waker = self.waker.replace(waker.clone());
        }
    }

    /// Takes the body back from `attempt`, which has polled it, and records what it read.
    ///
    /// `None` says that `attempt` was superseded while it polled; what it read is kept for its
    /// successor, which is woken.
    pub(super) fn give_back(
        &mut self,
        body: B,
        polled: Polled,
        attempt: u64,
        waker: &Waker,
        left: &mut Leftovers<B>,
    ) -> Option<Polled> {
        let current = attempt == self.attempt;
        match &polled {
            Poll::Pending | Poll::Ready(Some(Ok(_))) => self.source = Source::Here(body),
            Poll::Ready(None | Some(Err(_))) => {
                self.source = Source::Ended;
                left.body = Some(body);
            }
        }
        let recorded = match &polled {
            Poll::Pending | Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(frame))) => self.record(frame),
            Poll::Ready(Some(Err(_))) => {
                self.failed = true;
                self.keep = Keep::Nothing;
                false
            }
        };
        if current {
            // It read because it had sent all that was recorded.
            if let Poll::Ready(Some(Ok(frame))) = &polled {
                self.sent = self.sent.saturating_add(content(frame));
                self.trailers_sent |= frame.is_trailers();
                self.cursor = self.chunks.len();
            }
            if self.abandoned {
                left.waker = self.waker.take();
            } else if polled.is_pending() {
                self.park(waker, left);
            }
        } else {
            left.wake = self.waker.take();
        }
        if !recorded {
            // A successor that has sent nothing yet can still have all of it, and so can one that
            // takes over from it: what was promised to it when this attempt was given up holds.
            self.lost |= current || self.cursor > 0 || self.trailers_sent;
            self.forget_sent(left);
        }
        if current {
            return Some(polled);
        }
        if let Poll::Ready(Some(result)) = polled {
            // What was recorded is there for the successor already.
            if !recorded {
                self.handed_on = Some(result);
            }
        }
        None
    }

    /// The body is gone: it panicked while an attempt polled it.
    pub(super) fn lose_body(&mut self, left: &mut Leftovers<B>) {
        self.source = Source::Ended;
        self.failed = true;
        self.lost = true;
        self.keep = Keep::Nothing;
        self.handed_on = Some(Err("the request body panicked".into()));
        self.forget_sent(left);
        left.wake = self.waker.take();
    }

    /// Records `frame`. False if a further attempt cannot have it.
    fn record(&mut self, frame: &Frame<Bytes>) -> bool {
        if let Some(data) = frame.data_ref() {
            // Kept, chunks without content could be without number.
            if data.is_empty() {
                return true;
            }
            self.read = self.read.saturating_add(length(data));
        }
        if self.keep != Keep::All {
            return false;
        }
        // Trailers come last (RFC 9110, section 6.5); what follows them would be replayed out
        // of order.
        if self.trailers.is_none() {
            if let Some(data) = frame.data_ref() {
                if length(data) <= self.limit - self.kept {
                    self.kept += length(data);
                    self.chunks.push_back(data.clone());
                    return true;
                }
                self.keep = Keep::OverLimit;
                return false;
            }
            if let Some(trailers) = frame.trailers_ref() {
                self.trailers = Some(trailers.clone());
                return true;
            }
        }
        // A kind of frame that is not known here cannot be copied.
        self.keep = Keep::Nothing;
        false
    }

    /// Lets go of what the running attempt has sent.
    fn forget_sent(&mut self, left: &mut Leftovers<B>) {
        let mut chunks = VecDeque::new();
        if self.cursor > 0 {
            chunks = self.chunks.split_off(self.cursor);
            mem::swap(&mut chunks, &mut self.chunks);
            self.cursor = 0;
        }
        let trailers = if self.trailers_sent {
            self.trailers.take()
        } else {
            None
        };
        left.sent = Some((chunks, trailers));
    }

    /// The bytes that are there for a further attempt.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    pub(super) fn check(&self) -> Result<(), NotReplayable> {
        if self.failed {
            return Err(NotReplayable::Failed);
        }
        if !self.lost {
            return Ok(());
        }
        Err(match self.keep {
            Keep::OverLimit => NotReplayable::OverLimit {
                sent: self.read,
                limit: self.limit,
            },
            Keep::All | Keep::Nothing => NotReplayable::NotKept,
        })
    }

    /// Starts the next attempt and gives its number.
    pub(super) fn next(
        &mut self,
        last: bool,
        left: &mut Leftovers<B>,
    ) -> Result<u64, NotReplayable> {
        self.retire(left)?;
        if last && self.keep == Keep::All {
            self.keep = Keep::Nothing;
        }
        Ok(self.attempt)
    }

    /// Ends the running attempt, if a further one can have what it was sent.
    pub(super) fn retire(&mut self, left: &mut Leftovers<B>) -> Result<(), NotReplayable> {
        self.check()?;
        self.supersede(left);
        Ok(())
    }

    /// Ends the running attempt.
    fn supersede(&mut self, left: &mut Leftovers<B>) {
        self.attempt += 1;
        self.cursor = 0;
        self.sent = 0;
        self.trailers_sent = false;
        left.wake = self.waker.take();
    }

    /// Ends the running attempt, which is the last one.
    ///
    /// It is not woken: over HTTP/2, a client that finds the body's error before it finds that the
    /// request was cancelled resets the stream for an internal error.
    pub(super) fn cancel(&mut self, left: &mut Leftovers<B>) {
        self.attempt += 1;
        self.cursor = self.chunks.len();
        self.trailers_sent = true;
        self.abandon(left);
    }

    /// No further attempt will be made.
    pub(super) fn abandon(&mut self, left: &mut Leftovers<B>) {
        self.abandoned = true;
        self.keep = Keep::Nothing;
        self.forget_sent(left);
        // An attempt that waits for an earlier one to give the body back is still to be woken.
        if !matches!(self.source, Source::Taken) {
            left.waker = self.waker.take();
        }
    }
}

#[cfg(all(not(retry_loom), test))]
impl<B> State<B> {
    /// Whether the waker of a waiting attempt is kept.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waker.is_some()
    }

    pub(super) fn body_mut(&mut self) -> Option<&mut B> {
        match &mut self.source {
            Source::Here(body) => Some(body),
            Source::Taken | Source::Ended => None,
        }
    }
}

fn length(data: &Bytes) -> u64 {
    data.len() as u64
}

fn content(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, length)
}

fn hint(lower: u64, upper: Option<u64>) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(lower);
    if let Some(upper) = upper {
        hint.set_upper(upper.max(lower));
    }
    hint
}
