//! `ephor step`: a view of one strategy to go through, event by event, forwards and backwards.

mod draw;
mod fields;
mod model;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ephor_events::{Seq, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Timestamp;
use ephor_replay::ReplayError;
use ephor_replay::at::Point;
use ephor_replay::timeline::Timeline;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::audit::bar;
use super::events::moment;
use super::print::time;
use super::{CliError, Exit, Global, sentence};
use crate::screen::{Screen, give_back};
use crate::store;
use draw::{Places, Row, View};
use model::{Model, Wish};

/// Go through a strategy's events on the terminal, forwards and backwards, with the state beside them
#[derive(clap::Args)]
#[command(
    // `--version N` is a point here; the program's own version is `ephor --version`.
    disable_version_flag = true,
    after_help = "Example: ephor step EMAX-GBPUSD-M5-001 --at 2012-02-20    (? shows the keys, q quits)"
)]
pub(super) struct Args {
    /// The strategy
    #[arg(value_name = "STRATEGY")]
    strategy: StrategyId,
    /// Begin at what was known at this time, UTC where no zone is given
    #[arg(long, value_name = "TIME", value_parser = moment, group = "point")]
    at: Option<Timestamp>,
    /// Begin at this event of the whole log
    #[arg(long, value_name = "N", group = "point")]
    seq: Option<u64>,
    /// Begin at this event of the strategy's own
    #[arg(long, value_name = "N", group = "point")]
    version: Option<u64>,
}

/// How long to wait for a key before looking whether the program is to end.
const WAIT: Duration = Duration::from_millis(100);

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let id = &args.strategy;
    if global.json {
        return Err(CliError::usage(format!(
            "`ephor step` is a view for a terminal and has no JSON: `ephor history {id} --all --json` gives the events, \
             `ephor state {id} --version N --json` the state after each"
        )));
    }
    let opened = store::open_reader(global)?;
    let point = match (args.at, args.seq, args.version) {
        (Some(at), _, _) => Point::Time(at),
        (None, Some(seq), _) => Point::Seq(Seq(seq)),
        (None, None, Some(version)) => Point::Version(Version(version)),
        (None, None, None) => Point::Now,
    };
    ephor_replay::at::known(&opened.reader, id)?;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CliError::usage(format!(
            "`ephor step` needs a terminal to draw on and to read keys from: `ephor history {id} --all` prints the \
             same events"
        )));
    }
    let mut timeline = Timeline::open(&opened.reader, id, &mut bar("going along the events"))?;
    let at = timeline.version_at(point)?;
    let mut model = Model::new(timeline.index(), at);
    let stop = stop_on_signal();
    let colours = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let mut screen = Screen::open().map_err(CliError::Output)?;
    let ended = scrub(&mut screen, &mut timeline, &mut model, id, &stop, colours);
    drop(screen);
    ended
}

/// Draws, waits for a key, does what it asks for, until it asks for the end.
fn scrub(
    screen: &mut Screen,
    timeline: &mut Timeline,
    model: &mut Model,
    id: &StrategyId,
    stop: &AtomicBool,
    colours: bool,
) -> Result<Exit, CliError> {
    loop {
        picture(screen, timeline, model, id, colours)?;
        while !event::poll(WAIT).map_err(CliError::Output)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(Exit::Interrupted);
            }
        }
        // Keys that have come in meanwhile are one step to the eye.
        while event::poll(Duration::ZERO).map_err(CliError::Output)? {
            let Event::Key(key) = event::read().map_err(CliError::Output)? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match model.press(key, timeline.index()) {
                Wish::Draw => {}
                Wish::Quit => return Ok(Exit::Done),
                Wish::Find(text) => match found(timeline, text.trim()) {
                    Ok(version) => model.go(version),
                    Err(Miss::Said(said)) => model.said = Some(said),
                    Err(Miss::Broken(error)) => return Err(error.into()),
                },
            }
        }
    }
}

/// Why a place was not found.
enum Miss {
    /// There is no such place, in a sentence.
    Said(String),
    /// The log could not be read.
    Broken(ReplayError),
}

/// The version that a person means.
fn found(timeline: &Timeline, text: &str) -> Result<Version, Miss> {
    let number = |digits: &str| digits.parse().map_err(|_| Miss::Said(format!("{digits} is not a number")));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let version = text.strip_prefix(['v', 'V']).map(str::trim).filter(|rest| is_number(rest));
    let point = match version {
        Some(digits) => Point::Version(Version(number(digits)?)),
        None if is_number(text) => Point::Seq(Seq(number(text)?)),
        None => Point::Time(moment(text).map_err(Miss::Said)?),
    };
    timeline
        .version_at(point)
        .map_err(|error| if error.is_callers() { Miss::Said(error.to_string()) } else { Miss::Broken(error) })
}

fn picture(
    screen: &mut Screen,
    timeline: &mut Timeline,
    model: &mut Model,
    id: &StrategyId,
    colours: bool,
) -> Result<(), CliError> {
    let (columns, lines) = Screen::size().map_err(CliError::Output)?;
    let Some(places) = Places::of(columns, lines) else {
        return screen.draw(draw::too_small).map_err(CliError::Output);
    };
    model.page = places.events();
    let at = model.at();
    let mut rows = Vec::new();
    let mut name = "";
    for version in model.rows(places.events()) {
        let Some(envelope) = timeline.event(version)? else { continue };
        let here = version == at;
        if here {
            name = envelope.event.name();
        }
        rows.push(Row {
            seq: envelope.seq.0,
            at: time(envelope.recorded_at),
            sentence: sentence::of(&envelope.event),
            style: sentence::style(&envelope.event),
            here,
        });
    }
    let before = timeline.state(Version(at.0.saturating_sub(1)))?;
    let after = timeline.state(at)?;
    let fields = fields::compared(&before, &after);
    let index = timeline.index();
    let (figures, figures_here) = index.around(at, places.figures());
    let filtered = model.types().map(|types| {
        let (place, count) = model.place();
        let names: Vec<&str> = types.iter().copied().collect();
        (place, count, if names.len() == 1 { names.concat() } else { format!("events of {} types", names.len()) })
    });
    let view = View {
        strategy: id.as_str(),
        level: after.maturity.level.as_str(),
        version: at.0,
        last: index.last().0,
        filtered,
        name,
        rows: &rows,
        fields: &fields,
        figures,
        figures_here,
        over: &model.over,
        said: model.said.as_deref(),
        colours,
    };
    screen
        .draw(|frame| {
            let area = frame.area();
            // The terminal may have changed its size since it was asked.
            match Places::of(area.width, area.height) {
                Some(places) => draw::view(frame, &view, &places),
                None => draw::too_small(frame),
            }
        })
        .map_err(CliError::Output)
}

/// Whether the system has asked the program to end, from here on. In raw mode ctrl-C is a key, not a signal.
fn stop_on_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    if let Err(error) = listen(&stop) {
        tracing::warn!(%error, "a signal will end the view without giving the terminal back");
    }
    stop
}

/// Waits until there is no terminal any more: not everyone who starts a program lets it hear of that.
#[cfg(unix)]
async fn gone() {
    while io::stdin().is_terminal() {
        tokio::time::sleep(10 * WAIT).await;
    }
}

/// Listens before it returns: a signal that comes while the terminal is being taken over is not missed.
#[cfg(unix)]
fn listen(stop: &Arc<AtomicBool>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let [mut terminate, mut hangup, mut interrupt] = {
        let _entered = runtime.enter();
        [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?]
    };
    let stop = Arc::clone(stop);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
                () = gone() => {}
            }
            stop.store(true, Ordering::Relaxed);
            // Where the terminal itself has gone away, waiting for a key never comes back to look.
            tokio::time::sleep(10 * WAIT).await;
            give_back();
            std::process::exit(Exit::Interrupted.code().into());
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
