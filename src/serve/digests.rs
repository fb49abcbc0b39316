//! What the live actors hold, by its digests: whoever folds the log beside the service can hold its own against them.

use std::collections::HashSet;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, web};
use ephor_events::{Reader, StreamId, Version};
use ephor_governance::ids::StrategyId;
use ephor_replay::fold::{Digest, digest_of_strategy, digest_of_system};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::app::App;
use super::auth::{Allowed, Read};
use super::events::PAGE_MAX;
use super::problem::{MEDIA_TYPE, Problem};
use super::query::Parameters;

/// How long the log may be behind the actors: a commit is in their state before it is written.
const BEHIND_MAX: Duration = Duration::from_secs(5);

/// What one stream's live state is known by.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveDigest {
    /// The strategy, or `system`.
    #[schema(value_type = String)]
    pub stream: StreamId,
    /// The version of the last event in it.
    #[schema(value_type = u64)]
    pub version: Version,
    /// BLAKE3 over the JSON of the state, 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// What live states are known by.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveDigests {
    /// Strategies that have an actor, in the order of their ids.
    pub strategies: Vec<LiveDigest>,
    /// The system that every gate has adopted.
    pub system: LiveDigest,
    /// The `after` to go on with; `null` on the last page.
    #[schema(required = true, value_type = Option<String>)]
    pub next: Option<StrategyId>,
}

/// Versions and digests of the live states. Whatever they say is in the log when they say it.
#[utoipa::path(
    tag = "service",
    params(
        ("limit" = Option<u64>, Query, description = "At most so many; 1000 if not given", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "Those behind this strategy"),
    ),
    responses(
        (status = 200, description = "A page of digests", body = LiveDigests),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "It took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 500, description = "A state has no digest", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "The log is behind the live states, or shutting down", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/digests")]
pub(super) async fn live_digests(
    _: Allowed<Read>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let parameters = Parameters::of(&request, &["limit", "after"])?;
    let limit = parameters.within("limit", PAGE_MAX, PAGE_MAX)?;
    let after: Option<StrategyId> = parameters.get("after")?;
    let governor = &app.governed()?.governor;
    let mut ids = governor.survey(|id, _, _, _| id.clone()).await;
    ids.retain(|id| after.as_ref().is_none_or(|after| id > after));
    let next = ids.get(limit.saturating_sub(1)).filter(|_| ids.len() > limit).cloned();
    ids.truncate(limit);
    let wanted: HashSet<StrategyId> = ids.into_iter().collect();
    let seen = governor.survey(move |id, state, version, _| {
        wanted.contains(id).then(|| (StreamId::new(id.as_str()), version, digest_of_strategy(id, state)))
    });
    let mut strategies = Vec::new();
    for (stream, version, digest) in seen.await.into_iter().flatten() {
        strategies.push(LiveDigest { stream, version, digest: digest? });
    }
    let view = governor.system_view();
    let system =
        LiveDigest { stream: StreamId::system(), version: view.version, digest: digest_of_system(&view.state)? };
    recorded(governor.reader(), strategies.iter().chain([&system])).await?;
    Ok(HttpResponse::Ok().json(json!(LiveDigests { strategies, system, next })))
}

/// Comes back when the log has everything that these states have.
async fn recorded(reader: &Reader, all: impl Iterator<Item = &LiveDigest>) -> Result<(), Problem> {
    let waiting = async {
        for live in all {
            while reader.version_of(&live.stream) < live.version {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    tokio::time::timeout(BEHIND_MAX, waiting).await.map_err(|_| {
        let detail = "the log has not taken up what the live states have";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "JOURNAL_UNAVAILABLE", detail).retry_after(1)
    })
}
