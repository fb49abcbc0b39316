//! Settings that are read again while the service runs: what can be taken as it goes, and what needs a restart.
//!
//! What can be taken stands in one place, [`Settings::renewed`]; every other difference is named, so that a setting
//! nobody thought of is refused aloud and not passed over.

use std::collections::BTreeMap;

use super::sources::leaves;
use super::{Limits, Settings};

/// What comes of settings that were read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewed {
    /// What is in force from here on.
    pub settings: Settings,
    /// Fields, `section.name`, that have another value than before.
    pub changed: Vec<String>,
    /// Fields that were read with another value than the one in force, which stays until a restart.
    pub kept: Vec<String>,
}

impl Settings {
    /// What is in force once these settings were read anew.
    ///
    /// ```
    /// use ephor::settings::Settings;
    /// let running = Settings::default();
    /// let mut read = running.clone();
    /// read.server.limits.burst = 7;
    /// read.server.workers = 3;
    /// let renewed = running.renewed(&read);
    /// assert_eq!((renewed.settings.server.limits.burst, renewed.settings.server.workers), (7, 0));
    /// assert_eq!((&*renewed.changed, &*renewed.kept), (&["server.limits.burst".into()][..], &["server.workers".into()][..]));
    /// ```
    #[must_use]
    pub fn renewed(&self, read: &Self) -> Renewed {
        let mut settings = self.clone();
        let limits = read.server.limits.clone();
        settings.server.limits = Limits {
            connections: self.server.limits.connections,
            in_flight: self.server.limits.in_flight,
            head_timeout_ms: self.server.limits.head_timeout_ms,
            ..limits
        };
        if let (Some(tls), Some(read)) = (&mut settings.server.tls, &read.server.tls) {
            tls.certificate.clone_from(&read.certificate);
            tls.key.clone_from(&read.key);
        }
        settings.canary = read.canary.clone();
        settings.telemetry.log_level = read.telemetry.log_level;
        settings.telemetry.metrics_strategies_max = read.telemetry.metrics_strategies_max;
        // The service trades nothing on paper.
        settings.paper = read.paper.clone();
        Renewed { changed: different(self, &settings), kept: different(&settings, read), settings }
    }
}

/// The fields whose values differ, in order.
fn different(one: &Settings, other: &Settings) -> Vec<String> {
    let (one, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (leaves(one).into_iter().collect(), leaves(other).into_iter().collect());
    let mut fields: Vec<_> =
        one.keys().chain(other.keys()).filter(|field| one.get(*field) != other.get(*field)).collect();
    fields.sort();
    fields.dedup();
    fields.into_iter().cloned().collect()
}
