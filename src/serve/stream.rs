//! What is recorded, as it is recorded: Server-Sent Events.
//!
//! A stream begins at any seq and follows the head of the log; a reader that was cut off comes again with the id of
//! the last event it has seen, and misses nothing. Only a little is read ahead: a reader that takes nothing for too
//! long is cut off, and costs no memory until then but what it has asked for. A stream ends with the key that opened it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, get, web};
use ephor_events::Seq;
use ephor_replay::ReplayError;
use ephor_replay::passage::Passage;
use tokio::sync::{mpsc, watch};
use utoipa::ToSchema;

use super::app::{App, StreamPlace};
use super::auth::{Allowed, Read};
use super::events::{Filter, place};
use super::problem::{MEDIA_TYPE, Problem};
use super::query::Parameters;
use super::reading::read;

/// How long a stream is silent at most.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// About so much is read at once; as much again may wait for the reader.
const BATCH_BYTES: usize = 64 << 10;
/// Commits that are looked at before it is seen whether anybody still reads.
const BATCH_COMMITS: usize = 10_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells a proxy in between to hand every event on at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A second hold on a connection, to end it where its reader takes nothing: the server itself waits for that reader.
#[derive(Clone)]
pub struct Line(Arc<TcpStream>);

impl Line {
    /// Of a connection.
    ///
    /// # Errors
    /// Where the system has no more descriptors.
    pub fn of(connection: &actix_web::rt::net::TcpStream) -> io::Result<Self> {
        Ok(Self(Arc::new(connection.as_fd().try_clone_to_owned()?.into())))
    }

    fn cut(&self) {
        // It may have ended by itself meanwhile.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

/// One Server-Sent Event.
#[derive(ToSchema)]
pub struct StreamedEvent {
    /// The event's seq: what to come again with, as `Last-Event-ID`.
    pub id: String,
    /// Its type.
    pub event: String,
    /// The event, as JSON: an object as in a page of events.
    pub data: String,
}

/// Recorded events as they are recorded, as Server-Sent Events.
///
/// Each event has its seq as `id`, its type as `event`, and as `data` the object that a page of events gives. A reader
/// that comes again with the last id it has seen goes on behind it. Silence is filled with comments. A reader that
/// takes nothing for too long is cut off.
#[utoipa::path(
    tag = "events",
    params(
        ("from" = Option<u64>, Query, description = "From this seq on; if not given, what is recorded from now on", minimum = 1),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last seq that was seen; goes before `from`"),
        ("strategy" = Option<String>, Query, description = "Only of this strategy, or of `system`"),
        ("type" = Option<String>, Query, description = "Only of these types, with commas between them"),
    ),
    responses(
        (status = 200, description = "Events, without end", body = StreamedEvent, content_type = "text/event-stream"),
        (status = 401, description = "Not known", body = Problem, content_type = MEDIA_TYPE),
        (status = 404, description = "The strategy was never registered", body = Problem, content_type = MEDIA_TYPE),
        (status = 408, description = "Reading took too long", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Governance is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A parameter is wrong, or the log has no such seq", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "Too many requests with this key", body = Problem, content_type = MEDIA_TYPE),
        (status = 500, description = "The log cannot be read", body = Problem, content_type = MEDIA_TYPE),
        (status = 503, description = "Too many streams, or shutting down", body = Problem, content_type = MEDIA_TYPE),
    ),
    security(("key" = [])),
)]
#[get("/events/stream")]
pub(super) async fn follow_events(
    who: Allowed<Read>,
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let parameters = Parameters::of(&request, &["from", "strategy", "type"])?;
    let seen = last_seen(&request)?;
    let from = parameters.seq("from")?;
    let filter = Filter::of(&parameters)?;
    let open = Open::new(&app)?;
    let opened = read(&app, move |governed| {
        let reader = governed.governor.reader();
        let from = match (seen, from) {
            (Some(seen), _) => place(reader, seen.saturating_add(1)).map_err(|problem| problem.at("Last-Event-ID"))?,
            (None, Some(from)) => place(reader, from)?,
            (None, None) => Seq(reader.head().seq.0 + 1),
        };
        let passage = Passage::open(reader, filter.on(reader)?, from)?;
        Ok((from, passage, governed.governor.head_watch()))
    });
    let (from, passage, head) = opened.await?;
    let (events, reader) = mpsc::channel(1);
    let greeting = Bytes::from(format!(": from seq {from}\n\n"));
    events.try_send(greeting).map_err(|_| Problem::stopping())?;
    let line = request.conn_data::<Line>().cloned();
    actix_web::rt::spawn(async move {
        tokio::select! {
            () = app.shut_out(&who.caller) => tracing::info!("an event stream ended: its key was revoked"),
            () = Followed { open, passage, head, events, line }.follow() => {}
        }
    });
    let body = futures::stream::unfold(reader, async |mut reader| {
        reader.recv().await.map(|bytes| (Ok::<_, actix_web::Error>(bytes), reader))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((UNBUFFERED, "no"))
        .streaming(Box::pin(body)))
}

/// The seq that a reader has seen last, where it says so.
fn last_seen(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    let Some(given) = request.headers().get(LAST_EVENT_ID) else { return Ok(None) };
    let seq = given.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || Problem::parameter("Last-Event-ID", format!("expected a seq, found {given:?}"));
    seq.map(Some).ok_or_else(wrong)
}

/// An open stream: counted as long as it is there.
struct Open {
    app: web::Data<App>,
    _place: StreamPlace,
}

impl Open {
    fn new(app: &web::Data<App>) -> Result<Self, Problem> {
        if app.is_closing() {
            return Err(Problem::stopping());
        }
        let place = app.stream_place()?;
        app.figures.streams.inc();
        Ok(Self { app: app.clone(), _place: place })
    }

    /// Comes back when the service ends.
    async fn closing(&self) {
        self.app.closed().await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.figures.streams.dec();
    }
}

/// Why a stream ends.
enum End {
    /// Its reader has gone, or the service ends.
    Quiet,
    /// Its reader takes nothing.
    Slow,
    /// The log cannot be read.
    Fault(ReplayError),
}

/// A stream on its way.
struct Followed {
    open: Open,
    passage: Passage,
    head: watch::Receiver<Seq>,
    events: mpsc::Sender<Bytes>,
    line: Option<Line>,
}

impl Followed {
    async fn follow(self) {
        let Self { open, mut passage, mut head, events, line } = self;
        let end = loop {
            // Seen before it is read: what comes in between is not waited for.
            head.borrow_and_update();
            let Ok((back, batch)) = web::block(move || {
                let batch = batch(&mut passage);
                (passage, batch)
            })
            .await
            else {
                break End::Quiet;
            };
            passage = back;
            let (bytes, more) = match batch {
                Ok(batch) => batch,
                Err(error) => break End::Fault(error),
            };
            if let Err(end) = hand(&open, &events, bytes).await {
                break end;
            }
            if more {
                continue;
            }
            let waited = tokio::select! {
                changed = head.changed() => changed.map_err(|_| End::Quiet),
                () = tokio::time::sleep(KEEP_ALIVE) => hand(&open, &events, b": nothing new\n\n".to_vec()).await,
                () = events.closed() => Err(End::Quiet),
                () = open.closing() => Err(End::Quiet),
            };
            if let Err(end) = waited {
                break end;
            }
        };
        match end {
            End::Quiet => {}
            End::Slow => {
                tracing::info!("a reader of the event stream took nothing for too long and was cut off");
                if let Some(line) = line {
                    line.cut();
                }
            }
            End::Fault(error) => tracing::error!(%error, "an event stream ended: the log cannot be read"),
        }
    }
}

/// Hands bytes to the reader as soon as it takes them.
async fn hand(open: &Open, events: &mpsc::Sender<Bytes>, bytes: Vec<u8>) -> Result<(), End> {
    if bytes.is_empty() {
        return Ok(());
    }
    let lag = Duration::from_secs(open.app.limits().stream_lag_seconds);
    tokio::select! {
        sent = tokio::time::timeout(lag, events.send(bytes.into())) => match sent {
            Ok(sent) => sent.map_err(|_| End::Quiet),
            Err(_) => Err(End::Slow),
        },
        () = open.closing() => Err(End::Quiet),
    }
}

/// What is read next, as it is sent, and whether there may be more.
fn batch(passage: &mut Passage) -> Result<(Vec<u8>, bool), ReplayError> {
    let mut bytes = Vec::new();
    for _ in 0..BATCH_COMMITS {
        let Some(envelopes) = passage.next()? else { return Ok((bytes, false)) };
        for envelope in &envelopes {
            let event =
                format!("id: {}\nevent: {}\ndata: {}\n\n", envelope.seq, envelope.event.name(), envelope.to_json());
            bytes.extend_from_slice(event.as_bytes());
        }
        if bytes.len() >= BATCH_BYTES {
            break;
        }
    }
    Ok((bytes, true))
}
