//! `[bus]`: what comes in over message buses and how it is read. Credentials stand in files of their own.

use std::path::PathBuf;

use ephor_governance::fill::Netting;
use ephor_governance::ids::StrategyId;
use serde::{Deserialize, Serialize};

use super::{Mqtt, Nats, Redis, Rule};
use crate::formats::Format;

/// Connections to message buses, a list for each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// Files of lines that grow.
    pub jsonl: Vec<Jsonl>,
    /// MQTT brokers.
    pub mqtt: Vec<Mqtt>,
    /// NATS servers with JetStream.
    pub nats: Vec<Nats>,
    /// Streams of Redis servers.
    pub redis: Vec<Redis>,
}

/// A file of lines that somebody else appends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jsonl {
    /// What people call it; `bus:NAME` as a component.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// How its lines are read.
    #[serde(default)]
    pub reading: Reading,
}

/// How messages are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reading {
    /// What they are written in.
    pub format: Format,
    /// The strategy that all of them are of.
    pub strategy: Option<StrategyId>,
    /// How each is tied to a strategy, in order: the first that matches says whose it is.
    pub rules: Vec<Rule>,
    /// How executions are matched into round trips, where a source reports nothing else.
    pub netting: Netting,
    /// How often a message that cannot be taken is tried before it is put apart.
    pub attempts_max: u32,
    /// Messages under way at once.
    pub pending_max: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            format: Format::default(),
            strategy: None,
            rules: Vec::new(),
            netting: Netting::default(),
            attempts_max: 3,
            pending_max: 512,
        }
    }
}
