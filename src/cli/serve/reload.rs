//! SIGHUP: settings, keys and certificate are read again while the service runs.
//!
//! All of what was read is good, or none of it is taken: half of a change is a state that nobody has asked for. What
//! needs a restart stays as it is and is named.

use std::path::PathBuf;

use tokio::sync::watch;

use crate::serve::app::App;
use crate::serve::tls::Certificate;
use crate::settings::{self, Flag, Renewed, Settings};
use crate::telemetry::{Started, chain};

/// Where settings come from, and those who go by them.
pub(super) struct Reload<'a> {
    pub(super) config: Option<PathBuf>,
    pub(super) flags: Vec<Flag>,
    /// What is in force.
    pub(super) settings: Settings,
    pub(super) telemetry: &'a Started,
    pub(super) canary: watch::Sender<settings::Canary>,
}

impl Reload<'_> {
    /// Reads everything again and says in the log what came of it.
    pub(super) fn again(&mut self, app: &App, certificate: Option<&Certificate>) {
        app.refresh_keys();
        let read = match Settings::load(self.config.as_deref(), &self.flags) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(error = chain(&error), "settings were read again and not taken: nothing is changed");
                return;
            }
        };
        let Renewed { settings, changed, kept } = self.settings.renewed(&read);
        let certified = settings.server.tls.as_ref().map(settings::Tls::certified).transpose();
        let certified = match certified {
            Ok(certified) => certified,
            Err(error) => {
                tracing::error!(error = chain(&error), "the certificate cannot be used: nothing is changed");
                return;
            }
        };
        if let (Some(certificate), Some(certified)) = (certificate, certified) {
            certificate.renew(certified);
        }
        app.renew(&settings);
        self.canary.send_if_modified(|canary| {
            let is_other = *canary != settings.canary;
            canary.clone_from(&settings.canary);
            is_other
        });
        let level = settings.telemetry.log_level;
        if level != self.settings.telemetry.log_level && !self.telemetry.show(level) {
            tracing::warn!("telemetry.log_level was changed, and EPHOR_LOG stands over it");
        }
        self.settings = settings;
        for field in kept {
            tracing::error!(field, "a setting was changed that needs a restart: what is in force stays until then");
        }
        tracing::info!(changed = changed.join(", "), "settings, keys and certificate were read again");
    }
}
