//! stub
use http::{Method, Uri, request::Parts};
pub(crate) struct Snapshot(Parts);
impl Snapshot {
    pub(crate) fn take(p: &Parts) -> Self {
        Self(p.clone())
    }
    pub(crate) fn method(&self) -> &Method {
        &self.0.method
    }
    pub(crate) fn uri(&self) -> &Uri {
        &self.0.uri
    }
    pub(crate) fn restore(&mut self, _last: bool) -> Parts {
        self.0.clone()
    }
}
