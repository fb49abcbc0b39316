//! The whole house behind one handle: start it, ask it, change it, shut it down.

mod overview;

pub use overview::{Loaded, Part};

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::prelude::*;
use ephor_events::{CheckpointError, Durability, EventLog, Head, Reader, StreamId, Version, codec};
use ephor_governance::gate::assess_kill;
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use ephor_snapshots::{Keyframes, RestoreError, Restored, Spacing, restore};
use futures::future::join_all;
use smol_str::SmolStr;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::answer::{Failure, Recorded};
use crate::gate::{Ask, GateActor, MAILBOX, Ping};
use crate::journal::{Journal, JournalError, JournalThread};
use crate::keeper::{Keeper, KeyframeCounts};
use crate::measures::Counters;
use crate::reply::reply;
use crate::request::Request;
use crate::shard::{ApplyFn, DecideFn, Surroundings};
use crate::strategy::same_content;
use crate::system::{Change, Published, SystemActor, View};

/// How the house is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that strategies are spread over; one gives one order of commits.
    pub shards: usize,
    /// What a commit must have reached before its answer leaves.
    pub durability: Durability,
    /// Requests that may be under way at once; beyond that a request is refused.
    pub in_flight_max: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many events of a stream lie between its keyframes.
    pub spacing: Spacing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 1,
            durability: Durability::Fsync,
            in_flight_max: 1_024,
            timeout: Duration::from_secs(5),
            spacing: Spacing::default(),
        }
    }
}

/// Why the house did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system's state could not be recovered from the log.
    #[error("recover the system from the log failed")]
    Recover(#[from] RestoreError),
    /// A thread could not be started.
    #[error("start a thread failed")]
    Thread(#[from] std::io::Error),
    /// The actors' thread ended before it said that it was ready.
    #[error("the actors did not start")]
    NotReady,
}

impl StartError {
    /// Whether the same start may go through later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Recover(error) => error.is_retryable(),
            Self::Thread(_) => true,
            Self::NotReady => false,
        }
    }
}

/// Places in the journal's queue beyond those of orders: for kills and what else concerns everyone.
const RESERVED: usize = 64;

/// Reports of the account that may be on their way to the log at once. Whatever else concerns everyone comes behind
/// no more of them than this.
const ACCOUNTS_MAX: usize = 8;

struct House {
    gates: Vec<Addr<GateActor>>,
    system: Addr<SystemActor>,
    journal: Journal,
    counters: Arc<Counters>,
    reader: Reader,
    keeper: Option<Keeper>,
    /// Whether a policy is known to be in force.
    begun: AtomicBool,
    published: Published,
    under_way: Arc<Semaphore>,
    accounts: Arc<Semaphore>,
    in_flight_max: usize,
    timeout: Duration,
    closing: AtomicBool,
    /// Why no new exposure is let through, where it is not.
    held: RwLock<Option<Arc<str>>>,
}

impl House {
    fn timed_out(&self) -> Failure {
        Failure::TimedOut { millis: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A handle to the running house. Cheap to clone; every clone is the same house.
#[derive(Clone)]
pub struct Governor {
    house: Arc<House>,
}

/// The threads of the house, to be joined once it has been shut down.
pub struct Threads {
    journal: JournalThread,
    keeper: Option<JoinHandle<()>>,
    actors: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// A request that has taken its place in a gate's mailbox.
struct Sent {
    answer: oneshot::Receiver<Result<Recorded, Failure>>,
    place: OwnedSemaphorePermit,
}

#[cfg(test)]
impl Threads {
    /// Ends the actors alone, as if they had died.
    pub(crate) fn stop_actors(self) {
        drop(self.stop);
        drop(self.actors.join());
    }
}

struct Ready {
    gates: Vec<Addr<GateActor>>,
    system: Addr<SystemActor>,
}

impl Governor {
    /// Starts journal, gates and system actor on a log.
    ///
    /// # Errors
    /// [`StartError`]; the log is closed again then.
    pub fn start(log: EventLog, config: &Config) -> Result<(Self, Threads), StartError> {
        Self::start_with(log, config, strategy::decide, strategy::apply)
    }

    pub(crate) fn start_with(
        log: EventLog,
        config: &Config,
        decide: DecideFn,
        apply: ApplyFn,
    ) -> Result<(Self, Threads), StartError> {
        let in_flight_max = config.in_flight_max.clamp(1, MAILBOX);
        // Of requests whose asker has left a place is kept until they are through.
        let places_max = in_flight_max * 2;
        let shards = config.shards.max(1);
        let (routes, receipts): (Vec<_>, Vec<_>) = (0..shards).map(|_| unbounded_channel()).unzip();
        let keyframes = Keyframes::open(&log.derived());
        let keyframes = keyframes.inspect_err(|error| tracing::warn!(%error, "keyframes cannot be kept")).ok();
        let counters: Arc<Counters> = Arc::default();
        let (journal, reader, journal_thread) =
            Journal::start(log, config.durability, shards * places_max + RESERVED, routes, counters.clone())?;
        let keeper =
            keyframes.map(|keyframes| Keeper::start(keyframes.spaced(config.spacing), reader.clone(), journal.clone()));
        let (keeper, keeper_thread) = keeper.transpose()?.unzip();
        let around =
            Surroundings { journal: journal.clone(), reader: reader.clone(), decide, apply, keeper: keeper.clone() };
        let Restored { state, version, at: last_at, folded } = SystemActor::recover(&around)?;
        let (view, keyframe) = (Arc::new(View { version, state }), Version(version.0 - folded));
        let policy_adopted = view.state.policy_adopted;
        let published: Published = Arc::new(RwLock::new(view.clone()));
        let to_publish = published.clone();
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let actors = std::thread::Builder::new().name("actors".to_owned()).spawn(move || {
            System::new().block_on(async move {
                let arbiters: Vec<Arbiter> = (0..shards).map(|_| Arbiter::new()).collect();
                let gates: Vec<_> = (0..)
                    .zip(&arbiters)
                    .zip(receipts)
                    .map(|((number, arbiter), receipts)| {
                        let (view, around) = (view.clone(), around.clone());
                        let gate = move |_: &mut Context<GateActor>| {
                            GateActor::new(number, view, around, receipts, places_max)
                        };
                        GateActor::start_in_arbiter(&arbiter.handle(), gate)
                    })
                    .collect();
                let system = SystemActor::new(to_publish, last_at, keyframe, around, gates.clone()).start();
                // A mailbox has little room until its actor has started; one that answers has.
                drop(join_all(gates.iter().map(|gate| gate.send(Ping))).await);
                if ready.send(Ready { gates, system }).is_err() {
                    return;
                }
                // Ends when told to, or when every handle is gone.
                drop(stopped.await);
                for arbiter in arbiters {
                    arbiter.stop();
                    drop(arbiter.join());
                }
            });
        })?;
        let Ready { gates, system } = started.recv().map_err(|_| StartError::NotReady)?;
        let house = House {
            gates,
            system,
            journal,
            counters,
            reader,
            keeper,
            begun: AtomicBool::new(policy_adopted),
            published,
            under_way: Arc::new(Semaphore::new(in_flight_max)),
            accounts: Arc::new(Semaphore::new(ACCOUNTS_MAX)),
            in_flight_max,
            timeout: config.timeout,
            closing: AtomicBool::new(false),
            held: RwLock::new(None),
        };
        Ok((Self { house: Arc::new(house) }, Threads { journal: journal_thread, keeper: keeper_thread, actors, stop }))
    }

    /// Makes sure that the log begins with the policy it is governed by: the default, where nobody has
    /// adopted another. The first request does it too; before a pipelined stream it is done once, alone.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn begin(&self, at: Timestamp) -> Result<(), Failure> {
        let change = Change { command: None, at, trace: SmolStr::default(), occurred_at: None, place: None };
        self.tell(change, Instant::now()).await.map(drop)
    }

    /// Asks something of a strategy. The request takes its place at once, so requests are decided in the
    /// order of these calls; the answer comes when its commit is durable.
    ///
    /// An answer that a kill has overtaken does not leave: the order is decided again under the kill, and that
    /// is recorded too.
    ///
    /// # Errors
    /// [`Failure`]; an order that meets one is blocked, for [`Failure::reason`].
    pub fn ask(&self, request: Request) -> impl Future<Output = Result<Recorded, Failure>> + Send + use<> {
        let request = Arc::new(request);
        let begun = self.house.begun.load(Ordering::Acquire);
        let sent = begun.then(|| self.send(request.clone(), 0));
        let this = self.clone();
        async move {
            let house = &*this.house;
            let late = pin!(tokio::time::sleep(house.timeout));
            let answered = pin!(this.answered(&request, sent));
            // Not `timeout`: it would be as large as all it waits for once more, and is moved wherever this is.
            let answer = tokio::select! {
                biased;
                answer = answered => answer,
                () = late => Err(house.timed_out()),
            };
            answer.inspect_err(|failure| match failure {
                Failure::Overloaded | Failure::Journal(JournalError::Full) => house.counters.refused(),
                Failure::Journal(JournalError::Stopped { .. } | JournalError::Closed)
                | Failure::Rejected(_)
                | Failure::Unreadable { .. }
                | Failure::Unencodable { .. }
                | Failure::Faulted { .. }
                | Failure::TimedOut { .. }
                | Failure::Held { .. }
                | Failure::Stopped => {}
            })
        }
    }

    async fn answered(&self, request: &Arc<Request>, sent: Option<Result<Sent, Failure>>) -> Result<Recorded, Failure> {
        let mut sent = if let Some(sent) = sent {
            sent?
        } else {
            // Once in the life of a log, and large: not to be carried by every question.
            Box::pin(self.begin(request.at)).await?;
            self.send(request.clone(), 0)?
        };
        loop {
            let recorded = sent.answer.await.map_err(|_| Failure::Stopped)??;
            let view = self.house.published.read().unwrap_or_else(PoisonError::into_inner);
            let Some(attempt) = overtaken_by_kill(&view, &request.strategy, &recorded) else { return Ok(recorded) };
            drop((view, sent.place));
            sent = self.send(request.clone(), attempt)?;
        }
    }

    /// Turns away every order that is not `reduce_only` from now on, for this reason; `None` lets them through again.
    /// For what has to be there beside the log and is not. Nothing is recorded of an order that is turned away; one that
    /// was decided before gets the answer that is recorded.
    pub fn hold(&self, why: Option<Arc<str>>) {
        *self.house.held.write().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why an order is turned away, where it is.
    fn held(&self, request: &Request) -> Option<Failure> {
        request.command.order().filter(|order| !order.reduce_only)?;
        let held = self.house.held.read().unwrap_or_else(PoisonError::into_inner);
        held.clone().map(|why| Failure::Held { why })
    }

    /// What stands in the log for this order, of this attempt or a later one: its answer, whatever is held back by now.
    fn recorded_before(&self, request: &Request, attempt: u32) -> Result<Option<Recorded>, Failure> {
        let Some((kind, id)) = request.command.key() else { return Ok(None) };
        let stream = StreamId::new(request.strategy.as_str());
        let Some(commit) = self.house.reader.find(&stream, kind as u8, &id)? else { return Ok(None) };
        let (events, at) = (codec::decode_commit(&commit)?, Timestamp::from_nanos(commit.decided_at));
        same_content(&events, &request.command, &id)?;
        let recorded = Recorded::new(events, commit.version, at, commit.system).placed(commit.seq).as_repeat();
        Ok(recorded.decision().is_some_and(|decision| decision.attempt >= attempt).then_some(recorded))
    }

    fn send(&self, request: Arc<Request>, attempt: u32) -> Result<Sent, Failure> {
        let place = self.enter()?;
        if let Some(failure) = self.held(&request) {
            let recorded = self.recorded_before(&request, attempt)?.ok_or(failure)?;
            let (reply, answer) = reply();
            reply.answer(Ok(recorded));
            return Ok(Sent { answer, place });
        }
        let gates = &self.house.gates;
        let gate = gates.get(shard_of(&request.strategy, gates.len())).ok_or(Failure::Stopped)?;
        let (reply, answer) = reply();
        gate.try_send(Ask { request, attempt, reply }).map_err(|refused| match refused {
            SendError::Full(_) => Failure::Overloaded,
            SendError::Closed(_) => Failure::Stopped,
        })?;
        Ok(Sent { answer, place })
    }

    /// Changes something for all strategies. Answered when it is durable and every gate has adopted it. Takes
    /// no place among the orders: a kill must get through when they are many. Reports of the account wait for
    /// each other outside, in their order, so that it gets through when those are many too.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::Overloaded`] for a report of the account that got no place in time.
    pub async fn change(
        &self,
        command: system::Command,
        at: Timestamp,
        trace: SmolStr,
        occurred_at: Option<Timestamp>,
    ) -> Result<Recorded, Failure> {
        let since = Instant::now();
        let place = match &command {
            system::Command::UpdateAccount(_) => Some(self.account_place(since).await?),
            system::Command::AdoptPolicy { .. }
            | system::Command::ProposePolicy { .. }
            | system::Command::EngageKillSwitch { .. }
            | system::Command::ReleaseKillSwitch { .. }
            | system::Command::RecordCanaryRound(_) => None,
        };
        self.tell(Change { command: Some(command), at, trace, occurred_at, place }, since).await
    }

    async fn account_place(&self, since: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        let place = self.house.accounts.clone().acquire_owned();
        let Ok(place) = tokio::time::timeout_at(since + self.house.timeout, place).await else {
            self.house.counters.refused();
            return Err(Failure::Overloaded);
        };
        place.map_err(|_| Failure::Stopped)
    }

    async fn tell(&self, change: Change, since: Instant) -> Result<Recorded, Failure> {
        if self.house.closing.load(Ordering::Acquire) {
            return Err(Failure::Stopped);
        }
        let changed = self.house.system.send(change);
        let recorded = self.in_time(since, async { changed.await.map_err(|_| Failure::Stopped)? }).await?;
        self.house.begun.store(true, Ordering::Release);
        Ok(recorded)
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if self.house.closing.load(Ordering::Acquire) {
            return Err(Failure::Stopped);
        }
        self.house.under_way.clone().try_acquire_owned().map_err(|_| Failure::Overloaded)
    }

    /// The time-out runs on the asker's thread: a gate's own clock would not tick while it is blocked.
    async fn in_time<T>(&self, since: Instant, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let timeout = self.house.timeout;
        tokio::time::timeout_at(since + timeout, answer).await.unwrap_or_else(|_| Err(self.house.timed_out()))
    }

    /// What is recorded, to be read from any thread.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.house.reader
    }

    /// What has become of keyframes since the start.
    #[must_use]
    pub fn keyframes(&self) -> KeyframeCounts {
        self.house.keeper.as_ref().map(Keeper::counts).unwrap_or_default()
    }

    /// Saves the state of everything that has been asked about and has changed since its last keyframe, so
    /// that the next start need not fold it. They only save time: one that cannot be saved is missed and no more.
    async fn save_keyframes(&self, keyframes: Keyframes) {
        let states = self.inspect().await;
        let reader = self.house.reader.clone();
        let saving = move || {
            let missed = |error: &dyn std::error::Error| tracing::warn!(%error, "a keyframe was not saved");
            for (id, restored) in states {
                if let Err(error) = keyframes.save(&reader, &StreamId::new(id.as_str()), &restored) {
                    missed(&error);
                }
            }
            match restore(&reader, Some(&keyframes), &StreamId::system(), None, system::evolve) {
                Ok(restored) if restored.folded == 0 => {}
                Ok(restored) => {
                    if let Err(error) = keyframes.save(&reader, &StreamId::system(), &restored) {
                        missed(&error);
                    }
                }
                Err(error) => missed(&error),
            }
            if let Err(error) = keyframes.flush() {
                tracing::warn!(%error, "keyframes were not brought to the disk");
            }
        };
        drop(tokio::task::spawn_blocking(saving).await);
    }

    /// Stops intake, waits for what is under way, closes the log, saves keyframes and ends the threads.
    ///
    /// # Errors
    /// What closing the log said; every answered commit is durable all the same.
    pub async fn shutdown(self, threads: Threads) -> Result<Option<Head>, CheckpointError> {
        self.house.closing.store(true, Ordering::Release);
        let everyone = u32::try_from(self.house.in_flight_max).unwrap_or(u32::MAX);
        drop(self.house.under_way.acquire_many(everyone).await);
        if let Some(keeper) = self.house.keeper.clone() {
            let closing = keeper.clone();
            let ended = move || (closing.close(), threads.keeper.map(JoinHandle::join));
            drop(tokio::task::spawn_blocking(ended).await);
        }
        // The log first: what is recorded is safe from here on, however long the rest takes.
        let closed = self.house.journal.close().await;
        if let Some(keeper) = &self.house.keeper {
            self.save_keyframes(keeper.keyframes().clone()).await;
        }
        // Nobody listens only if the actors' thread has ended already.
        let _gone = threads.stop.send(()).is_err();
        let joined = tokio::task::spawn_blocking(move || {
            drop(threads.journal.join());
            drop(threads.actors.join());
        });
        drop(joined.await);
        closed.transpose()
    }
}

/// The attempt to make instead, where a kill that covers the order is in force and the order was let through.
fn overtaken_by_kill(view: &View, strategy: &StrategyId, recorded: &Recorded) -> Option<u32> {
    if recorded.system >= view.version || view.state.kills.is_empty() {
        return None;
    }
    let decision = recorded.decision()?;
    let killed = !decision.action.rejects() && assess_kill(&view.state, strategy, &decision.order).action.rejects();
    killed.then(|| decision.attempt.saturating_add(1))
}

/// A strategy's shard: the same on every machine and after every restart.
fn shard_of(strategy: &StrategyId, shards: usize) -> usize {
    crc32c::crc32c(strategy.as_str().as_bytes()) as usize % shards.max(1)
}
