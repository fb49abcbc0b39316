//! What operators see and do, whichever way they come: by command line or over HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ephor_actors::Recorded;
use ephor_events::envelope::event_json;
use ephor_events::{ReadError, Reader, StreamId};
use ephor_governance::approval::Waiting;
use ephor_governance::event::{Event, Scope};
use ephor_governance::ids::{Actor, IdError, SourceId, StrategyId, TokenId};
use ephor_governance::impact::Tier;
use ephor_governance::maturity::Level;
use ephor_governance::order::Order;
use ephor_governance::policy::Policy;
use ephor_governance::record::KeyKind;
use ephor_governance::strategy::State;
use ephor_governance::token::{self, Grant};
use ephor_governance::units::Timestamp;
use serde::Serialize;
use serde_json::Value;
use smol_str::SmolStr;
use utoipa::ToSchema;

use crate::settings::{self, Problem};

/// What was recorded of an act.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Done {
    /// The strategy, or `system`.
    stream: String,
    /// Of the first event in the whole log.
    seq: u64,
    /// Of the first event in its stream.
    version: u64,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whether it had been recorded before, so that this request added nothing.
    repeat: bool,
    /// What came of it, in order.
    events: Vec<Happened>,
}

/// One event of an act.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Happened {
    /// Its place in the whole log.
    seq: u64,
    /// What kind of event it is.
    #[serde(rename = "type")]
    #[schema(example = "StrategyPaused")]
    kind: &'static str,
    /// Its fields.
    #[schema(value_type = Object)]
    data: Value,
}

impl Done {
    /// What was recorded in a stream.
    #[must_use]
    pub fn of(stream: &str, recorded: &Recorded) -> Self {
        let events = recorded.events.iter().zip(recorded.seq.0..);
        Self {
            stream: stream.to_owned(),
            seq: recorded.seq.0,
            version: recorded.version.0,
            at: recorded.at,
            repeat: recorded.repeat,
            events: events.map(|(event, seq)| Happened { seq, kind: event.name(), data: event_json(event) }).collect(),
        }
    }
}

/// The token that a commit has brought into force.
#[must_use]
pub fn granted(recorded: &Recorded) -> Option<&Grant> {
    recorded
        .events
        .iter()
        .find_map(|event| if let Event::TokenChanged(token::Event::Issued(grant)) = event { Some(grant) } else { None })
}

/// A new id where nobody gives one: UUID version 7, so that ids made later sort later.
#[must_use]
pub fn new_id() -> SmolStr {
    SmolStr::new(uuid::Uuid::now_v7().to_string())
}

/// What ties an order to what else is recorded of it, where it is recorded: its approval goes by the same.
///
/// # Errors
/// [`ReadError`].
pub fn trace_of_order(reader: &Reader, strategy: &StrategyId, order: &SourceId) -> Result<Option<SmolStr>, ReadError> {
    let stream = StreamId::new(strategy.as_str());
    for kind in [KeyKind::Order, KeyKind::Signal] {
        let commit = reader.find(&stream, kind as u8, order.as_str())?;
        if let Some(commit) = commit.filter(|commit| !commit.trace.is_empty()) {
            return Ok(Some(commit.trace));
        }
    }
    Ok(None)
}

/// A token that is active.
#[derive(Clone, Debug, Serialize)]
pub struct InForce {
    /// Whose it is.
    pub strategy: StrategyId,
    /// What it permits.
    #[serde(flatten)]
    pub grant: Grant,
    /// Orders it can still be used for.
    pub uses_left: u32,
    /// Whether its time is over.
    pub expired: bool,
}

/// The active tokens of a strategy.
#[must_use]
pub fn tokens(strategy: &StrategyId, state: &State, now: Timestamp) -> Vec<InForce> {
    let tokens = state.tokens.active.values().map(|token| InForce {
        strategy: strategy.clone(),
        expired: token.grant.expires_at <= now,
        grant: token.grant.clone(),
        uses_left: token.uses_left,
    });
    tokens.collect()
}

/// An order that waits for people.
#[derive(Clone, Debug, Serialize)]
pub struct Awaited {
    /// Whose it is.
    pub strategy_id: StrategyId,
    /// Since when.
    pub since: Timestamp,
    /// Its impact.
    pub tier: Tier,
    /// The strategy's level when it was blocked.
    pub level: Level,
    /// How many different people it takes.
    pub approvals_needed: usize,
    /// How many more it takes now.
    pub approvals_missing: usize,
    /// Who has approved, and when.
    pub approvals: BTreeMap<Actor, Timestamp>,
    /// The token that its approval came to.
    pub token: Option<TokenId>,
    /// The order as it was asked about.
    pub order: Order,
}

impl Awaited {
    /// One that waits, as it stands.
    #[must_use]
    pub fn of(strategy: &StrategyId, state: &State, waiting: &Waiting, now: Timestamp) -> Self {
        let alive = |id: &&TokenId| state.tokens.active.get(id).is_some_and(|token| token.grant.expires_at > now);
        let token = waiting.token.as_ref().filter(alive).cloned();
        let needed = waiting.approvals_needed();
        // A token that was not used in its time takes the approvals behind it with it.
        let is_lapsed = waiting.token.is_some() && token.is_none();
        let approvals = if is_lapsed { BTreeMap::new() } else { waiting.approvals.clone() };
        Self {
            strategy_id: strategy.clone(),
            since: waiting.since,
            tier: waiting.tier,
            level: waiting.level,
            approvals_needed: needed,
            approvals_missing: if token.is_some() { 0 } else { needed.saturating_sub(approvals.len()) },
            approvals,
            token,
            order: waiting.order.clone(),
        }
    }
}

/// The orders of a strategy that wait.
#[must_use]
pub fn awaited(strategy: &StrategyId, state: &State, now: Timestamp) -> Vec<Awaited> {
    state.approvals.waiting.iter().map(|waiting| Awaited::of(strategy, state, waiting, now)).collect()
}

/// What a kill switch covers, as it is written: `all`, `strategy:ID`, `instrument:ID` or `venue:ID`.
///
/// ```
/// use ephor::operate::Covers;
/// assert_eq!("venue:XCME".parse::<Covers>().unwrap().to_string(), "venue:XCME");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covers(pub Scope);

impl FromStr for Covers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Scope::All));
        }
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let said = |error: IdError| error.to_string();
        match kind {
            "strategy" => name.parse().map(Scope::Strategy).map(Self).map_err(said),
            "instrument" => name.parse().map(Scope::Instrument).map(Self).map_err(said),
            "venue" => name.parse().map(Scope::Venue).map(Self).map_err(said),
            _other => Err("use all, strategy:ID, instrument:ID or venue:ID".to_owned()),
        }
    }
}

impl fmt::Display for Covers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Scope::All => f.write_str("all"),
            Scope::Strategy(id) => write!(f, "strategy:{id}"),
            Scope::Instrument(id) => write!(f, "instrument:{id}"),
            Scope::Venue(id) => write!(f, "venue:{id}"),
        }
    }
}

/// A policy out of TOML, checked.
///
/// # Errors
/// [`Problem`] with line and field.
pub fn policy_of_toml(text: &str) -> Result<Policy, Problem> {
    let policy: Policy = settings::parse(text)?;
    policy.validate().map_err(|error| Problem {
        line: settings::line_of(text, error.field),
        field: Some(error.field.to_owned()),
        problem: error.problem,
    })?;
    Ok(policy)
}

/// A threshold that two policies set differently.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Difference {
    /// Which, `section.name`.
    #[schema(example = "maturity.demotion_drawdown")]
    field: String,
    /// In the one policy.
    #[schema(value_type = Object)]
    from: Value,
    /// In the other.
    #[schema(value_type = Object)]
    to: Value,
}

/// What changes from one policy to another, field by field.
///
/// ```
/// use ephor::operate::differences;
/// use ephor_governance::policy::Policy;
/// let mut stricter = Policy::default();
/// stricter.health_score.max_debt = 5.0;
/// let changed = serde_json::to_value(differences(&Policy::default(), &stricter)).unwrap();
/// assert_eq!(changed[0]["field"], "health_score.max_debt");
/// ```
#[must_use]
pub fn differences(from: &Policy, to: &Policy) -> Vec<Difference> {
    let json = |policy: &Policy| serde_json::to_value(policy).unwrap_or(Value::Null);
    let mut found = Vec::new();
    compare(String::new(), &json(from), &json(to), &mut found);
    found
}

impl fmt::Display for Difference {
    /// `maturity.demotion_drawdown 0.05 (0.10)`: the other policy's, and the one's in parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        write!(f, "{} {} ({})", self.field, plain(&self.to), plain(&self.from))
    }
}

fn compare(field: String, from: &Value, to: &Value, found: &mut Vec<Difference>) {
    match (from, to) {
        (Value::Object(one), Value::Object(other)) => {
            let added = other.keys().filter(|name| !one.contains_key(*name));
            for name in one.keys().chain(added) {
                let inner = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                let side = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                compare(inner, &side(one), &side(other), found);
            }
        }
        (from, to) if from == to => {}
        (from, to) => found.push(Difference { field, from: from.clone(), to: to.clone() }),
    }
}
