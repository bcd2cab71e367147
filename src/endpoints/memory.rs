//! What is remembered of one endpoint: whether it fails, and whether it asked to be left alone.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long an endpoint that has failed is avoided: linkerd charges a failure with as much.
const AVOIDED: Duration = Duration::from_secs(5);

/// How long at most, and how long without a failure until the earlier ones are forgotten.
const AVOIDED_AT_MOST: Duration = Duration::from_secs(60);

/// How long a server can ask to be left alone: as with linkerd.
const HELD_AT_MOST: Duration = Duration::from_secs(300);

/// What is remembered. Of an endpoint that works, one flag is read.
#[derive(Debug, Default)]
pub(super) struct Memory {
    is_troubled: AtomicBool,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    failed: Option<Failed>,
    /// When it may be asked again, by its own word.
    held_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    /// When the last failure was noted.
    at: Instant,
    /// For how long it is avoided then.
    pause: Duration,
    /// Until when it is avoided.
    until: Instant,
}

/// How an endpoint is to be regarded now. The smaller is the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Regard {
    /// How long it asks to be left alone.
    pub(super) held: Duration,
    /// Whether it is avoided.
    pub(super) fails: bool,
}

impl Regard {
    const GOOD: Self = Self {
        held: Duration::ZERO,
        fails: false,
    };
}

impl Memory {
    fn trouble<T>(&self, change: impl FnOnce(&mut Trouble) -> T) -> T {
        let trouble = self.trouble.lock();
        let mut trouble = trouble.unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut trouble);
        let troubled = trouble.failed.is_some() || trouble.held_until.is_some();
        self.is_troubled.store(troubled, Relaxed);
        result
    }

    pub(super) fn regard(&self, now: Instant) -> Regard {
        if !self.is_troubled.load(Relaxed) {
            return Regard::GOOD;
        }
        self.trouble(|trouble| {
            trouble.forget(now);
            Regard {
                held: trouble
                    .held_until
                    .map_or(Duration::ZERO, |until| until.duration_since(now)),
                fails: trouble.failed.is_some_and(|failed| now < failed.until),
            }
        })
    }

    /// It was chosen. Returns whether that is to look whether it works again: others avoid it until
    /// that is known.
    pub(super) fn look(&self, now: Instant) -> bool {
        if !self.is_troubled.load(Relaxed) {
            return false;
        }
        self.trouble(|trouble| match &mut trouble.failed {
            Some(failed) if failed.until <= now => {
                failed.until = now + AVOIDED;
                true
            }
            _ => false,
        })
    }

    /// Nobody knows what came of the look: the next one may.
    pub(super) fn look_ended(&self, now: Instant) {
        self.trouble(|trouble| {
            if let Some(failed) = &mut trouble.failed {
                failed.until = failed.until.min(now);
            }
        });
    }

    /// An attempt that began at `began` has failed.
    pub(super) fn failed(&self, began: Instant, now: Instant) {
        self.trouble(|trouble| {
            trouble.forget(now);
            let pause = match trouble.failed {
                // One of those that were under way when the first of them failed.
                Some(failed) if began < failed.at => return,
                Some(failed) => (failed.pause * 2).min(AVOIDED_AT_MOST),
                None => AVOIDED,
            };
            trouble.failed = Some(Failed {
                at: now,
                pause,
                until: now + pause,
            });
        });
    }

    /// It asked to be left alone for so long.
    pub(super) fn hold(&self, asked: Duration, now: Instant) {
        self.trouble(|trouble| trouble.held_until = Some(now + asked.min(HELD_AT_MOST)));
    }

    /// An attempt that began at `began` has succeeded.
    pub(super) fn works(&self, began: Instant) {
        if !self.is_troubled.load(Relaxed) {
            return;
        }
        self.trouble(|trouble| {
            // What began before it failed says nothing of now.
            if trouble.failed.is_none_or(|failed| failed.at <= began) {
                *trouble = Trouble::default();
            }
        });
    }
}

impl Trouble {
    fn forget(&mut self, now: Instant) {
        let over = |failed: &Failed| failed.until + AVOIDED_AT_MOST <= now;
        if self.failed.as_ref().is_some_and(over) {
            self.failed = None;
        }
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn fails(memory: &Memory, now: Instant) -> bool {
        memory.regard(now).fails
    }

    #[test]
    fn it_is_avoided_for_twice_as_long_each_time_and_forgotten_in_the_end() {
        let memory = Memory::default();
        let mut now = Instant::now();
        for seconds in [5, 10, 20, 40, 60, 60] {
            memory.failed(now, now);
            assert!(fails(&memory, now + (seconds - 1) * S), "{seconds}");
            now += seconds * S;
            assert!(!fails(&memory, now), "{seconds}");
        }
        now += 60 * S;
        assert!(!fails(&memory, now));
        memory.failed(now, now);
        assert!(
            !fails(&memory, now + 5 * S),
            "the earlier ones are forgotten"
        );
    }

    #[test]
    fn what_failed_together_counts_once() {
        let memory = Memory::default();
        let now = Instant::now();
        for _ in 0..1000 {
            memory.failed(now, now + S);
        }
        assert!(!fails(&memory, now + 6 * S));
    }

    #[test]
    fn one_looks_while_others_avoid_it() {
        let memory = Memory::default();
        let now = Instant::now();
        memory.failed(now, now);
        assert!(!memory.look(now));
        let later = now + 5 * S;
        assert!(memory.look(later));
        assert!(fails(&memory, later) && !memory.look(later));
        memory.look_ended(later);
        assert!(memory.look(later), "another one looks");
        memory.works(later);
        assert_eq!(memory.regard(later), Regard::GOOD);
    }

    #[test]
    fn a_success_that_began_before_the_failure_says_nothing() {
        let memory = Memory::default();
        let now = Instant::now();
        memory.failed(now, now + S);
        memory.works(now);
        assert!(fails(&memory, now + S));
        memory.works(now + S);
        assert!(!fails(&memory, now + S));
    }

    #[test]
    fn a_server_can_ask_for_five_minutes_at_most() {
        let memory = Memory::default();
        let now = Instant::now();
        memory.hold(Duration::MAX, now);
        assert_eq!(memory.regard(now).held, 300 * S);
        assert_eq!(memory.regard(now + 300 * S), Regard::GOOD);
    }
}
