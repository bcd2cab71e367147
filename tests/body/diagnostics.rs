//! What the compiler says when a body cannot be sent again must name the way out.

use std::{env, fs, path::Path, process::Command};

/// Compiles `tests/body/uncompilable/<name>.rs` and gives what the compiler says against it.
fn errors_of(name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent().expect("the library's folder");
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&package).expect("a folder for the package");
    let source = tests.join("body/uncompilable").join(name);
    let manifest = format!(
        r#"
            [package]
            name = "diagnostics"
            edition = "2024"

            [[bin]]
            name = "diagnostics"
            path = {source:?}

            [dependencies]
            http = "1"
            http-body = "1"
            tower-http-retry = {{ path = {root:?}, default-features = false }}
            tower-layer = "0.3"
            tower-service = "0.3"

            [workspace]
        "#,
        source = source.with_extension("rs"),
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("the manifest");
    // The versions that are at hand already.
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).expect("the lock file");

    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(!output.status.success(), "{name} compiles");
    String::from_utf8(output.stderr).expect("text")
}

/// What is said in `errors`, and what is not.
fn assert_says(errors: &str, said: &[&str], hidden: &[&str]) {
    for expected in said {
        assert!(
            errors.contains(expected),
            "{expected:?} is missing in\n{errors}"
        );
    }
    for noise in hidden {
        assert!(!errors.contains(noise), "{noise:?} is in\n{errors}");
    }
}

#[test]
fn a_body_that_is_not_known_to_be_whole_is_told_what_sends_it_again() {
    let errors = errors_of("not_whole");
    assert_says(
        &errors,
        &[
            "error[E0277]: a clone of a request body of type `Shared` is not known to be whole",
            "`RetryLayer::new(policy).replay_bodies(limit)`",
            "`.replay_bodies_as(limit, YourBody::new)`",
            "`.clone_bodies_with(|body| body.try_clone())`",
            "`.clone_bodies()`",
            "`impl WholeBody for YourBody { fn try_clone_whole(&self) -> Option<Self> { Some(self.clone()) } }`",
        ],
        &["Shared: Clone"],
    );
}

#[test]
fn a_client_that_takes_no_body_but_its_own_is_told_how_recorded_ones_become_its_own() {
    let errors = errors_of("own_body");
    assert_says(
        &errors,
        &[
            "error[E0277]: `Client` takes no requests with a body of type `RecordedBody<OwnBody>`",
            "`RetryLayer::new(policy).replay_bodies_as(limit, OwnBody::new)`",
            // A method's bounds come with no message of their own: the trait's name leads to it.
            "error[E0599]: the method `call` exists for struct",
            "TakesBody<RecordedBody<",
        ],
        &[],
    );
}
