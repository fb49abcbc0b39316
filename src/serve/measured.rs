//! Figures that are read where they live when somebody asks: strategies, journal, canary, log.

use ephor_actors::{Governor, Histogram};
use ephor_governance::drift::Metric as Drift;
use ephor_governance::event::Scope;
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::Level;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::app::Governed;
use crate::bus::Status;

/// Kill switches that are shown by scope; more are engaged only by mistake.
const KILLS_MAX: usize = 100;

/// What one strategy shows.
struct Seen {
    id: StrategyId,
    unattributed: u64,
    level: Level,
    health: f64,
    tokens: usize,
    waiting: usize,
    drift: Vec<(Drift, f64)>,
}

/// Everything there is to read of a governed house; strategies beyond `most` are counted and not named.
pub async fn of(governed: &Governed, most: usize) -> Vec<MetricFamily> {
    let mut families = house(&governed.governor);
    families.extend(strategies(&governed.governor, most).await);
    let round = governed.last_round.borrow().clone();
    let up = round
        .results
        .iter()
        .map(|(name, failed)| labelled(&[("component", name)], if failed.is_some() { 0.0 } else { 1.0 }));
    families.push(gauges("ephor_canary_up", "Whether a component was well in the canary's last round.", up.collect()));
    families.extend(connections(&governed.connections));
    let recovery = &governed.recovery;
    families.push(gauge(
        "ephor_recovery_seconds",
        "How long the start took until orders were taken.",
        recovery.took.as_secs_f64(),
    ));
    families.push(gauge(
        "ephor_recovery_events",
        "Events in the log when the service started.",
        count(recovery.events),
    ));
    families
}

fn house(governor: &Governor) -> Vec<MetricFamily> {
    let measures = governor.measures();
    let view = governor.system_view();
    let kills = view.state.kills.keys().take(KILLS_MAX).map(|scope| match scope {
        Scope::All => labelled(&[("scope", "all")], 1.0),
        Scope::Strategy(id) => labelled(&[("scope", &format!("strategy:{id}"))], 1.0),
        Scope::Instrument(id) => labelled(&[("scope", &format!("instrument:{id}"))], 1.0),
        Scope::Venue(name) => labelled(&[("scope", &format!("venue:{name}"))], 1.0),
    });
    vec![
        gauge("ephor_log_seq", "Seq of the last event in the log.", count(governor.reader().head().seq.0)),
        gauge("ephor_journal_queue_depth", "Commits that wait for the journal.", count(measures.queued as u64)),
        gauge("ephor_requests_under_way", "Requests under way in the governor.", count(measures.under_way as u64)),
        counter(
            "ephor_requests_overloaded_total",
            "Requests refused because too many were waiting.",
            measures.overloaded,
        ),
        counter("ephor_journal_commits_total", "Commits written.", measures.commits),
        counter("ephor_journal_events_total", "Events written.", measures.events),
        histogram(
            "ephor_journal_group_seconds",
            "Write and sync of one group of commits.",
            &measures.group_micros,
            1e-6,
        ),
        histogram("ephor_journal_group_commits", "Commits in one group.", &measures.group_commits, 1.0),
        gauges("ephor_kill_engaged", "Kill switches engaged, by scope.", kills.collect()),
    ]
}

/// What becomes of messages, and how far those who follow the log have come.
fn connections(connections: &[Status]) -> Vec<MetricFamily> {
    let figures: Vec<_> = connections.iter().map(|one| (one.name(), one.figures())).collect();
    let up = connections
        .iter()
        .map(|one| labelled(&[("connection", one.name())], if one.error().is_none() { 1.0 } else { 0.0 }));
    let behind = figures.iter().map(|(name, figures)| labelled(&[("connection", name)], count(figures.behind)));
    let made = figures.iter().map(|(name, figures)| counted(&[("connection", name)], figures.connects));
    let messages = figures.iter().flat_map(|(name, figures)| {
        let taken = figures.taken.saturating_sub(figures.repeated);
        let (repeated, later) = (figures.repeated, figures.later);
        let lost = [("dead", figures.dead), ("gone", figures.gone)];
        let outcomes = [("taken", taken), ("repeated", repeated), ("later", later)].into_iter().chain(lost);
        outcomes.map(|(outcome, number)| counted(&[("connection", name), ("outcome", outcome)], number))
    });
    let counters = |name, help, metrics| family(name, help, MetricType::COUNTER, metrics);
    vec![
        gauges("ephor_connection_up", "Whether a connection to a bus or database stands.", up.collect()),
        gauges("ephor_connection_behind_events", "Events that the other side has not got yet.", behind.collect()),
        counters("ephor_connection_connects_total", "Times that a connection was made.", made.collect()),
        counters("ephor_connection_messages_total", "Messages or events, by what became of them.", messages.collect()),
    ]
}

async fn strategies(governor: &Governor, most: usize) -> Vec<MetricFamily> {
    let policy = governor.system_view().state.policy.clone();
    let (strategies, unattributed): (Vec<Seen>, Vec<Seen>) = governor
        .survey(move |id, state, _, _| Seen {
            id: id.clone(),
            unattributed: state.unattributed,
            level: state.maturity.level,
            health: state.health.score,
            tokens: state.tokens.active.len(),
            waiting: state.approvals.waiting.len(),
            drift: state
                .compare_drift(&policy.drift_detector)
                .into_iter()
                .map(|comparison| (comparison.metric, comparison.deviation_pct))
                .collect(),
        })
        .await
        .into_iter()
        .partition(|seen| !seen.id.is_unattributed());
    let seen = strategies;
    let named = || seen.iter().take(most);
    let each = |value: fn(&Seen) -> f64| -> Vec<Metric> {
        named().map(|seen| labelled(&[("strategy", seen.id.as_str())], value(seen))).collect()
    };
    let drift = named().flat_map(|seen| {
        let of = |(metric, deviation): &(Drift, f64)| {
            labelled(&[("metric", &metric.to_string()), ("strategy", seen.id.as_str())], *deviation)
        };
        seen.drift.iter().map(of).collect::<Vec<_>>()
    });
    vec![
        counter(
            "ephor_unattributed_total",
            "What came in and belongs to no strategy that anybody could name.",
            unattributed.iter().map(|seen| seen.unattributed).sum(),
        ),
        gauge("ephor_strategies", "Strategies that are governed.", count(seen.len() as u64)),
        gauges(
            "ephor_maturity_level",
            "Level of a strategy, 0 (shadow) to 4 (autonomous).",
            each(|seen| f64::from(seen.level as u8)),
        ),
        gauges("ephor_health_score", "Health of a strategy, 0 to 1.", each(|seen| seen.health)),
        gauges("ephor_active_tokens", "Tokens in force, by strategy.", each(|seen| count(seen.tokens as u64))),
        gauges(
            "ephor_approvals_waiting",
            "Orders that wait for approval, by strategy.",
            each(|seen| count(seen.waiting as u64)),
        ),
        gauges("ephor_drift_deviation_percent", "Live against backtest, by strategy and metric.", drift.collect()),
    ]
}

/// A count as a sample: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
const fn count(value: u64) -> f64 {
    value as f64
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn with_labels(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

fn labelled(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = with_labels(labels);
    metric.set_gauge(gauge);
    metric
}

fn gauges(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, metrics)
}

fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    gauges(name, help, vec![labelled(&[], value)])
}

fn counted(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count(value));
    let mut metric = with_labels(labels);
    metric.set_counter(counter);
    metric
}

fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    family(name, help, MetricType::COUNTER, vec![counted(&[], value)])
}

fn histogram(name: &str, help: &str, measured: &Histogram, unit: f64) -> MetricFamily {
    let mut cumulative = 0;
    let buckets = measured.bounds.iter().zip(&measured.counts).map(|(bound, within)| {
        cumulative += within;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(count(*bound) * unit);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = prometheus::proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(measured.counts.iter().sum());
    histogram.set_sample_sum(count(measured.sum) * unit);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}
