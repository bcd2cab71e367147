//! What goes wrong with each attempt, once the head of its request has arrived.

use bytes::Bytes;

use crate::{
    dice::Dice,
    order::{Attempt, Order, Upload, Verb},
};
use test_support::net::{
    fault::{Act, Answer, Protocol},
    http2::code,
};

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is wrong.
    None,
    /// An interim answer comes first.
    Interim,
    /// An answer that says failure, before anything is applied.
    Says(u16),
    /// The same with the time to come back.
    SaysWhen(u16, &'static str),
    /// An answer that says failure, after the request was applied.
    FailsLate,
    /// An answer that says failure, while the request is still sent.
    Early,
    ResetBefore,
    ResetInBody,
    ResetAfter,
    Closes,
    HalfAHead,
    Garbage,
    Stalls,
    /// The connection ends in the middle of a success.
    CutsSuccess,
    /// The connection ends in the middle of a failure.
    CutsFailure,
    /// The connection hangs in the middle of a failure.
    StallsInFailure,
    /// HTTP/2: the stream ends with this error, before or after the request was applied.
    Stream(u32, bool),
}

/// Over HTTP/1.1.
const HTTP1: &[Fault] = &[
    Fault::Interim,
    Fault::Says(503),
    Fault::Says(503),
    Fault::Says(502),
    Fault::Says(404),
    Fault::SaysWhen(429, "0"),
    Fault::SaysWhen(503, "0"),
    Fault::SaysWhen(503, "3600"),
    Fault::FailsLate,
    Fault::Early,
    Fault::ResetBefore,
    Fault::ResetInBody,
    Fault::ResetAfter,
    Fault::Closes,
    Fault::HalfAHead,
    Fault::Garbage,
    Fault::CutsSuccess,
    Fault::CutsFailure,
];

/// Over HTTP/2, of a stream.
const HTTP2: &[Fault] = &[
    Fault::Interim,
    Fault::Says(503),
    Fault::Says(503),
    Fault::Says(502),
    Fault::Says(404),
    Fault::SaysWhen(429, "0"),
    Fault::SaysWhen(503, "3600"),
    Fault::FailsLate,
    Fault::Early,
    Fault::CutsFailure,
    Fault::Stream(code::REFUSED_STREAM, false),
    Fault::Stream(code::INTERNAL_ERROR, false),
    Fault::Stream(code::INTERNAL_ERROR, true),
    Fault::Stream(code::CANCEL, true),
    Fault::Stream(code::ENHANCE_YOUR_CALM, false),
];

/// Over HTTP/2, of the connection with all that goes on on it.
const HTTP2_ALL: &[Fault] = &[
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Closes,
    Fault::Garbage,
];

/// Those that take time.
const SLOW: &[Fault] = &[Fault::Stalls, Fault::Stalls, Fault::StallsInFailure];

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    order: Order,
    attempt: Attempt,
    fault: Fault,
}

impl Plan {
    /// The plan for an attempt, of which `faults` of 1 go wrong.
    pub(crate) fn new(order: Order, attempt: Attempt, faults: f64) -> Self {
        let dice = order.attempt(attempt);
        Self {
            order,
            attempt,
            fault: if dice.of(0).chance(faults) {
                Self::fault(&order, dice)
            } else {
                Fault::None
            },
        }
    }

    fn fault(order: &Order, dice: Dice) -> Fault {
        let fault = if dice.of(1).chance(0.01) {
            dice.of(2).one(SLOW)
        } else {
            match order.protocol {
                Protocol::Http1 => dice.of(2).one(HTTP1),
                Protocol::Http2 if dice.of(3).chance(0.01) => dice.of(2).one(HTTP2_ALL),
                Protocol::Http2 => dice.of(2).one(HTTP2),
            }
        };
        match fault {
            Fault::CutsSuccess | Fault::CutsFailure | Fault::StallsInFailure
                if order.verb == Verb::Head =>
            {
                // There is nothing to be cut.
                Fault::Says(503)
            }
            Fault::Early if order.upload == Upload::None => Fault::Says(503),
            Fault::ResetInBody if order.upload == Upload::None => Fault::ResetBefore,
            fault => fault,
        }
    }

    /// What the answer says, if there is one.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self.fault {
            Fault::None | Fault::Interim | Fault::CutsSuccess => Some(200),
            Fault::Says(status) | Fault::SaysWhen(status, _) => Some(status),
            Fault::FailsLate => Some(500),
            Fault::Early | Fault::CutsFailure | Fault::StallsInFailure => Some(503),
            Fault::ResetBefore
            | Fault::ResetInBody
            | Fault::ResetAfter
            | Fault::Closes
            | Fault::HalfAHead
            | Fault::Garbage
            | Fault::Stalls
            | Fault::Stream(..) => None,
        }
    }

    /// Whether only a part of the answer's content comes.
    pub(crate) const fn is_cut(&self) -> bool {
        matches!(
            self.fault,
            Fault::CutsSuccess | Fault::CutsFailure | Fault::StallsInFailure
        )
    }

    /// Whether the rest of the answer's content never comes.
    pub(crate) fn hangs(&self) -> bool {
        self.fault == Fault::StallsInFailure
    }

    /// The answer's content.
    pub(crate) fn content(&self) -> Bytes {
        if self.order.verb == Verb::Head {
            return Bytes::new();
        }
        let dice = self.order.attempt(self.attempt);
        // Two bytes at least, so that half of them is less and not nothing.
        let length = 2 + dice.of(5).below(2000);
        dice.of(4).bytes(length as usize).into()
    }

    /// What the server does.
    pub(crate) fn acts(&self) -> Vec<Act> {
        use Act::{Apply, Close, HalfABody, Inform, ReadAll, Reset, ResetStream, Stall};

        let content = self.content();
        let answer = |status| Answer::new(status).content(content);
        match self.fault {
            Fault::None => vec![ReadAll, Apply, Act::Answer(answer(200))],
            Fault::Interim => {
                let hints = http::StatusCode::EARLY_HINTS;
                vec![Inform(hints), ReadAll, Apply, Act::Answer(answer(200))]
            }
            Fault::Says(status) => vec![ReadAll, Act::Answer(answer(status))],
            Fault::SaysWhen(status, when) => {
                let answer = answer(status).header("retry-after", when);
                vec![ReadAll, Act::Answer(answer)]
            }
            Fault::FailsLate => vec![ReadAll, Apply, Act::Answer(answer(500))],
            Fault::Early => vec![Act::Read(1), Act::Answer(answer(503))],
            Fault::ResetBefore => vec![Reset],
            Fault::ResetInBody => vec![Act::Read(1), Reset],
            Fault::ResetAfter => vec![ReadAll, Apply, Reset],
            Fault::Closes => vec![ReadAll, Close],
            Fault::HalfAHead => vec![ReadAll, Apply, Act::HalfAHead, Close],
            Fault::Garbage => vec![ReadAll, Act::garbage()],
            Fault::Stalls => vec![ReadAll, Apply, Stall],
            Fault::CutsSuccess => vec![ReadAll, Apply, HalfABody(answer(200))],
            Fault::CutsFailure => match self.order.protocol {
                Protocol::Http1 => vec![ReadAll, HalfABody(answer(503))],
                Protocol::Http2 => vec![
                    ReadAll,
                    HalfABody(answer(503)),
                    ResetStream(code::INTERNAL_ERROR),
                ],
            },
            Fault::StallsInFailure => vec![ReadAll, HalfABody(answer(503)), Stall],
            Fault::Stream(code, true) => vec![ReadAll, Apply, ResetStream(code)],
            Fault::Stream(code, false) => vec![ResetStream(code)],
        }
    }
}
