//! `ephor snapshots`: the states kept beside the log: what there is, whether it is right, and all of it anew.
//!
//! They save time and are never trusted over the log, so nothing here can lose anything but time.

use std::time::Instant;

use clap::Subcommand;
use comfy_table::{Cell, Color};
use ephor_replay::keyframes::{self, Checked, Rebuilt, Verdict};
use ephor_snapshots::{Ignored, Kept, Keyframes, Misfit};
use serde_json::{Map, Value, json};

use super::audit::bar;
use super::print::{self, BAD, Counted, GOOD, LEFT, RIGHT, WARN, grouped, styled, time};
use super::{CliError, Exit, Global, sentence};
use crate::store::{self, OpenedReader};

/// List, check and rebuild the keyframes: states kept beside the log, so that it need not be folded again
#[derive(clap::Args)]
#[command(
    after_help = "A keyframe that does not fit (damaged, folded by other rules, ahead of the log, of another log, of \
                        another program) is ignored: the state is folded from an older one, or from the first event.\n\n\
                        Example: ephor snapshots verify --data ./ephor-data"
)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    List(List),
    Verify(Verify),
    Rebuild(Rebuild),
}

/// List the keyframes: whose, where in the log, how large, and whether each fits
#[derive(clap::Args)]
#[command(after_help = "With --json, an object: keyframes (stream, version, seq, recorded_at, commit, bytes, digest, \
                        misfit; null where the bytes do not say), bytes, misfits by kind.\n\n\
                        Example: ephor snapshots list --strategy EMAX-GBPUSD-M5-001")]
struct List {
    /// Only those of this strategy, or of `system`
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<String>,
}

/// Fold the log from its first event and compare at every keyframe; exit code 1 where one differs or is damaged
#[derive(clap::Args)]
#[command(after_help = "With --json, an object: keyframes as `list` has them with a verdict (same, differs, ignored; \
                        folded and held are digests where it differs), same, differ, misfits by kind, seconds.\n\n\
                        Example: ephor snapshots verify")]
struct Verify {}

/// Remove all keyframes and make them anew, in one pass over the log
#[derive(clap::Args)]
#[command(
    after_help = "What to do after an update that changed the rules. `[snapshots] every = 1000` in ephor.toml says \
                        how many events of a strategy lie between two.\n\n\
                        Example: ephor snapshots rebuild"
)]
struct Rebuild {}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let kept = keyframes_of(global, &opened)?;
    match &args.act {
        Act::List(list) => listed(global, &opened, kept, list),
        Act::Verify(Verify {}) => verified(global, &opened, kept),
        Act::Rebuild(Rebuild {}) => rebuilt(global, &opened, kept),
    }
}

/// The keyframes, which one process at a time can have.
///
/// # Errors
/// [`CliError::Usage`], with what keeps them from being opened.
pub(super) fn keyframes_of<'a>(global: &Global, opened: &'a OpenedReader) -> Result<&'a Keyframes, CliError> {
    opened.keyframes.as_ref().ok_or_else(|| {
        let dir = global.data.display();
        CliError::usage(if opened.is_shared() {
            format!(
                "the keyframes in {dir} cannot be opened: another process has the log, or the directory cannot be \
                 written; stop that process first, or look at a copy of the directory with --data"
            )
        } else {
            format!("the keyframes in {dir} cannot be opened; without {dir}/derived they are made anew")
        })
    })
}

fn listed(global: &Global, opened: &OpenedReader, keyframes: &Keyframes, list: &List) -> Result<Exit, CliError> {
    let mut all = keyframes.all(&opened.reader).map_err(ephor_replay::ReplayError::from)?;
    if let Some(name) = &list.strategy {
        if name != "system" {
            let id = name.parse().map_err(|error| CliError::usage(format!("{error}")))?;
            ephor_replay::at::known(&opened.reader, &id)?;
        }
        all.retain(|kept| kept.stream.as_str() == name);
    }
    let (bytes, misfits) = (all.iter().map(|kept| kept.bytes as u64).sum::<u64>(), misfits(all.iter()));
    if global.json {
        let rows: Vec<Value> = all.iter().map(|kept| Value::Object(fields(kept))).collect();
        print::json(&json!({ "keyframes": rows, "bytes": bytes, "misfits": misfits }))?;
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        print::out("no keyframes; `ephor snapshots rebuild` makes them\n")?;
        return Ok(Exit::Done);
    }
    let mut table = print::table(&[
        ("STREAM", LEFT),
        ("VERSION", RIGHT),
        ("SEQ", RIGHT),
        ("RECORDED", LEFT),
        ("BYTES", RIGHT),
        ("DIGEST", LEFT),
        ("FITS", LEFT),
    ]);
    for kept in &all {
        let fits = kept.misfit.map_or_else(|| Cell::new("yes"), |misfit| Cell::new(misfit).fg(colour(misfit)));
        table.add_row(row(kept, fits));
    }
    let mut text = print::rows(&table);
    let count = Counted(all.len() as u64, "keyframe");
    sentence::add(&mut text, format_args!("{count}, {} bytes{}", grouped(bytes), ignored(&misfits)));
    print::out(text)?;
    Ok(Exit::Done)
}

fn verified(global: &Global, opened: &OpenedReader, keyframes: &Keyframes) -> Result<Exit, CliError> {
    let began = Instant::now();
    let all = keyframes::verify(&opened.reader, keyframes, &mut bar("folding the log"))?;
    let seconds = began.elapsed().as_secs_f64();
    let ignored_ones = all.iter().filter(|checked| matches!(checked.verdict, Verdict::Ignored(_)));
    let misfits = self::misfits(ignored_ones.map(|checked| &checked.kept));
    let same = all.iter().filter(|checked| checked.verdict == Verdict::Same).count();
    let differ = all.iter().filter(|checked| matches!(checked.verdict, Verdict::Differs { .. })).count();
    if global.json {
        let rows: Vec<Value> = all.iter().map(judged).collect();
        print::json(&json!({
            "keyframes": rows, "same": same, "differ": differ, "misfits": misfits, "seconds": seconds,
        }))?;
    } else {
        print::out(said(&all, same, differ, &misfits, seconds))?;
    }
    Ok(if differ == 0 && misfits.damaged == 0 { Exit::Done } else { Exit::Found })
}

fn said(all: &[Checked], same: usize, differ: usize, misfits: &Ignored, seconds: f64) -> String {
    let mut text = String::new();
    let bad: Vec<&Checked> = all.iter().filter(|checked| checked.verdict != Verdict::Same).collect();
    for checked in bad.iter().take(BAD_SHOWN) {
        let Kept { stream, version, .. } = &checked.kept;
        let what = match checked.verdict {
            Verdict::Same => continue,
            Verdict::Differs { folded, held } => {
                let name = styled(BAD, "differs");
                format!("{name}: it holds {}, its events give {}", short(&held), short(&folded))
            }
            Verdict::Ignored(misfit) => format!("{}: {misfit}", styled(WARN, "ignored")),
        };
        sentence::add(&mut text, format_args!("{stream} version {version} {what}"));
    }
    if bad.len() > BAD_SHOWN {
        sentence::add(&mut text, format_args!("and {} more; --json has all", grouped((bad.len() - BAD_SHOWN) as u64)));
    }
    let differ = match differ {
        0 => styled(GOOD, "0 differ"),
        count => styled(BAD, format!("{} differ", grouped(count as u64))),
    };
    let count = Counted(all.len() as u64, "keyframe");
    let same = grouped(same as u64);
    let ignored = ignored(misfits);
    sentence::add(
        &mut text,
        format_args!("{count}: {same} hold what their events give, {differ}{ignored}, in {seconds:.2} s"),
    );
    if !bad.is_empty() {
        sentence::add(&mut text, format_args!("`ephor snapshots rebuild` makes all of them anew from the log"));
    }
    text
}

/// Bad keyframes that are named one by one.
const BAD_SHOWN: usize = 20;

fn rebuilt(global: &Global, opened: &OpenedReader, keyframes: &Keyframes) -> Result<Exit, CliError> {
    let began = Instant::now();
    let rebuilt = keyframes::rebuild(&opened.reader, keyframes, &mut bar("folding the log"))?;
    let seconds = began.elapsed().as_secs_f64();
    let every = keyframes.spacing().every();
    if global.json {
        let mut value = json!(rebuilt);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("every".to_owned(), json!(every));
            fields.insert("seconds".to_owned(), json!(seconds));
        }
        print::json(&value)?;
        return Ok(Exit::Done);
    }
    let Rebuilt { removed, kept, streams, events } = rebuilt;
    print::out(format_args!(
        "{} of {} made from {}, one every {} of a stream; {} removed before; {seconds:.2} s\n",
        Counted(kept, "keyframe"),
        Counted(streams, "stream"),
        Counted(events, "event"),
        Counted(every, "event"),
        grouped(removed),
    ))?;
    Ok(Exit::Done)
}

fn misfits<'a>(all: impl Iterator<Item = &'a Kept>) -> Ignored {
    let mut misfits = Ignored::default();
    all.filter_map(|kept| kept.misfit).for_each(|misfit| misfits.count(misfit));
    misfits
}

/// How many are ignored and why; nothing where none is.
fn ignored(misfits: &Ignored) -> String {
    if misfits.total() == 0 { String::new() } else { format!(", {} ignored ({misfits})", grouped(misfits.total())) }
}

const fn colour(misfit: Misfit) -> Color {
    match misfit {
        Misfit::Damaged | Misfit::LogUnreadable => Color::Red,
        Misfit::OtherFormat { .. } | Misfit::OtherRules | Misfit::AheadOfLog | Misfit::OtherLog => Color::Yellow,
    }
}

fn row(kept: &Kept, fits: Cell) -> Vec<Cell> {
    let (seq, recorded) = kept
        .ending
        .map_or_else(|| ("-".to_owned(), "-".to_owned()), |ending| (ending.seq.to_string(), time(ending.recorded_at)));
    vec![
        Cell::new(&kept.stream),
        Cell::new(kept.version),
        Cell::new(seq),
        Cell::new(recorded),
        Cell::new(kept.bytes),
        Cell::new(kept.digest.map_or_else(|| "-".to_owned(), |digest| short(&digest))),
        fits,
    ]
}

/// As much of a digest as tells two apart.
fn short(digest: &ephor_snapshots::Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

fn fields(kept: &Kept) -> Map<String, Value> {
    let ending = kept.ending;
    let value = json!({
        "stream": kept.stream,
        "version": kept.version,
        "seq": ending.map(|ending| ending.seq),
        "recorded_at": ending.map(|ending| ending.recorded_at),
        "commit": ending.map(|ending| ending.commit.to_string()),
        "bytes": kept.bytes,
        "digest": kept.digest,
        "misfit": kept.misfit.map(Misfit::name),
    });
    value.as_object().cloned().unwrap_or_default()
}

fn judged(checked: &Checked) -> Value {
    let mut fields = fields(&checked.kept);
    let verdict = match checked.verdict {
        Verdict::Same => "same",
        Verdict::Differs { folded, held } => {
            fields.insert("folded".to_owned(), json!(folded));
            fields.insert("held".to_owned(), json!(held));
            "differs"
        }
        Verdict::Ignored(misfit) => {
            fields.insert("misfit".to_owned(), json!(misfit.name()));
            "ignored"
        }
    };
    fields.insert("verdict".to_owned(), json!(verdict));
    Value::Object(fields)
}
