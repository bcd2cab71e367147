//! What can be wrong with mounts, besides their policies.

use std::collections::HashMap;

use http::Uri;

use super::{Finding, LintCode, Severity};
use crate::{
    mounts::Mounts,
    policy::{Part, Policy},
};

/// A segment that no mount has.
const ELSEWHERE: &str = "-elsewhere-";

/// The mounts that a policy has, by their tables: one for all but those who choose between several.
#[derive(Default)]
pub(super) struct Tables {
    tables: HashMap<usize, Table>,
    /// The last place that was asked about.
    last: Option<(usize, Option<String>)>,
}

#[derive(Default)]
struct Table {
    mounts: Mounts<()>,
    has_fallback: bool,
}

impl Tables {
    /// Looks through all parts, since a finding about one mount depends on the others.
    pub(super) fn of<P: Policy + ?Sized>(policy: &P) -> Self {
        let mut tables = Self::default();
        policy.parts(&mut |part| {
            if let Some(mounted) = part.mounted {
                tables
                    .tables
                    .entry(mounted.table)
                    .or_default()
                    .add(mounted.prefix);
            }
        });
        tables
    }

    /// The findings about the mount that a part is in, apart from those about its policy.
    pub(super) fn findings(&mut self, part: &Part<'_>) -> Vec<Finding> {
        let Some(mounted) = &part.mounted else {
            return Vec::new();
        };
        // A policy that is made of several has as many parts under one prefix.
        let place = Some((mounted.table, mounted.prefix.map(str::to_owned)));
        if self.last == place {
            return Vec::new();
        }
        self.last = place;
        let known = self.tables.get(&mounted.table).zip(mounted.prefix);
        let findings =
            known.map(|(table, prefix)| [table.one_scheme(prefix), table.shadowed(prefix)]);
        findings.into_iter().flatten().flatten().collect()
    }
}

impl Table {
    fn add(&mut self, prefix: Option<&str>) {
        let Some(prefix) = prefix else {
            self.has_fallback = true;
            return;
        };
        // Its prefixes were taken before. One that is not is no reason to say nothing of the others.
        if let Ok(mounts) = std::mem::take(&mut self.mounts).mount(prefix, ()) {
            self.mounts = mounts;
        }
    }
    /// Whether requests with the other scheme have no policy at all.
    fn one_scheme(&self, prefix: &str) -> Option<Finding> {
        let (scheme, rest) = prefix.split_once("://")?;
        let other = match scheme {
            "http" => "https",
            "https" => "http",
            _ => return None,
        };
        // A port that is named is that of one scheme.
        let has_port = urls(scheme, rest).any(|url| url.port().is_some());
        let is_judged =
            self.has_fallback || urls(other, rest).any(|url| self.mounts.get(&url).is_some());
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
        Some(finding.severity(severity).fields(&["mounts"]))
    }

    /// Whether more exact mounts cover all that this one matches.
    fn shadowed(&self, prefix: &str) -> Option<Finding> {
        let (scheme, rest) = prefix.split_once("://")?;
        let judges = |url: Uri| self.mounts.get(&url).map(|found| found.prefix());
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
        Some(finding.fields(&["mounts"]))
    }
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
