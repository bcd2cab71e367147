//! Follows redirects as requests' `Session.resolve_redirects` does.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tower_http::follow_redirect::policy::{Action, Attempt, Policy};
use tower_http_retry::RetryError;

/// requests' `max_redirects`.
const MOST: usize = 30;

/// Where requests and tower-http's own rules differ, requests' rules.
#[derive(Clone, Debug)]
pub(crate) struct AsRequests {
    follow: bool,
    followed: usize,
    /// The request has become a GET.
    get: bool,
    /// Its body is gone.
    empty: bool,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failed {
    Retries(RetryError),
    TooManyRedirects,
}

impl AsRequests {
    pub(crate) fn new(follow: bool) -> Self {
        Self {
            follow,
            followed: 0,
            get: false,
            empty: false,
        }
    }
}

impl Policy<Full<Bytes>, Failed> for AsRequests {
    fn redirect(&mut self, attempt: &Attempt<'_>) -> Result<Action, Failed> {
        if !self.follow {
            return Ok(Action::Stop);
        }
        if self.followed == MOST {
            return Err(Failed::TooManyRedirects);
        }
        self.followed += 1;
        let status = attempt.status();
        // Not only a POST, as there.
        self.get |= status == StatusCode::FOUND && attempt.previous_method() != Method::HEAD;
        // Even where the method stays: a PUT after a 301.
        self.empty |= !matches!(
            status,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        Ok(Action::Follow)
    }

    fn on_request(&mut self, request: &mut Request<Full<Bytes>>) {
        if self.get {
            *request.method_mut() = Method::GET;
        }
        if self.empty {
            *request.body_mut() = Full::default();
        }
    }

    fn clone_body(&self, body: &Full<Bytes>) -> Option<Full<Bytes>> {
        Some(body.clone())
    }
}
