//! The table of the default policy in its documentation, made by asking the policy.

use std::{fs, path::Path};

use http::{HeaderValue, Method, Request, StatusCode};
use tower_http_retry::{
    dry_run::{Explain, Explanation, Scenario},
    policy::{Idempotent, RequestHead, RetryPolicy},
};

const TABLE: &str = "src/policy/default_table.md";

/// What the default policy does with a request of this method.
fn explained(method: Method, key: bool) -> Explanation {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = "http://example.com/".parse().expect("a URI");
    if key {
        let value = HeaderValue::from_static("\"8e03978e\"");
        request.headers_mut().insert("idempotency-key", value);
        request.extensions_mut().insert(Idempotent);
    }
    RetryPolicy::default().explain(&RequestHead::of(&request))
}

fn table() -> String {
    let columns = [
        explained(Method::GET, false),
        explained(Method::PUT, false),
        explained(Method::POST, false),
        explained(Method::POST, true),
    ];
    let mut table = "| outcome | GET, HEAD | PUT, DELETE | POST, PATCH | POST with a key |\n\
                     | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let mut row = |name: &str, most: &dyn Fn(&Explanation) -> u32| {
        let cells: Vec<_> = columns
            .iter()
            .map(|explained| match most(explained) {
                0 => "no".to_owned(),
                most => format!("{most} times"),
            })
            .collect();
        table += &format!("| {name} | {} |\n", cells.join(" | "));
    };
    for (name, scenario) in [
        ("no connection", Scenario::Connect),
        (
            "never processed (REFUSED_STREAM, GOAWAY)",
            Scenario::Unprocessed,
        ),
        ("a broken connection, no answer in time", Scenario::Read),
        ("an error of a type nobody knows", Scenario::Other),
        ("a bad certificate", Scenario::Certificate),
    ] {
        row(name, &|explained| {
            explained.case(scenario).map_or(0, |case| case.most)
        });
    }
    for status in [
        200, 304, 400, 401, 403, 404, 408, 409, 413, 421, 425, 429, 500, 501, 502, 503, 504, 529,
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        row(
            &status.to_string().replace(" <unknown status code>", ""),
            &|explained| explained.status(status, None).map_or(0, |case| case.most),
        );
    }
    table
}

/// Run with `WRITE_TABLES=1`, it writes the table instead.
#[test]
fn the_documented_table_is_what_the_default_policy_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TABLE);
    let table = table();
    if std::env::var_os("WRITE_TABLES").is_some() {
        fs::write(&path, &table).expect("the table is written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, table, "run this test with WRITE_TABLES=1");
}
