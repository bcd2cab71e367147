//! Programs of the workspace, run as a user would run them, each in a process of its own.

use std::{
    collections::BTreeMap,
    env,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// Longer than any program takes, on a machine with other things to do.
pub const LIMIT: Duration = Duration::from_secs(180);

/// An example's binary, up to date if cargo runs this test.
///
/// `selection` is what cargo was told about packages and features when it built the test: the same
/// make that it builds nothing anew.
pub fn example(name: &str, selection: &[&str]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // A build that failed has nothing half done in here.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(binary) = built.get(name) {
        return binary.clone();
    }
    let binary = build(name, selection);
    built.insert(name.to_owned(), binary.clone());
    binary
}

fn build(name: &str, selection: &[&str]) -> PathBuf {
    let test = env::current_exe().expect("this test");
    // <target>/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("a profile's folder");
    let binary = profile
        .join("examples")
        .join(format!("{name}{}", env::consts::EXE_SUFFIX));
    if let Some(cargo) = env::var_os("CARGO") {
        let profile = match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let mut build = Command::new(cargo);
        // What cargo tells a test about its package: some build scripts run again because of it.
        for (name, _) in env::vars_os() {
            let known = name.to_string_lossy();
            if known.starts_with("CARGO_PKG_") || known.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        let built = build
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .args(["build", "--quiet", "--example", name, "--profile", profile])
            .args(selection)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the example {name} does not build");
    }
    assert!(binary.exists(), "{} is not there", binary.display());
    binary
}

/// Starts a program whose output is read and that has nothing to read.
pub fn start(program: &Path, args: &[&str]) -> Child {
    Command::new(program)
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Ends a process that a failed test leaves behind.
#[derive(Debug)]
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the end of `child`, which is killed if it takes too long.
pub fn finish(mut child: Child) -> Output {
    let (done, waiting) = mpsc::channel::<()>();
    let id = child.id().to_string();
    let watchdog = thread::spawn(move || {
        if waiting.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
    });
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let mut out = child.stdout.take().expect("piped");
    let mut err = child.stderr.take().expect("piped");
    let errors = thread::spawn(move || err.read_to_end(&mut stderr).map(|_| stderr));
    out.read_to_end(&mut stdout).expect("text");
    let status = child.wait().expect("its status");
    drop(done);
    watchdog.join().expect("no panic");
    Output {
        status,
        stdout,
        stderr: errors.join().expect("no panic").expect("text"),
    }
}

/// Runs a program to its end; what it printed to stdout and stderr.
#[track_caller]
pub fn run(program: &Path, args: &[&str]) -> (String, String) {
    let output = finish(start(program, args));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{} ended with {}\n{stdout}\n{stderr}",
        program.display(),
        output.status
    );
    (stdout, stderr)
}

/// Each of these is somewhere in `text`.
#[track_caller]
pub fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}
