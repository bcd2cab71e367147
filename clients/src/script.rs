//! What a server does with one request after the other.

use bytes::Bytes;
use http::StatusCode;

/// What a server does once it has read a request, or as much of it as the step says.
#[derive(Clone, Debug)]
pub enum Step {
    /// It answers, and keeps the connection.
    Answer(Answer),
    /// It answers 200 with the request's own body, and keeps the connection.
    Echo,
    /// It reads the whole request and closes the connection.
    CloseBeforeHead,
    /// It reads the whole request and resets the connection.
    ResetBeforeHead,
    /// It closes the connection in the middle of the response's head.
    CutInHead,
    /// It promises a body of 1000 bytes, sends ten and closes the connection.
    CutInBody,
    /// It resets the connection after so many bytes of the request's body.
    ResetInUpload(usize),
    /// It says nothing and keeps the connection.
    Silence,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Answer {
    /// A response without content.
    ///
    /// # Panics
    ///
    /// If this is no status.
    pub fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Content of type `application/json`.
    pub fn json(self, body: impl Into<Bytes>) -> Self {
        self.header("content-type", "application/json").body(body)
    }
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<u16> for Step {
    fn from(status: u16) -> Self {
        Self::Answer(Answer::status(status))
    }
}
