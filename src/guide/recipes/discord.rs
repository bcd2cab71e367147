use tower_http_retry::classify::{Exchange, Opinion, Outcome};

/// A message that was turned down was not posted.
pub fn over_the_limit(exchange: &Exchange<'_>) -> Opinion {
    match exchange.outcome() {
        Outcome::Response { status, .. } if status.as_u16() == 429 => {
            Opinion::Unprocessed("over the route's limit".into())
        }
        _ => Opinion::NoOpinion,
    }
}
