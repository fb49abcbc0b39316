//! Kill switches: engage, list, re-arm.

use actix_web::middleware::from_fn;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, get, post};
use ephor_events::StreamId;
use ephor_governance::system::Command;
use ephor_governance::units::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::auth::{Allowed, Operate, Read};
use super::super::body::Body;
use super::super::idempotency::{OnceKey, once};
use super::super::problem::Problem;
use super::super::query::Parameters;
use super::{Act, Acting, Unseen, fields, page, reason};
use crate::input::required;
use crate::operate::{Covers, Done};

/// A kill switch to be engaged.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body; `engage` reads it")]
pub(super) struct NewKill {
    /// What it covers: `all`, `strategy:ID`, `instrument:ID` or `venue:ID`.
    #[schema(pattern = "^(all|(strategy|instrument|venue):.+)$", example = "venue:XCME")]
    scope: String,
    /// Stop orders that only reduce a position, too.
    block_exits: Option<bool>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 1024, pattern = r"\S")]
    reason: String,
}

/// A kill switch to be released.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body; `rearm` reads it")]
pub(super) struct Rearm {
    /// What it covers: `all`, `strategy:ID`, `instrument:ID` or `venue:ID`.
    #[schema(pattern = "^(all|(strategy|instrument|venue):.+)$", example = "venue:XCME")]
    scope: String,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 1024, pattern = r"\S")]
    reason: String,
}

/// A kill switch that is engaged.
#[derive(Serialize, ToSchema)]
pub(super) struct Engaged {
    /// What it covers: `all`, `strategy:ID`, `instrument:ID` or `venue:ID`.
    #[schema(example = "venue:XCME")]
    scope: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// On whose word.
    by: String,
    /// Why.
    reason: String,
    /// Whether orders that only reduce a position are stopped, too.
    block_exits: bool,
}

/// The kill switches that are engaged.
#[derive(Serialize, ToSchema)]
pub(super) struct EngagedList {
    /// By scope.
    kills: Vec<Engaged>,
    /// Give it as `after` for the next page; `null` on the last.
    next: Option<String>,
}

/// Stops orders at once, until a person re-arms. Answered when it is durable and every gate has adopted it.
#[utoipa::path(
    tag = "kill",
    request_body = NewKill,
    params(OnceKey),
    responses((status = 200, description = "It is recorded, and no order passes it from here on", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/kill", wrap = "from_fn(once)")]
pub(super) async fn engage(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let fields = fields(&request, &body, &["scope", "block_exits", "reason"])?;
    let Covers(scope) = required("scope", fields.id("scope"))?;
    let exits_blocked = fields.flag("block_exits")?.unwrap_or(false);
    let (by, reason) = (act.by.clone(), reason(&fields)?);
    let recorded = act.on_all(Command::EngageKillSwitch { scope, exits_blocked, by, reason }).await?;
    Ok(Json(Done::of(StreamId::system().as_str(), &recorded)))
}

/// The kill switches that are engaged.
#[utoipa::path(
    tag = "kill",
    params(
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 100"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page of them", body = EngagedList), Unseen),
    security(("key" = [])),
)]
#[get("/kill")]
pub(super) async fn engaged(
    _: Allowed<Read>,
    request: HttpRequest,
    app: Data<App>,
) -> Result<Json<EngagedList>, Problem> {
    let query = Parameters::of(&request, &["limit", "after"])?;
    let view = app.governed()?.governor.system_view();
    let kills = view.state.kills.iter().map(|(scope, kill)| {
        let scope = Covers(scope.clone()).to_string();
        let engaged = Engaged {
            scope: scope.clone(),
            since: kill.since,
            by: kill.by.to_string(),
            reason: kill.reason.clone(),
            block_exits: kill.exits_blocked,
        };
        (scope, engaged)
    });
    let (kills, next) = page(&query, kills.collect())?;
    Ok(Json(EngagedList { kills, next }))
}

/// Releases a kill switch.
#[utoipa::path(
    tag = "kill",
    request_body = Rearm,
    params(OnceKey),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/kill/rearm", wrap = "from_fn(once)")]
pub(super) async fn rearm(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let fields = fields(&request, &body, &["scope", "reason"])?;
    let Covers(scope) = required("scope", fields.id("scope"))?;
    let (by, reason) = (act.by.clone(), reason(&fields)?);
    let recorded = act.on_all(Command::ReleaseKillSwitch { scope, by, reason }).await?;
    Ok(Json(Done::of(StreamId::system().as_str(), &recorded)))
}
