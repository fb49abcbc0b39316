//! `ephor audit`: every decision made again and compared with what was recorded.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Instant;

use ephor_events::Seq;
use ephor_governance::ids::StrategyId;
use ephor_replay::Progress;
use ephor_replay::audit::{self, Difference, Mismatch, Report, Rules, Scope};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::events::Place;
use super::print::{self, BAD, Counted, GOOD, grouped, styled, time};
use super::{CliError, Exit, Global, sentence};
use crate::store;

/// Derive every decision and follow-up event again and compare; exit code 1 where one differs
#[derive(clap::Args)]
#[command(after_help = "Example: ephor audit --strategy EMAX-GBPUSD-M5-001 --from 2012-02-20")]
pub(super) struct Args {
    /// Judge only this strategy
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<StrategyId>,
    /// Judge from this seq or time on; what is before is still folded
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<Place>,
    /// Judge up to this seq or time
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Place>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let reader = &opened.reader;
    let from = args.from.map(|place| place.first(reader)).transpose()?;
    let to = args.to.map(|place| place.last(reader)).transpose()?;
    let last = reader.head().seq;
    if from.is_some_and(|from| from > last || to.is_some_and(|to| from > to)) {
        return Err(CliError::usage(format!(
            "there is nothing to audit between --from and --to: the log ends at seq {last}"
        )));
    }
    let scope = Scope { strategy: args.strategy.clone(), from, to };
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    let began = Instant::now();
    let report = audit::audit(reader, &scope, &Rules::default(), threads, &mut bar("deciding again"))?;
    let seconds = began.elapsed().as_secs_f64();
    if global.json {
        let mut value = json!(report);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("seconds".to_owned(), json!(seconds));
        }
        print::json(&value)?;
    } else {
        print::out(said(&report, seconds))?;
    }
    Ok(if report.differ == 0 { Exit::Done } else { Exit::Found })
}

fn said(report: &Report, seconds: f64) -> String {
    let differ = if report.differ == 0 {
        styled(GOOD, "0 differ")
    } else {
        styled(BAD, format!("{} differ", grouped(report.differ)))
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = if seconds > 0.0 { report.decisions as f64 / seconds } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people, not negative")]
    let rate = rate as u64;
    let mut text = format!(
        "{} re-derived, {} derived, {differ}, in {seconds:.2} s ({}/s)\n",
        Counted(report.decisions, "decision"),
        Counted(report.follow_ups, "follow-up event"),
        Counted(rate, "decision"),
    );
    let Some(first) = &report.first else { return text };
    text.push_str(&difference(first));
    let others: Vec<String> = report.differing.iter().skip(1).take(10).map(Seq::to_string).collect();
    if !others.is_empty() {
        let more = report.differ.saturating_sub(1 + others.len() as u64);
        let more = if more > 0 { format!(" and {} more", grouped(more)) } else { String::new() };
        sentence::add(&mut text, format_args!("also different: seq {}{more}", others.join(", ")));
    }
    text
}

fn difference(first: &Difference) -> String {
    let what = match &first.mismatch {
        Mismatch::Event { recorded, derived } if recorded == derived => {
            format!("{recorded} was recorded with other content than the rules give")
        }
        Mismatch::Event { recorded, derived } => format!("{recorded} was recorded where the rules give {derived}"),
        Mismatch::NotDerived { recorded } => format!("{recorded} was recorded, but does not follow"),
        Mismatch::NotRecorded { derived } => format!("{derived} follows, but was not recorded"),
        Mismatch::NoCommand => "no command gives these events".to_owned(),
        Mismatch::Refused { rejection } => format!("the rules refuse the command behind it: {rejection}"),
        Mismatch::SystemUnknown { newest } => {
            format!("it stands on system version {}, but there were only {newest}", first.system)
        }
        Mismatch::SystemWentBack { before } => {
            format!("it stands on system version {}, older than the {before} before it", first.system)
        }
    };
    let mut text = format!(
        "{}: seq {} ({} version {}, recorded {}): {what}\n",
        styled(BAD.bold(), "first difference"),
        first.seq,
        first.stream,
        first.version,
        time(first.recorded_at)
    );
    let pairs = first.recorded.len().max(first.derived.len());
    for place in 0..pairs {
        let (recorded, derived) = (first.recorded.get(place), first.derived.get(place));
        if recorded == derived {
            continue;
        }
        for (name, value) in [("recorded", recorded), ("derived", derived)] {
            let value = value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            sentence::add(&mut text, format_args!("  {name:<9} {value}"));
        }
    }
    text
}

/// A bar over events, on standard error where that is a terminal.
pub(super) fn bar(doing: &'static str) -> impl FnMut(Progress) {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
    let template = "{msg} {wide_bar} {human_pos}/{human_len} events  {per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(doing);
    move |progress| {
        bar.set_length(progress.total.0);
        bar.set_position(progress.done.0);
        if progress.done >= progress.total {
            bar.finish_and_clear();
        }
    }
}
