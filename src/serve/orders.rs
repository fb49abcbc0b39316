//! The hot path: an engine asks before it sends an order.

use std::num::NonZeroU32;
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post, web};
use ephor_actors::{Recorded, Request};
use ephor_events::Seq;
use ephor_governance::ids::{SourceId, StrategyId, TokenId};
use ephor_governance::strategy::Command;
use futures::future::{Either, join_all, ready};
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use super::answer::Answer;
use super::app::App;
use super::auth::{Allowed, Trade};
use super::body::Body;
use super::headers::{idempotency_key, json_in_utf8, trace_of};
use super::problem::{MEDIA_TYPE, Problem};
use super::schema::Decimal;
use crate::input::{Check, Parser};
use crate::store;

const PARSER: Parser = Parser::live(store::now);

/// The most orders in one batch.
pub const BATCH_MAX: usize = 256;

/// An order before any venue has seen it. Fields that are not listed are ignored; what the engine does not know it leaves
/// out: it is then taken at its worst.
#[derive(ToSchema)]
pub struct OrderCheck {
    /// The engine's own id: asking twice with one id gives one decision. May stand in `Idempotency-Key` instead.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub order_id: String,
    /// Whose order it is.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub strategy_id: String,
    /// What is traded.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", example = "EUR/USD.SIM")]
    pub instrument: String,
    /// `BUY` or `SELL`, in either case.
    #[schema(pattern = "^([Bb][Uu][Yy]|[Ss][Ee][Ll][Ll])$", example = "BUY")]
    pub side: String,
    /// How much, in the instrument's own units. Above zero.
    pub qty: Decimal,
    /// Limit price, or the last price known.
    pub price: Option<Decimal>,
    /// The last price known, where there is no `price`.
    pub ref_price: Option<Decimal>,
    /// The engine's own figure for quantity x price x multiplier, in `currency`. Not negative.
    pub notional: Option<Decimal>,
    /// What prices, notional and equity are counted in.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", example = "USD")]
    pub currency: Option<String>,
    /// Where, if the engine says.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub venue: Option<String>,
    /// It can only make a position smaller. Left out, an order is taken to open.
    pub reduce_only: Option<bool>,
    /// Leverage of the account with this order. Not negative.
    pub leverage: Option<Decimal>,
    /// Signed position in the instrument before the order.
    pub position_qty: Option<Decimal>,
    /// Equity of the account before the order, in `currency`.
    pub equity: Option<Decimal>,
    /// Open positions of the account before the order.
    pub open_positions: Option<u32>,
    /// The execution token that the engine presents: its id, or the signed token itself.
    #[schema(min_length = 1, max_length = 1024, pattern = "^[!-~]+$")]
    pub token: Option<String>,
    /// Ties the order to what else is recorded of it; else the one in `traceparent`, else the order's id.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub trace_id: Option<String>,
    /// When the engine made the order.
    #[schema(format = DateTime)]
    pub ts: Option<String>,
}

/// Several orders. They are decided in their order.
#[derive(ToSchema)]
pub struct OrderChecks {
    /// The orders.
    #[schema(min_items = 1, max_items = 256)]
    pub orders: Vec<OrderCheck>,
}

/// What one order of a batch came to: a decision, or the problem that stands in its way.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Checked {
    /// The gate's answer.
    Decision(Answer<'static>),
    /// Why there is none.
    Problem(Problem),
}

/// What a batch came to.
#[derive(ToSchema)]
pub struct CheckedOrders {
    /// One for each order, in their order.
    pub results: Vec<Checked>,
}

/// May this order go out, and how large?
///
/// The answer leaves when its record is durable. Asking again with the same order id gives the recorded answer. Any answer
/// but a decision means that the order must not go out.
#[utoipa::path(
    tag = "orders",
    request_body = OrderCheck,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Stands in for `order_id`; where both are given they must agree"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; its trace id is recorded"),
    ),
    responses(
        (status = 200, description = "The decision", body = Answer),
        (status = 400, description = "Not JSON", body = Problem, content_type = MEDIA_TYPE),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 403, description = "Not of the role engine or admin", body = Problem, content_type = MEDIA_TYPE),
        (status = 404, description = "The strategy was never registered", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "The body took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "The order id was used for another order", body = Problem, content_type = MEDIA_TYPE),
        (status = 413, description = "The body is too large", body = Problem, content_type = MEDIA_TYPE),
        (status = 415, description = "Not application/json in UTF-8", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A field is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "No answer could be recorded: the order must not go out", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[post("/orders/check")]
pub(super) async fn check_order(
    allowed: Allowed<Trade>,
    request: HttpRequest,
    app: web::Data<App>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    json_in_utf8(&request).map_err(Problem::blocking)?;
    app.arrived(allowed.caller.name.as_str());
    let key = idempotency_key(&request).map_err(Problem::blocking)?;
    let bytes = check(&app, &body, key, trace_of(&request)).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(bytes))
}

/// What is answered to one question about an order, however it came: the JSON of the answer.
///
/// # Errors
/// What stands in the way of a decision; the order must not go out.
pub async fn check(
    app: &web::Data<App>,
    body: &[u8],
    key: Option<SourceId>,
    trace: Option<SmolStr>,
) -> Result<Vec<u8>, Problem> {
    let parsed = PARSER.check(body, key.as_ref()).map_err(|refusal| Problem::from(refusal).blocking())?;
    if let Some(key) = key.filter(|key| *key != parsed.order.id) {
        let detail = format!("order_id is {:?}, Idempotency-Key is {:?}", parsed.order.id.as_str(), key.as_str());
        let mismatch = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_MISMATCH", detail);
        return Err(mismatch.at("Idempotency-Key").blocking());
    }
    let answered = ask(app, parsed, trace).await?;
    let mut bytes = Vec::with_capacity(2_048);
    answered.write(&mut bytes)?;
    Ok(bytes)
}

/// Several orders at once.
///
/// They are decided in their order; one that cannot be decided stops none of the others. The status is 200 also where every
/// order met a problem: read each result.
#[utoipa::path(
    tag = "orders",
    request_body = OrderChecks,
    params(("traceparent" = Option<String>, Header, description = "W3C trace context; its trace id is recorded")),
    responses(
        (status = 200, description = "One result for each order", body = CheckedOrders),
        (status = 400, description = "Not JSON", body = Problem, content_type = MEDIA_TYPE),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 403, description = "Not of the role engine or admin", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "The body took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 413, description = "The body is too large", body = Problem, content_type = MEDIA_TYPE),
        (status = 415, description = "Not application/json in UTF-8", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A field is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "No answer could be recorded", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[post("/orders/check:batch")]
pub(super) async fn check_orders(
    allowed: Allowed<Trade>,
    request: HttpRequest,
    app: web::Data<App>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    json_in_utf8(&request).map_err(Problem::blocking)?;
    app.arrived(allowed.caller.name.as_str());
    let parsed = PARSER.checks(&body, BATCH_MAX).map_err(|refusal| Problem::from(refusal).blocking())?;
    // Each order counts; the request itself has been counted.
    if let Some(more) = u32::try_from(parsed.len() - 1).ok().and_then(NonZeroU32::new) {
        app.within_rate(&allowed.caller, more)?;
    }
    let trace = trace_of(&request);
    // Each takes its place as it is looked at, so they are decided in their order and written as one group.
    let asked: Vec<_> = parsed
        .into_iter()
        .map(|parsed| match parsed {
            Ok(check) => Either::Left(ask(&app, check, trace.clone())),
            Err(refusal) => Either::Right(ready(Err(Problem::from(refusal).blocking()))),
        })
        .collect();
    let mut bytes = b"{\"results\":[".to_vec();
    for (index, answer) in join_all(asked).await.into_iter().enumerate() {
        bytes.extend_from_slice(if index > 0 { b"," } else { b"" });
        match answer {
            Ok(answered) => answered.write(&mut bytes)?,
            Err(problem) => put(&problem, &mut bytes)?,
        }
    }
    bytes.extend_from_slice(b"]}");
    Ok(HttpResponse::Ok().content_type("application/json").body(bytes))
}

/// What came of one order.
struct Answered {
    strategy: StrategyId,
    order_id: SourceId,
    trace: SmolStr,
    /// `None` where governance is disabled.
    recorded: Option<Recorded>,
}

impl Answered {
    fn write(&self, bytes: &mut Vec<u8>) -> Result<(), Problem> {
        let Some(recorded) = &self.recorded else {
            return put(&Answer::ungoverned(&self.strategy, self.order_id.as_str(), &self.trace), bytes);
        };
        match recorded.decision() {
            Some(decision) => put(&Answer::recorded(&self.strategy, &self.trace, recorded, decision), bytes),
            // A check is always recorded with its decision.
            None => {
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "JOURNAL_UNAVAILABLE", "no decision was recorded")
                    .blocking())
            }
        }
    }
}

fn put(value: &impl Serialize, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    serde_json::to_writer(bytes, value).map_err(|error| Problem::internal(&error))
}

/// Asks about one order. It takes its place at once; the answer comes when its record is durable.
fn ask(
    app: &web::Data<App>,
    check: Check,
    trace: Option<SmolStr>,
) -> impl Future<Output = Result<Answered, Problem>> + use<> {
    let Check { strategy, mut order, trace: own, occurred_at, signed } = check;
    let trace = own.or(trace).unwrap_or_else(|| order.id.text());
    let order_id = order.id.clone();
    let at = app.now();
    let asked = match (app.governor(), signed.map(|signed| token_of(app, &signed, &strategy)).transpose()) {
        (None, _) => Ok(None),
        (Some(_), Err(problem)) => Err(problem),
        (Some(governor), Ok(token)) => {
            order.token = token.or(order.token);
            let command = Command::CheckOrder { order, attempt: 0 };
            let (strategy, trace) = (strategy.clone(), trace.clone());
            Ok(Some(governor.ask(Request { strategy, command, at, trace, occurred_at })))
        }
    };
    let app = app.clone();
    let started = Instant::now();
    async move {
        let Some(asked) = asked? else { return Ok(Answered { strategy, order_id, trace, recorded: None }) };
        let recorded = asked.await.map_err(|failure| {
            app.figures.failed(&failure);
            Problem::from(failure).blocking()
        })?;
        app.figures.decided(&strategy, &recorded, started.elapsed());
        let trace = if recorded.repeat { recorded_trace(&app, recorded.seq).await.unwrap_or(trace) } else { trace };
        Ok(Answered { strategy, order_id, trace, recorded: Some(recorded) })
    }
}

/// The trace that an answer was recorded under: a retry may come with another.
async fn recorded_trace(app: &App, seq: Seq) -> Option<SmolStr> {
    let reader = app.governor()?.reader().clone();
    let commit = web::block(move || reader.commit_of(seq)).await.ok()?.ok()??;
    Some(commit.trace.clone()).filter(|trace| !trace.is_empty())
}

/// The id of a signed token that is what it says it is. Whether it is still in force is for the gate to say: an order
/// that was decided in its time has its answer for ever.
fn token_of(app: &App, signed: &str, strategy: &StrategyId) -> Result<TokenId, Problem> {
    let refused = |code: &str, detail: String| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).at("token").blocking()
    };
    let claims = app.verifier.signed(signed).map_err(|error| refused(error.code(), error.to_string()))?;
    if claims.strategy != *strategy {
        return Err(refused("TOKEN_OUT_OF_SCOPE", format!("the token is for {}", claims.strategy)));
    }
    Ok(claims.grant.id)
}
