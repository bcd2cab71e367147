//! Somewhere else: when a retry is worth more on another connection, or at another server.
//!
//! # A retry above a pool
//!
//! A client with a pool hands a retry whatever connection is free, and that is often the one that
//! the failed attempt has just given back. Whether it matters depends on what failed:
//!
//! | what failed | who knows | is a retry by itself on another connection? |
//! | --- | --- | --- |
//! | the connection was closed or reset | the pool | yes |
//! | an idle connection was closed just when it was to be used | the pool | yes; hyper-util's client sends such a request again by itself |
//! | HTTP/1.1: the attempt timed out | the pool: a request that is dropped takes its connection along | yes |
//! | HTTP/2: the attempt timed out, since the other side is gone or stuck | nobody: dropping the request ends its stream alone | **no**: every retry, and everybody else, meets the same connection |
//! | a 421: the server does not answer for this host on this connection | the server | **no** |
//! | a 503 of one of several servers behind one address | the balancer, perhaps | **no** with HTTP/2, by chance with HTTP/1.1 |
//! | a 503 of a service that has too much to do | the server | no, and another connection would help nobody |
//!
//! In the cases with a **no**, a retry on the same connection repeats the failure. With the feature
//! `connection`, `ConnectionLayer` stands between the retries and hyper-util's client and leaves
//! such a connection. It needs an
//! [`attempt_timeout`](crate::RetryLayer::attempt_timeout): with a deadline alone, the request is
//! over when the silence is noticed, and a deadline may be any caller's own.
//!
//! What it does not help against is a server that is slow for everybody. An attempt timeout below
//! what the server takes on a bad day costs a connection for each attempt, and a handshake for each
//! retry, on top of the retries. Keep-alive pings (`http2_keep_alive_interval` and
//! `http2_keep_alive_timeout` of hyper-util's builder) tell the two apart: a server that is slow
//! answers them. They are worth having in any stack with HTTP/2.
//!
//! # Another server
//!
//! A service that is reached through several addresses of which the client knows can be asked
//! elsewhere. Who should choose?
//!
//! | who knows the servers | what to use |
//! | --- | --- |
//! | DNS, with several addresses for one name | the connector tries them in turn while it connects; nothing else is needed for connect failures |
//! | a proxy or balancer in between | let it choose; another attempt is a new draw |
//! | a balancer in the client that sees the request | it reads which servers were tried from the [`RequestState`](crate::stack::RequestState) in the request's extensions, and adds its own choice |
//! | `tower::balance` | chooses before it sees the request, so it cannot know: let its [load](#a-load-that-avoids-what-fails) say which server fails |
//! | nobody: there is a list of base URIs | the feature `endpoints`: `EndpointsLayer` |
//!
//! # A load that avoids what fails
//!
//! `tower::balance::p2c` draws two servers when it is polled ready and takes the one with less load.
//! No request is there yet, so no list of servers that were tried can steer it. But each retry is a
//! new draw, and a server that fails can weigh more. A failure is charged as if it had taken long:
//! as long as the server asks for in `Retry-After`, within bounds, and five seconds if it says
//! nothing, which is what linkerd's proxy takes. Such a wrapper takes some fifty lines.
