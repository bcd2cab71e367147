//! The resolver that decides where a client connects to.

use std::{
    future::{Ready, ready},
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::{Play, Shared};

/// The resolver of a [`FaultServer`](super::FaultServer)'s clients.
#[derive(Clone, Debug)]
pub struct Names {
    shared: Arc<Shared>,
    server: SocketAddr,
}

impl Names {
    pub(super) const fn new(shared: Arc<Shared>, server: SocketAddr) -> Self {
        Self { shared, server }
    }

    fn resolve(&self) -> io::Result<SocketAddr> {
        let unmade = |play: &Play| matches!(play, Play::NoName | Play::Refuse);
        match self.shared.take_if(unmade) {
            None => Ok(self.server),
            Some((Play::NoName, _)) => Err(io::Error::other(
                "failed to lookup address information: Name or service not known",
            )),
            Some(_) => Ok(self.shared.refused.addr),
        }
    }
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(self.resolve().map(|addr| vec![addr].into_iter()))
    }
}
