//! `ephor history`: the story of one strategy.

use std::collections::VecDeque;

use ephor_events::codec::type_name;
use ephor_events::envelope::Envelope;
use ephor_events::{Reader, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_replay::why::instruments;
use ephor_replay::{ReplayError, at, covers};

use super::print::{self, DIM, styled, time};
use super::{CliError, Exit, Global, sentence};
use crate::store;

/// Tell the story of a strategy: registrations, levels, pauses, tokens, drift, kill switches
#[derive(clap::Args)]
#[command(after_help = "Example: ephor history EMAX-GBPUSD-M5-001")]
pub(super) struct Args {
    /// The strategy
    #[arg(value_name = "STRATEGY")]
    strategy: StrategyId,
    /// Also every signal, order, decision, trade and health
    #[arg(long)]
    all: bool,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let reader = &opened.reader;
    at::known(reader, &args.strategy)?;
    let stream = StreamId::new(args.strategy.as_str());
    let mut kills = kills(reader, &args.strategy, &stream)?;
    let mut text = Text::new(global.json);
    let mut cursor = reader.stream(&stream, Version(1))?;
    while let Some(commit) = cursor.next()? {
        while let Some(kill) = kills.pop_front_if(|kill| kill.seq < commit.seq) {
            text.push(&kill)?;
        }
        let tells = |name: Option<&str>| args.all || name.is_some_and(is_story);
        if commit.events().any(|event| tells(type_name(event.type_id))) {
            let envelopes = Envelope::of_commit(&commit.to_owned()).map_err(ReplayError::from)?;
            for envelope in envelopes.iter().filter(|envelope| tells(Some(envelope.event.name()))) {
                text.push(envelope)?;
            }
        }
    }
    for kill in &kills {
        text.push(kill)?;
    }
    text.flush()?;
    Ok(Exit::Done)
}

/// What belongs into the story even where not everything is asked for.
fn is_story(name: &str) -> bool {
    match name {
        "SignalReceived" | "OrderReported" | "TradeClosed" | "DecisionMade" | "HealthUpdated" => false,
        _other => true,
    }
}

/// The kill switches that covered the strategy, thrown and released.
fn kills(reader: &Reader, id: &StrategyId, stream: &StreamId) -> Result<VecDeque<Envelope>, ReplayError> {
    let instruments = instruments(reader, stream)?;
    let mut found = VecDeque::new();
    let mut cursor = reader.stream(&StreamId::system(), Version(1))?;
    while let Some(commit) = cursor.next()? {
        let is_kill = |name: &str| name == "KillSwitchEngaged" || name == "KillSwitchReleased";
        if !commit.events().any(|event| type_name(event.type_id).is_some_and(is_kill)) {
            continue;
        }
        found.extend(Envelope::of_commit(&commit.to_owned())?.into_iter().filter(|envelope| {
            matches!(
                &envelope.event,
                Event::KillSwitchEngaged { scope, .. } | Event::KillSwitchReleased { scope, .. }
                    if covers(scope, id, instruments.iter())
            )
        }));
    }
    Ok(found)
}

struct Text {
    json: bool,
    lines: String,
}

impl Text {
    const fn new(json: bool) -> Self {
        Self { json, lines: String::new() }
    }

    fn push(&mut self, envelope: &Envelope) -> Result<(), CliError> {
        if self.json {
            sentence::add(&mut self.lines, envelope.to_json());
        } else {
            let Envelope { seq, recorded_at, event, cause, .. } = envelope;
            let place = styled(DIM, format_args!("{seq:>8}  {}", time(*recorded_at)));
            let told = styled(sentence::style(event), sentence::of(event));
            let cause = cause.map_or_else(String::new, |cause| styled(DIM, format_args!("  (after seq {cause})")));
            sentence::add(&mut self.lines, format_args!("{place}  {told}{cause}"));
        }
        if self.lines.len() >= 1 << 16 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        let done = print::out(&self.lines);
        self.lines.clear();
        done
    }
}
