//! loom explores every interleaving of an attempt that still reads and one that takes over.
//!
//! `RUSTFLAGS="--cfg retry_loom" cargo test --release --lib body::`

use std::{collections::VecDeque, convert::Infallible, future::poll_fn, pin::pin};

use ::loom::{
    future::{AtomicWaker, block_on},
    model,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;

/// Yields its chunks, then ends, or is not ready for ever.
struct Chunks {
    chunks: VecDeque<&'static str>,
    ends: bool,
}

impl Chunks {
    fn new(chunks: &[&'static str]) -> Self {
        Self {
            chunks: chunks.iter().copied().collect(),
            ends: true,
        }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.chunks.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk.into())))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn head() -> Parts {
    http::Request::new(()).into_parts().0
}

/// Reads to the end. loom reports a deadlock where a wake-up is missing.
fn read<B>(body: RecordedBody<B>) -> Result<String, String>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    block_on(async {
        let mut body = pin!(body);
        let mut text = String::new();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            match frame {
                Ok(frame) => {
                    let data = frame.into_data().expect("a chunk");
                    text.push_str(std::str::from_utf8(&data).expect("text"));
                }
                Err(ReplayError::Superseded) => return Err(text),
                Err(error @ ReplayError::Body(_)) => panic!("{error}"),
            }
        }
        Ok(text)
    })
}

fn assert_old(old: Result<String, String>) {
    match old {
        Ok(text) => assert_eq!(text, "ab"),
        Err(part) => assert!("ab".starts_with(&part), "{part}"),
    }
}

#[test]
fn a_take_over_loses_nothing_and_doubles_nothing() {
    model(|| {
        let (first, mut handle) = RecordBody::new(2).prepare(Chunks::new(&["a", "b"]));
        let old = thread::spawn(move || read(first));
        let second = handle.next(&head(), false).expect("within the limit");
        assert_eq!(read(second), Ok("ab".into()));
        let third = handle.next(&head(), true).expect("within the limit");
        assert_eq!(read(third), Ok("ab".into()));
        assert_old(old.join().expect("no panic"));
    });
}

#[test]
fn a_take_over_by_the_last_attempt_loses_nothing() {
    model(|| {
        let (first, mut handle) = RecordBody::new(2).prepare(Chunks::new(&["a", "b"]));
        let old = thread::spawn(move || read(first));
        let second = handle.next(&head(), true).expect("within the limit");
        // A successor that waits for the body must be woken without the handle, too.
        drop(handle);
        assert_eq!(read(second), Ok("ab".into()));
        assert_old(old.join().expect("no panic"));
    });
}

#[test]
fn a_take_over_at_the_limit_is_whole_or_refused() {
    model(|| {
        let (first, mut handle) = RecordBody::new(1).prepare(Chunks::new(&["a", "b"]));
        let old = thread::spawn(move || read(first));
        match handle.next(&head(), false) {
            Ok(second) => assert_eq!(read(second), Ok("ab".into())),
            Err(error) => assert!(matches!(
                error,
                NotReplayable::OverLimit { sent: 2, limit: 1 }
            )),
        }
        assert_old(old.join().expect("no panic"));
        assert!(handle.check().is_err());
    });
}

#[test]
fn an_attempt_that_is_retired_breaks_no_promise() {
    model(|| {
        let (first, mut handle) = RecordBody::new(1).prepare(Chunks::new(&["a", "b"]));
        let old = thread::spawn(move || read(first));
        let promised = handle.retire();
        match handle.next(&head(), false) {
            Ok(second) => assert_eq!(read(second), Ok("ab".into())),
            Err(error) => assert!(promised.is_err(), "{error}"),
        }
        assert_old(old.join().expect("no panic"));
    });
}

/// Whatever is read when the request is given up, nothing is read after that.
#[test]
fn an_attempt_that_is_cancelled_sends_a_beginning_and_no_more() {
    model(|| {
        let (first, mut handle) = RecordBody::new(2).prepare(Chunks::new(&["a", "b"]));
        let cancelled = Arc::new(AtomicBool::new(false));
        let was_cancelled = Arc::clone(&cancelled);
        let old = thread::spawn(move || {
            let mut body = first;
            let mut text = String::new();
            loop {
                // Asked before the body is: what is read after that must not be content.
                let before = was_cancelled.load(Ordering::SeqCst);
                let frame = block_on(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
                match frame {
                    Some(Ok(frame)) => {
                        assert!(!before, "read on");
                        text.extend(frame.into_data().ok().map(|data| data[0] as char));
                    }
                    Some(Err(error)) => {
                        assert!(matches!(error, ReplayError::Superseded), "{error}");
                        return Err(text);
                    }
                    None => return Ok(text),
                }
            }
        });
        handle.cancel();
        cancelled.store(true, Ordering::SeqCst);
        drop(handle);
        assert_old(old.join().expect("no panic"));
    });
}

/// A retry that waits for the body, which the attempt before it still polls, is cancelled as well.
#[test]
fn a_retry_that_is_cancelled_while_it_waits_for_the_body_ends() {
    model(|| {
        let (first, mut handle) = RecordBody::new(2).prepare(Chunks::new(&["a", "b"]));
        let old = thread::spawn(move || read(first));
        let second = handle.next(&head(), false).expect("within the limit");
        let retry = thread::spawn(move || read(second));
        handle.cancel();
        drop(handle);
        assert_old(old.join().expect("no panic"));
        assert_old(retry.join().expect("no panic"));
    });
}

#[test]
fn a_superseded_attempt_never_waits_for_ever() {
    for retire in [false, true] {
        model(move || {
            let never_ends = Chunks {
                ends: false,
                ..Chunks::new(&["a"])
            };
            let (first, mut handle) = RecordBody::new(10).prepare(never_ends);
            let old = thread::spawn(move || read(first));
            if retire {
                handle.retire().expect("within the limit");
            } else {
                drop(handle.next(&head(), false).expect("within the limit"));
            }
            assert!(old.join().expect("no panic").is_err());
        });
    }
}

#[test]
fn a_successor_is_woken_by_the_body() {
    /// Ready once another thread says so.
    #[derive(Clone)]
    struct Signal(Arc<(AtomicBool, AtomicWaker)>);

    impl Body for Signal {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.1.register_by_ref(cx.waker());
            if self.0.0.load(Ordering::Acquire) {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    }

    // Three threads: bounded as loom's manual advises, or it takes minutes.
    let mut builder = model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let signal = Signal(Arc::new((AtomicBool::new(false), AtomicWaker::new())));
        let (mut first, mut handle) = RecordBody::new(10).prepare(signal.clone());
        let old = thread::spawn(move || {
            // The old attempt polls once and is then left alone, as by a stalled connection.
            block_on(poll_fn(|cx| {
                let _ = Pin::new(&mut first).poll_frame(cx);
                Poll::Ready(())
            }));
            first
        });
        let ready = thread::spawn(move || {
            signal.0.0.store(true, Ordering::Release);
            signal.0.1.wake();
        });
        let second = handle.next(&head(), false).expect("nothing was read");
        assert_eq!(read(second), Ok(String::new()));
        ready.join().expect("no panic");
        old.join().expect("no panic");
    });
}
