//! Claims that do not hold yet.

/// The claims that are known to fail, each with what is wrong. A claim that holds must not be here.
pub const EXPECTED_FAILURES: &[(&str, &str)] = &[
    ("hyper: proxy answers 407", PROXY),
    ("reqwest: proxy answers 407", PROXY),
    ("kube: proxy answers 407", PROXY),
    ("reqwest as it comes: 301 with content", HOPS),
    ("reqwest as it comes: 301 without content", HOPS),
    ("reqwest as it comes: 302 with content", HOPS),
    ("reqwest as it comes: 302 without content", HOPS),
    ("reqwest as it comes: 303 with content", HOPS),
    ("reqwest as it comes: 303 without content", HOPS),
    ("reqwest as it comes: 307 without content", HOPS),
    ("reqwest as it comes: 308 without content", HOPS),
    ("reqwest as it comes: name unknown: GET", HOPS),
    ("reqwest as it comes: name unknown: POST", HOPS),
    ("reqwest as it comes: name unknown: PUT", HOPS),
    ("reqwest as it comes: port closed: GET", HOPS),
    ("reqwest as it comes: port closed: POST", HOPS),
    ("reqwest as it comes: port closed: PUT", HOPS),
    ("reqwest as it comes: port closed: POST with a key", HOPS),
    ("reqwest as it comes: name unknown: POST with a key", HOPS),
    ("tonic: name unknown", TONIC),
    ("tonic: connect timeout", TONIC),
    ("tonic: timeout", TONIC),
    ("tonic: timeout where read is off", TONIC),
    (
        "octocrab: what was unprocessed had no effect",
        "`effects()` counts an answer that was judged unprocessed as one that may have been applied",
    ),
];

const TONIC: &str = "tonic's own types, which say what happened, are not known";
const PROXY: &str =
    "a proxy's every answer counts as a failure to connect: the same credentials are sent again";
const HOPS: &str =
    "a client that follows redirects is believed that its last request was its first";

/// Checks a claim: one in [`EXPECTED_FAILURES`] has to fail, every other has to hold.
///
/// # Panics
///
/// If the claim fails and should hold, or holds and should fail.
pub async fn claim<F>(name: &str, check: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let known = EXPECTED_FAILURES.iter().find(|(claim, _)| *claim == name);
    match (tokio::spawn(check).await, known) {
        (Ok(()), None) => {}
        (Ok(()), Some(_)) => panic!("`{name}` holds now: take it from the expected failures"),
        (Err(_), Some((_, why))) => println!("expected failure: {name}: {why}"),
        (Err(error), None) if error.is_panic() => {
            eprintln!("the claim `{name}` does not hold");
            std::panic::resume_unwind(error.into_panic());
        }
        (Err(error), None) => panic!("{name}: {error}"),
    }
}
