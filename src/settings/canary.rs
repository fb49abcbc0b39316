//! `[canary]`: what is checked, beside what is always checked. How often, and what follows from a
//! failure, stands in the policy.

use serde::{Deserialize, Serialize};

/// What the canary watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Canary {
    /// How long one check may take, milliseconds; beyond it has failed.
    pub check_timeout_ms: u64,
    /// Free space that the log's file system must have, mebibytes.
    pub disk_free_mib_min: u64,
    /// How far the wall clock may jump between two rounds, or stand from a bus server's, milliseconds.
    pub clock_offset_ms_max: u64,
    /// Sources that must not fall silent.
    pub feeds: Vec<Feed>,
    /// Ports that must take a connection.
    pub tcp: Vec<Tcp>,
    /// End points that must answer.
    pub http: Vec<Http>,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            check_timeout_ms: 2_000,
            disk_free_mib_min: 512,
            clock_offset_ms_max: 500,
            feeds: Vec::new(),
            tcp: Vec::new(),
            http: Vec::new(),
        }
    }
}

/// A source of events, `feed:NAME` as a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// As the source names itself.
    pub name: String,
    /// How old its newest event may be, seconds.
    pub age_seconds_max: u64,
}

/// A port, `tcp:NAME` as a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// What people call it.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
}

/// An end point, `http:NAME` as a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// What people call it.
    pub name: String,
    /// Where it is asked, with GET; no redirection is followed.
    pub url: String,
    /// The status it must answer.
    #[serde(default = "ok")]
    pub status: u16,
}

const fn ok() -> u16 {
    200
}
