//! The acting half: what operators do to strategies, orders, tokens, kill switches and the policy.
//!
//! Every act is on the word of the API key's name, never of a name in the body; it is one commit, and the answer
//! is what was recorded.

mod approvals;
mod drill;
mod kill;
mod policy;
mod proposals;
mod strategies;
mod tokens;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use actix_web::{HttpRequest, web};
use ephor_actors::{Governor, Recorded, Request};
use ephor_governance::ids::{Actor, StrategyId};
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use smol_str::SmolStr;
use tokio::sync::Semaphore;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::app::{App, Governed};
use super::auth::Allowed;
use super::headers::{json_in_utf8, trace_of};
use super::idempotency::Answers;
use super::problem::{MEDIA_TYPE, Problem};
use super::query::Parameters;
use crate::input::{Fields, required, text};
use crate::operate;

/// What acts keep between requests.
pub struct Acts {
    /// What was answered under an `Idempotency-Key`.
    pub answers: Answers,
    /// Held by the drill that is under way.
    drill: Arc<Semaphore>,
    /// Held by the what-if that is under way.
    what_if: Arc<Semaphore>,
}

impl Default for Acts {
    fn default() -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { answers: Answers::default(), drill: one(), what_if: one() }
    }
}

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(strategies::register)
        .service(strategies::new_version)
        .service(strategies::set_level)
        .service(strategies::pause)
        .service(strategies::resume)
        .service(kill::engage)
        .service(kill::engaged)
        .service(kill::rearm)
        .service(drill::drill)
        .service(approvals::waiting)
        .service(approvals::approve)
        .service(approvals::decline)
        .service(tokens::issue)
        .service(tokens::list)
        .service(tokens::revoke)
        .service(tokens::revoke_all)
        .service(policy::in_force)
        .service(policy::check)
        .service(proposals::propose)
        .service(proposals::list)
        .service(proposals::one)
        .service(proposals::adopt);
}

/// An act: on whose word, when, and what ties it to the rest.
struct Act<'a> {
    governed: &'a Governed,
    by: Actor,
    at: Timestamp,
    trace: SmolStr,
}

impl<'a> Act<'a> {
    /// Stamped here, once.
    fn new<N>(app: &'a App, who: &Allowed<N>, request: &HttpRequest) -> Result<Self, Problem> {
        // An operator's act is tied to nothing else, unless its sender says so.
        let trace = trace_of(request).unwrap_or_else(operate::new_id);
        Ok(Self { governed: app.governed()?, by: who.caller.name.clone(), at: app.now(), trace })
    }

    async fn on(&self, strategy: &StrategyId, command: strategy::Command) -> Result<Recorded, Problem> {
        let (strategy, trace) = (strategy.clone(), self.trace.clone());
        let request = Request { strategy, command, at: self.at, trace, occurred_at: None };
        Ok(self.governed.governor.ask(request).await?)
    }

    async fn on_all(&self, command: system::Command) -> Result<Recorded, Problem> {
        Ok(self.governed.governor.change(command, self.at, self.trace.clone(), None).await?)
    }
}

/// The fields of a body that has these and no others.
fn fields<'a>(request: &HttpRequest, body: &'a [u8], names: &[&str]) -> Result<Fields<'a>, Problem> {
    json_in_utf8(request)?;
    Ok(Fields::of(text(body)?)?.only(names)?)
}

/// Why.
fn reason(fields: &Fields<'_>) -> Result<String, Problem> {
    Ok(required("reason", fields.text("reason"))?.into_owned())
}

/// Why, where the body has to say nothing else.
fn only_reason(request: &HttpRequest, body: &[u8]) -> Result<String, Problem> {
    reason(&fields(request, body, &["reason"])?)
}

/// An id out of the path.
fn id_of<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::parameter(name, error.to_string()))
}

/// Reads what can take its time, off the threads that answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    web::block(work).await.map_err(|gone| Problem::internal(&gone))?
}

/// What there is of a kind in one strategy, or in all that are alive.
async fn found<T: Send + 'static>(
    governor: &Governor,
    only: Option<StrategyId>,
    of: impl Fn(&StrategyId, &strategy::State) -> Vec<T> + Send + Sync + 'static,
) -> Vec<T> {
    match only {
        Some(id) => governor.look(&id).await.map(|live| of(&id, &live.state)).unwrap_or_default(),
        None => governor.survey(move |id, state, _, _| of(id, state)).await.into_iter().flatten().collect(),
    }
}

/// The body of an act that needs nothing but a reason.
#[derive(ToSchema)]
#[schema(as = Reasoned)]
struct WhyBody {
    /// Why; it is recorded.
    #[expect(dead_code, reason = "describes the body; `only_reason` reads it")]
    #[schema(min_length = 1, max_length = 1024, pattern = r"\S", example = "checked with the desk")]
    reason: String,
}

/// The entries of a page (`limit`, `after`) out of all there are, in the order of their keys, and where the next begins.
fn page<T>(query: &Parameters, mut all: Vec<(String, T)>) -> Result<(Vec<T>, Option<String>), Problem> {
    let limit = query.within("limit", 100, 1_000)?;
    let after = query.text("after");
    all.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(|(key, _)| key.clone());
    Ok((all.into_iter().map(|(_, entry)| entry).collect(), next))
}

/// What an operator's act can meet.
struct Acting;
/// What an administrator's act can meet.
struct Adopting;
/// What a question with a body can meet.
struct Asking;
/// What a look can meet.
struct Unseen;

fn described(met: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let problem = || Content::new(Some(Ref::from_schema_name("Problem")));
    let response = |said: &str| ResponseBuilder::new().description(said).content(MEDIA_TYPE, problem()).build();
    met.iter().map(|(status, said)| (status.to_string(), response(said).into())).collect()
}

/// What a request with a body can meet, and for want of which role.
fn refused(role: Option<&str>) -> BTreeMap<String, RefOr<Response>> {
    let mut met = described(&[
        (400, "Not JSON"),
        (401, "Not known"),
        (404, "There is nothing of this name"),
        (408, "The body took too long"),
        (409, "It is so already, a rule says no, or governance is disabled"),
        (413, "The body is too large"),
        (415, "Not of a media type that is read here, in UTF-8"),
        (422, "A field is wrong, or the Idempotency-Key came with another request before"),
        (429, "Too many requests with this key"),
        (500, "A fault of the service's own"),
        (503, "It could not be recorded; send it again with the same Idempotency-Key"),
    ]);
    met.extend(role.map(|role| described(&[(403, role)])).unwrap_or_default());
    met
}

impl IntoResponses for Acting {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused(Some("Not of the role operator or admin"))
    }
}

impl IntoResponses for Adopting {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused(Some("Not of the role admin"))
    }
}

impl IntoResponses for Asking {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused(None)
    }
}

impl IntoResponses for Unseen {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[
            (401, "Not known"),
            (404, "There is nothing of this name"),
            (408, "It took too long"),
            (409, "Governance is disabled"),
            (422, "A parameter is wrong"),
            (429, "Too many requests with this key"),
            (500, "A fault of the service's own"),
            (503, "Not now"),
        ])
    }
}
