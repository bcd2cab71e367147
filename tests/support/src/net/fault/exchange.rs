//! One request and its answer, in whichever version: the acts, and what a version must be able
//! to do for them.

use std::{future::Future, io};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Act, Answer, Shared, log::Record};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It can be used again.
    Keep,
    Close,
    Reset,
}

/// How much of an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// All but the end of its content.
    HalfABody,
}

/// One request whose head has arrived.
pub(super) trait Exchange: Send {
    /// The next piece of its content; `None` after the last.
    fn read(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;

    /// What came after its content.
    fn trailers(&mut self) -> Option<HeaderMap>;

    fn inform(&mut self, status: StatusCode) -> impl Future<Output = io::Result<()>> + Send;

    /// Answers; `last` says that the connection will not be used again.
    fn answer(
        &mut self,
        answer: &Answer,
        extent: Extent,
        last: bool,
    ) -> impl Future<Output = io::Result<()>> + Send;

    fn half_a_head(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends what may be no HTTP.
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until the client gives up. What it still sends is lost.
    fn given_up(&mut self) -> impl Future<Output = io::Result<End>> + Send;

    fn reset_stream(&mut self, code: u32) -> impl Future<Output = io::Result<End>> + Send;

    fn go_away(
        &mut self,
        processed: bool,
        code: u32,
    ) -> impl Future<Output = io::Result<End>> + Send;

    /// Whether the connection can be used again after an answer to a request that was, or was
    /// not, read to its end.
    fn can_keep(&self, whole: bool) -> bool;
}

/// Does what is to be done, and writes down what arrives.
pub(super) async fn perform(
    exchange: &mut impl Exchange,
    acts: Vec<Act>,
    record: &Record,
    shared: &Shared,
) -> io::Result<End> {
    let mut end = End::Close;
    for act in acts {
        match act {
            Act::Read(bytes) => while record.received() < bytes && read(exchange, record).await? {},
            Act::ReadAll => while read(exchange, record).await? {},
            Act::Apply => record.apply(),
            Act::Inform(status) => exchange.inform(status).await?,
            Act::Answer(answer) => {
                let keep = exchange.can_keep(record.is_whole()) && !shared.next_needs_connection();
                exchange.answer(&answer, Extent::Whole, !keep).await?;
                if !exchange.can_keep(record.is_whole()) {
                    // A connection that is closed with something unread is reset, and the answer
                    // may be lost (RFC 9112, section 9.6).
                    while read(exchange, record).await? {}
                }
                end = if keep { End::Keep } else { End::Close };
            }
            Act::HalfAHead => exchange.half_a_head().await?,
            Act::HalfABody(answer) => {
                exchange.answer(&answer, Extent::HalfABody, true).await?;
            }
            Act::Write(bytes) => exchange.write(bytes).await?,
            Act::Stall => {
                shared.stall(record.number());
                return exchange.given_up().await;
            }
            Act::Close => return Ok(End::Close),
            Act::Reset => return Ok(End::Reset),
            Act::ResetStream(code) => return exchange.reset_stream(code).await,
            Act::GoAway { processed, code } => end = exchange.go_away(processed, code).await?,
        }
    }
    Ok(end)
}

/// Reads a piece of the request; `false` at its end.
async fn read(exchange: &mut impl Exchange, record: &Record) -> io::Result<bool> {
    if record.is_whole() {
        return Ok(false);
    }
    match exchange.read().await? {
        Some(content) => {
            record.content(&content);
            Ok(true)
        }
        None => {
            record.end(exchange.trailers());
            Ok(false)
        }
    }
}
