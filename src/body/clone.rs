//! Bodies that can simply be cloned.

use http::{Request, request::Parts};
use tower_service::Service;

use super::{NotReplayable, Rewind, Saved};

/// Sends a clone of the body: for every body that is [`Clone`], such as
/// [`Full<Bytes>`](https://docs.rs/http-body-util/0.1/http_body_util/struct.Full.html).
///
/// The inner service gets the body as it is, in no wrapper, so nothing changes for it. Each
/// request that may be sent again costs one clone up front, and one for each further attempt
/// but the last, which gets the clone that was kept.
///
/// This is what a retry layer does by default. A body that is not `Clone` does not compile with
/// it; the message names what buffers such bodies, [`Replay`](super::Replay).
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_http_retry::body::{CloneBody, Rewind, Saved};
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
/// A stream, for instance, is not `Clone`:
///
/// ```compile_fail,E0277
/// use http_body_util::StreamBody;
/// use tower_http_retry::body::{CloneBody, Rewind};
///
/// struct Chunks; // a stream that cannot be cloned
/// CloneBody.prepare(StreamBody::new(Chunks));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CloneBody;

// Without this, the compiler would say "`Clone` is not satisfied", which hides the way out that
// the trait's own message names.
#[diagnostic::do_not_recommend]
impl<B: Clone> Rewind<B> for CloneBody {
    type Body = B;
    type Saved = ClonedBody<B>;

    fn prepare(&self, body: B) -> (B, ClonedBody<B>) {
        (body.clone(), ClonedBody(Some(body)))
    }

    fn pass(&self, body: B) -> B {
        body
    }

    #[inline]
    fn keep(&self, body: &B) -> Option<ClonedBody<B>> {
        Some(ClonedBody(Some(body.clone())))
    }

    // Not inlined: the request is then handed on where it lies.
    #[inline(never)]
    fn send<S>(&self, service: &mut S, request: Request<B>) -> S::Future
    where
        S: Service<Request<B>>,
    {
        service.call(request)
    }
}

/// What [`CloneBody`] keeps: the body, until the last attempt takes it.
#[derive(Clone, Debug)]
pub struct ClonedBody<B>(Option<B>);

impl<B: Clone> Saved<B> for ClonedBody<B> {
    fn check(&self) -> Result<(), NotReplayable> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(NotReplayable::NotKept),
        }
    }

    fn next(&mut self, _head: &Parts, last: bool) -> Result<B, NotReplayable> {
        let body = if last { self.0.take() } else { self.0.clone() };
        body.ok_or(NotReplayable::NotKept)
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
