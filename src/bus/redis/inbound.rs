//! The way in: entries as deliveries, and what becomes of them.
//!
//! `Done` is `XACK`. `Later` leaves the entry pending and gives it out again after its time, its deliveries counted at
//! the server. `Dead` adds it to the stream of dead letters, with code and reason, and acknowledges it, in one
//! transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use actix_web::web::Bytes;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, cmd, pipe};
use smol_str::format_smolstr;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{ANSWER_WITHIN, Server, failed};
use super::entry::{Entry, EntryId};
use super::group::Group;
use super::reader::{Found, Reader};
use crate::bus::{BusError, Delivery, Inbound, Outcome, Receipt, Source, Status};
use crate::input::Code;
use crate::settings;

/// Entries held to be given out again. Many, so that what they wait for can come behind them.
const LATER_MAX: usize = 65_536;

/// Streams that are read by a consumer group.
pub struct Streams {
    server: Server,
    group: Group,
    claim_after: Duration,
    ahead_max: usize,
    dead: DeadLetters,
    status: Status,
}

/// Where entries go that cannot be taken.
#[derive(Clone, Debug)]
struct DeadLetters {
    key: String,
    length_max: u64,
}

impl Streams {
    /// As the settings say; nothing is connected yet.
    #[must_use]
    pub fn new(settings: &settings::Redis, status: Status) -> Self {
        Self {
            server: Server::new(settings),
            group: Group::new(settings),
            claim_after: Duration::from_millis(settings.claim_after_ms),
            ahead_max: settings.reading.pending_max,
            dead: DeadLetters { key: settings.dead_letter.clone(), length_max: settings.dead_letter_max },
            status,
        }
    }
}

impl Inbound for Streams {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Source>, BusError>> {
        Box::pin(async move {
            let mut connection = self.server.connect(ANSWER_WITHIN).await?;
            // An entry must never be acknowledged because its dead letter could not be written.
            let asked = cmd("TYPE").arg(&self.dead.key).query_async(&mut connection).await;
            let kind: String = asked.map_err(failed("look at the stream of dead letters"))?;
            if !matches!(kind.as_str(), "stream" | "none") {
                let problem = format!("the key {} for dead letters is no stream but a {kind}", self.dead.key);
                return Err(BusError::NotSetUp { problem });
            }
            let (sender, found) = mpsc::channel(1);
            let (group, status) = (self.group.clone(), self.status.clone());
            let reader = Reader::open(&self.server, group, self.claim_after, self.ahead_max, status, sender).await?;
            let mut task = JoinSet::new();
            task.spawn(reader.run());
            let open = Open {
                found,
                _reader: task,
                work: JoinSet::new(),
                ready: VecDeque::new(),
                connection,
                group: self.group.clone(),
                dead: self.dead.clone(),
                status: self.status.clone(),
                held: HashMap::new(),
                places: HashSet::new(),
                later: BTreeSet::new(),
                was_again: false,
                receipts: 0,
            };
            Ok(Box::new(open) as Box<dyn Source>)
        })
    }
}

/// An entry that is given out.
struct Held {
    entry: Entry,
    attempt: u32,
}

/// Streams as they are read.
struct Open {
    found: mpsc::Receiver<Result<Vec<Found>, BusError>>,
    /// Ends with this.
    _reader: JoinSet<()>,
    /// What was begun and is not waited for.
    work: JoinSet<Result<(), BusError>>,
    ready: VecDeque<Found>,
    connection: MultiplexedConnection,
    group: Group,
    dead: DeadLetters,
    status: Status,
    held: HashMap<Receipt, Held>,
    /// The places of what is held: a claim may find it again.
    places: HashSet<(Bytes, EntryId)>,
    /// What is to be given out again, by time.
    later: BTreeSet<(Instant, Receipt)>,
    /// Whether the last one came again: new ones take turns with those, or what many wait for would never come.
    was_again: bool,
    receipts: u64,
}

impl Open {
    async fn delivery(&mut self) -> Result<Delivery, BusError> {
        loop {
            // Beyond that the server holds the rest.
            let has_room = self.later.len() < LATER_MAX;
            if self.ready.is_empty()
                && has_room
                && let Ok(found) = self.found.try_recv()
            {
                self.ready.extend(found?);
            }
            if let Some((due, receipt)) = self.later.first().copied()
                && due <= Instant::now()
                && !(self.was_again && has_room && !self.ready.is_empty())
            {
                self.was_again = true;
                if let Some(delivery) = self.once_more(receipt).await? {
                    return Ok(delivery);
                }
                continue;
            }
            self.was_again = false;
            if let Some(found) = self.ready.pop_front_if(|_| has_room) {
                if let Some(delivery) = self.take(found) {
                    return Ok(delivery);
                }
                continue;
            }
            let due = self.later.first().map(|(due, _)| *due);
            let waiting = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                found = self.found.recv(), if has_room => {
                    let ended = || BusError::Unreachable { doing: "read entries", source: "the reader has ended".into() };
                    self.ready.extend(found.ok_or_else(ended)??);
                }
                Some(done) = self.work.join_next(), if !self.work.is_empty() => match done {
                    Ok(done) => done?,
                    Err(error) => {
                        let doing = "put an entry apart";
                        return Err(BusError::Unreachable { doing, source: error.into() });
                    }
                },
                () = waiting => {}
            }
        }
    }

    /// Gives an entry out, where it is one that can be and is not out already.
    fn take(&mut self, found: Found) -> Option<Delivery> {
        let (entry, attempt) = match found {
            Found::Entry(entry, attempt) => (entry, attempt),
            Found::Gone(key, id) => {
                self.gone(&key, id);
                return None;
            }
        };
        let place = (entry.key.clone(), entry.id);
        if self.places.contains(&place) {
            return None;
        }
        let held = Held { entry, attempt };
        if held.entry.only(b"payload").is_none() {
            let problem = if held.entry.fields.iter().any(|(name, _)| name == "payload") {
                (Code::FieldTwice, "the entry has more than one field payload")
            } else {
                (Code::FieldMissing, "the entry has no field payload")
            };
            self.status.put_apart();
            tracing::warn!(bus = %self.status.name(), place = %shown(&held.entry), reason = problem.1, "an entry is put apart");
            let apart = self.apart(vec![(held, problem.0.as_str(), problem.1.to_owned())]);
            self.send(apart, "put an entry apart");
            return None;
        }
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        let delivery = delivery(receipt, &held);
        self.places.insert(place);
        self.held.insert(receipt, held);
        Some(delivery)
    }

    /// Has something done that nobody waits for, whatever becomes of the one who asks for the next message.
    fn send(&mut self, work: Pipeline, doing: &'static str) {
        let mut connection = self.connection.clone();
        self.work.spawn(async move { work.exec_async(&mut connection).await.map_err(failed(doing)) });
    }

    /// Gives an entry out again; the server counts it, so that a restart goes on counting.
    async fn once_more(&mut self, receipt: Receipt) -> Result<Option<Delivery>, BusError> {
        let Some(held) = self.held.get_mut(&receipt) else {
            self.later.retain(|(_, later)| *later != receipt);
            return Ok(None);
        };
        let attempt = held.attempt.saturating_add(1);
        let mut count = cmd("XCLAIM");
        count.arg(&*held.entry.key).arg(&self.group.name).arg(&self.group.consumer).arg(0);
        count.arg(held.entry.id.to_string()).arg("RETRYCOUNT").arg(attempt).arg("JUSTID");
        count.exec_async(&mut self.connection).await.map_err(failed("count a delivery"))?;
        held.attempt = attempt;
        let delivery = delivery(receipt, held);
        self.later.retain(|(_, later)| *later != receipt);
        Ok(Some(delivery))
    }

    /// An entry was delivered, never settled, and is in its stream no more.
    fn gone(&mut self, key: &Bytes, id: EntryId) {
        // What is held is here, whatever became of its stream.
        if self.places.contains(&(key.clone(), id)) {
            return;
        }
        tracing::error!(
            bus = %self.status.name(), stream = %String::from_utf8_lossy(key), entry = %id,
            "an entry is gone that was delivered and never settled: what it reported may not be recorded"
        );
        self.status.gone(1);
        let mut acknowledge = pipe();
        acknowledge.add_command(self.acknowledged(key, &[id])).ignore();
        self.send(acknowledge, "acknowledge an entry that is gone");
    }

    async fn settle_all(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> Result<(), BusError> {
        let mut done: BTreeMap<Bytes, Vec<EntryId>> = BTreeMap::new();
        let mut dead = Vec::new();
        for (receipt, outcome) in outcomes {
            if let Outcome::Later(wait) = outcome {
                self.later.insert((Instant::now() + wait, receipt));
                continue;
            }
            let Some(held) = self.held.remove(&receipt) else { continue };
            self.places.remove(&(held.entry.key.clone(), held.entry.id));
            match outcome {
                Outcome::Done => done.entry(held.entry.key).or_default().push(held.entry.id),
                Outcome::Dead { code, reason } => dead.push((held, code, reason)),
                Outcome::Later(_) => {}
            }
        }
        self.acknowledge(done).await?;
        if dead.is_empty() {
            return Ok(());
        }
        self.apart(dead).exec_async(&mut self.connection).await.map_err(failed("put entries apart"))
    }

    async fn acknowledge(&mut self, done: BTreeMap<Bytes, Vec<EntryId>>) -> Result<(), BusError> {
        if done.is_empty() {
            return Ok(());
        }
        let mut acknowledge = pipe();
        for (key, ids) in done {
            acknowledge.add_command(self.acknowledged(&key, &ids)).ignore();
        }
        acknowledge.exec_async(&mut self.connection).await.map_err(failed("acknowledge entries"))
    }

    fn acknowledged(&self, key: &Bytes, ids: &[EntryId]) -> Cmd {
        let mut acknowledge = cmd("XACK");
        acknowledge.arg(&**key).arg(&self.group.name);
        for id in ids {
            acknowledge.arg(id.to_string());
        }
        acknowledge
    }

    /// Each with why not: into the stream of dead letters and out of the group, in one transaction.
    fn apart(&self, dead: Vec<(Held, &'static str, String)>) -> Pipeline {
        let mut apart = pipe();
        apart.atomic();
        for (Held { entry, attempt }, code, reason) in dead {
            let mut add = cmd("XADD");
            add.arg(&self.dead.key).arg("MAXLEN").arg("~").arg(self.dead.length_max).arg("*");
            add.arg("code").arg(code).arg("reason").arg(reason).arg("key").arg(&*entry.key);
            add.arg("id").arg(entry.id.to_string()).arg("attempts").arg(attempt);
            for (name, value) in &entry.fields {
                add.arg(&**name).arg(&**value);
            }
            apart.add_command(add).ignore();
            apart.add_command(self.acknowledged(&entry.key, &[entry.id])).ignore();
        }
        apart
    }
}

fn shown(entry: &Entry) -> smol_str::SmolStr {
    format_smolstr!("{} {}", String::from_utf8_lossy(&entry.key), entry.id)
}

fn delivery(receipt: Receipt, held: &Held) -> Delivery {
    let Held { entry, attempt } = held;
    Delivery {
        receipt,
        place: shown(entry),
        subject: entry.subject(),
        headers: entry.headers(),
        payload: entry.only(b"payload").cloned().unwrap_or_default(),
        attempt: *attempt,
    }
}

impl Source for Open {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, BusError>> {
        Box::pin(async move { self.delivery().await.map(Some) })
    }

    fn settle(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.settle_all(outcomes))
    }
}
