//! What all handlers share: the governor, who may come in, the figures.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use ephor_actors::Governor;
use ephor_governance::canary::Round;
use ephor_governance::units::Timestamp;
use ephor_snapshots::Keyframes;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use prometheus::proto::MetricFamily;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::acts::Acts;
use super::figures::Figures;
use super::measured;
use super::problem::Problem;
use super::reading::READS_MAX;
use crate::bus::Status;
use crate::canary::Feeds;
use crate::keys::KeysError;
use crate::keys::api::{ApiKeys, Caller};
use crate::keys::signing::{Signer, Verifier};
use crate::settings::{Limits, Settings};
use crate::store;

/// How old a look at the house may be.
const FRESH: Duration = Duration::from_millis(500);
/// How long a gate may take to say that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The parts of a house that do not answer within a time, in words; `None` where all do.
pub async fn silent(governor: &Governor, within: Duration) -> Option<String> {
    let parts: Vec<String> = governor.heartbeat(within).await.iter().map(ToString::to_string).collect();
    (!parts.is_empty()).then(|| format!("no answer from {}", parts.join(", ")))
}

/// How much is taken at the moment.
struct Taken {
    limits: Limits,
    /// By key; started afresh where the rate has changed.
    rates: Arc<DefaultKeyedRateLimiter<String>>,
}

impl Taken {
    fn new(limits: Limits, before: Option<&Self>) -> Self {
        let rate = |limits: &Limits| (limits.requests_per_second, limits.burst);
        let rates = before.filter(|before| rate(&before.limits) == rate(&limits)).map(|before| before.rates.clone());
        let rates = rates.unwrap_or_else(|| {
            let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_second(at_least_one(limits.requests_per_second));
            Arc::new(RateLimiter::keyed(quota.allow_burst(at_least_one(limits.burst))))
        });
        Self { limits, rates }
    }
}

/// A place for an event stream, given back when it is dropped.
pub struct StreamPlace(Arc<AtomicUsize>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The service as its handlers see it.
pub struct App {
    /// What the service was started with.
    pub settings: Settings,
    taken: RwLock<Arc<Taken>>,
    /// What has been counted.
    pub figures: Figures,
    keys: ApiKeys,
    /// Verifies signed tokens.
    pub verifier: Verifier,
    /// Signs tokens.
    pub signer: Signer,
    /// What acts keep between requests.
    pub acts: Acts,
    governed: Option<Governed>,
    /// Places for reads of the log.
    pub reads: Arc<Semaphore>,
    /// Event streams that are open.
    streams: Arc<AtomicUsize>,
    /// Held while a strategy is declared: what is known of it must not change between the look and the declaration.
    pub declaring: tokio::sync::Mutex<()>,
    /// Places of the lines of all streams of reports: a part of what may be under way, so that orders find room.
    pub intake: Arc<Semaphore>,
    closing: CancellationToken,
    /// Told whenever the API keys have been read anew.
    keys_read: watch::Sender<()>,
    /// What the house showed last, and when: however many ask, it is looked at once in [`FRESH`].
    looked: Mutex<Option<(Instant, Vec<MetricFamily>)>>,
    /// Which parts did not answer last, and when.
    beat: Mutex<Option<(Instant, Option<String>)>>,
    started: Instant,
}

/// The keys of the service: who may come in, and what its tokens are signed with.
pub struct Keys {
    /// Who may come in.
    pub keys: ApiKeys,
    /// Verifies signed tokens.
    pub verifier: Verifier,
    /// Signs tokens.
    pub signer: Signer,
}

impl Keys {
    /// The keys of a data directory; a signing key is made where there is none.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(data: &Path) -> Result<Self, KeysError> {
        let signer = Signer::open(data, crate::store::now())?;
        Ok(Self { keys: ApiKeys::open(data)?, verifier: Verifier::open(data)?, signer })
    }
}

/// What there is where governance is enabled.
pub struct Governed {
    /// The governor.
    pub governor: Governor,
    /// Keyframes of the past, where their store opened.
    pub keyframes: Option<Keyframes>,
    /// What the canary found last.
    pub last_round: watch::Receiver<Arc<Round>>,
    /// The sources that the canary watches.
    pub feeds: Feeds,
    /// How buses, and those who follow the log, are doing.
    pub connections: Vec<Status>,
    /// When the log's last commit was recorded before the start.
    pub not_before: Timestamp,
    /// What the start took.
    pub recovery: Recovery,
}

/// What a start took.
pub struct Recovery {
    /// Until orders were taken.
    pub took: Duration,
    /// Events in the log.
    pub events: u64,
}

impl App {
    /// `governed` is `None` where governance is disabled.
    ///
    /// # Errors
    /// A metric that cannot be.
    pub fn new(settings: Settings, keys: Keys, governed: Option<Governed>) -> Result<Self, prometheus::Error> {
        let Keys { keys, verifier, signer } = keys;
        let in_flight = settings.server.limits.in_flight;
        Ok(Self {
            figures: Figures::new(settings.telemetry.metrics_strategies_max)?,
            taken: RwLock::new(Arc::new(Taken::new(settings.server.limits.clone(), None))),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            streams: Arc::default(),
            settings,
            keys,
            verifier,
            signer,
            acts: Acts::default(),
            governed,
            declaring: tokio::sync::Mutex::default(),
            intake: Arc::new(Semaphore::new((in_flight / 4).max(1))),
            closing: CancellationToken::new(),
            keys_read: watch::Sender::default(),
            looked: Mutex::default(),
            beat: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// Who may come in.
    #[must_use]
    pub const fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// The governor, where there is one.
    #[must_use]
    pub fn governor(&self) -> Option<&Governor> {
        self.governed.as_ref().map(|governed| &governed.governor)
    }

    /// What is governed.
    ///
    /// # Errors
    /// [`Problem::disabled`].
    pub fn governed(&self) -> Result<&Governed, Problem> {
        self.governed.as_ref().ok_or_else(Problem::disabled)
    }

    fn taken(&self) -> Arc<Taken> {
        self.taken.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How much is taken at the moment.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.taken().limits.clone()
    }

    /// Goes by other settings from here on, as far as that can be without a restart. A new rate counts afresh.
    pub fn renew(&self, settings: &Settings) {
        let mut taken = self.taken.write().unwrap_or_else(PoisonError::into_inner);
        *taken = Arc::new(Taken::new(settings.server.limits.clone(), Some(&taken)));
        drop(taken);
        self.figures.bound(settings.telemetry.metrics_strategies_max);
    }

    /// A place for one more event stream, where there is one.
    ///
    /// # Errors
    /// 503.
    pub fn stream_place(&self) -> Result<StreamPlace, Problem> {
        let most = self.taken().limits.streams;
        let one_more = |open: usize| (open < most).then(|| open + 1);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| {
            let detail = format!("at most {most} event streams at once");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "STREAMS_TOO_MANY", detail).retry_after(5)
        })?;
        Ok(StreamPlace(self.streams.clone()))
    }

    /// Looks whether keys have changed on the disk.
    pub fn refresh_keys(&self) {
        // The public keys first: nothing is signed that could not be verified.
        let refreshed = [self.keys.refresh(), self.verifier.refresh(), self.signer.refresh()];
        if !matches!(refreshed, [Ok(false), ..]) {
            self.keys_read.send_replace(());
        }
        for error in refreshed.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "keys could not be read again: whom they would let in stays outside");
        }
    }

    /// Comes back when a caller may no longer do what was begun with its key: a stream does not outlive the key.
    pub async fn shut_out(&self, caller: &Caller) {
        let mut read = self.keys_read.subscribe();
        while self.keys.admits(caller) && read.changed().await.is_ok() {}
    }

    /// Tells the canary that a source speaks: a caller by its key's name, a strategy by its id, or `account`.
    pub fn arrived(&self, source: &str) {
        if let Some(governed) = &self.governed {
            governed.feeds.arrived(source);
        }
    }

    /// Counts requests, or orders of one, against their key's rate.
    ///
    /// # Errors
    /// 429.
    pub fn within_rate(&self, caller: &Caller, requests: NonZeroU32) -> Result<(), Problem> {
        let taken = self.taken();
        let within = taken.rates.check_key_n(&caller.key_id, requests);
        // As many as no burst may hold are too many, too.
        within.map_err(drop).and_then(|within| within.map_err(drop)).map_err(|()| {
            let detail = format!("at most {} requests a second with one key", taken.limits.requests_per_second);
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_EXCEEDED", detail).retry_after(1).blocking()
        })
    }

    /// The wall clock, but never before what was recorded when the service started: a clock that has been set back must
    /// not make everything late.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = store::now();
        self.governed.as_ref().map_or(now, |governed| now.max(governed.not_before))
    }

    /// Takes no new work from here on.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Comes back when it shuts down.
    pub async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Whether it is shutting down.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// How long the service has been up.
    #[must_use]
    pub fn up(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether the service can do its work.
    pub async fn readiness(&self) -> super::probes::Readiness {
        super::probes::Readiness::of(self).await
    }

    /// The parts of the house that do not answer, in words; `None` where all do.
    pub async fn silent_parts(&self) -> Option<String> {
        let governor = self.governor()?;
        let mut beat = self.beat.lock().await;
        if let Some((_, said)) = beat.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return said.clone();
        }
        let said = silent(governor, HEARTBEAT).await;
        *beat = Some((Instant::now(), said.clone()));
        said
    }

    /// Everything there is to measure.
    pub async fn measured(&self) -> Vec<MetricFamily> {
        let mut families = self.figures.gather();
        if let Some(governed) = &self.governed {
            let mut looked = self.looked.lock().await;
            if looked.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
                let most = self.figures.strategies_max();
                *looked = Some((Instant::now(), measured::of(governed, most).await));
            }
            families.extend(looked.iter().flat_map(|(_, shown)| shown).cloned());
        }
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }
}
