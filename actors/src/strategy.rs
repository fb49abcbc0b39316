//! One strategy's actor: the single writer of its stream.
//!
//! It decides on its own state, hands the commit to the journal, evolves at once and goes on; the answer
//! waits in the shard for its receipt. It starts by recovering from the log, and it is thrown away and
//! recovered again when it fails.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use ephor_events::codec::{self, Heading};
use ephor_events::{StreamId, Version};
use ephor_governance::approval;
use ephor_governance::event::{Event, Unattributed};
use ephor_governance::fill::{Fee, Fill};
use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::order::Order;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command, Context as Standing};
use ephor_governance::units::Timestamp;
use ephor_snapshots::{RestoreError, Restored, restore};
use foldhash::fast::RandomState;
use smol_str::SmolStr;

use crate::answer::{Failure, Recorded};
use crate::keeper::Job;
use crate::reply::Reply;
use crate::request::Request;
use crate::shard::{Shard, Ticket};

/// A request and where its answer goes. `Err` is what a failed actor said before it ended.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub(crate) struct Decide {
    pub(crate) request: Arc<Request>,
    /// Above 0 where a kill has overtaken a decision: the recorded one is then not the answer.
    pub(crate) attempt: u32,
    pub(crate) reply: Option<Reply>,
}

/// What is wanted of a state; called where the state lives.
pub(crate) type See<T> = Arc<dyn Fn(&StrategyId, &strategy::State, Version, Timestamp) -> T + Send + Sync>;

/// Looks at the state as it stands.
pub(crate) struct Look<T>(pub(crate) See<T>);

impl<T: 'static> Message for Look<T> {
    type Result = Option<T>;
}

/// What the strategy made of a request.
enum Decided {
    /// Handed over now, and waiting.
    Now,
    /// The same was asked before and is still under way.
    UnderWay(Ticket),
    /// The same was asked before and stands in the log.
    Before(Recorded),
}

/// What was recorded for a request that was made before, and how it is answered.
type Earlier = (Arc<[Event]>, Decided);

pub(crate) struct StrategyActor {
    id: StrategyId,
    stream: StreamId,
    state: strategy::State,
    version: Version,
    last_at: Timestamp,
    /// The version of the newest keyframe that was saved or left to be saved.
    keyframe: Version,
    shard: Rc<Shard>,
    under_way: HashMap<(u8, SmolStr), Ticket, RandomState>,
    /// The last ticket remembered there.
    newest: Option<Ticket>,
}

impl StrategyActor {
    /// Recovers a strategy from the log.
    pub(crate) fn recover(id: StrategyId, shard: Rc<Shard>) -> Result<Self, RestoreError> {
        let stream = StreamId::new(id.as_str());
        let Restored { state, version, at, folded } =
            restore(&shard.around.reader, shard.around.keyframes(), &stream, None, |mut state, event, at| {
                (shard.around.apply)(&mut state, event, at);
                state
            })?;
        let keyframe = Version(version.0 - folded);
        Ok(Self {
            id,
            stream,
            state,
            version,
            last_at: at,
            keyframe,
            shard,
            under_way: HashMap::default(),
            newest: None,
        })
    }

    fn decide(&mut self, request: &Request, attempt: u32, reply: &mut Option<Reply>) -> Result<Decided, Failure> {
        let key = request.command.key();
        let at = request.at.max(self.last_at);
        let shard = self.shard.clone();
        let view = shard.view.borrow();
        let standing = Standing { at, system: &view.state };
        let mut attempt = attempt;
        if let Some((kind, id)) = &key
            && let Some((events, before)) = self.decided_before(*kind as u8, id)?
        {
            same_content(&events, &request.command, id)?;
            match self.attempt_due(&events, &request.command, attempt, &standing) {
                Some(due) => attempt = due,
                None => return Ok(before),
            }
        }
        let order = request.command.order().filter(|_| attempt > 0);
        let again = order.map(|order| Command::CheckOrder { order: order.clone(), attempt });
        let command = again.as_ref().unwrap_or(&request.command);
        let mut events = (self.shard.around.decide)(&self.state, &self.id, command, &standing)?;
        let heading = Heading {
            stream: self.stream.clone(),
            expected: self.version,
            decided_at: at,
            occurred_at: request.occurred_at.or_else(|| command.occurred_at()).unwrap_or(at),
            trace: request.trace.clone(),
            key: key.clone(),
            instrument: command.instrument().map(InstrumentId::text),
            system: view.version,
        };
        let draft = codec::draft(heading, &mut events).map_err(|error| Failure::encode(&error))?;
        let recorded = Recorded::new(events, Version(self.version.0 + 1), at, view.version);
        let events = recorded.events.clone();
        let ticket = self.shard.append(draft, recorded, reply)?;
        // From here on the commit is the journal's: the state goes on as if it were durable.
        self.version = Version(self.version.0 + events.len() as u64);
        self.last_at = at;
        for event in &*events {
            (self.shard.around.apply)(&mut self.state, event, at);
        }
        if let Some((kind, id)) = key {
            self.remember((kind as u8, id), ticket);
        }
        if let Some(keeper) = &self.shard.around.keeper {
            self.keyframe = keeper
                .offer(self.keyframe, self.version, || Job::Strategy(self.stream.clone(), Box::new(self.restored())));
        }
        Ok(Decided::Now)
    }

    /// The state as it stands.
    fn restored(&self) -> Restored<strategy::State> {
        Restored { state: self.state.clone(), version: self.version, at: self.last_at, folded: 0 }
    }

    /// What was recorded for this id last, whether its commit is under way or in the log.
    fn decided_before(&self, kind: u8, id: &SmolStr) -> Result<Option<Earlier>, Failure> {
        let under_way = self.under_way.get(&(kind, id.clone())).copied();
        if let Some((ticket, recorded)) = under_way.and_then(|ticket| Some((ticket, self.shard.recorded(ticket)?))) {
            return Ok(Some((recorded.events, Decided::UnderWay(ticket))));
        }
        let Some(commit) = self.shard.around.reader.find(&self.stream, kind, id)? else { return Ok(None) };
        let events = codec::decode_commit(&commit)?;
        let at = Timestamp::from_nanos(commit.decided_at);
        let recorded = Recorded::new(events, commit.version, at, commit.system).placed(commit.seq).as_repeat();
        Ok(Some((recorded.events.clone(), Decided::Before(recorded))))
    }

    /// The attempt to make where what was recorded is not the answer: a kill has overtaken it, or people have
    /// approved since what was blocked for want of their approval.
    fn attempt_due(&self, recorded: &[Event], command: &Command, asked: u32, standing: &Standing<'_>) -> Option<u32> {
        let decision = recorded.iter().find_map(Event::decision)?;
        if asked > decision.attempt {
            return Some(asked);
        }
        let approved = approval::is_given(&self.state, decision, command.order()?, standing);
        approved.then(|| decision.attempt.saturating_add(1))
    }

    fn remember(&mut self, key: (u8, SmolStr), ticket: Ticket) {
        // What has its receipt is found in the log from then on; a quiet strategy keeps nothing.
        if self.newest.is_some_and(|newest| !self.shard.is_waiting(newest)) {
            self.under_way.clear();
        } else if self.under_way.len() >= 1_024 {
            self.under_way.retain(|_, ticket| self.shard.is_waiting(*ticket));
        }
        self.newest = Some(ticket);
        self.under_way.insert(key, ticket);
    }
}

/// An id that comes again must ask the same thing again: another order under an old id is a fault of the
/// caller's, and the old answer would be wrong for it.
pub(crate) fn same_content(recorded: &[Event], command: &Command, id: &SmolStr) -> Result<(), Failure> {
    let decision = recorded.iter().find_map(Event::decision);
    // With an approval comes a token, which the engine may show when it asks again, and need not.
    let token_free = decision.is_some_and(|decision| decision.attempt > 0 || approval::is_missing(decision));
    let same_order = |before: &Order, order: &Order| {
        before == order || token_free && *before == Order { token: before.token.clone(), ..order.clone() }
    };
    let before = Command::of(recorded);
    let same = match (&before, command) {
        // A decision made again stands under the key of the request it answers.
        (
            Some(Command::CheckOrder { order: before, .. }),
            Command::CheckOrder { order, .. } | Command::ReceiveSignal { order, .. },
        ) => same_order(before, order),
        (Some(Command::ReceiveSignal { signal: said, order: before }), Command::ReceiveSignal { signal, order }) => {
            said == signal && same_order(before, order)
        }
        // How a fill is matched and what its fee is worth is ours to say, and may have changed since.
        (Some(Command::RecordFill { fill: before, .. }), Command::RecordFill { fill, .. }) => {
            without_rate(before) == without_rate(fill)
        }
        // So is why nobody could be named.
        (Some(Command::RecordUnattributed(before)), Command::RecordUnattributed(received)) => {
            *before == Unattributed { reason: before.reason.clone(), ..received.clone() }
        }
        (Some(before), command) => before == command,
        (None, _) => false,
    };
    if same { Ok(()) } else { Err(Rejection::IdReused { id: id.to_string() }.into()) }
}

fn without_rate(fill: &Fill) -> Fill {
    Fill { fee: fill.fee.clone().map(|fee| Fee { rate: None, ..fee }), ..fill.clone() }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl Actor for StrategyActor {
    type Context = Context<Self>;
}

impl Handler<Decide> for StrategyActor {
    type Result = Result<(), String>;

    /// Decide, hand to the journal, evolve. A panic ends this actor; the gate recovers a new one.
    fn handle(&mut self, message: Decide, context: &mut Context<Self>) -> Self::Result {
        let Decide { request, attempt, mut reply } = message;
        let decided = catch_unwind(AssertUnwindSafe(|| self.decide(&request, attempt, &mut reply)));
        match (decided, reply) {
            (Ok(Ok(Decided::UnderWay(ticket))), Some(reply)) => self.shard.join(ticket, reply),
            (Ok(Ok(Decided::Before(recorded))), Some(reply)) => reply.answer(Ok(recorded)),
            (Ok(Err(failure)), Some(reply)) => reply.answer(Err(failure)),
            // The reply waits with its commit, or nobody asked for one.
            (Ok(_), _) => {}
            (Err(panic), reply) => {
                context.stop();
                let message = said(&*panic);
                if let Some(reply) = reply {
                    reply.answer(Err(Failure::Faulted { message: message.clone() }));
                }
                return Err(message);
            }
        }
        Ok(())
    }
}

impl<T: 'static> Handler<Look<T>> for StrategyActor {
    type Result = Option<T>;

    /// Who looks must not end the strategy: one that panics sees nothing.
    fn handle(&mut self, Look(see): Look<T>, _: &mut Context<Self>) -> Self::Result {
        catch_unwind(AssertUnwindSafe(|| see(&self.id, &self.state, self.version, self.last_at))).ok()
    }
}
