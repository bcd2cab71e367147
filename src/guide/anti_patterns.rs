//! Mistakes that others have made, and what to write instead.
//!
//! Each section has the code of a [lint](crate::lint#the-lints), a policy document that has the
//! mistake, and one that does not. A test checks that the lint finds it in the first and not in the
//! second; the last one is about the client below, which no document names.
//!
//! # `method-not-allowed`
//!
//! Requests that are sent all the time are of a method that is not repeated. Only what was never
//! sent is.
//!
//! Instead of
//!
//! ```toml
//! allowed_methods = ["GET"]
//! deadline = "20s"
//! ```
//!
//! write
//!
//! ```toml
//! # Every POST has an idempotency key; see `RetryLayer::idempotency_keys_with`.
//! allowed_methods = ["GET", "POST"]
//! deadline = "20s"
//! ```
//!
//! Here the program sends POSTs, and says so with
//! [`wanted_methods`](crate::RetryLayer::wanted_methods).
//!
//! # `no-method-allowed`
//!
//! An empty list means no method. In urllib3 it means any.
//!
//! Instead of
//!
//! ```toml
//! allowed_methods = []
//! ```
//!
//! write
//!
//! ```toml
//! allowed_methods = "any"
//! ```
//!
//! # `no-status-listed`
//!
//! An answer of 503 is returned at once. This is urllib3's default, and the first thing that its
//! users miss.
//!
//! Instead of
//!
//! ```toml
//! status_forcelist = []
//! ```
//!
//! write
//!
//! ```toml
//! status_forcelist = [429, 502, 503, 504]
//! ```
//!
//! # `status-never-transient`
//!
//! The same request gets the same answer again, and the server works for nothing.
//!
//! Instead of
//!
//! ```toml
//! status_forcelist = [404, 503]
//! ```
//!
//! write
//!
//! ```toml
//! status_forcelist = [503]
//! ```
//!
//! A 404 of a replica that lags behind is another matter: [`allow`](crate::RetryLayer::allow) the
//! finding.
//!
//! # `success-listed`
//!
//! A good answer is thrown away, and the request repeated.
//!
//! Instead of
//!
//! ```toml
//! status_forcelist = [200, 503]
//! ```
//!
//! write
//!
//! ```toml
//! status_forcelist = [503]
//! ```
//!
//! For a 200 that says in its body that it failed, there is `peek::PeekLayer`.
//!
//! # `status-without-effect`
//!
//! What is said of a status that is not retried never counts.
//!
//! Instead of
//!
//! ```toml
//! once_statuses = [417]
//! ```
//!
//! write
//!
//! ```toml
//! status_forcelist = [417, 429, 502, 503, 504]
//! once_statuses = [417]
//! ```
//!
//! # `status-may-be-processed`
//!
//! A gateway answers 502 after the server behind it has taken the order, and the order is sent again.
//!
//! Instead of
//!
//! ```toml
//! unprocessed_statuses = [425, 502]
//! ```
//!
//! write
//!
//! ```toml
//! unprocessed_statuses = [425]
//! ```
//!
//! # `total-zero`
//!
//! `total` is asked first, so that the other limits never count.
//!
//! Instead of
//!
//! ```toml
//! total = 0
//! connect = 3
//! ```
//!
//! write
//!
//! ```toml
//! total = 3
//! read = false
//! status = false
//! ```
//!
//! This allows what was meant: retries of failed connections alone.
//!
//! # `limit-unreachable`
//!
//! `total` is always used up first.
//!
//! Instead of
//!
//! ```toml
//! total = 3
//! connect = 10
//! ```
//!
//! write
//!
//! ```toml
//! total = 10
//! read = 3
//! status = 3
//! other = 3
//! ```
//!
//! # `unlimited-retries`
//!
//! Nothing ends the retries of a server that stays down.
//!
//! Instead of
//!
//! ```toml
//! total = "unlimited"
//! ```
//!
//! write
//!
//! ```toml
//! total = 8
//! ```
//!
//! # `no-backoff`
//!
//! A server that has just failed gets all retries in a millisecond.
//!
//! Instead of
//!
//! ```toml
//! backoff = { kind = "none" }
//! ```
//!
//! write
//!
//! ```toml
//! backoff = { kind = "exponential", base = "100ms" }
//! ```
//!
//! # `no-jitter`
//!
//! Clients that failed together come back together.
//!
//! Instead of
//!
//! ```toml
//! backoff = { kind = "exponential", base = "100ms", jitter = "none" }
//! ```
//!
//! write
//!
//! ```toml
//! backoff = { kind = "exponential", base = "100ms", jitter = "full" }
//! ```
//!
//! # `throttle-base-below-base`
//!
//! The server that asks for less load gets more.
//!
//! Instead of
//!
//! ```toml
//! backoff = { kind = "exponential", base = "500ms", throttle_base = "50ms" }
//! ```
//!
//! write
//!
//! ```toml
//! backoff = { kind = "exponential", base = "50ms", throttle_base = "500ms" }
//! ```
//!
//! # `fixed-seed`
//!
//! All processes draw the same jitter, which is as if they had none. A seed is for tests.
//!
//! Instead of
//!
//! ```toml
//! seed = 7
//! ```
//!
//! write
//!
//! ```toml
//! backoff = { jitter = "full" }
//! ```
//!
//! # `non-idempotent-without-key`
//!
//! A POST that was applied, and whose answer was lost, is applied again.
//!
//! Instead of
//!
//! ```toml
//! allowed_methods = ["GET", "POST"]
//! ```
//!
//! write
//!
//! ```toml
//! allowed_methods = ["GET", "PUT"]
//! ```
//!
//! Or give each POST a key the server knows, with
//! [`idempotency_keys_with`](crate::RetryLayer::idempotency_keys_with); or mark the requests that
//! may be repeated as [`Idempotent`](crate::policy::Idempotent).
//!
//! # `budget-too-small`
//!
//! Even a full budget does not pay for one retry, so that there is none.
//!
//! Instead of
//!
//! ```toml
//! budget = { kind = "grpc", capacity = 2 }
//! ```
//!
//! write
//!
//! ```toml
//! budget = { kind = "grpc", capacity = 10 }
//! ```
//!
//! # `budget-too-large`
//!
//! While nothing succeeds, more than every other request is repeated: the storm that a budget is
//! there to prevent.
//!
//! Instead of
//!
//! ```toml
//! budget = { min_ratio = 0.9 }
//! ```
//!
//! write
//!
//! ```toml
//! budget = { min_ratio = 0.1 }
//! ```
//!
//! # `no-time-limit`
//!
//! An attempt that hangs never fails, so nothing is retried, and the request never ends.
//!
//! Instead of
//!
//! ```toml
//! total = 3
//! ```
//!
//! write
//!
//! ```toml
//! attempt_timeout = "5s"
//! deadline = "20s"
//! ```
//!
//! A timeout of a layer below does as well, which this crate cannot see.
//!
//! # `attempt-timeout-over-deadline`
//!
//! The deadline ends the request while its first attempt still runs.
//!
//! Instead of
//!
//! ```toml
//! attempt_timeout = "20s"
//! deadline = "20s"
//! ```
//!
//! write
//!
//! ```toml
//! attempt_timeout = "5s"
//! deadline = "20s"
//! ```
//!
//! # `retry-after-cap-over-deadline`
//!
//! A server may ask for waits that are never waited for.
//!
//! Instead of
//!
//! ```toml
//! deadline = "20s"
//! retry_after_max = "120s"
//! retry_after_mode = "clamp"
//! ```
//!
//! write
//!
//! ```toml
//! deadline = "20s"
//! retry_after_max = "10s"
//! retry_after_mode = "clamp"
//! ```
//!
//! # `schedule-over-deadline`
//!
//! The deadline passes before the last retry is due.
//!
//! Instead of
//!
//! ```toml
//! deadline = "1s"
//! backoff = { kind = "constant", base = "2s" }
//! ```
//!
//! write
//!
//! ```toml
//! deadline = "20s"
//! backoff = { kind = "constant", base = "2s" }
//! ```
//!
//! # `body-limit-zero`
//!
//! No byte of a body is kept, so that a request whose body was begun is never repeated.
//!
//! Instead of
//!
//! ```toml
//! replay_limit = 0
//! deadline = "20s"
//! ```
//!
//! write
//!
//! ```toml
//! replay_limit = 65536
//! deadline = "20s"
//! ```
//!
//! # `mount-only-one-scheme`
//!
//! The requests of the other scheme have no policy: urllib3's users know this one well.
//!
//! Instead of
//!
//! ```toml
//! fallback = false
//! [mounts."https://"]
//! ```
//!
//! write
//!
//! ```toml
//! fallback = false
//! [mounts."https://"]
//! [mounts."http://"]
//! ```
//!
//! # `mount-shadowed`
//!
//! More exact mounts cover all of it.
//!
//! Instead of
//!
//! ```toml
//! [mounts."https://api.example.com"]
//! total = 1
//! [mounts."https://api.example.com/"]
//! total = 2
//! ```
//!
//! write
//!
//! ```toml
//! [mounts."https://api.example.com/"]
//! total = 2
//! ```
//!
//! # `connection-unknown`
//!
//! A `connection::ConnectionLayer` stands above a client that does not say which connection it
//! uses, reqwest's for instance: none can be left, and a retry may meet the one that failed.
//!
//! No document has this mistake. Use the layer above hyper-util's client, or set the client's own
//! limits: `pool_idle_timeout`, and `http2_keep_alive_interval` with its timeout.
//!
//! # `hedge-before-recorded`
//!
//! A `hedge::HedgeLayer` with `recorded_bodies` stands above uploads that take long: as long as a
//! body is not read to its end it cannot be in two places at once, so a request that is late before
//! that is not hedged, and neither is one whose body is longer than the `replay_limit`.
//!
//! No document has this mistake. Where bodies are in memory, let them be cloned (`Full`, with
//! `HedgeLayer::new` alone); where they can be opened anew, use `reopen_bodies` for both layers.
