//! [`EndpointsLayer`]: what a user writes in a `ServiceBuilder`.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{
    Endpoints,
    base::Base,
    memory::Memory,
    pool::{Endpoint, Pool},
};
use crate::{dice::Dice, reason::InvalidPolicy};

/// More are not remembered of a request.
const MOST: usize = 64;

/// Sends each attempt to an endpoint of the service that was not tried yet and does not fail; see
/// the [module](super).
///
/// # Clone
///
/// Clones, and the services that they make, share what they remember of the endpoints.
#[derive(Clone)]
pub struct EndpointsLayer {
    pool: Arc<Pool>,
}

impl EndpointsLayer {
    /// The service with the base URI `service` can be reached at `endpoints`, of which the first
    /// that is fit to be asked is asked.
    ///
    /// ```
    /// use tower_http_retry::endpoints::EndpointsLayer;
    ///
    /// let layer = EndpointsLayer::ordered(
    ///     "https://orders.internal/",
    ///     ["https://main.example.com/orders", "https://spare.example.com/orders"],
    /// )?;
    /// # let _ = layer;
    ///
    /// let error = EndpointsLayer::ordered("https://orders.internal", ["spare.example.com"]);
    /// assert_eq!(
    ///     error.unwrap_err().to_string(),
    ///     "`endpoints` is \"spare.example.com\": must be `http://` or `https://`, a host, a \
    ///      port if it is another than the scheme's, and a path if there is one",
    /// );
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    ///
    /// # Errors
    ///
    /// One of them is no base URI of `http` or `https`, or has user information, a query, or a
    /// fragment; there is no endpoint, one is there twice, or there are more than 64; the service
    /// has `https` and an endpoint has not.
    pub fn ordered<T>(
        service: &str,
        endpoints: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidPolicy>
    where
        T: AsRef<str>,
    {
        let endpoints = endpoints.into_iter().map(|text| (text, 0));
        Self::new(service, endpoints, None)
    }

    /// The service with the base URI `service` can be reached at `endpoints`. Of those that are fit
    /// to be asked, one is drawn at random: one with weight 3 three times as often as one with
    /// weight 1.
    ///
    /// ```
    /// use tower_http_retry::endpoints::EndpointsLayer;
    ///
    /// let layer = EndpointsLayer::weighted(
    ///     "http://orders.internal/",
    ///     [("http://10.0.0.7:8080/", 3), ("http://10.0.0.8:8080/", 1)],
    /// )?;
    /// # let _ = layer;
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`ordered`](Self::ordered), and a weight of zero.
    pub fn weighted<T>(
        service: &str,
        endpoints: impl IntoIterator<Item = (T, u32)>,
    ) -> Result<Self, InvalidPolicy>
    where
        T: AsRef<str>,
    {
        Self::new(service, endpoints, Some(Dice::new(None)))
    }

    fn new<T>(
        service: &str,
        given: impl IntoIterator<Item = (T, u32)>,
        dice: Option<Dice>,
    ) -> Result<Self, InvalidPolicy>
    where
        T: AsRef<str>,
    {
        let service = Base::parse("service", service)?;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (text, weight) in given {
            let text = text.as_ref();
            let base = Base::parse("endpoints", text)?;
            let problem = if dice.is_some() && weight == 0 {
                Some("an endpoint with a weight of 1 or more")
            } else if service.scheme == http::uri::Scheme::HTTPS && base.scheme != service.scheme {
                Some("`https://`, since the service has it")
            } else if endpoints.iter().any(|other| other.base.is(&base)) {
                Some("each endpoint once")
            } else if endpoints.len() == MOST {
                Some("64 endpoints at most")
            } else {
                None
            };
            if let Some(allowed) = problem {
                return Err(InvalidPolicy::new(
                    "endpoints",
                    format_args!("{text:?}"),
                    allowed,
                ));
            }
            endpoints.push(Endpoint {
                base,
                weight,
                memory: Memory::default(),
            });
        }
        if endpoints.is_empty() {
            return Err(InvalidPolicy::new(
                "endpoints",
                "empty",
                "one base URI or more",
            ));
        }
        Ok(Self {
            pool: Arc::new(Pool {
                service,
                endpoints: endpoints.into(),
                dice,
            }),
        })
    }
}

impl<S> Layer<S> for EndpointsLayer {
    type Service = Endpoints<S>;

    fn layer(&self, inner: S) -> Endpoints<S> {
        Endpoints::new(inner, Arc::clone(&self.pool))
    }
}

impl fmt::Debug for EndpointsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndpointsLayer").field(&self.pool).finish()
    }
}
