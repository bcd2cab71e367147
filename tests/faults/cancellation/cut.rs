//! A future that is dropped after so many polls.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// When a future is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The number of polls before.
    pub polls: usize,
    pub when: When,
}

/// When, between two polls, a future is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As soon as the first of them is over.
    AtOnce,
    /// When it is to be polled the second time.
    Woken,
}

impl Cut {
    /// Never.
    pub const NEVER: Self = Self {
        polls: usize::MAX,
        when: When::Woken,
    };

    /// Every one that is possible in a future that is polled so often until it ends.
    pub fn all(polls: usize) -> impl Iterator<Item = Self> {
        let cuts = |polls| [When::AtOnce, When::Woken].map(|when| Self { polls, when });
        (0..polls).flat_map(cuts)
    }
}

/// A future that is dropped when its time has come; it then ends with `None`.
#[derive(Debug)]
pub struct Cutting<F> {
    future: Option<Pin<Box<F>>>,
    cut: Cut,
    polls: usize,
}

impl<F> Cutting<F> {
    pub fn new(future: F, cut: Cut) -> Self {
        let mut cutting = Self {
            future: Some(Box::pin(future)),
            cut,
            polls: 0,
        };
        if cut.when == When::AtOnce {
            cutting.cut();
        }
        cutting
    }

    /// How often it was polled.
    pub const fn polls(&self) -> usize {
        self.polls
    }

    fn cut(&mut self) {
        if self.polls == self.cut.polls {
            self.future = None;
        }
    }
}

impl<F: Future> Future for Cutting<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.cut.when == When::Woken {
            self.cut();
        }
        let Some(future) = &mut self.future else {
            return Poll::Ready(None);
        };
        let polled = future.as_mut().poll(cx);
        self.polls += 1;
        if self.cut.when == When::AtOnce && polled.is_pending() {
            self.cut();
        }
        match polled {
            Poll::Ready(output) => {
                self.future = None;
                Poll::Ready(Some(output))
            }
            Poll::Pending if self.future.is_none() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
