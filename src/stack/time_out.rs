//! What a layer says of an attempt that ran out of time.
//!
//! Such an attempt is dropped, and a future that is dropped returns nothing: neither where it went
//! nor how often it was sent could be told. So [`RetryLayer`](crate::RetryLayer) drops it in a
//! scope of the thread, in which the layers below learn why they are dropped, as a destructor
//! learns of a panic, and can say what they know. A request that is dropped by its caller is
//! dropped outside of any such scope.

use std::{cell::RefCell, mem};

use super::LayerOutcome;

/// Which time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeOut {
    /// The attempt's.
    Attempt,
    /// The whole request's, of which its caller may have left as little as it likes.
    Request,
}

#[derive(Default)]
struct Scope {
    #[cfg_attr(
        not(any(
            feature = "connection",
            feature = "endpoints",
            feature = "hedge",
            feature = "telemetry"
        )),
        expect(dead_code, reason = "no layer asks")
    )]
    over: Option<TimeOut>,
    said: Option<Box<LayerOutcome>>,
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope { over: None, said: None }) };
}

/// Puts back the scope that was there before, also if a destructor panics.
struct Outer(Scope);

impl Drop for Outer {
    fn drop(&mut self) {
        SCOPE.with_borrow_mut(|scope| mem::swap(scope, &mut self.0));
    }
}

/// Drops an attempt whose time is over. Returns what the layers below say of it.
pub(crate) fn drop_late(over: TimeOut, drop: impl FnOnce()) -> Option<Box<LayerOutcome>> {
    let new = Scope {
        over: Some(over),
        said: None,
    };
    let outer = Outer(SCOPE.replace(new));
    drop();
    let said = SCOPE.with_borrow_mut(|scope| scope.said.take());
    mem::drop(outer);
    said
}

/// Which time is over of the attempt that is dropped right now, if that is why.
#[cfg(any(
    feature = "connection",
    feature = "endpoints",
    feature = "hedge",
    feature = "telemetry"
))]
pub(crate) fn time_out() -> Option<TimeOut> {
    // A thread that ends drops what it holds after this.
    SCOPE.try_with(|scope| scope.borrow().over).ok().flatten()
}

/// What the layer `by` has to say of the attempt that is dropped right now, besides what is said
/// already. A layer further out is heard first.
#[cfg(any(feature = "connection", feature = "endpoints", feature = "hedge"))]
pub(crate) fn say_late(by: &'static str, say: impl FnOnce(&mut LayerOutcome)) {
    let _ = SCOPE.try_with(|scope| {
        let mut scope = scope.borrow_mut();
        if scope.over.is_some() {
            say(scope
                .said
                .get_or_insert_with(|| Box::new(LayerOutcome::new(by))));
        }
    });
}

#[cfg(all(test, feature = "connection", feature = "endpoints"))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    struct Speaks(&'static str);

    impl Drop for Speaks {
        fn drop(&mut self) {
            say_late(self.0, |outcome| {
                outcome.attempts = Some(outcome.attempts.unwrap_or(0) + 1);
            });
        }
    }

    #[test]
    fn only_what_is_late_is_heard() {
        drop(Speaks("a"));
        assert_eq!(time_out(), None);
        let said = drop_late(TimeOut::Attempt, || {
            assert_eq!(time_out(), Some(TimeOut::Attempt));
            drop((Speaks("a"), Speaks("b")));
        });
        let said = said.expect("both have spoken");
        assert_eq!((&*said.by, said.attempts), ("a", Some(2)));
        assert_eq!(drop_late(TimeOut::Request, || {}), None);
        assert_eq!(time_out(), None);
    }

    #[test]
    fn a_scope_within_another_and_one_that_panics_leave_no_trace() {
        let outer = drop_late(TimeOut::Request, || {
            let inner = drop_late(TimeOut::Attempt, || drop(Speaks("inner")));
            assert_eq!(inner.expect("it has spoken").by, "inner");
            let panics = || drop_late(TimeOut::Attempt, || panic!("a destructor"));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            assert_eq!(time_out(), Some(TimeOut::Request));
            drop(Speaks("outer"));
        });
        assert_eq!(outer.expect("it has spoken").by, "outer");
        assert_eq!(time_out(), None);
    }
}
