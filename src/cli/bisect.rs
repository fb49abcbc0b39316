//! `ephor bisect`: the first event of a strategy at which a condition holds.

use ephor_events::{Seq, StreamId, Version};
use ephor_governance::ids::StrategyId;
use ephor_replay::at;
use ephor_replay::bisect::{Answer, Condition, Occurrence, Question, SPANS_MAX, Seen, Span, VARIABLES, Wanted, bisect};
use serde_json::{Value, json};

use super::audit::bar;
use super::events::Place;
use super::print::{self, BOLD, Counted, DIM, LEFT, WARN, grouped, styled, time};
use super::sentence::{self, figure};
use super::{CliError, Exit, Global};
use crate::store;

/// Find the first event of a strategy at which a condition holds; exit code 1 where it never does
///
/// The condition is an expression of the Common Expression Language (CEL) over the whole state, asked after every
/// event: not by halving, because it may hold, cease and hold again. `--vars` lists what it can read.
#[derive(clap::Args)]
#[command(after_help = "With --json, found is a list of spans: seq, version, recorded_at, type and said of the event \
                        that made the condition hold (null where it held already before the first event asked about), \
                        readings, until.\n\n\
                        Example: ephor bisect EMAX-GBPUSD-M5-001 'health.score < 0.5 && level == \"L1_paper\"'")]
pub(super) struct Args {
    /// The strategy
    #[arg(value_name = "STRATEGY", required_unless_present = "vars")]
    strategy: Option<StrategyId>,
    /// What must hold
    #[arg(value_name = "CONDITION", required_unless_present = "vars")]
    condition: Option<String>,
    /// From this seq or time on
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<Place>,
    /// Up to this seq or time
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Place>,
    /// The last time it came to hold, not the first
    #[arg(long, conflicts_with = "all")]
    last: bool,
    /// Every time it came to hold, and when it ceased
    #[arg(long)]
    all: bool,
    /// List what a condition can read
    #[arg(long)]
    vars: bool,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let (Some(id), Some(text), false) = (&args.strategy, &args.condition, args.vars) else {
        return variables(global);
    };
    let condition = Condition::parse(text).map_err(|error| CliError::usage(error.to_string()))?;
    let opened = store::open_reader(global)?;
    let reader = &opened.reader;
    at::known(reader, id)?;
    let stream = StreamId::new(id.as_str());
    let last = reader.version_of(&stream);
    let first_at = |place: Place| {
        Ok::<_, CliError>(Version(at::version_at(reader, &stream, Seq(place.first(reader)?.0 - 1))?.0 + 1))
    };
    let last_at = |place: Place| Ok::<_, CliError>(at::version_at(reader, &stream, place.last(reader)?)?);
    let from = args.from.map(first_at).transpose()?;
    let to = args.to.map(last_at).transpose()?;
    if from.unwrap_or(Version(1)) > to.unwrap_or(last) {
        let (first, last) = (at::place_of(reader, &stream, Version(1))?, at::place_of(reader, &stream, last)?);
        return Err(CliError::usage(format!(
            "{id} has no event between --from and --to: its first is seq {} ({}), its last seq {} ({})",
            first.0, first.1, last.0, last.1
        )));
    }
    let wanted = match (args.last, args.all) {
        (true, _) => Wanted::Last,
        (false, true) => Wanted::All,
        (false, false) => Wanted::First,
    };
    let question = Question { condition: &condition, from, to, wanted };
    let answer = bisect(reader, opened.keyframes.as_ref(), id, &question, &mut bar("asking"))?;
    if global.json {
        print::json(&as_json(&answer, &condition))?;
    } else {
        print::out(said(&answer, &condition, wanted))?;
    }
    Ok(if answer.times == 0 { Exit::Found } else { Exit::Done })
}

fn variables(global: &Global) -> Result<Exit, CliError> {
    if global.json {
        print::json(&VARIABLES)?;
        return Ok(Exit::Done);
    }
    let mut table = print::table(&[("FIELD", LEFT), ("IS A", LEFT), ("WHAT IT SAYS", LEFT)]);
    for variable in VARIABLES {
        table.add_row([variable.name, variable.kind, variable.what]);
    }
    let mut text = print::rows(&table);
    text.push_str(
        "\nAmounts are numbers here. A time is a text: compare it as time(recorded_at) > time(\"2012-02-20\").\n\
         Whole and fractional numbers mix only in comparisons: write 100.0, or double(trades), to calculate.\n\
         A name that is no word is written in brackets: positions[\"GBP/USD.SIM\"] > 0.\n\
         has(pauses.drift) asks whether a field is there; outcomes.exists(o, o.pnl < -100.0) asks a list.\n",
    );
    print::out(text)?;
    Ok(Exit::Done)
}

const HELD_BEFORE: &str = "it held already before the first event asked about";

fn said(answer: &Answer, condition: &Condition, wanted: Wanted) -> String {
    let mut text = format!("{}: {}\n", styled(BOLD, &answer.stream), condition.text());
    let asked = Counted(answer.events, "event");
    if answer.times == 0 {
        sentence::add(&mut text, format_args!("never held in {asked}"));
        for seen in &answer.seen {
            sentence::add(&mut text, format_args!("  {:<24} {}", seen.field, went_through(seen)));
        }
    } else if wanted != Wanted::First {
        let shown = answer.spans.len() as u64;
        let shown = if wanted == Wanted::All && shown < answer.times {
            format!(", the first {} shown", grouped(SPANS_MAX as u64))
        } else {
            String::new()
        };
        sentence::add(&mut text, format_args!("came to hold {} in {asked}{shown}", Counted(answer.times, "time")));
    }
    if answer.held_before && answer.spans.iter().all(|span| span.begins.is_some()) {
        sentence::add(&mut text, styled(WARN, HELD_BEFORE));
    }
    if answer.unanswered > 0 {
        let unanswered = Counted(answer.unanswered, "event");
        sentence::add(&mut text, styled(DIM, format_args!("no answer after {unanswered}: a field was not there")));
    }
    for span in &answer.spans {
        add_span(&mut text, span, wanted);
    }
    let stream = &answer.stream;
    match answer.spans.first().map(|span| &span.begins) {
        Some(Some(Occurrence { seq, .. })) => {
            sentence::add(&mut text, styled(DIM, format_args!("\nephor why {seq}; ephor state {stream} --seq {seq}")));
        }
        Some(None) if wanted == Wanted::First => {
            let hint = "\n--all says when it ceased and came to hold again; without --from, what made it hold";
            sentence::add(&mut text, styled(DIM, hint));
        }
        Some(None) | None => {}
    }
    text
}

fn line(happened: &Occurrence) -> String {
    let Occurrence { seq, version, recorded_at, event } = happened;
    let place = format!("seq {seq} (version {version}), {}", time(*recorded_at));
    format!("{place}  {}  {}", event.name(), styled(sentence::style(event), sentence::of(event)))
}

fn add_span(text: &mut String, span: &Span, wanted: Wanted) {
    match &span.begins {
        Some(begins) => sentence::add(text, format_args!("\nholds after {}", line(begins))),
        None => sentence::add(text, format_args!("\n{}", styled(WARN, HELD_BEFORE))),
    }
    for reading in &span.readings {
        let (before, after) = (value(reading.before.as_ref()), value(reading.after.as_ref()));
        let change = if before == after { after } else { format!("{before} -> {after}") };
        sentence::add(text, format_args!("  {:<24} {change}", reading.field));
    }
    match &span.ends {
        Some(ends) => sentence::add(text, format_args!("until {}", line(ends))),
        None if wanted == Wanted::First => {}
        None => sentence::add(text, "until the last event asked about"),
    }
}

fn value(value: Option<&Value>) -> String {
    const WIDTH: usize = 60;
    match value {
        None | Some(Value::Null) => "not there".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_f64() => self::number(number.as_f64().unwrap_or_default()),
        Some(other) => {
            let text = other.to_string();
            let cut: String = text.chars().take(WIDTH).collect();
            if cut.len() < text.len() { format!("{cut}…") } else { cut }
        }
    }
}

fn went_through(seen: &Seen) -> String {
    let range = seen.range.map(|(low, high)| {
        if low < high {
            format!("went from {} to {}", number(low), number(high))
        } else {
            format!("was {}", number(low))
        }
    });
    let values: Vec<&str> = seen.values.iter().map(String::as_str).collect();
    let values = (!values.is_empty()).then(|| format!("was {}", values.join(", ")));
    range.or(values).unwrap_or_else(|| "has no one value to show".to_owned())
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value}") } else { figure(value) }
}

fn place(happened: &Occurrence) -> Value {
    json!({
        "seq": happened.seq, "version": happened.version, "recorded_at": happened.recorded_at,
        "type": happened.event.name(), "said": sentence::of(&happened.event),
    })
}

fn as_json(answer: &Answer, condition: &Condition) -> Value {
    let found = answer.spans.iter().map(|span| {
        let mut value = span.begins.as_ref().map_or_else(
            || json!({ "seq": null, "version": null, "recorded_at": null, "type": null, "said": null }),
            place,
        );
        if let Some(fields) = value.as_object_mut() {
            fields.insert("readings".to_owned(), json!(span.readings));
            fields.insert("until".to_owned(), json!(span.ends.as_ref().map(place)));
        }
        value
    });
    json!({
        "strategy": answer.stream,
        "condition": condition.text(),
        "events": answer.events,
        "unanswered": answer.unanswered,
        "held_before": answer.held_before,
        "times": answer.times,
        "found": found.collect::<Vec<_>>(),
        "seen": answer.seen,
    })
}
