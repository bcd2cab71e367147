//! Bodies that are made anew for each attempt.

use std::{fmt, sync::Arc};

use http::{Request, request::Parts};
use tower_service::Service;

use super::{NotReplayable, Rewind, SavedBody};
use crate::BoxError;

/// Makes the body anew for each attempt after the first: for uploads that are too large to be
/// kept in memory and can be read again from where they came.
///
/// The first attempt sends the body of the request. For each further attempt the factory is
/// called with that attempt's request head, so whatever it needs travels in the request's
/// extensions. Nothing of the body is kept, copied or counted.
///
/// The factory vouches for the content: a file that changes between two attempts is sent as it
/// then is, and the record of each attempt that it made a body for notes that. A factory that fails ends the request with [`NotReplayable::Reopen`] and its error,
/// which is then the [`body_error`](crate::RetryError::body_error).
/// It is called on the runtime's threads, so it must not block for long.
///
/// # Examples
///
/// A file, sent in chunks and opened again for each attempt; the path travels in the request's
/// extensions:
///
/// ```
/// use std::{io, path::PathBuf};
///
/// use bytes::{Bytes, BytesMut};
/// use futures_util::stream;
/// use http::request::Parts;
/// use http_body::Frame;
/// use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
/// use tokio::{fs::File, io::AsyncReadExt};
/// use tower_http_retry::body::{Reopen, Rewind, SavedBody};
///
/// #[derive(Clone)]
/// struct Upload(PathBuf);
///
/// type FileBody = UnsyncBoxBody<Bytes, io::Error>;
///
/// fn open(path: &PathBuf) -> io::Result<FileBody> {
///     let file = File::from_std(std::fs::File::open(path)?);
///     let chunks = stream::try_unfold(file, async |mut file| {
///         let mut chunk = BytesMut::with_capacity(64 * 1024);
///         let read = file.read_buf(&mut chunk).await?;
///         Ok((read > 0).then(|| (Frame::data(chunk.freeze()), file)))
///     });
///     Ok(StreamBody::new(chunks).boxed_unsync())
/// }
///
/// let reopen = Reopen::new(|head: &Parts| match head.extensions.get::<Upload>() {
///     Some(Upload(path)) => open(path),
///     None => Err(io::ErrorKind::NotFound.into()),
/// });
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let path = std::env::temp_dir().join(format!("reopen-{}", std::process::id()));
/// # std::fs::write(&path, "the content")?;
/// let request = http::Request::put("http://files.example/a")
///     .extension(Upload(path.clone()))
///     .body(open(&path)?)?;
///
/// // What the retry layer does with it:
/// let (head, body) = request.into_parts();
/// let (first, mut saved) = reopen.prepare(body);
/// drop(first); // the first attempt failed
/// let second = saved.next(&head, false)?;
/// assert_eq!(second.collect().await?.to_bytes(), "the content");
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
/// # Ok::<(), io::Error>(())
/// ```
pub struct Reopen<F> {
    // Shared, so that a request costs no clone of what the closure holds.
    factory: Arc<F>,
}

impl<F> Reopen<F> {
    /// Opens bodies with `factory`.
    pub fn new<B, E>(factory: F) -> Self
    where
        F: Fn(&Parts) -> Result<B, E>,
        E: Into<BoxError>,
    {
        Self {
            factory: Arc::new(factory),
        }
    }
}

impl<F> Clone for Reopen<F> {
    fn clone(&self) -> Self {
        Self {
            factory: Arc::clone(&self.factory),
        }
    }
}

impl<F> fmt::Debug for Reopen<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reopen").finish_non_exhaustive()
    }
}

impl<F, B, E> Rewind<B> for Reopen<F>
where
    F: Fn(&Parts) -> Result<B, E>,
    E: Into<BoxError>,
{
    type Body = B;
    type Saved = SavedFactory<F>;

    fn prepare(&self, body: B) -> (B, SavedFactory<F>) {
        let factory = Arc::clone(&self.factory);
        (body, SavedFactory { factory })
    }

    fn pass(&self, body: B) -> B {
        body
    }

    #[inline]
    fn keep(&self, _: &B) -> Option<SavedFactory<F>> {
        let factory = Arc::clone(&self.factory);
        Some(SavedFactory { factory })
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

/// What [`Reopen`] keeps: the factory.
pub struct SavedFactory<F> {
    factory: Arc<F>,
}

impl<F> fmt::Debug for SavedFactory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedFactory").finish_non_exhaustive()
    }
}

impl<F, B, E> SavedBody<B> for SavedFactory<F>
where
    F: Fn(&Parts) -> Result<B, E>,
    E: Into<BoxError>,
{
    fn check(&self) -> Result<(), NotReplayable> {
        Ok(())
    }

    fn next(&mut self, head: &Parts, _last: bool) -> Result<B, NotReplayable> {
        (self.factory)(head).map_err(|error| NotReplayable::Reopen(error.into()))
    }

    fn vouched_by(&self) -> Option<&'static str> {
        Some("reopen_bodies")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        io,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    fn head(path: &str) -> Parts {
        let request = http::Request::get(path).body(()).expect("a request");
        request.into_parts().0
    }

    #[test]
    fn the_first_attempt_sends_the_callers_body_and_opens_nothing() {
        let opened = AtomicU32::new(0);
        let reopen = Reopen::new(|_| {
            opened.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>("opened")
        });
        let (first, mut saved) = reopen.prepare("the caller's");
        assert_eq!(first, "the caller's");
        assert_eq!(reopen.pass("the caller's"), "the caller's");
        assert_eq!(opened.load(Ordering::Relaxed), 0);

        assert_eq!(saved.next(&head("/"), false).ok(), Some("opened"));
        assert_eq!(saved.next(&head("/"), true).ok(), Some("opened"));
        assert_eq!(opened.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_factory_sees_the_attempts_own_head() {
        let reopen = Reopen::new(|head: &Parts| Ok::<_, Infallible>(head.uri.to_string()));
        let (_first, mut saved) = reopen.prepare(String::new());
        assert_eq!(saved.next(&head("/b"), false).ok().as_deref(), Some("/b"));
        assert_eq!(saved.next(&head("/c"), false).ok().as_deref(), Some("/c"));
    }

    #[test]
    fn an_error_of_the_factory_is_handed_on() {
        let reopen = Reopen::new(|_| Err::<(), _>(io::Error::from(io::ErrorKind::NotFound)));
        let ((), mut saved) = reopen.prepare(());
        let error = saved.next(&head("/"), false).expect_err("no file");
        let NotReplayable::Reopen(source) = error else {
            panic!("{error} instead of a failure to open");
        };
        let source = source.downcast_ref::<io::Error>().expect("kept as it was");
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }
}
