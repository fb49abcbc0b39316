//! `ephor state`: everything a strategy is, now or at any moment of the past.

use std::fmt::Display;

use ephor_events::envelope::to_json;
use ephor_events::{Seq, Version};
use ephor_governance::drift::Band;
use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::State;
use ephor_governance::units::Timestamp;
use ephor_governance::verdict::Action;
use ephor_governance::{approval, netting, system, token};
use ephor_replay::at::{Moment, Point, strategy_at, system_at};
use ephor_replay::fold::{Digest, digest_of_strategy, digest_of_system};
use ephor_replay::happened::{Happened, Reading, strategy_by, system_by};
use ephor_replay::{SystemView, covers};

use super::events::moment;
use super::print::{self, BOLD, Counted, DIM, amount, percent, styled, time};
use super::sentence::{self, figure, record, scope_name, signed};
use super::{CliError, Exit, Global};
use crate::{past, store};

/// Show the whole state of a strategy, or of `system`, now or at a moment of the past
#[derive(clap::Args)]
#[command(
    // `--version N` is a point here; the program's own version is `ephor --version`.
    disable_version_flag = true,
    after_help = "Example: ephor state EMAX-GBPUSD-M5-001 --at 2012-02-20"
)]
pub(super) struct Args {
    /// The strategy, or `system`
    #[arg(value_name = "STRATEGY")]
    strategy: String,
    /// As it was known at this time, UTC where no zone is given
    #[arg(long, value_name = "TIME", value_parser = moment, group = "point")]
    at: Option<Timestamp>,
    /// With --at: what had been recorded by that time, which is what was known; so it is if nothing is said
    #[arg(long, requires = "at", conflicts_with = "as_happened")]
    as_known: bool,
    /// With --at: what had happened by that time in the source's own time, recorded by then or later
    ///
    /// Recorded events, in the order they happened: a reading of the record. What followed from a late trade stands
    /// as it was recorded with it; nothing is decided again.
    #[arg(long, requires = "at")]
    as_happened: bool,
    /// After this event of the whole log
    #[arg(long, value_name = "N", group = "point")]
    seq: Option<u64>,
    /// After this event of the strategy's own
    #[arg(long, value_name = "N", group = "point")]
    version: Option<u64>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let keyframes = opened.keyframes.as_ref();
    let point = match (args.at, args.seq, args.version) {
        (Some(at), _, _) => Point::Time(at),
        (None, Some(seq), _) => Point::Seq(Seq(seq)),
        (None, None, Some(version)) => Point::Version(Version(version)),
        (None, None, None) => Point::Now,
    };
    let by = args.at.filter(|_| args.as_happened);
    if args.strategy == "system" {
        let (moment, reading) = match by {
            Some(by) => apart(system_by(&opened.reader, keyframes, by)?),
            None => (system_at(&opened.reader, keyframes, point)?, None),
        };
        let digest = digest_of_system(&moment.state)?;
        let value = to_json(&SystemView::from(&moment.state));
        if global.json {
            print::json(&past::moment_json(&moment, reading.as_ref(), digest, &value))?;
        } else {
            print::out(system_text(&moment, reading.as_ref(), digest))?;
        }
        return Ok(Exit::Done);
    }
    let id: StrategyId = args.strategy.parse().map_err(|error| CliError::usage(format!("{error}")))?;
    let (moment, reading) = match by {
        Some(by) => apart(strategy_by(&opened.reader, keyframes, &id, by)?),
        None => (strategy_at(&opened.reader, keyframes, &id, point)?, None),
    };
    let system = match by {
        Some(by) => system_by(&opened.reader, keyframes, by)?.moment.state,
        None => system_at(&opened.reader, keyframes, past::beside(point, moment.seq))?.state,
    };
    if global.json {
        print::json(&past::strategy_json(&id, &moment, reading.as_ref(), &system)?)?;
    } else {
        let digest = digest_of_strategy(&id, &moment.state)?;
        print::out(strategy_text(&id, &moment, reading.as_ref(), digest, &system))?;
    }
    Ok(Exit::Done)
}

fn apart<S>(happened: Happened<S>) -> (Moment<S>, Option<Reading>) {
    (happened.moment, Some(happened.reading))
}

/// Sections of names and values.
struct Page(String);

impl Page {
    fn of<S>(moment: &Moment<S>, reading: Option<&Reading>, digest: Digest) -> Self {
        let Moment { stream, version, newest, seq, recorded_at, .. } = moment;
        let newer = if version < newest { format!(" of {newest}") } else { String::new() };
        let mut page = Self(format!("{}\n", styled(BOLD, stream)));
        match reading {
            None => page.line("as of", format_args!("seq {seq}, version {version}{newer}, {}", time(*recorded_at))),
            Some(reading) => page.reading(reading, format_args!("seq {seq}, version {version}{newer}")),
        }
        let short: String = digest.to_string().chars().take(16).collect();
        page.line("digest", short);
        page
    }

    /// How what had happened differs from what was known.
    fn reading(&mut self, reading: &Reading, last: impl Display) {
        let Reading { at, commits, late, ahead, moved } = *reading;
        self.line("as happened by", format_args!("{}, in the source's time: {}", time(at), Counted(commits, "commit")));
        self.line("last to happen", last);
        match late {
            0 => self.line("recorded later", "nothing"),
            late => self.line("recorded later", format_args!("{}, unknown at that time", Counted(late, "commit"))),
        }
        if moved > 0 {
            self.line("out of order", format_args!("{}, put where they happened", Counted(moved, "commit")));
        }
        if ahead > 0 {
            self.line("left out", format_args!("{}, recorded by then but dated after it", Counted(ahead, "commit")));
        }
        self.line("", styled(DIM, "recorded events in the order they happened; nothing is decided again"));
    }

    fn section(&mut self, name: &str) {
        sentence::add(&mut self.0, format_args!("\n{}", styled(BOLD, name)));
    }

    fn line(&mut self, name: impl Display, value: impl Display) {
        sentence::add(&mut self.0, format_args!("  {name:<20} {value}"));
    }

    fn nothing(&mut self, what: &str) {
        sentence::add(&mut self.0, format_args!("  {}", styled(DIM, what)));
    }
}

fn strategy_text(
    id: &StrategyId,
    moment: &Moment<State>,
    reading: Option<&Reading>,
    digest: Digest,
    system: &system::State,
) -> String {
    let state = &moment.state;
    let mut page = Page::of(moment, reading, digest);
    let evidence = &state.maturity.evidence;
    page.section("Level");
    page.line("level", format_args!("{} since {}", state.maturity.level, time(evidence.entered_at)));
    page.line("record at the level", record(evidence));
    page.line("losses in a row", evidence.loss_streak);
    page.line("equity", format_args!("{} (peak {})", amount(evidence.equity), amount(evidence.peak)));
    page.line("drawdown", percent(evidence.drawdown()));
    let path: Vec<String> =
        state.path.iter().map(|(at, level)| format!("{level} {}", styled(DIM, time(*at)))).collect();
    page.line("way", path.join(" -> "));

    page.section("Stopped by");
    for pause in state.pauses.values() {
        page.line("pause", format_args!("by {} since {}: {}", pause.by, time(pause.since), pause.reason));
    }
    let view = SystemView::from(system);
    let instrument = state.registration.as_ref().and_then(|registration| registration.instrument.as_ref());
    let kills: Vec<_> = view.kills.iter().filter(|kill| covers(kill.scope, id, instrument.into_iter())).collect();
    for kill in &kills {
        let (scope, kill) = (scope_name(kill.scope), kill.kill);
        page.line("kill switch", format_args!("{scope}, by {} since {}: {}", kill.by, time(kill.since), kill.reason));
    }
    if state.pauses.is_empty() && kills.is_empty() {
        page.nothing("nothing");
    }

    page.section("Health");
    page.line("score", format_args!("{:.3}, size x{:.3}", state.health.score, state.health.multiplier.get()));
    page.line("debt, credit", format_args!("{}, {}", figure(state.health.debt), figure(state.health.credit)));
    page.line("window", format_args!("{} trades", state.health.window_trades));

    drift_text(&mut page, state, system);
    page.section("Tokens");
    tokens_text(&mut page, &state.tokens);
    approvals_text(&mut page, &state.approvals);
    totals_text(&mut page, state);

    page.section("Positions");
    match &state.positions {
        None => page.nothing("no venue has reported one"),
        Some(open) if open.is_empty() => page.nothing("none open"),
        Some(open) => open.iter().for_each(|(instrument, qty)| page.line(instrument, amount(*qty))),
    }
    fills_text(&mut page, &state.fills);
    page.section("Registration");
    if let Some(registration) = &state.registration {
        page.line("capital", format_args!("{} {}", amount(registration.initial_capital), registration.currency));
        page.line("multiplier", registration.multiplier);
        page.line("instrument", registration.instrument.as_ref().map_or("-", |instrument| instrument.as_str()));
        page.line("engine", registration.engine.as_deref().unwrap_or("-"));
        page.line("class", registration.strategy_class.as_deref().unwrap_or("-"));
        page.line("version", &registration.version_digest);
    }
    page.line("policy in force", format_args!("{}", system.policy_id));
    page.0
}

fn drift_text(page: &mut Page, state: &State, system: &system::State) {
    page.section("Drift");
    let Some(baseline) = &state.baseline else { return page.nothing("no baseline") };
    let policy = &system.policy.drift_detector;
    let comparisons = state.compare_drift(policy);
    for comparison in &comparisons {
        let band = match comparison.band {
            Band::Within => "within bounds",
            Band::Reduce => "beyond the reduce bound",
            Band::Pause => "beyond the pause bound",
        };
        let (live, promised) = (figure(comparison.live), figure(comparison.baseline));
        let off = comparison.deviation_pct;
        page.line(comparison.metric, format_args!("{live} against {promised}, {off:.1} % off, {band}"));
    }
    if comparisons.is_empty() {
        let needed = policy.trades_min;
        page.nothing(&format!("{} live trades; compared from {needed} on", state.version_trades));
    }
    page.line("baseline", format_args!("{} trades", baseline.trades));
}

fn tokens_text(page: &mut Page, tokens: &token::State) {
    for active in tokens.active.values() {
        let grant = &active.grant;
        page.line(
            &grant.id,
            format_args!("{} of {} uses left until {}", active.uses_left, grant.uses_max, time(grant.expires_at)),
        );
    }
    for (id, end, at) in &tokens.ended {
        let end = match end {
            token::End::Expired => "expired",
            token::End::UsedUp => "used up",
            token::End::Revoked => "revoked",
        };
        page.line(id, format_args!("{end} {}", time(*at)));
    }
    if tokens.active.is_empty() && tokens.ended.is_empty() {
        page.nothing("none");
    }
}

fn approvals_text(page: &mut Page, approvals: &approval::State) {
    if approvals.waiting.is_empty() {
        return;
    }
    page.section("Waiting for approval");
    for waiting in &approvals.waiting {
        let (given, needed) = (waiting.approvals.len(), waiting.approvals_needed());
        let given = match &waiting.token {
            Some(token) => format!("approved with token {token}"),
            None => format!("{given} of {} given", Counted(needed as u64, "approval")),
        };
        page.line(&waiting.order.id, format_args!("since {}, {given}", time(waiting.since)));
    }
}

/// Nothing of a source that tells closed trades.
fn fills_text(page: &mut Page, fills: &netting::State) {
    if fills.recorded == 0 {
        return;
    }
    page.section("Fills");
    page.line("recorded", format_args!("{}, {} late", fills.recorded, fills.late));
    if fills.fees_unconverted > 0 {
        let left_out = Counted(fills.fees_unconverted, "fee");
        page.line("without a rate", format_args!("{left_out} in another currency, in no result"));
    }
    for (instrument, books) in &fills.books {
        for (account, book) in books.iter().filter(|(_, book)| !book.lots.is_empty()) {
            let account = if account.as_str().is_empty() { String::new() } else { format!(" in account {account}") };
            let lots = Counted(book.lots.len() as u64, "lot");
            page.line(instrument, format_args!("{} open{account}, {lots}", amount(book.position())));
        }
    }
}

fn totals_text(page: &mut Page, state: &State) {
    let totals = &state.totals;
    page.section("Since it came under governance");
    page.line("trades", format_args!("{}: {} won, {} lost", totals.trades, totals.wins, totals.losses));
    page.line("result", signed(totals.pnl));
    page.line("won, lost", format_args!("{}, {}", amount(totals.gross_win), amount(totals.gross_loss)));
    page.line("deepest drawdown", percent(totals.max_drawdown));
    let decisions = Action::ALL.iter().zip(totals.decisions).filter(|(_, count)| *count > 0);
    let decisions: Vec<String> = decisions.map(|(action, count)| format!("{count} {}", action.as_str())).collect();
    page.line("decisions", if decisions.is_empty() { "none".to_owned() } else { decisions.join(", ") });
}

fn system_text(moment: &Moment<system::State>, reading: Option<&Reading>, digest: Digest) -> String {
    let state = &moment.state;
    let mut page = Page::of(moment, reading, digest);
    page.section("Policy");
    let adopted = if state.policy_adopted { "" } else { " (the default; nobody has adopted one)" };
    page.line("id", format_args!("{}{adopted}", state.policy_id));
    for proposal in &state.proposals {
        let (id, since) = (proposal.id, time(proposal.since));
        page.line("proposed", format_args!("{id} by {} since {since}: {}", proposal.by, proposal.reason));
    }
    page.section("Kill switches");
    for (scope, kill) in &state.kills {
        let exits = if kill.exits_blocked { ", exits too" } else { "" };
        let (scope, since) = (scope_name(scope), time(kill.since));
        page.line(scope, format_args!("by {} since {since}{exits}: {}", kill.by, kill.reason));
    }
    if state.kills.is_empty() {
        page.nothing("none engaged");
    }
    page.section("Account");
    match &state.account {
        None => page.nothing("not stated"),
        Some(account) => {
            page.line("equity", format_args!("{} {}", amount(account.equity), account.currency));
            let open = account.open_positions.map_or_else(|| "not stated".to_owned(), |open| open.to_string());
            page.line("open positions", open);
            page.line("leverage", account.leverage.map_or_else(|| "not stated".to_owned(), amount));
        }
    }
    page.section("Canary");
    page.line("last spoke", state.canary.spoken_at.map_or_else(|| "never".to_owned(), time));
    for (component, failures) in &state.canary.failures {
        page.line(component, format_args!("{failures} failures in a row"));
    }
    if state.canary.failures.is_empty() {
        page.nothing("no component is failing");
    }
    page.0
}
