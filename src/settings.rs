//! The settings file: how the log is kept, and the states beside it. Thresholds are not settings; they stand in the policy, which
//! is recorded when it is adopted.
//!
//! A wrong key stops the program before it has touched anything, and the error names the key and its
//! line: a setting that is silently ignored is worse than none.

use std::path::{Path, PathBuf};

use ephor_events::{Backend, Durability};
use ephor_snapshots::Spacing;
use serde::Deserialize;

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "ephor.toml";

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How the log is kept.
    pub log: Log,
    /// How states are kept beside it.
    pub snapshots: Snapshots,
    /// stub
    pub governance: Governance,
    /// stub
    pub server: Server,
    /// stub
    pub telemetry: Telemetry,
}

/// How states are kept beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// Events of a stream between two keyframes of it.
    pub every: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { every: Spacing::default().every() }
    }
}

impl Snapshots {
    /// The spacing that is asked for.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        Spacing::new(self.every).unwrap_or_default()
    }
}

/// How the log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Where the bytes are; `None` leaves it to what the directory holds, chunks where it is new.
    pub backend: Option<LogBackend>,
    /// What a commit must have reached before its answer leaves.
    pub durability: LogDurability,
    /// A chunk that would grow beyond this is sealed, mebibytes.
    pub chunk_mib: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { backend: None, durability: LogDurability::Fsync, chunk_mib: 256 }
    }
}

/// `log.backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogBackend {
    /// Append-only files.
    Chunks,
    /// Wholly inside sled.
    Sled,
}

impl From<LogBackend> for Backend {
    fn from(backend: LogBackend) -> Self {
        match backend {
            LogBackend::Chunks => Self::Chunks,
            LogBackend::Sled => Self::Sled,
        }
    }
}

/// `log.durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogDurability {
    /// On the disk.
    Fsync,
    /// With the operating system.
    Written,
}

impl From<LogDurability> for Durability {
    fn from(durability: LogDurability) -> Self {
        match durability {
            LogDurability::Fsync => Self::Fsync,
            LogDurability::Written => Self::Written,
        }
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
    /// The file is not what it should be.
    #[error("settings {}: {problem}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        problem: Problem,
    },
}

impl SettingsError {
    /// Never: the file has to be changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// What is wrong with a TOML text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The field, `section.name`, where it is known.
    pub field: Option<String>,
    /// What was found and what would do.
    pub problem: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Reads a TOML text; a problem names field and line.
///
/// # Errors
/// [`Problem`].
pub fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
        let field = line.and_then(|line| field_at(text, line));
        Problem { line, field, problem: error.message().trim().replace('\n', ", ") }
    })
}

/// The field that is being set on a line (or began above it), with its section.
fn field_at(text: &str, line: usize) -> Option<String> {
    let above: Vec<&str> = text.lines().take(line).collect();
    let section =
        |row: &&str| row.trim_start().starts_with('[') && !row.contains('=') && !row.trim_end().ends_with(',');
    let named = |row: &str| row.trim().trim_matches(['[', ']']).trim().to_owned();
    let last = above.last()?;
    if section(last) {
        return Some(named(last));
    }
    let (index, key) = above.iter().enumerate().rev().find_map(|(index, row)| {
        let (key, _) = row.split_once('=')?;
        Some((index, key.trim().to_owned()))
    })?;
    let heading = above.iter().take(index).rev().find(|row| section(row));
    Some(heading.map_or_else(|| key.clone(), |heading| format!("{}.{key}", named(heading))))
}

/// The line on which a field, `section.name`, is set.
#[must_use]
pub fn line_of(text: &str, field: &str) -> Option<usize> {
    let lines = 1..=text.lines().count();
    lines.into_iter().find(|line| {
        let sets = text.lines().nth(line - 1).is_some_and(|row| row.contains('='));
        sets && field_at(text, *line).is_some_and(|found| found == field)
    })
}

impl Settings {
    /// Reads the file named, else `ephor.toml` where there is one, else takes the defaults.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load(named: Option<&Path>) -> Result<Self, SettingsError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::of(&text).map_err(|problem| SettingsError::Wrong { path: path.to_owned(), problem }),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(SettingsError::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn of(text: &str) -> Result<Self, Problem> {
        let settings: Self = parse(text)?;
        if !(1..=65_536).contains(&settings.log.chunk_mib) {
            return Err(Problem {
                line: line_of(text, "log.chunk_mib"),
                field: Some("log.chunk_mib".to_owned()),
                problem: format!("must be from 1 to 65536, found {}", settings.log.chunk_mib),
            });
        }
        let every = settings.snapshots.every;
        if Spacing::new(every).is_none() {
            let (min, max) = (Spacing::EVERY_MIN, Spacing::EVERY_MAX);
            return Err(Problem {
                line: line_of(text, "snapshots.every"),
                field: Some("snapshots.every".to_owned()),
                problem: format!("must be from {min} to {max} events, found {every}"),
            });
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str) -> String {
        Settings::of(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_said_keeps_its_default() {
        let settings = Settings::of("[log]\ndurability = \"written\"\n").unwrap();
        assert_eq!(settings.log.durability, LogDurability::Written);
        assert_eq!(settings.log.chunk_mib, 256);
        assert_eq!(Settings::of("").unwrap(), Settings::default());
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_line() {
        let unknown = refused("# mine\n[log]\nbackends = \"sled\"\n");
        assert!(unknown.starts_with("line 3: log.backends: unknown field `backends`"), "{unknown}");
        let variant = refused("[log]\nbackend = \"leveldb\"\n");
        assert!(variant.starts_with("line 2: log.backend: unknown variant `leveldb`"), "{variant}");
        let kind = refused("[log]\n\nchunk_mib = \"many\"\n");
        assert!(kind.starts_with("line 3: log.chunk_mib: invalid type"), "{kind}");
        assert_eq!(refused("[log]\nchunk_mib = 0\n"), "line 2: log.chunk_mib: must be from 1 to 65536, found 0");
        let every = refused("[snapshots]\nevery = 0\n");
        assert_eq!(every, "line 2: snapshots.every: must be from 16 to 16000 events, found 0");
        let section = refused("[logs]\nchunk_mib = 1\n");
        assert!(section.starts_with("line 1: logs: unknown field `logs`"), "{section}");
    }
}

// STUB-BEGIN
/// stub
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// s
    pub bind: Option<std::net::SocketAddr>,
    /// s
    pub enabled: Option<bool>,
}
/// s
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// s
    pub certificate: PathBuf,
    /// s
    pub key: PathBuf,
    /// s
    pub client_ca: Option<PathBuf>,
}
impl Default for Tls {
    fn default() -> Self {
        Self { certificate: PathBuf::new(), key: PathBuf::new(), client_ca: None }
    }
}
/// s
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// s
    pub body_kib: u64,
    /// s
    pub connections: usize,
    /// s
    pub in_flight: usize,
    /// s
    pub head_timeout_ms: u64,
    /// s
    pub request_timeout_ms: u64,
    /// s
    pub requests_per_second: u32,
    /// s
    pub burst: u32,
    /// s
    pub streams: usize,
    /// s
    pub stream_lag_seconds: u64,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            body_kib: 1024,
            connections: 1024,
            in_flight: 1024,
            head_timeout_ms: 5000,
            request_timeout_ms: 10000,
            requests_per_second: 1_000_000,
            burst: 1_000_000,
            streams: 64,
            stream_lag_seconds: 10,
        }
    }
}
/// s
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Server {
    /// s
    pub bind: std::net::SocketAddr,
    /// s
    pub workers: usize,
    /// s
    pub shards: usize,
    /// s
    pub answer_timeout_ms: u64,
    /// s
    pub shutdown_seconds: u64,
    /// s
    pub allow_plaintext: bool,
    /// s
    pub tls: Option<Tls>,
    /// s
    pub limits: Limits,
}
impl Default for Server {
    fn default() -> Self {
        Self {
            bind: ([127, 0, 0, 1], 8750).into(),
            workers: 0,
            shards: 1,
            answer_timeout_ms: 1000,
            shutdown_seconds: 30,
            allow_plaintext: false,
            tls: None,
            limits: Limits::default(),
        }
    }
}
/// s
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Default)]
#[serde(default)]
pub struct Governance {
    /// s
    pub enabled: bool,
}
/// s
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// s
    pub metrics_strategies_max: usize,
}
impl Default for Telemetry {
    fn default() -> Self {
        Self { metrics_strategies_max: 1000 }
    }
}
impl Settings {
    /// s
    /// # Errors
    /// s
    pub fn load_with(named: Option<&Path>, o: &Overrides) -> Result<Self, SettingsError> {
        let mut s = Self::load(named)?;
        if let Some(b) = o.bind {
            s.server.bind = b;
        }
        if let Some(e) = o.enabled {
            s.governance.enabled = e;
        }
        Ok(s)
    }
}
// STUB-END
