//! `[telemetry]`: what the service tells about itself, and how.

use serde::{Deserialize, Serialize};

/// Log lines, traces and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Which log lines are written: these and graver ones.
    pub log_level: LogLevel,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Where traces go by OTLP over HTTP; `None`: nowhere.
    pub otlp_endpoint: Option<String>,
    /// Strategies with metrics of their own; those beyond share one name.
    pub metrics_strategies_max: usize,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_level: LogLevel::Info,
            log_format: LogFormat::Pretty,
            otlp_endpoint: None,
            metrics_strategies_max: 1_000,
        }
    }
}

/// `telemetry.log_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What is broken.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens.
    Info,
    /// Every request.
    Debug,
    /// Everything.
    Trace,
}

/// `telemetry.log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One object a line, for programs.
    Json,
}
