//! Bodies whose clones are known to be whole.

use std::{borrow::Cow, collections::VecDeque, io::Cursor, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use http_body_util::{Either, Empty, Full, combinators::MapErr};

/// A request body whose clone is whole: it yields what this body would yield, whatever becomes of
/// either of them.
///
/// `Clone` does not promise that. A body may share its content behind a pointer, so that the
/// clone of one that was sent is empty; sent again, it would reach the server as a request
/// without content. So [`CloneBody`](super::CloneBody), the default of a retry layer, is for
/// bodies that implement this trait, and the crate implements it only where it is known to hold:
///
/// - buffers: [`Bytes`], [`BytesMut`], `Vec<u8>`, `String`, `&str`, `&[u8]`, `Box<str>`,
///   `Box<[u8]>`, `Arc<str>`, `Arc<[u8]>` and `Cow`s of texts and bytes;
/// - [`Full`] over such buffers of bytes, and [`Empty`];
/// - `()`, and `Option`, `Box`, `Pin<Box>`, [`Either`] and [`MapErr`] of bodies that have it;
/// - `reqwest::Body` (feature `reqwest`), unless it is a stream.
///
/// # Bodies of other types
///
/// | | for |
/// | --- | --- |
/// | [`replay_bodies(limit)`](crate::RetryLayer::replay_bodies) | every body: what is sent is recorded |
/// | [`replay_bodies_as(limit, f)`](crate::RetryLayer::replay_bodies_as) | the same, where the client takes only a body type of its own |
/// | [`clone_bodies_with(try_clone)`](crate::RetryLayer::clone_bodies_with) | a type that can say whether it can be cloned |
/// | [`clone_bodies()`](crate::RetryLayer::clone_bodies) | a type whose `Clone` you know to be whole |
///
/// A type of your own needs one line:
///
/// ```
/// use tower_http_retry::body::WholeBody;
///
/// #[derive(Clone)]
/// struct Json(bytes::Bytes);
///
/// impl WholeBody for Json {
///     fn try_clone_whole(&self) -> Option<Self> { Some(self.clone()) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a clone of a request body of type `{Self}` is not known to be whole",
    label = "this layer does not send a clone of a `{Self}`",
    note = "any body can be recorded while it is sent: `RetryLayer::new(policy).replay_bodies(limit)`, or `.replay_bodies_as(limit, YourBody::new)` above a client that takes no body but its own",
    note = "a body that can say whether it can be cloned: `.clone_bodies_with(|body| body.try_clone())`",
    note = "a body that is `Clone`, and you know that a clone yields everything even after the other one was sent: `.clone_bodies()`",
    note = "a type of your own: `impl WholeBody for YourBody {{ fn try_clone_whole(&self) -> Option<Self> {{ Some(self.clone()) }} }}`"
)]
pub trait WholeBody: Sized {
    /// A body that yields what this one would yield from here on.
    ///
    /// `None` if there can be none; the request is then sent once, and a retry that would be
    /// wanted is refused with [`BodyNotKept`](crate::policy::StopReason::BodyNotKept).
    fn try_clone_whole(&self) -> Option<Self>;
}

/// Types whose `Clone` is whole.
macro_rules! by_clone {
    ($($(in $l:lifetime:)? $body:ty),+ $(,)?) => { $(
        impl $(<$l>)? WholeBody for $body {
            #[inline]
            fn try_clone_whole(&self) -> Option<Self> {
                Some(self.clone())
            }
        }
    )+ };
}

by_clone! {
    (),
    Bytes,
    BytesMut,
    Vec<u8>,
    String,
    Box<str>,
    Box<[u8]>,
    Arc<str>,
    Arc<[u8]>,
    in 'a: &'a str,
    in 'a: &'a [u8],
    in 'a: Cow<'a, str>,
    in 'a: Cow<'a, [u8]>,
    // Not for every buffer that is `Clone`: a position may be shared, too.
    Full<Bytes>,
    Full<BytesMut>,
    Full<VecDeque<u8>>,
    Full<Cursor<Bytes>>,
    Full<Cursor<Vec<u8>>>,
    Full<Cursor<String>>,
    Full<Cursor<Box<[u8]>>>,
    in 'a: Full<&'a [u8]>,
    in 'a: Full<Cursor<&'a [u8]>>,
    in 'a: Full<Cursor<&'a str>>,
}

impl<D> WholeBody for Empty<D> {
    #[inline]
    fn try_clone_whole(&self) -> Option<Self> {
        Some(*self)
    }
}

impl<B: WholeBody> WholeBody for Option<B> {
    #[inline]
    fn try_clone_whole(&self) -> Option<Self> {
        match self {
            Some(body) => body.try_clone_whole().map(Some),
            None => Some(None),
        }
    }
}

impl<B: WholeBody> WholeBody for Box<B> {
    #[inline]
    fn try_clone_whole(&self) -> Option<Self> {
        (**self).try_clone_whole().map(Box::new)
    }
}

impl<B: WholeBody> WholeBody for Pin<Box<B>> {
    #[inline]
    fn try_clone_whole(&self) -> Option<Self> {
        (**self).try_clone_whole().map(Box::pin)
    }
}

impl<L: WholeBody, R: WholeBody> WholeBody for Either<L, R> {
    #[inline]
    fn try_clone_whole(&self) -> Option<Self> {
        match self {
            Self::Left(body) => body.try_clone_whole().map(Self::Left),
            Self::Right(body) => body.try_clone_whole().map(Self::Right),
        }
    }
}

impl<B, F> WholeBody for MapErr<B, F>
where
    B: WholeBody + Clone,
    F: Clone,
{
    fn try_clone_whole(&self) -> Option<Self> {
        let whole = self.get_ref().try_clone_whole()?;
        // The body within that clone need not be whole.
        let mut clone = self.clone();
        *clone.get_mut() = whole;
        Some(clone)
    }
}
