//! `ephor replay`: the whole log folded, and what every state is known by.
//!
//! What goes to standard output is the same on every machine and every run; how long it took goes to standard
//! error.

mod live;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Instant;

use comfy_table::Cell;
use ephor_replay::fold::{Digest, Folded, Held, Kept, Plan, Stream, fold_with, kept};
use serde_json::{Value, json};

use super::audit::bar;
use super::events::Place;
use super::print::{self, BAD, BOLD, Counted, GOOD, LEFT, RIGHT, grouped, styled, time};
use super::snapshots::keyframes_of;
use super::{CliError, Exit, Global, sentence};
use crate::store;

pub(super) use live::LiveError;

/// Fold the whole log and print a digest a strategy and one for all; exit code 1 where a snapshot or a live state differs
#[derive(clap::Args)]
#[command(after_help = "Examples: ephor replay --to 2012-02-20 --against snapshots\n          \
                        EPHOR_API_KEY=… ephor replay --against live --url https://ephor.example:8750 --ca ca.pem")]
pub(super) struct Args {
    /// Up to and with this seq or time; the end of the log if not given
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Place>,
    /// Threads that share the strategies among them, at most four a core; as many as there are cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Hold the states kept elsewhere against the folded ones
    #[arg(long, value_enum, value_name = "WHAT")]
    against: Option<Against>,
    /// With --against live: the service, which is asked with the key in `EPHOR_API_KEY`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8750")]
    url: String,
    /// With --against live: who signs the service's certificate, PEM, instead of those whom this machine trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Against {
    /// The newest snapshot of each stream that fits the log
    Snapshots,
    /// The states of the actors of the service that runs on this log, each at the version it has reached
    Live,
}

impl Against {
    /// What is held against the fold.
    const fn word(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshot",
            Self::Live => "live state",
        }
    }

    /// How such a state is spoken of.
    const fn has(self) -> &'static str {
        match self {
            Self::Snapshots => "kept",
            Self::Live => "live",
        }
    }
}

/// What was held against the fold, and what came of it.
struct Compared<'a> {
    against: Against,
    held: &'a [Held],
    /// States of which the log does not have all events.
    beyond: Vec<&'a Kept>,
    /// Streams of which no state was there to be held against.
    without: usize,
}

impl<'a> Compared<'a> {
    fn of(against: Against, folded: &'a Folded, plan: &'a Plan) -> Self {
        let is_held = |kept: &Kept| folded.held.iter().any(|held| held.kept.stream == kept.stream);
        let beyond: Vec<&Kept> = plan.kept.values().filter(|kept| !is_held(kept)).collect();
        let streams = folded.strategies.len() + usize::from(folded.system.version.0 > 0);
        let without = streams.saturating_sub(plan.kept.len());
        Self { against, held: &folded.held, beyond, without }
    }

    fn differ(&self) -> usize {
        self.held.iter().filter(|held| !held.agrees()).count() + self.beyond.len()
    }
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let live = (args.against == Some(Against::Live)).then(|| {
        if args.to.is_some() {
            return Err(CliError::usage("live states are of now: leave out --to"));
        }
        live::kept(&args.url, args.ca.as_deref())
    });
    // Only now: what the service says is in the log when it says it.
    let live = live.transpose()?;
    let opened = if live.is_some() { store::open_shared(global)? } else { store::open_reader(global)? };
    let reader = &opened.reader;
    let to = args.to.map(|place| place.last(reader)).transpose()?;
    let kept = match args.against {
        Some(Against::Snapshots) => kept(reader, keyframes_of(global, &opened)?, to)?,
        Some(Against::Live) | None => live.unwrap_or_default(),
    };
    let threads = args.threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let plan = Plan { to, threads, kept };
    let began = Instant::now();
    let folded = fold_with(reader, &plan, &mut bar("folding the log"))?;
    let seconds = began.elapsed().as_secs_f64();
    let compared = args.against.map(|against| Compared::of(against, &folded, &plan));
    if global.json {
        print::json(&as_json(&folded, compared.as_ref(), seconds))?;
    } else {
        print::out(said(&folded, compared.as_ref()))?;
        print::note(format_args!(
            "folded {} in {seconds:.2} s ({} a second) by {}",
            Counted(folded.head.seq.0, "event"),
            Counted(rate(folded.head.seq.0, seconds), "event"),
            Counted(folded.threads as u64, "thread")
        ));
    }
    Ok(if compared.is_none_or(|compared| compared.differ() == 0) { Exit::Done } else { Exit::Found })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people, not negative"
)]
fn rate(events: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (events as f64 / seconds) as u64 } else { 0 }
}

fn short(digest: Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

fn said(folded: &Folded, compared: Option<&Compared<'_>>) -> String {
    let mut table =
        print::table(&[("STREAM", LEFT), ("LEVEL", LEFT), ("VERSION", RIGHT), ("LAST EVENT", LEFT), ("DIGEST", LEFT)]);
    for stream in &folded.strategies {
        table.add_row(row(stream, stream.state.maturity.level.as_str()));
    }
    table.add_row(row(&folded.system, "-"));
    let mut text = print::rows(&table);
    let head = &folded.head;
    sentence::add(
        &mut text,
        format_args!(
            "\n{} in {} to seq {}: {} and the system",
            Counted(head.seq.0, "event"),
            Counted(head.commits, "commit"),
            head.seq,
            strategies(folded.strategies.len()),
        ),
    );
    sentence::add(&mut text, format_args!("all  {}", styled(BOLD, folded.digest)));
    if let Some(compared) = compared {
        add_compared(&mut text, compared);
    }
    text
}

fn strategies(count: usize) -> String {
    if count == 1 { "1 strategy".to_owned() } else { format!("{} strategies", grouped(count as u64)) }
}

fn row<S>(stream: &Stream<S>, level: &str) -> Vec<Cell> {
    let last = if stream.seq.0 == 0 { "-".to_owned() } else { time(stream.recorded_at) };
    vec![
        Cell::new(&stream.stream),
        Cell::new(level),
        Cell::new(stream.version),
        Cell::new(last),
        Cell::new(short(stream.digest)),
    ]
}

fn add_compared(text: &mut String, compared: &Compared<'_>) {
    let Compared { against, held, beyond, without } = compared;
    let (word, has) = (against.word(), against.has());
    let found = match compared.differ() {
        0 => styled(GOOD, "0 differ"),
        differ => styled(BAD, format_args!("{} differ", grouped(differ as u64))),
    };
    let none = match (against, *without) {
        (_, 0) => String::new(),
        (Against::Snapshots, none) => format!("; {} without a snapshot that fits", Counted(none as u64, "stream")),
        (Against::Live, none) => format!("; {} without a live state", Counted(none as u64, "stream")),
    };
    let newest = match against {
        Against::Snapshots => ", the newest of each stream",
        Against::Live => "",
    };
    let all = Counted((held.len() + beyond.len()) as u64, word);
    sentence::add(text, format_args!("{all} held against the fold{newest}: {found}{none}"));
    for held in held.iter().filter(|held| !held.agrees()) {
        let folded =
            held.folded.map_or_else(|| "no commit ends there".to_owned(), |digest| format!("folded {}", short(digest)));
        let kept = &held.kept;
        let place = format!("{} version {} (seq {})", kept.stream, kept.version, held.seq);
        sentence::add(text, format_args!("  {}: {has} {}, {folded}", styled(BAD, place), short(kept.digest)));
    }
    for kept in beyond {
        let place = format!("{} version {}", kept.stream, kept.version);
        let digest = short(kept.digest);
        sentence::add(text, format_args!("  {}: {has} {digest}, the log does not go so far", styled(BAD, place)));
    }
}

fn as_json(folded: &Folded, compared: Option<&Compared<'_>>, seconds: f64) -> Value {
    let strategies = folded.strategies.iter().map(|stream| {
        json!({
            "strategy": stream.stream,
            "level": stream.state.maturity.level,
            "version": stream.version,
            "seq": stream.seq,
            "recorded_at": stream.recorded_at,
            "digest": stream.digest,
        })
    });
    let system = &folded.system;
    let known = system.seq.0 > 0;
    let compared_with = |against: Against| {
        compared.filter(|compared| compared.against == against).map(|compared| {
            let held = compared.held.iter().map(|held| {
                let kept = &held.kept;
                json!({
                    "stream": kept.stream, "version": kept.version, "seq": held.seq,
                    "kept": kept.digest, "folded": held.folded, "agrees": held.agrees(),
                })
            });
            json!({
                "held": held.collect::<Vec<_>>(),
                "beyond": compared.beyond,
                "without": compared.without,
                "differ": compared.differ(),
            })
        })
    };
    json!({
        "events": folded.head.seq,
        "commits": folded.head.commits,
        "digest": folded.digest,
        "strategies": strategies.collect::<Vec<_>>(),
        "system": {
            "version": system.version,
            "seq": system.seq,
            "recorded_at": known.then_some(system.recorded_at),
            "digest": system.digest,
        },
        "against_snapshots": compared_with(Against::Snapshots),
        "against_live": compared_with(Against::Live),
        "threads": folded.threads,
        "seconds": seconds,
    })
}
