//! Why a line was refused: a code for programs, the field, and a sentence for people.

use std::fmt;

use ephor_governance::rejection::Rejection;
use serde::Serialize;

/// What kind of thing is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Longer than a line may be.
    LineTooLong,
    /// Not UTF-8.
    LineNotUtf8,
    /// Not JSON.
    LineNotJson,
    /// JSON, but not an object.
    LineNotObject,
    /// Not a message of FIX.
    LineNotFix,
    /// A type that is not governed.
    TypeUnknown,
    /// A field that must be there is not.
    FieldMissing,
    /// A field that nobody knows, where every field counts.
    FieldUnknown,
    /// A name stands there twice: nobody can say which value was meant.
    FieldTwice,
    /// A value of the wrong kind.
    FieldMalformed,
    /// A value that is not possible.
    FieldOutOfRange,
    /// A text longer than a text may be.
    FieldTooLong,
    /// A decimal number with more digits than an exact one holds.
    DecimalDoesNotFit,
    /// A time before that of a line already taken.
    TimeGoingBack,
    /// The strategy has never been registered.
    StrategyUnknown,
    /// The id was recorded before with other content.
    IdReused,
    /// Another rule said no.
    RuleRefused,
}

impl Code {
    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LineTooLong => "LINE_TOO_LONG",
            Self::LineNotUtf8 => "LINE_NOT_UTF8",
            Self::LineNotJson => "LINE_NOT_JSON",
            Self::LineNotObject => "LINE_NOT_OBJECT",
            Self::LineNotFix => "LINE_NOT_FIX",
            Self::TypeUnknown => "TYPE_UNKNOWN",
            Self::FieldMissing => "FIELD_MISSING",
            Self::FieldUnknown => "FIELD_UNKNOWN",
            Self::FieldTwice => "FIELD_TWICE",
            Self::FieldMalformed => "FIELD_MALFORMED",
            Self::FieldOutOfRange => "FIELD_OUT_OF_RANGE",
            Self::FieldTooLong => "FIELD_TOO_LONG",
            Self::DecimalDoesNotFit => "DECIMAL_DOES_NOT_FIT",
            Self::TimeGoingBack => "TIME_GOING_BACK",
            Self::StrategyUnknown => "STRATEGY_UNKNOWN",
            Self::IdReused => "ID_REUSED",
            Self::RuleRefused => "RULE_REFUSED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub code: Code,
    /// The field, where it is one.
    pub field: Option<&'static str>,
    /// What was found and what would do.
    pub problem: String,
}

impl Refusal {
    pub(crate) fn line(code: Code, problem: impl Into<String>) -> Self {
        Self { code, field: None, problem: problem.into() }
    }

    pub(crate) fn field(code: Code, field: &'static str, problem: impl Into<String>) -> Self {
        Self { code, field: Some(field), problem: problem.into() }
    }

    /// A line that was longer than a line may be.
    #[must_use]
    pub fn too_long(bytes: u64) -> Self {
        let most = super::LINE_BYTES_MAX;
        Self::line(Code::LineTooLong, format!("a line has at most {most} bytes, found {bytes}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "{field}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::UnknownStrategy => {
                Self::field(Code::StrategyUnknown, "strategy_id", "this strategy was never registered")
            }
            Rejection::NoStrategy { .. } => Self::field(Code::StrategyUnknown, "strategy_id", rejection.to_string()),
            Rejection::InvalidField { field, problem } => Self::field(Code::FieldOutOfRange, field, problem),
            Rejection::IdReused { .. } => Self::field(Code::IdReused, "id", rejection.to_string()),
            Rejection::InvalidPolicy { .. }
            | Rejection::NothingToChange { .. }
            | Rejection::EvidenceMissing { .. }
            | Rejection::NeedsPerson
            | Rejection::TooManyTokens { .. }
            | Rejection::UnknownToken
            | Rejection::NotWaiting { .. }
            | Rejection::ApprovedBefore { .. } => Self::line(Code::RuleRefused, rejection.to_string()),
        }
    }
}
