//! Orders that wait for people: the queue, yes and no.
//!
//! The last approval issues a token for exactly that order; the engine asks the same order again and has it. Who
//! must be different people is for the rules to say.

use actix_web::middleware::from_fn;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, get, post};
use ephor_governance::ids::{SourceId, StrategyId, TokenId};
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
use super::{Act, Acting, Unseen, WhyBody, blocking, found, id_of, only_reason, page};
use crate::keys::Claims;
use crate::operate::{self, Awaited, Done};
use crate::store;

/// The orders that wait for a person.
#[derive(Serialize, ToSchema)]
pub(super) struct Queue {
    /// Oldest first.
    #[schema(value_type = Vec<AwaitedOrder>)]
    approvals: Vec<Awaited>,
    /// Give it as `after` for the next page; `null` on the last.
    next: Option<String>,
}

/// An order that waits for people.
#[derive(ToSchema)]
#[schema(as = AwaitedOrder)]
#[expect(dead_code, reason = "describes `Awaited`")]
pub(super) struct AwaitedOrder {
    /// Whose it is.
    strategy_id: String,
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
    /// Its impact: `low`, `medium`, `high` or `critical`.
    tier: String,
    /// The strategy's level when it was blocked.
    #[schema(example = "L3_constrained")]
    level: String,
    /// How many different people it takes.
    #[schema(minimum = 1, maximum = 2)]
    approvals_needed: usize,
    /// How many more it takes now.
    #[schema(minimum = 0, maximum = 2)]
    approvals_missing: usize,
    /// Who has approved, and when.
    approvals: std::collections::BTreeMap<String, String>,
    /// The token that its approval came to.
    token: Option<String>,
    /// The order as it was asked about.
    order: AskedOrder,
}

/// An order as it was asked about.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `Awaited`")]
pub(super) struct AskedOrder {
    /// The engine's own id.
    id: String,
    /// What is traded.
    instrument: String,
    /// `buy` or `sell`.
    side: String,
    /// How much.
    qty: Decimal,
    /// Limit price, or the last price known.
    price: Option<Decimal>,
}

/// What an approval came to.
#[derive(Serialize, ToSchema)]
pub(super) struct Approved {
    #[serde(flatten)]
    recorded: Done,
    /// How many more people must approve.
    #[schema(minimum = 0, maximum = 1)]
    approvals_missing: usize,
    /// The token for this order, signed, once nobody's approval is missing.
    signed: Option<String>,
}

/// The orders of all strategies that wait for a person, oldest first.
#[utoipa::path(
    tag = "approvals",
    params(
        ("strategy" = Option<String>, Query, description = "Of this strategy alone"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 100"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page of them", body = Queue), Unseen),
    security(("key" = [])),
)]
#[get("/approvals")]
pub(super) async fn waiting(_: Allowed<Read>, request: HttpRequest, app: Data<App>) -> Result<Json<Queue>, Problem> {
    let query = Parameters::of(&request, &["strategy", "limit", "after"])?;
    let only: Option<StrategyId> = query.get("strategy")?;
    let (governor, now) = (&app.governed()?.governor, store::now());
    let all = found(governor, only, move |id, state| operate::awaited(id, state, now)).await;
    let key = |awaited: &Awaited| format!("{:020}/{}/{}", awaited.since.nanos(), awaited.strategy_id, awaited.order.id);
    let all = all.into_iter().map(|awaited| (key(&awaited), awaited));
    let (approvals, next) = page(&query, all.collect())?;
    Ok(Json(Queue { approvals, next }))
}

/// Approves an order that waits.
///
/// With the last approval the answer carries a signed token for exactly this order, and the engine asks the same order
/// again, with the token or without. A critical order takes two different people: until the second one,
/// `approvals_missing` is 1 and `signed` is null.
#[utoipa::path(
    tag = "approvals",
    request_body = WhyBody,
    params(
        ("strategy" = String, Path, description = "The strategy"),
        ("order_id" = String, Path, description = "The order, by its engine's id"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Approved), Acting),
    security(("key" = [])),
)]
#[post("/approvals/{strategy}/{order_id}/approve", wrap = "from_fn(once)")]
pub(super) async fn approve(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    path: Path<(String, String)>,
    body: Body,
) -> Result<Json<Approved>, Problem> {
    let mut act = Act::new(&app, &who, &request)?;
    let (strategy, order_id) = named(&path)?;
    let reason = only_reason(&request, &body)?;
    // A trial first: an approval whose token could not be signed is not recorded.
    sign(
        &app,
        &act,
        &strategy,
        Grant {
            id: TokenId::recorded(operate::new_id()),
            instruments: Vec::new(),
            side: None,
            notional_usd_max: None,
            order_id: Some(order_id.clone()),
            uses_max: 1,
            expires_at: act.at,
            issued_by: act.by.clone(),
        },
    )?;
    let reader = act.governed.governor.reader().clone();
    let (asked_by, asked) = (strategy.clone(), order_id.clone());
    let tied = move || operate::trace_of_order(&reader, &asked_by, &asked).map_err(|error| Problem::internal(&error));
    let trace = blocking(tied).await?;
    act.trace = trace.unwrap_or(act.trace);
    let command = Command::ApproveOrder { order_id: order_id.clone(), by: act.by.clone(), reason };
    let recorded = act.on(&strategy, command).await?;
    let signed = operate::granted(&recorded).map(|grant| sign(&app, &act, &strategy, grant.clone())).transpose()?;
    // Whoever approves after this one finds the order decided, or approved by one more.
    let approvals_missing = if signed.is_some() {
        0
    } else {
        let live = act.governed.governor.look(&strategy).await;
        let state = live.map(|live| live.state).unwrap_or_default();
        let approved = state.approvals.of(&order_id);
        approved.map_or(0, |order| Awaited::of(&strategy, &state, order, act.at).approvals_missing)
    };
    Ok(Json(Approved { recorded: Done::of(strategy.as_str(), &recorded), approvals_missing, signed }))
}

/// Says no to an order that waits. Where it had been approved, its token is taken back.
#[utoipa::path(
    tag = "approvals",
    request_body = WhyBody,
    params(
        ("strategy" = String, Path, description = "The strategy"),
        ("order_id" = String, Path, description = "The order, by its engine's id"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/approvals/{strategy}/{order_id}/decline", wrap = "from_fn(once)")]
pub(super) async fn decline(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    path: Path<(String, String)>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let (strategy, order_id) = named(&path)?;
    let (by, reason) = (act.by.clone(), only_reason(&request, &body)?);
    let recorded = act.on(&strategy, Command::DeclineOrder { order_id, by, reason }).await?;
    Ok(Json(Done::of(strategy.as_str(), &recorded)))
}

fn named(path: &(String, String)) -> Result<(StrategyId, SourceId), Problem> {
    Ok((id_of("strategy", &path.0)?, id_of("order_id", &path.1)?))
}

fn sign(app: &App, act: &Act<'_>, strategy: &StrategyId, grant: Grant) -> Result<String, Problem> {
    let claims = Claims::new(strategy.clone(), grant, act.at, act.trace.clone());
    app.signer.sign(&claims).map_err(|error| Problem::internal(&error))
}
