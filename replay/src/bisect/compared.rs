//! A field compared with what it never is.
//!
//! Such a comparison parses, and gives the same answer after every event or an error that something else may hide:
//! a misspelt level or event, a text held against a number, a time against a text. So it is refused before anything
//! is read.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use ephor_governance::event::Event;
use ephor_governance::maturity::Level;

use super::ConditionError;
use super::condition::path_of;
use super::variables::kind_of;
use crate::nearest;

/// The comparisons, as the parser calls them and as they are written.
const COMPARISONS: [(&str, &str); 7] = [
    (operators::EQUALS, "=="),
    (operators::NOT_EQUALS, "!="),
    (operators::LESS, "<"),
    (operators::LESS_EQUALS, "<="),
    (operators::GREATER, ">"),
    (operators::GREATER_EQUALS, ">="),
    (operators::IN, "in"),
];

/// Whether a call compares, if it compares at all, a field with something that it can be.
pub(super) fn check(call: &CallExpr) -> Result<(), ConditionError> {
    let Some((_, sign)) = COMPARISONS.iter().find(|(name, _)| *name == call.func_name) else { return Ok(()) };
    let [one, other] = call.args.as_slice() else { return Ok(()) };
    if let (&"in", Expr::List(list)) = (sign, &other.expr) {
        return list.elements.iter().try_for_each(|entry| pair(one, "==", entry, false));
    }
    pair(one, sign, other, false)?;
    pair(other, sign, one, true)
}

/// A field on one side and a literal on the other; the field comes second where it is `turned`.
fn pair(field: &IdedExpr, sign: &str, literal: &IdedExpr, turned: bool) -> Result<(), ConditionError> {
    let (Some(path), Expr::Literal(literal)) = (path_of(&field.expr), &literal.expr) else { return Ok(()) };
    let field = path.to_string();
    let Some(kind) = kind_of(&path) else { return Ok(()) };
    let equals = sign == "==" || sign == "!=";
    let text = match literal {
        LiteralValue::String(text) => text.inner(),
        LiteralValue::Null if equals => return Ok(()),
        LiteralValue::Null => return unlike(field, kind, "nothing"),
        LiteralValue::Boolean(_) if kind != "truth" => return unlike(field, kind, "a truth value"),
        LiteralValue::Bytes(_) => return unlike(field, kind, "bytes"),
        LiteralValue::Double(_) if kind != "number" => return unlike(field, kind, "a fractional number"),
        LiteralValue::Int(_) | LiteralValue::UInt(_) if kind != "number" => {
            return unlike(field, kind, "a whole number");
        }
        LiteralValue::Boolean(_) | LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => {
            return Ok(());
        }
    };
    if kind == "time" {
        let (time, moment) = (format!("time({field})"), format!("time({text:?})"));
        let (first, second) = if turned { (moment, time) } else { (time, moment) };
        return Err(ConditionError::TimeAsText { field, instead: format!("{first} {sign} {second}") });
    }
    if kind != "text" {
        return unlike(field, kind, "a text");
    }
    if equals && (field == "level" || field == "maturity.level") && Level::ALL.iter().all(|one| one.as_str() != text) {
        return Err(ConditionError::UnknownLevel { text: text.to_owned() });
    }
    if equals && field == "event" && !Event::NAMES.contains(&text) {
        return Err(ConditionError::UnknownEvent { text: text.to_owned(), nearest: nearest(text, Event::NAMES) });
    }
    Ok(())
}

fn unlike(field: String, kind: &str, other: &'static str) -> Result<(), ConditionError> {
    let kind = if kind == "truth" { "truth value" } else { kind };
    Err(ConditionError::Unlike { field, kind: kind.to_owned(), other })
}
