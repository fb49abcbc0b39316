//! Reports, one or many: a stream of lines in, a stream of results out.
//!
//! Lines take their places in their order and are answered in their order; as many as the window holds are under way at
//! once, and no more is read until there is room: a slow journal slows the sender down. A line that cannot be taken
//! stops nothing, and its result says why.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpRequest, HttpResponse, post, web};
use ephor_actors::{Failure, Recorded, Request};
use ephor_governance::rejection::Rejection;
use ephor_governance::system;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use serde::Serialize;
use smol_str::SmolStr;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::app::App;
use super::auth::{Allowed, Trade};
use super::headers::{json_in_utf8, of_type, trace_of};
use super::problem::{MEDIA_TYPE, Problem};
use crate::input::{Asked, Code, Entry, LINE_BYTES_MAX, Parser, Refusal};
use crate::store;

/// Lines under way at once.
const WINDOW: usize = 256;
/// Results that wait for a reader before no more is read.
const RESULTS_AHEAD: usize = 64;
/// How long a sender may be silent in the middle of a stream.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What one line came to.
#[derive(Serialize, ToSchema)]
pub struct LineResult {
    /// Its number, from 1.
    line: u64,
    /// `recorded`, `repeated` (it had been recorded before), `rejected` (it cannot be taken), or `failed` (it may
    /// be sent again).
    #[schema(example = "recorded")]
    status: &'static str,
    /// The id that the line gives itself, where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    id: Option<SmolStr>,
    /// Place of its commit in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// What was recorded, by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<&'static str>,
    /// Why not, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What was found and what would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The last line of a stream of results: a stream without it was cut off.
#[derive(Serialize, ToSchema)]
pub struct Totals {
    /// `true`.
    done: bool,
    /// Lines read, blank ones included.
    lines: u64,
    /// Lines by what they came to.
    counts: BTreeMap<&'static str, u64>,
}

/// A line of the answer to a stream.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum ResultLine {
    /// What one line came to.
    Result(LineResult),
    /// The last line.
    Totals(Totals),
}

impl LineResult {
    fn new(line: u64, status: &'static str, id: Option<SmolStr>) -> Self {
        Self { line, status, id, seq: None, events: Vec::new(), code: None, field: None, detail: None }
    }

    fn recorded(line: u64, id: SmolStr, recorded: &Recorded) -> Self {
        let status = if recorded.repeat { "repeated" } else { "recorded" };
        let events = recorded.events.iter().map(ephor_governance::event::Event::name).collect();
        Self { seq: Some(recorded.seq.0), events, ..Self::new(line, status, Some(id)) }
    }

    fn problem(line: u64, status: &'static str, id: Option<SmolStr>, problem: &Problem) -> Self {
        Self {
            code: Some(problem.code().to_owned()),
            field: problem.field().map(str::to_owned),
            detail: Some(problem.detail().to_owned()),
            ..Self::new(line, status, id)
        }
    }

    fn answered(line: u64, id: SmolStr, answer: Result<Recorded, Failure>) -> Self {
        match answer {
            Ok(recorded) => Self::recorded(line, id, &recorded),
            // The same version of a strategy declared once more.
            Err(Failure::Rejected(Rejection::NothingToChange { .. })) => Self::new(line, "repeated", Some(id)),
            Err(failure @ Failure::Rejected(_)) => Self::problem(line, "rejected", Some(id), &failure.into()),
            Err(failure) => Self::problem(line, "failed", Some(id), &failure.into()),
        }
    }
}

/// Reports many things: JSON lines, each a `strategy`, `baseline`, `signal`, `order`, `trade_closed` or `account`.
///
/// One result a line, in order, as JSON lines; the last line is the totals. The answer begins before the request ends.
#[utoipa::path(
    tag = "ingest",
    request_body(content = String, content_type = "application/x-ndjson", description = "One object a line, as `ephor run` reads them"),
    responses(
        (status = 200, description = "One result a line, then the totals", body = ResultLine, content_type = "application/x-ndjson"),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 403, description = "Not of the role engine or admin", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 415, description = "Not application/x-ndjson in UTF-8", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[post("/ingest")]
pub(super) async fn lines(
    allowed: Allowed<Trade>,
    request: HttpRequest,
    app: web::Data<App>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    of_type(&request, "application/x-ndjson")?;
    app.governed()?;
    app.arrived(allowed.caller.name.as_str());
    let (results, answer) = mpsc::channel(RESULTS_AHEAD);
    actix_web::rt::spawn(take_all(app, payload, trace_of(&request), results));
    let answer = tokio_stream(answer);
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").streaming(answer))
}

/// Reports one thing: a `strategy`, `baseline`, `signal`, `order`, `trade_closed` or `account`.
#[utoipa::path(
    tag = "ingest",
    request_body(content = Report, description = "One object, as `ephor run` reads them a line"),
    responses(
        (status = 200, description = "It is recorded, or had been before", body = LineResult),
        (status = 400, description = "Not JSON", body = Problem, content_type = MEDIA_TYPE),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 403, description = "Not of the role engine or admin", body = Problem, content_type = MEDIA_TYPE),
        (status = 404, description = "The strategy was never registered", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "The body took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "The id was used for something else, or governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 413, description = "The body is too large", body = Problem, content_type = MEDIA_TYPE),
        (status = 415, description = "Not application/json in UTF-8", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A field is wrong", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "It could not be recorded; send it again", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[post("/reports")]
pub(super) async fn one(
    allowed: Allowed<Trade>,
    request: HttpRequest,
    app: web::Data<App>,
    body: Bytes,
) -> Result<web::Json<LineResult>, Problem> {
    json_in_utf8(&request)?;
    app.governed()?;
    app.arrived(allowed.caller.name.as_str());
    let entry = Parser::live(store::now).line(&body)?;
    let entry =
        entry.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, Code::LineNotJson.as_str(), "the body is empty"))?;
    let (id, answer) = ask(&app, entry, trace_of(&request));
    match answer.await {
        Err(Failure::Rejected(Rejection::NothingToChange { .. })) => {
            Ok(web::Json(LineResult::new(1, "repeated", Some(id))))
        }
        answer => Ok(web::Json(LineResult::recorded(1, id, &answer?))),
    }
}

/// Something that happened. The fields that each type needs are those of `ephor run`'s input.
#[derive(ToSchema)]
pub struct Report {
    /// What it is.
    #[schema(pattern = "^(strategy|baseline|signal|order|trade_closed|account)$")]
    pub r#type: String,
    /// The source's own id: the same id again is the same report.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub id: String,
    /// When it happened, by the source's clock.
    #[schema(format = DateTime)]
    pub ts: String,
    /// Whose it is; an account has none.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub strategy_id: Option<String>,
}

/// Asks the governor; the request takes its place at once where it is a strategy's.
fn ask(
    app: &web::Data<App>,
    entry: Entry,
    trace: Option<SmolStr>,
) -> (SmolStr, LocalBoxFuture<'static, Result<Recorded, Failure>>) {
    let Some(governor) = app.governor().cloned() else {
        return (SmolStr::default(), Box::pin(async { Err(Failure::Stopped) }));
    };
    let at = store::now();
    match entry.asked {
        Asked::Strategy(request) => {
            let id = request.command.key().map_or_else(SmolStr::default, |(_, id)| id);
            let trace = trace.filter(|_| request.trace == id).unwrap_or_else(|| request.trace.clone());
            let strategy = request.strategy.clone();
            app.arrived(strategy.as_str());
            let asked = governor.ask(Request { at, trace, ..*request });
            let app = app.clone();
            let started = std::time::Instant::now();
            let answer = async move {
                let answer = asked.await;
                if let Ok(recorded) = &answer {
                    app.figures.decided(&strategy, recorded, started.elapsed());
                }
                answer
            };
            (id, Box::pin(answer))
        }
        Asked::Account(account) => {
            let id = account.id.text();
            app.arrived("account");
            let trace = trace.unwrap_or_else(|| id.clone());
            let command = system::Command::UpdateAccount(account);
            (id, Box::pin(async move { governor.change(command, at, trace, Some(entry.ts)).await }))
        }
    }
}

/// Reads lines and asks for them, a window at a time, until the sender or the reader has gone.
async fn take_all(app: web::Data<App>, payload: web::Payload, trace: Option<SmolStr>, results: mpsc::Sender<Bytes>) {
    let mut split = Split::new(payload);
    let mut parser = Parser::live(store::now);
    let mut under_way: FuturesOrdered<LocalBoxFuture<'static, LineResult>> = FuturesOrdered::new();
    let mut totals = Totals { done: true, lines: 0, counts: BTreeMap::new() };
    let mut reading = true;
    while reading || !under_way.is_empty() {
        let next = tokio::select! {
            biased;
            Some(result) = under_way.next() => {
                *totals.counts.entry(result.status).or_default() += 1;
                if send(&results, &result).await.is_err() {
                    return;
                }
                continue;
            }
            next = tokio::time::timeout(SILENCE_MAX, split.next()), if reading && under_way.len() < WINDOW => next,
        };
        let (line, read) = match next {
            Ok(Ok(Some((line, bytes)))) => {
                (line, bytes.map_err(Refusal::too_long).and_then(|bytes| parser.line(&bytes)))
            }
            Ok(Ok(None)) => {
                reading = false;
                continue;
            }
            // Cut off: what was taken is answered, and there are no totals.
            Ok(Err(_)) | Err(_) => {
                totals.done = false;
                reading = false;
                continue;
            }
        };
        totals.lines = line;
        match read {
            Ok(None) => {}
            Ok(Some(entry)) => {
                if matches!(entry.asked, Asked::Account(_)) {
                    // Every decision before it must stand on the account before it.
                    while let Some(result) = under_way.next().await {
                        *totals.counts.entry(result.status).or_default() += 1;
                        if send(&results, &result).await.is_err() {
                            return;
                        }
                    }
                }
                let barrier = matches!(entry.asked, Asked::Account(_));
                let (id, answer) = ask(&app, entry, trace.clone());
                let answer = async move { LineResult::answered(line, id, answer.await) };
                if barrier {
                    let result = answer.await;
                    under_way.push_back(Box::pin(async move { result }));
                } else {
                    under_way.push_back(Box::pin(answer));
                }
            }
            Err(refusal) => {
                let result = LineResult::problem(line, "rejected", None, &refusal.into());
                under_way.push_back(Box::pin(async move { result }));
            }
        }
    }
    if totals.done && send(&results, &totals).await.is_err() {
        tracing::debug!("the reader of results has gone before their end");
    }
}

async fn send(results: &mpsc::Sender<Bytes>, value: &impl Serialize) -> Result<(), ()> {
    let mut bytes = serde_json::to_vec(value).map_err(drop)?;
    bytes.push(b'\n');
    // A reader that takes nothing for so long has gone, whatever its connection says.
    tokio::time::timeout(SILENCE_MAX, results.send(bytes.into())).await.map_err(drop)?.map_err(drop)
}

fn tokio_stream(receiver: mpsc::Receiver<Bytes>) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
    futures::stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|bytes| (Ok(bytes), receiver)))
}

/// Splits a body into lines of bounded length; of one that is too long only the length is kept.
struct Split {
    payload: web::Payload,
    held: BytesMut,
    /// Bytes of a line that is too long, passed over so far.
    passed: u64,
    number: u64,
    ended: bool,
}

impl Split {
    fn new(payload: web::Payload) -> Self {
        Self { payload, held: BytesMut::new(), passed: 0, number: 0, ended: false }
    }

    /// The next line, or the length of one that is too long; `None` at the end.
    async fn next(&mut self) -> Result<Option<(u64, Result<Bytes, u64>)>, actix_web::error::PayloadError> {
        let mut looked = 0;
        loop {
            let end = self.held.iter().skip(looked).position(|byte| *byte == b'\n').map(|at| at + looked);
            if let Some(end) = end {
                let mut line = self.held.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(self.line(line)));
            }
            if self.held.len() > LINE_BYTES_MAX || self.passed > 0 {
                self.passed += self.held.len() as u64;
                self.held.clear();
            }
            looked = self.held.len();
            if self.ended {
                let rest = self.held.split();
                return Ok(if rest.is_empty() && self.passed == 0 { None } else { Some(self.line(rest)) });
            }
            match self.payload.next().await {
                Some(part) => self.held.extend_from_slice(&part?),
                None => self.ended = true,
            }
        }
    }

    fn line(&mut self, line: BytesMut) -> (u64, Result<Bytes, u64>) {
        self.number += 1;
        let bytes = std::mem::take(&mut self.passed) + line.len() as u64;
        let whole = bytes <= LINE_BYTES_MAX as u64;
        (self.number, if whole { Ok(line.freeze()) } else { Err(bytes) })
    }
}
