//! What the service counts, as Prometheus reads it.
//!
//! Cardinality is bounded: a strategy beyond the first `telemetry.metrics_strategies_max` is counted under
//! `_other`, a route is the pattern it was registered with, and everything else is a word of a closed list.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use ephor_actors::{Failure, Recorded};
use ephor_governance::ids::StrategyId;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};

/// The name that stands for strategies beyond the bound.
pub const OTHER: &str = "_other";

/// Counters and histograms of one service.
pub struct Figures {
    registry: Registry,
    decisions: IntCounterVec,
    blocks: IntCounterVec,
    gate: Histogram,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    /// Event streams that are open.
    pub streams: IntGauge,
    names: RwLock<HashSet<StrategyId>>,
    strategies_max: AtomicUsize,
}

impl Figures {
    /// # Errors
    /// A metric of a name that cannot be.
    pub fn new(strategies_max: usize) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let decisions = IntCounterVec::new(
            Opts::new("ephor_decisions_total", "Decisions recorded, by strategy and action."),
            &["strategy", "action"],
        )?;
        let blocks = IntCounterVec::new(
            Opts::new("ephor_blocks_total", "Orders turned away, by the reason that decided."),
            &["reason"],
        )?;
        // 50 microseconds to 1.6 seconds.
        let buckets = exponential_buckets(50e-6, 2.0, 16)?;
        let gate = Histogram::with_opts(
            HistogramOpts::new("ephor_gate_latency_seconds", "From an order's arrival to its durable decision.")
                .buckets(buckets.clone()),
        )?;
        let requests = IntCounterVec::new(
            Opts::new("ephor_http_requests_total", "HTTP requests answered, by route and status."),
            &["route", "status"],
        )?;
        let request_seconds = HistogramVec::new(
            HistogramOpts::new("ephor_http_request_seconds", "From a request's head to its answer's head, by route.")
                .buckets(buckets),
            &["route"],
        )?;
        let streams = IntGauge::new("ephor_event_streams", "Event streams that are open.")?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(blocks.clone()))?;
        registry.register(Box::new(gate.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(request_seconds.clone()))?;
        registry.register(Box::new(streams.clone()))?;
        let names = RwLock::default();
        Ok(Self {
            registry,
            decisions,
            blocks,
            gate,
            requests,
            request_seconds,
            streams,
            names,
            strategies_max: strategies_max.into(),
        })
    }

    /// Gives a name of its own to this many strategies; those that have one keep it.
    pub fn bound(&self, strategies_max: usize) {
        self.strategies_max.store(strategies_max, Ordering::Relaxed);
    }

    /// How many strategies may have a name of their own.
    #[must_use]
    pub fn strategies_max(&self) -> usize {
        self.strategies_max.load(Ordering::Relaxed)
    }

    /// Counts what one order came to.
    pub fn decided(&self, strategy: &StrategyId, recorded: &Recorded, took: Duration) {
        let Some(decision) = recorded.decision().filter(|_| !recorded.repeat) else { return };
        self.gate.observe(took.as_secs_f64());
        self.decisions.with_label_values(&[self.label(strategy), decision.action.as_str()]).inc();
        if decision.action.rejects() {
            let reason = decision.leading().map_or("", |verdict| verdict.reason.code());
            self.blocks.with_label_values(&[reason]).inc();
        }
    }

    /// Counts an order that is blocked because there is no recorded answer to it.
    pub fn failed(&self, failure: &Failure) {
        self.blocks.with_label_values(&[failure.reason().code()]).inc();
    }

    /// Counts one HTTP request.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[route, status_text(status)]).inc();
        self.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// The name a strategy is counted under.
    pub fn label<'a>(&self, strategy: &'a StrategyId) -> &'a str {
        let known = |names: &HashSet<StrategyId>| names.contains(strategy);
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if known(&names) {
            return strategy.as_str();
        }
        let full = names.len() >= self.strategies_max();
        drop(names);
        if full {
            return OTHER;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if known(&names) || names.len() < self.strategies_max() {
            names.insert(strategy.clone());
            return strategy.as_str();
        }
        OTHER
    }

    /// What has been counted.
    #[must_use]
    pub fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }
}

/// A status as a label; those that are not sent stand together.
fn status_text(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        202 => "202",
        204 => "204",
        304 => "304",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        406 => "406",
        408 => "408",
        409 => "409",
        413 => "413",
        415 => "415",
        422 => "422",
        429 => "429",
        431 => "431",
        500 => "500",
        503 => "503",
        _other => "other",
    }
}
