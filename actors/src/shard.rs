//! What a gate and its strategies share on their thread: the system view, and the answers that wait for
//! their receipts.
//!
//! Commits leave a shard in one order and their receipts come back in that order, a whole group at a time,
//! so an answer costs a place in a queue and not a task of its own.
//!
//! Invariant: an answer is released here and nowhere else, against the view that the gate has adopted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use actix::Addr;
use ephor_events::{Draft, Position, Reader};
use ephor_governance::event::Event;
use ephor_governance::gate::assess_kill;
use ephor_governance::ids::StrategyId;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command};
use ephor_snapshots::Keyframes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::answer::{Failure, Recorded};
use crate::gate::{Ask, GateActor};
use crate::journal::{Journal, JournalError, Route};
use crate::request::Request;
use crate::system::View;

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Recorded, Failure>>;

/// The receipts of one group, in the order in which the shard handed its commits over.
pub(crate) type Receipts = Vec<Result<Position, JournalError>>;

/// The rule a strategy decides by; a value, so that a test can let it fail.
pub(crate) type DecideFn =
    fn(&strategy::State, &StrategyId, &Command, &strategy::Context<'_>) -> Result<Vec<Event>, Rejection>;

/// Everything an actor needs from outside its thread.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) journal: Journal,
    pub(crate) reader: Reader,
    pub(crate) decide: DecideFn,
    /// Where states are kept beside the log; `None` where the store did not open.
    pub(crate) keyframes: Option<Keyframes>,
}

/// An answer that waits for its receipt, and who waits for it.
struct Slot {
    recorded: Recorded,
    request: Arc<Request>,
    waiters: Vec<Waiter>,
}

struct Waiter {
    reply: Reply,
    repeat: bool,
}

/// Names a commit of this shard that is under way.
pub(crate) type Ticket = u64;

pub(crate) struct Shard {
    pub(crate) around: Surroundings,
    pub(crate) view: RefCell<Arc<View>>,
    number: usize,
    /// The ticket of the first slot.
    first: Cell<Ticket>,
    slots: RefCell<VecDeque<Slot>>,
}

impl Shard {
    pub(crate) fn new(number: usize, view: Arc<View>, around: Surroundings) -> Self {
        let slots = RefCell::new(VecDeque::new());
        Self { around, view: RefCell::new(view), number, first: Cell::new(0), slots }
    }

    /// Hands a commit to the journal; its answer waits for the receipt.
    pub(crate) fn append(&self, draft: Draft) -> Result<Ticket, JournalError> {
        self.around.journal.append(draft, Route::Shard(self.number))?;
        Ok(self.first.get() + self.slots.borrow().len() as u64)
    }

    /// Lets the answer to the commit just handed over wait.
    pub(crate) fn wait(&self, recorded: Recorded, request: Arc<Request>, reply: Option<Reply>) {
        let waiters = reply.map(|reply| Waiter { reply, repeat: false }).into_iter().collect();
        self.slots.borrow_mut().push_back(Slot { recorded, request, waiters });
    }

    /// Whether a commit is still under way.
    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        ticket >= self.first.get()
    }

    /// What a commit under way records.
    pub(crate) fn recorded(&self, ticket: Ticket) -> Option<Recorded> {
        let index = usize::try_from(ticket.checked_sub(self.first.get())?).ok()?;
        self.slots.borrow().get(index).map(|slot| slot.recorded.clone())
    }

    /// Lets a repeated request wait for the commit that answers it.
    pub(crate) fn join(&self, ticket: Ticket, reply: Reply) {
        let index = ticket.checked_sub(self.first.get()).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = self.slots.borrow_mut().get_mut(index.unwrap_or(usize::MAX)) {
            slot.waiters.push(Waiter { reply, repeat: true });
        }
    }

    /// Releases answers as their receipts come, until the journal is gone.
    pub(crate) async fn release_all(self: Rc<Self>, mut receipts: UnboundedReceiver<Receipts>, gate: Addr<GateActor>) {
        while let Some(group) = receipts.recv().await {
            for receipt in group {
                self.release_next(receipt, &gate);
            }
        }
        while !self.slots.borrow().is_empty() {
            self.release_next(Err(JournalError::Closed), &gate);
        }
    }

    fn release_next(&self, receipt: Result<Position, JournalError>, gate: &Addr<GateActor>) {
        let Some(Slot { recorded, request, waiters }) = self.slots.borrow_mut().pop_front() else { return };
        self.first.set(self.first.get() + 1);
        match receipt {
            Ok(position) => {
                let recorded = recorded.placed(position.seq);
                for Waiter { reply, repeat } in waiters {
                    self.release(Recorded { repeat, ..recorded.clone() }, &request, reply, gate);
                }
            }
            Err(error) => {
                for Waiter { reply, .. } in waiters {
                    answer(reply, Err(error.clone().into()));
                }
            }
        }
    }

    /// Lets an answer leave, unless a kill has overtaken it: then the order is decided again, because what was
    /// recorded as allowed must not leave any more.
    pub(crate) fn release(&self, recorded: Recorded, request: &Arc<Request>, reply: Reply, gate: &Addr<GateActor>) {
        match overtaken_by_kill(&self.view.borrow(), &request.strategy, &recorded) {
            None => answer(reply, Ok(recorded)),
            Some(attempt) => {
                let again = gate.send(Ask { request: request.clone(), attempt, reply });
                // A gate that is gone drops the reply, which the asker reads as a BLOCK.
                actix::spawn(async move { again.await.is_ok() });
            }
        }
    }
}

/// Answers an asker; one that is gone needs no answer, and what it asked for is recorded all the same.
pub(crate) fn answer(reply: Reply, answer: Result<Recorded, Failure>) {
    drop(reply.send(answer));
}

/// The attempt to make instead, where a kill that covers the order was adopted after it was let through.
fn overtaken_by_kill(view: &View, strategy: &StrategyId, recorded: &Recorded) -> Option<u32> {
    if recorded.system >= view.version || view.state.kills.is_empty() {
        return None;
    }
    let decision = recorded.decision()?;
    let killed = !decision.action.rejects() && assess_kill(&view.state, strategy, &decision.order).action.rejects();
    killed.then(|| decision.attempt.saturating_add(1))
}
