//! What an HTTP/2 server reads and writes, frame by frame (RFC 9113): libraries refuse to
//! misbehave.
//!
//! The first request of a connection has stream number 1.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Script, Step};

/// Error codes (RFC 9113, section 7).
pub mod code {
    pub const NO_ERROR: u32 = 0x0;
    pub const INTERNAL_ERROR: u32 = 0x2;
    pub const REFUSED_STREAM: u32 = 0x7;
    pub const CANCEL: u32 = 0x8;
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// Opens the connection, reads the head of the first request, writes these frames, and leaves the
/// rest to the client.
pub fn answer(frames: &[Vec<u8>]) -> Script {
    vec![Step::OpenHttp2, Step::Write(frames.concat()), Step::Silence]
}

/// Opens the connection, reads the head of the first request, writes these frames, and closes the
/// connection.
pub fn answer_and_close(frames: &[Vec<u8>]) -> Script {
    vec![Step::OpenHttp2, Step::Write(frames.concat())]
}

/// The head of a response with status 200.
pub fn head(id: u32) -> Vec<u8> {
    // 0x88 is `:status: 200` in the static table of RFC 7541, appendix A.
    frame(HEADERS, END_HEADERS, id, &[0x88])
}

/// The beginning of a response's head: more of it is to come, and nothing else may (RFC 9113,
/// section 6.10).
pub fn half_a_head(id: u32) -> Vec<u8> {
    frame(HEADERS, 0, id, &[0x88])
}

/// A part of a response's body that is not its last.
pub fn data(id: u32, data: &[u8]) -> Vec<u8> {
    frame(DATA, 0, id, data)
}

/// The end of a stream for this reason.
pub fn rst_stream(id: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, id, &code.to_be_bytes())
}

/// The end of a connection for this reason; the last stream that was processed is `last_id`.
pub fn goaway(last_id: u32, code: u32) -> Vec<u8> {
    let payload = [last_id.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;

/// The flag of the last frame of a stream; of settings it says that they were read.
pub const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What is known of a frame without its payload.
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    pub kind: u8,
    pub flags: u8,
    /// The stream's number.
    pub id: u32,
}

/// Opens a connection, and reads up to the head of the first request.
pub(super) async fn open(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    shake_hands(stream).await?;
    loop {
        if next(stream).await?.kind == HEADERS {
            return Ok(());
        }
    }
}

/// Reads what opens a connection, and answers it.
pub async fn shake_hands(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await
}

/// Reads the next frame, and answers it if it has settings.
pub async fn next(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<FrameHead> {
    let head = read_frame(stream).await?;
    if head.kind == SETTINGS && head.flags & ACK == 0 {
        stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
    }
    Ok(head)
}

/// Reads a frame.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<FrameHead> {
    let [length @ .., kind] = stream.read_u32().await?.to_be_bytes();
    let flags = stream.read_u8().await?;
    let id = stream.read_u32().await?;
    let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok(FrameHead { kind, flags, id })
}

/// A frame's bytes (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    frame
}
