//! `ephor replay`: the whole log folded, and what every state is known by.
//!
//! What goes to standard output is the same on every machine and every run; how long it took goes to standard
//! error.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Instant;

use comfy_table::Cell;
use ephor_replay::fold::{Digest, Folded, Held, Plan, Stream, fold_with, kept};
use serde_json::{Value, json};

use super::audit::bar;
use super::events::Place;
use super::print::{self, BAD, BOLD, Counted, GOOD, LEFT, RIGHT, grouped, styled, time};
use super::snapshots::keyframes_of;
use super::{CliError, Exit, Global, sentence};
use crate::store;

/// Fold the whole log and print a digest a strategy and one for all; exit code 1 where a snapshot differs
#[derive(clap::Args)]
#[command(after_help = "Example: ephor replay --to 2012-02-20 --against snapshots")]
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
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Against {
    /// The newest snapshot of each stream that fits the log
    Snapshots,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let reader = &opened.reader;
    let to = args.to.map(|place| place.last(reader)).transpose()?;
    let kept = match args.against {
        None => None,
        Some(Against::Snapshots) => Some(kept(reader, keyframes_of(global, &opened)?, to)?),
    };
    let threads = args.threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let against = kept.is_some();
    let plan = Plan { to, threads, kept: kept.unwrap_or_default() };
    let began = Instant::now();
    let folded = fold_with(reader, &plan, &mut bar("folding the log"))?;
    let seconds = began.elapsed().as_secs_f64();
    if global.json {
        print::json(&as_json(&folded, against, seconds))?;
    } else {
        print::out(said(&folded, against))?;
        print::note(format_args!(
            "folded {} in {seconds:.2} s ({} a second) by {}",
            Counted(folded.head.seq.0, "event"),
            Counted(rate(folded.head.seq.0, seconds), "event"),
            Counted(folded.threads as u64, "thread")
        ));
    }
    Ok(if folded.held.iter().all(Held::agrees) { Exit::Done } else { Exit::Found })
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

fn said(folded: &Folded, against: bool) -> String {
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
    if against {
        add_held(&mut text, folded);
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

/// Streams that have no fitting snapshot.
fn without(folded: &Folded) -> usize {
    let streams = folded.strategies.len() + usize::from(folded.system.version.0 > 0);
    streams.saturating_sub(folded.held.len())
}

fn add_held(text: &mut String, folded: &Folded) {
    let differ: Vec<&Held> = folded.held.iter().filter(|held| !held.agrees()).collect();
    let found = if differ.is_empty() {
        styled(GOOD, "0 differ")
    } else {
        styled(BAD, format_args!("{} differ", grouped(differ.len() as u64)))
    };
    let none = match without(folded) {
        0 => String::new(),
        none => format!("; {} without a snapshot that fits", Counted(none as u64, "stream")),
    };
    let held = Counted(folded.held.len() as u64, "snapshot");
    sentence::add(text, format_args!("{held} held against the fold, the newest of each stream: {found}{none}"));
    for held in differ {
        let folded =
            held.folded.map_or_else(|| "no commit ends there".to_owned(), |digest| format!("folded {}", short(digest)));
        let kept = &held.kept;
        let place = format!("{} version {} (seq {})", kept.stream, kept.version, held.seq);
        sentence::add(text, format_args!("  {}: kept {}, {folded}", styled(BAD, place), short(kept.digest)));
    }
}

fn as_json(folded: &Folded, against: bool, seconds: f64) -> Value {
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
    let held = against.then(|| {
        let held = folded.held.iter().map(|held| {
            let kept = &held.kept;
            json!({
                "stream": kept.stream, "version": kept.version, "seq": held.seq,
                "kept": kept.digest, "folded": held.folded, "agrees": held.agrees(),
            })
        });
        json!({
            "held": held.collect::<Vec<_>>(),
            "without": without(folded),
            "differ": folded.held.iter().filter(|held| !held.agrees()).count(),
        })
    });
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
        "against_snapshots": held,
        "threads": folded.threads,
        "seconds": seconds,
    })
}
