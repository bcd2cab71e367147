//! What can be wrong with mounts, besides their policies.

use http::Uri;

use super::{Finding, LintCode, LintContext, Severity};
use crate::{mounts::Mounts, policy::Policy};

/// A segment that no mount has.
const ELSEWHERE: &str = "-elsewhere-";

/// The findings about the policies, each with its prefix, and about the mounts themselves.
pub(crate) fn mounts<P: Policy>(mounts: &Mounts<P>, context: &LintContext) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mount in mounts.iter() {
        let place = mount.prefix();
        let own = [one_scheme(mounts, place), shadowed(mounts, place)];
        let own = own.into_iter().flatten();
        let policy = mount.policy().lint_with(context);
        findings.extend(own.chain(policy).map(|finding| finding.within(place)));
    }
    if let Some(policy) = mounts.fallback_policy() {
        let policy = policy.lint_with(context);
        findings.extend(policy.into_iter().map(|finding| finding.within("fallback")));
    }
    super::by_severity(findings)
}

/// Whether requests with the other scheme have no policy at all.
fn one_scheme<P>(mounts: &Mounts<P>, prefix: &str) -> Option<Finding> {
    let (scheme, rest) = prefix.split_once("://")?;
    let other = match scheme {
        "http" => "https",
        "https" => "http",
        _ => return None,
    };
    // A port that is named is that of one scheme.
    let has_port = urls(scheme, rest).any(|url| url.port().is_some());
    let is_judged = mounts.fallback_policy().is_some()
        || urls(other, rest).any(|url| mounts.get(&url).is_some());
    if has_port || is_judged {
        return None;
    }
    // Many a host is there for `https` only.
    let severity = if scheme == "https" && !rest.is_empty() {
        Severity::Note
    } else {
        Severity::Warn
    };
    let finding = Finding::new(
        LintCode::MountOnlyOneScheme,
        format!("`{other}://{rest}` has no mount: requests to it are never retried"),
        format!("mount it as well, or for both schemes `mount_all`, if {other} is ever used"),
    );
    Some(finding.severity(severity).fields(["mounts"]))
}

/// Whether more exact mounts cover all that this one matches.
fn shadowed<P>(mounts: &Mounts<P>, prefix: &str) -> Option<Finding> {
    let (scheme, rest) = prefix.split_once("://")?;
    let judges = |url: Uri| mounts.get(&url).map(|found| found.prefix());
    let mut found = urls(scheme, rest).filter_map(judges);
    let by = found.next()?;
    if by == prefix || found.any(|found| found == prefix) {
        return None;
    }
    let finding = Finding::new(
        LintCode::MountShadowed,
        format!("never reached: `{by}` covers all of it"),
        "take one of the two out",
    );
    Some(finding.fields(["mounts"]))
}

/// URLs that a prefix matches: the first one, and one below.
fn urls(scheme: &str, rest: &str) -> impl Iterator<Item = Uri> {
    let rest = match rest {
        "" => "elsewhere.invalid",
        rest => rest,
    };
    let slash = if rest.ends_with('/') { "" } else { "/" };
    let texts = [
        format!("{scheme}://{rest}"),
        format!("{scheme}://{rest}{slash}{ELSEWHERE}"),
    ];
    texts.into_iter().filter_map(|text| text.parse().ok())
}
