//! `ephor completions`: what a shell needs to finish our words.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{CliError, Exit};

/// Print the completions of a shell
#[derive(clap::Args)]
#[command(after_help = "Example: ephor completions bash > ~/.local/share/bash-completion/completions/ephor")]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

pub(super) fn run<C: CommandFactory>(args: &Args) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "ephor", &mut script);
    super::print::out(String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
