//! What can be seen to be wrong with mounts; see [`lint`](crate::policy::lint).

use http::Uri;

use super::{Mounts, prefix::Prefix, table::Table};
use crate::policy::{
    Policy,
    lint::{Finding, LintCode, LintContext, Severity},
};

/// The findings of all policies, the same ones together, and those of the mounts themselves.
pub(super) fn findings<P: Policy>(mounts: &Mounts<P>, context: &LintContext) -> Vec<Finding> {
    let policies = mounts
        .iter()
        .map(|mount| (mount.prefix(), mount.policy()))
        .chain(
            mounts
                .fallback_policy()
                .map(|policy| ("the fallback", policy)),
        );
    let mut found: Vec<(Finding, Vec<&str>)> = Vec::new();
    for (place, policy) in policies {
        for finding in policy.lint_with(context) {
            // Thousands of tenants have the same mistake.
            match found.iter_mut().find(|(known, _)| *known == finding) {
                Some((_, places)) => places.push(place),
                None => found.push((finding, vec![place])),
            }
        }
    }
    let mut findings: Vec<_> = found
        .into_iter()
        .map(|(finding, places)| finding.within(list(&places)))
        .collect();
    let table = &mounts.inner.table;
    if mounts.fallback_policy().is_none() {
        findings.extend(only_one_scheme(table));
    }
    findings.extend(shadowed(table));
    findings
}

/// The first few of them.
fn list(places: &[&str]) -> String {
    const FEW: usize = 3;
    let shown = &places[..places.len().min(FEW)];
    match places.len() - shown.len() {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

fn other_scheme(scheme: &str) -> Option<&'static str> {
    match scheme {
        "http" => Some("https"),
        "https" => Some("http"),
        _ => None,
    }
}

/// Nothing is found for the other scheme, and there is no fallback.
fn only_one_scheme(table: &Table) -> Vec<Finding> {
    let finding = |prefix: &Prefix, other: &str| {
        Finding::new(
            LintCode::MountOnlyOneScheme,
            format!("requests with `{other}` have no mount and are not retried"),
            "mount both (`mount_all` does for all hosts), or set a fallback",
        )
        .within(&*prefix.text)
    };
    let whole = |scheme: &str| {
        let mut prefixes = table.prefixes().iter();
        prefixes.any(|prefix| *prefix.scheme == *scheme && prefix.authority.is_none())
    };
    let mut findings = Vec::new();
    for prefix in table.prefixes() {
        let Some(other) = other_scheme(&prefix.scheme) else {
            continue;
        };
        if prefix.authority.is_none() {
            if !whole(other) {
                findings.push(finding(prefix, other));
            }
            continue;
        }
        // A port of its own has one scheme. What the whole scheme lacks is told of that.
        let has_port = prefix.has_own_port();
        if has_port || whole(&prefix.scheme) {
            continue;
        }
        let rest = &prefix.text[prefix.scheme.len()..];
        let found = format!("{other}{rest}")
            .parse::<Uri>()
            .ok()
            .and_then(|uri| table.find(&uri));
        if found.is_none() {
            // Nobody sends such requests to most services that have `https`.
            let severity = match other {
                "http" => Severity::Note,
                _ => LintCode::MountOnlyOneScheme.severity(),
            };
            findings.push(finding(prefix, other).severity(severity));
        }
    }
    findings
}

/// Every path begins with a slash, so `https://a/` matches all that `https://a` does.
fn shadowed(table: &Table) -> Vec<Finding> {
    let bare = |prefix: &&Prefix| {
        prefix.authority.is_some() && prefix.segments.is_empty() && !prefix.slash
    };
    table
        .prefixes()
        .iter()
        .filter(bare)
        .filter(|prefix| {
            let uri = prefix.text.parse::<Uri>().ok();
            let found = uri.and_then(|uri| table.find(&uri));
            found.is_some_and(|number| table.prefixes()[number].text != prefix.text)
        })
        .map(|prefix| {
            Finding::new(
                LintCode::MountShadowed,
                format!(
                    "it is never reached: `{}/` matches all of its URLs",
                    prefix.text
                ),
                "leave one of the two out",
            )
            .within(&*prefix.text)
        })
        .collect()
}
