//! The drill of the kill switch: how long a kill takes until no gate decides without it.
//!
//! It goes the real way, on a scope that covers no order: a name that no strategy can have.

use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, post};
use ephor_actors::Recorded;
use ephor_events::StreamId;
use ephor_governance::event::Scope;
use ephor_governance::ids::StrategyId;
use ephor_governance::system::Command;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::auth::{Allowed, Operate};
use super::super::body::Body;
use super::super::idempotency::{OnceKey, once};
use super::super::problem::Problem;
use super::{Act, Acting, WhyBody, only_reason};
use crate::operate::{Covers, Done};

/// What a drill has measured.
#[derive(Serialize, ToSchema)]
pub(super) struct Drilled {
    /// What was killed: a name that no strategy can have.
    #[schema(example = "strategy:ephor-drill")]
    scope: String,
    /// Milliseconds until the kill was durable and every gate had adopted it.
    engaged_ms: f64,
    /// Milliseconds until its release was.
    released_ms: f64,
    /// How many gates there are.
    gates: usize,
    /// What was recorded of the kill.
    engaged: Done,
    /// What was recorded of its release.
    released: Done,
}

/// Engages and releases a kill switch that covers no order, and measures how long it takes.
///
/// Milliseconds are those until the kill was durable and every gate had adopted it. One drill at a time.
#[utoipa::path(
    tag = "kill",
    request_body = WhyBody,
    params(OnceKey),
    responses((status = 200, description = "What was measured", body = Drilled), Acting),
    security(("key" = [])),
)]
#[post("/kill/drill", wrap = "from_fn(once)")]
pub(super) async fn drill(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    body: Body,
) -> Result<Json<Drilled>, Problem> {
    let reason = only_reason(&request, &body)?;
    let here = app.clone();
    // To its end, where its sender has gone: a drill leaves no kill engaged.
    let drilling = actix_web::rt::spawn(async move {
        let act = Act::new(&here, &who, &request)?;
        exercise(&here, &act, reason).await
    });
    drilling.await.map_err(|panic| Problem::internal(&panic))?.map(Json)
}

async fn exercise(app: &App, act: &Act<'_>, reason: String) -> Result<Drilled, Problem> {
    let Ok(_only) = app.acts.drill.clone().try_acquire_owned() else {
        return Err(Problem::new(StatusCode::CONFLICT, "DRILL_UNDER_WAY", "another drill is under way"));
    };
    let scope = Scope::Strategy(StrategyId::drill());
    let release = || Command::ReleaseKillSwitch { scope: scope.clone(), by: act.by.clone(), reason: reason.clone() };
    if act.governed.governor.system_view().state.kills.contains_key(&scope) {
        // A drill before this one could not be ended.
        act.on_all(release()).await?;
    }
    let (by, said) = (act.by.clone(), reason.clone());
    let engage = Command::EngageKillSwitch { scope: scope.clone(), exits_blocked: false, by, reason: said };
    let (engaged, engaged_ms) = timed(act, engage).await?;
    let (released, released_ms) = timed(act, release()).await?;
    let done = |recorded: &Recorded| Done::of(StreamId::system().as_str(), recorded);
    Ok(Drilled {
        scope: Covers(scope.clone()).to_string(),
        engaged_ms,
        released_ms,
        gates: act.governed.governor.gates(),
        engaged: done(&engaged),
        released: done(&released),
    })
}

async fn timed(act: &Act<'_>, command: Command) -> Result<(Recorded, f64), Problem> {
    let started = Instant::now();
    let recorded = act.on_all(command).await?;
    Ok((recorded, started.elapsed().as_secs_f64() * 1_000.0))
}
