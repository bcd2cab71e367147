//! What goes down: [`RequestState`].

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use http::{Extensions, Uri};
use tokio::time::Instant;

use crate::reason::LimitKind;

/// What the layers of a stack share of one request, so that together they multiply nothing.
///
/// The outermost layer that sends a request more than once (one that follows redirects, one that
/// goes on with a broken download) puts it into the request's extensions; layers below use it.
/// A [`RetryLayer`](crate::RetryLayer) below takes its deadline for the end of its own, and
/// starts counting where the others have stopped. Alone in a stack, it has none.
///
/// # Clone
///
/// Clones share the state: it belongs to the request, also when that is sent again.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_http_retry::stack::RequestState;
///
/// let state = RequestState::new(Some(Instant::now() + Duration::from_secs(20)));
/// let mut request = http::Request::get("http://example.com/").body(())?;
/// request.extensions_mut().insert(state.clone());
///
/// // A layer that chooses between servers says which it tried.
/// state.add_tried("http://10.0.0.7:8080/".parse()?);
/// let seen = RequestState::of(request.extensions()).expect("it was put there");
/// assert_eq!(seen.tried().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RequestState {
    shared: Arc<Shared>,
}

struct Shared {
    deadline: Option<Instant>,
    used: [AtomicU32; LimitKind::ALL.len()],
    tried: Mutex<Vec<Uri>>,
    #[cfg(any(feature = "redirect", feature = "resume", feature = "telemetry"))]
    /// Why the next request is sent, as the number of a `Lead`; 0 if it is one of its own.
    lead: std::sync::atomic::AtomicU8,
}

/// Why a layer further out sends a request that those below take for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg(any(feature = "redirect", feature = "resume", feature = "telemetry"))]
pub(crate) enum Lead {
    /// A server answered with another URL.
    #[cfg(any(feature = "redirect", feature = "telemetry"))]
    Redirect = 1,
    /// A response broke and goes on.
    #[cfg(any(feature = "resume", feature = "telemetry"))]
    Resume = 2,
}

/// So many endpoints are remembered of one request: one that was tried longer ago may be tried
/// again.
const MOST_TRIED: usize = 64;

impl RequestState {
    /// A request that has to be at its end at `deadline`, if there is one.
    pub fn new(deadline: Option<Instant>) -> Self {
        Self {
            shared: Arc::new(Shared {
                deadline,
                used: Default::default(),
                tried: Mutex::default(),
                #[cfg(any(feature = "redirect", feature = "resume", feature = "telemetry"))]
                lead: std::sync::atomic::AtomicU8::new(0),
            }),
        }
    }

    /// The state of the request with these extensions, if a layer further out has made one.
    #[inline]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        // An empty map costs no look-up.
        if extensions.is_empty() {
            return None;
        }
        extensions.get()
    }

    /// When the whole request has to be at its end. It is an instant, so that it does not start
    /// anew with each hop and each attempt.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.deadline
    }

    /// How many retries, hops and continuations all layers together have charged to `kind`.
    pub fn used(&self, kind: LimitKind) -> u32 {
        self.shared.used[kind as usize].load(Relaxed)
    }

    /// Charges one to `kind` and to `total`.
    pub fn charge(&self, kind: LimitKind) {
        let kinds = match kind {
            LimitKind::Total => &[LimitKind::Total][..],
            kind => &[LimitKind::Total, kind],
        };
        for kind in kinds {
            // An error is the highest number there is, which stays.
            let used = &self.shared.used[*kind as usize];
            let _ = used.fetch_update(Relaxed, Relaxed, |used| used.checked_add(1));
        }
    }

    /// The next request with this state is sent for this reason.
    #[cfg(any(feature = "redirect", feature = "resume"))]
    pub(crate) fn leads(&self, lead: Lead) {
        self.shared.lead.store(lead as u8, Relaxed);
    }

    /// Why a layer further out sends the request, for the first who asks: what follows is another
    /// request.
    #[cfg(feature = "telemetry")]
    pub(crate) fn take_lead(&self) -> Option<Lead> {
        match self.shared.lead.swap(0, Relaxed) {
            0 => None,
            1 => Some(Lead::Redirect),
            _ => Some(Lead::Resume),
        }
    }

    /// Takes over what was charged to another state.
    #[cfg(feature = "resume")]
    pub(crate) fn charge_as(&self, other: &Self) {
        for kind in LimitKind::ALL {
            let used = other.used(kind);
            self.shared.used[kind as usize].store(used, Relaxed);
        }
    }

    /// The endpoints that this request was sent to, in order, the last 64 at most.
    pub fn tried(&self) -> Vec<Uri> {
        let tried = self.shared.tried.lock();
        tried.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it was sent to `endpoint`.
    pub(crate) fn has_tried(&self, endpoint: &Uri) -> bool {
        let tried = self.shared.tried.lock();
        let tried = tried.unwrap_or_else(PoisonError::into_inner);
        tried.contains(endpoint)
    }

    /// What follows is a request of its own, which was sent nowhere yet.
    #[cfg(feature = "redirect")]
    pub(crate) fn forget_tried(&self) {
        let tried = self.shared.tried.lock();
        tried.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The request is sent to `endpoint`.
    pub fn add_tried(&self, endpoint: Uri) {
        let tried = self.shared.tried.lock();
        let mut tried = tried.unwrap_or_else(PoisonError::into_inner);
        if tried.len() == MOST_TRIED {
            tried.remove(0);
        }
        tried.push(endpoint);
    }
}

impl fmt::Debug for RequestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestState")
            .field("deadline", &self.shared.deadline)
            .field("used", &self.shared.used)
            .field("tried", &self.tried())
            .finish()
    }
}
