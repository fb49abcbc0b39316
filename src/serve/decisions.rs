//! Decisions by what they are traced with, and why.

use actix_web::{HttpRequest, HttpResponse, get, web};
use ephor_events::Seq;
use ephor_replay::ReplayError;
use ephor_replay::why::{Target, decisions_of, why};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::app::App;
use super::auth::{Allowed, Read};
use super::problem::{MEDIA_TYPE, Problem};
use super::query::Parameters;
use super::reading::read;

/// Decisions in a page: each is explained out of the whole history before it.
const DECISIONS_MAX: usize = 20;
/// Decisions in a page where nobody says how many.
const DECISIONS: usize = 5;

/// Decisions with what they rest on.
#[derive(ToSchema)]
pub struct Explained {
    /// Oldest first, each as `ephor why --json` gives it: the event, what it follows from, the policy, where the
    /// strategy stood, what every component said, and what would have had to be otherwise.
    #[schema(value_type = Vec<Object>)]
    pub decisions: Vec<Value>,
    /// The `from` to go on with; `null` where there is no more.
    #[schema(required = true)]
    pub next: Option<u64>,
}

/// The decisions of an order or a trace, oldest first, and why.
///
/// An order that was decided again, because a kill or an approval came in between, has more than one.
#[utoipa::path(
    tag = "decisions",
    params(
        ("trace_id" = String, Path, description = "A trace id, or the id of an order or signal"),
        ("from" = Option<u64>, Query, description = "From this seq on; 1 if not given", minimum = 1),
        ("limit" = Option<u64>, Query, description = "At most so many; 5 if not given", minimum = 1, maximum = 20),
    ),
    responses(
        (status = 200, description = "The decisions", body = Explained),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 404, description = "No decision goes by it", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "Reading took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 500, description = "The log cannot be read", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "Shutting down", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/decisions/{trace_id}")]
pub(super) async fn decisions_by_trace(
    _: Allowed<Read>,
    request: HttpRequest,
    trace: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let trace = trace.into_inner();
    let parameters = Parameters::of(&request, &["from", "limit"])?;
    let from = Seq(parameters.seq("from")?.unwrap_or(1));
    let limit = parameters.within("limit", DECISIONS, DECISIONS_MAX)?;
    let explained = read(&app, move |governed| {
        let reader = governed.governor.reader();
        let found = decisions_of(reader, &trace, from, limit + 1)?;
        if found.is_empty() && from <= Seq(1) {
            return Err(Problem::not_found("DECISION_UNKNOWN", format!("no decision goes by {trace:?}")));
        }
        let next = found.get(limit).copied();
        let decisions = found.iter().take(limit).map(|seq| why(reader, &Target::Seq(*seq)));
        let decisions = decisions.collect::<Result<Vec<_>, ReplayError>>()?;
        Ok(json!({ "decisions": decisions, "next": next }))
    });
    Ok(HttpResponse::Ok().json(explained.await?))
}
