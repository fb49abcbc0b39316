//! The system's actor: policy, kill switches, account, canary.
//!
//! A change is durable and every gate has adopted it before it is answered. So once a kill has been
//! acknowledged, no gate can still be deciding without it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use actix::prelude::*;
use ephor_events::codec::{self, Heading};
use ephor_events::{Position, StreamId, Version};
use ephor_governance::ids::Actor as By;
use ephor_governance::policy::Policy;
use ephor_governance::system::{self, Command};
use ephor_governance::units::Timestamp;
use ephor_snapshots::{RestoreError, Restored, restore};
use futures::future::join_all;
use smol_str::SmolStr;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::answer::{Failure, Recorded};
use crate::gate::{Adopt, GateActor, Ping};
use crate::journal::{JournalError, Route};
use crate::keeper::Job;
use crate::shard::Surroundings;
use crate::strategy::said;

/// The system as of one version of its stream.
#[derive(Clone, Debug)]
pub struct View {
    /// The version.
    pub version: Version,
    /// The state.
    pub state: system::State,
}

/// A command for the system; `None` only makes sure that a policy is in force.
#[derive(Message)]
#[rtype(result = "Result<Recorded, Failure>")]
pub(crate) struct Change {
    pub(crate) command: Option<Command>,
    pub(crate) at: Timestamp,
    pub(crate) trace: SmolStr,
    pub(crate) occurred_at: Option<Timestamp>,
    /// Given back when the change is through, even where nobody waits for its answer any more.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

type Receipt = oneshot::Receiver<Result<Position, JournalError>>;

/// What a change comes to: its answer, and the receipt of the last commit that was handed over for it. A refusal
/// can have one too, where the default policy had to be adopted first.
struct Prepared {
    answer: Result<Recorded, Failure>,
    receipt: Option<Receipt>,
}

/// The view that every gate has adopted: what an answer is held against when it leaves.
pub(crate) type Published = Arc<RwLock<Arc<View>>>;

pub(crate) struct SystemActor {
    view: Arc<View>,
    last_at: Timestamp,
    /// The version of the newest keyframe that was saved or left to be saved.
    keyframe: Version,
    around: Surroundings,
    gates: Vec<Addr<GateActor>>,
    published: Published,
}

impl SystemActor {
    /// The system's state, recovered from the log.
    pub(crate) fn recover(around: &Surroundings) -> Result<Restored<system::State>, RestoreError> {
        restore(&around.reader, around.keyframes(), &StreamId::system(), None, system::evolve)
    }

    pub(crate) fn new(
        published: Published,
        last_at: Timestamp,
        keyframe: Version,
        around: Surroundings,
        gates: Vec<Addr<GateActor>>,
    ) -> Self {
        let view = published.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self { view, last_at, keyframe, around, gates, published }
    }

    /// Everything that a change comes to, handed to the journal: a log begins with the policy it is governed
    /// by, so the default is adopted first where nobody has adopted another.
    fn prepare(&mut self, change: Change) -> Prepared {
        let Change { command, at, trace, occurred_at, place: _ } = change;
        let adopts = matches!(command, Some(Command::AdoptPolicy { .. }));
        let mut prepared = None;
        if !adopts && !self.view.state.policy_adopted {
            let policy = Policy::default();
            let by = By::recorded("ephor".into());
            let reason = "the default policy, because none had been adopted".to_owned();
            let default = Command::AdoptPolicy { id: policy.id(), policy: Arc::new(policy), by, reason };
            match self.record(&default, at, SmolStr::default(), None) {
                Ok(recorded) => prepared = Some(recorded),
                Err(failure) => return Prepared { answer: Err(failure), receipt: None },
            }
        }
        let (default, receipt) = prepared.unzip();
        let Some(command) = command else {
            let nothing = || Recorded::new(Vec::new(), self.view.version, at, self.view.version).as_repeat();
            return Prepared { answer: Ok(default.unwrap_or_else(nothing)), receipt };
        };
        match self.recorded_before(&command) {
            Ok(None) => {}
            Ok(Some(before)) => return Prepared { answer: Ok(before), receipt },
            Err(failure) => return Prepared { answer: Err(failure), receipt },
        }
        match self.record(&command, at, trace, occurred_at) {
            Ok((recorded, receipt)) => Prepared { answer: Ok(recorded), receipt: Some(receipt) },
            Err(failure) => Prepared { answer: Err(failure), receipt },
        }
    }

    fn record(
        &mut self,
        command: &Command,
        at: Timestamp,
        trace: SmolStr,
        occurred_at: Option<Timestamp>,
    ) -> Result<(Recorded, Receipt), Failure> {
        let at = at.max(self.last_at);
        // A change that could not be written is in the state all the same: nothing is refused for its sake.
        let refused = |rejection| self.around.journal.stopped().map_or(Failure::Rejected(rejection), Failure::from);
        let mut events = system::decide(&self.view.state, command).map_err(refused)?;
        let state = events.iter().fold(self.view.state.clone(), |state, event| system::evolve(state, event, at));
        let heading = Heading {
            stream: StreamId::system(),
            expected: self.view.version,
            decided_at: at,
            occurred_at: occurred_at.unwrap_or(at),
            trace,
            key: command.key(),
            instrument: None,
            system: self.view.version,
        };
        let draft = codec::draft(heading, &mut events).map_err(|error| Failure::encode(&error))?;
        let (done, receipt) = oneshot::channel();
        self.around.journal.append(draft, Route::One(done))?;
        let before = self.view.version;
        let version = Version(before.0 + events.len() as u64);
        self.view = Arc::new(View { version, state });
        self.last_at = at;
        if let Some(keeper) = &self.around.keeper {
            let state = || Restored { state: self.view.state.clone(), version, at, folded: 0 };
            self.keyframe = keeper.offer(self.keyframe, version, || Job::System(Box::new(state())));
        }
        Ok((Recorded::new(events, Version(before.0 + 1), at, before), receipt))
    }

    /// What was recorded for this id before.
    fn recorded_before(&self, command: &Command) -> Result<Option<Recorded>, Failure> {
        let Some((kind, id)) = command.key() else { return Ok(None) };
        let Some(commit) = self.around.reader.find(&StreamId::system(), kind as u8, id.as_str())? else {
            return Ok(None);
        };
        let events = codec::decode_commit(&commit)?;
        if Command::of(&events).as_ref() != Some(command) {
            return Err(ephor_governance::rejection::Rejection::IdReused { id: id.to_string() }.into());
        }
        let at = Timestamp::from_nanos(commit.decided_at);
        Ok(Some(Recorded::new(events, commit.version, at, commit.system).placed(commit.seq).as_repeat()))
    }
}

impl Actor for SystemActor {
    type Context = Context<Self>;
}

impl Handler<Ping> for SystemActor {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

impl Handler<Change> for SystemActor {
    type Result = AtomicResponse<Self, Result<Recorded, Failure>>;

    /// One change at a time: decide, make durable, let every gate adopt it, publish, answer.
    fn handle(&mut self, mut change: Change, _: &mut Context<Self>) -> Self::Result {
        let place = change.place.take();
        let prepared = catch_unwind(AssertUnwindSafe(|| self.prepare(change)));
        let Prepared { answer, receipt } = prepared.unwrap_or_else(|panic| {
            let answer = Err(Failure::Faulted { message: said(&*panic) });
            Prepared { answer, receipt: None }
        });
        let (view, gates, published) = (self.view.clone(), self.gates.clone(), self.published.clone());
        AtomicResponse::new(Box::pin(
            async move {
                let _place = place;
                let Some(receipt) = receipt else { return answer };
                let position = receipt.await.unwrap_or(Err(JournalError::Closed))?;
                // A gate that is gone decides nothing any more; what it still releases is held against the
                // published view.
                drop(join_all(gates.iter().map(|gate| gate.send(Adopt(view.clone())))).await);
                *published.write().unwrap_or_else(PoisonError::into_inner) = view;
                answer.map(|recorded| if recorded.repeat { recorded } else { recorded.placed(position.seq) })
            }
            .into_actor(self),
        ))
    }
}
