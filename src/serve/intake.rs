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
use ephor_events::StreamId;
use ephor_governance::event::Registration;
use ephor_governance::ids::StrategyId;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::system;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use serde::Serialize;
use smol_str::SmolStr;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::ToSchema;

use super::app::App;
use super::auth::{Allowed, Trade};
use super::body::Body;
use super::headers::{json_in_utf8, of_type, trace_of};
use super::problem::{MEDIA_TYPE, Problem};
use crate::input::{Asked, Code, Entry, LINE_BYTES_MAX, Parser, Refusal};
use crate::keys::api::{Caller, Permission, Role};
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

/// Reports many things: JSON lines, each a `strategy`, `baseline`, `signal`, `order`, `trade_closed`, `fill` or `account`.
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
    let taking = Taking {
        app,
        trace: trace_of(&request),
        caller: allowed.caller,
        results,
        under_way: FuturesOrdered::new(),
        totals: Totals { done: true, lines: 0, counts: BTreeMap::new() },
    };
    actix_web::rt::spawn(async move {
        if let Err(Gone) = take_all(payload, taking).await {
            tracing::debug!("the reader of results has gone before their end");
        }
    });
    let answer = tokio_stream(answer);
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").streaming(answer))
}

/// Reports one thing: a `strategy`, `baseline`, `signal`, `order`, `trade_closed`, `fill` or `account`.
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
    body: Body,
) -> Result<web::Json<LineResult>, Problem> {
    json_in_utf8(&request)?;
    app.governed()?;
    app.arrived(allowed.caller.name.as_str());
    let entry = Parser::live(store::now).line(&body)?;
    let entry =
        entry.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, Code::LineNotJson.as_str(), "the body is empty"))?;
    let trace = trace_of(&request);
    let (id, answer) = if is_declaration(&entry) {
        declare(&app, allowed.caller.role, entry, trace).await?
    } else {
        let (id, answer) = ask(&app, entry, trace);
        (id, answer.await)
    };
    match answer {
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
    #[schema(pattern = "^(strategy|baseline|signal|order|trade_closed|fill|account)$")]
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
pub(crate) fn ask(
    app: &web::Data<App>,
    entry: Entry,
    trace: Option<SmolStr>,
) -> (SmolStr, LocalBoxFuture<'static, Result<Recorded, Failure>>) {
    let Some(governor) = app.governor().cloned() else {
        return (SmolStr::default(), Box::pin(async { Err(Failure::Stopped) }));
    };
    let at = app.now();
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

/// A stream of lines on its way.
struct Taking {
    app: web::Data<App>,
    trace: Option<SmolStr>,
    caller: Caller,
    results: mpsc::Sender<Bytes>,
    under_way: FuturesOrdered<LocalBoxFuture<'static, LineResult>>,
    totals: Totals,
}

/// The reader of results has gone.
struct Gone;

impl Taking {
    /// Sends one result.
    async fn settle(&mut self, result: LineResult) -> Result<(), Gone> {
        *self.totals.counts.entry(result.status).or_default() += 1;
        send(&self.results, &result).await
    }

    /// Sends the results of everything under way.
    async fn settle_all(&mut self) -> Result<(), Gone> {
        while let Some(result) = self.under_way.next().await {
            self.settle(result).await?;
        }
        Ok(())
    }

    /// A place among the lines of all streams: they share what they leave to those who ask about orders.
    async fn place(&mut self) -> Result<Option<OwnedSemaphorePermit>, Gone> {
        let mut place = std::pin::pin!(self.app.intake.clone().acquire_owned());
        loop {
            tokio::select! {
                place = &mut place => return Ok(place.ok()),
                // Those under way hold places, and give them back only when somebody looks at them.
                Some(result) = self.under_way.next() => {
                    self.settle(result).await?;
                }
            }
        }
    }

    async fn take(&mut self, line: u64, entry: Entry) -> Result<(), Gone> {
        if is_declaration(&entry) {
            // What is known of the strategy must be known before it is declared anew.
            self.settle_all().await?;
            let id = declared(&entry).map(|(_, registration)| registration.id.text());
            let result = match declare(&self.app, self.caller.role, entry, self.trace.clone()).await {
                Ok((id, answer)) => LineResult::answered(line, id, answer),
                Err(problem) => LineResult::problem(line, "rejected", id, &problem),
            };
            return self.settle(result).await;
        }
        let is_account = matches!(entry.asked, Asked::Account(_));
        if is_account {
            // Every decision before it must stand on the account before it.
            self.settle_all().await?;
        }
        let place = self.place().await?;
        let (id, answer) = ask(&self.app, entry, self.trace.clone());
        let answer = async move {
            let _place = place;
            LineResult::answered(line, id, answer.await)
        };
        self.under_way.push_back(Box::pin(answer));
        if is_account { self.settle_all().await } else { Ok(()) }
    }
}

/// Whether an entry declares a strategy.
pub(crate) fn is_declaration(entry: &Entry) -> bool {
    declared(entry).is_some()
}

fn declared(entry: &Entry) -> Option<(&StrategyId, &Registration)> {
    let Asked::Strategy(request) = &entry.asked else { return None };
    let Command::Register(registration) = &request.command else { return None };
    Some((&request.strategy, registration))
}

/// Declares a strategy, as far as the role may; nobody else declares one meanwhile.
///
/// # Errors
/// 403.
pub(crate) async fn declare(
    app: &web::Data<App>,
    role: Role,
    entry: Entry,
    trace: Option<SmolStr>,
) -> Result<(SmolStr, Result<Recorded, Failure>), Problem> {
    let _alone = app.declaring.lock().await;
    if let Some((strategy, registration)) = declared(&entry) {
        may_declare(app, role, strategy, registration).await?;
    }
    let (id, answer) = ask(app, entry, trace);
    Ok((id, answer.await))
}

/// An engine may declare a strategy that nobody knows, or say again what is known. To change what is known is an
/// operator's act: capital, multiplier and version decide how large its orders count.
async fn may_declare(app: &App, role: Role, strategy: &StrategyId, declared: &Registration) -> Result<(), Problem> {
    let Some(governor) = app.governor().filter(|_| !role.may(Permission::Operate)) else { return Ok(()) };
    let known = governor.look(strategy).await.and_then(|live| live.state.registration);
    let recorded = governor.reader().version_of(&StreamId::new(strategy.as_str())).0 > 0;
    match known {
        Some(known) if Registration { id: known.id.clone(), ..declared.clone() } == known => Ok(()),
        None if !recorded => Ok(()),
        Some(_) | None => {
            let detail = "to change a strategy's declaration needs a key of the role operator or admin";
            Err(Problem::new(StatusCode::FORBIDDEN, "ROLE_INSUFFICIENT", detail).at("strategy_id"))
        }
    }
}

/// Reads lines and asks for them, a window at a time, until the sender or the reader has gone.
async fn take_all(payload: web::Payload, mut taking: Taking) -> Result<(), Gone> {
    let mut split = Split::new(payload);
    let mut parser = Parser::live(store::now);
    let mut reading = true;
    let (app, caller) = (taking.app.clone(), taking.caller.clone());
    let mut shut_out = std::pin::pin!(app.shut_out(&caller));
    while reading || !taking.under_way.is_empty() {
        let next = tokio::select! {
            biased;
            Some(result) = taking.under_way.next() => {
                taking.settle(result).await?;
                continue;
            }
            // A stream takes nothing more when its key is revoked, as when the service ends.
            () = &mut shut_out, if reading => {
                taking.totals.done = false;
                reading = false;
                continue;
            }
            () = app.closed(), if reading => {
                // What was taken is answered; without totals its sender knows that there was no end.
                taking.totals.done = false;
                reading = false;
                continue;
            }
            next = tokio::time::timeout(SILENCE_MAX, split.next()), if reading && taking.under_way.len() < WINDOW => next,
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
                taking.totals.done = false;
                reading = false;
                continue;
            }
        };
        taking.totals.lines = line;
        match read {
            Ok(None) => {}
            Ok(Some(entry)) => taking.take(line, entry).await?,
            Err(refusal) => {
                let result = LineResult::problem(line, "rejected", None, &refusal.into());
                taking.under_way.push_back(Box::pin(async move { result }));
            }
        }
    }
    if taking.totals.done { send(&taking.results, &taking.totals).await } else { Ok(()) }
}

async fn send(results: &mpsc::Sender<Bytes>, value: &impl Serialize) -> Result<(), Gone> {
    let mut bytes = serde_json::to_vec(value).map_err(|_| Gone)?;
    bytes.push(b'\n');
    // A reader that takes nothing for so long has gone, whatever its connection says.
    tokio::time::timeout(SILENCE_MAX, results.send(bytes.into())).await.map_err(|_| Gone)?.map_err(|_| Gone)
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
