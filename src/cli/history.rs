//! `ephor history`: the story of one strategy.

use ephor_events::Seq;
use ephor_events::envelope::Envelope;
use ephor_governance::ids::StrategyId;
use ephor_replay::passage::Story;

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
    let mut story = Story::open(&opened.reader, &args.strategy, args.all, Seq(1))?;
    let mut text = Text::new(global.json);
    while let Some(envelopes) = story.next()? {
        for envelope in &envelopes {
            text.push(envelope)?;
        }
    }
    text.flush()?;
    Ok(Exit::Done)
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
