//! Random cases: policies that somebody might write, and more of those that nobody should.

use serde_json::{Map, Value, json};

use super::{dice::Dice, retry_after};

/// No policy lists this status: an attempt that ends with it is the last one.
const END: u16 = 299;

/// The most outcomes before [`END`].
const OUTCOMES: i64 = 7;

/// A case in the form of the recorded ones, without what came of it.
pub(crate) fn case(id: usize, dice: &mut Dice) -> Value {
    let mut script = dice.up_to(OUTCOMES, outcome);
    script.push(json!({ "status": END }));
    json!({
        "id": id,
        "policy": policy(dice),
        "method": method(dice),
        "script": script,
    })
}

/// Only some settings; the others are urllib3's defaults.
fn policy(dice: &mut Dice) -> Value {
    let mut policy = Map::new();
    let mut set = |name: &str, value: Value| policy.insert(name.to_owned(), value);
    for (name, share) in [
        ("total", 0.7),
        ("connect", 0.3),
        ("read", 0.3),
        ("redirect", 0.2),
        ("status", 0.3),
        ("other", 0.2),
    ] {
        if dice.chance(share) {
            set(name, counter(dice));
        }
    }
    if dice.chance(0.4) {
        set("allowed_methods", methods(dice));
    }
    if dice.chance(0.8) {
        set("status_forcelist", statuses(dice));
    }
    if dice.chance(0.6) {
        let factors = [
            0.0, 0.001, 0.05, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 7.7, 1e9, 1e300,
        ];
        set("backoff_factor", seconds(dice, &factors));
    }
    if dice.chance(0.2) {
        let longest = [0.0, 0.001, 0.3, 1.0, 5.0, 30.0, 120.0, 121.5, 1e6];
        set("backoff_max", seconds(dice, &longest));
    }
    if dice.chance(0.15) {
        let jitters = [0.0, 0.001, 0.5, 1.0, 10.0, 1e6];
        set("backoff_jitter", seconds(dice, &jitters));
    }
    if dice.chance(0.2) {
        let longest = [0.0, 0.5, 1.0, 2.0, 5.0, 60.0, 3600.0, 21_600.0, 1e6];
        set("retry_after_max", seconds(dice, &longest));
    }
    for (name, share) in [
        ("respect_retry_after_header", 0.3),
        ("raise_on_status", 0.4),
        ("raise_on_redirect", 0.1),
    ] {
        if dice.chance(share) {
            set(name, dice.chance(0.3).into());
        }
    }
    policy.into()
}

fn counter(dice: &mut Dice) -> Value {
    match dice.within(0..=9) {
        0 | 1 => Value::Null,
        2 => false.into(),
        3 => true.into(),
        4 => dice.within(-3..=-1).into(),
        5 => (dice.one_of(&[10, 1000, i64::MAX, i64::MIN])).into(),
        _ => dice.within(0..=4).into(),
    }
}

/// One of these numbers of seconds, or one near it.
fn seconds(dice: &mut Dice, some: &[f64]) -> Value {
    let seconds = dice.one_of(some);
    if dice.chance(0.3) {
        (seconds * dice.within(1..=1000) as f64 / 512.0).into()
    } else {
        seconds.into()
    }
}

const METHODS: &[&str] = &[
    "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "POST", "PATCH", "QUERY", "PURGE", "get",
    "Get", "hEAD", "put", "Delete", "post", "pOsT", "patch", "M-SEARCH", "m-search",
];

fn method(dice: &mut Dice) -> &'static str {
    let usual = ["GET", "POST"];
    if dice.chance(0.5) {
        dice.one_of(&usual)
    } else {
        dice.one_of(METHODS)
    }
}

fn methods(dice: &mut Dice) -> Value {
    if dice.chance(0.3) {
        Value::Null
    } else {
        dice.up_to(6, |dice| dice.one_of(METHODS)).into()
    }
}

/// Those that mean something to a retry, and others. Interim responses end no attempt.
const STATUSES: &[u16] = &[
    413, 429, 500, 502, 503, 504, 200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 305, 307, 308,
    400, 401, 403, 404, 405, 408, 409, 410, 412, 414, 421, 422, 423, 425, 428, 431, 451, 499, 501,
    505, 507, 511, 520, 529, 598, 599, 600, 777, 999,
];

fn status(dice: &mut Dice) -> u16 {
    match dice.within(0..=9) {
        // 413 to 504.
        0..=5 => STATUSES[dice.index(6)],
        6 | 7 => dice.one_of(&[301, 302, 303, 307, 308]),
        _ => dice.one_of(STATUSES),
    }
}

fn statuses(dice: &mut Dice) -> Value {
    match dice.within(0..=5) {
        0 => (500..=599).collect(),
        1 => [429, 500, 502, 503, 504].into_iter().collect(),
        _ => dice.up_to(8, status).into(),
    }
}

fn outcome(dice: &mut Dice) -> Value {
    match dice.within(0..=9) {
        0 => {
            let faults = ["refused", "unreachable", "connect_timeout", "dns"];
            json!({ "connect_error": dice.one_of(&faults) })
        }
        1 | 2 => {
            let faults = ["timeout", "reset", "pipe", "closed", "garbage"];
            json!({ "read_error": dice.one_of(&faults) })
        }
        3 => json!({ "other_error": dice.one_of(&["tls", "certificate"]) }),
        _ => response(dice),
    }
}

fn response(dice: &mut Dice) -> Value {
    let status = status(dice);
    let mut headers = Vec::new();
    let redirects = (300..=399).contains(&status);
    if dice.chance(if redirects { 0.8 } else { 0.1 }) {
        let places = ["/elsewhere", "http://b.test/", "?", "", "/a b", "\u{e9}"];
        let lines = if dice.chance(0.1) { 2 } else { 1 };
        for _ in 0..lines {
            headers.push((name(dice, "Location"), dice.one_of(&places).to_string()));
        }
    }
    if dice.chance(0.5) {
        let lines = if dice.chance(0.04) { 2 } else { 1 };
        for _ in 0..lines {
            headers.push((name(dice, "Retry-After"), retry_after::value(dice)));
        }
    }
    if dice.chance(0.05) {
        // Not urllib3's, so not for its preset.
        headers.push((name(dice, "Retry-After-Ms"), "1500".to_owned()));
    }
    if headers.is_empty() {
        json!({ "status": status })
    } else {
        json!({ "status": status, "headers": headers })
    }
}

/// A header's name as some server writes it.
fn name(dice: &mut Dice, name: &str) -> String {
    match dice.within(0..=9) {
        0 => name.to_lowercase(),
        1 => name.to_uppercase(),
        _ => name.to_owned(),
    }
}
