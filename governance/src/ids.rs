//! Names of things: strategies, instruments, people, and the ids that sources give.
//!
//! An id is short text kept inline, so that decoding one allocates nothing. It is checked once,
//! where it enters: not empty, at most 128 bytes, nothing unprintable.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use smol_str::SmolStr;

/// The longest id, in bytes.
pub const BYTES_MAX: usize = 128;

/// Why a text cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("an id must not be empty")]
    Empty,
    /// Longer than [`BYTES_MAX`].
    #[error("an id has at most {BYTES_MAX} bytes, found {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A control character, or white space at an end.
    #[error("an id holds no control character and no white space at its ends: {text:?}")]
    Unprintable {
        /// What was found.
        text: String,
    },
    /// A word with a meaning of its own in the log.
    #[error("{text:?} is a reserved name")]
    Reserved {
        /// What was found.
        text: String,
    },
}

fn checked(text: &str) -> Result<SmolStr, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > BYTES_MAX {
        return Err(IdError::TooLong { bytes: text.len() });
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(IdError::Unprintable { text: text.to_owned() });
    }
    Ok(SmolStr::new(text))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text itself, as the log keeps it.
            #[must_use]
            pub fn text(&self) -> SmolStr {
                self.0.clone()
            }

            /// From text the log has kept: it was checked when it entered.
            #[must_use]
            pub fn recorded(text: SmolStr) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    SmolStr::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    SmolStr::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

macro_rules! checked_from_str {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                checked(text).map(Self)
            }
        }
    )*};
}

id! {
    /// A strategy's name, as its engine and its owner know it.
    StrategyId
}
id! {
    /// What is traded.
    InstrumentId
}
id! {
    /// The id a source gave to a signal, an order, a trade or a report; what makes it idempotent.
    SourceId
}
id! {
    /// An execution token's id.
    TokenId
}
id! {
    /// A person, or the part of the system, on whose word something was done.
    Actor
}
id! {
    /// An account at a broker or a venue, as the source names it.
    AccountId
}
id! {
    /// A currency code or coin: what an amount of money is counted in.
    Currency
}

checked_from_str!(InstrumentId, SourceId, TokenId, Actor, AccountId, Currency);

impl StrategyId {
    /// The name that a drill of the kill switch kills: no strategy can have it, so nobody's orders are touched.
    pub const DRILL: &str = "ephor-drill";

    /// The stream of what belongs to no strategy that anybody could name. No strategy can have this name.
    pub const UNATTRIBUTED: &str = "UNATTRIBUTED";

    /// The name of that stream, see [`StrategyId::UNATTRIBUTED`].
    #[must_use]
    pub fn unattributed() -> Self {
        Self(SmolStr::new_static(Self::UNATTRIBUTED))
    }

    /// Whether this is the name of that stream.
    #[must_use]
    pub fn is_unattributed(&self) -> bool {
        self.0 == Self::UNATTRIBUTED
    }

    /// The name of a drill's target, see [`StrategyId::DRILL`].
    #[must_use]
    pub fn drill() -> Self {
        Self(SmolStr::new_static(Self::DRILL))
    }
}

impl FromStr for StrategyId {
    type Err = IdError;

    /// `system` and [`StrategyId::UNATTRIBUTED`] are streams that belong to no strategy, [`StrategyId::DRILL`]
    /// covers no order.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if ["system", Self::DRILL, Self::UNATTRIBUTED].contains(&text) {
            return Err(IdError::Reserved { text: text.to_owned() });
        }
        checked(text).map(Self)
    }
}
