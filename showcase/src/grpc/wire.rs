//! What no server made of a library does to a connection: HTTP/2 frames by hand.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What is done to the first call of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A GOAWAY that says that no stream was processed.
    GoAway,
    /// The stream is reset with REFUSED_STREAM; then the connection is closed.
    RefuseStream,
    /// The connection is closed, whatever was processed.
    Close,
    /// It is not answered.
    Hang,
}

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

// Types of frames (RFC 9113, section 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Waits for the first call of a connection, and does this to it.
pub(super) async fn fail(mut connection: TcpStream, fault: Fault) -> io::Result<()> {
    connection.read_exact(&mut [0; PREFACE]).await?;
    connection.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let stream = loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        connection.read_exact(&mut payload).await?;
        match head[3] {
            SETTINGS if head[4] == 0 => connection.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            HEADERS => break u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            _ => {}
        }
    };
    match fault {
        Fault::GoAway => {
            let said = [0_u32.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
            connection.write_all(&frame(GOAWAY, 0, 0, &said)).await?;
        }
        Fault::RefuseStream => {
            let said = REFUSED_STREAM.to_be_bytes();
            connection
                .write_all(&frame(RST_STREAM, 0, stream, &said))
                .await?;
            // The stream is the last one of this connection.
            let said = [stream.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
            connection.write_all(&frame(GOAWAY, 0, 0, &said)).await?;
        }
        Fault::Close => return Ok(()),
        Fault::Hang => {
            let mut rest = Vec::new();
            return connection.read_to_end(&mut rest).await.map(drop);
        }
    }
    // What is written must be read before the connection is gone.
    connection.shutdown().await?;
    let drain = async { while connection.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
    Ok(())
}
