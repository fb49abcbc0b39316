//! Execution tokens: issue, list, revoke.

use actix_web::middleware::from_fn;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, get, post};
use ephor_governance::ids::{InstrumentId, StrategyId, TokenId};
use ephor_governance::strategy::Command;
use ephor_governance::token::Grant;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::auth::{Allowed, Operate, Read};
use super::super::body::Body;
use super::super::idempotency::{OnceKey, once};
use super::super::problem::Problem;
use super::super::query::Parameters;
use super::super::schema::Decimal;
use super::{Act, Acting, Unseen, WhyBody, fields, found, id_of, only_reason, page};
use crate::input::{Code, Fields, Range, Refusal, SIDES, required};
use crate::keys::Claims;
use crate::operate::{self, Done, InForce};
use crate::store;

/// The most instruments that one token can name.
const INSTRUMENTS_MAX: usize = 64;

/// A token to be issued. What is not said is not limited, but the uses (1) and the time (the policy's).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body; `issue` reads it")]
pub(super) struct NewToken {
    /// Whose orders it permits.
    #[schema(min_length = 1, max_length = 128)]
    strategy_id: String,
    /// Instruments that it covers.
    #[schema(min_items = 1, max_items = 64)]
    instruments: Option<Vec<String>>,
    /// `BUY` or `SELL`, in either case.
    #[schema(pattern = "^([Bb][Uu][Yy]|[Ss][Ee][Ll][Ll])$")]
    side: Option<String>,
    /// Largest order value it covers, US dollars. Above zero.
    max_notional_usd: Option<Decimal>,
    /// Orders that it can be used for.
    #[schema(minimum = 1)]
    uses: Option<u32>,
    /// How long it lives.
    #[schema(minimum = 1)]
    ttl_seconds: Option<u32>,
    /// The one order that it covers.
    #[schema(min_length = 1, max_length = 128)]
    order_id: Option<String>,
}

/// A token that was issued.
#[derive(Serialize, ToSchema)]
pub(super) struct Issued {
    #[serde(flatten)]
    recorded: Done,
    /// The token, signed: PASETO v4.public.
    #[schema(example = "v4.public.…")]
    signed: String,
}

/// The tokens that are active.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// By strategy and id.
    #[schema(value_type = Vec<ActiveToken>)]
    tokens: Vec<InForce>,
    /// Give it as `after` for the next page; `null` on the last.
    next: Option<String>,
}

/// A token that is active.
#[derive(ToSchema)]
#[schema(as = ActiveToken)]
#[expect(dead_code, reason = "describes `InForce`")]
pub(super) struct ActiveToken {
    /// Whose orders it permits.
    strategy: String,
    /// Its id.
    id: String,
    /// Instruments that it covers; empty covers all.
    instruments: Vec<String>,
    /// `buy` or `sell`; `null` covers both.
    side: Option<String>,
    /// Largest order value it covers, US dollars.
    notional_usd_max: Option<String>,
    /// The one order that it covers.
    order_id: Option<String>,
    /// Orders it could be used for.
    uses_max: u32,
    /// Until when.
    #[schema(format = DateTime)]
    expires_at: String,
    /// On whose word.
    issued_by: String,
    /// Orders it can still be used for.
    uses_left: u32,
    /// Whether its time is over.
    expired: bool,
}

/// Permits orders of a strategy, within a scope and for a while. The answer carries the token, signed.
#[utoipa::path(
    tag = "tokens",
    request_body = NewToken,
    params(OnceKey),
    responses((status = 200, description = "It is recorded", body = Issued), Acting),
    security(("key" = [])),
)]
#[post("/tokens", wrap = "from_fn(once)")]
pub(super) async fn issue(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    body: Body,
) -> Result<Json<Issued>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let names = ["strategy_id", "instruments", "side", "max_notional_usd", "uses", "ttl_seconds", "order_id"];
    let fields = fields(&request, &body, &names)?;
    let strategy: StrategyId = required("strategy_id", fields.id("strategy_id"))?;
    let policy = act.governed.governor.system_view().state.policy.execution_tokens.ttl_seconds_default;
    let grant = Grant {
        id: TokenId::recorded(operate::new_id()),
        instruments: instruments(&fields)?,
        side: fields.choice("side", &SIDES)?,
        notional_usd_max: fields.amount("max_notional_usd", Range::AboveZero)?,
        order_id: fields.id("order_id")?,
        uses_max: fields.count("uses")?.unwrap_or(1),
        expires_at: act.at.plus_seconds(fields.count("ttl_seconds")?.map_or(policy, u64::from)),
        issued_by: act.by.clone(),
    };
    // Before anything is recorded: a token that cannot be signed is not issued.
    let claims = Claims::new(strategy.clone(), grant.clone(), act.at, act.trace.clone());
    let signed = app.signer.sign(&claims).map_err(|error| Problem::internal(&error))?;
    let recorded = act.on(&strategy, Command::IssueToken(grant)).await?;
    Ok(Json(Issued { recorded: Done::of(strategy.as_str(), &recorded), signed }))
}

fn instruments(fields: &Fields<'_>) -> Result<Vec<InstrumentId>, Refusal> {
    let Some(given) = fields.list("instruments")? else { return Ok(Vec::new()) };
    let wrong = |code, problem: String| Refusal::field(code, "instruments", problem);
    if given.is_empty() || given.len() > INSTRUMENTS_MAX {
        let problem = format!("expected from 1 to {INSTRUMENTS_MAX} names, found {}", given.len());
        return Err(wrong(Code::FieldOutOfRange, problem));
    }
    let named = given
        .into_iter()
        .map(|name| serde_json::from_str(name).map_err(|error| wrong(Code::FieldMalformed, error.to_string())));
    named.collect()
}

/// The tokens that are active.
#[utoipa::path(
    tag = "tokens",
    params(
        ("strategy" = Option<String>, Query, description = "Of this strategy alone"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 100"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page of them", body = Tokens), Unseen),
    security(("key" = [])),
)]
#[get("/tokens")]
pub(super) async fn list(_: Allowed<Read>, request: HttpRequest, app: Data<App>) -> Result<Json<Tokens>, Problem> {
    let query = Parameters::of(&request, &["strategy", "limit", "after"])?;
    let only: Option<StrategyId> = query.get("strategy")?;
    let (governor, now) = (&app.governed()?.governor, store::now());
    let all = found(governor, only, move |id, state| operate::tokens(id, state, now)).await;
    let all = all.into_iter().map(|token| (format!("{}/{}", token.strategy, token.grant.id), token));
    let (tokens, next) = page(&query, all.collect())?;
    Ok(Json(Tokens { tokens, next }))
}

/// Takes a token back.
#[utoipa::path(
    tag = "tokens",
    request_body = WhyBody,
    params(
        ("strategy" = String, Path, description = "The strategy"),
        ("id" = String, Path, description = "The token"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/tokens/{strategy}/{id}/revoke", wrap = "from_fn(once)")]
pub(super) async fn revoke(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    path: Path<(String, String)>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let (strategy, id): (StrategyId, TokenId) = (id_of("strategy", &path.0)?, id_of("id", &path.1)?);
    let (by, reason) = (act.by.clone(), only_reason(&request, &body)?);
    let recorded = act.on(&strategy, Command::RevokeTokens { id: Some(id), by, reason }).await?;
    Ok(Json(Done::of(strategy.as_str(), &recorded)))
}

/// Takes all of a strategy's tokens back.
#[utoipa::path(
    tag = "tokens",
    request_body = WhyBody,
    params(
        ("strategy" = String, Path, description = "The strategy"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/tokens/{strategy}/revoke", wrap = "from_fn(once)")]
pub(super) async fn revoke_all(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    strategy: Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let strategy: StrategyId = id_of("strategy", &strategy)?;
    let (by, reason) = (act.by.clone(), only_reason(&request, &body)?);
    let recorded = act.on(&strategy, Command::RevokeTokens { id: None, by, reason }).await?;
    Ok(Json(Done::of(strategy.as_str(), &recorded)))
}
