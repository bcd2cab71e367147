//! Claims that do not hold yet.

/// The claims that are known to fail, each with what is wrong. A claim that holds must not be here.
pub const EXPECTED_FAILURES: &[(&str, &str)] = &[];

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
