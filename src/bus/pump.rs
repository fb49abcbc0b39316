//! From a source to the governor and back: read, ask in order, acknowledge what is durable.
//!
//! Many messages are under way at once, so that the journal writes them in groups; they take their places in the order
//! in which they came, and are settled in it. No more is read than may be under way: the transport holds the rest.

use std::time::Duration;

use actix_web::web;
use ephor_actors::{Failure, Recorded};
use ephor_governance::rejection::Rejection;
use futures::StreamExt;
use futures::future::{LocalBoxFuture, ready};
use futures::stream::FuturesOrdered;
use tokio_util::sync::CancellationToken;

use super::{BusError, Delivery, Inbound, Outcome, Receipt, Source, Status};
use crate::follow::{WAIT_FIRST, WAIT_MAX, jittered};
use crate::formats::{Message, Reading};
use crate::input::{Asked, Code, Entry, Refusal};
use crate::keys::api::Role;
use crate::serve::app::App;
use crate::serve::intake;
use crate::telemetry::chain;

/// Messages are given back at the latest when they are one part in so many of what may be under way.
const SETTLED_SHARE: usize = 4;

/// What became of one message, and how often its reports had been recorded before.
struct Settled {
    receipt: Receipt,
    outcome: Outcome,
    repeated: bool,
}

/// A pump: everything of one connection inwards.
pub struct Pump {
    app: web::Data<App>,
    reading: Reading,
    attempts_max: u32,
    pending_max: usize,
    status: Status,
    /// Whether the connection has done what it is for.
    has_settled: bool,
}

/// Messages on their way through, in their order.
#[derive(Default)]
struct Flow {
    /// Answers that are still to come.
    under_way: FuturesOrdered<LocalBoxFuture<'static, Settled>>,
    /// Those before them: what became of each, to be given back.
    settled: Vec<Settled>,
}

impl Flow {
    fn len(&self) -> usize {
        self.under_way.len() + self.settled.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Pump {
    /// For a connection that is read as these settings say.
    #[must_use]
    pub fn new(app: web::Data<App>, settings: &crate::settings::Reading, status: Status) -> Self {
        let reading = Reading::new(settings, crate::store::now);
        let attempts_max = settings.attempts_max.max(1);
        // The rest is for those who ask about orders; and what finds no place would have to come again.
        let pending_max = settings.pending_max.min(app.settings.server.limits.in_flight / 2).max(1);
        Self { app, reading, attempts_max, pending_max, status, has_settled: false }
    }

    /// Takes what comes, over and over, until told to stop or at the end of a source that has one.
    pub async fn run(mut self, inbound: Box<dyn Inbound>, stop: CancellationToken) {
        let mut wait = WAIT_FIRST;
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = inbound.open() => match opened {
                    Ok(mut source) => {
                        self.status.connected();
                        self.take_all(&mut *source, &stop).await
                    }
                    Err(error) => Err(error),
                },
            };
            let error = match taken {
                Ok(()) => return,
                Err(error) => chain(&error),
            };
            tracing::warn!(bus = %self.status.name(), error, "nothing comes in: the connection is made anew");
            self.status.broken(error);
            if std::mem::take(&mut self.has_settled) {
                wait = WAIT_FIRST;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(jittered(wait)) => {}
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn take_all(&mut self, source: &mut dyn Source, stop: &CancellationToken) -> Result<(), BusError> {
        let mut flow = Flow::default();
        let mut reading = true;
        while reading || !flow.is_empty() {
            let has_room = flow.len() < self.pending_max;
            let delivery = tokio::select! {
                biased;
                Some(settled) = flow.under_way.next() => {
                    flow.settled.push(settled);
                    if flow.settled.len() >= self.pending_max / SETTLED_SHARE {
                        self.settle(source, &mut flow).await?;
                    }
                    continue;
                }
                // What was taken is settled; the rest comes again.
                () = stop.cancelled(), if reading => {
                    reading = false;
                    continue;
                }
                delivery = source.next(), if reading && has_room => delivery?,
                // Whatever is there is asked first: to settle may mean to wait for the transport.
                () = ready(()), if !flow.settled.is_empty() => {
                    self.settle(source, &mut flow).await?;
                    continue;
                }
            };
            match delivery {
                Some(delivery) => self.take(source, delivery, &mut flow).await?,
                None => reading = false,
            }
        }
        Ok(())
    }

    /// Gives back what became of all that are answered.
    async fn settle(&mut self, source: &mut dyn Source, flow: &mut Flow) -> Result<(), BusError> {
        let outcomes = flow.settled.iter().map(|one| (one.receipt, one.outcome.clone()));
        source.settle(outcomes.collect()).await?;
        self.has_settled = true;
        for Settled { outcome, repeated, .. } in flow.settled.drain(..) {
            match outcome {
                Outcome::Done => self.status.took(1, u64::from(repeated)),
                Outcome::Later(_) => self.status.left(),
                Outcome::Dead { code, reason } => {
                    tracing::warn!(bus = %self.status.name(), code, reason, "a message was put apart");
                    self.status.put_apart();
                }
            }
        }
        Ok(())
    }

    async fn settle_all(&mut self, source: &mut dyn Source, flow: &mut Flow) -> Result<(), BusError> {
        while let Some(settled) = flow.under_way.next().await {
            flow.settled.push(settled);
        }
        if flow.settled.is_empty() { Ok(()) } else { self.settle(source, flow).await }
    }

    async fn take(&mut self, source: &mut dyn Source, delivery: Delivery, flow: &mut Flow) -> Result<(), BusError> {
        let Delivery { receipt, place, subject, headers, payload, attempt } = delivery;
        self.app.arrived(self.status.name());
        if attempt <= 1 {
            self.status.heard();
        }
        let message = Message { subject: &subject, headers: &headers, payload: &payload };
        let told = match self.reading.read(&message) {
            Ok(told) => told,
            Err(refusal) => {
                let outcome = dead(&refusal, &place);
                flow.under_way.push_back(Box::pin(ready(Settled { receipt, outcome, repeated: false })));
                return Ok(());
            }
        };
        if let Some(heard) = &told.heard {
            self.app.arrived(heard);
        }
        let mut answers = Vec::with_capacity(told.entries.len());
        for entry in told.entries {
            let alone = stands_alone(&entry);
            if alone {
                // What stands before it must be recorded before it is looked at.
                self.settle_all(source, flow).await?;
            }
            let answer = self.ask(entry).await;
            answers.push(if alone { Box::pin(ready(answer.await)) } else { answer });
        }
        let attempts_max = self.attempts_max;
        flow.under_way.push_back(Box::pin(async move {
            let (mut outcome, mut repeated) = (Outcome::Done, !answers.is_empty());
            // They were asked in their order, and are answered in it.
            for answer in answers {
                match answer.await {
                    Ok(recorded) => repeated &= recorded.repeat,
                    // While one of its reports may still be taken, all come again: those that were taken count once.
                    Err(failure) if !outcome.waits() => {
                        if let Some(became) = became_of(failure, attempt, attempts_max, &place)
                            && (outcome == Outcome::Done || became.waits())
                        {
                            outcome = became;
                        }
                    }
                    Err(_) => {}
                }
            }
            Settled { receipt, outcome, repeated }
        }));
        Ok(())
    }

    async fn ask(&self, entry: Entry) -> LocalBoxFuture<'static, Result<Recorded, Failure>> {
        if !intake::is_declaration(&entry) {
            return intake::ask(&self.app, entry, None).1;
        }
        let answer = match intake::declare(&self.app, Role::Engine, entry, None).await {
            Ok((_, answer)) => answer,
            Err(problem) => {
                let rejection = Rejection::InvalidField { field: "strategy_id", problem: problem.detail().to_owned() };
                Err(Failure::Rejected(rejection))
            }
        };
        Box::pin(ready(answer))
    }
}

/// Whether what stands before it must be recorded before it is asked.
fn stands_alone(entry: &Entry) -> bool {
    match &entry.asked {
        Asked::Account(_) => true,
        Asked::Strategy(_) => intake::is_declaration(entry),
    }
}

/// `None` where it counts as recorded.
fn became_of(failure: Failure, attempt: u32, attempts_max: u32, place: &str) -> Option<Outcome> {
    let rejection = match failure {
        // The same version of a strategy declared once more.
        Failure::Rejected(Rejection::NothingToChange { .. }) => return None,
        Failure::Rejected(rejection) => rejection,
        // Ours to mend: it is not the message's fault, however often it comes.
        Failure::Journal(_)
        | Failure::Unreadable { .. }
        | Failure::Unencodable { .. }
        | Failure::Faulted { .. }
        | Failure::TimedOut { .. }
        | Failure::Overloaded
        | Failure::Held { .. }
        | Failure::Stopped => return Some(Outcome::Later(later(attempt))),
    };
    let refusal = Refusal::from(rejection);
    // A strategy that nobody knows may be registered meanwhile; nothing else heals by itself.
    if refusal.code == Code::StrategyUnknown && attempt < attempts_max {
        return Some(Outcome::Later(later(attempt)));
    }
    Some(dead(&refusal, place))
}

fn later(attempt: u32) -> Duration {
    (WAIT_FIRST * 2_u32.saturating_pow(attempt.saturating_sub(1).min(16))).min(WAIT_MAX)
}

pub(crate) fn dead(refusal: &Refusal, place: &str) -> Outcome {
    Outcome::Dead { code: refusal.code.as_str(), reason: format!("{place}: {refusal}") }
}
