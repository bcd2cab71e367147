//! The layers of the family around the retries, and below them.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer,
    util::BoxCloneService,
};
use tower_http_retry::{
    BoxError, RetryLayer,
    body::Rewind,
    connection::ConnectionLayer,
    endpoints::EndpointsLayer,
    hedge::HedgeLayer,
    peek::{DEFAULT_LIMIT, PeekLayer},
    policy::RetryPolicy,
    redirect::RedirectLayer,
};

use super::{cell::Sending, uploads::Watch};
use test_support::net::client::FaultClient;

/// When a hedge is due: longer than any answer takes, and before the attempt's time is over.
pub const HEDGE_DELAY: Duration = Duration::from_secs(4);

/// The names of the one server. To the client's pool they are two servers.
pub const NAMES: [&str; 2] = ["http://localhost", "http://other.test"];

/// What stands around the retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    pub redirects: bool,
    pub hedges: Hedges,
    /// The server has two names.
    pub endpoints: bool,
    pub connections: bool,
    /// Answers are read whole before they are judged.
    pub collects: bool,
}

/// When hedges are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hedges {
    /// There is no such layer.
    #[default]
    None,
    /// Never in time: the layer must not be noticed.
    Idle,
    /// After [`HEDGE_DELAY`].
    Due,
}

impl Layers {
    /// The retries alone.
    pub const NONE: Self = Self {
        redirects: false,
        hedges: Hedges::None,
        endpoints: false,
        connections: false,
        collects: false,
    };

    /// All of them at once.
    pub const ALL: Self = Self {
        redirects: true,
        hedges: Hedges::Idle,
        endpoints: true,
        connections: true,
        collects: true,
    };

    /// Each of them alone, and all.
    pub const EACH: [Self; 6] = [
        Self {
            redirects: true,
            ..Self::NONE
        },
        Self {
            hedges: Hedges::Idle,
            ..Self::NONE
        },
        Self {
            endpoints: true,
            ..Self::NONE
        },
        Self {
            connections: true,
            ..Self::NONE
        },
        Self {
            collects: true,
            ..Self::NONE
        },
        Self::ALL,
    ];

    /// How much may be in flight at once.
    pub fn permits(self) -> usize {
        if self.hedges == Hedges::Due { 2 } else { 1 }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            redirects,
            hedges,
            endpoints,
            connections,
            collects,
        } = self;
        let names = [
            (*redirects, "redirects"),
            (*hedges == Hedges::Idle, "hedges that are not due"),
            (*hedges == Hedges::Due, "hedges"),
            (*endpoints, "endpoints"),
            (*connections, "connections"),
            (*collects, "collects"),
        ];
        let names = names.iter().filter(|(is_there, _)| *is_there);
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "alone" } else { "with " })?;
        f.write_str(&names.join(", "))
    }
}

/// The body of a response, whatever layers it came through.
pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

type Below<B> = BoxCloneService<Request<B>, Response<AnyBody>, BoxError>;

/// A service with any response body and error.
fn any<S, B, D>(service: S) -> Below<B>
where
    S: Service<Request<B>, Response = Response<D>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: 'static,
    D: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = service.map_err(Into::into);
    BoxCloneService::new(service.map_response(|response: Response<D>| {
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }))
}

/// The layers of one cell, and the client.
#[derive(Debug)]
pub struct Stack {
    layers: Layers,
    hedges: HedgeLayer,
    redirects: RedirectLayer,
    client: FaultClient,
    watch: Arc<Watch>,
}

impl Stack {
    pub fn new(
        layers: Layers,
        retries: &RetryLayer<RetryPolicy>,
        client: FaultClient,
        watch: &Arc<Watch>,
    ) -> Self {
        let policy = retries.policy();
        let delay = match layers.hedges {
            Hedges::Due => HEDGE_DELAY,
            Hedges::None | Hedges::Idle => Duration::from_secs(3600),
        };
        let hedges = HedgeLayer::builder(policy).fixed_delay(delay).build();
        Self {
            layers,
            hedges: hedges.expect("valid"),
            redirects: RedirectLayer::new(policy),
            client,
            watch: Arc::clone(watch),
        }
    }

    /// Sends a body that is cloned.
    pub fn cloning<B>(self, layer: RetryLayer<RetryPolicy>, request: Request<B>) -> Sending
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Default + Send + 'static,
        tower_http_retry::body::CloneBody: Rewind<B, Body = B, Saved: Send + 'static>,
    {
        let (hedges, redirects) = (self.hedges.clone(), self.redirects.clone());
        let retries = layer.layer(self.below(hedges));
        if self.layers.redirects {
            Box::pin(redirects.layer(retries).oneshot(request))
        } else {
            Box::pin(retries.oneshot(request))
        }
    }

    /// Sends a body that is recorded.
    pub fn recording<B>(
        self,
        layer: RetryLayer<RetryPolicy>,
        limit: u64,
        request: Request<B>,
    ) -> Sending
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let layer = layer.replay_bodies(limit);
        let hedges = self.hedges.clone().recorded_bodies();
        if self.layers.redirects {
            let redirects = self.redirects.clone().replay_bodies(limit);
            let retries = layer.layer(self.below(hedges));
            Box::pin(redirects.layer(retries).oneshot(request))
        } else {
            Box::pin(layer.layer(self.below(hedges)).oneshot(request))
        }
    }

    /// Sends a body that is made anew.
    pub fn reopening<B, F, E>(
        self,
        layer: RetryLayer<RetryPolicy>,
        reopen: F,
        request: Request<B>,
    ) -> Sending
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Default + Send + 'static,
        F: Fn(&Parts) -> Result<B, E> + Clone + Send + Sync + 'static,
        E: Into<BoxError> + 'static,
    {
        let layer = layer.reopen_bodies(reopen.clone());
        let hedges = self.hedges.clone().reopen_bodies(reopen);
        assert!(!self.layers.redirects, "in no cell");
        Box::pin(layer.layer(self.below(hedges)).oneshot(request))
    }

    /// What is below the retries.
    fn below<B, H>(&self, hedges: HedgeLayer<H>) -> Below<B>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        H: Rewind<B, Body = B, Saved: Send> + Clone + Send + 'static,
    {
        let permits = GlobalConcurrencyLimitLayer::with_semaphore(self.watch.permits());
        let watch = Arc::clone(&self.watch);
        let client = ServiceBuilder::new()
            .layer(permits)
            .map_request(move |request: Request<B>| {
                watch.attempt();
                request.map(|body| body.map_err(Into::into).boxed_unsync())
            })
            .service(self.client.clone());
        let mut below = any(client);
        if self.layers.connections {
            below = any(ConnectionLayer::new().layer(below));
        }
        if self.layers.collects {
            below = any(PeekLayer::collect(DEFAULT_LIMIT).layer(below));
        }
        if self.layers.endpoints {
            let endpoints = EndpointsLayer::ordered(NAMES[0], NAMES);
            below = any(endpoints.expect("valid").layer(below));
        }
        match self.layers.hedges {
            Hedges::None => below,
            Hedges::Idle | Hedges::Due => any(hedges.layer(below)),
        }
    }
}
