//! Where settings come from, and which source a value is from.
//!
//! Every source is read on its own first, over the defaults, so that whatever does not fit is the fault of
//! one source and is said of it; what fits alone fits together.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::error::{Kind, OneOf};
use figment::providers::Serialized;
use figment::value::Value;
use figment::{Figment, Provider};
use serde_json::Value as Json;

use super::checks::{self, Unfit};
use super::{Problem, Server, Settings, Tls, line_of, parse};

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "ephor.toml";
/// How the name of a variable that is a setting begins; `EPHOR_DATA` and others without `__` are none.
const PREFIX: &str = "EPHOR_";
/// What stands between the parts of a field in the name of a variable.
const BETWEEN: &str = "__";

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The settings file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, from 1, where it is known.
        line: Option<usize>,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: None } => write!(f, "settings {}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "settings {}: line {line}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A flag of a command that says what a setting says.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    name: &'static str,
    field: &'static str,
    value: Value,
}

impl Flag {
    /// A flag, `--name`, for a field, `section.name`.
    #[must_use]
    pub fn new(name: &'static str, field: &'static str, value: impl Into<Value>) -> Self {
        Self { name, field, value: value.into() }
    }
}

/// Why settings could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("read settings {} failed", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting is not what it should be.
    #[error("{origin}: {problem}")]
    Wrong {
        /// Who said it.
        origin: Origin,
        /// Where and what.
        problem: Problem,
    },
}

impl SettingsError {
    /// Never: a source has to be changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// A field with the value in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// `section.name`.
    pub field: String,
    /// As JSON; null where nothing is set.
    pub value: Json,
    /// Where it is from.
    pub origin: Origin,
}

/// What one source says.
struct Layer {
    origin: Origin,
    said: Value,
}

/// All sources that say something, the strongest last.
pub struct Sources {
    text: String,
    layers: Vec<Layer>,
}

impl Sources {
    /// Reads the file named, else `ephor.toml` where there is one, and the environment; flags are over both.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(named: Option<&Path>, flags: &[Flag]) -> Result<Self, SettingsError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let file = match std::fs::read_to_string(path) {
            Ok(text) => Some((path, text)),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
        };
        Self::of(file, std::env::vars_os(), flags)
    }

    /// The same from a text and variables at hand.
    pub(super) fn of(
        file: Option<(&Path, String)>,
        variables: impl Iterator<Item = (OsString, OsString)>,
        flags: &[Flag],
    ) -> Result<Self, SettingsError> {
        let mut sources = Self { text: String::new(), layers: Vec::new() };
        if let Some((path, text)) = file {
            let origin = Origin::File { path: path.to_owned(), line: None };
            let wrong = |problem| SettingsError::Wrong { origin: origin.clone(), problem };
            let _fits: Settings = parse(&text).map_err(wrong)?;
            let table: toml::Table = parse(&text).map_err(wrong)?;
            let said = Value::serialize(table).map_err(|error| wrong(said_of(&error)))?;
            sources.text = text;
            sources.layers.push(Layer { origin, said });
        }
        let mut variables: Vec<_> = variables.filter_map(variable).collect();
        variables.sort();
        for (name, value) in variables {
            let origin = Origin::Variable(name.clone());
            let (field, value) = set_by(&name, value)
                .map_err(|problem| SettingsError::Wrong { origin: origin.clone(), problem: alone(problem) })?;
            sources.add(origin, &field, value)?;
        }
        for flag in flags {
            sources.add(Origin::Flag(flag.name), flag.field, flag.value.clone())?;
        }
        Ok(sources)
    }

    /// Takes one more value, if it fits alone.
    fn add(&mut self, origin: Origin, field: &str, value: Value) -> Result<(), SettingsError> {
        let said = Figment::from(Serialized::default(field, value));
        let wrong = |error| SettingsError::Wrong { origin: origin.clone(), problem: said_of(&error) };
        let _fits: Settings = said.extract().map_err(wrong)?;
        let said: Value = said.extract().map_err(wrong)?;
        self.layers.push(Layer { origin, said });
        Ok(())
    }

    /// The settings in force.
    ///
    /// # Errors
    /// [`SettingsError::Wrong`].
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let merged = self.layers.iter().fold(Figment::new(), |merged, layer| merged.merge(Said(&layer.said)));
        let settings: Settings = merged
            .extract()
            .map_err(|error| SettingsError::Wrong { origin: Origin::Default, problem: said_of(&error) })?;
        checks::check(&settings).map_err(|Unfit { field, problem }| {
            let (origin, line) = match self.blamed(field) {
                Origin::File { path, line } => (Origin::File { path, line: None }, line),
                other @ (Origin::Default | Origin::Variable(_) | Origin::Flag(_)) => (other, None),
            };
            SettingsError::Wrong { origin, problem: Problem { line, field: Some(field.to_owned()), problem } }
        })?;
        Ok(settings)
    }

    /// Every setting in force with its origin, in order.
    ///
    /// # Errors
    /// As [`Sources::settings`].
    pub fn effective(&self) -> Result<Vec<Effective>, SettingsError> {
        let fields = leaves(&self.settings()?);
        let origin = |field: &str| self.origin(field).unwrap_or(Origin::Default);
        Ok(fields.into_iter().map(|(field, value)| Effective { origin: origin(&field), field, value }).collect())
    }

    /// The strongest source that says something of a field.
    fn origin(&self, field: &str) -> Option<Origin> {
        let layer = self.layers.iter().rev().find(|layer| layer.said.find_ref(field).is_some())?;
        Some(match &layer.origin {
            Origin::File { path, line: _ } => Origin::File { path: path.clone(), line: line_of(&self.text, field) },
            other @ (Origin::Default | Origin::Variable(_) | Origin::Flag(_)) => other.clone(),
        })
    }

    /// Who answers for a field: for one that is missing, who began its section.
    fn blamed(&self, field: &str) -> Origin {
        let mut field = Some(field);
        std::iter::from_fn(|| {
            let here = field?;
            field = here.rsplit_once('.').map(|(section, _)| section);
            Some(self.origin(here))
        })
        .find_map(|origin| origin)
        .unwrap_or(Origin::Default)
    }
}

/// A layer as the merging library takes it.
struct Said<'a>(&'a Value);

impl Provider for Said<'_> {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::default()
    }

    fn data(&self) -> Result<figment::value::Map<figment::Profile, figment::value::Dict>, figment::Error> {
        Serialized::defaults(self.0).data()
    }
}

/// Variables that begin like ours, those of other programs left out. A name that is not text is nobody's setting.
fn variable((name, value): (OsString, OsString)) -> Option<(String, OsString)> {
    let name = name.into_string().ok()?;
    name.starts_with(PREFIX).then_some(())?;
    (name.contains(BETWEEN) || meant_by(&name).is_some()).then_some((name, value))
}

/// The variable that was probably meant by one that says nothing: `EPHOR_SERVER_BIND`.
fn meant_by(name: &str) -> Option<String> {
    let said = name.strip_prefix(PREFIX)?.to_lowercase();
    let (field, _) = leaves(&complete()).into_iter().find(|(field, _)| field.replace('.', "_") == said)?;
    Some(format!("{PREFIX}{}", field.replace('.', BETWEEN).to_uppercase()))
}

/// The field that a variable sets, and to what.
fn set_by(name: &str, value: OsString) -> Result<(String, Value), String> {
    if let Some(meant) = meant_by(name).filter(|meant| meant != name) {
        return Err(format!("sets nothing; {meant} does"));
    }
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    if path.chars().any(char::is_lowercase) {
        return Err("sets nothing; settings in the environment are in upper case".to_owned());
    }
    if path.split(BETWEEN).any(str::is_empty) {
        return Err("sets nothing; a setting is EPHOR_SECTION__FIELD".to_owned());
    }
    let value = value.into_string().map_err(|value| format!("must be UTF-8, found {}", value.display()))?;
    let Ok(value) = value.parse::<Value>();
    Ok((path.replace(BETWEEN, ".").to_lowercase(), value))
}

/// Settings with nothing left out, so that every field is there.
fn complete() -> Settings {
    Settings { server: Server { tls: Some(Tls::default()), ..Server::default() }, ..Settings::default() }
}

/// Every field and its value; a list is one value.
pub(super) fn leaves(settings: &Settings) -> Vec<(String, Json)> {
    fn walk(path: String, value: Json, found: &mut Vec<(String, Json)>) {
        let Json::Object(fields) = value else {
            found.push((path, value));
            return;
        };
        for (name, value) in fields {
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            walk(path, value, found);
        }
    }
    let mut found = Vec::new();
    walk(String::new(), serde_json::to_value(settings).unwrap_or_default(), &mut found);
    found
}

fn alone(problem: String) -> Problem {
    Problem { line: None, field: None, problem }
}

fn said_of(error: &figment::Error) -> Problem {
    let field = (!error.path.is_empty()).then(|| error.path.join("."));
    let problem = if let Kind::UnknownField(found, known) = &error.kind {
        format!("unknown field `{found}`, expected {}", OneOf(known))
    } else if let Kind::UnknownVariant(found, known) = &error.kind {
        format!("unknown variant `{found}`, expected {}", OneOf(known))
    } else {
        error.kind.to_string()
    };
    Problem { line: None, field, problem }
}
