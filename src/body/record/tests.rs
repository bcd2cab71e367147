use std::{
    cell::RefCell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc as StdArc,
    task::Waker,
};

use http::{HeaderMap, HeaderValue};
use http_body_util::Full;
use proptest::prelude::*;
use tokio_test::task;

use super::*;

type Scripted = RecordedBody<Script>;
type Handle = SavedRecording<Script>;
type FrameResult = Result<Frame<Bytes>, ReplayError>;

/// A body that does what it is told, one step for each poll.
#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
    /// Whether it knows its length and its end.
    sized: bool,
    /// Tells whether it is still there.
    _held: Option<StdArc<()>>,
}

enum Step {
    Chunk(Bytes),
    Trailers(HeaderMap),
    /// Not ready; nothing will wake the task.
    Pending,
    Fail,
    Panic,
    /// Runs this, then takes the next step in the same poll.
    Meanwhile(Box<dyn FnOnce()>),
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..Self::default()
        }
    }

    fn sized(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            sized: true,
            ..Self::new(steps)
        }
    }

    fn prepare(self, limit: u64) -> (Scripted, Handle) {
        RecordBody::new(limit).prepare(self)
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let mut step = self.steps.pop_front();
        while let Some(Step::Meanwhile(act)) = step {
            act();
            step = self.steps.pop_front();
        }
        match step {
            None => Poll::Ready(None),
            Some(Step::Chunk(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Step::Trailers(map)) => Poll::Ready(Some(Ok(Frame::trailers(map)))),
            Some(Step::Pending) => Poll::Pending,
            Some(Step::Fail) => Poll::Ready(Some(Err("disk on fire"))),
            Some(Step::Panic | Step::Meanwhile(_)) => panic!("a step of the script"),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sized && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let chunks = self.steps.iter().map(|step| match step {
            Step::Chunk(chunk) => chunk.len() as u64,
            _ => 0,
        });
        SizeHint::with_exact(chunks.sum())
    }
}

fn chunk(text: &'static str) -> Step {
    Step::Chunk(Bytes::from_static(text.as_bytes()))
}

fn trailers() -> HeaderMap {
    let mut map = HeaderMap::new();
    map.append("checksum", HeaderValue::from_static("1"));
    map.append("checksum", HeaderValue::from_static("2"));
    map
}

fn head() -> Parts {
    http::Request::new(()).into_parts().0
}

/// The body of the next attempt, which is not the last.
fn again(handle: &mut Handle) -> Scripted {
    handle.check().expect("can be sent again");
    handle.next(&head(), false).expect("as it was promised")
}

fn poll<B>(body: &mut RecordedBody<B>) -> Poll<Option<FrameResult>>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// The next chunk, which must be there.
fn data<B>(body: &mut RecordedBody<B>) -> Bytes
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    match poll(body) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().expect("a chunk"),
        other => panic!("{other:?} instead of a chunk"),
    }
}

/// Reads to the end, which must be reached without an error.
fn rest<B>(body: &mut RecordedBody<B>) -> (Vec<u8>, Option<HeaderMap>)
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let mut content = Vec::new();
    let mut end = None;
    loop {
        match poll(body) {
            Poll::Pending => {}
            Poll::Ready(None) => return (content, end),
            Poll::Ready(Some(Err(error))) => panic!("{error}: {:?}", error.source()),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => content.extend_from_slice(&data),
                Err(frame) => end = Some(frame.into_trailers().expect("trailers")),
            },
        }
    }
}

fn text<B>(body: &mut RecordedBody<B>) -> String
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    String::from_utf8(rest(body).0).expect("text")
}

fn assert_superseded(body: &mut Scripted) {
    assert!(!body.is_end_stream());
    assert!(matches!(
        poll(body),
        Poll::Ready(Some(Err(ReplayError::Superseded)))
    ));
    // Yielded once; the end after it is no end of the content.
    assert!(matches!(poll(body), Poll::Ready(None)));
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), None);
}

/// A chunk that tells whether somebody still holds it.
struct Traced {
    _held: StdArc<()>,
}

impl AsRef<[u8]> for Traced {
    fn as_ref(&self) -> &[u8] {
        b"0123456789"
    }
}

fn traced() -> (Step, impl Fn() -> bool) {
    let held = StdArc::new(());
    let chunk = Bytes::from_owner(Traced {
        _held: StdArc::clone(&held),
    });
    (Step::Chunk(chunk), move || StdArc::strong_count(&held) > 1)
}

// --- replaying ---

#[test]
fn replays_one_chunk() {
    let (mut first, mut handle) = Script::new([chunk("hello")]).prepare(100);
    assert_eq!(text(&mut first), "hello");
    assert_eq!(text(&mut again(&mut handle)), "hello");
    assert_eq!(text(&mut again(&mut handle)), "hello");
}

#[test]
fn replays_several_chunks_as_they_were_cut() {
    let (mut first, mut handle) = Script::new([chunk("a"), chunk("bc"), chunk("d")]).prepare(100);
    rest(&mut first);
    let mut second = again(&mut handle);
    assert_eq!(data(&mut second), "a");
    assert_eq!(data(&mut second), "bc");
    assert_eq!(data(&mut second), "d");
    assert!(matches!(poll(&mut second), Poll::Ready(None)));
    assert!(matches!(poll(&mut second), Poll::Ready(None)));
}

#[test]
fn replays_trailers_only() {
    let (mut first, mut handle) = Script::new([Step::Trailers(trailers())]).prepare(100);
    assert_eq!(rest(&mut first), (vec![], Some(trailers())));
    assert_eq!(rest(&mut again(&mut handle)), (vec![], Some(trailers())));
    let mut last = handle.next(&head(), true).expect("kept");
    assert!(handle.check().is_ok());
    assert_eq!(rest(&mut last), (vec![], Some(trailers())));
    assert!(matches!(handle.check(), Err(NotReplayable::NotKept)));
}

#[test]
fn replays_trailers_after_the_content() {
    let (mut first, mut handle) =
        Script::new([chunk("ab"), chunk("c"), Step::Trailers(trailers())]).prepare(100);
    let whole = (b"abc".to_vec(), Some(trailers()));
    assert_eq!(rest(&mut first), whole);
    assert_eq!(rest(&mut again(&mut handle)), whole);
    assert_eq!(rest(&mut again(&mut handle)), whole);
}

#[test]
fn goes_on_with_what_a_failed_attempt_left_unread() {
    let (mut first, mut handle) = Script::new([
        chunk("a"),
        chunk("b"),
        chunk("c"),
        chunk("d"),
        Step::Trailers(trailers()),
    ])
    .prepare(100);
    assert_eq!(data(&mut first), "a");
    assert_eq!(data(&mut first), "b");
    drop(first);

    let mut second = again(&mut handle);
    assert_eq!(data(&mut second), "a");
    drop(second);

    let mut third = again(&mut handle);
    for expected in ["a", "b", "c"] {
        assert_eq!(data(&mut third), expected);
    }
    drop(third);

    let whole = (b"abcd".to_vec(), Some(trailers()));
    assert_eq!(rest(&mut again(&mut handle)), whole);
    assert_eq!(rest(&mut again(&mut handle)), whole);
}

#[test]
fn sends_a_body_that_was_dropped_unread() {
    let (first, mut handle) = Script::new([chunk("a"), chunk("b")]).prepare(100);
    drop(first);
    assert_eq!(text(&mut again(&mut handle)), "ab");
}

// The bug of other replaying bodies: polled while nothing is recorded yet, they record the first
// chunk and then replay it within the same attempt.
#[test]
fn sends_nothing_twice_when_polled_before_anything_was_recorded() {
    let (mut first, mut handle) = Script::new([Step::Pending, chunk("a"), chunk("b")]).prepare(100);
    assert!(poll(&mut first).is_pending());
    drop(first);
    assert_eq!(text(&mut again(&mut handle)), "ab");

    let (first, mut handle) = Script::new([Step::Pending, chunk("a"), chunk("b")]).prepare(100);
    drop(first);
    let mut second = again(&mut handle);
    assert!(poll(&mut second).is_pending());
    assert_eq!(text(&mut second), "ab");
}

#[test]
fn an_empty_body_is_not_wrapped() {
    let (mut first, mut handle) = Script::sized([]).prepare(100);
    assert!(matches!(first.0, Kind::Empty));
    assert!(handle.shared.is_none());
    for body in [&mut first, &mut again(&mut handle), &mut again(&mut handle)] {
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(matches!(poll(body), Poll::Ready(None)));
    }
    assert!(handle.retire().is_ok());
    assert!(handle.next(&head(), true).is_ok());
}

#[test]
fn an_end_that_is_only_found_by_reading_is_replayed() {
    let (mut first, mut handle) = Script::new([]).prepare(0);
    assert!(!first.is_end_stream());
    assert_eq!(text(&mut first), "");
    let mut second = again(&mut handle);
    assert!(second.is_end_stream());
    assert_eq!(text(&mut second), "");
}

#[test]
fn a_request_that_is_sent_once_passes_through() {
    let script = Script::sized([chunk("ab"), Step::Trailers(trailers())]);
    let mut body = RecordBody::new(0).pass(script);
    assert!(matches!(body.0, Kind::Plain(_)));
    assert_eq!(body.size_hint().exact(), Some(2));
    assert!(!body.is_end_stream());
    assert_eq!(rest(&mut body), (b"ab".to_vec(), Some(trailers())));
    assert!(body.is_end_stream());
}

#[test]
fn data_of_another_type_becomes_bytes() {
    let (mut first, mut handle) = RecordBody::new(100).prepare(Full::new(&b"hello"[..]));
    assert_eq!(data(&mut first), "hello");
    let mut second = handle.next(&head(), true).expect("kept");
    assert_eq!(data(&mut second), "hello");
}

#[test]
fn chunks_are_not_copied() {
    let original = Bytes::from(vec![7; 1000]);
    let (mut first, mut handle) = Script::new([Step::Chunk(original.clone())]).prepare(5000);
    assert_eq!(data(&mut first).as_ptr(), original.as_ptr());
    assert_eq!(data(&mut again(&mut handle)).as_ptr(), original.as_ptr());
    let mut last = handle.next(&head(), true).expect("kept");
    assert_eq!(data(&mut last).as_ptr(), original.as_ptr());
}

#[test]
fn chunks_without_content_pass_and_are_not_recorded() {
    let (mut first, mut handle) = Script::new([chunk(""), chunk("a"), chunk("")]).prepare(1);
    assert_eq!(data(&mut first), "");
    assert_eq!(data(&mut first), "a");
    assert_eq!(data(&mut first), "");
    let mut second = again(&mut handle);
    assert_eq!(data(&mut second), "a");
    assert!(matches!(poll(&mut second), Poll::Ready(None)));
}

#[test]
fn what_follows_the_trailers_is_sent_but_not_replayed_out_of_order() {
    for odd in [chunk("b"), Step::Trailers(trailers())] {
        let (mut first, handle) =
            Script::new([chunk("a"), Step::Trailers(trailers()), odd, chunk("c")]).prepare(100);
        assert_eq!(data(&mut first), "a");
        assert!(poll(&mut first).is_ready());
        assert!(handle.check().is_ok());
        assert!(matches!(poll(&mut first), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(handle.check(), Err(NotReplayable::NotKept)));
        assert_eq!(data(&mut first), "c");
        assert!(matches!(poll(&mut first), Poll::Ready(None)));
    }
}

// --- hints, on which the framing depends ---

#[test]
fn size_hint_is_exact_across_replays() {
    let script = [chunk("abc"), chunk("de"), chunk("f")];
    let (mut first, mut handle) = Script::sized(script).prepare(100);
    assert_eq!(first.size_hint().exact(), Some(6));
    data(&mut first);
    assert_eq!(first.size_hint().exact(), Some(3));
    data(&mut first);
    assert_eq!(first.size_hint().exact(), Some(1));

    let mut second = again(&mut handle);
    assert_eq!(second.size_hint().exact(), Some(6));
    for left in [3, 1, 0] {
        data(&mut second);
        assert_eq!(second.size_hint().exact(), Some(left));
    }
    for last in [false, true] {
        let mut body = handle.next(&head(), last).expect("kept");
        for left in [6, 3, 1] {
            assert_eq!(body.size_hint().exact(), Some(left));
            data(&mut body);
        }
        assert_eq!(body.size_hint().exact(), Some(0));
    }
}

#[test]
fn an_unread_replay_has_the_hint_of_the_body() {
    let (first, mut handle) = Script::new([chunk("abc")]).prepare(100);
    let second = again(&mut handle);
    for body in [first, second] {
        assert_eq!(body.size_hint().lower(), 0);
        assert_eq!(body.size_hint().upper(), None);
    }
}

#[test]
fn a_replay_of_unknown_length_knows_at_least_what_is_recorded() {
    let (mut first, mut handle) = Script::new([chunk("abc"), chunk("de")]).prepare(100);
    data(&mut first);
    let mut second = again(&mut handle);
    assert_eq!(second.size_hint().lower(), 3);
    assert_eq!(second.size_hint().upper(), None);
    rest(&mut second);
    assert_eq!(again(&mut handle).size_hint().exact(), Some(5));
}

#[test]
fn a_hint_out_of_this_world_does_not_panic() {
    struct Endless;
    impl Body for Endless {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"abc")))))
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(u64::MAX)
        }
    }
    let (mut first, mut handle) = RecordBody::new(u64::MAX).prepare(Endless);
    data(&mut first);
    let second = handle.next(&head(), false).expect("kept");
    assert_eq!(second.size_hint().lower(), u64::MAX);
    assert_eq!(second.size_hint().upper(), None);
}

#[test]
fn ends_only_when_all_is_replayed() {
    let script = [chunk("a"), chunk("b"), Step::Trailers(trailers())];
    let (mut first, mut handle) = Script::sized(script).prepare(100);
    for frames in 0..3 {
        assert!(!first.is_end_stream(), "after {frames} frames");
        assert!(matches!(poll(&mut first), Poll::Ready(Some(Ok(_)))));
    }
    assert!(first.is_end_stream());
    for last in [false, true] {
        let mut body = handle.next(&head(), last).expect("kept");
        for frames in 0..3 {
            assert!(!body.is_end_stream(), "after {frames} frames");
            assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
        }
        assert!(body.is_end_stream());
        assert!(matches!(poll(&mut body), Poll::Ready(None)));
    }
}

// --- the limit ---

#[test]
fn a_body_as_long_as_the_limit_is_kept() {
    let (mut first, mut handle) = Script::new([chunk("abc"), chunk("de")]).prepare(5);
    rest(&mut first);
    assert_eq!(text(&mut again(&mut handle)), "abcde");
}

#[test]
fn over_the_limit_only_the_retry_is_given_up() {
    let script = [chunk("abc"), chunk("def"), Step::Trailers(trailers())];
    let (mut first, mut handle) = Script::new(script).prepare(5);
    assert_eq!(data(&mut first), "abc");
    assert!(handle.check().is_ok());
    assert_eq!(rest(&mut first), (b"def".to_vec(), Some(trailers())));
    assert!(matches!(
        handle.check(),
        Err(NotReplayable::OverLimit { sent: 6, limit: 5 })
    ));
    assert!(matches!(
        handle.next(&head(), true),
        Err(NotReplayable::OverLimit { sent: 6, limit: 5 })
    ));
}

#[test]
fn a_refused_retry_leaves_the_attempt_alone() {
    let (mut first, mut handle) = Script::new([chunk("abc"), chunk("de")]).prepare(2);
    assert_eq!(data(&mut first), "abc");
    assert!(handle.next(&head(), false).is_err());
    assert_eq!(text(&mut first), "de");
}

#[test]
fn the_limit_counts_across_attempts() {
    let script = [chunk("abc"), chunk("de"), chunk("f")];
    let (mut first, mut handle) = Script::new(script).prepare(5);
    assert_eq!(data(&mut first), "abc");
    let mut second = again(&mut handle);
    assert_eq!(data(&mut second), "abc");
    assert_eq!(data(&mut second), "de");
    let mut third = again(&mut handle);
    assert_eq!(text(&mut third), "abcdef");
    assert!(matches!(
        handle.check(),
        Err(NotReplayable::OverLimit { sent: 6, limit: 5 })
    ));
}

#[test]
fn memory_is_freed_when_the_limit_is_passed() {
    let (one, one_held) = traced();
    let (two, two_held) = traced();
    let (mut first, handle) = Script::new([one, two]).prepare(15);
    drop(data(&mut first));
    assert!(one_held());
    let passing = data(&mut first);
    assert!(!one_held());
    assert!(two_held());
    drop(passing);
    assert!(!two_held());
    assert!(handle.check().is_err());
}

#[test]
fn a_body_declared_over_the_limit_is_not_recorded() {
    let (one, one_held) = traced();
    let (two, _) = traced();
    let (mut first, handle) = Script::sized([one, two]).prepare(15);
    drop(data(&mut first));
    assert!(!one_held());
    assert!(matches!(
        handle.check(),
        Err(NotReplayable::OverLimit {
            sent: 10,
            limit: 15
        })
    ));
}

#[test]
fn a_body_over_the_limit_is_sent_again_while_it_is_unread() {
    let (mut first, mut handle) = Script::sized([Step::Pending, chunk("abcdef")]).prepare(5);
    assert!(poll(&mut first).is_pending());
    let second = again(&mut handle);
    drop(second);
    let mut third = again(&mut handle);
    assert_eq!(third.size_hint().exact(), Some(6));
    assert_eq!(text(&mut third), "abcdef");
    assert!(handle.check().is_err());
}

// --- the last attempt and the end of the request ---

#[test]
fn the_last_attempt_lets_go_of_what_it_sends() {
    let (one, one_held) = traced();
    let (two, two_held) = traced();
    let (three, three_held) = traced();
    let (mut first, mut handle) = Script::new([one, two, three]).prepare(100);
    drop((data(&mut first), data(&mut first)));

    let mut last = handle.next(&head(), true).expect("kept");
    assert!(handle.check().is_ok(), "nothing is lost yet");
    drop(data(&mut last));
    assert!(!one_held());
    assert!(two_held());
    assert!(matches!(handle.check(), Err(NotReplayable::NotKept)));
    drop(data(&mut last));
    assert!(!two_held());
    drop(data(&mut last));
    assert!(!three_held(), "what is read new is not recorded");
    assert!(matches!(poll(&mut last), Poll::Ready(None)));
    assert!(matches!(
        handle.next(&head(), true),
        Err(NotReplayable::NotKept)
    ));
}

#[test]
fn dropping_the_handle_lets_go_of_what_was_sent() {
    let (one, one_held) = traced();
    let (two, two_held) = traced();
    let (three, three_held) = traced();
    let (mut first, mut handle) = Script::new([one, two, three]).prepare(100);
    drop((data(&mut first), data(&mut first)));
    let mut second = again(&mut handle);
    drop(data(&mut second));
    assert!(one_held() && two_held());

    drop(handle);
    assert!(!one_held());
    assert!(two_held(), "not sent yet");
    drop(data(&mut second));
    assert!(!two_held());
    drop(data(&mut second));
    assert!(!three_held());
    assert!(matches!(poll(&mut second), Poll::Ready(None)));
}

#[test]
fn the_body_itself_is_dropped_at_its_end() {
    let held = StdArc::new(());
    let script = Script {
        _held: Some(StdArc::clone(&held)),
        ..Script::new([chunk("a")])
    };
    let (mut first, handle) = script.prepare(100);
    data(&mut first);
    assert_eq!(StdArc::strong_count(&held), 2);
    assert!(matches!(poll(&mut first), Poll::Ready(None)));
    assert_eq!(StdArc::strong_count(&held), 1);
    assert!(handle.check().is_ok());
}

// --- errors ---

#[test]
fn an_error_of_the_callers_body_fails_the_attempt_and_every_retry() {
    let (one, one_held) = traced();
    let (mut first, mut handle) = Script::new([one, Step::Fail, chunk("b")]).prepare(100);
    drop(data(&mut first));
    let Poll::Ready(Some(Err(error))) = poll(&mut first) else {
        panic!("no error");
    };
    assert!(matches!(&error, ReplayError::Body(_)));
    assert_eq!(error.to_string(), "the request body failed");
    assert_eq!(
        error.source().expect("a source").to_string(),
        "disk on fire"
    );
    assert!(matches!(handle.check(), Err(NotReplayable::Failed)));
    assert!(matches!(
        handle.next(&head(), false),
        Err(NotReplayable::Failed)
    ));
    assert!(!first.is_end_stream());
    assert!(!one_held(), "nothing is kept for nothing");
}

#[test]
fn an_error_in_a_request_that_is_sent_once_is_marked_too() {
    let mut body = RecordBody::new(0).pass(Script::new([Step::Fail]));
    assert!(matches!(
        poll(&mut body),
        Poll::Ready(Some(Err(ReplayError::Body(_))))
    ));
    assert!(!body.is_end_stream());
}

#[test]
fn a_panic_of_the_callers_body_is_no_end_of_the_content() {
    let (mut first, handle) = Script::new([chunk("a"), Step::Panic]).prepare(100);
    data(&mut first);
    catch_unwind(AssertUnwindSafe(|| poll(&mut first))).expect_err("a panic");
    assert!(matches!(handle.check(), Err(NotReplayable::Failed)));
    assert!(!first.is_end_stream());
    assert!(matches!(
        poll(&mut first),
        Poll::Ready(Some(Err(ReplayError::Body(_))))
    ));
}

// --- overlapping attempts ---

#[test]
fn a_superseded_body_is_woken_and_fails() {
    let (first, mut handle) = Script::new([chunk("a"), Step::Pending, chunk("b")]).prepare(100);
    let mut first = task::spawn(first);
    assert!(first.enter(|cx, body| body.poll_frame(cx)).is_ready());
    assert!(first.enter(|cx, body| body.poll_frame(cx)).is_pending());
    assert!(!first.is_woken());

    let mut second = again(&mut handle);
    assert!(first.is_woken());
    assert_superseded(&mut first);
    assert_eq!(text(&mut second), "ab");
    drop(first);
    assert_eq!(text(&mut again(&mut handle)), "ab");
}

#[test]
fn only_the_newest_body_reads() {
    let script = [chunk("a"), chunk("b"), chunk("c")];
    let (mut first, mut handle) = Script::sized(script).prepare(100);
    data(&mut first);
    let mut second = again(&mut handle);
    data(&mut second);
    let mut third = again(&mut handle);
    data(&mut third);
    assert_superseded(&mut first);
    assert_superseded(&mut second);
    assert_eq!(text(&mut third), "bc");
    assert!(third.is_end_stream());
    assert!(handle.check().is_ok());
}

#[test]
fn the_end_that_a_successor_reaches_is_not_its_predecessors() {
    let (mut first, mut handle) = Script::sized([chunk("a"), chunk("b")]).prepare(100);
    data(&mut first);
    let mut second = again(&mut handle);
    assert_eq!(text(&mut second), "ab");
    assert!(second.is_end_stream());
    assert_superseded(&mut first);
}

#[test]
fn a_retired_attempt_reads_no_further() {
    let (first, mut handle) = Script::new([chunk("ab"), Step::Pending, chunk("cd")]).prepare(3);
    let mut first = task::spawn(first);
    assert!(first.enter(|cx, body| body.poll_frame(cx)).is_ready());
    assert!(first.enter(|cx, body| body.poll_frame(cx)).is_pending());
    assert!(handle.check().is_ok());
    assert!(handle.retire().is_ok());
    assert!(first.is_woken());
    // It would pass the limit, and break the promise that `check` gave.
    assert_superseded(&mut first);
    assert_eq!(text(&mut again(&mut handle)), "abcd");
}

#[test]
fn a_cancelled_body_reads_no_further_and_leaves_its_end_to_the_client() {
    // Within the limit, and over it.
    for limit in [100, 1] {
        let script = [chunk("a"), chunk("b"), Step::Pending, chunk("c")];
        let (first, mut handle) = Script::new(script).prepare(limit);
        let mut first = task::spawn(first);
        for _ in 0..2 {
            assert!(first.enter(|cx, body| body.poll_frame(cx)).is_ready());
        }
        assert!(first.enter(|cx, body| body.poll_frame(cx)).is_pending());
        handle.cancel();
        assert!(!first.is_woken());
        let Kind::Shared { shared, .. } = &first.0 else {
            panic!("not shared");
        };
        assert!(!lock(shared).is_waiting());
        drop(handle);
        assert_superseded(&mut first);
    }
}

#[test]
fn an_attempt_that_cannot_be_retired_goes_on() {
    let (mut first, mut handle) = Script::new([chunk("ab"), chunk("cd"), chunk("ef")]).prepare(3);
    data(&mut first);
    data(&mut first);
    assert!(matches!(
        handle.retire(),
        Err(NotReplayable::OverLimit { sent: 4, limit: 3 })
    ));
    assert_eq!(text(&mut first), "ef");
}

#[test]
fn what_an_attempt_reads_while_it_is_retired_costs_no_retry() {
    for sent_before in [false, true] {
        let handle: Rc<RefCell<Option<Handle>>> = Rc::default();
        let inside = Rc::clone(&handle);
        let meanwhile = Step::Meanwhile(Box::new(move || {
            let mut handle = inside.borrow_mut();
            assert!(handle.as_mut().expect("set").retire().is_ok());
        }));
        let before = sent_before.then(|| chunk("a"));
        let script = before
            .into_iter()
            .chain([meanwhile, chunk("bc"), chunk("z")]);
        let (mut first, kept) = Script::new(script).prepare(1);
        if sent_before {
            data(&mut first);
        }
        *handle.borrow_mut() = Some(kept);
        // What it read passes the limit.
        assert_superseded(&mut first);
        let mut handle = handle.borrow_mut().take().expect("set");
        // As long as nothing of it was sent, nothing is lost.
        assert!(handle.retire().is_ok());
        let mut body = handle.next(&head(), false).expect("promised");
        assert_eq!(text(&mut body), if sent_before { "abcz" } else { "bcz" });
        assert!(matches!(
            handle.retire(),
            Err(NotReplayable::OverLimit { limit: 1, .. })
        ));
    }
}

/// The handle and the body that took over.
type Stage = Rc<RefCell<Option<(Handle, Option<task::Spawn<Scripted>>)>>>;

/// Takes over while the first attempt is inside its poll of the body, which then goes on with
/// `step`. Gives the first body and the stage, on which the second was polled in vain.
fn taken_over_during(step: Step, limit: u64, last: bool) -> (Scripted, Stage) {
    let stage: Stage = Rc::default();
    let inside = Rc::clone(&stage);
    let meanwhile = Step::Meanwhile(Box::new(move || {
        let mut stage = inside.borrow_mut();
        let (handle, second) = stage.as_mut().expect("set");
        let mut body = handle.next(&head(), last).expect("kept");
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(data(&mut body), "a", "the recording needs no turn");
        assert!(!body.is_end_stream());
        let mut body = task::spawn(body);
        assert!(body.enter(|cx, body| body.poll_frame(cx)).is_pending());
        assert!(!body.is_woken());
        *second = Some(body);
    }));
    let (mut first, handle) = Script::new([chunk("a"), meanwhile, step, chunk("z")]).prepare(limit);
    data(&mut first);
    *stage.borrow_mut() = Some((handle, None));
    (first, stage)
}

fn second(stage: &Stage) -> (Handle, Scripted) {
    let (handle, second) = stage.borrow_mut().take().expect("set");
    let second = second.expect("taken over");
    assert!(second.is_woken(), "the successor waits for the body");
    (handle, second.into_inner())
}

#[test]
fn what_an_attempt_reads_while_it_is_superseded_goes_to_its_successor() {
    for (limit, last, kept) in [(100, false, true), (1, false, false), (100, true, false)] {
        let (mut first, stage) = taken_over_during(chunk("bc"), limit, last);
        assert_superseded(&mut first);
        let (handle, mut body) = second(&stage);
        assert_eq!(handle.check().is_ok(), kept);
        assert_eq!(body.size_hint().lower(), 2);
        assert_eq!(text(&mut body), "bcz", "limit {limit}, last {last}");
    }
}

#[test]
fn a_superseded_attempt_hands_on_that_the_body_is_not_ready() {
    let (mut first, stage) = taken_over_during(Step::Pending, 100, false);
    assert_superseded(&mut first);
    let (mut handle, mut body) = second(&stage);
    assert_eq!(text(&mut body), "z");
    assert_eq!(text(&mut again(&mut handle)), "az");
}

#[test]
fn the_size_is_known_while_a_superseded_attempt_polls_the_body() {
    let stage: Rc<RefCell<Option<Handle>>> = Rc::default();
    let inside = Rc::clone(&stage);
    let meanwhile = Step::Meanwhile(Box::new(move || {
        let mut body = again(inside.borrow_mut().as_mut().expect("set"));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(data(&mut body), "abc");
        assert_eq!(body.size_hint().exact(), Some(3));
    }));
    let script = [chunk("abc"), meanwhile, chunk("de"), chunk("f")];
    let (mut first, handle) = Script::sized(script).prepare(100);
    data(&mut first);
    *stage.borrow_mut() = Some(handle);
    assert_superseded(&mut first);
    assert!(stage.borrow_mut().take().is_some());
}

#[test]
fn a_superseded_attempt_hands_on_trailers() {
    for last in [false, true] {
        let (mut first, stage) = taken_over_during(Step::Trailers(trailers()), 100, last);
        assert_superseded(&mut first);
        let (_handle, mut body) = second(&stage);
        assert!(!body.is_end_stream());
        let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else {
            panic!("no frame");
        };
        assert_eq!(frame.into_trailers().expect("trailers"), trailers());
    }
}

#[test]
fn a_superseded_attempt_hands_on_the_error_of_the_body() {
    for panics in [false, true] {
        let step = if panics { Step::Panic } else { Step::Fail };
        let (mut first, stage) = taken_over_during(step, 100, false);
        if panics {
            catch_unwind(AssertUnwindSafe(|| poll(&mut first))).expect_err("a panic");
        }
        assert_superseded(&mut first);
        let (handle, mut body) = second(&stage);
        assert!(matches!(handle.check(), Err(NotReplayable::Failed)));
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), None, "no empty body is framed");
        assert!(matches!(
            poll(&mut body),
            Poll::Ready(Some(Err(ReplayError::Body(_))))
        ));
    }
}

#[test]
fn a_successor_that_waits_outlives_the_handle() {
    let (mut first, stage) = taken_over_during(chunk("b"), 100, false);
    let inside = Rc::clone(&stage);
    // The handle goes while the successor waits for the body.
    let handle_goes = Step::Meanwhile(Box::new(move || {
        let mut stage = inside.borrow_mut();
        let (handle, _second) = stage.as_mut().expect("set");
        *handle = Script::sized([]).prepare(0).1;
    }));
    let Kind::Shared { shared, .. } = &first.0 else {
        panic!("not shared");
    };
    lock(shared)
        .body_mut()
        .expect("not taken yet")
        .steps
        .insert(1, handle_goes);
    assert_superseded(&mut first);
    let (_, mut body) = second(&stage);
    assert_eq!(text(&mut body), "bz");
}

#[test]
fn a_successor_that_waits_is_told_that_it_is_cancelled() {
    let (mut first, stage) = taken_over_during(chunk("b"), 100, false);
    let inside = Rc::clone(&stage);
    let cancelled = Step::Meanwhile(Box::new(move || {
        let mut stage = inside.borrow_mut();
        let (handle, _second) = stage.as_mut().expect("set");
        handle.cancel();
    }));
    let Kind::Shared { shared, .. } = &first.0 else {
        panic!("not shared");
    };
    let mut state = lock(shared);
    state
        .body_mut()
        .expect("not taken yet")
        .steps
        .insert(1, cancelled);
    drop(state);
    assert_superseded(&mut first);
    // It could not be woken by the body, which it never polled.
    let (_, mut body) = second(&stage);
    assert_superseded(&mut body);
}

#[test]
fn nothing_is_left_of_a_waiting_task_after_the_request() {
    let (first, handle) = Script::new([Step::Pending, Step::Pending]).prepare(100);
    let mut first = task::spawn(first);
    let waker = first.enter(|cx, body| {
        assert!(body.poll_frame(cx).is_pending());
        cx.waker().clone()
    });
    drop(handle);
    let Kind::Shared { shared, .. } = &first.0 else {
        panic!("not shared");
    };
    assert!(!lock(shared).is_waiting());
    assert!(first.enter(|cx, body| body.poll_frame(cx)).is_pending());
    let Kind::Shared { shared, .. } = &first.0 else {
        panic!("not shared");
    };
    assert!(!lock(shared).is_waiting());
    drop(waker);
}

// --- types ---

#[test]
fn bodies_and_handles_are_send_and_unpin_when_the_body_is() {
    fn assert_send<T: Send + Sync + Unpin>(_: &T) {}
    let (body, handle) = RecordBody::new(1).prepare(Full::new(Bytes::from_static(b"a")));
    assert_send(&body);
    assert_send(&handle);
    fn assert_error<T: Error + Send + Sync + 'static>() {}
    assert_error::<ReplayError>();
}

#[test]
fn debug_tells_what_a_body_is() {
    let (mut first, mut handle) = Script::new([chunk("a"), Step::Fail]).prepare(1);
    assert_eq!(format!("{first:?}"), "RecordedBody(attempt 0)");
    assert_eq!(
        format!("{:?}", again(&mut handle)),
        "RecordedBody(attempt 1)"
    );
    assert!(poll(&mut first).is_ready());
    assert_eq!(format!("{first:?}"), "RecordedBody(\"failed\")");
    assert_eq!(format!("{handle:?}"), "SavedRecording { .. }");
}

// --- any body, any cut ---

#[derive(Clone, Debug)]
struct Case {
    chunks: Vec<Vec<u8>>,
    pending: Vec<bool>,
    trailers: bool,
    sized: bool,
    limit: u64,
    /// For each attempt, how many frames it reads, and whether its body stays alive.
    attempts: Vec<(usize, bool)>,
    last: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let chunk = prop::collection::vec(any::<u8>(), 0..12);
    (
        prop::collection::vec(chunk, 0..10),
        prop::collection::vec(any::<bool>(), 11),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(u64::MAX), 0..80_u64],
        prop::collection::vec((0..14_usize, any::<bool>()), 1..6),
        any::<bool>(),
    )
        .prop_map(
            |(chunks, pending, trailers, sized, limit, attempts, last)| Case {
                chunks,
                pending,
                trailers,
                sized,
                limit,
                attempts,
                last,
            },
        )
}

impl Case {
    fn script(&self) -> Script {
        let mut steps = Vec::new();
        let chunks = self
            .chunks
            .iter()
            .map(|chunk| Step::Chunk(chunk.clone().into()));
        let end = self.trailers.then(|| Step::Trailers(trailers()));
        for (step, pending) in chunks.chain(end).zip(&self.pending) {
            steps.extend(pending.then_some(Step::Pending));
            steps.push(step);
        }
        Script {
            sized: self.sized,
            ..Script::new(steps)
        }
    }
}

proptest! {
    #[test]
    fn every_attempt_sends_the_same_bytes(case in case()) {
        let content = case.chunks.concat();
        let end = case.trailers.then(trailers);
        let declared_over = case.sized && content.len() as u64 > case.limit;
        let (mut body, mut handle) = case.script().prepare(case.limit);
        let mut alive = Vec::new();
        // Read from the caller's body by all attempts.
        let mut read = 0;
        let mut end_read = false;

        for (number, &(frames, keep)) in case.attempts.iter().enumerate() {
            let mut sent = Vec::new();
            let mut end_sent = None;
            let mut ended = false;
            let mut polled = 0;
            while polled < frames && !ended {
                if case.sized {
                    prop_assert_eq!(body.size_hint().exact(), Some((content.len() - sent.len()) as u64));
                } else {
                    prop_assert!(body.size_hint().lower() <= (content.len() - sent.len()) as u64);
                }
                let must_end = body.is_end_stream();
                match poll(&mut body) {
                    Poll::Pending => {
                        prop_assert!(!must_end);
                        continue;
                    }
                    Poll::Ready(None) => ended = true,
                    Poll::Ready(Some(Ok(frame))) => {
                        prop_assert!(!must_end);
                        match frame.into_data() {
                            Ok(data) => sent.extend_from_slice(&data),
                            Err(frame) => end_sent = frame.into_trailers().ok(),
                        }
                    }
                    Poll::Ready(Some(Err(error))) => prop_assert!(false, "{}", error),
                }
                polled += 1;
            }
            prop_assert!(content.starts_with(&sent));
            if ended {
                prop_assert_eq!(&sent, &content);
                prop_assert_eq!(&end_sent, &end);
            }
            read = read.max(sent.len());
            end_read |= end_sent.is_some();

            let is_last_attempt = number > 0 && case.last && number + 1 == case.attempts.len();
            let kept = if declared_over {
                read == 0 && !end_read
            } else {
                read as u64 <= case.limit
            };
            match handle.check() {
                Ok(()) => prop_assert!(kept),
                Err(NotReplayable::OverLimit { sent, limit }) => {
                    prop_assert!(!kept);
                    prop_assert_eq!((sent, limit), (read as u64, case.limit));
                    break;
                }
                Err(NotReplayable::NotKept) => {
                    prop_assert!(is_last_attempt);
                    break;
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
            let last = case.last && number + 2 == case.attempts.len();
            let next = handle.next(&head(), last).expect("checked");
            let mut old = std::mem::replace(&mut body, next);
            if keep {
                alive.push(old);
            } else if number % 2 == 0 {
                prop_assert!(!matches!(poll(&mut old), Poll::Ready(Some(Ok(_)))));
            }
        }
        for mut old in alive {
            let polled = poll(&mut old);
            // An empty body is not shared, so nothing of it can be superseded.
            prop_assert!(matches!(
                polled,
                Poll::Ready(Some(Err(ReplayError::Superseded)) | None)
            ));
        }
    }
}
