//! What becomes of downloads from a server that does everything to them.

use std::{env, fs, time::Duration};

use crate::{
    fetch::{Failed, Got, Job, fetch},
    server,
};

/// What is to come of each.
enum Expected {
    /// The file, after so many continuations.
    File(usize),
    /// An error, for this reason.
    Error(&'static str),
}

const CASES: [(&str, &str, Expected); 6] = [
    ("/steady", "sends it in one piece", Expected::File(0)),
    (
        "/cuts",
        "closes the connection every 200 KiB",
        Expected::File(5),
    ),
    ("/stalls", "falls silent every 400 KiB", Expected::File(2)),
    (
        "/ignores-ranges",
        "cuts it, and then sends all of it again",
        Expected::File(1),
    ),
    (
        "/changes",
        "cuts it, and then has another file",
        Expected::Error("something else"),
    ),
    (
        "/weak",
        "cuts it, and has a weak etag",
        Expected::Error("validator is weak"),
    ),
];

/// Runs all of it, and says whether everything was as it should be.
pub(crate) async fn run() -> bool {
    let origin = match server::start().await {
        Ok(origin) => origin,
        Err(error) => {
            eprintln!("no server: {error}");
            return false;
        }
    };
    let folder = env::temp_dir().join(format!("download-tour-{}", std::process::id()));
    if let Err(error) = fs::create_dir_all(&folder) {
        eprintln!("{}: {error}", folder.display());
        return false;
    }
    println!(
        "a file of {} bytes, SHA-256 {}",
        server::LENGTH,
        server::sha256()
    );
    let mut all = true;
    for (path, does, expected) in CASES {
        println!("\n{path}: the server {does}");
        let job = Job {
            url: format!("{origin}{path}").parse().expect("a URL"),
            file: folder.join("file"),
            idle: Duration::from_millis(500),
            deadline: Some(Duration::from_secs(60)),
            cacert: None,
        };
        let ended = fetch(&job).await;
        let is_there = job.file.exists();
        let right = show(&ended) && is_right(&ended, is_there, &expected);
        println!(
            "  {}",
            if right {
                "as it should be"
            } else {
                "NOT AS IT SHOULD BE"
            }
        );
        all &= right;
        let _ = fs::remove_file(&job.file);
    }
    let rest = fs::read_dir(&folder).map_or(1, Iterator::count);
    let _ = fs::remove_dir_all(&folder);
    let all = all && rest == 0;
    println!(
        "\n{}",
        if all {
            "all as it should be"
        } else {
            "NOT ALL AS IT SHOULD BE"
        }
    );
    all
}

fn show(ended: &Result<Got, Failed>) -> bool {
    let (report, line) = match ended {
        Ok(got) => (
            &got.report,
            format!("{} bytes, SHA-256 {}", got.bytes, got.sha256),
        ),
        Err(failed) => {
            let reason = failed.reason.as_deref().unwrap_or("?");
            (
                &failed.report,
                format!("error: {}\n  could not go on: {reason}", failed.error),
            )
        }
    };
    if let Some(report) = report {
        for line in report.to_string().lines() {
            println!("  {line}");
        }
    }
    println!("  {line}");
    true
}

fn is_right(ended: &Result<Got, Failed>, is_there: bool, expected: &Expected) -> bool {
    match (ended, expected) {
        (Ok(got), Expected::File(continuations)) => {
            let made = got.report.as_ref().map_or(0, |report| report.retry_count());
            is_there && got.sha256 == server::sha256() && made == *continuations
        }
        (Err(failed), Expected::Error(because)) => {
            let reason = failed.reason.as_deref();
            !is_there && reason.is_some_and(|reason| reason.contains(because))
        }
        _ => false,
    }
}
