//! Policies put forward: by an operator, looked at by anyone, adopted by an administrator.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, get, post};
use ephor_events::StreamId;
use ephor_governance::policy::{Policy, PolicyId};
use ephor_governance::system::{self, Command, Proposal};
use ephor_governance::units::Timestamp;
use ephor_replay::audit::Scope;
use ephor_replay::what_if::{Variant, totals};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::auth::{Administer, Allowed, Operate, Read};
use super::super::body::Body;
use super::super::idempotency::{OnceKey, once};
use super::super::problem::Problem;
use super::super::query::Parameters;
use super::policy::of_json;
use super::{Act, Acting, Adopting, Unseen, WhyBody, blocking, fields, only_reason, reason};
use crate::input::{Code, Refusal};
use crate::keys::api::Permission;
use crate::operate::{self, Difference, Done};

/// A policy to be put forward.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body; `propose` reads it")]
pub(super) struct NewProposal {
    /// The whole policy; what is left out has its default.
    #[schema(value_type = Object)]
    policy: Value,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 1024, pattern = r"\S")]
    reason: String,
}

/// A policy that was put forward and waits to be adopted.
#[derive(Serialize, ToSchema)]
pub(super) struct Proposed {
    /// What the policy is known by.
    #[schema(example = "1f2e3d4c5b6a7980")]
    id: String,
    /// When it was put forward.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// On whose word.
    by: String,
    /// Why.
    reason: String,
    /// What it changes of the policy in force, field by field.
    changes: Vec<Difference>,
}

/// The policies that wait to be adopted.
#[derive(Serialize, ToSchema)]
pub(super) struct ProposedList {
    /// Oldest first; there are never more than 16.
    proposals: Vec<Proposed>,
}

/// A proposal, and what it would have meant.
#[derive(Serialize, ToSchema)]
pub(super) struct Weighed {
    #[serde(flatten)]
    proposed: Proposed,
    /// The whole policy.
    #[schema(value_type = Object)]
    policy: Value,
    /// The recorded history decided again under it: what all strategies add up to. `null` where nobody asked.
    #[schema(value_type = Option<Object>)]
    what_if: Option<Value>,
}

impl Proposed {
    fn of(proposal: &Proposal, in_force: &Policy) -> Self {
        Self {
            id: proposal.id.to_string(),
            since: proposal.since,
            by: proposal.by.to_string(),
            reason: proposal.reason.clone(),
            changes: operate::differences(in_force, &proposal.policy),
        }
    }
}

/// Puts a policy forward: it changes nothing until an administrator adopts it.
#[utoipa::path(
    tag = "policy",
    request_body = NewProposal,
    params(OnceKey),
    responses((status = 200, description = "It is recorded", body = Done), Acting),
    security(("key" = [])),
)]
#[post("/policy/proposals", wrap = "from_fn(once)")]
pub(super) async fn propose(
    who: Allowed<Operate>,
    request: HttpRequest,
    app: Data<App>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let fields = fields(&request, &body, &["policy", "reason"])?;
    let missing = || Problem::from(Refusal::field(Code::FieldMissing, "policy", "missing"));
    fields.object("policy")?;
    let policy = Arc::new(of_json(fields.value("policy").ok_or_else(missing)?)?);
    let (by, reason) = (act.by.clone(), reason(&fields)?);
    let recorded = act.on_all(Command::ProposePolicy { id: policy.id(), policy, by, reason }).await?;
    Ok(Json(Done::of(StreamId::system().as_str(), &recorded)))
}

/// The policies that wait to be adopted, and what each would change.
#[utoipa::path(
    tag = "policy",
    responses((status = 200, description = "All of them", body = ProposedList), Unseen),
    security(("key" = [])),
)]
#[get("/policy/proposals")]
pub(super) async fn list(
    _: Allowed<Read>,
    request: HttpRequest,
    app: Data<App>,
) -> Result<Json<ProposedList>, Problem> {
    Parameters::of(&request, &[])?;
    let view = app.governed()?.governor.system_view();
    let proposals = view.state.proposals.iter().map(|proposal| Proposed::of(proposal, &view.state.policy));
    Ok(Json(ProposedList { proposals: proposals.collect() }))
}

/// A proposal: what it would change, and what it would have meant for the recorded history.
///
/// The history is decided again from its beginning, one request at a time: 503 while another is under way. `what_if=false`
/// leaves it out.
#[utoipa::path(
    tag = "policy",
    params(
        ("id" = String, Path, description = "The policy's id"),
        ("what_if" = Option<bool>, Query, description = "Whether history is decided again under it, which takes a key of the role operator or admin; false"),
    ),
    responses((status = 200, description = "The proposal", body = Weighed), Unseen),
    security(("key" = [])),
)]
#[get("/policy/proposals/{id}")]
pub(super) async fn one(
    who: Allowed<Read>,
    request: HttpRequest,
    app: Data<App>,
    id: Path<String>,
) -> Result<Json<Weighed>, Problem> {
    let query = Parameters::of(&request, &["what_if"])?;
    let wanted = query.get("what_if")?.unwrap_or(false);
    let governor = &app.governed()?.governor;
    let view = governor.system_view();
    let proposal = named(&view.state, &id)?;
    if wanted && !who.caller.role.may(Permission::Operate) {
        let detail = "deciding history again needs a key of the role operator or admin";
        return Err(Problem::new(StatusCode::FORBIDDEN, "ROLE_INSUFFICIENT", detail));
    }
    let what_if = if wanted {
        let Ok(only) = app.acts.what_if.clone().try_acquire_owned() else {
            let detail = "history is being decided again for another request";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "WHAT_IF_BUSY", detail).retry_after(1));
        };
        let (reader, policy) = (governor.reader().clone(), proposal.policy.clone());
        let (name, id) = (proposal.id.to_string(), proposal.id);
        let judged = move || {
            // Held to its end, also where nobody waits for it any more.
            let _only = only;
            let variants = [Variant { name, policy, id }];
            let report = totals(&reader, &Scope::default(), &variants, &mut |_| {})?;
            serde_json::to_value(report).map_err(|error| Problem::internal(&error))
        };
        Some(blocking(judged).await?)
    } else {
        None
    };
    let policy = serde_json::to_value(&*proposal.policy).map_err(|error| Problem::internal(&error))?;
    Ok(Json(Weighed { proposed: Proposed::of(proposal, &view.state.policy), policy, what_if }))
}

/// Puts a proposed policy into force.
#[utoipa::path(
    tag = "policy",
    request_body = WhyBody,
    params(
        ("id" = String, Path, description = "The policy's id"),
        OnceKey,
    ),
    responses((status = 200, description = "It is recorded, and every gate decides by it from here on", body = Done), Adopting),
    security(("key" = [])),
)]
#[post("/policy/proposals/{id}/adopt", wrap = "from_fn(once)")]
pub(super) async fn adopt(
    who: Allowed<Administer>,
    request: HttpRequest,
    app: Data<App>,
    id: Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let act = Act::new(&app, &who, &request)?;
    let (by, reason) = (act.by.clone(), only_reason(&request, &body)?);
    let view = act.governed.governor.system_view();
    let proposal = named(&view.state, &id)?;
    let (id, policy) = (proposal.id, proposal.policy.clone());
    let recorded = act.on_all(Command::AdoptPolicy { id, policy, by, reason }).await?;
    Ok(Json(Done::of(StreamId::system().as_str(), &recorded)))
}

fn named<'a>(state: &'a system::State, id: &str) -> Result<&'a Proposal, Problem> {
    let unknown = || Problem::not_found("PROPOSAL_UNKNOWN", "no policy of this id waits to be adopted").at("id");
    let is_named = |known: PolicyId| known.to_string() == id;
    state.proposals.iter().find(|proposal| is_named(proposal.id)).ok_or_else(unknown)
}
