//! Strategies: all of them as they are now, one at any moment, and its story.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse, get, web};
use ephor_actors::Governor;
use ephor_events::{Seq, Version};
use ephor_governance::event::Pauses;
use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::strategy::State;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::{drift, maturity};
use ephor_replay::at::Point;
use ephor_replay::passage::Story;
use ephor_replay::{SystemView, covers};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::app::App;
use super::auth::{Allowed, Read};
use super::events::{EventPage, PAGE, PAGE_MAX, page, place};
use super::problem::{MEDIA_TYPE, Problem};
use super::query::Parameters;
use super::reading::read;
use crate::past;

/// A strategy at a glance.
#[derive(Clone, Serialize, ToSchema)]
pub struct Listed {
    /// Its id.
    #[schema(value_type = String)]
    id: StrategyId,
    /// `L0_shadow` to `L4_autonomous`.
    #[schema(value_type = String)]
    level: Level,
    /// When it entered the level.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Its health, 0 to 1.
    health: f64,
    /// Allocated capital and all realised results.
    #[schema(value_type = String)]
    equity: Amount,
    /// Trades closed.
    trades: u32,
    /// Trades closed since it entered the level.
    trades_at_level: u32,
    /// The fall from the highest equity at the level, a fraction.
    drawdown: f64,
    /// The deepest fall ever, a fraction.
    max_drawdown: f64,
    /// Metrics beyond a drift bound.
    #[schema(value_type = Object)]
    drift: drift::State,
    /// Whether it is paused, by anybody.
    paused: bool,
    /// The pauses in force, by cause.
    #[schema(value_type = Object)]
    pauses: Pauses,
    /// The kill switches engaged that cover it.
    #[schema(value_type = Vec<Object>)]
    kills: Vec<Value>,
    /// Its events.
    #[schema(value_type = u64)]
    version: Version,
    /// When the last of them was decided.
    #[schema(value_type = String, format = DateTime)]
    decided_at: Timestamp,
    #[serde(skip)]
    instrument: Option<InstrumentId>,
}

impl Listed {
    fn of(id: &StrategyId, state: &State, version: Version, at: Timestamp) -> Self {
        let maturity::State { level, evidence } = &state.maturity;
        Self {
            id: id.clone(),
            level: *level,
            since: evidence.entered_at,
            health: state.health.score,
            equity: evidence.equity,
            trades: state.totals.trades,
            trades_at_level: evidence.trades,
            drawdown: evidence.drawdown(),
            max_drawdown: state.totals.max_drawdown,
            drift: state.drift.clone(),
            paused: !state.pauses.is_empty(),
            pauses: state.pauses.clone(),
            kills: Vec::new(),
            version,
            decided_at: at,
            instrument: state.registration.as_ref().and_then(|registration| registration.instrument.clone()),
        }
    }
}

/// Strategies at a glance.
#[derive(ToSchema)]
pub struct StrategyPage {
    /// The strategies.
    pub strategies: Vec<Listed>,
    /// How many there are of this kind, on all pages.
    pub total: u64,
    /// The `after` to go on with; `null` on the last page.
    #[schema(required = true)]
    pub next: Option<String>,
    /// Strategies that could not be brought to life, and why: their orders are blocked.
    pub failed: Vec<Unreadable>,
}

/// A strategy that could not be brought to life.
#[derive(Serialize, ToSchema)]
pub struct Unreadable {
    /// Its id.
    #[schema(value_type = String)]
    id: StrategyId,
    /// Why.
    detail: String,
}

/// What a list is sorted by.
#[derive(Clone, Copy)]
enum Key {
    Id,
    Level,
    Health,
    Equity,
}

#[derive(Clone, Copy)]
struct Sort {
    key: Key,
    descending: bool,
}

impl FromStr for Sort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = match text.strip_prefix('-').unwrap_or(text) {
            "id" => Key::Id,
            "level" => Key::Level,
            "health" => Key::Health,
            "equity" => Key::Equity,
            _other => return Err("expected id, level, health or equity, with - before it from the largest down"),
        };
        Ok(Self { key, descending: text.starts_with('-') })
    }
}

impl Sort {
    fn order(self, a: &Listed, b: &Listed) -> Ordering {
        let ordering = match self.key {
            Key::Id => a.id.cmp(&b.id),
            Key::Level => a.level.cmp(&b.level),
            Key::Health => a.health.total_cmp(&b.health),
            Key::Equity => a.equity.cmp(&b.equity),
        };
        let ordering = if self.descending { ordering.reverse() } else { ordering };
        ordering.then_with(|| a.id.cmp(&b.id))
    }
}

/// All strategies as they are now.
#[utoipa::path(
    tag = "strategies",
    params(
        ("level" = Option<String>, Query, description = "Only of this level, such as `L2_gated`"),
        ("paused" = Option<bool>, Query, description = "Only those that are paused, or that are not"),
        ("text" = Option<String>, Query, description = "Only those with this in their id, in either case"),
        ("sort" = Option<String>, Query, description = "`id`, `level`, `health` or `equity`; `-health` from the largest down; `id` if not given"),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 if not given", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "Those behind this one, as it stands now"),
    ),
    responses(
        (status = 200, description = "A page of strategies", body = StrategyPage),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "It took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "Shutting down", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/strategies")]
pub(super) async fn list_strategies(
    _: Allowed<Read>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let parameters = Parameters::of(&request, &["level", "paused", "text", "sort", "limit", "after"])?;
    let level: Option<Level> = parameters.get("level")?;
    let paused: Option<bool> = parameters.get("paused")?;
    let text = parameters.text("text").map(str::to_lowercase);
    let sort = parameters.get("sort")?.unwrap_or(Sort { key: Key::Id, descending: false });
    let limit = parameters.within("limit", PAGE, PAGE_MAX)?;
    let after: Option<StrategyId> = parameters.get("after")?;

    let governor = &app.governed()?.governor;
    let failed = bring_to_life(governor).await;
    let last = after.clone();
    let seen = governor.survey(move |id, state, version, at| {
        let fits = !id.is_unattributed()
            && level.is_none_or(|level| state.maturity.level == level)
            && paused.is_none_or(|paused| state.pauses.is_empty() != paused)
            && text.as_ref().is_none_or(|text| id.as_str().to_lowercase().contains(text.as_str()));
        (fits || last.as_ref() == Some(id)).then(|| (Listed::of(id, state, version, at), fits))
    });
    let seen: Vec<(Listed, bool)> = seen.await.into_iter().flatten().collect();
    let last = match &after {
        None => None,
        Some(after) => match seen.iter().find(|(listed, _)| listed.id == *after) {
            Some((listed, _)) => Some(listed.clone()),
            None => return Err(Problem::parameter("after", format!("there is no strategy {:?}", after.as_str()))),
        },
    };
    let mut fitting: Vec<Listed> = seen.into_iter().filter(|(_, fits)| *fits).map(|(listed, _)| listed).collect();
    let total = fitting.len();
    fitting.retain(|listed| last.as_ref().is_none_or(|last| sort.order(last, listed) == Ordering::Less));
    fitting.sort_by(|a, b| sort.order(a, b));
    let more = fitting.len() > limit;
    fitting.truncate(limit);
    let view = governor.system_view();
    let system = SystemView::from(&view.state);
    for listed in &mut fitting {
        let covering =
            system.kills.iter().filter(|kill| covers(kill.scope, &listed.id, listed.instrument.as_ref().into_iter()));
        listed.kills = covering.map(|kill| json!(kill)).collect();
    }
    let next = fitting.last().filter(|_| more).map(|listed| listed.id.clone());
    Ok(HttpResponse::Ok().json(json!({ "strategies": fitting, "total": total, "next": next, "failed": failed })))
}

/// Sees to it that every strategy of the log can be seen; those that cannot are named.
async fn bring_to_life(governor: &Governor) -> Vec<Unreadable> {
    let live: HashSet<StrategyId> = governor.survey(|id, _, _, _| id.clone()).await.into_iter().collect();
    let streams = governor.reader().streams().into_iter().filter(|(stream, _)| stream.is_strategy());
    let all = streams.map(|(stream, _)| StrategyId::recorded(stream.as_str().into()));
    let missing: Vec<StrategyId> = all.filter(|id| !live.contains(id)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let failed = governor.load(missing).await.failed.into_iter();
    failed.map(|(id, failure)| Unreadable { id, detail: failure.to_string() }).collect()
}

/// A strategy at a moment, as `ephor state --json` gives it.
#[derive(ToSchema)]
pub struct StrategyMoment {
    /// Its id.
    pub stream: String,
    /// The version of the last event in it.
    pub version: u64,
    /// The version it has now.
    pub newest_version: u64,
    /// The seq of the last event in it.
    pub seq: u64,
    /// When that was recorded.
    #[schema(format = DateTime)]
    pub recorded_at: String,
    /// What the state is known by.
    pub digest: String,
    /// Everything that it has become.
    #[schema(value_type = Object)]
    pub state: Value,
    /// The kill switches engaged at that moment that cover it.
    #[schema(value_type = Vec<Object>)]
    pub kills: Vec<Value>,
    /// The policy in force at that moment.
    pub policy_id: String,
}

/// One strategy, now or as it was known at a moment of the past.
#[utoipa::path(
    tag = "strategies",
    params(
        ("id" = String, Path, description = "The strategy"),
        ("at" = Option<String>, Query, description = "As it was known at this time, RFC 3339"),
        ("seq" = Option<u64>, Query, description = "After this event of the whole log", minimum = 1),
    ),
    responses(
        (status = 200, description = "The strategy", body = StrategyMoment),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 404, description = "The strategy was never registered", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "Reading took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A parameter is wrong, or the strategy was not governed yet", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 500, description = "The log cannot be read", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "Shutting down", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/strategies/{id}")]
pub(super) async fn one_strategy(
    _: Allowed<Read>,
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let id = named(&id)?;
    let parameters = Parameters::of(&request, &["at", "seq"])?;
    let (point, field) = match (parameters.get("at")?, parameters.get("seq")?) {
        (Some(_), Some(_)) => return Err(Problem::parameter("seq", "there is an `at` already: one moment at a time")),
        (Some(at), None) => (Point::Time(at), Some("at")),
        (None, Some(seq)) => (Point::Seq(Seq(seq)), Some("seq")),
        (None, None) => (Point::Now, None),
    };
    let found = read(&app, move |governed| {
        let found = past::strategy(governed.governor.reader(), governed.keyframes.as_ref(), &id, point);
        found.map_err(|error| match field {
            Some(field)
                if error.is_callers() && !matches!(error, ephor_replay::ReplayError::UnknownStrategy { .. }) =>
            {
                Problem::from(error).at(field)
            }
            _other => error.into(),
        })
    });
    Ok(HttpResponse::Ok().json(found.await?))
}

/// The story of a strategy: registrations, levels, pauses, tokens, drift, and the kill switches that covered it.
#[utoipa::path(
    tag = "strategies",
    params(
        ("id" = String, Path, description = "The strategy"),
        ("all" = Option<bool>, Query, description = "Also every signal, order, decision, trade and health"),
        ("from" = Option<u64>, Query, description = "From this seq on; 1 if not given", minimum = 1),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 if not given", minimum = 1, maximum = 1000),
    ),
    responses(
        (status = 200, description = "A page of events", body = EventPage),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 404, description = "The strategy was never registered", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "Reading took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 500, description = "The log cannot be read", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "Shutting down", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/strategies/{id}/history")]
pub(super) async fn history_of_strategy(
    _: Allowed<Read>,
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let id = named(&id)?;
    let parameters = Parameters::of(&request, &["all", "from", "limit"])?;
    let all = parameters.get("all")?.unwrap_or(false);
    let from = parameters.get("from")?.unwrap_or(1);
    let limit = parameters.within("limit", PAGE, PAGE_MAX)?;
    let found = read(&app, move |governed| {
        let reader = governed.governor.reader();
        let mut story = Story::open(reader, &id, all, place(reader, from)?)?;
        page(limit, || Ok(story.next()?.map(|events| (events, story.next_seq()))))
    });
    Ok(HttpResponse::Ok().json(found.await?))
}

/// The strategy that a path names.
fn named(text: &str) -> Result<StrategyId, Problem> {
    text.parse().map_err(|error: ephor_governance::ids::IdError| Problem::parameter("id", error.to_string()))
}
