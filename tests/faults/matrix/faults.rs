//! The faults: what the server does, and what that is by the rules.

use std::{borrow::Cow, sync::Arc};

use http::StatusCode;
use tower_http_retry::classify::Cause;

use super::{layers::Layers, rules::Class};
use test_support::net::{
    Step,
    fault::{Act, Answer, Play, Protocol},
    http1,
    http2::code,
    tls::Identity,
};

/// Something that happens to an attempt.
#[derive(Clone, Debug)]
pub struct Fault {
    pub name: Cow<'static, str>,
    pub protocols: &'static [Protocol],
    pub is_tls: bool,
    pub play: Play,
    /// What it is by the rules.
    pub class: Class,
    /// What it can be as well, where it is a race between the client and the network.
    pub or: &'static [Class],
    pub arrives: Arrives,
    /// Whether the server applies the request.
    pub applies: bool,
    pub stalls: Stalls,
    /// Whether the answer comes while the request is being sent.
    pub is_early: bool,
    /// What becomes of the answer's content.
    pub content: Content,
}

/// What of the request arrives at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrives {
    Nothing,
    /// Its head and so many bytes, if there are as many.
    AtLeast(u64),
    Whole,
}

/// Where the server stops for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalls {
    Not,
    /// The attempt has no answer.
    BeforeTheAnswer,
    /// The answer is there, and its content is not.
    InTheAnswer,
}

/// What becomes of an answer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Whole,
    /// Reading it fails.
    Broken,
    /// Reading it takes for ever.
    Endless,
}

/// The certificates that the faults need.
#[derive(Debug)]
pub struct Identities {
    /// The server's.
    pub server: Identity,
    /// One that is trusted and has another name.
    pub other_name: Arc<Identity>,
    /// One that is not trusted.
    pub unknown: Arc<Identity>,
}

impl Identities {
    pub fn new() -> Self {
        Self {
            server: Identity::new(),
            other_name: Arc::new(Identity::named("elsewhere.test")),
            unknown: Arc::new(Identity::new()),
        }
    }
}

const BOTH: &[Protocol] = &[Protocol::Http1, Protocol::Http2];
const HTTP1: &[Protocol] = &[Protocol::Http1];
const HTTP2: &[Protocol] = &[Protocol::Http2];

impl Fault {
    /// The connection is not made.
    fn unmade(name: impl Into<Cow<'static, str>>, play: Play) -> Self {
        Self {
            name: name.into(),
            protocols: BOTH,
            is_tls: false,
            play,
            class: Class::Connect,
            or: &[],
            arrives: Arrives::Nothing,
            applies: false,
            stalls: Stalls::Not,
            is_early: false,
            content: Content::Whole,
        }
    }

    /// The connection ends at a time when nobody can know whether the request was written.
    fn raced(name: impl Into<Cow<'static, str>>, play: Play) -> Self {
        Self {
            or: &[Class::Unprocessed, Class::Read],
            ..Self::unmade(name, play)
        }
    }

    /// The TLS handshake fails.
    fn handshake(name: impl Into<Cow<'static, str>>, class: Class, play: Play) -> Self {
        Self {
            is_tls: true,
            class,
            ..Self::unmade(name, play)
        }
    }

    /// The request arrives to this extent, and no answer comes.
    fn lost(name: &'static str, arrives: Arrives, acts: impl Into<Vec<Act>>) -> Self {
        let mut all = match arrives {
            Arrives::Nothing => panic!("{name}: a request that does not arrive is not lost"),
            Arrives::AtLeast(bytes) => vec![Act::Read(bytes)],
            Arrives::Whole => vec![Act::ReadAll],
        };
        all.extend(acts.into());
        Self {
            class: Class::Read,
            arrives,
            applies: all.iter().any(|act| matches!(act, Act::Apply)),
            ..Self::unmade(name, Play::Serve(all))
        }
    }

    /// The request arrives, and is answered.
    fn answered(name: &'static str, class: Class, acts: impl Into<Vec<Act>>) -> Self {
        Self::lost(name, Arrives::Whole, acts).answering(class)
    }

    fn answering(self, class: Class) -> Self {
        Self { class, ..self }
    }

    fn stalling(self) -> Self {
        Self {
            class: Class::TimedOut,
            stalls: Stalls::BeforeTheAnswer,
            ..self
        }
    }

    fn early(self) -> Self {
        Self {
            is_early: true,
            ..self
        }
    }

    fn over(self, protocols: &'static [Protocol]) -> Self {
        Self { protocols, ..self }
    }

    fn or(self, or: &'static [Class]) -> Self {
        Self { or, ..self }
    }

    /// What it is to these layers.
    pub fn class_to(&self, layers: Layers) -> Class {
        match (self.content, self.class) {
            (Content::Broken, class) if layers.collects => match class {
                Class::Status(status, _) => Class::Cut(status),
                _ => Class::Cut(200),
            },
            (Content::Endless, _) if layers.collects => Class::TimedOut,
            (_, class) => class,
        }
    }

    /// Where the server stops for good, as these layers see it.
    pub fn stalls_to(&self, layers: Layers) -> Stalls {
        match self.stalls {
            Stalls::InTheAnswer if layers.collects => Stalls::BeforeTheAnswer,
            stalls => stalls,
        }
    }

    fn content(self, content: Content) -> Self {
        let stalls = match content {
            Content::Endless => Stalls::InTheAnswer,
            Content::Whole | Content::Broken => Stalls::Not,
        };
        Self {
            content,
            stalls,
            ..self
        }
    }
}

/// All faults.
pub fn faults(identities: &Identities) -> Vec<Fault> {
    use Act::{Apply, Close, HalfABody, HalfAHead, Inform, Reset, ResetStream, Stall};
    use Arrives::{AtLeast, Whole};
    use Class::{Connect, Read, Status, Success, Unprocessed, Untrusted};

    let answer = |status: u16| Act::answer(status);
    let retry_after =
        |status, seconds| Act::Answer(Answer::new(status).header("retry-after", seconds));
    let go_away = |processed, code| Act::GoAway { processed, code };
    let unavailable = Status(503, None);
    let first_byte = |then: &[Step]| Play::Raw([&[Step::ReadByte], then].concat());

    vec![
        // Connecting.
        Fault::unmade("name not found", Play::NoName),
        Fault::unmade("refused", Play::Refuse),
        Fault::raced("closed at once", Play::close()),
        Fault::raced("reset at once", Play::reset_after(0)),
        Fault::raced("reset in the preface", Play::reset_after(10)).over(HTTP2),
        Fault::raced("reset after the preface", Play::reset_after(60)).over(HTTP2),
        Fault {
            class: Read,
            ..Fault::unmade("reset after a byte", Play::reset_after(1)).over(HTTP1)
        },
        Fault {
            class: Read,
            ..Fault::unmade("reset in the head", Play::reset_after(20)).over(HTTP1)
        },
        // TLS.
        Fault::handshake("handshake closed", Connect, first_byte(&[])),
        Fault::handshake("handshake reset", Connect, first_byte(&[Step::Reset])),
        Fault::handshake(
            "no TLS",
            Untrusted(Cause::TlsProtocol),
            first_byte(&[Step::write(http1::ANSWER)]),
        ),
        Fault::handshake(
            "unknown certificate",
            Untrusted(Cause::Certificate),
            Play::Imposter(Arc::clone(&identities.unknown)),
        ),
        Fault::handshake(
            "certificate of another",
            Untrusted(Cause::Certificate),
            Play::Imposter(Arc::clone(&identities.other_name)),
        ),
        // The request.
        Fault::lost("reset after the head", AtLeast(0), [Reset]),
        Fault::lost("closed after the head", AtLeast(0), [Close]),
        Fault::lost("reset in the body", AtLeast(1500), [Reset]),
        Fault::lost("closed in the body", AtLeast(1500), [Close]),
        Fault::lost("stalled in the body", AtLeast(1), [Stall]).stalling(),
        Fault::lost("reset before it is applied", Whole, [Reset]),
        Fault::lost("reset after it is applied", Whole, [Apply, Reset]),
        Fault::lost("closed before it is applied", Whole, [Close]),
        Fault::lost("closed after it is applied", Whole, [Apply, Close]),
        Fault::lost("stalled before it is applied", Whole, [Stall]).stalling(),
        Fault::lost("stalled after it is applied", Whole, [Apply, Stall]).stalling(),
        // The answer's head.
        Fault::lost("garbage", Whole, [Act::garbage()]),
        Fault::lost(
            "garbage after it is applied",
            Whole,
            [Apply, Act::garbage()],
        ),
        Fault::lost("closed in the answer's head", Whole, [Apply, HalfAHead]),
        Fault::lost(
            "stalled in the answer's head",
            Whole,
            [Apply, HalfAHead, Stall],
        )
        .stalling()
        .over(HTTP1),
        Fault::lost(
            "closed after an interim answer",
            Whole,
            [Inform(StatusCode::EARLY_HINTS), Apply, Close],
        ),
        Fault::answered(
            "an interim answer first",
            Success,
            [Inform(StatusCode::EARLY_HINTS), Apply, answer(200)],
        ),
        // The answer says failure.
        Fault::answered("503", unavailable, [answer(503)]),
        Fault::answered(
            "500 after it is applied",
            Status(500, None),
            [Apply, answer(500)],
        ),
        Fault::answered("404", Status(404, None), [answer(404)]),
        Fault::answered("501", Status(501, None), [answer(501)]),
        Fault::answered("421", Status(421, None), [answer(421)]),
        Fault::answered(
            "503, come back",
            Status(503, Some(0)),
            [retry_after(503, "0")],
        ),
        Fault::answered(
            "503, come back in a second",
            Status(503, Some(1)),
            [retry_after(503, "1")],
        ),
        Fault::answered(
            "429, come back in an hour",
            Status(429, Some(3600)),
            [retry_after(429, "3600")],
        ),
        Fault::lost("503 while it is sent", AtLeast(1), [answer(503)])
            .answering(unavailable)
            .early(),
        Fault::lost("413 while it is sent", AtLeast(1), [answer(413)])
            .answering(Status(413, None))
            .early(),
        // The answer's content.
        Fault::answered("200, closed", Success, [Apply, HalfABody(Answer::new(200))])
            .content(Content::Broken),
        Fault::answered(
            "200, stalled",
            Success,
            [Apply, HalfABody(Answer::new(200)), Stall],
        )
        .content(Content::Endless),
        Fault::answered("503, closed", unavailable, [HalfABody(Answer::new(503))])
            .content(Content::Broken),
        Fault::answered(
            "503, stalled",
            unavailable,
            [HalfABody(Answer::new(503)), Stall],
        )
        .content(Content::Endless),
        // What was not read of an answer is lost in a reset, its head too.
        Fault::answered(
            "503, reset",
            unavailable,
            [HalfABody(Answer::new(503)), Reset],
        )
        .or(&[Read])
        .content(Content::Broken),
        // HTTP/2.
        Fault::answered(
            "503, stream reset",
            unavailable,
            [
                HalfABody(Answer::new(503)),
                ResetStream(code::INTERNAL_ERROR),
            ],
        )
        .content(Content::Broken)
        .over(HTTP2),
        Fault::lost(
            "stream refused",
            AtLeast(0),
            [ResetStream(code::REFUSED_STREAM)],
        )
        .answering(Unprocessed)
        .over(HTTP2),
        Fault::lost("going away", AtLeast(0), [go_away(false, code::NO_ERROR)])
            .answering(Unprocessed)
            .over(HTTP2),
        Fault::lost(
            "gone with an error",
            AtLeast(0),
            [go_away(false, code::INTERNAL_ERROR)],
        )
        .answering(Unprocessed)
        .over(HTTP2),
        Fault::lost(
            "gone for calm",
            AtLeast(0),
            [go_away(false, code::ENHANCE_YOUR_CALM)],
        )
        .answering(Unprocessed)
        .over(HTTP2),
        Fault::lost(
            "closed after going away",
            Whole,
            [Apply, go_away(true, code::NO_ERROR), Close],
        )
        .over(HTTP2),
        Fault::lost(
            "stream failed",
            AtLeast(0),
            [ResetStream(code::INTERNAL_ERROR)],
        )
        .over(HTTP2),
        Fault::lost("stream ended", AtLeast(0), [ResetStream(code::NO_ERROR)]).over(HTTP2),
        Fault::lost("stream cancelled", AtLeast(1), [ResetStream(code::CANCEL)]).over(HTTP2),
        Fault::lost(
            "stream calmed",
            AtLeast(1),
            [ResetStream(code::ENHANCE_YOUR_CALM)],
        )
        .over(HTTP2),
        Fault::lost(
            "stream failed after it is applied",
            Whole,
            [Apply, ResetStream(code::INTERNAL_ERROR)],
        )
        .over(HTTP2),
    ]
}

/// Where a redirect leads to.
pub const NEXT: &str = "/next";

/// Redirects, which nobody follows who was not told to.
pub fn redirects() -> Vec<Fault> {
    let redirect = |name, status, keeps| {
        let answer = Answer::new(status).header("location", NEXT);
        Fault::answered(
            name,
            Class::Redirect { status, keeps },
            [Act::Answer(answer)],
        )
    };
    vec![redirect("303", 303, false), redirect("307", 307, true)]
}

/// A reset after each byte of a request, and from its content on after every now and then one.
pub fn resets_at_every_byte() -> Vec<Fault> {
    let reset = |protocol: &str, bytes: usize| {
        let name = format!("reset after {bytes} bytes of {protocol}");
        Fault::raced(name, Play::reset_after(bytes))
    };
    // Not more than a request has, or the server would wait for it.
    let http1 = (1..=120).chain((121..5000).step_by(61)).map(|bytes| Fault {
        // What arrived was sent.
        class: Class::Read,
        or: &[],
        ..reset("HTTP/1.1", bytes).over(HTTP1)
    });
    let http2 = (0..=120).map(|bytes| reset("HTTP/2", bytes).over(HTTP2));
    http1.chain(http2).collect()
}

/// An answer that ends after each of its bytes.
pub fn answers_cut_at_every_byte() -> Vec<Fault> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
        Answer::BODY.len()
    );
    let answer = [head.as_bytes(), Answer::BODY].concat();
    let cut = |bytes: usize| {
        let fault = Fault {
            name: format!("answer cut after {bytes} bytes").into(),
            ..Fault::lost(
                "cut",
                Arrives::Whole,
                [Act::Apply, Act::Write(answer[..bytes].into()), Act::Close],
            )
            .over(HTTP1)
        };
        if bytes < head.len() {
            fault
        } else if bytes < answer.len() {
            fault.answering(Class::Success).content(Content::Broken)
        } else {
            fault.answering(Class::Success)
        }
    };
    (0..=answer.len()).map(cut).collect()
}
