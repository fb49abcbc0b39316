//! What an engine must not forget: what has been stopped stays stopped, whoever starts the process again.
//!
//! Positions, orders and ids come back from the venues, decisions from governance's log. What is left is what neither
//! of them knows: open breakers, what checks have latched or counted, wishes to be told apart by their content, and what
//! governance has not been told yet. A host takes it with [`crate::engine::ExecutionEngine::state`], keeps it as JSON
//! wherever it likes, and begins again with [`crate::engine::ExecutionEngine::resume`].
//!
//! Invariants: a state is read wholly or not at all, and without one that was read there is no engine. Every field is
//! there, none is unknown, and the first that is wrong is named.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::breaker::{Breakers, Open, Reach};
use crate::gate::Report;
use crate::positions::Lane;
use crate::reconcile::Orphan;

/// Which shape is written, and the only one that is read.
const VERSION: u32 = 1;

/// Why a state is not taken. Nothing is sent on it: there is no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not JSON, or no object.
    #[error("the engine's state is no JSON object: {problem}")]
    NotJson {
        /// What was found.
        problem: String,
    },
    /// Written in another shape.
    #[error("the engine's state has version {found}, and only {known} is read")]
    Version {
        /// What was found.
        found: u32,
        /// What can be read.
        known: u32,
    },
    /// A field is missing, unknown, or not what it has to be.
    #[error("{field} of the engine's state cannot be read: {problem}")]
    Field {
        /// Which, from the outermost inwards: `pre_trade.throttle.off`.
        field: String,
        /// What was found.
        problem: String,
    },
    /// A check has kept something, and stands in none of the engine's stages: what it has latched would be lost.
    #[error("{field} of the engine's state is of a check that this engine does not have")]
    NoSuchCheck {
        /// Which.
        field: String,
    },
}

impl StateError {
    /// Whether the same may go through later: never, before somebody has looked.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotJson { .. } | Self::Version { .. } | Self::Field { .. } | Self::NoSuchCheck { .. } => false,
        }
    }
}

/// What a stage has to find again, under a name that is its own among the stages of its list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// The stage's name.
    pub check: &'static str,
    /// Whatever it needs; an object.
    pub state: Value,
}

/// What an engine has to find again after a restart.
///
/// ```
/// use ephor_execution::state::{State, StateError};
/// let first = State::default();
/// let text = serde_json::to_string(&first).unwrap();
/// assert_eq!(State::from_json(&text).unwrap(), first);
/// let torn = State::from_json(&text.replace("\"breakers\":[]", "\"breakers\":[{\"reach\":\"all\"}]"));
/// assert!(matches!(torn, Err(StateError::Field { field, .. }) if field == "breakers[0].since"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    pub(crate) version: u32,
    /// How many of each venue's executions have been followed by what they ask for.
    pub(crate) judged: BTreeMap<Lane, u64>,
    pub(crate) breakers: Breakers,
    /// What governance has not been told yet, in order.
    pub(crate) pending: Vec<Report>,
    /// Fills of orders that nobody sent, and that nobody has looked at.
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) dedup: Vec<Stage>,
    pub(crate) pre_trade: Vec<Stage>,
    pub(crate) post_trade: Vec<Stage>,
}

/// What a stage has kept, as it is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Stage {
    check: String,
    state: Value,
}

impl From<Kept> for Stage {
    fn from(Kept { check, state }: Kept) -> Self {
        Self { check: check.to_owned(), state }
    }
}

impl Default for State {
    /// Of an engine that has done nothing.
    fn default() -> Self {
        Self {
            version: VERSION,
            judged: BTreeMap::new(),
            breakers: Breakers::default(),
            pending: Vec::new(),
            orphans: Vec::new(),
            dedup: Vec::new(),
            pre_trade: Vec::new(),
            post_trade: Vec::new(),
        }
    }
}

impl State {
    /// Reads what was written with `Serialize`.
    ///
    /// # Errors
    /// [`StateError`] on the first thing that is not as it was written.
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        let value = serde_json::from_str(text).map_err(|error| StateError::NotJson { problem: error.to_string() })?;
        let Value::Object(map) = value else {
            return Err(StateError::NotJson { problem: "not an object".to_owned() });
        };
        let mut fields = Fields { path: String::new(), map };
        let version = fields.take("version")?;
        if version != VERSION {
            return Err(StateError::Version { found: version, known: VERSION });
        }
        let state = Self {
            version,
            judged: fields.take("judged")?,
            breakers: breakers(fields.objects("breakers")?)?,
            pending: fields.each("pending")?,
            orphans: fields.each("orphans")?,
            dedup: stages(fields.objects("dedup")?)?,
            pre_trade: stages(fields.objects("pre_trade")?)?,
            post_trade: stages(fields.objects("post_trade")?)?,
        };
        fields.end()?;
        Ok(state)
    }
}

fn breakers(all: Vec<Fields>) -> Result<Breakers, StateError> {
    let mut breakers = Breakers::default();
    for mut fields in all {
        let reach: Reach = fields.take("reach")?;
        breakers
            .open(reach, Open { since: fields.take("since")?, by: fields.take("by")?, reason: fields.take("reason")? });
        fields.end()?;
    }
    Ok(breakers)
}

fn stages(all: Vec<Fields>) -> Result<Vec<Stage>, StateError> {
    let read = |mut fields: Fields| {
        let stage = Stage { check: fields.take("check")?, state: fields.take("state")? };
        fields.end().map(|()| stage)
    };
    all.into_iter().map(read).collect()
}

/// Gives each stage of a list what it kept: the first that is left under its name. One that kept nothing then, because
/// it is new, begins new.
pub(crate) fn give_back<'a, S: ?Sized + 'a>(
    list: &'static str,
    mut kept: Vec<Stage>,
    stages: impl Iterator<Item = &'a mut Box<S>>,
    name: impl Fn(&S) -> Option<Kept>,
    take_back: impl Fn(&mut S, Fields) -> Result<(), StateError>,
) -> Result<(), StateError> {
    for stage in stages {
        let Some(Kept { check, .. }) = name(stage) else { continue };
        let Some(place) = kept.iter().position(|kept| kept.check == check) else { continue };
        let path = format!("{list}.{check}");
        take_back(stage, Fields::of(path, kept.remove(place).state)?)?;
    }
    let left = kept.first().map(|left| StateError::NoSuchCheck { field: format!("{list}.{}", left.check) });
    left.map_or(Ok(()), Err)
}

/// The fields of an object, taken one by one: each has to be there, and none may be left.
#[derive(Debug)]
pub struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    fn of(path: String, value: Value) -> Result<Self, StateError> {
        let Value::Object(map) = value else {
            return Err(StateError::Field { field: path, problem: format!("{value} is no object") });
        };
        Ok(Self { path, map })
    }

    fn path(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    fn value(&mut self, field: &str) -> Result<Value, StateError> {
        let found = self.map.remove(field);
        found.ok_or_else(|| StateError::Field { field: self.path(field), problem: "it is missing".to_owned() })
    }

    /// Takes a field.
    ///
    /// # Errors
    /// [`StateError::Field`] where it is missing, or not what it has to be.
    pub fn take<T: DeserializeOwned>(&mut self, field: &str) -> Result<T, StateError> {
        let value = self.value(field)?;
        read(value, || self.path(field))
    }

    /// Takes a list, read one by one.
    ///
    /// # Errors
    /// [`StateError::Field`], by the place in the list.
    pub fn each<T: DeserializeOwned>(&mut self, field: &str) -> Result<Vec<T>, StateError> {
        let all: Vec<Value> = self.take(field)?;
        let path = self.path(field);
        all.into_iter().enumerate().map(|(place, value)| read(value, || format!("{path}[{place}]"))).collect()
    }

    fn objects(&mut self, field: &str) -> Result<Vec<Self>, StateError> {
        let all: Vec<Value> = self.take(field)?;
        let path = self.path(field);
        all.into_iter().enumerate().map(|(place, value)| Self::of(format!("{path}[{place}]"), value)).collect()
    }

    /// Says that this was all.
    ///
    /// # Errors
    /// [`StateError::Field`] for one that nobody has taken.
    pub fn end(self) -> Result<(), StateError> {
        let left = self.map.keys().next();
        left.map_or(Ok(()), |left| {
            Err(StateError::Field { field: self.path(left), problem: "it is not known".to_owned() })
        })
    }
}

fn read<T: DeserializeOwned>(value: Value, path: impl Fn() -> String) -> Result<T, StateError> {
    T::deserialize(value).map_err(|error| StateError::Field { field: path(), problem: error.to_string() })
}
