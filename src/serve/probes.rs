//! Is it alive, is it ready, how is it doing.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, get, web};
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::auth::{self, Allowed, Read};
use super::problem::{MEDIA_TYPE, Problem};

/// How the service is doing.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
}

/// Whether the service can do its work, part by part.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// Whether every part is ready.
    ready: bool,
    /// Whether governance is enabled at all.
    governance_enabled: bool,
    /// Each part and, where it is not ready, what is wrong; without a known key, no more than that something is.
    parts: BTreeMap<String, Option<String>>,
}

impl Readiness {
    /// How the service is doing now.
    pub async fn of(app: &App) -> Self {
        let mut parts = BTreeMap::from([("intake".to_owned(), app.is_closing().then(|| "shutting down".to_owned()))]);
        if let Ok(governed) = app.governed() {
            parts.insert("actors".to_owned(), app.silent_parts().await);
            let round = governed.last_round.borrow().clone();
            // The log's own check is whether the journal can write.
            let journal = round.results.get("log").cloned();
            parts.insert("journal".to_owned(), journal.unwrap_or_else(|| Some("not checked yet".to_owned())));
            let needed = governed.connections.iter().filter(|one| one.is_needed());
            parts.extend(needed.map(|one| (one.name().to_string(), one.error())));
        }
        let ready = parts.values().all(Option::is_none);
        Self { ready, governance_enabled: app.governor().is_some(), parts }
    }
}

/// The process answers.
#[utoipa::path(tag = "service", responses((status = 200, description = "It does", body = Health)))]
#[get("/healthz")]
pub(super) async fn healthz() -> web::Json<Health> {
    web::Json(Health { status: "ok" })
}

/// The service can do its work: recovered, journal writable, gates answering, buses connected, not shutting down.
#[utoipa::path(
    tag = "service",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot", body = Readiness),
    ),
)]
#[get("/readyz")]
pub(super) async fn readyz(request: HttpRequest, app: web::Data<App>) -> HttpResponse {
    let mut readiness = app.readiness().await;
    if auth::caller(&request, &app).is_err() {
        // What is wrong tells of addresses and files.
        readiness.parts.values_mut().flatten().for_each(|wrong| "not ready".clone_into(wrong));
    }
    if readiness.ready {
        HttpResponse::Ok().json(readiness)
    } else {
        HttpResponse::ServiceUnavailable().json(readiness)
    }
}

/// Figures for Prometheus.
#[utoipa::path(
    tag = "service",
    responses(
        (status = 200, description = "Text exposition format 0.0.4", body = String, content_type = "text/plain; version=0.0.4"),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/metrics")]
pub(super) async fn metrics(_: Allowed<Read>, app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let families = app.measured().await;
    let mut bytes = Vec::new();
    TextEncoder::new().encode(&families, &mut bytes).map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(bytes))
}
