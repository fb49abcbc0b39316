//! What a gate and its strategies share on their thread: the system view, and the answers that wait for
//! their receipts.
//!
//! Commits leave a shard in one order and their receipts come back in that order, a whole group at a time,
//! so an answer costs a place in a queue and not a task of its own.
//!
//! Invariant: an answer is released here and nowhere else, by the receipt of its own commit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ephor_events::{Draft, Position, Reader};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command};
use ephor_governance::units::Timestamp;
use ephor_snapshots::Keyframes;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::answer::Recorded;
use crate::journal::{Journal, JournalError, Route};
use crate::keeper::Keeper;
use crate::reply::{Answers, Reply};
use crate::system::View;

/// The receipts of one group, in the order in which the shard handed its commits over.
pub(crate) type Receipts = Vec<Result<Position, JournalError>>;

/// The rule a strategy decides by; a value, so that a test can let it fail.
pub(crate) type DecideFn =
    fn(&strategy::State, &StrategyId, &Command, &strategy::Context<'_>) -> Result<Vec<Event>, Rejection>;

/// How a state takes in an event; a value for the same reason.
pub(crate) type ApplyFn = fn(&mut strategy::State, &Event, Timestamp);

/// Everything an actor needs from outside its thread.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) journal: Journal,
    pub(crate) reader: Reader,
    pub(crate) decide: DecideFn,
    pub(crate) apply: ApplyFn,
    /// Where states are kept beside the log; `None` where the store did not open.
    pub(crate) keeper: Option<Keeper>,
}

impl Surroundings {
    pub(crate) fn keyframes(&self) -> Option<&Keyframes> {
        self.keeper.as_ref().map(Keeper::keyframes)
    }
}

/// An answer that waits for its receipt, and who waits for it.
struct Slot {
    recorded: Recorded,
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

    /// Hands a commit to the journal and lets its answer wait for the receipt: one step, so that whatever
    /// happens afterwards every receipt finds its own slot. Takes the reply only where it succeeds.
    pub(crate) fn append(
        &self,
        draft: Draft,
        recorded: Recorded,
        reply: &mut Option<Reply>,
    ) -> Result<Ticket, JournalError> {
        self.around.journal.append(draft, Route::Shard(self.number))?;
        let mut slots = self.slots.borrow_mut();
        let ticket = self.first.get() + slots.len() as u64;
        let waiters = reply.take().map(|reply| Waiter { reply, repeat: false }).into_iter().collect();
        slots.push_back(Slot { recorded, waiters });
        Ok(ticket)
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
    pub(crate) async fn release_all(self: Rc<Self>, mut receipts: UnboundedReceiver<Receipts>) {
        while let Some(group) = receipts.recv().await {
            let mut answers = Answers::default();
            for receipt in group {
                self.release_next(receipt, &mut answers);
            }
            answers.hand_over();
        }
        let mut answers = Answers::default();
        while !self.slots.borrow().is_empty() {
            self.release_next(Err(JournalError::Closed), &mut answers);
        }
        answers.hand_over();
    }

    fn release_next(&self, receipt: Result<Position, JournalError>, answers: &mut Answers) {
        let Some(Slot { recorded, waiters }) = self.slots.borrow_mut().pop_front() else { return };
        self.first.set(self.first.get() + 1);
        match receipt {
            Ok(position) => {
                let recorded = recorded.placed(position.seq);
                for Waiter { reply, repeat } in waiters {
                    answers.add(reply, Ok(Recorded { repeat, ..recorded.clone() }));
                }
            }
            Err(error) => {
                for Waiter { reply, .. } in waiters {
                    answers.add(reply, Err(error.clone().into()));
                }
            }
        }
    }
}
