//! The settings: how the program runs. Thresholds are not settings; they stand in the policy, which is
//! recorded when it is adopted. Secrets are not settings either.
//!
//! One TOML file, then the environment (`EPHOR_SECTION__FIELD`), then flags; the later wins, field by
//! field. A wrong key or value stops the program before it has touched anything, and the error names the
//! file's line, the variable or the flag: a setting that is silently ignored is worse than none.

mod audit;
mod bus;
mod canary;
mod checks;
mod mqtt;
mod nats;
mod paper;
mod plaintext;
mod redis;
mod renewed;
mod rules;
mod server;
mod sources;
mod storage;
mod telemetry;
#[cfg(test)]
mod tests;
mod text;
mod tls;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditDatabase, AuditTls};
pub use bus::{Bus, Jsonl, Reading};
pub use canary::{Canary, Feed, Http, Tcp};
pub use mqtt::Mqtt;
pub use nats::{
    Discard, Nats, NatsAuth, NatsDead, NatsEvents, NatsInput, NatsOrders, NatsTls, Retention, StreamLimits,
};
pub use paper::{Paper, PaperApprove, PaperInstrument, PaperRisk, PaperSize, PaperStrategy, PaperThrottle, PaperVenue};
pub use plaintext::is_this_machine;
pub use redis::{Redis, is_pattern};
pub use renewed::Renewed;
pub use rules::{Pattern, RULE_GROUP, Rule, Sign};
pub use server::{Limits, Server, Tls};
pub use sources::{Effective, Flag, Origin, SettingsError, Sources};
pub use storage::{Log, LogBackend, LogDurability, Snapshots};
pub use telemetry::{LogFormat, LogLevel, Telemetry};
pub use text::{Problem, line_of, parse};
pub use tls::TlsError;

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether anything is governed.
    pub governance: Governance,
    /// How the log is kept.
    pub log: Log,
    /// How states are kept beside it.
    pub snapshots: Snapshots,
    /// How the service listens.
    pub server: Server,
    /// What the canary watches.
    pub canary: Canary,
    /// What comes in over message buses.
    pub bus: Bus,
    /// Where else the audit trail is kept.
    pub audit: Audit,
    /// What the service tells about itself.
    pub telemetry: Telemetry,
    /// What is traded on paper.
    pub paper: Paper,
}

/// Whether the service governs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Governance {
    /// `false`, the default: every order is let through, nothing is recorded and no log is opened.
    pub enabled: bool,
}

impl Settings {
    /// Reads the file named, else `ephor.toml` where there is one; the environment over it, then the flags.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load(named: Option<&Path>, flags: &[Flag]) -> Result<Self, SettingsError> {
        Sources::read(named, flags)?.settings()
    }
}
