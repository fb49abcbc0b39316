//! Strategies: register, declare a new version, set the level, pause, resume.

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, post};
use ephor_events::{StreamId, Version};
use ephor_governance::event::Registration;
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::units::Amount;
use smol_str::SmolStr;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::auth::{Allowed, Operate};
use super::super::body::Body;
use super::super::idempotency::{OnceKey, once};
use super::super::problem::Problem;
use super::super::schema::Decimal;
use super::{Act, Acting, WhyBody, fields, id_of, only_reason, reason};
use crate::input::{Fields, Range, Refusal, required};
use crate::operate::{self, Done};

/// A strategy to be governed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body; `registration` reads it")]
pub(super) struct NewStrategy {
    /// Its name.
    #[schema(min_length = 1, max_length = 128, example = "MEANREV-EURUSD")]
    strategy_id: String,
    /// Capital allocated to it. Above zero.
    initial_capital: Decimal,
    /// What capital, prices and results are counted in.
    #[schema(min_length = 1, max_length = 128, example = "USD")]
    currency: String,
    /// Its main instrument.
    #[schema(min_length = 1, max_length = 128)]
    instrument: Option<String>,
    /// Value of one unit at a price of one; 1 where it is left out. Above zero.
    multiplier: Option<Decimal>,
    /// The engine that runs it.
    #[schema(max_length = 1024)]
    engine: Option<String>,
    /// Its class or family.
    #[schema(max_length = 1024)]
    strategy_class: Option<String>,
    /// Digest of code and settings; `0` where it is left out.
    #[schema(min_length = 1, max_length = 128)]
    version_digest: Option<String>,
}

/// A new version of a strategy. What is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body; `registration` reads it")]
pub(super) struct NewVersion {
    /// Digest of code and settings: another digest is another version, and evidence starts again.
    #[schema(min_length = 1, max_length = 128)]
    version_digest: String,
    /// Capital allocated to it. Above zero.
    initial_capital: Option<Decimal>,
    /// What capital, prices and results are counted in.
    #[schema(min_length = 1, max_length = 128)]
    currency: Option<String>,
    /// Its main instrument.
    #[schema(min_length = 1, max_length = 128)]
    instrument: Option<String>,
    /// Value of one unit at a price of one. Above zero.
    multiplier: Option<Decimal>,
    /// The engine that runs it.
    #[schema(max_length = 1024)]
    engine: Option<String>,
    /// Its class or family.
    #[schema(max_length = 1024)]
    strategy_class: Option<String>,
}

/// A level to be set by hand.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body; `set_level` reads it")]
pub(super) struct NewLevel {
    /// `L0` to `L4`, or the level's whole name.
    #[schema(example = "L2")]
    to: String,
    /// Climb even though the record has not earned it.
    without_evidence: Option<bool>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 1024, pattern = r"\S")]
    reason: String,
}

const TERMS: [&str; 7] =
    ["initial_capital", "currency", "instrument", "multiplier", "engine", "strategy_class", "version_digest"];

/// What a body says of a strategy, on top of what was so before.
fn registration(fields: &Fields<'_>, before: Option<&Registration>) -> Result<Registration, Refusal> {
    let kept = |name, of: fn(&Registration) -> Option<&String>| {
        let given = fields.text(name)?.map(std::borrow::Cow::into_owned);
        Ok::<_, Refusal>(given.or_else(|| before.and_then(of).cloned()))
    };
    let capital = fields.amount("initial_capital", Range::AboveZero)?;
    let multiplier = fields.amount("multiplier", Range::AboveZero)?;
    let digest: Option<SourceId> = fields.id("version_digest")?;
    Ok(Registration {
        // Each declaration is one of its own: the rule says where it changes nothing.
        id: SourceId::recorded(operate::new_id()),
        instrument: fields.id("instrument")?.or_else(|| before.and_then(|before| before.instrument.clone())),
        engine: kept("engine", |before| before.engine.as_ref())?,
        strategy_class: kept("strategy_class", |before| before.strategy_class.as_ref())?,
        version_digest: digest.map_or(SmolStr::new_static("0"), |digest| digest.text()),
        initial_capital: required("initial_capital", Ok(capital.or(before.map(|before| before.initial_capital))))?,
        currency: required(
            "currency",
            fields.id("currency").map(|given| given.or_else(|| before.map(|before| before.currency.clone()))),
        )?,
        multiplier: multiplier.or(before.map(|before| before.multiplier)).unwrap_or(Amount::ONE),
    })
}

/// Brings a strategy under governance.
#[utoipa::path(
    tag = "strategies",
    request_body = NewStrategy,
    params(OnceKey),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/strategies", wrap = "from_fn(once)")]
pub(super) async fn register(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let fields = fields(&request, &body, &[&["strategy_id"], &TERMS[..]].concat())?;
    let id: StrategyId = required("strategy_id", fields.id("strategy_id"))?;
    let registration = registration(&fields, None)?;
    let _alone = app.declaring.lock().await;
    if act.governed.governor.reader().version_of(&StreamId::new(id.as_str())) > Version(0) {
        let detail = format!("{id} is registered already: a new version is declared at /v1/strategies/{{id}}/versions");
        return Err(Problem::new(StatusCode::CONFLICT, "STRATEGY_KNOWN", detail).at("strategy_id"));
    }
    let recorded = act.on(&id, Command::Register(registration)).await?;
    Ok(Json(Done::of(id.as_str(), &recorded)))
}

/// Declares a new version of a strategy: its evidence starts again.
#[utoipa::path(
    tag = "strategies",
    request_body = NewVersion,
    params(
        ("id" = String, Path, description = "The strategy"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/strategies/{id}/versions", wrap = "from_fn(once)")]
pub(super) async fn new_version(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    id: Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let id: StrategyId = id_of("id", &id)?;
    let fields = fields(&request, &body, &TERMS)?;
    required("version_digest", fields.text("version_digest"))?;
    let _alone = app.declaring.lock().await;
    let live = act.governed.governor.look(&id).await;
    let before = live.and_then(|live| live.state.registration).ok_or(Rejection::UnknownStrategy)?;
    let registration = registration(&fields, Some(&before))?;
    let recorded = act.on(&id, Command::Register(registration)).await?;
    Ok(Json(Done::of(id.as_str(), &recorded)))
}

/// Sets the level of a strategy: up where its record has earned it, or `without_evidence`; down at any time.
#[utoipa::path(
    tag = "strategies",
    request_body = NewLevel,
    params(
        ("id" = String, Path, description = "The strategy"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/strategies/{id}/level", wrap = "from_fn(once)")]
pub(super) async fn set_level(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    id: Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let id: StrategyId = id_of("id", &id)?;
    let fields = fields(&request, &body, &["to", "without_evidence", "reason"])?;
    let to: Level = required("to", fields.id("to"))?;
    let without_evidence = fields.flag("without_evidence")?.unwrap_or(false);
    let (by, reason) = (act.by.clone(), reason(&fields)?);
    let recorded = act.on(&id, Command::SetLevel { to, without_evidence, by, reason }).await?;
    Ok(Json(Done::of(id.as_str(), &recorded)))
}

/// Lets a strategy stand still.
#[utoipa::path(
    tag = "strategies",
    request_body = WhyBody,
    params(
        ("id" = String, Path, description = "The strategy"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/strategies/{id}/pause", wrap = "from_fn(once)")]
pub(super) async fn pause(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    id: Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let id: StrategyId = id_of("id", &id)?;
    let (by, reason) = (act.by.clone(), only_reason(&request, &body)?);
    let recorded = act.on(&id, Command::Pause { by, reason }).await?;
    Ok(Json(Done::of(id.as_str(), &recorded)))
}

/// Lets a strategy go on: ends every pause.
#[utoipa::path(
    tag = "strategies",
    request_body = WhyBody,
    params(
        ("id" = String, Path, description = "The strategy"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/strategies/{id}/resume", wrap = "from_fn(once)")]
pub(super) async fn resume(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    id: Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let id: StrategyId = id_of("id", &id)?;
    let (by, reason) = (act.by.clone(), only_reason(&request, &body)?);
    let recorded = act.on(&id, Command::Resume { by, reason }).await?;
    Ok(Json(Done::of(id.as_str(), &recorded)))
}
