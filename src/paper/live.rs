//! Signals and bars from a bus: taken, kept in the journal, acknowledged, and only then gone through.
//!
//! The journal comes first when a run begins again, so it comes to where it was by going through the same inputs in the
//! same order, as a run over files does; what the bus gives again is known by then. What cannot be taken is put apart by
//! the bus, with its reason.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::sleep;

use super::arrivals::Arrivals;
use super::journal::Journal;
use super::run::{Inputs, Step};
use crate::bus::pump::dead;
use crate::bus::{BusError, Delivery, Inbound, Outcome, Receipt, Source, Status};
use crate::cli::CliError;
use crate::follow::{WAIT_FIRST, WAIT_MAX, jittered};
use crate::input::Code;
use crate::telemetry::chain;

/// What has come over the bus since the start.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Messages taken.
    pub taken: u64,
    /// Messages that had been taken before, or say nothing.
    pub repeated: u64,
    /// Messages put apart, by reason.
    pub dead: BTreeMap<Code, u64>,
}

/// A bus, and what has come over it.
pub struct Live {
    inbound: Box<dyn Inbound>,
    status: Status,
    /// Messages that are taken at once, at most.
    at_once: usize,
    source: Option<Box<dyn Source>>,
    arrivals: Arrivals,
    journal: Journal,
    counted: Counted,
    /// How long to wait before the next try to connect, where the last one failed.
    wait: Option<Duration>,
}

impl Live {
    /// `arrivals` have gone through the journal.
    #[must_use]
    pub const fn new(
        inbound: Box<dyn Inbound>,
        status: Status,
        at_once: usize,
        arrivals: Arrivals,
        journal: Journal,
    ) -> Self {
        let counted = Counted { taken: 0, repeated: 0, dead: BTreeMap::new() };
        Self { inbound, status, at_once, source: None, arrivals, journal, counted, wait: None }
    }

    /// What has come so far.
    #[must_use]
    pub const fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Takes what there is, one message at least where the connection holds; `false` at the end of a bus that has one.
    async fn take(&mut self) -> Result<bool, CliError> {
        let (deliveries, error) = self.deliveries().await;
        let is_over = deliveries.is_empty() && error.is_none();
        let outcomes = self.keep(deliveries)?;
        let error = match (error, &mut self.source) {
            (None, Some(source)) if !outcomes.is_empty() => source.settle(outcomes).await.err(),
            (error, _) => error,
        };
        if let Some(error) = error {
            // What was taken is kept; what was not acknowledged comes again, and is known.
            let error = chain(&error);
            tracing::warn!(bus = %self.status.name(), error, "nothing comes in: the connection is made anew");
            self.source = None;
            self.wait = Some(self.wait.map_or(WAIT_FIRST, |wait| (wait * 2).min(WAIT_MAX)));
        } else {
            self.wait = None;
        }
        Ok(!is_over)
    }

    /// What there is, in its order, and what ended it; neither at the end of the bus.
    async fn deliveries(&mut self) -> (Vec<Delivery>, Option<BusError>) {
        let mut deliveries = Vec::new();
        let source = match &mut self.source {
            Some(source) => source,
            none => {
                if let Some(wait) = self.wait {
                    sleep(jittered(wait)).await;
                }
                match self.inbound.open().await {
                    Ok(source) => none.insert(source),
                    Err(error) => return (deliveries, Some(error)),
                }
            }
        };
        let mut next = Some(source.next().await);
        while let Some(found) = next.take() {
            match found {
                Ok(Some(delivery)) => deliveries.push(delivery),
                Ok(None) => {}
                Err(error) => return (deliveries, Some(error)),
            }
            if !deliveries.is_empty() && deliveries.len() < self.at_once {
                next = source.next().now_or_never();
            }
        }
        (deliveries, None)
    }

    /// Keeps what can be taken, and says what became of each.
    fn keep(&mut self, deliveries: Vec<Delivery>) -> Result<Vec<(Receipt, Outcome)>, CliError> {
        let mut outcomes = Vec::with_capacity(deliveries.len());
        for Delivery { receipt, place, payload, .. } in deliveries {
            let outcome = match self.arrivals.take(&payload) {
                Ok(is_new) => {
                    if is_new {
                        self.journal.add(&payload);
                        self.counted.taken += 1;
                    } else {
                        self.counted.repeated += 1;
                    }
                    Outcome::Done
                }
                Err(refusal) => {
                    let code = refusal.code.as_str();
                    tracing::warn!(bus = %self.status.name(), code, %place, %refusal, "a message is put apart");
                    *self.counted.dead.entry(refusal.code).or_default() += 1;
                    dead(&refusal, &place)
                }
            };
            outcomes.push((receipt, outcome));
        }
        self.journal.sync()?;
        Ok(outcomes)
    }
}

impl Inputs for Live {
    async fn next(&mut self) -> Result<Option<Step>, CliError> {
        loop {
            if let Some(step) = self.arrivals.step() {
                return Ok(Some(step));
            }
            if !self.take().await? {
                return Ok(None);
            }
        }
    }

    fn bars(&self) -> Option<u64> {
        None
    }
}
