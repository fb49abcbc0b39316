//! What can be seen of the running house from outside, and waking it up before the first request.
//!
//! States are looked at where they live, by a closure that takes what it needs: pages over thousands of
//! strategies copy no state, and no gate stands still meanwhile.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ephor_events::{Seq, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::State;
use ephor_governance::units::Timestamp;
use ephor_snapshots::Restored;
use futures::future::join_all;
use tokio::sync::watch;

use super::{Governor, shard_of};
use crate::answer::Failure;
use crate::gate::{Load, Ping, Survey};
use crate::measures::Measures;
use crate::strategy::See;
use crate::system::View;

/// Strategies that a gate brings to life before it looks at its mailbox again.
const LOADED_AT_ONCE: usize = 32;

/// What has become of strategies that were to be brought to life.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// How many are alive.
    pub live: usize,
    /// Which are not, and why; their orders are blocked.
    pub failed: Vec<(StrategyId, Failure)>,
}

/// A part of the house that has a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A gate, by number.
    Gate(usize),
    /// The system's actor.
    System,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate(number) => write!(f, "gate {number}"),
            Self::System => f.write_str("system"),
        }
    }
}

impl Governor {
    /// How many gates there are.
    #[must_use]
    pub fn gates(&self) -> usize {
        self.house.gates.len()
    }

    /// The system that every gate has adopted.
    #[must_use]
    pub fn system_view(&self) -> Arc<View> {
        self.house.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last seq of the log; moves once for every group of commits, when they can be read.
    #[must_use]
    pub fn head_watch(&self) -> watch::Receiver<Seq> {
        self.house.journal.head_watch()
    }

    /// What the house has done since its start, and what it is about.
    #[must_use]
    pub fn measures(&self) -> Measures {
        let house = &self.house;
        let under_way = house.in_flight_max.saturating_sub(house.under_way.available_permits());
        house.counters.read(house.journal.queued(), under_way, house.in_flight_max)
    }

    /// The parts that do not answer within the time; none where all is well.
    pub async fn heartbeat(&self, within: Duration) -> Vec<Part> {
        let gates = self.house.gates.iter().enumerate().map(async |(number, gate)| {
            let answered = tokio::time::timeout(within, gate.send(Ping)).await;
            (!matches!(answered, Ok(Ok(())))).then_some(Part::Gate(number))
        });
        let system = async {
            let answered = tokio::time::timeout(within, self.house.system.send(Ping)).await;
            (!matches!(answered, Ok(Ok(())))).then_some(Part::System)
        };
        let (gates, system) = futures::join!(join_all(gates), system);
        gates.into_iter().flatten().chain(system).collect()
    }

    /// Brings every strategy of the log to life, so that no first order waits for its recovery.
    pub async fn load_all(&self) -> Loaded {
        let streams = self.reader().streams().into_iter().map(|(stream, _)| stream);
        let strategies = streams.filter(|stream| !stream.is_system());
        self.load(strategies.map(|stream| StrategyId::recorded(stream.as_str().into()))).await
    }

    /// Brings these strategies to life, all gates at once, each a few at a time.
    pub async fn load(&self, ids: impl IntoIterator<Item = StrategyId>) -> Loaded {
        let gates = &self.house.gates;
        let mut shares: Vec<Vec<StrategyId>> = gates.iter().map(|_| Vec::new()).collect();
        for id in ids {
            if let Some(share) = shares.get_mut(shard_of(&id, gates.len())) {
                share.push(id);
            }
        }
        let shares = gates.iter().zip(shares).map(async |(gate, share)| {
            let mut loaded = Loaded::default();
            for some in share.chunks(LOADED_AT_ONCE) {
                let failed = gate.send(Load(some.to_vec())).await;
                let failed =
                    failed.unwrap_or_else(|_gone| some.iter().map(|id| (id.clone(), Failure::Stopped)).collect());
                loaded.live += some.len() - failed.len();
                loaded.failed.extend(failed);
            }
            loaded
        });
        join_all(shares).await.into_iter().fold(Loaded::default(), |mut all, share| {
            all.live += share.live;
            all.failed.extend(share.failed);
            all
        })
    }

    /// What the closure sees of every live strategy, in the order of their ids. It runs on the strategies' own
    /// threads, between two decisions: it has to be short.
    pub async fn survey<T: Send + 'static>(
        &self,
        see: impl Fn(&StrategyId, &State, Version, Timestamp) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let see: See<T> = Arc::new(see);
        let asked = self.house.gates.iter().map(|gate| gate.send(Survey { only: None, see: see.clone() }));
        let mut seen: Vec<_> = join_all(asked).await.into_iter().flatten().flatten().collect();
        seen.sort_by(|(a, _), (b, _)| a.cmp(b));
        seen.into_iter().map(|(_, seen)| seen).collect()
    }

    /// The live state of one strategy; `None` where it has not been asked about since the start.
    pub async fn look(&self, id: &StrategyId) -> Option<Restored<State>> {
        let gate = self.house.gates.get(shard_of(id, self.house.gates.len()))?;
        let see: See<Restored<State>> = Arc::new(|_, state, version, at| copy(state, version, at));
        let seen = gate.send(Survey { only: Some(id.clone()), see }).await.ok()?;
        seen.into_iter().next().map(|(_, state)| state)
    }

    /// The live state of every strategy that has been asked about since the start: all of them in memory once
    /// more. [`Governor::survey`] takes only what is wanted.
    pub async fn inspect(&self) -> Vec<(StrategyId, Restored<State>)> {
        self.survey(|id, state, version, at| (id.clone(), copy(state, version, at))).await
    }
}

fn copy(state: &State, version: Version, at: Timestamp) -> Restored<State> {
    Restored { state: state.clone(), version, at, folded: 0 }
}
