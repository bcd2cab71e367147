use tower_http_retry::classify::{Exchange, Opinion, Outcome};

/// What is turned down costs nothing and may be sent again. Any other POST needs an idempotency
/// key: an answer that is lost was made, and is on the bill.
pub fn turned_down(exchange: &Exchange<'_>) -> Opinion {
    match exchange.outcome() {
        Outcome::Response { status, .. } if matches!(status.as_u16(), 429 | 529) => {
            Opinion::Unprocessed("turned down before it was begun".into())
        }
        _ => Opinion::NoOpinion,
    }
}
