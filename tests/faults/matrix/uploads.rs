//! The requests' bodies, and what is watched of them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tokio::{fs::File, io::AsyncReadExt, sync::Semaphore};
use tower_http_retry::{BoxError, policy::LimitKind};

/// A kind of body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// No content.
    None,
    /// In memory; sent again as a clone.
    Full,
    /// In pieces; sent again from the recording.
    Streamed,
    /// In pieces, with trailers; sent again from the recording.
    Trailers,
    /// In pieces that are more than what is recorded.
    OverLimit,
    /// From a file, which is opened again.
    File,
}

impl Upload {
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Full,
        Self::Streamed,
        Self::Trailers,
        Self::OverLimit,
        Self::File,
    ];

    /// How much is recorded.
    pub const fn limit(self) -> u64 {
        match self {
            Self::OverLimit => 2000,
            _ => 64 * 1024,
        }
    }

    /// What is sent.
    pub fn content(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            _ => content(),
        }
    }

    /// What is sent after that.
    pub fn trailers(self) -> Option<HeaderMap> {
        (self == Self::Trailers).then(|| {
            let mut trailers = HeaderMap::new();
            trailers.insert("checksum", HeaderValue::from_static("42"));
            trailers
        })
    }

    /// Whether its length is not known in advance.
    pub const fn is_chunked(self) -> bool {
        !matches!(self, Self::None | Self::Full)
    }
}

/// 5000 bytes of which no piece looks like another.
pub fn content() -> Bytes {
    (0..5000_u32)
        .map(|n| (n.wrapping_mul(n) >> 4) as u8)
        .collect()
}

/// What is watched of a request.
#[derive(Debug)]
pub struct Watch {
    limit: u64,
    attempts: AtomicUsize,
    opened: AtomicUsize,
    read: AtomicU64,
    /// 0 for none.
    over_limit_in: AtomicUsize,
    /// What each retry that was decided on is charged to.
    charges: Mutex<Vec<Option<LimitKind>>>,
    /// For what is in flight.
    permits: Arc<Semaphore>,
    gate: Semaphore,
}

impl Watch {
    /// With `gated`, pieces after the first are held back until the gate is opened.
    pub fn new(upload: Upload, gated: bool, permits: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: upload.limit(),
            attempts: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            read: AtomicU64::new(0),
            over_limit_in: AtomicUsize::new(0),
            charges: Mutex::default(),
            permits: Arc::new(Semaphore::new(permits)),
            gate: Semaphore::new(usize::from(!gated)),
        })
    }

    /// An attempt is made.
    pub fn attempt(&self) {
        self.attempts.fetch_add(1, Relaxed);
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> usize {
        self.attempts.load(Relaxed)
    }

    /// How often the body was opened after the first attempt.
    pub fn opened(&self) -> usize {
        self.opened.load(Relaxed)
    }

    /// How many bytes were read of a body in pieces, by all attempts together.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// The attempt in which more was read than can be recorded.
    pub fn over_limit_in(&self) -> Option<usize> {
        Some(self.over_limit_in.load(Relaxed)).filter(|attempt| *attempt > 0)
    }

    /// A retry is decided on.
    pub fn retry(&self, charged: Option<LimitKind>) {
        self.charges.lock().unwrap().push(charged);
    }

    /// How many of the retries that were sent are charged to a limit.
    pub fn charged_retries(&self) -> usize {
        let charges = self.charges.lock().unwrap();
        let sent = self.attempts().saturating_sub(1);
        charges.iter().take(sent).flatten().count()
    }

    /// How many retries were decided on.
    pub fn retries(&self) -> usize {
        self.charges.lock().unwrap().len()
    }

    /// For what is in flight.
    pub fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    pub fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    fn read_on(&self, frame: &Frame<Bytes>) {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let read = self.read.fetch_add(length, Relaxed) + length;
        if read > self.limit && self.over_limit_in().is_none() {
            self.over_limit_in.store(self.attempts(), Relaxed);
        }
    }
}

/// A body in pieces.
pub type Pieces = UnsyncBoxBody<Bytes, BoxError>;

/// The content in pieces, and the trailers.
pub fn pieces(upload: Upload, watch: &Arc<Watch>) -> Pieces {
    let mut content = upload.content();
    let mut frames = Vec::new();
    for size in [10, 100, 1, 1000, 700].into_iter().cycle() {
        if content.is_empty() {
            break;
        }
        let piece = content.split_to(content.len().min(size));
        frames.push(Frame::data(piece));
    }
    frames.extend(upload.trailers().map(Frame::trailers));
    let frames = frames.into_iter().enumerate();
    let frames = stream::unfold((frames, Arc::clone(watch)), async |(mut frames, watch)| {
        let (index, frame) = frames.next()?;
        if index > 0 {
            // Never closed, so never in vain.
            let _passed = watch.gate.acquire().await;
        }
        watch.read_on(&frame);
        Some((Ok(frame), (frames, watch)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A file with the content, until it is dropped.
#[derive(Debug)]
pub struct TemporaryFile(PathBuf);

impl TemporaryFile {
    pub fn new() -> io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Relaxed);
        let name = format!("upload-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, content())?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A file that stays behind is overwritten by the next run.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The content of a file in pieces.
pub fn open(path: &Path) -> io::Result<Pieces> {
    let file = File::from_std(std::fs::File::open(path)?);
    let pieces = stream::try_unfold(file, async |mut file| {
        let mut piece = BytesMut::with_capacity(2048);
        let read = file.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (Frame::data(piece.freeze()), file)))
    });
    Ok(StreamBody::new(pieces).boxed_unsync())
}

/// The same once more.
pub fn reopen(path: &Path, watch: &Watch) -> io::Result<Pieces> {
    watch.opened.fetch_add(1, Relaxed);
    open(path)
}
