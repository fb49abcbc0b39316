//! From a source to the governor and back: read, ask in order, acknowledge what is durable.
//!
//! Many messages are under way at once, so that the journal writes them in groups; they take their places in the order
//! in which they came, and are settled in it. No more is read than may be under way: the transport holds the rest.

use std::time::Duration;

use actix_web::web;
use ephor_actors::{Failure, Recorded};
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use futures::future::{LocalBoxFuture, ready};
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{BusError, Delivery, Inbound, Outcome, Receipt, Source, Status};
use crate::follow::{WAIT_FIRST, WAIT_MAX, jittered};
use crate::formats::{Message, Reading};
use crate::input::{Asked, Code, Entry, Refusal};
use crate::keys::api::Role;
use crate::serve::app::App;
use crate::serve::intake;
use crate::telemetry::chain;

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

/// Answers that are still to come, in the order of their messages.
type UnderWay = FuturesOrdered<LocalBoxFuture<'static, Settled>>;

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
        let mut under_way = UnderWay::new();
        let mut reading = true;
        while reading || !under_way.is_empty() {
            let delivery = tokio::select! {
                biased;
                Some(settled) = under_way.next() => {
                    self.settle(source, settled, &mut under_way).await?;
                    continue;
                }
                // What was taken is settled; the rest comes again.
                () = stop.cancelled(), if reading => {
                    reading = false;
                    continue;
                }
                delivery = source.next(), if reading && under_way.len() < self.pending_max => delivery?,
            };
            match delivery {
                Some(delivery) => self.take(source, delivery, &mut under_way).await?,
                None => reading = false,
            }
        }
        Ok(())
    }

    /// Settles a message, and with it all behind it that are ready.
    async fn settle(
        &mut self,
        source: &mut dyn Source,
        first: Settled,
        under_way: &mut UnderWay,
    ) -> Result<(), BusError> {
        let mut settled = vec![first];
        while let Some(next) = under_way.next().now_or_never().flatten() {
            settled.push(next);
        }
        source.settle(settled.iter().map(|one| (one.receipt, one.outcome.clone())).collect()).await?;
        self.has_settled = true;
        for Settled { outcome, repeated, .. } in &settled {
            match outcome {
                Outcome::Done => self.status.took(1, u64::from(*repeated)),
                Outcome::Later(_) => self.status.left(),
                Outcome::Dead { code, reason } => {
                    tracing::warn!(bus = %self.status.name(), code, reason, "a message was put apart");
                    self.status.put_apart();
                }
            }
        }
        Ok(())
    }

    async fn settle_all(&mut self, source: &mut dyn Source, under_way: &mut UnderWay) -> Result<(), BusError> {
        while let Some(settled) = under_way.next().await {
            self.settle(source, settled, under_way).await?;
        }
        Ok(())
    }

    async fn take(
        &mut self,
        source: &mut dyn Source,
        delivery: Delivery,
        under_way: &mut UnderWay,
    ) -> Result<(), BusError> {
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
                under_way.push_back(Box::pin(ready(Settled { receipt, outcome, repeated: false })));
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
                self.settle_all(source, under_way).await?;
            }
            let answer = self.ask(entry).await;
            answers.push(if alone { Box::pin(ready(answer.await)) } else { answer });
        }
        let attempts_max = self.attempts_max;
        under_way.push_back(Box::pin(async move {
            let answers = futures::future::join_all(answers).await;
            let repeated = !answers.is_empty() && answers.iter().flatten().all(|recorded| recorded.repeat);
            let failed = answers.into_iter().filter_map(Result::err);
            let mut outcomes = failed.filter_map(|failure| became_of(failure, attempt, attempts_max, &place));
            // While one of its reports may still be taken, all come again: those that were taken count once.
            let first = outcomes.next();
            let waits = |outcome: &Outcome| matches!(outcome, Outcome::Later(_));
            let outcome =
                first.as_ref().filter(|first| waits(first)).cloned().or_else(|| outcomes.find(waits)).or(first);
            Settled { receipt, outcome: outcome.unwrap_or(Outcome::Done), repeated }
        }));
        Ok(())
    }

    async fn ask(&self, entry: Entry) -> LocalBoxFuture<'static, Result<Recorded, Failure>> {
        if let Asked::Strategy(request) = &entry.asked
            && let Command::Register(registration) = &request.command
            && let Err(problem) = intake::may_declare(&self.app, Role::Engine, &request.strategy, registration).await
        {
            let rejection = Rejection::InvalidField { field: "strategy_id", problem: problem.detail().to_owned() };
            return Box::pin(ready(Err(Failure::Rejected(rejection))));
        }
        intake::ask(&self.app, entry, None).1
    }
}

/// Whether what stands before it must be recorded before it is asked.
fn stands_alone(entry: &Entry) -> bool {
    match &entry.asked {
        Asked::Account(_) => true,
        Asked::Strategy(request) => matches!(request.command, Command::Register(_)),
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

fn dead(refusal: &Refusal, place: &str) -> Outcome {
    Outcome::Dead { code: refusal.code.as_str(), reason: format!("{place}: {refusal}") }
}
