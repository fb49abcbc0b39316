//! One threshold, at every value between two: `FIELD=A..B/STEP`.
//!
//! Values are decimals from the text to the policy: 0.05, 0.06, 0.07, and no float between them.

use ephor_governance::policy::Policy;
use ephor_governance::units::Amount;
use ephor_replay::nearest;
use ephor_replay::what_if::Variant;
use serde::Serialize;
use serde_json::{Number, Value};

/// The most values of one sweep.
const POINTS_MAX: usize = 200;

/// What is swept over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sweep {
    /// Path of the number, `section.name`.
    pub(super) field: String,
    /// Its value in the policy that the sweep starts from.
    pub(super) base: Amount,
    /// The values tried, in order; one for each of the report's policies.
    pub(super) values: Vec<Amount>,
    /// From one value to the next.
    #[serde(skip)]
    pub(super) step: Amount,
    /// The end asked for, which the steps may not meet.
    #[serde(skip)]
    pub(super) end: Amount,
    #[serde(skip)]
    policy: Value,
}

impl Sweep {
    /// Reads a sweep over a policy's fields; the error is the sentence that says what would do.
    pub(super) fn read(text: &str, policy: &Policy) -> Result<Self, String> {
        const FORM: &str = "a sweep is FIELD=A..B/STEP, as in maturity.demotion_drawdown=0.05..0.20/0.01";
        let malformed = || format!("{text:?} is no sweep: {FORM}");
        let (field, range) = text.split_once('=').ok_or_else(malformed)?;
        let (first, rest) = range.split_once("..").ok_or_else(malformed)?;
        let (last, step) = rest.split_once('/').ok_or_else(malformed)?;
        let number = |text: &str| {
            text.trim().parse::<Amount>().map_err(|error| format!("{error}: {FORM}")).map(Amount::normalized)
        };
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        let policy = serde_json::from_str(&policy.canonical()).map_err(|error| error.to_string())?;
        let field = field.trim().to_owned();
        let base = number_at(&policy, &field)?;
        if !step.is_positive() {
            return Err(format!("the step of a sweep must be above 0, found {step}"));
        }
        if first > last {
            return Err(format!("a sweep goes upwards: {first} is above {last}"));
        }
        let mut values = Vec::new();
        let mut value = first;
        while value <= last {
            if values.len() >= POINTS_MAX {
                return Err(format!(
                    "a sweep tries at most {POINTS_MAX} values: take a larger step than {step}, or a smaller range \
                     than {first}..{last}"
                ));
            }
            values.push(value);
            let next = value.plus(step);
            if next == value {
                break;
            }
            value = next;
        }
        Ok(Self { field, base, values, step, end: last, policy })
    }

    /// The policy at each value; the error names the value that makes no policy.
    pub(super) fn variants(&self) -> Result<Vec<Variant>, String> {
        self.values.iter().map(|value| self.at(*value)).collect()
    }

    fn at(&self, value: Amount) -> Result<Variant, String> {
        let name = format!("{} = {value}", self.field);
        let mut policy = self.policy.clone();
        let slot =
            policy.pointer_mut(&pointer(&self.field)).ok_or_else(|| format!("the policy has no {}", self.field))?;
        let text = value.normalized().to_string();
        *slot = match slot {
            Value::Number(number) if !number.is_f64() => {
                let whole = text.parse::<i64>();
                Value::Number(whole.map_err(|_| format!("{name}: this field takes whole numbers"))?.into())
            }
            Value::Number(_) => {
                let number = serde_json::from_str::<Number>(&text).ok().and_then(|number| number.as_f64());
                let number = number.and_then(Number::from_f64);
                Value::Number(number.ok_or_else(|| format!("{name}: this field takes a number"))?)
            }
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => Value::String(text),
        };
        let policy: Policy = serde_json::from_value(policy).map_err(|error| format!("{name} is no policy: {error}"))?;
        policy.validate().map_err(|error| format!("{name} is no policy: {}: {}", error.field, error.problem))?;
        Ok(Variant::new(name, policy))
    }
}

fn pointer(field: &str) -> String {
    format!("/{}", field.replace('.', "/"))
}

/// The number that a path leads to.
fn number_at(policy: &Value, field: &str) -> Result<Amount, String> {
    // Names are parted by dots, and by nothing else that a pointer knows.
    let dotted = !field.is_empty() && !field.contains(['/', '~']);
    let Some(found) = policy.pointer(&pointer(field)).filter(|_| dotted) else {
        let known = numbers(policy);
        let close = nearest(field, known.iter().map(String::as_str));
        let offered = match close.as_slice() {
            [] => "`ephor policy show` lists them".to_owned(),
            close => format!("did you mean {}?", close.join(", ")),
        };
        return Err(format!("the policy has no field {field:?}; {offered}"));
    };
    number_of(found).ok_or_else(|| match found {
        Value::Object(_) => {
            format!("{field} is a section, not a number: one of its fields is {}", first_in(policy, field))
        }
        Value::Array(_) => {
            format!("{field} is a list, not a number: its first element is {}", first_in(policy, field))
        }
        Value::Null => format!("{field} is not set, so there is no number to sweep over: set it in a policy file"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => format!("{field} is not a number: it is {found}"),
    })
}

fn first_in(policy: &Value, section: &str) -> String {
    let inside = |field: &&String| field.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    numbers(policy).iter().find(inside).cloned().unwrap_or_else(|| "none".to_owned())
}

fn number_of(value: &Value) -> Option<Amount> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The paths of all numbers.
fn numbers(policy: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(value, &below(name), found)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(place, value)| walk(value, &below(&place.to_string()), found));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                found.extend(number_of(value).map(|_| path.to_owned()));
            }
        }
    }
    let mut found = Vec::new();
    walk(policy, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sweep, String> {
        Sweep::read(text, &Policy::default())
    }

    #[test]
    fn values_are_exact_decimals_ends_included() {
        let sweep = read("maturity.demotion_drawdown=0.05..0.20/0.01").unwrap();
        let values: Vec<String> = sweep.values.iter().map(ToString::to_string).collect();
        assert_eq!(
            (values.len(), values.first().unwrap().as_str(), values.last().unwrap().as_str()),
            (16, "0.05", "0.20")
        );
        assert_eq!(values.get(2).unwrap(), "0.07");
        assert_eq!(sweep.base, Amount::new(10, 2));
        let variants = sweep.variants().unwrap();
        let drawdowns = variants.iter().map(|variant| variant.policy.maturity.demotion_drawdown);
        assert_eq!(drawdowns.collect::<Vec<_>>(), sweep.values);
        assert_eq!(variants.get(5).unwrap().id, Policy::default().id(), "the value that it has is the policy it was");
    }

    #[test]
    fn every_kind_of_number_can_be_swept() {
        for (text, points) in [
            ("maturity.demotion_loss_streak=5..10/1", 6),
            ("drift_detector.reduce_above_pct=10..30/7.5", 3),
            ("maturity.sizing_caps.3=0.25..0.5/0.05", 6),
            ("drift_detector.floors.win_rate=0.05..0.05/1", 1),
            ("execution_tokens.ttl_seconds_max=300..900/300", 3),
        ] {
            let variants =
                read(text).and_then(|sweep| sweep.variants()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(variants.len(), points, "{text}");
        }
    }

    #[test]
    fn a_sweep_that_makes_no_sense_says_what_would() {
        let refused = |text: &str| read(text).and_then(|sweep| sweep.variants()).unwrap_err();
        for (text, said) in [
            ("maturity.demotion_drawdown", "is no sweep: a sweep is FIELD=A..B/STEP"),
            ("maturity.demotion_drawdown=0.05..0.2", "is no sweep"),
            ("maturity.demotion_drawdown=five..0.2/0.1", "not a decimal number: \"five\""),
            ("maturity.demotion_drawdwon=0.05..0.2/0.01", "did you mean maturity.demotion_drawdown"),
            ("maturity/demotion_drawdown=0.05..0.2/0.01", "did you mean maturity.demotion_drawdown"),
            ("maturity.demotion_drawdown=0.05..1e400/0.01", "does not fit"),
            ("=0.05..0.2/0.01", "the policy has no field \"\""),
            (
                "maturity=0.05..0.2/0.01",
                "maturity is a section, not a number: one of its fields is maturity.promotion_trades_min",
            ),
            (
                "maturity.sizing_caps=0..1/1",
                "maturity.sizing_caps is a list, not a number: its first element is maturity.sizing_caps.0",
            ),
            ("maturity.default_level=0..1/1", "maturity.default_level is not a number: it is \"L1_paper\""),
            ("maturity.promotion_approval_from=0..1/1", "is not set"),
            ("maturity.demotion_drawdown=0.05..0.2/0", "the step of a sweep must be above 0"),
            ("maturity.demotion_drawdown=0.3..0.2/0.01", "a sweep goes upwards: 0.3 is above 0.2"),
            ("maturity.demotion_drawdown=0.0001..0.2/0.0001", "at most 200 values"),
            ("maturity.demotion_loss_streak=1..3/0.5", "= 1.5: this field takes whole numbers"),
            (
                "maturity.demotion_drawdown=0.9..1.2/0.1",
                "= 1.1 is no policy: maturity.demotion_drawdown: must be from 0 to 1",
            ),
        ] {
            let found = refused(text);
            assert!(found.contains(said), "{text}: {found}");
        }
    }
}
