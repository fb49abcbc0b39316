//! `ephor strategies`: every strategy, one line each.

use comfy_table::{Cell, Color};
use ephor_governance::drift::Band;
use ephor_governance::event::{PauseCause, Scope};
use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::State;
use ephor_replay::fold::{Stream, fold};
use ephor_replay::{KillView, SystemView, covers};
use serde::Serialize;
use serde_json::{Value, json};

use super::audit::bar;
use super::print::{self, LEFT, RIGHT, percent, time};
use super::sentence::scope_name;
use super::{CliError, Exit, Global};
use crate::store;

/// List the strategies: level, record, health, drift, drawdown, and what stops them
#[derive(clap::Args)]
#[command(after_help = "Example: ephor strategies --data ./ephor-data")]
pub(super) struct Args {}

pub(super) fn run(global: &Global, _args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let folded = fold(&opened.reader, &mut bar("reading the log"))?;
    let system = &SystemView::from(&folded.system.state);
    let strategies = || folded.strategies.iter().filter(|stream| stream.stream.is_strategy());
    if global.json {
        let all: Vec<Value> = strategies().map(|stream| as_json(stream, system)).collect();
        print::json(&all)?;
        return Ok(Exit::Done);
    }
    let mut table = print::table(&[
        ("STRATEGY", LEFT),
        ("LEVEL", LEFT),
        ("SINCE", LEFT),
        ("TRADES", RIGHT),
        ("HEALTH", RIGHT),
        ("DRIFT", LEFT),
        ("DRAWDOWN", RIGHT),
        ("STOPPED BY", LEFT),
        ("LAST EVENT", LEFT),
    ]);
    for stream in strategies() {
        table.add_row(row(stream, system));
    }
    print::out(print::rows(&table))?;
    Ok(Exit::Done)
}

fn row(stream: &Stream<State>, system: &SystemView<'_>) -> Vec<Cell> {
    let state = &stream.state;
    let evidence = &state.maturity.evidence;
    let health = state.health.score;
    let health_colour = if health >= 0.8 {
        Color::Green
    } else if health >= 0.5 {
        Color::Yellow
    } else {
        Color::Red
    };
    let drift: Vec<String> = state.drift.beyond.keys().map(ToString::to_string).collect();
    let paused = state.drift.beyond.values().any(|band| *band == Band::Pause);
    let stopped = stopped(stream, system);
    let listed = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    vec![
        Cell::new(&stream.stream),
        Cell::new(state.maturity.level),
        Cell::new(time(evidence.entered_at)),
        Cell::new(state.totals.trades),
        Cell::new(format!("{health:.2}")).fg(health_colour),
        coloured(Cell::new(listed(&drift)), !drift.is_empty(), if paused { Color::Red } else { Color::Yellow }),
        Cell::new(percent(evidence.drawdown())),
        coloured(Cell::new(listed(&stopped)), !stopped.is_empty(), Color::Red),
        Cell::new(time(stream.recorded_at)),
    ]
}

fn coloured(cell: Cell, wanted: bool, colour: Color) -> Cell {
    if wanted { cell.fg(colour) } else { cell }
}

/// Pauses and kill switches in force.
fn stopped(stream: &Stream<State>, system: &SystemView<'_>) -> Vec<String> {
    let pauses = stream.state.pauses.keys().map(|cause| match cause {
        PauseCause::Operator => "pause".to_owned(),
        PauseCause::Drift => "drift".to_owned(),
    });
    let kills = covering(stream, system).map(|kill| match kill.scope {
        Scope::All => "kill".to_owned(),
        scope @ (Scope::Strategy(_) | Scope::Instrument(_) | Scope::Venue(_)) => {
            format!("kill ({})", scope_name(scope))
        }
    });
    pauses.chain(kills).collect()
}

/// The kill switches engaged that cover a strategy.
fn covering<'a>(stream: &Stream<State>, system: &'a SystemView<'_>) -> impl Iterator<Item = &'a KillView<'a>> {
    let id = StrategyId::recorded(stream.stream.as_str().into());
    let instrument = stream.state.registration.as_ref().and_then(|registration| registration.instrument.clone());
    system.kills.iter().filter(move |kill| covers(kill.scope, &id, instrument.iter()))
}

#[derive(Serialize)]
struct Summary<'a> {
    id: &'a str,
    level: ephor_governance::maturity::Level,
    since: ephor_governance::units::Timestamp,
    trades: u32,
    trades_at_level: u32,
    health: f64,
    drawdown: f64,
    max_drawdown: f64,
    drift: &'a ephor_governance::drift::State,
    pauses: &'a ephor_governance::event::Pauses,
    kills: Vec<&'a KillView<'a>>,
    version: ephor_events::Version,
    last_seq: ephor_events::Seq,
    last_event_at: ephor_governance::units::Timestamp,
    digest: ephor_replay::fold::Digest,
}

fn as_json(stream: &Stream<State>, system: &SystemView<'_>) -> Value {
    let state = &stream.state;
    let evidence = &state.maturity.evidence;
    json!(Summary {
        id: stream.stream.as_str(),
        level: state.maturity.level,
        since: evidence.entered_at,
        trades: state.totals.trades,
        trades_at_level: evidence.trades,
        health: state.health.score,
        drawdown: evidence.drawdown(),
        max_drawdown: state.totals.max_drawdown,
        drift: &state.drift,
        pauses: &state.pauses,
        kills: covering(stream, system).collect(),
        version: stream.version,
        last_seq: stream.seq,
        last_event_at: stream.recorded_at,
        digest: stream.digest,
    })
}
