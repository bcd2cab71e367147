//! [`Refused`]: what a budget had, and what a retry would have needed.

use std::fmt;

use crate::human::Thousandths;

/// Why a budget refused a retry: what it costs and what there was.
///
/// One that says nothing (`Refused::default()`) is that of a budget which does not tell, for
/// instance one of another library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Refused {
    #[cfg_attr(feature = "serde", serde(default, with = "thousandths"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    balance: Option<u32>,
    #[cfg_attr(feature = "serde", serde(default, with = "thousandths"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    needed: Option<u32>,
}

impl Refused {
    /// A budget that had `balance` thousandths of a token where `needed` were wanted.
    pub(crate) const fn thousandths(balance: u32, needed: u32) -> Self {
        Self {
            balance: Some(balance),
            needed: Some(needed),
        }
    }

    /// The tokens that were there; `None` if the budget does not tell.
    pub fn balance(&self) -> Option<f64> {
        self.balance.map(tokens)
    }

    /// The tokens that would have been needed; `None` if the budget does not tell. With
    /// [`RetryBudget::grpc`](crate::budget::RetryBudget::grpc) it takes more than these.
    pub fn needed(&self) -> Option<f64> {
        self.needed.map(tokens)
    }

    /// The numbers, if there are any, as the end of a sentence.
    pub(super) fn numbers(self) -> impl fmt::Display {
        struct Numbers(Refused);
        impl fmt::Display for Numbers {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match (self.0.balance, self.0.needed) {
                    (Some(balance), Some(needed)) => {
                        let (balance, needed) = (Thousandths(balance), Thousandths(needed));
                        write!(f, ": {balance} tokens left, {needed} needed")
                    }
                    _ => Ok(()),
                }
            }
        }
        Numbers(self)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the retry budget is exhausted{}", self.numbers())
    }
}

impl std::error::Error for Refused {}

fn tokens(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1000.0
}

/// A number of tokens.
#[cfg(feature = "serde")]
mod thousandths {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    // The form that `with` asks for.
    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(this: &Option<u32>, to: S) -> Result<S::Ok, S::Error> {
        this.map(super::tokens).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
        let Some(tokens) = Option::<f64>::deserialize(from)? else {
            return Ok(None);
        };
        let scaled = (tokens * 1000.0).round();
        if (0.0..=f64::from(u32::MAX)).contains(&scaled) {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range was checked"
            )]
            return Ok(Some(scaled as u32));
        }
        Err(D::Error::custom(format_args!(
            "{tokens} is not a number of tokens in 0..=4294967.295"
        )))
    }
}
