//! One strategy's actor: the single writer of its stream.
//!
//! It decides on its own state, gives the commit to the shard's line, evolves at once and goes on; the answer
//! waits there for its receipt. It starts by recovering from the log. When it fails its state is thrown away
//! and recovered again, and what waits in its mailbox finds the new one.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use ephor_events::codec::{self, Heading};
use ephor_events::{StreamId, Version};
use ephor_governance::approval;
use ephor_governance::drift::Comparison;
use ephor_governance::event::{Event, Unattributed};
use ephor_governance::fill::{Fee, Fill};
use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::order::Order;
use ephor_governance::policy::Policy;
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

/// A request, its place in the shard's line, and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Decide {
    pub(crate) request: Arc<Request>,
    /// Above 0 where a kill has overtaken a decision: the recorded one is then not the answer.
    pub(crate) attempt: u32,
    pub(crate) ticket: Ticket,
    pub(crate) reply: Reply,
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
    /// Decided now; its answer waits with its commit.
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
    /// How far the state is off its backtest under a policy: most orders come between two trades.
    compared: Option<(Arc<Policy>, Vec<Comparison>)>,
    /// Whether the state is that of a failure, because it could not be recovered yet.
    failed: bool,
    shard: Rc<Shard>,
    under_way: HashMap<(u8, SmolStr), Ticket, RandomState>,
    /// The last ticket remembered there.
    newest: Option<Ticket>,
}

impl StrategyActor {
    /// Recovers a strategy from the log.
    pub(crate) fn recover(id: StrategyId, shard: Rc<Shard>) -> Result<Self, RestoreError> {
        let stream = StreamId::new(id.as_str());
        let Restored { state, version, at, folded } = folded(&shard, &stream)?;
        let keyframe = Version(version.0 - folded);
        Ok(Self {
            id,
            stream,
            state,
            version,
            last_at: at,
            keyframe,
            compared: None,
            failed: false,
            shard,
            under_way: HashMap::default(),
            newest: None,
        })
    }

    /// Throws the state away, which a failure may have left half done, and recovers it: from the log, once that
    /// has what was handed over, and from what waits in the shard's line.
    fn rebuild(&mut self) -> Result<(), Failure> {
        self.failed = true;
        self.compared = None;
        self.shard.around.journal.settle();
        let folding = catch_unwind(AssertUnwindSafe(|| {
            let mut restored = folded(&self.shard, &self.stream)?;
            for held in self.shard.held(&self.stream) {
                for event in &*held.events {
                    (self.shard.around.apply)(&mut restored.state, event, held.at);
                }
                restored.version.0 += held.events.len() as u64;
                restored.at = held.at;
            }
            Ok::<_, RestoreError>(restored)
        }));
        // A history that cannot be folded blocks its own strategy and no other.
        let Restored { state, version, at, .. } =
            folding.map_err(|panic| Failure::Faulted { message: said(&*panic) })??;
        (self.state, self.version, self.last_at, self.failed) = (state, version, at, false);
        Ok(())
    }

    /// Recovers after a failure, and records that it had to: in the place of the request that failed, where that has
    /// not taken it.
    fn replace(&mut self, failed: &Request, ticket: Ticket, message: String) {
        tracing::error!(strategy = %self.id, message, "a strategy failed; recovering it from the log");
        if let Err(failure) = self.rebuild() {
            tracing::error!(strategy = %self.id, %failure, "recovery failed");
            return;
        }
        if !self.shard.is_awaited(ticket) {
            return;
        }
        let request = Request { command: Command::RecordFault { message }, occurred_at: None, ..failed.clone() };
        match catch_unwind(AssertUnwindSafe(|| self.decide(&request, 0, ticket, &mut None))) {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => tracing::error!(strategy = %self.id, %failure, "the fault was not recorded"),
            Err(_) => self.failed = true,
        }
    }

    /// Takes the reply only where the place is taken.
    fn decide(
        &mut self,
        request: &Request,
        attempt: u32,
        ticket: Ticket,
        reply: &mut Option<Reply>,
    ) -> Result<Decided, Failure> {
        let key = request.command.key();
        let at = request.at.max(self.last_at);
        let shard = self.shard.clone();
        let view = shard.view.borrow();
        if request.command.order().is_some() {
            self.compare(&view.state.policy);
        }
        let compared = self.compared.as_ref().map(|(_, comparisons)| &**comparisons);
        let standing = Standing { at, system: &view.state, drift: compared };
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
        self.shard.take(ticket, draft, recorded, reply.take());
        // From here on the commit is on its way to the journal, and found there by who asks again, whatever fails
        // next: the state goes on as if it were durable.
        if let Some((kind, id)) = key {
            self.remember((kind as u8, id), ticket);
        }
        self.version = Version(self.version.0 + events.len() as u64);
        self.last_at = at;
        for event in &*events {
            if !matches!(event, Event::DecisionMade(_) | Event::SignalReceived(_) | Event::TokenChanged(_)) {
                self.compared = None;
            }
            (self.shard.around.apply)(&mut self.state, event, at);
        }
        if let Some(keeper) = &self.shard.around.keeper {
            self.keyframe = keeper
                .offer(self.keyframe, self.version, || Job::Strategy(self.stream.clone(), Box::new(self.restored())));
        }
        Ok(Decided::Now)
    }

    /// Knows how far the state is off under this policy.
    fn compare(&mut self, policy: &Arc<Policy>) {
        if self.compared.as_ref().is_none_or(|(before, _)| !Arc::ptr_eq(before, policy)) {
            self.compared = Some((policy.clone(), self.state.compare_drift(&policy.drift_detector)));
        }
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

/// A strategy's state as the log gives it.
fn folded(shard: &Shard, stream: &StreamId) -> Result<Restored<strategy::State>, RestoreError> {
    restore(&shard.around.reader, shard.around.keyframes(), stream, None, |mut state, event, at| {
        (shard.around.apply)(&mut state, event, at);
        state
    })
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
    type Result = ();

    /// Decide, give the commit to the line, evolve. A panic throws the state away.
    fn handle(&mut self, message: Decide, _: &mut Context<Self>) -> Self::Result {
        let Decide { request, attempt, ticket, reply } = message;
        if self.failed
            && let Err(failure) = self.rebuild()
        {
            self.shard.give_up(ticket);
            return reply.answer(Err(failure));
        }
        let mut reply = Some(reply);
        let decided = catch_unwind(AssertUnwindSafe(|| self.decide(&request, attempt, ticket, &mut reply)));
        match (decided, reply) {
            (Ok(Ok(Decided::UnderWay(ticket))), Some(reply)) => self.shard.join(ticket, reply),
            (Ok(Ok(Decided::Before(recorded))), Some(reply)) => reply.answer(Ok(recorded)),
            // The state that refuses it may be ahead of the log.
            (Ok(Err(failure)), Some(reply)) => self.shard.refuse(ticket, failure, reply),
            // The reply waits with its commit.
            (Ok(_), _) => {}
            (Err(panic), reply) => {
                let message = said(&*panic);
                if let Some(reply) = reply {
                    reply.answer(Err(Failure::Faulted { message: message.clone() }));
                }
                self.replace(&request, ticket, message);
            }
        }
        // Where it was not taken.
        self.shard.give_up(ticket);
    }
}

impl<T: 'static> Handler<Look<T>> for StrategyActor {
    type Result = Option<T>;

    /// Who looks must not end the strategy: one that panics sees nothing.
    fn handle(&mut self, Look(see): Look<T>, _: &mut Context<Self>) -> Self::Result {
        if self.failed {
            return None;
        }
        catch_unwind(AssertUnwindSafe(|| see(&self.id, &self.state, self.version, self.last_at))).ok()
    }
}
