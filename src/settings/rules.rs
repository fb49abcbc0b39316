//! `[[bus.KIND.reading.rules]]`: how a message is tied to a strategy. A rule that makes no sense is refused where it
//! is read: one that were passed over would let a later one answer in its place.

use ephor_governance::ids::StrategyId;
use serde::{Deserialize, Serialize};

/// The group of a pattern that captures a strategy's name.
pub const RULE_GROUP: &str = "strategy";
/// Memory that a compiled pattern may take, bytes.
const PATTERN_BYTES_MAX: usize = 1 << 18;

/// A rule: what is looked at, what it must look like, whose it is then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Rule {
    /// What is looked at.
    pub by: Sign,
    /// What its text must match; its group `strategy` is the name where no strategy is given.
    pub pattern: Option<Pattern>,
    /// The strategy; without it the text itself, or the pattern's group.
    pub strategy: Option<StrategyId>,
}

/// What a rule looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A field of the message: `bot`, `order.tag`, a tag's number in FIX.
    Field(String),
    /// The id that the engine gave to the order.
    ClientOrderId,
    /// The account, to the letter.
    Account(String),
}

/// A regular expression that compiles.
#[derive(Clone, Debug)]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// The expression.
    #[must_use]
    pub const fn get(&self) -> &regex::Regex {
        &self.0
    }

    fn compiled(text: &str) -> Result<Self, String> {
        let compiled = regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        compiled.map(Self).map_err(|error| error.to_string().trim().to_owned())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// A rule as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_order_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<StrategyId>,
}

impl TryFrom<Written> for Rule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { field, client_order_id, account, pattern, strategy } = written;
        let (by, text, named) = match (field, client_order_id, account) {
            (Some(field), None, None) => {
                let named = format!("the rule by field {field:?}");
                (Sign::Field(field), pattern, named)
            }
            (None, Some(text), None) if pattern.is_none() => {
                let named = format!("the rule by client_order_id {text:?}");
                (Sign::ClientOrderId, Some(text), named)
            }
            (None, None, Some(account)) if pattern.is_none() => {
                let named = format!("the rule by account {account:?}");
                (Sign::Account(account), None, named)
            }
            _several_or_none => {
                return Err(
                    "a rule looks at one of field, client_order_id and account; only one by field has a pattern \
                            beside it"
                        .to_owned(),
                );
            }
        };
        let pattern = text.map(|text| Pattern::compiled(&text)).transpose();
        let pattern = pattern.map_err(|problem| format!("{named} does not compile: {problem}"))?;
        let captures = pattern.as_ref().map(|pattern| pattern.0.capture_names().any(|name| name == Some(RULE_GROUP)));
        match (&by, captures, &strategy) {
            (_, Some(true), Some(_)) => Err(format!("{named} has both a group (?<strategy>…) and a strategy")),
            (_, Some(false), None) => Err(format!("{named} needs a group (?<strategy>…) or a strategy")),
            (Sign::Account(_), None, None) => Err(format!("{named} needs a strategy")),
            (Sign::Field(_), None, Some(_)) => Err(format!("{named} needs a pattern beside its strategy")),
            (Sign::Field(_) | Sign::ClientOrderId | Sign::Account(_), _, _) => Ok(Self { by, pattern, strategy }),
        }
    }
}

impl From<Rule> for Written {
    fn from(rule: Rule) -> Self {
        let pattern = rule.pattern.map(|pattern| pattern.0.as_str().to_owned());
        let nothing =
            Self { field: None, client_order_id: None, account: None, pattern: None, strategy: rule.strategy };
        match rule.by {
            Sign::Field(field) => Self { field: Some(field), pattern, ..nothing },
            Sign::ClientOrderId => Self { client_order_id: pattern, ..nothing },
            Sign::Account(account) => Self { account: Some(account), ..nothing },
        }
    }
}
