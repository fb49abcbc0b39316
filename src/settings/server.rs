//! `[server]`: where the service listens, with what certificate, and how much it takes at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the service listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port. Elsewhere than on loopback it needs TLS, or `allow_plaintext`.
    pub bind: SocketAddr,
    /// Threads that serve requests; 0 is one for each core.
    pub workers: usize,
    /// Threads that strategies are spread over; one gives one order of commits.
    pub shards: usize,
    /// How long the governor may take for an answer, milliseconds; then it is BLOCK.
    pub answer_timeout_ms: u64,
    /// How long a shutdown may take, seconds.
    pub shutdown_seconds: u64,
    /// Listen elsewhere than on loopback without TLS, where something in front of the service has it.
    pub allow_plaintext: bool,
    /// Certificate and key; `None`: no TLS.
    pub tls: Option<Tls>,
    /// How much is taken at once.
    pub limits: Limits,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_750)),
            workers: 0,
            shards: 1,
            answer_timeout_ms: 1_000,
            shutdown_seconds: 30,
            allow_plaintext: false,
            tls: None,
            limits: Limits::default(),
        }
    }
}

/// Files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The service's certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs the certificates that clients may show instead of an API key; `None`: nobody.
    pub client_ca: Option<PathBuf>,
}

/// How much the service takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Of one request's body that is not a stream, kibibytes.
    pub body_kib: usize,
    /// Connections at once.
    pub connections: usize,
    /// Requests that may be with the governor at once; beyond that a request is refused.
    pub in_flight: usize,
    /// How long the head of a request may take, milliseconds.
    pub head_timeout_ms: u64,
    /// How long a request may take, milliseconds.
    pub request_timeout_ms: u64,
    /// Requests of one key, a second, in the long run.
    pub requests_per_second: u32,
    /// Requests of one key at once, beyond the rate.
    pub burst: u32,
    /// Event streams at once.
    pub streams: usize,
    /// A reader of an event stream that takes nothing for so long is cut off, seconds.
    pub stream_lag_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_kib: 1_024,
            connections: 1_024,
            in_flight: 1_024,
            head_timeout_ms: 5_000,
            request_timeout_ms: 10_000,
            requests_per_second: 5_000,
            burst: 1_000,
            streams: 64,
            stream_lag_seconds: 10,
        }
    }
}
