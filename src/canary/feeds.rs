//! Sources of events, and when each was last heard of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use smol_str::SmolStr;

use super::{Component, Fault};

/// When each watched source was last heard of. Cheap to clone; every clone is the same.
///
/// Only the sources that the settings name are kept, so a caller cannot fill memory with names. What has not
/// been heard of yet counts from when it was named.
#[derive(Clone, Debug)]
pub struct Feeds {
    since: Instant,
    /// Milliseconds after `since`.
    heard: Arc<RwLock<BTreeMap<SmolStr, AtomicU64>>>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self { since: Instant::now(), heard: Arc::default() }
    }
}

impl Feeds {
    /// Watches these sources and no others. One that was watched before stays as it was heard.
    pub(super) fn keep<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut heard = self.heard.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *heard);
        heard.extend(names.map(|name| {
            let known = before.remove(name);
            (name.into(), known.unwrap_or_else(|| AtomicU64::new(self.now_ms())))
        }));
    }

    /// An event of this source has arrived now. A source that nobody watches is nothing to remember.
    pub fn arrived(&self, source: &str) {
        if let Some(heard) = self.heard.read().unwrap_or_else(PoisonError::into_inner).get(source) {
            heard.fetch_max(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// How long nothing was heard of a source; `None` where nobody watches it.
    #[must_use]
    pub fn age(&self, source: &str) -> Option<Duration> {
        let heard = self.heard.read().unwrap_or_else(PoisonError::into_inner);
        let heard_ms = heard.get(source)?.load(Ordering::Relaxed);
        Some(Duration::from_millis(self.now_ms().saturating_sub(heard_ms)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A source has fallen silent.
#[derive(Debug, thiserror::Error)]
#[error("nothing arrived for {:.1} s, at most {:.1} s are allowed", age.as_secs_f64(), age_max.as_secs_f64())]
struct Silent {
    age: Duration,
    age_max: Duration,
}

/// Whether a source speaks.
pub(super) struct Fresh {
    feeds: Feeds,
    source: SmolStr,
    age_max: Duration,
}

impl Fresh {
    pub(super) fn new(feeds: &Feeds, source: &str, age_max: Duration) -> Arc<Self> {
        Arc::new(Self { feeds: feeds.clone(), source: source.into(), age_max })
    }
}

impl Component for Fresh {
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        let (age, age_max) = (self.feeds.age(&self.source).unwrap_or(Duration::MAX), self.age_max);
        let fresh = if age > age_max { Err(Silent { age, age_max }.into()) } else { Ok(()) };
        Box::pin(std::future::ready(fresh))
    }
}
