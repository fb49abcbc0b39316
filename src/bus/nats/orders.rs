//! Answers about orders, by request and reply: what `POST /v1/orders/check` answers, byte for byte.
//!
//! Whoever the NATS server lets publish on the subject may ask. A request without a reply subject is not looked at:
//! nobody would hear what was decided.

use std::time::Duration;

use actix_web::{ResponseError, web};
use async_nats::{HeaderMap, Message};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::{Line, failed, said};
use crate::bus::{BusError, Status, one_line};
use crate::follow::{WAIT_FIRST, WAIT_MAX, jittered};
use crate::serve::app::App;
use crate::serve::headers::{given_key, trace_in};
use crate::serve::orders;
use crate::serve::problem::{MEDIA_TYPE, Problem};
use crate::settings::Nats;
use crate::telemetry::chain;

/// What the subjects begin with on which clients wait for answers.
const INBOX: &str = "_INBOX.";

/// Answers on one server.
pub struct Orders {
    settings: Nats,
    status: Status,
}

impl Orders {
    /// As the settings say.
    #[must_use]
    pub const fn new(settings: Nats, status: Status) -> Self {
        Self { settings, status }
    }

    /// How it is doing.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Answers until told to stop; what was asked by then is answered.
    pub async fn run(self, app: web::Data<App>, stop: CancellationToken) {
        let mut wait = WAIT_FIRST;
        loop {
            let answered = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                line = Line::open(&self.settings) => line,
            };
            let answered = match answered {
                Ok(line) => self.answer_all(&line, &app, &stop, &mut wait).await,
                Err(error) => Err(error),
            };
            let Err(error) = answered else { return };
            let error = chain(&error);
            tracing::warn!(bus = %self.status.name(), error, "orders are not answered: the connection is made anew");
            self.status.broken(error);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(jittered(wait)) => {}
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn answer_all(
        &self,
        line: &Line,
        app: &web::Data<App>,
        stop: &CancellationToken,
        wait: &mut Duration,
    ) -> Result<(), BusError> {
        let (subject, queue) = (self.settings.orders.subject.clone(), self.settings.orders.queue.clone());
        let mut asked = line.client.queue_subscribe(subject, queue).await.map_err(failed("listen for orders"))?;
        line.client.flush().await.map_err(failed("listen for orders"))?;
        self.status.connected();
        *wait = WAIT_FIRST;
        let mut under_way = FuturesUnordered::new();
        let mut listening = true;
        while listening || !under_way.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled(), if listening => {
                    asked.unsubscribe().await.map_err(failed("stop listening for orders"))?;
                    listening = false;
                }
                Some(answered) = under_way.next() => {
                    let (to, headers, body): (_, _, Vec<u8>) = answered;
                    let sent = line.client.publish_with_headers(to, headers, body.into()).await;
                    sent.map_err(failed("answer about an order"))?;
                    self.status.took(1, 0);
                }
                message = line.unless_lost(async { Ok(asked.next().await) }), if listening => {
                    let message = message?.ok_or_else(|| said("listen for orders")("the subscription ended".into()))?;
                    let Some(to) = message.reply.clone() else {
                        tracing::warn!(bus = %self.status.name(), "an order was asked about without a reply subject");
                        continue;
                    };
                    // Whoever may ask must not make us publish where only we may: into a stream, to the server itself.
                    if !to.starts_with(INBOX) {
                        tracing::warn!(bus = %self.status.name(), %to, "an order was asked about for somebody else's ears");
                        continue;
                    }
                    app.arrived(self.status.name());
                    let app = app.clone();
                    under_way.push(async move {
                        let (headers, body) = written(answer(&app, &message).await);
                        (to, headers, body)
                    });
                }
            }
        }
        line.client.flush().await.map_err(failed("answer about an order"))
    }
}

async fn answer(app: &web::Data<App>, message: &Message) -> Result<Vec<u8>, Problem> {
    let header = |name: &str| {
        let mut named = message.headers.iter().flat_map(HeaderMap::iter);
        let found = named.find(|(found, _)| AsRef::<str>::as_ref(*found).eq_ignore_ascii_case(name));
        found.and_then(|(_, values)| values.first()).map(async_nats::HeaderValue::as_str)
    };
    let key = header("Idempotency-Key").map(given_key).transpose().map_err(Problem::blocking)?;
    orders::check(app, &message.payload, key, header("traceparent").and_then(trace_in)).await
}

fn written(answer: Result<Vec<u8>, Problem>) -> (HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    match answer {
        Ok(body) => {
            headers.insert("Content-Type", "application/json");
            (headers, body)
        }
        Err(problem) => {
            headers.insert("Content-Type", MEDIA_TYPE);
            // As NATS services do.
            headers.insert("Nats-Service-Error-Code", problem.status_code().as_u16().to_string().as_str());
            headers.insert("Nats-Service-Error", one_line(problem.code()).as_str());
            let body = serde_json::to_vec(&problem).unwrap_or_default();
            (headers, body)
        }
    }
}
