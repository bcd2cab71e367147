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
            tower-http-retry = {{ path = {root:?}, default-features = false }}
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

#[test]
fn a_body_that_is_not_clone_is_told_about_replay_bodies() {
    let errors = errors_of("not_clone");
    for expected in [
        "error[E0277]: a request body of type `Chunks` cannot be sent a second time by",
        "`RetryLayer::new(policy).replay_bodies(limit)`",
    ] {
        assert!(
            errors.contains(expected),
            "{expected:?} is missing in\n{errors}"
        );
    }
    assert!(
        !errors.contains("Chunks: Clone"),
        "the way out is hidden in\n{errors}"
    );
}
