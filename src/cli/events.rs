//! `ephor events`: what the log holds, one line an event, and what is added to it while one watches.

use std::str::FromStr;
use std::thread::sleep;
use std::time::Duration;

use ephor_events::envelope::Envelope;
use ephor_events::{Reader, Seq, StreamId};
use ephor_governance::event::Event;
use ephor_governance::units::Timestamp;
use ephor_replay::passage::{Passage, Wanted};
use ephor_replay::{ReplayError, at, nearest};

use super::print::{self, DIM, styled, time};
use super::{CliError, Exit, Global, sentence};
use crate::store;

/// List recorded events, oldest first
#[derive(clap::Args)]
#[command(after_help = "Example: ephor events --type MaturityTransitioned --from 2012-02-20 --json")]
pub(super) struct Args {
    /// Only this stream: a strategy, or `system`
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only events of this type; may be given more than once
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// From this seq or time on
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<Place>,
    /// Up to this seq or time
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Place>,
    /// Keep reading what another process appends
    #[arg(long, conflicts_with = "to")]
    follow: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// A place in the log as people name it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Seq(Seq),
    Time(Timestamp),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(|seq| Self::Seq(Seq(seq))).map_err(|error| format!("{error}"));
        }
        moment(text).map(Self::Time)
    }
}

/// A time as people write it: RFC 3339, or a date with or without a clock time, in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    crate::input::moment(text).ok_or_else(|| {
        "give a time such as 2012-02-15, \"2012-02-15 14:30\" or 2012-02-15T14:30:00Z, in UTC where no zone is given"
            .to_owned()
    })
}

impl Place {
    /// The first seq that is at the place or after it; one past the end where nothing is.
    pub(super) fn first(self, reader: &Reader) -> Result<Seq, ReplayError> {
        match self {
            Self::Seq(seq) => at::within(reader, seq),
            Self::Time(at) => Ok(Seq(reader.seq_at(at.nanos().saturating_sub(1))?.0 + 1)),
        }
    }

    /// The last seq that is at the place or before it.
    pub(super) fn last(self, reader: &Reader) -> Result<Seq, ReplayError> {
        match self {
            Self::Seq(seq) => at::within(reader, seq),
            Self::Time(at) => at::seq_at(reader, at),
        }
    }
}

/// How long to wait for another process to append.
const WAIT: Duration = Duration::from_millis(200);

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let types = args.types.iter().map(|name| known_type(name)).collect::<Result<_, _>>()?;
    let opened = if args.follow { store::open_shared(global)? } else { store::open_reader(global)? };
    let reader = &opened.reader;
    let from = args.from.map_or(Ok(Seq(1)), |place| place.first(reader))?;
    let to = args.to.map(|place| place.last(reader)).transpose()?;
    let stream = args.stream.as_ref().map(|name| known_stream(reader, name)).transpose()?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut passage = Passage::open(reader, Wanted { stream, types }, from)?;
    let mut lines = Lines::default();
    loop {
        while left > 0 && to.is_none_or(|to| passage.next_seq() <= to) {
            let Some(envelopes) = passage.next()? else { break };
            for envelope in envelopes.iter().filter(|envelope| to.is_none_or(|to| envelope.seq <= to)) {
                if left > 0 {
                    left -= 1;
                    lines.push(global, envelope)?;
                }
            }
        }
        lines.flush()?;
        if !args.follow || left == 0 {
            return Ok(Exit::Done);
        }
        sleep(WAIT);
        reader.refresh()?;
    }
}

fn known_type(name: &str) -> Result<&'static str, CliError> {
    Event::NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let near = nearest(name, Event::NAMES);
        let near = if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) };
        CliError::usage(format!("there is no event type {name:?}{near}: the types are {}", Event::NAMES.join(", ")))
    })
}

fn known_stream(reader: &Reader, name: &str) -> Result<StreamId, ReplayError> {
    let stream = StreamId::new(name);
    if !stream.is_system() {
        at::known(reader, &ephor_governance::ids::StrategyId::recorded(name.into()))?;
    }
    Ok(stream)
}

/// Lines on their way out, a screenful at a time.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// Adds an event as a line of JSON, or for people.
    pub(super) fn push(&mut self, global: &Global, envelope: &Envelope) -> Result<(), CliError> {
        if global.json {
            sentence::add(&mut self.0, envelope.to_json());
        } else {
            sentence::add(&mut self.0, line(envelope));
        }
        if self.0.len() >= 1 << 16 { self.flush() } else { Ok(()) }
    }

    /// Writes what is there.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let done = print::out(&self.0);
        self.0.clear();
        done
    }
}

fn line(envelope: &Envelope) -> String {
    let Envelope { seq, stream, recorded_at, event, .. } = envelope;
    let name = styled(sentence::style(event), format_args!("{:<20}", event.name()));
    let place = styled(DIM, format_args!("{seq:>8}  {}", time(*recorded_at)));
    format!("{place}  {:<26}  {name}  {}", stream.as_str(), sentence::of(event))
}
