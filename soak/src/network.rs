//! The way to a server, on which connections fail before the server sees anything of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tower::Service;

use crate::dice::Dice;
use test_support::net::{Refused, Server, Step, fault::Names, http1};

/// Where connections end that do not come to the server.
#[derive(Debug)]
pub(crate) struct Pitfalls {
    refused: Refused,
    others: Vec<Server>,
}

impl Pitfalls {
    pub(crate) async fn new() -> Self {
        let scripts = [
            vec![],
            vec![Step::Reset],
            vec![Step::ReadByte, Step::Reset],
            vec![Step::ReadHead, Step::Reset],
            vec![Step::ReadHead, Step::write(http1::HALF_A_HEAD)],
        ];
        let mut others = Vec::new();
        for script in scripts {
            others.push(Server::playing(script).await);
        }
        Self {
            refused: Refused::new(),
            others,
        }
    }

    fn one(&self, dice: Dice) -> Uri {
        // A refused connection is the most frequent of these faults.
        match dice.below(2 * self.others.len() as u64) as usize {
            at if at < self.others.len() => self.others[at].uri("/"),
            _ => self.refused.uri("/"),
        }
    }
}

/// Makes connections to a server, or to a pitfall.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) server: HttpConnector<Names>,
    pub(crate) pitfalls: Arc<Pitfalls>,
    /// How many connections of 1 end in a pitfall.
    pub(crate) part: f64,
    pub(crate) dice: Dice,
    pub(crate) made: Arc<AtomicU64>,
}

impl Service<Uri> for Way {
    type Response = <HttpConnector<Names> as Service<Uri>>::Response;
    type Error = <HttpConnector<Names> as Service<Uri>>::Error;
    type Future = <HttpConnector<Names> as Service<Uri>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dice = self.dice.of(self.made.fetch_add(1, Relaxed));
        self.server.call(if dice.of(0).chance(self.part) {
            self.pitfalls.one(dice.of(1))
        } else {
            uri
        })
    }
}
