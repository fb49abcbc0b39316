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
                    Ok(source) => {
                        tracing::info!(bus = %self.status.name(), "connected");
                        none.insert(source)
                    }
                    Err(error) => return (deliveries, Some(error)),
                }
            }
        };
        let mut next = Some(source.next().await);
        while let Some(found) = next.take() {
            match found {
                Ok(Some(delivery)) => deliveries.push(delivery),
                Ok(None) => break,
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use ephor_governance::units::Timestamp;
    use futures::future::BoxFuture;

    use super::*;
    use crate::paper::journal;
    use crate::paper::plan::{Beside, Plan};
    use crate::settings::{Paper, PaperInstrument};

    /// Messages that are given out from the first that is not acknowledged on, in two at once; each acknowledgement
    /// fails the first time.
    #[derive(Clone)]
    struct Fake {
        data: PathBuf,
        messages: Arc<Mutex<VecDeque<String>>>,
        given: usize,
        fails: Arc<Mutex<bool>>,
    }

    impl Inbound for Fake {
        fn open(&self) -> BoxFuture<'_, Result<Box<dyn Source>, BusError>> {
            let source = Self { given: 0, ..self.clone() };
            Box::pin(async move { Ok(Box::new(source) as Box<dyn Source>) })
        }
    }

    impl Source for Fake {
        fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, BusError>> {
            Box::pin(async move {
                let messages = self.messages.lock().unwrap();
                let Some(message) = messages.get(self.given) else { return Ok(None) };
                self.given += 1;
                Ok(Some(Delivery {
                    receipt: Receipt(self.given as u64),
                    place: "here".into(),
                    subject: "x".into(),
                    headers: Vec::new(),
                    payload: message.clone().into(),
                    attempt: 1,
                }))
            })
        }

        fn settle(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> BoxFuture<'_, Result<(), BusError>> {
            Box::pin(async move {
                let kept = std::fs::read_to_string(journal::path(&self.data)).unwrap();
                let mut messages = self.messages.lock().unwrap();
                for (place, (_, outcome)) in outcomes.iter().enumerate() {
                    assert_eq!(*outcome, Outcome::Done);
                    assert!(kept.contains(messages[place].as_str()), "acknowledged before it was kept");
                }
                let mut fails = self.fails.lock().unwrap();
                *fails = !*fails;
                if *fails {
                    return Err(BusError::NotSetUp { problem: "not now".into() });
                }
                messages.drain(..outcomes.len());
                self.given -= outcomes.len();
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_acknowledged_before_it_is_kept_and_what_was_not_comes_again_and_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let instruments = vec![PaperInstrument::named("EUR/USD".parse().unwrap())];
        let settings = Paper { instruments, ..Paper::default() };
        let plan = Plan::make(settings, Path::new(""), &[], Beside::Bus).unwrap();
        let now = || Timestamp::from_nanos(1_700_000_000 * 1_000_000_000);
        let bars = (1..=5).map(|day| {
            let at = format!("2020-01-0{day}T00:00:00Z");
            format!(r#"{{"type":"bar","ts":"{at}","instrument":"EUR/USD","open":2,"high":3,"low":1,"close":2}}"#)
        });
        let fake = Fake {
            data: dir.path().to_owned(),
            messages: Arc::new(Mutex::new(bars.collect())),
            given: 0,
            fails: Arc::default(),
        };
        let journal = Journal::open(dir.path(), |_, _| Ok(())).unwrap();
        let mut live = Live::new(Box::new(fake), Status::new("bus:x"), 2, Arrivals::behind(&plan, now), journal);
        let mut days = Vec::new();
        while let Some(step) = live.next().await.unwrap() {
            days.push(step.at().to_string()[8..10].to_owned());
        }
        assert_eq!(days, ["01", "02", "03", "04", "05"]);
        assert_eq!((live.counted().taken, live.counted().repeated), (5, 5));
        assert_eq!(std::fs::read_to_string(journal::path(dir.path())).unwrap().lines().count(), 5);
    }
}
