//! What the judgement rests on whether a request may have been applied.

use std::{borrow::Cow, fmt};

use super::stop::Shown;

/// Why a failure was, or was not, taken for one of a request that was certainly not applied, where
/// its cause alone does not tell.
///
/// Only an error's type, found at a stage that can make it, proves that; see
/// [`classify`](mod@crate::classify#what-proves-that-a-request-was-not-applied).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Evidence {
    /// The request was certainly not applied, because somebody
    /// [vouched](crate::RetryLayer::vouch) for this type.
    Vouched {
        /// The type's name.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        type_name: Cow<'static, str>,
    },
    /// The cause stands below an error of a type that nobody vouched for, so that it may be that of
    /// some work after the exchange.
    Unvouched {
        /// Where that error is in the chain; 1 is the outermost.
        link: u32,
        /// What its `Debug` begins with, where that looks like the name of a type or a variant:
        /// the type itself cannot be known.
        #[cfg_attr(
            feature = "serde",
            serde(default, deserialize_with = "crate::text::read::option")
        )]
        shown_as: Option<String>,
    },
    /// The cause stands below the error of a `reqwest::Client` that may have sent more than one
    /// request, for instance to follow a redirect. One that
    /// `ReqwestService::build` made sends no more than one.
    ForeignClient,
    /// The cause reads like one before the request was sent, but no error's type says that a
    /// connection was being made. A connector of one's own says so with
    /// [`NeverSent`](crate::NeverSent).
    NoStage,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vouched { type_name } => {
                let type_name = Shown(type_name);
                write!(f, "not applied, as `.vouch::<{type_name}>(..)` promises")
            }
            Self::Unvouched { link, shown_as } => {
                match shown_as {
                    Some(name) => write!(f, "below `{}`", Shown(name))?,
                    None => write!(f, "below error {link} of the chain")?,
                }
                f.write_str(", whose type nobody vouched for: `.vouch::<..>(..)`")
            }
            Self::ForeignClient => f.write_str(
                "the `reqwest::Client` may have sent more than one request: \
                 `ReqwestService::build(..)` makes one that does not",
            ),
            Self::NoStage => f.write_str(
                "no error's type says that a connection was being made: `NeverSent` does",
            ),
        }
    }
}
