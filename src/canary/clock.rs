//! The wall clock: between two rounds it must have gone on as the steady clock did.
//!
//! Windows, expiries and the order of events are told by the wall clock; one that was set, or a machine
//! that slept, shows here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{Component, Fault};
use crate::settings;

/// The wall clock went another way than the steady one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wall clock jumped by {jump_ms} ms since the round before, at most {jump_ms_max} ms are allowed")]
pub(super) struct Jumped {
    jump_ms: u128,
    jump_ms_max: u128,
}

/// Both clocks, read together.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) wall: SystemTime,
    pub(super) steady: Instant,
}

impl Reading {
    fn now() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// Refuses a jump from this reading to a later one.
    pub(super) fn held_against(&self, later: &Self, jump_max: Duration) -> Result<(), Jumped> {
        let steady = later.steady.saturating_duration_since(self.steady);
        let jump = match later.wall.duration_since(self.wall) {
            Ok(wall) => wall.abs_diff(steady),
            Err(back) => back.duration().saturating_add(steady),
        };
        if jump > jump_max {
            return Err(Jumped { jump_ms: jump.as_millis(), jump_ms_max: jump_max.as_millis() });
        }
        Ok(())
    }
}

/// Whether the wall clock is steady.
pub(super) struct Steady {
    settings: watch::Receiver<settings::Canary>,
    last: Mutex<Option<Reading>>,
}

impl Steady {
    pub(super) fn new(settings: watch::Receiver<settings::Canary>) -> Arc<Self> {
        Arc::new(Self { settings, last: Mutex::default() })
    }
}

impl Component for Steady {
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        let now = Reading::now();
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        let jump_max = Duration::from_millis(self.settings.borrow().clock_offset_ms_max);
        let held = before.map_or(Ok(()), |before| before.held_against(&now, jump_max));
        Box::pin(async move { Ok(held?) })
    }
}
