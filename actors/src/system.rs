//! The system's actor: policy, kill switches, account, canary.
//!
//! A change is durable and every gate has adopted it before it is answered. So once a kill has been
//! acknowledged, no gate can still be deciding without it.

use std::sync::Arc;

use actix::prelude::*;
use ephor_events::codec::{self, Heading};
use ephor_events::{StreamId, Version};
use ephor_governance::system::{self, Command};
use ephor_governance::units::Timestamp;
use ephor_snapshots::{RestoreError, Restored, restore};
use futures::future::join_all;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use crate::answer::{Failure, Recorded};
use crate::gate::{Adopt, GateActor};
use crate::journal::{JournalError, Route};
use crate::shard::Surroundings;

/// The system as of one version of its stream.
#[derive(Clone, Debug)]
pub struct View {
    /// The version.
    pub version: Version,
    /// The state.
    pub state: system::State,
}

/// A command for the system.
#[derive(Message)]
#[rtype(result = "Result<Recorded, Failure>")]
pub(crate) struct Change {
    pub(crate) command: Command,
    pub(crate) at: Timestamp,
    pub(crate) trace: SmolStr,
    pub(crate) occurred_at: Option<Timestamp>,
}

pub(crate) struct SystemActor {
    view: Arc<View>,
    last_at: Timestamp,
    around: Surroundings,
    gates: Vec<Addr<GateActor>>,
}

impl SystemActor {
    /// The system's state, recovered from the log.
    pub(crate) fn recover(around: &Surroundings) -> Result<(Arc<View>, Timestamp), RestoreError> {
        let Restored { state, version, at, .. } =
            restore(&around.reader, around.keyframes.as_ref(), &StreamId::system(), None, system::evolve)?;
        Ok((Arc::new(View { version, state }), at))
    }

    pub(crate) fn new(view: Arc<View>, last_at: Timestamp, around: Surroundings, gates: Vec<Addr<GateActor>>) -> Self {
        Self { view, last_at, around, gates }
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

impl Handler<Change> for SystemActor {
    type Result = AtomicResponse<Self, Result<Recorded, Failure>>;

    /// One change at a time: decide, make durable, let every gate adopt it, answer.
    fn handle(&mut self, change: Change, _: &mut Context<Self>) -> Self::Result {
        let Change { command, at, trace, occurred_at } = change;
        let prepared = self.recorded_before(&command).and_then(|before| {
            if let Some(before) = before {
                return Ok((before, None));
            }
            let at = at.max(self.last_at);
            let mut events = system::decide(&self.view.state, &command)?;
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
            let first = Version(self.view.version.0 + 1);
            let version = Version(self.view.version.0 + events.len() as u64);
            let state = events.iter().fold(self.view.state.clone(), |state, event| system::evolve(state, event, at));
            self.view = Arc::new(View { version, state });
            self.last_at = at;
            Ok((Recorded::new(events, first, at, Version(first.0 - 1)), Some(receipt)))
        });
        let (view, gates) = (self.view.clone(), self.gates.clone());
        AtomicResponse::new(Box::pin(
            async move {
                let (recorded, receipt) = prepared?;
                let Some(receipt) = receipt else { return Ok(recorded) };
                let position = receipt.await.unwrap_or(Err(JournalError::Closed))?;
                // A gate that is gone answers nothing any more, so it need not adopt anything.
                drop(join_all(gates.iter().map(|gate| gate.send(Adopt(view.clone())))).await);
                Ok(recorded.placed(position.seq))
            }
            .into_actor(self),
        ))
    }
}
