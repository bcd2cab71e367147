use tower_http_retry::classify::{Exchange, Opinion, Outcome};

/// The API server's queue is full: nothing of the request was looked at, whatever its verb.
pub fn queue_is_full(exchange: &Exchange<'_>) -> Opinion {
    match exchange.outcome() {
        Outcome::Response { status, headers, .. }
            if status.as_u16() == 429 && headers.contains_key("retry-after") =>
        {
            Opinion::Unprocessed("the API server's queue is full".into())
        }
        _ => Opinion::NoOpinion,
    }
}
