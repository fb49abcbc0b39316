//! `ephor diff`: what changed in a strategy between two moments, and the events that changed it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use ephor_events::{Seq, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::verdict::Action;
use ephor_replay::at::Point;
use ephor_replay::diff::{self, Cause, Change, Diff, End, Field};
use serde_json::{Value, json};

use super::events::moment;
use super::print::{self, BOLD, Counted, DIM, LEFT, grouped, styled, time};
use super::sentence::{self, figure};
use super::{CliError, Exit, Global};
use crate::store;

/// Show what changed in a strategy, or in `system`, between two moments, and which events changed it
#[derive(clap::Args)]
#[command(
    after_help = "A moment is `start`, `now`, `seq:N` (after that event of the whole log), `v:N` (after that event \
    of the strategy's own), or a time, UTC where no zone is given; a number alone is a seq.\n\n\
    Example: ephor diff EMAX-GBPUSD-M5-001 --from 2012-02-15 --to seq:258"
)]
pub(super) struct Args {
    /// The strategy, or `system`
    #[arg(value_name = "STRATEGY")]
    strategy: String,
    /// The earlier moment
    #[arg(long, value_name = "MOMENT", default_value = "start")]
    from: Edge,
    /// The later moment
    #[arg(long, value_name = "MOMENT", default_value = "now")]
    to: Edge,
    /// Show up to a hundred events a field, not only the newest three
    #[arg(long)]
    all: bool,
}

/// A moment as people name it.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Start,
    At(Point),
}

impl FromStr for Edge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            |digits: &str| digits.parse::<u64>().map_err(|_| format!("{digits:?} is no number: write seq:120 or v:12"));
        let lower = text.to_ascii_lowercase();
        let point = match lower.split_once(':') {
            None if lower == "start" => return Ok(Self::Start),
            None if lower == "now" => Point::Now,
            None if !lower.is_empty() && lower.bytes().all(|byte| byte.is_ascii_digit()) => {
                Point::Seq(Seq(number(&lower)?))
            }
            Some(("seq", digits)) => Point::Seq(Seq(number(digits)?)),
            Some(("v" | "version", digits)) => Point::Version(Version(number(digits)?)),
            None | Some(_) => Point::Time(moment(text).map_err(|said| format!("{said}; or start, now, seq:N, v:N"))?),
        };
        Ok(Self::At(point))
    }
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let (reader, keyframes) = (&opened.reader, opened.keyframes.as_ref());
    let from = match args.from {
        Edge::Start => None,
        Edge::At(point) => Some(point),
    };
    let Edge::At(to) = args.to else {
        return Err(CliError::usage("nothing is before the start: give --to as now, seq:N, v:N or a time"));
    };
    let diff = if args.strategy == "system" {
        diff::system(reader, keyframes, from, to)?
    } else {
        let id: StrategyId = args.strategy.parse().map_err(|error| CliError::usage(format!("{error}")))?;
        diff::strategy(reader, keyframes, &id, from, to)?
    };
    if global.json {
        print::json(&as_json(&diff))?;
    } else {
        print::out(said(&diff, args.all))?;
    }
    Ok(Exit::Done)
}

fn place(end: &End) -> String {
    if end.version.0 == 0 {
        "the start".to_owned()
    } else {
        format!("version {} (seq {}, {})", end.version, end.seq, time(end.recorded_at))
    }
}

fn said(diff: &Diff, all: bool) -> String {
    let mut text = format!("{} from {} to {}\n", styled(BOLD, &diff.stream), place(&diff.from), place(&diff.to));
    let events = Counted(diff.events(), "event");
    if diff.fields.is_empty() {
        sentence::add(&mut text, format_args!("nothing differs; {events} in between"));
        return text;
    }
    let fields = match diff.fields.len() {
        1 => "1 field differs".to_owned(),
        several => format!("{} differ", Counted(several as u64, "field")),
    };
    sentence::add(&mut text, format_args!("{fields}; {events} in between\n"));
    let mut shown: BTreeMap<Seq, &Cause> = BTreeMap::new();
    let mut table = print::table(&[("FIELD", LEFT), ("CHANGE", LEFT), ("BY SEQ", LEFT)]);
    for field in &diff.fields {
        let causes = newest(field, all);
        shown.extend(causes.iter().map(|cause| (cause.seq, &**cause)));
        table.add_row([name(field), change(&field.change), by(field, causes)]);
    }
    text.push_str(&print::rows(&table));
    text.push('\n');
    for (seq, Cause { recorded_at, event, .. }) in shown {
        let place = styled(DIM, format_args!("{seq:>8}  {}", time(*recorded_at)));
        sentence::add(&mut text, format_args!("{place}  {}", styled(sentence::style(event), sentence::of(event))));
    }
    text
}

/// The newest few of the events that changed a field.
fn newest(field: &Field, all: bool) -> &[Arc<Cause>] {
    const FEW: usize = 3;
    let hidden = if all { 0 } else { field.causes.len().saturating_sub(FEW) };
    field.causes.get(hidden..).unwrap_or_default()
}

/// Their seqs, and how many there are before them.
fn by(field: &Field, newest: &[Arc<Cause>]) -> String {
    let seqs: Vec<String> = newest.iter().map(|cause| cause.seq.to_string()).collect();
    let earlier = field.events - newest.len() as u64;
    let earlier = if earlier > 0 { format!("{} earlier, ", grouped(earlier)) } else { String::new() };
    format!("{earlier}{}", seqs.join(", "))
}

/// The field's place; a count of decisions also by what was decided.
fn name(field: &Field) -> String {
    let path = field.path.to_string();
    let action = Action::ALL.iter().enumerate().find(|(index, _)| path == format!("totals.decisions[{index}]"));
    action.map_or(path.clone(), |(_, action)| format!("{path} ({})", action.as_str()))
}

fn change(change: &Change) -> String {
    match change {
        Change::Set { before: Some(Value::Number(before)), after: Some(Value::Number(after)) }
            if before.is_f64() && after.is_f64() =>
        {
            let (old, new) = [before, after].map(|number| figure(number.as_f64().unwrap_or_default())).into();
            // Digits that would hide the difference are no help.
            if old == new { format!("{before} -> {after}") } else { format!("{old} -> {new}") }
        }
        Change::Set { before, after } => format!("{} -> {}", value(before.as_ref()), value(after.as_ref())),
        Change::Slid { removed, added } => {
            let gone = if removed.is_empty() { String::new() } else { format!(", -{}", removed.len()) };
            let came = Counted(added.len() as u64, "entrie").to_string().replace("1 entrie", "1 entry");
            let newest = added.last().map_or_else(String::new, |entry| format!("; the last {}", value(Some(entry))));
            if added.is_empty() { format!("-{} at the front", removed.len()) } else { format!("+{came}{gone}{newest}") }
        }
    }
}

/// A value on one line: what is long is cut.
fn value(value: Option<&Value>) -> String {
    const WIDTH: usize = 48;
    let text = match value {
        None => return "not there".to_owned(),
        Some(Value::Null) => return "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut cut: String = text.chars().take(WIDTH).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

fn end_json(end: &End) -> Value {
    let begun = end.version.0 > 0;
    json!({ "version": end.version, "seq": end.seq, "recorded_at": begun.then_some(end.recorded_at) })
}

fn as_json(diff: &Diff) -> Value {
    let fields = diff.fields.iter().map(|field| {
        let causes = field.causes.iter().map(|cause| {
            json!({
                "seq": cause.seq, "version": cause.version, "recorded_at": cause.recorded_at,
                "type": cause.event.name(), "said": sentence::of(&cause.event),
            })
        });
        let mut value = match &field.change {
            // A field that is not there is null here, as one that is there and empty: `change` tells them apart.
            Change::Set { before, after } => {
                let change = match (before, after) {
                    (None, _) => "added",
                    (_, None) => "removed",
                    (Some(_), Some(_)) => "set",
                };
                json!({ "path": field.path, "change": change, "before": before, "after": after })
            }
            Change::Slid { removed, added } => {
                json!({ "path": field.path, "change": "slid", "removed": removed, "added": added })
            }
        };
        if let Some(object) = value.as_object_mut() {
            object.insert("events".to_owned(), json!(field.events));
            object.insert("newest_events".to_owned(), causes.collect());
        }
        value
    });
    json!({
        "stream": diff.stream,
        "from": end_json(&diff.from),
        "to": end_json(&diff.to),
        "events": diff.events(),
        "fields": fields.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::Edge;

    #[test]
    fn a_moment_is_read_as_it_is_meant() {
        let read = |text: &str| text.parse::<Edge>().map(|edge| format!("{edge:?}"));
        assert_eq!(read("seq:12"), read("12"));
        assert_eq!(read("v:12"), read("version:12"));
        assert_eq!(read("Start"), Ok("Start".to_owned()));
        assert_eq!(read("now"), Ok("At(Now)".to_owned()));
        assert!(read("2012-02-15 14:30").is_ok_and(|text| text.starts_with("At(Time(")));
        assert!(read("v:x").is_err_and(|said| said.contains("v:12")));
        assert!(read("yesterday").is_err_and(|said| said.contains("seq:N")));
    }
}
