//! A shard's gate: it adopts the system view, finds the strategy's actor, and asks it.
//!
//! A gate and its strategies share one thread, so to ask costs less than a microsecond. A request takes its place
//! in the shard's line before it is passed on: the journal sees commits in the order the requests came.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use ephor_events::{StreamId, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use foldhash::fast::RandomState;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::answer::Failure;
use crate::journal::JournalError;
use crate::reply::Reply;
use crate::request::Request;
use crate::shard::{Receipts, Shard, Surroundings};
use crate::strategy::{Decide, Look, See, StrategyActor, said};
use crate::system::View;

/// A request and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ask {
    pub(crate) request: Arc<Request>,
    pub(crate) attempt: u32,
    pub(crate) reply: Reply,
}

/// The system has changed: decide with this from here on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Adopt(pub(crate) Arc<View>);

/// Looks at the state of every strategy that has an actor here, or of one.
pub(crate) struct Survey<T> {
    pub(crate) only: Option<StrategyId>,
    pub(crate) see: See<T>,
}

impl<T: Send + 'static> Message for Survey<T> {
    type Result = Vec<(StrategyId, T)>;
}

/// Gives these strategies their actors; says of which it could not.
#[derive(Message)]
#[rtype(result = "Vec<(StrategyId, Failure)>")]
pub(crate) struct Load(pub(crate) Vec<StrategyId>);

/// Asks whether anybody is there.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ping;

/// The most that may wait in a gate's or a strategy's mailbox.
pub(crate) const MAILBOX: usize = 4_096;

/// How many requests a gate passes on before its strategies come up. What they hand over goes in the order of the
/// requests, so the journal would have nothing to do until the last of them has decided.
const PASSED_MAX: u32 = 32;

pub(crate) struct GateActor {
    shard: Rc<Shard>,
    receipts: Option<UnboundedReceiver<Receipts>>,
    strategies: HashMap<StrategyId, Addr<StrategyActor>, RandomState>,
    /// Since the strategies came up last.
    passed: u32,
}

impl GateActor {
    /// To be called on the shard's own thread.
    pub(crate) fn new(
        number: usize,
        view: Arc<View>,
        around: Surroundings,
        receipts: UnboundedReceiver<Receipts>,
        places_max: usize,
    ) -> Self {
        let shard = Rc::new(Shard::new(number, view, around, places_max));
        Self { shard, receipts: Some(receipts), strategies: HashMap::default(), passed: 0 }
    }

    /// The strategy's actor, recovered from the log if it has none yet.
    fn strategy(&mut self, id: &StrategyId, registers: bool) -> Result<&Addr<StrategyActor>, Failure> {
        if !self.strategies.contains_key(id) {
            let address = self.create(id, registers)?;
            self.strategies.insert(id.clone(), address);
        }
        self.strategies.get(id).ok_or(Failure::Stopped)
    }

    fn create(&self, id: &StrategyId, registers: bool) -> Result<Addr<StrategyActor>, Failure> {
        if !registers && self.shard.around.reader.version_of(&StreamId::new(id.as_str())) == Version(0) {
            // A name nobody registered gets no actor: a flood of them must not fill the memory.
            return Err(Rejection::UnknownStrategy.into());
        }
        // A history that cannot be folded blocks its own strategy and no other.
        let recovered = catch_unwind(AssertUnwindSafe(|| StrategyActor::recover(id.clone(), self.shard.clone())));
        let actor = recovered.map_err(|panic| Failure::Faulted { message: said(&*panic) })??;
        Ok(StrategyActor::create(|context| {
            context.set_mailbox_capacity(MAILBOX);
            actor
        }))
    }
}

impl Actor for GateActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
        if let Some(receipts) = self.receipts.take() {
            actix::spawn(self.shard.clone().release_all(receipts));
        }
    }
}

impl Handler<Ask> for GateActor {
    type Result = ();

    fn handle(&mut self, ask: Ask, context: &mut Context<Self>) {
        self.passed += 1;
        if self.passed == PASSED_MAX {
            self.passed = 0;
            context.wait(tokio::task::yield_now().into_actor(self));
        }
        let Ask { request, attempt, reply } = ask;
        let shard = self.shard.clone();
        // These come first in their streams.
        let registers = matches!(request.command, Command::Register(_) | Command::RecordUnattributed(_));
        let strategy = match self.strategy(&request.strategy, registers) {
            Ok(strategy) => strategy,
            Err(failure) => return reply.answer(Err(failure)),
        };
        let Some(ticket) = shard.place() else { return reply.answer(Err(JournalError::Full.into())) };
        let Err(refused) = strategy.try_send(Decide { request, attempt, ticket, reply }) else { return };
        shard.give_up(ticket);
        match refused {
            SendError::Full(refused) => refused.reply.answer(Err(Failure::Overloaded)),
            SendError::Closed(refused) => refused.reply.answer(Err(Failure::Stopped)),
        }
    }
}

impl Handler<Adopt> for GateActor {
    type Result = ();

    fn handle(&mut self, Adopt(view): Adopt, _: &mut Context<Self>) {
        *self.shard.view.borrow_mut() = view;
    }
}

impl<T: Send + 'static> Handler<Survey<T>> for GateActor {
    type Result = ResponseFuture<Vec<(StrategyId, T)>>;

    fn handle(&mut self, Survey { only, see }: Survey<T>, _: &mut Context<Self>) -> Self::Result {
        let own = |(id, address): (&StrategyId, &Addr<StrategyActor>)| (id.clone(), address.clone());
        let all: Vec<_> = match &only {
            Some(id) => self.strategies.get_key_value(id).map(own).into_iter().collect(),
            None => self.strategies.iter().map(own).collect(),
        };
        Box::pin(async move {
            let mut seen = Vec::with_capacity(all.len());
            for (id, address) in all {
                if let Ok(Some(value)) = address.send(Look(see.clone())).await {
                    seen.push((id, value));
                }
            }
            seen
        })
    }
}

impl Handler<Load> for GateActor {
    type Result = Vec<(StrategyId, Failure)>;

    fn handle(&mut self, Load(ids): Load, _: &mut Context<Self>) -> Self::Result {
        let failed = |id: StrategyId| self.strategy(&id, false).err().map(|failure| (id, failure));
        ids.into_iter().filter_map(failed).collect()
    }
}

impl Handler<Ping> for GateActor {
    type Result = ResponseFuture<()>;

    /// Answers when the strategies have come up with what was passed on to them before.
    fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> Self::Result {
        Box::pin(tokio::task::yield_now())
    }
}
