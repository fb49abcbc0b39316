//! A condition asked of one state after another.
//!
//! Only the fields that it names are made, each time anew.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cel::objects::Key;
use cel::{Context, ExecutionError, Value as Cel};
use ephor_governance::units::Timestamp;
use serde_json::Value;

use super::variables::Scene;
use super::{Condition, ConditionError};
use crate::diff::{Path, Step};

/// Asks one condition.
pub(super) struct Asking<'a> {
    condition: &'a Condition,
    context: Context<'static, 'static>,
    /// The variables it names: what stands before the first dot of its fields.
    roots: BTreeSet<&'a str>,
}

/// What came out: whether it holds, where that can be said, and the value of each field it reads.
type Asked = (Option<bool>, Vec<Option<Value>>);

impl<'a> Asking<'a> {
    pub(super) fn new(condition: &'a Condition) -> Self {
        let mut context = Context::default();
        // Fails only for a name that is taken, and none of the language's own functions is called so.
        drop(context.add_function("time", time));
        Self { condition, context, roots: condition.fields().iter().filter_map(root_of).collect() }
    }

    pub(super) fn ask(&mut self, scene: &Scene<'_>) -> Result<Asked, ConditionError> {
        let roots: Vec<(&str, Value)> = self.roots.iter().map(|root| (*root, scene.value(root))).collect();
        for (root, value) in &roots {
            let fields = self.condition.fields().iter().filter(|path| root_of(path) == Some(root));
            let wanted: Vec<&[Step]> = fields.filter_map(|path| path.0.get(1..)).collect();
            self.context.add_variable_from_value(*root, read(value, &wanted));
        }
        let field = |path: &Path| {
            let (_, value) = roots.iter().find(|(root, _)| root_of(path) == Some(root))?;
            inside(value, path.0.get(1..)?).cloned()
        };
        let fields: Vec<Option<Value>> = self.condition.fields().iter().map(field).collect();
        let holds = match self.condition.program().execute(&self.context) {
            Ok(Cel::Bool(holds)) => Some(holds),
            Ok(other) => {
                let found = kind_of(&other.type_of().to_string()).to_owned();
                return Err(ConditionError::NoTruth { seq: scene.seq, found });
            }
            Err(error) if self.is_absence(&error, &roots) => None,
            Err(error) => return Err(ConditionError::Evaluate { seq: scene.seq, problem: said(&error) }),
        };
        Ok((holds, fields))
    }

    /// Whether an error says that the state does not have what is asked for, and not that the question is wrong.
    fn is_absence(&self, error: &ExecutionError, roots: &[(&str, Value)]) -> bool {
        let read = self.condition.fields().iter().map(|path| (path, place_of(path, roots)));
        if let ExecutionError::NoSuchKey(name) = error {
            let names = |path: &Path| path.0.iter().any(|step| name_of(step) == Some(name));
            return read.into_iter().any(|(path, place)| place == Place::Absent && names(path));
        }
        matches!(error, ExecutionError::IndexOutOfBounds(_))
            || (is_about_null(error) && read.into_iter().any(|(_, place)| place == Place::Null))
    }
}

/// What stands where a field should.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A value.
    There,
    /// Nothing, in the field itself, in what it is a part of, or in a part of it.
    Null,
    /// It is not there.
    Absent,
}

fn place_of(path: &Path, roots: &[(&str, Value)]) -> Place {
    let Some((_, root)) = roots.iter().find(|(root, _)| root_of(path) == Some(root)) else { return Place::Absent };
    let mut value = root;
    for step in path.0.iter().skip(1) {
        match inside(value, std::slice::from_ref(step)) {
            Some(found) => value = found,
            None if value.is_null() => return Place::Null,
            None => return Place::Absent,
        }
    }
    if holds_null(value) { Place::Null } else { Place::There }
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(entries) => entries.iter().any(holds_null),
        Value::Object(fields) => fields.values().any(holds_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether an operator or a function was given null.
fn is_about_null(error: &ExecutionError) -> bool {
    let is_null = |value: &Cel| matches!(value, Cel::Null);
    let is_named = |name: &str| ["null", "Null", "null_type"].contains(&name);
    if let ExecutionError::NoSuchOverload(overload) = error {
        return overload.argument_types().iter().any(|name| is_named(name));
    }
    if let ExecutionError::ValuesNotComparable(one, other) | ExecutionError::UnsupportedBinaryOperator(_, one, other) =
        error
    {
        return is_null(one) || is_null(other);
    }
    if let ExecutionError::UnsupportedIndex(value, of) = error {
        return is_null(value) || is_null(of);
    }
    if let ExecutionError::UnexpectedType { got, .. } = error {
        return is_named(got);
    }
    false
}

fn root_of(path: &Path) -> Option<&str> {
    name_of(path.0.first()?)
}

fn name_of(step: &Step) -> Option<&str> {
    match step {
        Step::Field(name) => Some(name),
        Step::Entry(_) => None,
    }
}

fn inside<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Entry(index) => value.get(index),
    })
}

/// A value with no more of its fields than are wanted; whole where it is wanted itself.
fn read(value: &Value, wanted: &[&[Step]]) -> Cel {
    let Value::Object(fields) = value else { return cel_of(value) };
    if wanted.iter().any(|steps| steps.is_empty()) {
        return cel_of(value);
    }
    let names: BTreeSet<&str> = wanted.iter().filter_map(|steps| name_of(steps.first()?)).collect();
    let field = |name: &str| {
        let inner = wanted.iter().filter(|steps| steps.first().and_then(name_of) == Some(name));
        let inner: Vec<&[Step]> = inner.filter_map(|steps| steps.get(1..)).collect();
        Some((Key::from(name), read(fields.get(name)?, &inner)))
    };
    Cel::from(names.into_iter().filter_map(field).collect::<HashMap<Key, Cel>>())
}

fn cel_of(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(entries) => Cel::List(Arc::new(entries.iter().map(cel_of).collect())),
        Value::Object(fields) => {
            let fields: HashMap<Key, Cel> =
                fields.iter().map(|(name, value)| (Key::from(name.as_str()), cel_of(value))).collect();
            Cel::from(fields)
        }
    }
}

/// The functions there are, the language's own and [`time`].
pub(super) const FUNCTIONS: [&str; 13] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
    "time",
    "type",
    "uint",
];

/// Whether there is a function of this name.
pub(super) fn is_function(name: &str) -> bool {
    // The language does not list its functions, but refuses another under the name of one.
    name == "time" || Context::default().add_function(name, |argument: i64| argument).is_err()
}

/// `time("2012-02-20")`: nanoseconds since 1970, so that times can be compared.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a function of the language")]
fn time(text: Arc<String>) -> Result<i64, ExecutionError> {
    let midnight = format!("{text}T00:00:00Z");
    let read = [text.as_str(), &midnight].into_iter().find_map(|text| text.parse::<Timestamp>().ok());
    read.map(Timestamp::nanos).ok_or_else(|| {
        ExecutionError::function_error(
            "time",
            format!("{text:?} is no time such as 2012-02-20 or 2012-02-20T14:30:00Z"),
        )
    })
}

/// An error in words.
fn said(error: &ExecutionError) -> String {
    let mixed = |operator: &str, one: &str, other: &str| {
        let numbers = ["int", "uint", "double", "float"];
        let operator = sign(operator);
        let hint = if one != other && numbers.contains(&one) && numbers.contains(&other) {
            "; whole and fractional numbers mix only in comparisons: write 100.0 for 100, double(trades) for trades"
        } else {
            ""
        };
        if ["<", "<=", ">", ">="].contains(&operator.as_str()) {
            return format!("{} cannot be compared with {}", kind_of(one), kind_of(other));
        }
        format!("{operator} does not go with {} and {}{hint}", kind_of(one), kind_of(other))
    };
    let kind = |value: &Cel| value.type_of().to_string();
    if let ExecutionError::NoSuchOverload(overload) = error {
        return match overload.argument_types() {
            [one, other] => mixed(overload.function(), one, other),
            types => {
                let types: Vec<&str> = types.iter().map(|name| kind_of(name)).collect();
                format!("{} does not go with {}", sign(overload.function()), types.join(" and "))
            }
        };
    }
    if let ExecutionError::ValuesNotComparable(one, other) = error {
        return format!("{} cannot be compared with {}", kind_of(&kind(one)), kind_of(&kind(other)));
    }
    if let ExecutionError::UnsupportedBinaryOperator(operator, one, other) = error {
        return mixed(operator, &kind(one), &kind(other));
    }
    if let ExecutionError::UndeclaredReference(name) = error {
        return format!("there is no function or field called {name}");
    }
    if let ExecutionError::NoSuchKey(name) = error {
        return format!("there is no field {name} in what it is asked of");
    }
    if let ExecutionError::UnexpectedType { got, want } = error {
        // It names a type, or shows the value with its type before it.
        let (got, want) = (got.split('(').next().unwrap_or(got).to_lowercase(), want.to_lowercase());
        return format!("{} stands where {} belongs", kind_of(&got), kind_of(&want));
    }
    error.to_string()
}

/// An operator as it is written.
fn sign(operator: &str) -> String {
    match operator {
        "add" => "+".to_owned(),
        "sub" => "-".to_owned(),
        "mul" => "*".to_owned(),
        "div" => "/".to_owned(),
        "rem" => "%".to_owned(),
        other => other.replace('_', ""),
    }
}

/// A type in words.
fn kind_of(name: &str) -> &str {
    match name {
        "int" | "uint" => "a whole number",
        "double" | "float" => "a fractional number",
        "string" | "arc<string>" => "a text",
        "bool" => "a truth value",
        "list" => "a list",
        "map" => "a map",
        "null" | "null_type" => "nothing",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{FUNCTIONS, is_function};

    #[test]
    fn every_function_offered_is_there() {
        let absent: Vec<&str> = FUNCTIONS.into_iter().filter(|name| !is_function(name)).collect();
        assert_eq!(absent, [""; 0]);
        assert!(!is_function("siz") && !is_function("frobnicate"));
    }
}
