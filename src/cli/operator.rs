//! What operators' commands share: who and why, the governor to ask, and saying what was recorded.
//!
//! An operator's act is stamped with the wall clock, carries a name, and is one commit.

use ephor_actors::{Recorded, Request};
use ephor_events::{Reader, StreamId};
use ephor_governance::ids::{Actor, StrategyId};
use ephor_governance::strategy::{self, Command};
use ephor_governance::system;
use ephor_snapshots::restore;
use serde_json::{Value, json};
use smol_str::SmolStr;

use super::print::{self, DIM, styled};
use super::{CliError, Exit, Global, sentence};
use crate::operate::{self, Done};
use crate::store::{self, Session, Terms};

/// Who.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Who {
    /// On whose word; else `$EPHOR_BY`, else `$USER`
    #[arg(long, value_name = "NAME", env = "EPHOR_BY")]
    by: Option<Actor>,
}

/// Why.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Why {
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

impl Who {
    /// The name.
    ///
    /// # Errors
    /// A sentence where there is none.
    pub(super) fn name(&self) -> Result<Actor, CliError> {
        let user = || std::env::var("USER").ok().and_then(|name| name.parse().ok());
        self.by.clone().or_else(user).ok_or_else(|| CliError::usage("say on whose word this is: --by NAME"))
    }
}

/// Asks something of a strategy, as an operator, and says what was recorded.
pub(super) fn ask(
    global: &Global,
    terms: Terms,
    id: &StrategyId,
    command: impl AsyncFnOnce(&Session) -> Result<Command, CliError>,
) -> Result<Exit, CliError> {
    let recorded = record(global, terms, id, trace(), command)?;
    say(global, id.as_str(), &recorded)
}

/// Asks something of a strategy, as an operator.
pub(super) fn record(
    global: &Global,
    terms: Terms,
    id: &StrategyId,
    trace: SmolStr,
    command: impl AsyncFnOnce(&Session) -> Result<Command, CliError>,
) -> Result<Recorded, CliError> {
    store::govern(global, terms, async |session| {
        let command = command(&session).await?;
        if !matches!(command, Command::Register(_)) {
            // Says which name may have been meant.
            ephor_replay::at::known(session.governor.reader(), id)?;
        }
        let request = Request { strategy: id.clone(), command, at: session.now(), trace, occurred_at: None };
        Ok(session.governor.ask(request).await?)
    })
}

/// Changes something for all strategies, and says what was recorded.
pub(super) fn change(global: &Global, terms: Terms, command: system::Command) -> Result<Exit, CliError> {
    let recorded = store::govern(global, terms, async |session| {
        Ok(session.governor.change(command, session.now(), trace(), None).await?)
    })?;
    say(global, StreamId::system().as_str(), &recorded)
}

/// An operator's act is tied to nothing else, so it gets an id of its own.
pub(super) fn trace() -> SmolStr {
    operate::new_id()
}

/// A strategy as it stands.
///
/// # Errors
/// What the log said; a name that is not known, with the nearest that is.
pub(super) fn strategy_now(session: &Session, id: &StrategyId) -> Result<strategy::State, CliError> {
    let reader = session.governor.reader();
    ephor_replay::at::known(reader, id)?;
    Ok(restore(reader, None, &StreamId::new(id.as_str()), None, strategy::evolve)?.state)
}

/// The system as it stands.
///
/// # Errors
/// What the log said.
pub(super) fn system_now(session: &Session) -> Result<system::State, CliError> {
    Ok(restore(session.governor.reader(), None, &StreamId::system(), None, system::evolve)?.state)
}

/// What is seen of one strategy, or of every one.
///
/// # Errors
/// What the log said; a name that is not known, with the nearest that is.
pub(super) fn seen<T>(
    reader: &Reader,
    only: Option<&StrategyId>,
    see: impl Fn(&StrategyId, &strategy::State) -> Vec<T>,
) -> Result<Vec<T>, CliError> {
    let ids: Vec<StrategyId> = if let Some(id) = only {
        ephor_replay::at::known(reader, id)?;
        vec![id.clone()]
    } else {
        let streams = reader.streams().into_iter().filter(|(stream, version)| stream.is_strategy() && version.0 > 0);
        streams.map(|(stream, _)| StrategyId::recorded(stream.as_str().into())).collect()
    };
    let mut all = Vec::new();
    for id in ids {
        let state = restore(reader, None, &StreamId::new(id.as_str()), None, strategy::evolve)?.state;
        all.extend(see(&id, &state));
    }
    Ok(all)
}

pub(super) fn say(global: &Global, stream: &str, recorded: &Recorded) -> Result<Exit, CliError> {
    if global.json {
        print::json(&as_json(stream, recorded))?;
    } else {
        print::out(as_text(stream, recorded))?;
    }
    Ok(Exit::Done)
}

/// What was recorded, for programs.
pub(super) fn as_json(stream: &str, recorded: &Recorded) -> Value {
    json!(Done::of(stream, recorded))
}

/// What was recorded, for people: a line an event.
pub(super) fn as_text(stream: &str, recorded: &Recorded) -> String {
    let mut text = String::new();
    for (event, seq) in recorded.events.iter().zip(recorded.seq.0..) {
        let said = styled(sentence::style(event), sentence::of(event));
        let place = styled(DIM, format_args!("(seq {seq})"));
        text.extend([stream, ": ", &said, " ", &place, "\n"]);
    }
    text
}
