//! Which order means what.
//!
//! In a `ServiceBuilder`, what is written first is outermost, *above*; a request goes down from
//! there. A layer above [`RetryLayer`](crate::RetryLayer) sees requests, and the end of each; a
//! layer below it sees attempts.
//!
//! | layer | above: once for each request | below: once for each attempt |
//! | --- | --- | --- |
//! | `RateLimitLayer` | retries are not limited | retries are limited, too |
//! | `ConcurrencyLimitLayer` | the permit is held during waits | the permit is free during waits |
//! | `TimeoutLayer` | all attempts and waits together, without a report | each attempt |
//! | `BufferLayer` | retries never queue | a retry queues anew |
//! | `LoadShedLayer` | sheds whole requests, never a retry | a refusal is a failed attempt |
//! | a circuit breaker | opens late, and turns whole requests away | each attempt counts, and a break is waited for |
//! | `HedgeLayer` | each hedge has retries of its own | an attempt, twice if it is late |
//! | `ResumeLayer` | a body that breaks goes on, in the same counts | the retries would count each continuation anew |
//! | `PeekLayer` | finds failures that nobody retries any more | what a body says is judged, and retried |
//! | `TraceLayer` | one span, and only the final failure | a span and a failure for each attempt |
//! | `FollowRedirectLayer` | each hop has its own retries | all hops together are one attempt |
//! | `SetRequestIdLayer` | one id | a new id for each attempt |
//!
//! Each sentence below is shown by a test.
// Its name is in a comment after the sentence.
//!
//! # A stack to start from
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//! use tower_http::{
//!     follow_redirect::FollowRedirectLayer,
//!     request_id::{MakeRequestUuid, SetRequestIdLayer},
//!     trace::TraceLayer,
//! };
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let client = ServiceBuilder::new()
//!     // One id over all hops and attempts, so that the server's logs can be joined.
//!     .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
//!     // One span for the request; the retries are logged inside of it.
//!     .layer(TraceLayer::new_for_http())
//!     // Each hop gets all of the retries.
//!     .layer(FollowRedirectLayer::new())
//!     .layer(RetryLayer::new(RetryPolicy::default()).deadline(Duration::from_secs(20)))
//!     // Free while the layer above waits.
//!     .concurrency_limit(64)
//!     // A rate limit has one owner: the buffer makes it one for all requests.
//!     .buffer(64)
//!     .rate_limit(100, Duration::from_secs(1))
//!     // Below the queue, so that the time in it is not held against the server.
//!     .timeout(Duration::from_secs(5))
//!     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
//! # use tower::ServiceExt;
//! # let request = http::Request::get("http://example.com/").body(Full::default())?;
//! # assert_eq!(client.oneshot(request).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! The example `stack` runs it, and measures both orders of each layer.
//!
//! # Work after the exchange
//!
//! What a layer does once a response is there, with an `and_then` for instance (it reads the body,
//! writes a receipt to a database, asks another service), belongs above the retries. Below them it
//! is part of an attempt: when it fails, the attempt has failed, although the request was applied.
//!
//! - Its error hides nothing that would let a POST be repeated as long as its type is one that
//!   nobody [vouched](crate::RetryLayer::vouch) for. The bare error of another client, passed on
//!   with `?`, cannot be told from that of the exchange itself.
// a_failure_of_work_after_the_exchange_is_no_failed_connection
//! - A body that is collected below fails after the head, and that is never safe to repeat.
// a_body_that_fails_was_answered_whatever_its_error_says
//!
//! # `RateLimitLayer`
//!
//! - Below, it counts attempts: what a server's quota needs. tower's `RateLimit` is not `Clone`, so
//!   a `buffer` goes between; the limit is then one for all requests.
// rate_limit_below_counts_attempts
// rate_limit_below_is_one_limit_for_all_requests
//! - Above, it counts requests, and their retries come on top.
// rate_limit_above_counts_requests
//!
//! # `ConcurrencyLimitLayer`
//!
//! - Below, its permit is free while a request waits for its next attempt, so that others pass.
// concurrency_limit_below_is_free_during_waits
//! - Above, the permit is held over all attempts and waits: it bounds the requests in memory, and a
//!   failing server can block every place with requests that sleep.
// concurrency_limit_above_is_held_during_waits
//!
//! # `TimeoutLayer`
//!
//! - Below, it bounds each attempt, as [`attempt_timeout`](crate::RetryLayer::attempt_timeout)
//!   does. It does not count the time until the service below is ready; of the retried attempts,
//!   that time is part of the [`deadline`](crate::RetryLayer::deadline).
// timeout_below_bounds_each_attempt
// timeout_below_does_not_count_the_wait_for_a_permit
//! - Where there is a `buffer`, the place matters again: above it, the timeout counts the time in
//!   the queue, below it does not. `attempt_timeout` is always above.
// timeout_above_a_buffer_counts_its_queue_and_below_it_does_not
//! - Above, it bounds all attempts and waits together. It ends the request by dropping it, so
//!   nobody is told what was tried; `deadline` ends it with a report, and does not begin a wait
//!   that cannot help.
// timeout_above_bounds_all_attempts_and_waits
// timeout_above_ends_a_request_without_a_report_and_a_deadline_with_one
//! - tower-http's `TimeoutLayer` is for servers: it makes a response, and below the retries that
//!   looks like the server's.
// tower_https_timeout_below_answers_in_the_servers_name
//!
//! # `BufferLayer`
//!
//! - Below, each attempt queues anew, behind what came during the wait. It boxes errors, which
//!   hides none of them.
// buffer_below_queues_a_retry_behind_what_came_meanwhile
// buffer_below_hides_no_error_from_the_classifier
//! - Above, it never sees a retry. Its error is a [`BoxError`](crate::BoxError) that downcasts to
//!   [`RetryError`](crate::RetryError), report and all.
// buffer_above_never_sees_a_retry
// buffer_above_hands_out_the_error_and_its_report
//!
//! # `LoadShedLayer`
//!
//! - Below, a refusal is a failed attempt. Nothing was sent, so it is charged to `connect` and
//!   repeated for any method. Others refuse exactly that (linkerd's proxy fails fast), since a
//!   retry adds to a load that is too high already. Here it is repeated because the limit is this
//!   process's own and free again soon, each retry waits for its backoff, and each takes from the
//!   budget, so that a lasting overload ends the retries. Where the limit is there to protect
//!   something else, put it above, or forbid the retry with a
//!   [classifier](crate::RetryLayer::classify) that looks for
//!   [`Cause::Overloaded`](crate::classify::Cause::Overloaded).
// load_shed_below_makes_a_refusal_a_failed_attempt_for_any_method
//! - Above, whole requests are refused at once, and what was once let in is not: a retry waits for
//!   its turn.
// load_shed_above_refuses_whole_requests_at_once
// load_shed_above_never_refuses_a_retry
//!
//! # Circuit breakers
//!
//! The order is: deadline, retries, breaker, attempt timeout.
// deadline_retries_breaker_and_attempt_timeout_are_in_this_order
//!
//! - A breaker below sees each attempt, and opens as soon as it should. It turns an attempt away
//!   with [`Rejected`](crate::stack::Rejected), which says when it will be closed; without that,
//!   the waits between retries are shorter than the break, and they are used up before it is over.
//!   The retries wait for that time outside of counts and budget, and throttles hear nothing of it.
// breaker_below_is_waited_for_outside_of_counts_and_budget
// throttles_hear_nothing_of_what_a_breaker_turns_away
//! - The deadline belongs above, since it decides whether the break is waited for.
// the_deadline_decides_whether_a_breaker_is_waited_for
//! - The attempt timeout belongs below, as tower's `TimeoutLayer`: a breaker learns of failures
//!   that reach it, and a timeout above drops the attempt without a word.
// an_attempt_timeout_above_a_breaker_hides_timeouts_from_it
//! - A breaker above sees the end of whole requests: it opens late, and turns them away without a
//!   retry.
// a_breaker_above_counts_requests_and_turns_them_away_without_a_retry
//!
//! # `TraceLayer`
//!
//! - Below, it shows each attempt, and each failure. From the second attempt on,
//!   [`AttemptInfo`](crate::AttemptInfo) is in the request's extensions, for the span's fields.
// trace_below_shows_each_attempt
// trace_below_can_name_the_attempt
//! - Above, it shows each request, and no failure that a retry mended. The events of the retries
//!   are inside its span.
// trace_above_shows_each_request_and_no_failure_that_was_mended
// trace_above_has_the_retries_inside_its_span
//! - For OpenTelemetry, `telemetry::AttemptSpanLayer` (feature `telemetry`) takes its place below:
//!   a client span of each attempt with the names of the semantic conventions, a child of the
//!   caller's. A `TraceLayer` above is then a span for people, around all attempts. Where what is
//!   exported is to follow the conventions, which have none around them, leave it out, or filter it
//!   by its target. Both below would show each attempt twice. What writes `traceparent` belongs
//!   below the attempt's span, so that the server's span is the child of the attempt that it
//!   answered.
// each_attempt_is_a_client_span_and_a_child_of_the_caller_s
//!
//! # `FollowRedirectLayer`
//!
//! Above is the place for it.
//!
//! - Above, each hop is a request of its own: it starts the policy anew and the deadline, and the
//!   response carries the report of the last hop.
// follow_redirect_above_restarts_the_policy_for_each_hop
// follow_redirect_above_gives_each_hop_its_own_deadline
// follow_redirect_above_leaves_the_report_of_the_last_hop
//! - At another origin, its standard policy removes every extension, and with it a request's own
//!   [`RetryPolicy`](crate::policy::RetryPolicy) or mark, unless it is told which to keep.
// follow_redirect_above_takes_marks_and_policies_off_at_another_origin
//! - Below, all hops together are one attempt, and the next one begins at the first hop. A hop that
//!   cannot connect looks like a request that was never sent, although the hop before it was
//!   answered: a POST is then applied again. Of a client that follows redirects by itself, as
//!   reqwest's does, that is known, and nothing is taken for proved.
// follow_redirect_below_makes_its_hops_one_attempt
// follow_redirect_below_starts_again_from_the_first_hop
// follow_redirect_below_can_repeat_a_post_that_was_answered
// a_redirect_that_reqwest_followed_itself_is_not_followed_again
//! - Bodies under [`replay_bodies`](crate::RetryLayer::replay_bodies) have a `Default`, which it
//!   asks for.
// follow_redirect_below_takes_replayed_bodies
//!
//! # `SetRequestIdLayer`
//!
//! - Above, all attempts have one id, and above redirects all hops, too.
// set_request_id_above_keeps_one_id_over_all_attempts
// set_request_id_above_a_redirect_keeps_the_id_over_hops_too
//! - Below, each attempt has its own: no way, then, for a server to know a repeated request by it.
// set_request_id_below_gives_each_attempt_its_own
//!
//! # When a stack does not compile
//!
//! A layer that does not fit shows as "the method `oneshot` exists […] but its trait bounds were
//! not satisfied". Naming the request's type makes the compiler say which bound, and of which
//! layer: `ServiceExt::<Request<Full<Bytes>>>::oneshot(stack, request)`.
//!
//! A bound that names [`RecordedBody`](crate::body::RecordedBody) is that of a client which takes
//! no body but its own: above it, `replay_bodies(limit)` is
//! [`replay_bodies_as(limit, OwnBody::new)`](crate::RetryLayer::replay_bodies_as).
//!
//! A layer of an axum `Router` must not fail: this one can, so axum's `HandleErrorLayer` stands
//! above it and makes a response of the [`RetryError`](crate::RetryError).
