//! A server that cuts downloads, lets them stall, and changes the file in between.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The length of the file.
pub(crate) const LENGTH: usize = 1024 * 1024;
/// The most that it sends at once of a file that it cuts.
const PIECE: usize = 200 * 1024;

/// What is at each path.
struct Place {
    etag: &'static str,
    /// What happens after so many bytes of each answer.
    after: Option<(usize, Fault)>,
    has_ranges: bool,
    /// What is there from the second request on.
    later: Option<&'static Place>,
}

#[derive(Clone, Copy)]
enum Fault {
    Cut,
    Stall,
}

const STEADY: Place = Place {
    etag: "\"one\"",
    after: None,
    has_ranges: true,
    later: None,
};

const OTHER: Place = Place {
    etag: "\"two\"",
    ..STEADY
};

fn place(path: &str) -> Option<Place> {
    let cut = Some((PIECE, Fault::Cut));
    Some(match path {
        "/steady" => STEADY,
        "/cuts" => Place {
            after: cut,
            ..STEADY
        },
        "/stalls" => Place {
            after: Some((2 * PIECE, Fault::Stall)),
            ..STEADY
        },
        "/ignores-ranges" => Place {
            after: cut,
            has_ranges: false,
            later: Some(&Place {
                has_ranges: false,
                ..STEADY
            }),
            ..STEADY
        },
        "/changes" => Place {
            after: cut,
            later: Some(&OTHER),
            ..STEADY
        },
        "/weak" => Place {
            etag: "W/\"one\"",
            after: cut,
            ..STEADY
        },
        _ => return None,
    })
}

pub(crate) fn file() -> Vec<u8> {
    let byte = |at: usize| ((at as u32).wrapping_mul(0x9e37_79b1) >> 13).to_le_bytes()[0];
    (0..LENGTH).map(byte).collect()
}

pub(crate) fn sha256() -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    Sha256::digest(file()).iter().map(hex).collect()
}

/// Starts it, and says where it is.
pub(crate) async fn start() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let seen: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                // A client that goes away is what is shown here.
                let _ = serve(stream, &seen).await;
            });
        }
    });
    Ok(origin)
}

async fn serve(mut stream: TcpStream, seen: &Mutex<HashMap<String, u32>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 * 1024 {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    };
    let Some(mut place) = place(&path) else {
        return stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            .await;
    };
    let count = {
        let mut seen = seen.lock().expect("no panic");
        let count = seen.entry(path).or_default();
        *count += 1;
        *count
    };
    if let (2.., Some(later)) = (count, place.later) {
        place = Place {
            later: None,
            ..*later
        };
    }
    let file = file();
    let first = field("range").and_then(|range| {
        let range = range.strip_prefix("bytes=")?.split('-').next()?;
        range.parse().ok().filter(|first| *first < LENGTH)
    });
    let first = first.filter(|_| place.has_ranges && field("if-range") == Some(place.etag));
    let (status, range) = match first {
        Some(first) => {
            let last = LENGTH - 1;
            let range = format!("content-range: bytes {first}-{last}/{LENGTH}\r\n");
            ("206 Partial Content", range)
        }
        None => ("200 OK", String::new()),
    };
    let body = &file[first.unwrap_or(0)..];
    let (length, etag) = (body.len(), place.etag);
    let head = format!(
        "HTTP/1.1 {status}\r\netag: {etag}\r\ncontent-length: {length}\r\n{range}connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    match place.after.filter(|(after, _)| *after < length) {
        None => stream.write_all(body).await?,
        Some((after, fault)) => {
            stream.write_all(&body[..after]).await?;
            if let Fault::Stall = fault {
                // Until the client goes away.
                let gone = stream.read_u8();
                let _ = tokio::time::timeout(Duration::from_secs(60), gone).await;
            }
        }
    }
    stream.shutdown().await
}
