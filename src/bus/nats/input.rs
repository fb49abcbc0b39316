//! Reports out of a stream: one durable consumer, each message acknowledged by itself once it is durable.
//!
//! Order survives a crash: what was under way then comes again only when the server has waited for its acknowledgement
//! long enough, and until that time nothing newer is asked for. An acknowledgement that is lost costs one delivery more
//! and no event, so they are sent without waiting; the one after which nothing is under way is confirmed, and with it
//! all before it, because a connection keeps their order. A dead letter is confirmed before its message is given up.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull::{Config, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, Consumer};
use async_nats::jetstream::message::{AckKind, Message, PublishMessage};
use futures::StreamExt;
use futures::future::BoxFuture;
use smol_str::{SmolStr, format_smolstr};

use super::{Line, failed, said};
use crate::bus::{BusError, Delivery, Inbound, Outcome, Receipt, Source, one_line};
use crate::settings::Nats;

/// What the headers of a dead letter may come to, its reason among them, bytes.
const LETTER_BYTES: usize = 16 << 10;
/// How much later than it could be a message is delivered again.
const SLACK: Duration = Duration::from_millis(500);
/// How often the server says that it is there, where there is nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);

/// The reports of one server.
pub struct Input {
    settings: Nats,
}

impl Input {
    /// As the settings say.
    #[must_use]
    pub const fn new(settings: Nats) -> Self {
        Self { settings }
    }

    async fn begin(&self) -> Result<Taking, BusError> {
        let line = Line::open(&self.settings).await?;
        let input = &self.settings.input;
        let stream = line.stream(&input.stream).await?;
        let consumer: Consumer<Config> = stream.get_consumer(&input.durable).await.map_err(|source| {
            // The library says it in words only.
            if source.to_string().contains("not found") {
                let (durable, stream) = (&input.durable, &input.stream);
                let problem = format!("the stream {stream} has no consumer {durable}: `ephor bus setup` makes it");
                BusError::NotSetUp { problem }
            } else {
                said("ask for a consumer")(source)
            }
        })?;
        let found = consumer.cached_info();
        if found.config.ack_policy != AckPolicy::Explicit {
            let problem = format!(
                "the consumer {} does not acknowledge each message by itself (ack policy {:?}): `ephor bus setup` says \
                 how it must be",
                input.durable, found.config.ack_policy
            );
            return Err(BusError::NotSetUp { problem });
        }
        if found.num_ack_pending > 0 {
            line.unless_lost(async {
                tokio::time::sleep(found.config.ack_wait + SLACK).await;
                Ok(())
            })
            .await?;
        }
        let newest = found.delivered.stream_sequence;
        let messages = consumer.stream().max_messages_per_batch(self.settings.reading.pending_max);
        let messages = messages.heartbeat(HEARTBEAT).expires(EXPIRES).messages();
        let messages = messages.await.map_err(failed("ask for messages"))?;
        let settings = self.settings.clone();
        Ok(Taking { line, settings, messages, held: BTreeMap::new(), receipts: 0, newest })
    }
}

impl Inbound for Input {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Source>, BusError>> {
        Box::pin(async move { Ok(Box::new(self.begin().await?) as Box<dyn Source>) })
    }
}

/// A message under way.
struct Held {
    message: Message,
    /// Its place in its stream.
    seq: u64,
}

/// Messages as they come.
struct Taking {
    line: Line,
    settings: Nats,
    messages: Messages,
    held: BTreeMap<Receipt, Held>,
    receipts: u64,
    /// The newest place in the stream that was delivered.
    newest: u64,
}

impl Taking {
    async fn take(&mut self) -> Result<Delivery, BusError> {
        let next = async {
            let next = self.messages.next().await;
            next.ok_or_else(|| said("wait for a message")("there are no more".into()))?
                .map_err(failed("wait for a message"))
        };
        let message = self.line.unless_lost(next).await?;
        let info = message.info().map_err(said("read where a message stands"))?;
        let (seq, delivered) = (info.stream_sequence, info.delivered);
        if delivered == 1 {
            if seq > self.newest.saturating_add(1) {
                let (from, to) = (self.newest.saturating_add(1), seq - 1);
                tracing::error!(stream = self.settings.input.stream, from, to, "messages left the stream unread");
            }
            self.newest = self.newest.max(seq);
        }
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        let delivery = Delivery {
            receipt,
            place: format_smolstr!("{} seq {seq}", self.settings.input.stream),
            subject: SmolStr::new(message.subject.as_str()),
            headers: message.headers.as_ref().map(lower).unwrap_or_default(),
            payload: message.payload.clone(),
            attempt: u32::try_from(delivered).unwrap_or(1).max(1),
        };
        self.held.insert(receipt, Held { message, seq });
        Ok(delivery)
    }

    /// Puts dead messages apart, all at once, and waits until they are kept.
    async fn bury(&self, outcomes: &[(Receipt, Outcome)]) -> Result<(), BusError> {
        let mut kept = Vec::new();
        for (receipt, outcome) in outcomes {
            let (Outcome::Dead { code, reason }, Some(Held { message, seq })) = (outcome, self.held.get(receipt))
            else {
                continue;
            };
            let stream = &self.settings.input.stream;
            // What begins like this tells the server what to do with a message: it was meant for the one before.
            let own = message.headers.iter().flat_map(HeaderMap::iter);
            let own = own.filter(|(name, _)| !name.to_string().to_ascii_lowercase().starts_with("nats-"));
            let mut headers = HeaderMap::new();
            for (name, values) in own {
                for value in values {
                    headers.append(name.clone(), value.clone());
                }
            }
            let mut own_bytes: usize =
                headers.iter().flat_map(|(_, values)| values).map(|value| value.as_str().len()).sum();
            if own_bytes > LETTER_BYTES {
                (headers, own_bytes) = (HeaderMap::new(), 0);
            }
            headers.insert("Ephor-Code", *code);
            headers.insert("Ephor-Reason", one_line(reason).as_str());
            headers.insert("Ephor-Subject", message.subject.as_str());
            headers.insert("Ephor-Stream", stream.as_str());
            headers.insert("Ephor-Stream-Seq", seq.to_string().as_str());
            let subject = format!("{}.{}", self.settings.dead.subject, message.subject);
            let letter = PublishMessage::build().headers(headers).message_id(format!("{stream}:{seq}"));
            // One that fills a message by itself leaves no room for the reason; its stream has it.
            let room = self.line.client.server_info().max_payload.saturating_sub(LETTER_BYTES);
            let whole = message.payload.len() + own_bytes <= room;
            let letter = if whole { letter.payload(message.payload.clone()) } else { letter };
            kept.push(self.line.streams.send_publish(subject, letter).await.map_err(failed("put a message apart"))?);
        }
        for kept in kept {
            self.line.unless_lost(async { kept.await.map_err(failed("put a message apart")) }).await?;
        }
        Ok(())
    }

    async fn give_back(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> Result<(), BusError> {
        self.bury(&outcomes).await?;
        for (receipt, outcome) in outcomes {
            let Some(Held { message, .. }) = self.held.remove(&receipt) else { continue };
            let kind = match outcome {
                Outcome::Done => AckKind::Ack,
                Outcome::Later(after) => AckKind::Nak(Some(after)),
                Outcome::Dead { .. } => AckKind::Term,
            };
            if self.held.is_empty() {
                let confirmed = async { message.double_ack_with(kind).await.map_err(said("acknowledge a message")) };
                self.line.unless_lost(confirmed).await?;
            } else {
                message.ack_with(kind).await.map_err(said("acknowledge a message"))?;
            }
        }
        Ok(())
    }
}

impl Source for Taking {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, BusError>> {
        Box::pin(async move { self.take().await.map(Some) })
    }

    fn settle(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.give_back(outcomes))
    }
}

fn lower(headers: &HeaderMap) -> Vec<(SmolStr, SmolStr)> {
    let named = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name = SmolStr::from(AsRef::<str>::as_ref(name).to_ascii_lowercase());
        values.iter().map(move |value| (name.clone(), SmolStr::new(value.as_str()))).collect::<Vec<_>>()
    };
    headers.iter().flat_map(named).collect()
}
