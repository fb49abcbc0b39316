//! `ephor why`: the causal chain behind a decision, demotion, promotion, pause or kill, as a tree.

mod otherwise;
mod tree;
mod waterfall;

use ephor_events::Seq;
use ephor_events::envelope::Envelope;
use ephor_governance::drift::Band;
use ephor_governance::gate::Decision;
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Amount;
use ephor_replay::why::{Because, Check, Crossing, Fact, Fall, Happening, Run, Said, Target, Why, why};
use ephor_replay::{ReplayError, at};

use super::print::{self, BAD, BOLD, DIM, GOOD, amount, percent, rounded, styled, time};
use super::sentence::{self, action_style, component, figure, scope_name};
use super::{CliError, Exit, Global};
use crate::store;
use tree::Node;

/// Explain a decision, or the last time something happened to a strategy
#[derive(clap::Args)]
#[command(after_help = "Examples: ephor why 4711\n          ephor why EMAX-GBPUSD-M5-001 --last demotion")]
pub(super) struct Args {
    /// A seq, a trace id, the id of an order, signal or trade; with --last a strategy
    #[arg(value_name = "DECISION|STRATEGY")]
    what: String,
    /// The last of these in the strategy's history
    #[arg(long, value_enum, value_name = "WHAT")]
    last: Option<Last>,
    /// Show every trade, not only the first, the last and the largest of many, and every threshold tried
    #[arg(long)]
    all: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Last {
    Demotion,
    Promotion,
    Pause,
    Decision,
    Kill,
}

impl Last {
    const fn happening(self) -> Happening {
        match self {
            Self::Demotion => Happening::Demotion,
            Self::Promotion => Happening::Promotion,
            Self::Pause => Happening::Pause,
            Self::Decision => Happening::Decision,
            Self::Kill => Happening::Kill,
        }
    }
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let target = match args.last {
        Some(last) => {
            let strategy: StrategyId = args.what.parse().map_err(|error| CliError::usage(format!("{error}")))?;
            Target::Last(strategy, last.happening())
        }
        None => match args.what.parse() {
            Ok(seq) => Target::Seq(Seq(seq)),
            Err(_) => Target::Id(args.what.clone()),
        },
    };
    let found = match why(&opened.reader, &target) {
        Err(ReplayError::UnknownId { id })
            if at::known(&opened.reader, &StrategyId::recorded(id.as_str().into())).is_ok() =>
        {
            return Err(CliError::usage(format!(
                "{id} is a strategy: say what about it, `ephor why {id} --last demotion` (or promotion, pause, decision, kill)"
            )));
        }
        found => found?,
    };
    if global.json {
        print::json(&found)?;
    } else {
        print::out(explained(&found, args.all).text())?;
    }
    Ok(Exit::Done)
}

fn explained(why: &Why, all: bool) -> Node {
    let envelope = &why.event.0;
    let style = sentence::style(&envelope.event);
    let mut root =
        Node::new(format!("{} {}", styled(BOLD, &envelope.stream), styled(style, sentence::of(&envelope.event))));
    root.push(Node::new(place(envelope)));
    root.push(numbers(&why.because, all));
    if let Some(otherwise) = &why.otherwise {
        for line in otherwise::lines(otherwise, &why.because, all) {
            root.push(line);
        }
    }
    let mut cause_of = &mut root;
    for cause in &why.causes {
        cause_of = cause_of.push(fact("because of", cause));
    }
    if let Some(standing) = &why.standing {
        let entered = standing.entered.map_or_else(String::new, |seq| format!(", entered at seq {seq}"));
        root.push(Node::new(format!(
            "stood at {}{entered}: {}, health {:.2} (version {})",
            standing.level,
            sentence::record(&standing.evidence),
            standing.health,
            standing.version
        )));
    }
    root.push(Node::new(match &why.policy.adopted {
        Some(adopted) => format!(
            "policy {} in force, adopted at seq {} ({}) by {}: {}",
            why.policy.id,
            adopted.seq,
            time(adopted.at),
            adopted.by,
            adopted.reason
        ),
        None => format!("policy {} in force: the default, nobody has adopted one", why.policy.id),
    }));
    for other in &why.beside {
        root.push(fact("in the same commit", other));
    }
    root
}

fn place(envelope: &Envelope) -> String {
    let trace = if envelope.trace_id.is_empty() { String::new() } else { format!(", trace {}", envelope.trace_id) };
    format!(
        "{} at seq {} (version {}), recorded {}{trace}",
        envelope.event.name(),
        envelope.seq,
        envelope.version,
        time(envelope.recorded_at)
    )
}

fn fact(how: &str, fact: &Fact) -> Node {
    let Envelope { seq, event, occurred_at, .. } = &fact.0;
    let place = styled(DIM, format_args!("(seq {seq}, {})", time(*occurred_at)));
    Node::new(format!("{how} {}: {} {place}", event.name(), sentence::of(event)))
}

fn numbers(because: &Because, all: bool) -> Node {
    match because {
        Because::Demotion { from, to, drawdown, losses, .. } => {
            let mut node = Node::new(format!("the record at {from} was beyond what the level bears: it falls to {to}"));
            if let Some(drawdown) = drawdown {
                node.push(fall(drawdown, all));
            }
            if let Some(losses) = losses {
                node.push(run_of_losses(losses, all));
            }
            node
        }
        Because::Promotion { from, to, checks, .. } => {
            with_checks(Node::new(format!("the record at {from} has earned {to}")), checks)
        }
        Because::LevelSet { to, earned, by, checks, .. } => {
            let earned = if *earned { "the record had earned it" } else { "on their word, not on the record's" };
            with_checks(Node::new(format!("{by} set the level to {to}: {earned}")), checks)
        }
        Because::Pause { by, reason, crossings, .. } => {
            let mut node = Node::new(format!("{by} paused it: {reason}"));
            for one in crossings {
                node.push(crossing(one));
            }
            node
        }
        Because::Drift(one) => crossing(one),
        Because::Decision { decision, said } => verdicts(decision, said),
        Because::Kill { scope, exits_blocked, by, reason, alert, released } => {
            let mut node = Node::new(format!("{by} stopped {}: {reason}", scope_name(scope)));
            let exits = if *exits_blocked { "exits are stopped too" } else { "orders that only reduce still pass" };
            node.push(Node::new(exits.to_owned()));
            if let Some(ephor_governance::canary::Alert::Failed { component, failures, message, .. }) = alert {
                node.push(Node::new(format!("{component} had failed {failures} times in a row: {message}")));
            }
            node.push(Node::new(match released {
                Some(seq) => format!("released at seq {seq}"),
                None => "still engaged".to_owned(),
            }));
            node
        }
        Because::Told => Node::new("it was told to the governor, or follows from what was".to_owned()),
    }
}

fn fall(fall: &Fall, all: bool) -> Node {
    let limit = fall.limit.to_f64() * 100.0;
    let value = fall.drawdown * 100.0;
    let mut node =
        Node::new(styled(BAD, format_args!("drawdown {value:.2} % > {limit:.2} % (maturity.demotion_drawdown)")));
    let equity = amount(fall.peak_equity);
    let from = match &fall.peak_trade {
        Some(step) => format!("peak equity {equity} at trade {}, {}", step.number, time(step.closed_at)),
        None => format!("peak equity {equity}, which it entered the level with"),
    };
    let rescaled = if fall.peak == fall.peak_equity {
        String::new()
    } else {
        format!("; counted as {}, rescaled with the change of capital", readable(fall.peak))
    };
    let mut peak = Node::new(format!("{from}{rescaled}"));
    waterfall::draw(&mut peak, &fall.steps, fall.left_out, Some(fall.peak_equity), all);
    node.push(peak);
    node.push(Node::new(format!("equity at the breach {}", amount(fall.equity))));
    node
}

/// An amount that a division has made, without the digits that nobody reads.
fn readable(exact: Amount) -> String {
    const DIGITS: u32 = 8;
    let short = exact.decimal().round_sf(DIGITS).map_or(exact, Amount::from);
    // The cents of a large amount are more than these digits.
    if exact.abs() < Amount::new(100, 0) { amount(short) } else { rounded(exact) }
}

fn run_of_losses(run: &Run, all: bool) -> Node {
    let mut node = Node::new(styled(
        BAD,
        format_args!("{} losses in a row > {} (maturity.demotion_loss_streak)", run.losses, run.limit),
    ));
    waterfall::draw(&mut node, &run.steps, run.left_out, None, all);
    node
}

fn with_checks(mut node: Node, checks: &[Check]) -> Node {
    for check in checks {
        let value = check.value.map_or_else(|| "without losses".to_owned(), shown);
        let relation = match (check.value.is_none(), check.passes, check.strict) {
            (true, ..) => "passes",
            (false, true, true) => ">",
            (false, true, false) => ">=",
            (false, false, true) => "is not above",
            (false, false, false) => "is below",
        };
        let style = if check.passes { GOOD } else { BAD };
        let text = format!("{value} {relation} {}", amount(check.limit));
        node.push(Node::new(format!("{:<42} {}", check.field, styled(style, text))));
    }
    node
}

/// A count whole, a ratio with its digits.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.4}") }
}

fn crossing(crossing: &Crossing) -> Node {
    let (bound, field) = match crossing.band {
        Band::Pause => (crossing.pause_above_pct, "drift_detector.pause_above_pct"),
        Band::Reduce | Band::Within => (crossing.reduce_above_pct, "drift_detector.reduce_above_pct"),
    };
    let off = crossing.deviation_pct;
    let relation = if off > bound { ">" } else { "is within" };
    let style = if off > bound { BAD } else { GOOD };
    let head = format!("{} {off:.1} % off {relation} {bound} % ({field})", crossing.metric);
    let mut node = Node::new(styled(style, head));
    let interval = crossing
        .interval
        .map_or_else(String::new, |(low, high)| format!(", 95 % interval {} to {}", figure(low), figure(high)));
    node.push(Node::new(format!("live {} over {} trades{interval}", figure(crossing.live), crossing.trades)));
    let seq = crossing.baseline_seq.map_or_else(String::new, |seq| format!(" (seq {seq})"));
    node.push(Node::new(format!("baseline {}{seq}", figure(crossing.baseline))));
    node
}

fn verdicts(decision: &Decision, said: &[Said]) -> Node {
    let size = if decision.action.rejects() {
        "nothing goes out".to_owned()
    } else {
        format!("{} of the order goes out", percent(decision.multiplier.get()))
    };
    let mut node = Node::new(format!(
        "{}: {size}; {} decided",
        styled(action_style(decision.action), decision.action.as_str()),
        component(decision.decided_by)
    ));
    for one in said {
        let verdict = &one.verdict.0;
        let (code, numbers) = sentence::reason(verdict);
        let action = styled(action_style(verdict.action), format_args!("{:<11}", verdict.action.as_str()));
        let decided = if one.decided { styled(BOLD, "  <- decided") } else { String::new() };
        let numbers = if numbers.is_empty() { String::new() } else { format!("  {numbers}") };
        let name = component(verdict.component);
        let mut line =
            Node::new(format!("{name:<11} {action} x{:<5.3} {code}{numbers}{decided}", verdict.multiplier.get()));
        if let Some(source) = one.rests_on.as_ref().filter(|_| one.decided || verdict.action.rejects()) {
            line.push(fact("after", source));
        }
        node.push(line);
    }
    node
}
