//! Dry runs, through the public API.
use http::Request;
use tower_http_retry::{
    classify::Cause,
    policy::{RequestHead, RetryPolicy},
};

#[test]
fn look() {
    for policy in [
        RetryPolicy::default(),
        RetryPolicy::urllib3(),
        RetryPolicy::urllib3_builder()
            .status_forcelist([500, 503])
            .backoff_factor(0.5)
            .total(2)
            .build()
            .unwrap(),
    ] {
        for f in policy.lint() {
            println!("{f}");
        }
        for m in ["GET", "POST"] {
            let request = Request::builder()
                .method(m)
                .uri("http://a.test/x")
                .body(())
                .unwrap();
            let head = RequestHead::of(&request);
            println!("{}", policy.explain(&head));
            println!(
                "{}",
                policy.schedule(&head, &Cause::ConnectionRefused.into())
            );
        }
    }
}
