//! The loop: bar after bar, signal after signal, through the engine and back to the governor.
//!
//! At each bar, in this order: signals that came since the bar before are asked about; the market moves to the bar's
//! opening, where orders that wait are filled, and the fills are reported; the bar is over, and the market stands at
//! its close; rules look at it and wish. A strategy comes under governance at the first bar of its live part, with the
//! metrics of its backtest.

use std::collections::BTreeMap;

use ephor_actors::{Failure, Recorded, Request};
use ephor_events::Seq;
use ephor_governance::drift::Baseline;
use ephor_governance::event::{RecordedBaseline, Registration};
use ephor_governance::ids::{Actor, Currency, SourceId, StrategyId};
use ephor_governance::policy::Policy;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::system;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use smol_str::SmolStr;

use super::Point;
use super::bars::Bar;
use super::desk::Desk;
use super::follow::Follower;
use super::gate::{Backtest, PaperGate, another_run};
use super::measure::backtest;
use super::plan::{Plan, Trader};
use super::signals::Wished;
use crate::cli::CliError;
use crate::operate;
use crate::store::Session;

/// One thing that a run goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A signal from outside.
    Signal(Wished),
    /// A bar of a market, by its place in [`Plan::markets`].
    Bar(usize, Bar),
}

impl Step {
    /// Its own time.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Signal(wished) => wished.at,
            Self::Bar(_, bar) => bar.at,
        }
    }
}

/// What a run goes through, in its order: a signal stands before the first bar that is later than it.
pub trait Inputs {
    /// The next step; `None` at the end, where there is one. May be dropped at any time, and no step is lost by that.
    ///
    /// # Errors
    /// What could not be read, kept or put apart.
    fn next(&mut self) -> impl Future<Output = Result<Option<Step>, CliError>>;

    /// How many bars there are, where that is known.
    fn bars(&self) -> Option<u64>;
}

/// Who looks on.
pub trait Watch {
    /// After each bar; `false` ends the run.
    fn bar(&mut self, seen: &Seen<'_>) -> impl Future<Output = Result<bool, CliError>>;

    /// Comes back when the run is to end while it waits for what comes next.
    fn asked_to_end(&mut self) -> impl Future<Output = Result<(), CliError>>;
}

/// What there is to see after a bar.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The bar's time.
    pub at: Timestamp,
    /// Bars gone through, and how many there are where that is known.
    pub bars: (u64, Option<u64>),
    /// Each strategy, in the order of the plan.
    pub shown: &'a [Shown<'a>],
}

/// A strategy as it stands.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Which.
    pub strategy: &'a StrategyId,
    /// What its money is counted in.
    pub currency: &'a Currency,
    /// What it is worth.
    pub equity: Amount,
    /// How far that is below its highest, a fraction.
    pub drawdown: f64,
    /// What it holds.
    pub position: Amount,
    /// What the gate said last, and why.
    pub last: Option<(Action, &'static str)>,
}

/// A strategy's way through a run.
#[derive(Clone, Debug)]
pub struct Course {
    /// What it was worth after each of its bars.
    pub points: Vec<Point>,
    /// What its backtest promised.
    pub backtest: Baseline,
    /// The highest that it was worth.
    peak: Amount,
}

impl Course {
    /// How far this is below the highest, a fraction.
    fn fall(&self, equity: Amount) -> f64 {
        if self.peak.is_positive() { self.peak.minus(equity).to_f64() / self.peak.to_f64() } else { 0.0 }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whether it went through all that there was.
    pub is_whole: bool,
    /// Bars gone through, and how many there are where that is known.
    pub bars: (u64, Option<u64>),
    /// Signals given to the engine.
    pub signals: u64,
    /// The first and the last bar gone through.
    pub period: Option<(Timestamp, Timestamp)>,
    /// Where this run begins in the log, whether it was recorded now or before.
    pub first_seq: Option<Seq>,
    /// Each strategy, in the order of the plan.
    pub courses: Vec<Course>,
    /// Where signals ended, and why: strategy, stage, reason.
    pub tally: BTreeMap<(StrategyId, &'static str, &'static str), u64>,
    /// What has to be known to read the result.
    pub notes: Vec<String>,
}

/// Runs everything that comes in through the engine, with this governor at the gate.
///
/// # Errors
/// What could not be read, recorded or answered; what was answered before is recorded.
pub async fn run(
    session: &Session,
    plan: &Plan,
    inputs: &mut impl Inputs,
    watch: &mut impl Watch,
) -> Result<Ended, CliError> {
    let (followers, backtests) = backtests(plan).await?;
    let gate = PaperGate::new(session.governor.clone(), &plan.settings.approve.by, plan.settings.measure_shadow);
    let courses = backtests.into_iter().zip(&plan.traders).map(|(backtest, trader)| Course {
        points: Vec::new(),
        backtest,
        peak: trader.settings.capital,
    });
    let mut run = Run {
        session,
        plan,
        desk: Desk::new(plan, gate.clone()),
        gate,
        followers,
        courses: courses.collect(),
        tally: BTreeMap::new(),
        signals: 0,
        first_seq: None,
    };
    let all = inputs.bars();
    let (mut done, mut period, mut notes) = (0, None, None);
    let is_whole = loop {
        let step = tokio::select! {
            biased;
            step = inputs.next() => step?,
            asked = watch.asked_to_end() => {
                asked?;
                break false;
            }
        };
        let Some(step) = step else { break true };
        if notes.is_none() {
            notes = Some(run.begin(step.at()).await?);
        }
        match step {
            Step::Signal(wished) => run.wish(&wished).await?,
            Step::Bar(market, bar) => {
                run.bar(market, &bar).await?;
                done += 1;
                let (first, _) = period.unwrap_or((bar.at, bar.at));
                period = Some((first, bar.at));
                let shown = run.shown();
                if !watch.bar(&Seen { at: bar.at, bars: (done, all), shown: &shown }).await? {
                    break false;
                }
            }
        }
    };
    let Run { courses, tally, signals, first_seq, .. } = run;
    let notes = notes.unwrap_or_default();
    Ok(Ended { is_whole, bars: (done, all), signals, period, first_seq, courses, tally, notes })
}

/// Every strategy over the bars before its live part, with nobody at the gate: what it promises, and its rule as it
/// stands then.
async fn backtests(plan: &Plan) -> Result<(Vec<Option<Follower>>, Vec<Baseline>), CliError> {
    let gate = Backtest::default();
    let mut desk = Desk::new(plan, gate.clone());
    let mut followers: Vec<_> = plan.traders.iter().map(|trader| Follower::begin(&trader.settings)).collect();
    for (_, market, bar) in plan.in_sample() {
        desk.open(market, &bar).await?;
        desk.close(market, &bar).await?;
        for (trader, follower) in plan.traders.iter().zip(&mut followers) {
            let Some(follower) = follower.as_mut().filter(|_| trader.market == market) else { continue };
            let settings = &trader.settings;
            let held = desk.position(&settings.id, &settings.instrument);
            for wished in follower.on_bar(&bar, held, desk.is_leaving(&settings.id)) {
                desk.wish(&wished).await;
            }
        }
    }
    let fills = gate.fills();
    let measured = plan.traders.iter().map(|trader| {
        let id = &trader.settings.id;
        let own = fills.get(id).map(Vec::as_slice).unwrap_or_default();
        backtest(id, &registration(plan, trader), own)
    });
    let measured = measured.collect::<Result<_, Rejection>>().map_err(Failure::from)?;
    Ok((followers, measured))
}

/// A strategy as it is declared. Its version is its rule, its size and its instrument: with others it starts anew.
fn registration(plan: &Plan, trader: &Trader) -> Registration {
    let settings = &trader.settings;
    let instrument = plan.markets.get(trader.market).map(|market| &market.instrument);
    let version = digest(&(&settings.rule, &settings.size, &settings.instrument));
    // One version is declared once, and has one backtest: a run with another one does not belong into this log.
    let id = SourceId::recorded(format!("paper/{version}").into());
    Registration {
        id,
        instrument: Some(settings.instrument.clone()),
        engine: Some("ephor paper".to_owned()),
        strategy_class: Some(settings.rule.as_ref().map_or("signals", |rule| rule.name()).to_owned()),
        version_digest: version,
        initial_capital: settings.capital,
        currency: instrument.map_or_else(Currency::default, |it| it.currency.clone()),
        multiplier: instrument.map_or(Amount::ONE, |it| it.multiplier),
    }
}

/// What stands for a value: another value has another one.
fn digest(of: &impl serde::Serialize) -> SmolStr {
    let text = serde_json::to_string(of).unwrap_or_default();
    blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect()
}

struct Run<'a> {
    session: &'a Session,
    plan: &'a Plan,
    desk: Desk<PaperGate>,
    gate: PaperGate,
    followers: Vec<Option<Follower>>,
    courses: Vec<Course>,
    tally: BTreeMap<(StrategyId, &'static str, &'static str), u64>,
    signals: u64,
    first_seq: Option<Seq>,
}

impl<'a> Run<'a> {
    /// Puts the policy into force, where the log has none; says what has to be known of it.
    async fn begin(&mut self, at: Timestamp) -> Result<Vec<String>, CliError> {
        let mut notes = Vec::new();
        let governor = &self.session.governor;
        let in_force = governor.system_view();
        if let Some(policy) = &self.plan.policy {
            if !in_force.state.policy_adopted {
                let command = system::Command::AdoptPolicy {
                    id: policy.id(),
                    policy: std::sync::Arc::new(policy.clone()),
                    by: Actor::recorded("ephor-paper".into()),
                    reason: "the policy of a paper run, from its settings".to_owned(),
                };
                let recorded = governor.change(command, at, SmolStr::default(), Some(at)).await?;
                self.note_seq(&recorded);
            } else if in_force.state.policy_id != policy.id() {
                notes.push(format!(
                    "the policy in force, {}, is not that of the settings, {}: `ephor policy adopt` changes it",
                    in_force.state.policy_id,
                    policy.id()
                ));
            }
        }
        governor.begin(at).await?;
        let now = governor.system_view();
        // Written the same way on both sides: what was adopted just now and what was read back are one policy.
        let plain = |policy: &Policy| serde_json::from_str(&policy.canonical()).unwrap_or_else(|_| policy.clone());
        let changed = operate::differences(&plain(&Policy::default()), &plain(&now.state.policy));
        if !changed.is_empty() {
            let changed: Vec<String> = changed.iter().map(ToString::to_string).collect();
            notes.push(format!("the policy is not the default one: {}", changed.join(", ")));
        }
        let by: Vec<&str> = self.plan.settings.approve.by.iter().map(Actor::as_str).collect();
        if !by.is_empty() {
            notes.push(format!("orders that wait for approval are approved at once, on the word of {}", by.join(", ")));
        }
        if self.plan.settings.measure_shadow {
            notes.push(
                "orders of strategies in the shadow are filled on the paper venue, so that there is something to judge \
                 them by"
                    .to_owned(),
            );
        }
        Ok(notes)
    }

    /// A bar: the market moves to its opening and through it, and rules look at it when it is over.
    async fn bar(&mut self, market: usize, bar: &Bar) -> Result<(), CliError> {
        self.open(market, bar.at).await?;
        self.desk.open(market, bar).await?;
        self.desk.close(market, bar).await?;
        self.mark(market, bar.at);
        for wished in self.follow(market, bar) {
            self.wish(&wished).await?;
        }
        Ok(())
    }

    /// Brings the strategies of a market under governance, at the first bar of its live part.
    async fn open(&mut self, market: usize, at: Timestamp) -> Result<(), CliError> {
        let plan = self.plan;
        for (place, trader) in plan.traders.iter().enumerate().filter(|(_, trader)| trader.market == market) {
            if self.courses.get(place).is_none_or(|course| !course.points.is_empty()) {
                continue;
            }
            let id = &trader.settings.id;
            let registration = registration(plan, trader);
            let own = registration.id.clone();
            self.tell(id, Command::Register(registration), at).await?;
            let Some(course) = self.courses.get(place).filter(|course| course.backtest.trades > 0) else { continue };
            let in_sample = plan.markets.get(market).map(|market| market.bars.iter().take(market.in_sample));
            let baseline = RecordedBaseline {
                id: own,
                period_start: in_sample.clone().and_then(|mut bars| bars.next()).map(|bar| bar.at),
                period_end: in_sample.and_then(Iterator::last).map(|bar| bar.at),
                baseline: course.backtest.clone(),
            };
            self.tell(id, Command::RecordBaseline(baseline), at).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, strategy: &StrategyId, command: Command, at: Timestamp) -> Result<(), CliError> {
        let trace = command.key().map(|(_, id)| id).unwrap_or_default();
        let request = Request { strategy: strategy.clone(), command, at, trace, occurred_at: None };
        match self.session.governor.ask(request).await {
            Ok(recorded) => self.note_seq(&recorded),
            Err(Failure::Rejected(Rejection::NothingToChange { .. })) => {}
            Err(Failure::Rejected(Rejection::IdReused { id })) => {
                return Err(another_run(&format!("{id} of {strategy}")));
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    fn note_seq(&mut self, recorded: &Recorded) {
        self.first_seq = Some(self.first_seq.map_or(recorded.seq, |first| first.min(recorded.seq)));
    }

    async fn wish(&mut self, wished: &Wished) -> Result<(), CliError> {
        let (stage, reason) = self.desk.wish(wished).await;
        self.signals += 1;
        *self.tally.entry((wished.strategy.clone(), stage, reason)).or_default() += 1;
        // What could not be recorded was blocked: that is no decision to go on from.
        self.gate.take_failure().map_or(Ok(()), Err)
    }

    fn follow(&mut self, market: usize, bar: &Bar) -> Vec<Wished> {
        let own = self.plan.traders.iter().zip(&mut self.followers).filter(|(trader, _)| trader.market == market);
        let mut wishes = Vec::new();
        for (trader, follower) in own {
            let settings = &trader.settings;
            if let Some(follower) = follower {
                let held = self.desk.position(&settings.id, &settings.instrument);
                wishes.extend(follower.on_bar(bar, held, self.desk.is_leaving(&settings.id)));
            }
        }
        wishes
    }

    fn mark(&mut self, market: usize, at: Timestamp) {
        let own = self.plan.traders.iter().zip(&mut self.courses).filter(|(trader, _)| trader.market == market);
        for (trader, course) in own {
            let equity = self.desk.equity(&trader.settings.id);
            course.peak = course.peak.max(equity);
            course.points.push(Point { at, equity });
        }
    }

    fn shown(&self) -> Vec<Shown<'a>> {
        let last = self.gate.last();
        let shown = self.plan.traders.iter().zip(&self.courses).filter_map(|(trader, course)| {
            let settings = &trader.settings;
            let equity = course.points.last().map_or(settings.capital, |point| point.equity);
            Some(Shown {
                strategy: &settings.id,
                currency: &self.plan.markets.get(trader.market)?.instrument.currency,
                equity,
                drawdown: course.fall(equity),
                position: self.desk.position(&settings.id, &settings.instrument),
                last: last.get(&settings.id).copied(),
            })
        });
        shown.collect()
    }
}
