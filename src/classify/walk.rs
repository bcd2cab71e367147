//! The chain of an error: its sources, and what `std` hides from `source()`.

use std::{error::Error, io, sync::Arc};

use super::NeverSent;
use crate::{
    RetryError,
    stack::{LayerError, Rejected},
};

/// How many links are followed below the outermost error.
///
/// The deepest chain that a client stack was seen to build has eight; a bound is needed because
/// nothing stops an error from being its own source.
pub(super) const MAX_LINKS: usize = 16;

/// Iterates over an error and its causes, outermost first.
///
/// Differs from following [`Error::source`] in stepping *into* errors that stand in front of the
/// error they carry: `io::Error::source` is the source of the wrapped error, so that the wrapped
/// error itself, often the only telling one, is never seen.
#[derive(Clone, Debug)]
pub(super) struct Chain<'a> {
    next: Option<&'a (dyn Error + 'static)>,
    links_left: usize,
}

impl<'a> Chain<'a> {
    pub(super) fn new(error: &'a (dyn Error + 'static)) -> Self {
        Self {
            next: Some(error),
            links_left: MAX_LINKS,
        }
    }
}

impl<'a> Iterator for Chain<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let error = self.next.take()?;
        if let Some(links_left) = self.links_left.checked_sub(1) {
            self.links_left = links_left;
            self.next = below(error);
        }
        Some(error)
    }
}

/// The next link below `error`.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    hidden(error).or_else(|| error.source())
}

/// The error that `error` carries without naming it as its source.
fn hidden<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().map(|inner| inner as _);
    }
    if let Some(error) = error.downcast_ref::<http::Error>() {
        return Some(error.get_ref());
    }
    if let Some(content) = pointed(error) {
        return Some(content);
    }
    #[cfg(feature = "h2")]
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return error.get_io().map(|inner| inner as _);
    }
    None
}

/// The content of a `Box` or an `Arc`. Both are errors with the sources of their content, so that
/// the content itself would be skipped.
pub(super) fn pointed<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(error) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return Some(&**error);
    }
    // No other content can be named: of an `Arc` of a type that is not here nothing is known.
    CONTENTS.iter().find_map(|content| content(error))
}

/// Reads the content of a `Box` or an `Arc`, if it is of one type.
type Content = for<'a> fn(&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)>;

const CONTENTS: &[Content] = &[
    of::<io::Error>,
    of::<NeverSent>,
    of::<RetryError>,
    of::<LayerError>,
    of::<Rejected>,
    #[cfg(feature = "tower")]
    of::<tower::load_shed::error::Overloaded>,
    #[cfg(feature = "tower")]
    of::<tower::buffer::error::ServiceError>,
    #[cfg(feature = "h2")]
    of::<h2::Error>,
    #[cfg(feature = "hyper")]
    of::<hyper_util::client::legacy::Error>,
    #[cfg(feature = "hyper")]
    of::<hyper::Error>,
    #[cfg(feature = "reqwest")]
    of::<crate::reqwest::ReqwestError>,
    #[cfg(feature = "reqwest")]
    of::<reqwest::Error>,
];

/// The `E` in a `Box` or an `Arc`.
fn of<'a, E: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a (dyn Error + 'static)> {
    if let Some(error) = error.downcast_ref::<Box<E>>() {
        return Some(&**error);
    }
    let error: &Arc<E> = error.downcast_ref()?;
    Some(&**error)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    /// An error in front of another.
    #[derive(Debug)]
    struct Link(Box<dyn Error + Send + Sync>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("link")
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    /// An error that is its own source.
    #[derive(Debug)]
    struct Ouroboros;

    impl fmt::Display for Ouroboros {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("ouroboros")
        }
    }

    impl Error for Ouroboros {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
        Chain::new(error).find_map(|link| link.downcast_ref())
    }

    #[test]
    fn follows_sources_outermost_first() {
        let error = Link(Box::new(Link("bottom".into())));
        let messages: Vec<_> = Chain::new(&error).map(ToString::to_string).collect();
        assert_eq!(messages, ["link", "link", "bottom"]);
    }

    #[test]
    fn steps_into_io_errors_two_levels_deep() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, Link("bottom".into()));
        let outer = Link(Box::new(io::Error::other(inner)));
        let messages: Vec<_> = Chain::new(&outer).map(ToString::to_string).collect();
        assert_eq!(messages, ["link", "link", "link", "link", "bottom"]);
        assert!(
            Chain::new(&outer)
                .filter_map(|link| link.downcast_ref::<io::Error>())
                .map(io::Error::kind)
                .eq([io::ErrorKind::Other, io::ErrorKind::InvalidData])
        );
    }

    #[test]
    fn steps_into_shared_errors() {
        let shared: Arc<dyn Error + Send + Sync> = Arc::new(Ouroboros);
        assert!(find::<Ouroboros>(&shared).is_some());
        let shared = Link(Box::new(Arc::new(io::Error::other(Ouroboros))));
        assert!(find::<Ouroboros>(&shared).is_some());
    }

    #[test]
    fn steps_into_the_catch_all_error_of_http() {
        let error = http::Error::from(http::Uri::try_from("").unwrap_err());
        assert!(find::<http::uri::InvalidUri>(&error).is_some());
    }

    #[test]
    fn ends_on_a_cycle() {
        assert_eq!(Chain::new(&Ouroboros).count(), 1 + MAX_LINKS);
    }

    #[test]
    fn ends_on_a_chain_of_ten_thousand_links() {
        let mut error: Box<dyn Error + Send + Sync> = "bottom".into();
        for _ in 0..10_000 {
            error = Box::new(Link(error));
        }
        assert_eq!(Chain::new(&*error).count(), 1 + MAX_LINKS);
    }
}
