//! A shard's gate: it adopts the system view, finds the strategy's actor, and asks it.
//!
//! A gate and its strategies share one thread, so the ask costs about a microsecond, and one request is
//! decided before the next is looked at: the journal sees commits in the order the requests came.

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

pub(crate) struct GateActor {
    shard: Rc<Shard>,
    receipts: Option<UnboundedReceiver<Receipts>>,
    strategies: HashMap<StrategyId, Addr<StrategyActor>, RandomState>,
}

impl GateActor {
    /// To be called on the shard's own thread.
    pub(crate) fn new(
        number: usize,
        view: Arc<View>,
        around: Surroundings,
        receipts: UnboundedReceiver<Receipts>,
    ) -> Self {
        let shard = Rc::new(Shard::new(number, view, around));
        Self { shard, receipts: Some(receipts), strategies: HashMap::default() }
    }

    /// The strategy's actor, recovered from the log if it has none yet.
    fn strategy(&mut self, id: &StrategyId, registers: bool) -> Result<Addr<StrategyActor>, Failure> {
        if let Some(address) = self.strategies.get(id).filter(|address| address.connected()) {
            return Ok(address.clone());
        }
        if !registers && self.shard.around.reader.version_of(&StreamId::new(id.as_str())) == Version(0) {
            // A name nobody registered gets no actor: a flood of them must not fill the memory.
            return Err(Rejection::UnknownStrategy.into());
        }
        self.revive(id)
    }

    fn revive(&mut self, id: &StrategyId) -> Result<Addr<StrategyActor>, Failure> {
        if self.strategies.remove(id).is_some() {
            // It had an actor that failed: what that one handed over may not be in the log yet, and a state
            // without it would be wrong.
            self.shard.around.journal.settle();
        }
        // A history that cannot be folded blocks its own strategy and no other.
        let recovered = catch_unwind(AssertUnwindSafe(|| StrategyActor::recover(id.clone(), self.shard.clone())));
        let actor = recovered.map_err(|panic| Failure::Faulted { message: said(&*panic) })??;
        let address = StrategyActor::create(|context| {
            context.set_mailbox_capacity(MAILBOX);
            actor
        });
        self.strategies.insert(id.clone(), address.clone());
        Ok(address)
    }

    /// Rebuilds a failed strategy from the log, and records that it had to be.
    fn replace(&mut self, failed: &Request, message: String) {
        let id = &failed.strategy;
        tracing::error!(strategy = %id, message, "a strategy's actor failed; recovering it from the log");
        match self.revive(id) {
            Ok(address) => {
                let request =
                    Request { command: Command::RecordFault { message }, occurred_at: None, ..failed.clone() };
                let recording = address.send(Decide { request: Arc::new(request), attempt: 0, reply: None });
                actix::spawn(async move { recording.await.is_ok() });
            }
            Err(failure) => tracing::error!(strategy = %id, %failure, "recovery failed"),
        }
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
        let Ask { request, attempt, reply } = ask;
        // These come first in their streams.
        let registers = matches!(request.command, Command::Register(_) | Command::RecordUnattributed(_));
        let strategy = match self.strategy(&request.strategy, registers) {
            Ok(strategy) => strategy,
            Err(failure) => return reply.answer(Err(failure)),
        };
        let asked = strategy.send(Decide { request: request.clone(), attempt, reply: Some(reply) });
        let decided = asked.into_actor(self).map(move |decided, gate, _| {
            let failed = match decided {
                Ok(Ok(())) => return,
                Ok(Err(message)) => message,
                Err(gone) => gone.to_string(),
            };
            gate.replace(&request, failed);
        });
        context.wait(decided);
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
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}
