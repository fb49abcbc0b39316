//! What a gate and its strategies share on their thread: the system view, and the line in which commits go to
//! the journal and answers wait for their receipts.
//!
//! A request gets its place in the line before its strategy looks at it, and the strategies decide as their
//! mailboxes come up. A commit is handed over once every place before it is taken or given up, so commits leave
//! a shard in the order of the requests, whichever strategy was first. Their receipts come back in that order, a
//! whole group at a time, so an answer costs a place in a queue and not a task of its own.
//!
//! Invariants: an answer is released here and nowhere else, by the receipt of its own commit; a place that was
//! given out is taken or given up, whatever happens to the strategy.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ephor_events::{Draft, Position, Reader, StreamId};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command};
use ephor_governance::units::Timestamp;
use ephor_snapshots::Keyframes;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::answer::{Failure, Recorded};
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

/// Names a request's place in the line of its shard.
pub(crate) type Ticket = u64;

/// What a strategy made of a request: its commit, what it records, and who waits for it.
struct Made {
    recorded: Recorded,
    reply: Option<Reply>,
    /// Who asked the same again meanwhile.
    repeats: Vec<Reply>,
}

/// A place in the line.
enum Place {
    /// Its strategy has not decided yet.
    Awaited,
    /// Nothing is to be recorded for it.
    GivenUp,
    /// The same, and the answer stands on what those before it record.
    Refused(Failure, Reply),
    /// It waits for those before it.
    Held(Draft, Made),
    /// Its commit is the journal's, and its answer waits for the receipt.
    HandedOver(Made),
}

impl Place {
    const fn made(&self) -> Option<&Made> {
        match self {
            Self::Held(_, made) | Self::HandedOver(made) => Some(made),
            Self::Awaited | Self::GivenUp | Self::Refused(..) => None,
        }
    }
}

#[derive(Default)]
struct Line {
    places: VecDeque<Place>,
    /// The ticket of the first place.
    first: Ticket,
    /// How many places from the first are handed over or given up.
    handed: usize,
}

impl Line {
    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Place> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        self.places.get_mut(index)
    }

    /// Hands over what no place before it holds up any more.
    fn advance(&mut self, journal: &Journal, shard: usize) {
        while let Some(place) = self.places.get_mut(self.handed) {
            match std::mem::replace(place, Place::GivenUp) {
                Place::Awaited => {
                    *place = Place::Awaited;
                    break;
                }
                Place::GivenUp => {}
                Place::Held(draft, made) => match journal.hand_over(draft, Route::Shard(shard)) {
                    Ok(()) => *place = Place::HandedOver(made),
                    // Nothing is written any more, so it is no matter that the state went on.
                    Err(error) => made.answer_all(&error),
                },
                through @ (Place::HandedOver(_) | Place::Refused(..)) => *place = through,
            }
            self.handed += 1;
        }
        self.move_up(journal);
    }

    /// A line begins and ends with a place that waits for a receipt or for its strategy.
    fn move_up(&mut self, journal: &Journal) {
        while let Some(Place::GivenUp) = self.places.back() {
            self.places.pop_back();
        }
        self.handed = self.handed.min(self.places.len());
        while let Some(Place::GivenUp | Place::Refused(..)) = self.places.front() {
            if let Some(Place::Refused(failure, reply)) = self.pop() {
                reply.answer(Err(journal.stopped().map_or(failure, Failure::from)));
            }
        }
    }

    fn pop(&mut self) -> Option<Place> {
        let place = self.places.pop_front()?;
        self.first += 1;
        self.handed = self.handed.saturating_sub(1);
        Some(place)
    }
}

impl Made {
    fn answer_all(self, error: &JournalError) {
        for reply in self.reply.into_iter().chain(self.repeats) {
            reply.answer(Err(error.clone().into()));
        }
    }
}

pub(crate) struct Shard {
    pub(crate) around: Surroundings,
    pub(crate) view: RefCell<Arc<View>>,
    number: usize,
    /// How many places may be given out at once.
    places_max: usize,
    line: RefCell<Line>,
}

impl Shard {
    pub(crate) fn new(number: usize, view: Arc<View>, around: Surroundings, places_max: usize) -> Self {
        Self { around, view: RefCell::new(view), number, places_max, line: RefCell::default() }
    }

    /// The next place in the line; `None` where too many are given out. Each is to be taken or given up.
    pub(crate) fn place(&self) -> Option<Ticket> {
        let mut line = self.line.borrow_mut();
        let ticket = line.first + line.places.len() as u64;
        (line.places.len() < self.places_max).then(|| {
            line.places.push_back(Place::Awaited);
            ticket
        })
    }

    /// Whether a place is neither taken nor given up.
    pub(crate) fn is_awaited(&self, ticket: Ticket) -> bool {
        matches!(self.line.borrow_mut().get_mut(ticket), Some(Place::Awaited))
    }

    /// Takes a place with a commit, which goes to the journal once all before it are taken or given up: one step,
    /// so that whatever happens afterwards every receipt finds its own answer.
    pub(crate) fn take(&self, ticket: Ticket, draft: Draft, recorded: Recorded, reply: Option<Reply>) {
        let mut line = self.line.borrow_mut();
        if let Some(place) = line.get_mut(ticket) {
            *place = Place::Held(draft, Made { recorded, reply, repeats: Vec::new() });
        }
        line.advance(&self.around.journal, self.number);
    }

    /// Gives a place up, if it has not been taken.
    pub(crate) fn give_up(&self, ticket: Ticket) {
        let mut line = self.line.borrow_mut();
        if let Some(place @ Place::Awaited) = line.get_mut(ticket) {
            *place = Place::GivenUp;
            line.advance(&self.around.journal, self.number);
        }
    }

    /// Gives a place up with an answer that stands on what is under way: it leaves when all before it is durable, and
    /// says that nothing is recorded any more where that failed.
    pub(crate) fn refuse(&self, ticket: Ticket, failure: Failure, reply: Reply) {
        let mut line = self.line.borrow_mut();
        if let Some(place @ Place::Awaited) = line.get_mut(ticket) {
            *place = Place::Refused(failure, reply);
            line.advance(&self.around.journal, self.number);
        }
    }

    /// Whether a commit is still under way.
    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        ticket >= self.line.borrow().first
    }

    /// What a commit under way records.
    pub(crate) fn recorded(&self, ticket: Ticket) -> Option<Recorded> {
        let mut line = self.line.borrow_mut();
        line.get_mut(ticket)?.made().map(|made| made.recorded.clone())
    }

    /// What a stream's commits record that wait for those before them, in order.
    pub(crate) fn held(&self, stream: &StreamId) -> Vec<Recorded> {
        let own = |place: &Place| match place {
            Place::Held(draft, made) if draft.stream == *stream => Some(made.recorded.clone()),
            Place::Held(..) | Place::HandedOver(_) | Place::Awaited | Place::GivenUp | Place::Refused(..) => None,
        };
        self.line.borrow().places.iter().filter_map(own).collect()
    }

    /// Lets a repeated request wait for the commit that answers it.
    pub(crate) fn join(&self, ticket: Ticket, reply: Reply) {
        if let Some(Place::Held(_, made) | Place::HandedOver(made)) = self.line.borrow_mut().get_mut(ticket) {
            made.repeats.push(reply);
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
        while let Some(place) = self.line.borrow_mut().pop() {
            match place {
                Place::Held(_, made) | Place::HandedOver(made) => made.answer_all(&JournalError::Closed),
                Place::Refused(_, reply) => reply.answer(Err(JournalError::Closed.into())),
                Place::Awaited | Place::GivenUp => {}
            }
        }
    }

    fn release_next(&self, receipt: Result<Position, JournalError>, answers: &mut Answers) {
        let mut line = self.line.borrow_mut();
        let Some(Place::HandedOver(Made { recorded, reply, repeats })) = line.pop() else { return };
        line.move_up(&self.around.journal);
        match receipt {
            Ok(position) => {
                let recorded = recorded.placed(position.seq);
                for reply in repeats {
                    answers.add(reply, Ok(recorded.as_repeat()));
                }
                if let Some(reply) = reply {
                    answers.add(reply, Ok(recorded));
                }
            }
            Err(error) => {
                for reply in reply.into_iter().chain(repeats) {
                    answers.add(reply, Err(error.clone().into()));
                }
            }
        }
    }
}
