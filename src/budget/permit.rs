//! [`RetryPermit`]: a retry that was granted and is not sent yet.

use std::{fmt, mem};

use super::{RetryBudget, Withdrawal};

/// A retry that a session has [granted](crate::policy::Session::commit).
///
/// It is spent when the retry is [sent](Self::sent). One that is dropped before, because the
/// request was cancelled during the wait or could not be sent after all, gives back what it took.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering::Relaxed}};
/// use tower_http_retry::budget::RetryPermit;
///
/// let taken = Arc::new(AtomicU32::new(1));
/// let permit = {
///     let taken = Arc::clone(&taken);
///     RetryPermit::new(move || drop(taken.fetch_sub(1, Relaxed)))
/// };
/// drop(permit);
/// assert_eq!(taken.load(Relaxed), 0);
/// ```
#[must_use = "a permit that is dropped gives back what the retry took"]
pub struct RetryPermit(Taken);

enum Taken {
    Nothing,
    Tokens(RetryBudget, Withdrawal),
    Other(Box<dyn FnOnce() + Send>),
}

impl RetryPermit {
    /// The permit of a session that asks no budget.
    pub const fn free() -> Self {
        Self(Taken::Nothing)
    }

    /// The permit of a budget of the user's own, which takes back what it gave by `give_back`.
    pub fn new<F>(give_back: F) -> Self
    where
        F: FnOnce() + Send + 'static,
    {
        Self(Taken::Other(Box::new(give_back)))
    }

    pub(super) fn of(budget: RetryBudget, withdrawal: Withdrawal) -> Self {
        Self(Taken::Tokens(budget, withdrawal))
    }

    /// Whether a budget was asked.
    #[doc(hidden)]
    pub const fn is_charged(&self) -> bool {
        !matches!(self.0, Taken::Nothing)
    }

    /// The retry is sent: what it took stays taken.
    pub fn sent(mut self) {
        match mem::replace(&mut self.0, Taken::Nothing) {
            Taken::Nothing | Taken::Tokens(..) => {}
            // Dropped uncalled.
            Taken::Other(give_back) => drop(give_back),
        }
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        match mem::replace(&mut self.0, Taken::Nothing) {
            Taken::Nothing => {}
            Taken::Tokens(budget, withdrawal) => budget.refund(withdrawal),
            Taken::Other(give_back) => give_back(),
        }
    }
}

impl fmt::Debug for RetryPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPermit")
            .field("is_charged", &self.is_charged())
            .finish()
    }
}
