//! What the server is told of retries, in headers.

use super::RetryLayer;
#[cfg(feature = "grpc")]
use super::layer::GRPC_ATTEMPTS;
use crate::{deadline_header::DeadlineHeader, own_header::OwnHeader};

impl<P, R> RetryLayer<P, R> {
    /// Counts attempts for the server: from the first retry on, `header` says how many attempts
    /// there were before, as gRPC's `grpc-previous-rpc-attempts` does.
    ///
    /// ```
    /// use tower_http_retry::{OwnHeader, RetryLayer, policy::RetryPolicy};
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default())
    ///     .attempt_header(OwnHeader::try_from("retry-attempt")?);
    /// # let _ = layer;
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    #[must_use]
    pub fn attempt_header(mut self, header: OwnHeader) -> Self {
        self.change().attempt_header = Some(header);
        self
    }

    /// Counts attempts for the server from 1 on, the first one too, as Envoy's
    /// `x-envoy-attempt-count` does. For a count of the attempts before, see
    /// [`attempt_header`](Self::attempt_header).
    #[must_use]
    pub fn attempt_count_header(mut self, header: OwnHeader) -> Self {
        self.change().attempt_count_header = Some(header);
        self
    }

    /// Tells the server with each retry why there is one: the status of the attempt before it, or
    /// `timeout`, `unprocessed`, `connect`, `read` or `other` if that had no response.
    ///
    /// ```
    /// use tower_http_retry::{RetryLayer, policy::RetryPolicy};
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default())
    ///     .attempt_count_header("x-attempt".parse()?)
    ///     .retry_reason_header("x-retry-reason".parse()?);
    /// # let _ = layer;
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    #[must_use]
    pub fn retry_reason_header(mut self, header: OwnHeader) -> Self {
        self.change().retry_reason_header = Some(header);
        self
    }

    /// Does not retry requests that are deeper than `max` in the retries of others: their
    /// [`RetryDepth`](crate::RetryDepth) is read from their headers, or was put into their extensions.
    /// With 0, whatever is part of a retry further out is sent once.
    #[must_use]
    pub fn max_retry_depth(mut self, max: u32) -> Self {
        self.change().max_depth = Some(max);
        self
    }

    /// Says with each retry in the [W3C baggage](https://www.w3.org/TR/baggage/) that it is one:
    /// `retry.depth` is one more than that of the request. Baggage is what services hand on to those
    /// behind them, so that each of these can [know](Self::max_retry_depth).
    #[must_use]
    pub fn tell_retry_depth(mut self) -> Self {
        self.change().tells_depth = true;
        self
    }

    /// Tells a gRPC server with each attempt how long this layer waits for it, in `grpc-timeout`
    /// ([`deadline_header`](Self::deadline_header)), and from the second one on how many there were
    /// before, in `grpc-previous-rpc-attempts` ([`attempt_header`](Self::attempt_header)). Those
    /// that were not processed, and sent again outside of the counts, are none.
    ///
    /// A `grpc-timeout` that a call brings along is its deadline: it holds for all attempts
    /// together, and each is told what is left of it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::{RetryLayer, policy::RetryPolicy};
    ///
    /// let layer = RetryLayer::new(RetryPolicy::grpc())
    ///     .deadline(Duration::from_secs(10))
    ///     .grpc_headers();
    /// # let _ = layer;
    /// ```
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn grpc_headers(mut self) -> Self {
        let settings = self.change();
        settings.deadline_header = Some(DeadlineHeader::GrpcTimeout);
        // Nothing else gives the name a meaning.
        settings.attempt_header = OwnHeader::try_from(GRPC_ATTEMPTS).ok();
        self
    }

    /// Tells the server with each attempt, the first one too, how long this layer waits for it: the
    /// smaller one of the [attempt timeout](Self::attempt_timeout) and what is left until the
    /// deadline, rounded down. A server that knows `header` does not work on for nobody.
    ///
    /// What the request says there itself is a deadline for all attempts together: none is told
    /// more than what is left of it. Where less time is left than the header can say (a millisecond, with
    /// `grpc-timeout` a nanosecond), the attempt is not sent: the request ends with
    /// [`DeadlineTooClose`](crate::policy::StopReason::DeadlineTooClose). A hedge that a layer below
    /// sends is told what is left by then, or is not sent.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::{DeadlineHeader, RetryLayer, policy::RetryPolicy};
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default())
    ///     .attempt_timeout(Duration::from_secs(5))
    ///     .deadline(Duration::from_secs(20))
    ///     .deadline_header(DeadlineHeader::Millis("request-timeout-ms".parse()?));
    /// # let _ = layer;
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    #[must_use]
    pub fn deadline_header(mut self, header: DeadlineHeader) -> Self {
        self.change().deadline_header = Some(header);
        self
    }
}
