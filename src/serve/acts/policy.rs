//! The policy in force, and whether another would do.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, get, post};
use ephor_events::codec::decode_all;
use ephor_events::{Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::policy::Policy;
use ephor_governance::units::Timestamp;
use ephor_replay::ReplayError;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::auth::{Allowed, Read};
use super::super::body::Body;
use super::super::headers::{json_in_utf8, of_type};
use super::super::problem::Problem;
use super::super::query::Parameters;
use super::{Asking, Unseen, blocking};
use crate::input::{Code, Fields, Refusal, text};
use crate::operate::{self, Difference};

/// The sections of a policy.
const SECTIONS: [&str; 7] =
    ["gate", "maturity", "health_score", "impact_classifier", "drift_detector", "execution_tokens", "canary"];

/// The policy in force.
#[derive(Serialize, ToSchema)]
pub(super) struct InForce {
    /// What it is known by: the digest of its canonical form.
    #[schema(example = "1f2e3d4c5b6a7980")]
    policy_id: String,
    /// How it came into force; `null` where nobody has adopted any.
    adopted: Option<Adoption>,
    /// Every threshold.
    #[schema(value_type = Object)]
    policy: Value,
}

/// How a policy came into force.
#[derive(Serialize, ToSchema)]
pub(super) struct Adoption {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Where it is recorded.
    #[schema(value_type = u64)]
    seq: Seq,
    /// On whose word.
    by: String,
    /// Why.
    reason: String,
}

/// A policy that would do.
#[derive(Serialize, ToSchema)]
#[schema(as = CheckedPolicy)]
pub(super) struct Checked {
    /// What it would be known by.
    policy_id: String,
    /// Whether it is the one in force.
    in_force: bool,
    /// What it changes of the policy in force, field by field.
    changes: Vec<Difference>,
}

/// The policy in force: its digest, since when, on whose word, and every threshold.
#[utoipa::path(
    tag = "policy",
    responses((status = 200, description = "The policy", body = InForce), Unseen),
    security(("key" = [])),
)]
#[get("/policy")]
pub(super) async fn in_force(_: Allowed<Read>, request: HttpRequest, app: Data<App>) -> Result<Json<InForce>, Problem> {
    Parameters::of(&request, &[])?;
    let governor = &app.governed()?.governor;
    let reader = governor.reader().clone();
    let view = governor.system_view();
    let upto = view.version;
    let adopted = blocking(move || Ok(adoption(&reader, upto)?)).await?;
    let policy = serde_json::to_value(&*view.state.policy).map_err(|error| Problem::internal(&error))?;
    Ok(Json(InForce { policy_id: view.state.policy_id.to_string(), adopted, policy }))
}

/// The last adoption up to a version of the system's stream, looked for from its end.
fn adoption(reader: &Reader, upto: Version) -> Result<Option<Adoption>, ReplayError> {
    let (stream, mut end, mut span) = (StreamId::system(), upto.0, 256);
    while end > 0 {
        let start = end.saturating_sub(span - 1).max(1);
        let mut cursor = reader.stream(&stream, Version(start))?;
        let mut found = None;
        while let Some(commit) = cursor.next()?.filter(|commit| commit.version.0 <= end) {
            for (event, seq) in decode_all(&commit).zip(commit.seq.0..) {
                if let Event::PolicyAdopted { by, reason, .. } = event? {
                    let at = Timestamp::from_nanos(commit.decided_at);
                    found = Some(Adoption { at, seq: Seq(seq), by: by.to_string(), reason });
                }
            }
        }
        if found.is_some() {
            return Ok(found);
        }
        (end, span) = (start - 1, span.saturating_mul(2));
    }
    Ok(None)
}

/// Whether a policy would do, and what it would change.
///
/// JSON or TOML, by the body's media type. What is left out has its default, as in a policy file. Nothing is recorded.
#[utoipa::path(
    tag = "policy",
    request_body(
        content((Object = "application/json"), (String = "application/toml")),
        description = "Sections with their thresholds, as `ephor policy show` prints them; amounts are best given as texts",
    ),
    responses((status = 200, description = "It would do", body = Checked), Asking),
    security(("key" = [])),
)]
#[post("/policy/check")]
pub(super) async fn check(
    _: Allowed<Read>,
    request: HttpRequest,
    app: Data<App>,
    body: Body,
) -> Result<Json<Checked>, Problem> {
    let view = app.governed()?.governor.system_view();
    let policy = if of_type(&request, "application/toml").is_ok() {
        of_toml(text(&body)?)?
    } else {
        json_in_utf8(&request).map_err(|_| {
            let detail = "expected application/json or application/toml, in UTF-8";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Problem::new(status, "MEDIA_TYPE_UNSUPPORTED", detail).at("Content-Type")
        })?;
        of_json(text(&body)?)?
    };
    let id = policy.id();
    Ok(Json(Checked {
        policy_id: id.to_string(),
        in_force: view.state.policy_adopted && id == view.state.policy_id,
        changes: operate::differences(&view.state.policy, &policy),
    }))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "POLICY_INVALID", detail)
}

fn of_toml(text: &str) -> Result<Policy, Problem> {
    operate::policy_of_toml(text).map_err(|problem| {
        let said = invalid(problem.to_string());
        match problem.field {
            Some(field) => said.at(field),
            None => said,
        }
    })
}

/// A policy out of JSON, checked.
pub(super) fn of_json(text: &str) -> Result<Policy, Problem> {
    let fields = Fields::of(text)?.only(&SECTIONS)?;
    for section in SECTIONS {
        // Refuses a name that stands there twice, however deep.
        fields.canonical(section)?;
        if fields.value(section).is_some() {
            fields.object(section)?;
        }
    }
    let policy: Policy = serde_json::from_str(text).map_err(|error| {
        let refusal = Refusal::line(Code::FieldMalformed, error.to_string());
        let section = SECTIONS.into_iter().find(|section| {
            fields.value(section).is_some_and(|raw| {
                let alone = format!("{{\"{section}\":{raw}}}");
                serde_json::from_str::<Policy>(&alone).is_err()
            })
        });
        match section {
            Some(section) => invalid(refusal.problem).at(section),
            None => invalid(refusal.problem),
        }
    })?;
    policy.validate().map_err(|error| invalid(error.problem).at(error.field))?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str) -> (String, Option<String>) {
        let problem = of_json(text).unwrap_err();
        (problem.code().to_owned(), problem.field().map(str::to_owned))
    }

    #[test]
    fn a_policy_in_json_is_checked_to_the_field() {
        let whole = serde_json::to_string(&Policy::default()).unwrap();
        assert_eq!(of_json(&whole).unwrap(), Policy::default());
        assert_eq!(of_json("{}").unwrap(), Policy::default());
        let at = |code: &str, field: &str| (code.to_owned(), Some(field.to_owned()));
        assert_eq!(refused("{\"maturity\":{\"demotion_drawdwon\":\"0.1\"}}"), at("POLICY_INVALID", "maturity"));
        assert_eq!(refused("{\"maturity\":7}"), at("FIELD_MALFORMED", "maturity"));
        let order = refused("{\"drift_detector\":{\"pause_above_pct\":10}}");
        assert_eq!(order, at("POLICY_INVALID", "drift_detector.pause_above_pct"));
        let twice = "{\"impact_classifier\":{\"usd_per\":{\"EUR\":\"1\",\"EUR\":\"9\"}}}";
        assert_eq!(refused(twice), at("FIELD_MALFORMED", "impact_classifier"));
        assert_eq!(refused("{\"maturty\":{}}").0, "FIELD_UNKNOWN");
        assert_eq!(refused("[]").0, "LINE_NOT_OBJECT");
        assert_eq!(refused("{").0, "LINE_NOT_JSON");
    }
}
