//! The flags that say what a setting says, over the file and the environment.

use crate::settings::Flag;

/// Settings by flag.
#[derive(clap::Args)]
pub(super) struct Flags {
    /// Govern; without it orders are let through and nothing is recorded
    #[arg(long)]
    enabled: bool,
    /// Listen here
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<String>,
}

impl Flags {
    /// Those that were given.
    pub(super) fn given(&self) -> Vec<Flag> {
        let enabled = self.enabled.then(|| Flag::new("--enabled", "governance.enabled", true));
        let bind = self.bind.as_deref().map(|bind| Flag::new("--bind", "server.bind", bind));
        enabled.into_iter().chain(bind).collect()
    }
}
