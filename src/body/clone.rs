//! Bodies that are cloned.

use std::fmt;

use http::{Request, request::Parts};
use tower_service::Service;

use super::{NotReplayable, Rewind, SavedBody, WholeBody};

/// Sends a clone of the body: for every body whose clones are known to be whole, such as
/// [`Full<Bytes>`](https://docs.rs/http-body-util/0.1/http_body_util/struct.Full.html); see
/// [`WholeBody`].
///
/// The inner service gets the body as it is, in no wrapper, so nothing changes for it. Each
/// request that may be sent again costs one clone up front, and one for each further attempt
/// but the last, which gets the clone that was kept.
///
/// This is what a retry layer does by default. Another body does not compile with it; the message
/// names what sends such bodies.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_http_retry::body::{CloneBody, Rewind, SavedBody};
///
/// let (first, mut saved) = CloneBody.prepare(Full::new(Bytes::from_static(b"hello")));
/// drop(first); // the first attempt failed
///
/// let (head, ()) = http::Request::new(()).into_parts();
/// let second: Full<Bytes> = saved.next(&head, true)?;
/// # let _ = second;
/// # Ok::<(), tower_http_retry::body::NotReplayable>(())
/// ```
///
/// That a body is `Clone` says nothing of its content:
///
/// ```compile_fail,E0277
/// use std::sync::{Arc, Mutex};
/// use bytes::Bytes;
/// use tower_http_retry::body::{CloneBody, Rewind};
///
/// #[derive(Clone)]
/// struct Shared(Arc<Mutex<Bytes>>); // once it is sent, its clones are empty
/// CloneBody.prepare(Shared(Arc::default()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CloneBody;

/// Sends a clone of any body that is [`Clone`], on the word of whoever wrote
/// [`clone_bodies`](crate::RetryLayer::clone_bodies); the report of a retry repeats it.
///
/// ```
/// use tower_http_retry::body::{CloneAny, Rewind, SavedBody};
///
/// let (first, mut saved) = CloneAny.prepare([1, 2, 3]);
/// let (head, ()) = http::Request::new(()).into_parts();
/// assert_eq!(saved.next(&head, true)?, first);
/// # Ok::<(), tower_http_retry::body::NotReplayable>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CloneAny;

/// Sends what a function makes of a body, on the word of whoever wrote
/// [`clone_bodies_with`](crate::RetryLayer::clone_bodies_with); the report of a retry repeats it.
///
/// The function is cloned once for each request: one that holds anything should hold it in an
/// `Arc`.
///
/// ```
/// use tower_http_retry::body::{CloneWith, NotReplayable, Rewind, SavedBody};
///
/// enum Content { Text(String), Stream }
///
/// let clones = CloneWith::new(|content: &Content| match content {
///     Content::Text(text) => Some(Content::Text(text.clone())),
///     Content::Stream => None,
/// });
/// let (_first, saved) = clones.prepare(Content::Text("hello".to_owned()));
/// assert!(saved.check().is_ok());
/// let (_first, saved) = clones.prepare(Content::Stream);
/// assert!(matches!(saved.check(), Err(NotReplayable::NotKept)));
/// ```
#[derive(Clone, Copy)]
pub struct CloneWith<F> {
    try_clone: F,
}

impl<F> CloneWith<F> {
    /// Clones bodies with `try_clone`; `None` says that this one cannot be cloned.
    pub const fn new<B>(try_clone: F) -> Self
    where
        F: Fn(&B) -> Option<B>,
    {
        Self { try_clone }
    }
}

impl<F> fmt::Debug for CloneWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloneWith").finish_non_exhaustive()
    }
}

/// How a body is cloned, and on whose word.
pub trait TryClone<B> {
    /// The layer's option by which the user vouches for the clone.
    const VOUCHED_BY: Option<&'static str>;

    /// A clone that is whole, as far as is known.
    fn try_clone(&self, body: &B) -> Option<B>;
}

impl<B: WholeBody> TryClone<B> for CloneBody {
    const VOUCHED_BY: Option<&'static str> = None;

    #[inline]
    fn try_clone(&self, body: &B) -> Option<B> {
        body.try_clone_whole()
    }
}

impl<B: Clone> TryClone<B> for CloneAny {
    const VOUCHED_BY: Option<&'static str> = Some("clone_bodies");

    #[inline]
    fn try_clone(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

impl<B, F: Fn(&B) -> Option<B>> TryClone<B> for CloneWith<F> {
    const VOUCHED_BY: Option<&'static str> = Some("clone_bodies_with");

    #[inline]
    fn try_clone(&self, body: &B) -> Option<B> {
        (self.try_clone)(body)
    }
}

/// All of them do the same, but for how they clone.
macro_rules! rewind_by_clone {
    ($how:ty, <$body:ident $(, $f:ident)?> $($bounds:tt)*) => {
        impl<$body $(, $f)?> Rewind<$body> for $how
        where
            $($bounds)*
        {
            type Body = $body;
            type Saved = SavedClone<$body, $how>;

            #[inline]
            fn prepare(&self, body: $body) -> ($body, Self::Saved) {
                let saved = SavedClone::of(&body, self.clone());
                (body, saved)
            }

            #[inline]
            fn pass(&self, body: $body) -> $body {
                body
            }

            #[inline]
            fn keep(&self, body: &$body) -> Option<Self::Saved> {
                Some(SavedClone::of(body, self.clone()))
            }

            // Not inlined: the request is then handed on where it lies.
            #[inline(never)]
            fn send<S>(&self, service: &mut S, request: Request<$body>) -> S::Future
            where
                S: Service<Request<$body>>,
            {
                service.call(request)
            }
        }
    };
}

rewind_by_clone!(CloneBody, <B> B: WholeBody);
rewind_by_clone!(CloneAny, <B> B: Clone);
rewind_by_clone!(CloneWith<F>, <B, F> F: Fn(&B) -> Option<B> + Clone);

/// What is kept of a body that is cloned: a clone, until the last attempt takes it.
#[derive(Clone, Debug)]
pub struct SavedClone<B, C = CloneBody> {
    /// Absent if the body cannot be cloned, and once it was sent.
    body: Option<B>,
    how: C,
}

impl<B, C: TryClone<B>> SavedClone<B, C> {
    #[inline]
    fn of(body: &B, how: C) -> Self {
        Self {
            body: how.try_clone(body),
            how,
        }
    }
}

impl<B, C: TryClone<B>> SavedBody<B> for SavedClone<B, C> {
    fn check(&self) -> Result<(), NotReplayable> {
        match self.body {
            Some(_) => Ok(()),
            None => Err(NotReplayable::NotKept),
        }
    }

    fn next(&mut self, _head: &Parts, last: bool) -> Result<B, NotReplayable> {
        let kept = self.body.take().ok_or(NotReplayable::NotKept)?;
        if !last {
            // Where there is no second clone, the one that was kept is sent, since that was
            // promised, and no attempt can follow it.
            self.body = self.how.try_clone(&kept);
        }
        Ok(kept)
    }

    fn vouched_by(&self) -> Option<&'static str> {
        C::VOUCHED_BY
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    /// Counts how often it is cloned.
    struct Counting(Rc<Cell<u32>>);

    impl Clone for Counting {
        fn clone(&self) -> Self {
            self.0.set(self.0.get() + 1);
            Self(Rc::clone(&self.0))
        }
    }

    impl WholeBody for Counting {
        fn try_clone_whole(&self) -> Option<Self> {
            Some(self.clone())
        }
    }

    fn head() -> Parts {
        http::Request::new(()).into_parts().0
    }

    #[test]
    fn the_last_attempt_costs_no_clone() {
        let clones = Rc::new(Cell::new(0));
        let (_first, mut saved) = CloneBody.prepare(Counting(Rc::clone(&clones)));
        assert_eq!(clones.get(), 1);
        saved.next(&head(), false).expect("kept");
        assert_eq!(clones.get(), 2);
        saved.next(&head(), true).expect("kept");
        assert_eq!(clones.get(), 2);
    }

    #[test]
    fn nothing_is_left_after_the_last_attempt() {
        let (_first, mut saved) = CloneBody.prepare("text");
        assert!(saved.check().is_ok());
        assert_eq!(saved.next(&head(), true).ok(), Some("text"));
        assert!(matches!(saved.check(), Err(NotReplayable::NotKept)));
        assert!(matches!(
            saved.next(&head(), true),
            Err(NotReplayable::NotKept)
        ));
    }

    #[test]
    fn a_request_that_is_sent_once_costs_no_clone() {
        let clones = Rc::new(Cell::new(0));
        let _body = CloneBody.pass(Counting(Rc::clone(&clones)));
        assert_eq!(clones.get(), 0);
    }
}
