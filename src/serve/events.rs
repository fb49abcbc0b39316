//! What is recorded, a page at a time.

use actix_web::{HttpRequest, HttpResponse, get, web};
use ephor_events::envelope::Envelope;
use ephor_events::{Reader, Seq, StreamId};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_replay::passage::{Passage, Wanted};
use ephor_replay::{ReplayError, at};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::app::App;
use super::auth::{Allowed, Read};
use super::problem::{MEDIA_TYPE, Problem};
use super::query::Parameters;
use super::reading::read;

/// Events in a page.
pub const PAGE_MAX: usize = 1_000;
/// Events in a page where nobody says how many.
pub const PAGE: usize = 100;
/// Commits that are looked at for one page: a page of rare events may hold few of them, or none, and go on.
const LOOKED_AT_MAX: usize = 100_000;

/// One recorded event, as `ephor events --json` gives it.
#[derive(ToSchema)]
pub struct RecordedEvent {
    /// Position in the whole log.
    pub seq: u64,
    /// The strategy, or `system`.
    pub stream: String,
    /// Position in the stream.
    pub version: u64,
    /// Unique, and derived from the log's chain.
    pub event_id: String,
    /// What kind of event it is.
    #[schema(example = "DecisionMade")]
    pub r#type: String,
    /// Schema version of the recorded bytes.
    pub schema_version: u16,
    /// Ties order, decision, token and trade together.
    #[schema(required = true)]
    pub trace_id: Option<String>,
    /// The seq of the event that it follows from.
    #[schema(required = true)]
    pub cause: Option<u64>,
    /// The source's time.
    #[schema(format = DateTime)]
    pub occurred_at: String,
    /// When it was recorded.
    #[schema(format = DateTime)]
    pub recorded_at: String,
    /// When it was decided.
    #[schema(format = DateTime)]
    pub decided_at: String,
    /// The version of the system that it was decided on.
    pub system_version: u64,
    /// What happened; the fields are the type's own.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// Recorded events, oldest first.
#[derive(ToSchema)]
pub struct EventPage {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// The `from` to go on with; `null` where the end of the log has been reached. A page may hold fewer events than
    /// asked for, or none, and go on all the same.
    #[schema(required = true)]
    pub next: Option<u64>,
}

/// Recorded events, oldest first.
#[utoipa::path(
    tag = "events",
    params(
        ("from" = Option<u64>, Query, description = "From this seq on; 1 if not given", minimum = 1),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 if not given", minimum = 1, maximum = 1000),
        ("strategy" = Option<String>, Query, description = "Only of this strategy, or of `system`"),
        ("type" = Option<String>, Query, description = "Only of these types, with commas between them"),
    ),
    responses(
        (status = 200, description = "A page of events", body = EventPage),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 404, description = "The strategy was never registered", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "Reading took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 500, description = "The log cannot be read", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "Shutting down", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/events")]
pub(super) async fn page_of_events(
    _: Allowed<Read>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let parameters = Parameters::of(&request, &["from", "limit", "strategy", "type"])?;
    let limit = parameters.within("limit", PAGE, PAGE_MAX)?;
    let from = parameters.seq("from")?;
    let filter = Filter::of(&parameters)?;
    let page = read(&app, move |governed| {
        let reader = governed.governor.reader();
        let from = place(reader, from.unwrap_or(1))?;
        let mut passage = Passage::open(reader, filter.on(reader)?, from)?;
        page(limit, || Ok(passage.next()?.map(|events| (events, passage.next_seq()))))
    });
    Ok(HttpResponse::Ok().json(page.await?))
}

/// Which events a request asks for.
pub(super) struct Filter {
    stream: Option<StreamId>,
    types: Vec<&'static str>,
}

impl Filter {
    pub(super) fn of(parameters: &Parameters) -> Result<Self, Problem> {
        let stream = parameters.text("strategy").map(StreamId::new);
        let types = parameters.text("type").map_or(Ok(Vec::new()), |names| names.split(',').map(known_type).collect());
        Ok(Self { stream, types: types? })
    }

    /// As the log knows it.
    pub(super) fn on(self, reader: &Reader) -> Result<Wanted, Problem> {
        if let Some(stream) = self.stream.as_ref().filter(|stream| !stream.is_system()) {
            at::known(reader, &StrategyId::recorded(stream.as_str().into()))
                .map_err(|error| Problem::from(error).at("strategy"))?;
        }
        Ok(Wanted { stream: self.stream, types: self.types })
    }
}

fn known_type(name: &str) -> Result<&'static str, Problem> {
    let known = Event::NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name.trim()));
    known.ok_or_else(|| {
        Problem::parameter("type", format!("there is no type {name:?}: the types are {}", Event::NAMES.join(", ")))
    })
}

/// A seq to read from: one that the log has, or will have next.
pub(super) fn place(reader: &Reader, from: u64) -> Result<Seq, Problem> {
    let next = reader.head().seq.0 + 1;
    if from == 0 || from > next {
        return Err(Problem::parameter("from", format!("must be from 1 to {next}, found {from}: the log has no more")));
    }
    Ok(Seq(from))
}

/// A page out of what is read a commit at a time, each with the seq that follows it.
pub(super) fn page(
    limit: usize,
    mut next: impl FnMut() -> Result<Option<(Vec<Envelope>, Seq)>, ReplayError>,
) -> Result<Value, Problem> {
    let mut found = Vec::new();
    let mut looked_at = Seq(1);
    for _ in 0..LOOKED_AT_MAX {
        let Some((envelopes, follows)) = next()? else { return Ok(json!({ "events": found, "next": null })) };
        for envelope in envelopes {
            if found.len() == limit {
                return Ok(json!({ "events": found, "next": envelope.seq }));
            }
            found.push(envelope.to_json());
        }
        if found.len() == limit {
            return Ok(json!({ "events": found, "next": follows }));
        }
        looked_at = follows;
    }
    Ok(json!({ "events": found, "next": looked_at }))
}
