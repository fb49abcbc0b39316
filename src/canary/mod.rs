//! The canary: asks everything that the service stands on whether it is well, and has the answers recorded.
//!
//! All components are asked at once, each within its time; what answers late or panics has failed. The
//! rules count failures and decide what follows from them (kill, pause, alert), so what the canary does can
//! be replayed like anything else. It goes on whatever happens to a round, until it is told to stop.

mod blocking;
mod clock;
mod component;
mod endpoint;
mod feeds;
mod storage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ephor_actors::{Failure, Recorded};
use ephor_governance::canary::{Alert, FailureAction, Round};
use ephor_governance::event::Event;
use ephor_governance::system::Command;
use futures::future::join_all;
use reqwest::Client;
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use component::{Component, Fault, component};
pub use feeds::Feeds;

use crate::settings;
use crate::store::Session;

/// The component that says whether the log can be written.
const LOG: SmolStr = SmolStr::new_static("log");
/// How soon a shorter interval in a new policy is noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// Why the canary cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// There is nothing to ask end points with.
    #[error("make an HTTP client for the canary failed")]
    Client(#[source] reqwest::Error),
}

impl CanaryError {
    /// Never: it is how this machine is set up.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// Everything that is checked, and where it is recorded.
pub struct Canary {
    session: Session,
    interval: Box<dyn Fn() -> Duration + Send + Sync>,
    settings: watch::Receiver<settings::Canary>,
    client: Client,
    /// What the settings name.
    named: BTreeMap<SmolStr, Arc<dyn Component>>,
    /// What is checked whatever they name.
    components: BTreeMap<SmolStr, Arc<dyn Component>>,
    /// Components whose failure is shown and acts on nothing: they are left out of what is recorded.
    shown: BTreeSet<SmolStr>,
    feeds: Feeds,
    /// What kept the round before from being recorded.
    unrecorded: Option<String>,
    last: watch::Sender<Arc<Round>>,
}

impl Canary {
    /// A canary that checks the directory of the log, its disk, the clock, and what the settings name: what they say
    /// when a round begins. `interval` is asked all the time: the policy in force may change.
    ///
    /// # Errors
    /// [`CanaryError`].
    pub fn new(
        session: Session,
        settings: watch::Receiver<settings::Canary>,
        dir: &Path,
        interval: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Result<Self, CanaryError> {
        let mut canary = Self {
            session,
            interval: Box::new(interval),
            settings: settings.clone(),
            client: endpoint::client().map_err(CanaryError::Client)?,
            named: BTreeMap::new(),
            components: BTreeMap::new(),
            shown: BTreeSet::new(),
            feeds: Feeds::default(),
            unrecorded: None,
            last: watch::Sender::new(Arc::new(Round { results: BTreeMap::new() })),
        };
        canary.add(LOG, storage::Writable::new(dir));
        canary.add("disk", storage::Room::new(dir, settings.clone()));
        canary.add("clock", clock::Steady::new(settings));
        canary.take_up();
        Ok(canary)
    }

    /// Checks what the settings name now.
    fn take_up(&mut self) {
        let settings = self.settings.borrow_and_update().clone();
        self.feeds.keep(settings.feeds.iter().map(|feed| feed.name.as_str()));
        let mut named: BTreeMap<SmolStr, Arc<dyn Component>> = BTreeMap::new();
        for feed in &settings.feeds {
            let age_max = Duration::from_secs(feed.age_seconds_max);
            named.insert(format!("feed:{}", feed.name).into(), feeds::Fresh::new(&self.feeds, &feed.name, age_max));
        }
        for tcp in &settings.tcp {
            named.insert(format!("tcp:{}", tcp.name).into(), endpoint::Port::new(&tcp.address));
        }
        for http in &settings.http {
            let page = endpoint::Page::new(&self.client, &http.url, http.status);
            named.insert(format!("http:{}", http.name).into(), page);
        }
        self.named = named;
    }

    /// Has one more component checked; it takes the place of one of the same name.
    pub fn add(&mut self, name: impl Into<SmolStr>, component: Arc<dyn Component>) {
        self.components.insert(name.into(), component);
    }

    /// Has one more component checked whose failure is to be seen and to act on nothing.
    pub fn add_shown(&mut self, name: impl Into<SmolStr>, component: Arc<dyn Component>) {
        let name = name.into();
        self.shown.insert(name.clone());
        self.add(name, component);
    }

    /// Where arrivals from sources are reported.
    #[must_use]
    pub fn feeds(&self) -> Feeds {
        self.feeds.clone()
    }

    /// The newest round, whether it was recorded or not; empty before the first.
    #[must_use]
    pub fn last_round(&self) -> watch::Receiver<Arc<Round>> {
        self.last.subscribe()
    }

    /// Checks everything once and has it recorded. The first round is made so, before any order is taken.
    ///
    /// # Errors
    /// [`Failure`]: the round is not recorded; the next one says so of the log.
    pub async fn round(&mut self) -> Result<Recorded, Failure> {
        // Whoever could have changed them may have gone.
        if self.settings.has_changed().unwrap_or(false) {
            self.take_up();
        }
        let timeout = Duration::from_millis(self.settings.borrow().check_timeout_ms);
        let mut components = self.named.clone();
        components.extend(self.components.clone());
        let checks = components.into_iter().map(|(name, component)| {
            let checked = component::checked(component, timeout);
            async move { (name, checked.await) }
        });
        let mut results: BTreeMap<_, _> = join_all(checks).await.into_iter().collect();
        if let Some(failure) = &self.unrecorded {
            let log = results.entry(LOG).or_default();
            log.get_or_insert_with(|| format!("the round before was not recorded: {failure}"));
        }
        for (component, message) in &results {
            if let Some(message) = message {
                tracing::info!(%component, message, "a check failed");
            }
        }
        let mut round = Round { results };
        self.last.send_replace(Arc::new(round.clone()));
        round.results.retain(|component, _| !self.shown.contains(component));
        let command = Command::RecordCanaryRound(round);
        let recorded = self.session.governor.change(command, self.session.now(), SmolStr::default(), None).await;
        self.unrecorded = recorded.as_ref().err().map(ToString::to_string);
        for event in recorded.iter().flat_map(|recorded| recorded.events.iter()) {
            if let Event::CanaryAlerted(alert) = event {
                tell(alert);
            }
        }
        recorded
    }

    /// Checks everything at every interval from now on, until told to stop; then the end of the watch is recorded.
    pub async fn watch(mut self, stop: CancellationToken) {
        let rounds = async {
            loop {
                let begun = Instant::now();
                while let Some(left) = (self.interval)().checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
                    tokio::time::sleep(left.min(NOTICED_WITHIN)).await;
                }
                if let Err(error) = self.round().await {
                    tracing::error!(%error, "a round of the canary was not recorded");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
        // A round that checks nothing: whoever governs this log next need not miss the canary.
        let end = Command::RecordCanaryRound(Round { results: BTreeMap::new() });
        if let Err(error) = self.session.governor.change(end, self.session.now(), SmolStr::default(), None).await {
            tracing::warn!(%error, "the end of the watch was not recorded: its silence will be noticed");
        }
    }
}

/// Says what the rules made of a round; it is an alert only where something has changed.
fn tell(alert: &Alert) {
    match alert {
        Alert::Failed { component, failures, message, action } => match action {
            FailureAction::Kill | FailureAction::Pause => {
                tracing::error!(%component, failures, message, ?action, "the canary has acted");
            }
            FailureAction::Alert => tracing::warn!(%component, failures, message, "a component is not well"),
        },
        Alert::Recovered { component } => tracing::warn!(%component, "a component has recovered"),
        Alert::NothingRegistered => tracing::warn!("the canary watches nothing"),
    }
}
