//! Errors whose types cannot be named, because they are private or their feature is off: they are
//! known by their message.
//!
//! A message is not a contract, and may be the server's. So it is asked last, it is believed only
//! below an error whose type makes such messages and at the place where they are made, and what is
//! read here only names a cause: it never makes a request safe to repeat.

use std::{
    error::Error,
    fmt::{self, Write},
};

use super::{
    Cause,
    reading::{Place, Reading},
    tls,
};

/// How much of a message is looked at, in bytes.
const MAX_MESSAGE: usize = 512;

/// Reads an error by its message.
pub(super) fn read(error: &(dyn Error + 'static), at: Place) -> Option<Reading> {
    let cause = match at {
        Place::Connecting => {
            let message = message(error);
            if let Some(reading) = tls::read_message(&message, at) {
                return Some(reading);
            }
            connector(&message)?
        }
        // A connection's TLS, which speaks as long as the connection lives.
        Place::Called | Place::Stream | Place::Exchange => {
            return tls::read_message(&message(error), at);
        }
        Place::Nothing | Place::OneRequest | Place::Body => return None,
    };
    Some(Reading::Settled(cause))
}

/// Reads the message of a connector.
fn connector(message: &str) -> Option<Cause> {
    Some(match message {
        // hyper-util's `HttpConnector`
        "dns error" => Cause::Dns,
        "invalid URL, scheme is not http" | "invalid URL, scheme is missing" => {
            Cause::UnsupportedScheme
        }
        "invalid URL, host is missing" => Cause::InvalidUri,
        // hyper-rustls's `HttpsConnector`, and the names that cannot be in a certificate
        "missing scheme" => Cause::UnsupportedScheme,
        "invalid dns name" => Cause::InvalidUri,
        _ if message.starts_with("unsupported scheme ") => Cause::UnsupportedScheme,
        // reqwest's resolver
        "error resolving DNS" => Cause::Dns,
        // reqwest's connector; tower's and tokio's timeouts in a connector, in any version
        "operation timed out" | "request timed out" | "deadline has elapsed" => {
            Cause::ConnectTimeout
        }
        // hyper-util's tunnel through a proxy, which reqwest uses, too. Of other refusals it does
        // not say the status.
        "tunnel error: proxy authorization required" => Cause::ProxyAuthentication,
        "tunnel error: missing destination host" => Cause::InvalidUri,
        // std's resolver, below any other connector
        _ if message.starts_with("failed to lookup address information") => Cause::Dns,
        _ => return None,
    })
}

/// The beginning of an error's message.
pub(super) fn message(error: &(dyn Error + 'static)) -> Message {
    let mut message = Message::new(MAX_MESSAGE);
    // Ends with an error where the message is longer than what is looked at.
    let _ = write!(message, "{error}");
    message
}

/// A text that takes no more than so many bytes, whatever is written to it.
#[derive(Debug)]
pub(super) struct Message {
    text: String,
    limit: usize,
    cut: bool,
}

impl Message {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            text: String::new(),
            limit,
            cut: false,
        }
    }

    /// Whether more was written than there was room for.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.limit - self.text.len();
        let end = floor_char_boundary(text, room);
        self.text.push_str(&text[..end]);
        self.cut |= end < text.len();
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

impl std::ops::Deref for Message {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// The last boundary between characters at or before `index`; the standard library's is newer
/// than this crate's minimal Rust version.
pub(super) fn floor_char_boundary(text: &str, index: usize) -> usize {
    if index >= text.len() {
        return text.len();
    }
    (0..=index)
        .rfind(|&end| text.is_char_boundary(end))
        .unwrap_or(0)
}
