//! How a connection is doing: for readiness, the canary, metrics and the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smol_str::SmolStr;

/// What is wrong with a connection before it was first tried.
const NOT_YET: &str = "not connected yet";

/// What a connection has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages or events taken.
    pub taken: u64,
    /// Of these, such as had been recorded before.
    pub repeated: u64,
    /// Messages put apart with a reason.
    pub dead: u64,
    /// Messages left to be delivered again.
    pub later: u64,
    /// Times that the connection was made anew.
    pub connects: u64,
    /// Messages that were gone before they were read.
    pub gone: u64,
    /// How many events the other side is behind.
    pub behind: u64,
}

/// How a connection is doing. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Status(Arc<Inner>);

struct Inner {
    name: SmolStr,
    since: Instant,
    /// Milliseconds after `since`.
    heard: AtomicU64,
    is_needed: bool,
    error: Mutex<Option<String>>,
    taken: AtomicU64,
    repeated: AtomicU64,
    dead: AtomicU64,
    later: AtomicU64,
    connects: AtomicU64,
    gone: AtomicU64,
    behind: AtomicU64,
}

impl Status {
    /// Of a connection that has not been made yet.
    #[must_use]
    pub fn new(name: impl Into<SmolStr>) -> Self {
        Self::of(name.into(), true)
    }

    /// Of one that the service can do its work without.
    #[must_use]
    pub fn spare(name: impl Into<SmolStr>) -> Self {
        Self::of(name.into(), false)
    }

    fn of(name: SmolStr, is_needed: bool) -> Self {
        Self(Arc::new(Inner {
            name,
            is_needed,
            since: Instant::now(),
            heard: AtomicU64::default(),
            error: Mutex::new(Some(NOT_YET.to_owned())),
            taken: AtomicU64::default(),
            repeated: AtomicU64::default(),
            dead: AtomicU64::default(),
            later: AtomicU64::default(),
            connects: AtomicU64::default(),
            gone: AtomicU64::default(),
            behind: AtomicU64::default(),
        }))
    }

    /// Which connection.
    #[must_use]
    pub fn name(&self) -> &SmolStr {
        &self.0.name
    }

    /// Whether the service is not ready without it.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.0.is_needed
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something came, for the first time: a sign of life of whoever sends.
    pub fn heard(&self) {
        self.0.heard.fetch_max(self.now_ms(), Ordering::Relaxed);
    }

    /// How long nothing came; from the start where nothing ever did.
    #[must_use]
    pub fn silent(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.0.heard.load(Ordering::Relaxed)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What is wrong with it since it was first tried. The canary looks once before that, and what it finds counts across
    /// restarts: three quick ones must not be three failures.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.error().filter(|error| error != NOT_YET)
    }

    /// The connection stands.
    pub fn connected(&self) {
        self.0.connects.fetch_add(1, Ordering::Relaxed);
        self.well();
    }

    /// It does what it should.
    pub fn well(&self) {
        *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It does not work, and why.
    pub fn broken(&self, error: String) {
        *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// So many messages or events were taken, so many of them not for the first time.
    pub fn took(&self, taken: u64, repeated: u64) {
        self.0.taken.fetch_add(taken, Ordering::Relaxed);
        self.0.repeated.fetch_add(repeated, Ordering::Relaxed);
    }

    /// A message was put apart.
    pub fn put_apart(&self) {
        self.0.dead.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was left for later.
    pub fn left(&self) {
        self.0.later.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages were gone before they were read.
    pub fn gone(&self, messages: u64) {
        self.0.gone.fetch_add(messages, Ordering::Relaxed);
    }

    /// How far the other side is behind.
    pub fn behind(&self, events: u64) {
        self.0.behind.store(events, Ordering::Relaxed);
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            taken: read(&self.0.taken),
            repeated: read(&self.0.repeated),
            dead: read(&self.0.dead),
            later: read(&self.0.later),
            connects: read(&self.0.connects),
            gone: read(&self.0.gone),
            behind: read(&self.0.behind),
        }
    }
}
