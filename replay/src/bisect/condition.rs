//! A condition: parsed, and every name in it looked up, before anything is read.
//!
//! What would be silently false for ever (a field that does not exist, a level that does not exist) is refused
//! here, with the nearest names.

use std::collections::BTreeSet;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use cel::{ParseErrors, Program};
use ephor_events::Seq;
use ephor_governance::event::Event;
use ephor_governance::maturity::Level;

use super::ask::{FUNCTIONS, is_function};
use super::compared;
use super::variables::check;
use crate::diff::{Path, Step};
use crate::nearest;

/// Why a condition cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It is no expression.
    #[error("the condition {text:?} does not parse at character {column}: {problem}; {EXAMPLE}")]
    Syntax {
        /// The condition.
        text: String,
        /// Where, from 1; one past its end where something is missing there.
        column: usize,
        /// What the parser said.
        problem: String,
    },
    /// A strategy's state has no such field.
    #[error("there is no {name} in a strategy's state; {}", offered(nearest))]
    UnknownField {
        /// What was written.
        name: String,
        /// Known names close to it.
        nearest: Vec<String>,
    },
    /// The level is compared with something that no level is called.
    #[error("no level is called {text:?}: the levels are {}", levels())]
    UnknownLevel {
        /// What was written.
        text: String,
    },
    /// The event is compared with something that no event is called.
    #[error("no event is called {text:?}; {}", events(nearest))]
    UnknownEvent {
        /// What was written.
        text: String,
        /// Known names close to it.
        nearest: Vec<String>,
    },
    /// A time is compared with a text, and texts are not ordered as times are.
    #[error("{field} is a time: compare it as {instead}")]
    TimeAsText {
        /// The field.
        field: String,
        /// What says it.
        instead: String,
    },
    /// A field is compared with something of another kind.
    #[error("{field} is a {kind}, and a {kind} cannot be compared with {other}")]
    Unlike {
        /// The field.
        field: String,
        /// What it is.
        kind: String,
        /// What it is compared with.
        other: &'static str,
    },
    /// The language has no such function.
    #[error("there is no function {name}; {}", functions(nearest))]
    UnknownFunction {
        /// What was written.
        name: String,
        /// Known names close to it.
        nearest: Vec<String>,
    },
    /// A macro of the language is written otherwise.
    #[error("{name} is written like {}", written(name))]
    Shape {
        /// Which one.
        name: String,
    },
    /// It reads nothing, so that it holds always or never.
    #[error("the condition {text:?} reads nothing of the state; {EXAMPLE}")]
    ReadsNothing {
        /// The condition.
        text: String,
    },
    /// It gives something else than true or false.
    #[error("the condition must be true or false, but at seq {seq} it gives {found}: compare it with something")]
    NoTruth {
        /// After which event.
        seq: Seq,
        /// What it gives.
        found: String,
    },
    /// It cannot be evaluated.
    #[error("the condition cannot be evaluated at seq {seq}: {problem}")]
    Evaluate {
        /// After which event.
        seq: Seq,
        /// What was wrong.
        problem: String,
    },
}

const EXAMPLE: &str = "a condition is written like 'health.score < 0.5 && level == \"L3_constrained\"'";

fn offered(nearest: &[String]) -> String {
    match nearest {
        [] => "`ephor bisect --vars` lists what there is".to_owned(),
        near => format!("did you mean {}? `ephor bisect --vars` lists all", near.join(" or ")),
    }
}

fn events(nearest: &[String]) -> String {
    match nearest {
        [] => format!("the events are {}", Event::NAMES.join(", ")),
        near => format!("did you mean {}?", near.join(" or ")),
    }
}

fn functions(nearest: &[String]) -> String {
    let near = if nearest.is_empty() { String::new() } else { format!("did you mean {}? ", nearest.join(" or ")) };
    format!("{near}the functions are {}", FUNCTIONS.join(", "))
}

/// What the language calls macros: they are no functions, and take the name of an entry.
const MACROS: [&str; 6] =
    [operators::HAS, operators::ALL, operators::EXISTS, operators::EXISTS_ONE, operators::MAP, operators::FILTER];

/// A macro as it should be.
fn written(name: &str) -> String {
    if name == operators::HAS { "has(pauses.drift)".to_owned() } else { format!("outcomes.{name}(o, o.pnl < 0.0)") }
}

fn levels() -> String {
    Level::ALL.map(Level::as_str).join(", ")
}

/// A condition on a strategy's state.
pub struct Condition {
    text: String,
    program: Program,
    fields: Vec<Path>,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl Condition {
    /// Reads a condition.
    ///
    /// ```
    /// use ephor_replay::bisect::Condition;
    /// assert!(Condition::parse("health.score < 0.5 && level == 'L3_constrained'").is_ok());
    /// let refused = Condition::parse("helth.score < 0.5").unwrap_err();
    /// assert!(refused.to_string().contains("did you mean health.score"));
    /// ```
    ///
    /// # Errors
    /// [`ConditionError`]: what does not parse, names that do not exist, and comparisons that never hold.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let syntax = |column, problem: String| ConditionError::Syntax { text: text.to_owned(), column, problem };
        if text.trim().is_empty() {
            return Err(syntax(1, "it is empty".to_owned()));
        }
        let program = Program::compile(text).map_err(|errors| {
            let (column, problem) = first_of(text, &errors);
            syntax(column, problem)
        })?;
        let mut names = Names { fields: BTreeSet::new(), bound: Vec::new(), problem: None };
        names.walk(program.expression());
        if let Some(problem) = names.problem {
            return Err(problem);
        }
        let fields: Vec<Path> = names.fields.into_iter().collect();
        for field in &fields {
            check(field).map_err(|nearest| ConditionError::UnknownField { name: field.to_string(), nearest })?;
        }
        if fields.is_empty() {
            return Err(ConditionError::ReadsNothing { text: text.to_owned() });
        }
        Ok(Self { text: text.to_owned(), program, fields })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields it reads, in alphabetical order.
    #[must_use]
    pub fn fields(&self) -> &[Path] {
        &self.fields
    }

    pub(super) const fn program(&self) -> &Program {
        &self.program
    }
}

/// The first thing that the parser did not like, and where, counted in characters from 1.
fn first_of(text: &str, errors: &ParseErrors) -> (usize, String) {
    let Some(error) = errors.errors.first() else { return (1, "it is no expression".to_owned()) };
    let (line, column) = error.pos;
    let before = usize::try_from(line - 1).unwrap_or_default();
    let before: usize = text.lines().take(before).map(|line| line.chars().count() + 1).sum();
    let column = before + usize::try_from(column).unwrap_or_default().max(1);
    let said = error.msg.trim().trim_start_matches("Syntax error:").trim();
    // The parser lists every token that could stand there; that helps nobody.
    let said =
        said.split(" expecting {").next().unwrap_or(said).replace("'<EOF>'", "the end").replace("<EOF>", "the end");
    let around = text.chars().nth(column.saturating_sub(1));
    let assigns = around == Some('=') || said.contains("'='");
    let hint = if assigns { " (compare with ==)" } else { "" };
    (column, format!("{said}{hint}"))
}

/// The names of an expression.
struct Names {
    fields: BTreeSet<Path>,
    /// Names that a macro such as `exists` gives to the entries of a list.
    bound: Vec<String>,
    /// The first thing that can never be.
    problem: Option<ConditionError>,
}

impl Names {
    fn walk(&mut self, expr: &IdedExpr) {
        if let Some(path) = path_of(&expr.expr) {
            let own =
                |step: &Step| matches!(step, Step::Field(name) if self.bound.contains(name) || name.starts_with('@'));
            if path.0.first().is_none_or(|first| !own(first)) {
                self.fields.insert(path);
            }
            return;
        }
        match &expr.expr {
            Expr::Call(call) => {
                if let Err(problem) = called(&call.func_name).and_then(|()| compared::check(call)) {
                    self.problem.get_or_insert(problem);
                }
                call.target.iter().for_each(|target| self.walk(target));
                call.args.iter().for_each(|argument| self.walk(argument));
            }
            Expr::Comprehension(macro_) => {
                self.walk(&macro_.iter_range);
                self.walk(&macro_.accu_init);
                let outside = self.bound.len();
                self.bound.extend([macro_.iter_var.clone(), macro_.accu_var.clone()]);
                self.bound.extend(macro_.iter_var2.clone());
                self.walk(&macro_.loop_cond);
                self.walk(&macro_.loop_step);
                self.walk(&macro_.result);
                self.bound.truncate(outside);
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(object) => object.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Select(select) => self.walk(&select.operand),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }

    fn entry(&mut self, entry: &cel::common::ast::EntryExpr) {
        match entry {
            cel::common::ast::EntryExpr::StructField(field) => self.walk(&field.value),
            cel::common::ast::EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key);
                self.walk(&entry.value);
            }
        }
    }
}

/// Whether the language knows a call. Operators are calls too, by names that are no words.
fn called(name: &str) -> Result<(), ConditionError> {
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_word || is_function(name) {
        return Ok(());
    }
    let name = name.to_owned();
    if MACROS.contains(&name.as_str()) {
        return Err(ConditionError::Shape { name });
    }
    let nearest = nearest(&name, FUNCTIONS);
    Err(ConditionError::UnknownFunction { name, nearest })
}

/// The field that an expression names: `a.b`, `a["b"]`, `has(a.b)`.
pub(super) fn path_of(expr: &Expr) -> Option<Path> {
    match expr {
        Expr::Ident(name) => Some(Path(vec![Step::Field(name.clone())])),
        Expr::Select(select) => Some(path_of(&select.operand.expr)?.with(Step::Field(select.field.clone()))),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [operand, index] = call.args.as_slice() else { return None };
            let Expr::Literal(LiteralValue::String(name)) = &index.expr else { return None };
            Some(path_of(&operand.expr)?.with(Step::Field(name.inner().to_owned())))
        }
        Expr::Call(_)
        | Expr::Unspecified
        | Expr::Comprehension(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Struct(_) => None,
    }
}
