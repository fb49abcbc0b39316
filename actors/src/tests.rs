//! What the house promises: durability before answers, fail closed, no `ALLOW` after a kill, one answer an
//! id, recovery from the log; and each known trap of the actor runtime.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ephor_events::{Durability, EventLog, Options, Seq, StreamId};
use ephor_governance::event::{Event, Registration, Scope};
use ephor_governance::gate::Execution;
use ephor_governance::ids::{Actor as By, SourceId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::order::{Order, Side};
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command};
use ephor_governance::system;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::{Action, Reason};
use ephor_snapshots::{Keyframes, Misfit, Restored, Spacing, restore};

use crate::shard::DecideFn;
use crate::{Config, Failure, Governor, Recorded, Request, Threads};

mod accounts;
mod approvals;
mod fills;
mod held;
mod overview;

const AT: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

fn id(text: &str) -> SourceId {
    text.parse().unwrap()
}

fn ask(strategy: &str, command: Command) -> Request {
    Request { strategy: strategy.parse().unwrap(), command, at: AT, trace: "".into(), occurred_at: None }
}

fn registration(name: &str) -> Command {
    Command::Register(Registration {
        id: id(name),
        instrument: None,
        engine: None,
        strategy_class: None,
        version_digest: "v1".into(),
        initial_capital: Amount::from(10_000),
        currency: "USD".parse().unwrap(),
        multiplier: Amount::ONE,
    })
}

fn set_level(to: Level) -> Command {
    let by: By = "ann".parse().unwrap();
    Command::SetLevel { to, without_evidence: true, by, reason: "a test begins here".into() }
}

fn pause() -> Command {
    Command::Pause { by: "bob".parse().unwrap(), reason: "a test".to_owned() }
}

fn order(name: &str, qty: i64) -> Order {
    Order {
        id: id(name),
        instrument: "ABC.XNAS".parse().unwrap(),
        venue: None,
        side: Side::Buy,
        qty: Amount::from(qty),
        price: Some(Amount::from(10)),
        notional: None,
        currency: None,
        reduce_only: false,
        leverage: Some(Amount::ONE),
        position_qty: Some(Amount::ZERO),
        equity: Some(Amount::from(10_000)),
        open_positions: Some(0),
        token: None,
    }
}

fn check(strategy: &str, order: Order) -> Request {
    ask(strategy, Command::CheckOrder { order, attempt: 0 })
}

fn trade(name: &str, pnl: i64) -> Command {
    Command::CloseTrade(Trade {
        id: id(name),
        instrument: "ABC.XNAS".parse().unwrap(),
        direction: Direction::Long,
        qty: Amount::ONE,
        entry_price: Amount::from(100),
        exit_price: Amount::from(100),
        realized_pnl: Amount::from(pnl),
        currency: None,
        initial_risk: None,
        opened_at: AT,
        closed_at: AT,
        order_id: None,
    })
}

fn kill(scope: Scope, exits_blocked: bool) -> system::Command {
    let by: By = "ann".parse().unwrap();
    system::Command::EngageKillSwitch { scope, exits_blocked, by, reason: "a test".into() }
}

fn account(number: u32) -> system::Command {
    system::Command::UpdateAccount(ephor_governance::event::Account {
        id: id(&format!("a{number}")),
        equity: Amount::from(10_000 + i64::from(number)),
        currency: "USD".parse().unwrap(),
        open_positions: None,
        leverage: None,
    })
}

fn config() -> Config {
    Config { durability: Durability::Written, ..Config::default() }
}

fn open(dir: &Path) -> EventLog {
    EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap().0
}

fn start(log: EventLog, config: &Config) -> (Governor, Threads) {
    Governor::start(log, config).unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Given a strategy at the top of the ladder.
async fn given_autonomous(governor: &Governor, name: &str) {
    governor.ask(ask(name, registration(name))).await.unwrap();
    governor.ask(ask(name, set_level(Level::Autonomous))).await.unwrap();
}

fn action(recorded: &Recorded) -> Action {
    recorded.decision().unwrap().action
}

#[test]
fn an_answer_leaves_only_when_its_decision_can_be_read_from_the_log() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        for number in 0..50 {
            let name = format!("o{number}");
            let answer = governor.ask(check("alpha", order(&name, 1))).await.unwrap();
            assert_eq!(action(&answer), Action::Allow);
            let recorded = governor.reader().commit_of(answer.seq).unwrap().unwrap();
            assert_eq!(recorded.key.unwrap().id, name);
        }
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn the_log_begins_with_the_policy_it_is_governed_by() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        governor.ask(ask("alpha", registration("alpha"))).await.unwrap();
        let first = governor.reader().commit_of(Seq(1)).unwrap().unwrap();
        let events = ephor_events::codec::decode_commit(&first).unwrap();
        assert!(matches!(events.first(), Some(Event::PolicyAdopted { .. })));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_trade_and_all_that_follows_from_it_is_one_commit() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        let lost = governor.ask(ask("alpha", trade("t1", -1_500))).await.unwrap();
        let names: Vec<_> = lost.events.iter().map(Event::name).collect();
        assert_eq!(names, ["TradeClosed", "HealthUpdated", "MaturityTransitioned"]);
        let commit = governor.reader().commit_of(lost.seq).unwrap().unwrap();
        assert_eq!(commit.events.len(), 3);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn the_same_id_again_gives_the_recorded_answer_and_no_new_event_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        given_autonomous(&governor, "alpha").await;
        let first = governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        let again = governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        assert!(again.repeat && !first.repeat);
        assert_eq!(again.events, first.events);
        governor.shutdown(threads).await.unwrap();
        first
    });
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        let head = governor.reader().head();
        let again = governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        assert!(again.repeat);
        assert_eq!((again.events, again.seq), (first.events, first.seq));
        assert_eq!(governor.reader().head(), head);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn two_askers_with_one_id_at_once_get_one_decision() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        let head = governor.reader().head().seq;
        let (one, two) = futures::future::join(
            governor.ask(check("alpha", order("o1", 1))),
            governor.ask(check("alpha", order("o1", 1))),
        )
        .await;
        assert_eq!(one.unwrap().seq, two.unwrap().seq);
        assert_eq!(governor.reader().head().seq.0, head.0 + 1);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn an_id_that_comes_again_with_another_order_is_refused() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        let other = governor.ask(check("alpha", order("o1", 500))).await;
        assert!(matches!(other, Err(Failure::Rejected(Rejection::IdReused { .. }))), "{other:?}");
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn no_order_is_allowed_after_a_kill_was_acknowledged_whatever_was_recorded_before() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &Config { shards: 4, ..config() });
        let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
        for name in &names {
            given_autonomous(&governor, name).await;
            assert_eq!(action(&governor.ask(check(name, order("o1", 1))).await.unwrap()), Action::Allow);
        }
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        for name in &names {
            let fresh = governor.ask(check(name, order("o2", 1))).await.unwrap();
            assert_eq!(action(&fresh), Action::Kill);
            // The old answer was ALLOW; it may not leave again, and what leaves instead is recorded.
            let repeated = governor.ask(check(name, order("o1", 1))).await.unwrap();
            assert_eq!((action(&repeated), repeated.decision().unwrap().attempt), (Action::Kill, 1));
            let once_more = governor.ask(check(name, order("o1", 1))).await.unwrap();
            assert_eq!((action(&once_more), once_more.repeat), (Action::Kill, true));
        }
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn under_a_storm_of_orders_nothing_asked_after_the_kill_is_allowed() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &Config { shards: 2, ..config() });
        given_autonomous(&governor, "alpha").await;
        given_autonomous(&governor, "beta").await;
        let killed = Arc::new(AtomicBool::new(false));
        let storm = |name: &'static str| {
            let (governor, killed) = (governor.clone(), killed.clone());
            async move {
                for number in 0..400 {
                    let after = killed.load(Ordering::SeqCst);
                    let answer = governor.ask(check(name, order(&format!("o{number}"), 1))).await.unwrap();
                    assert!(!after || action(&answer) == Action::Kill);
                    tokio::task::yield_now().await;
                }
            }
        };
        let killing = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
            killed.store(true, Ordering::SeqCst);
        };
        futures::join!(storm("alpha"), storm("beta"), killing);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_kill_lets_exits_pass_unless_it_says_otherwise_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let exit = |name: &str| Order { reduce_only: true, side: Side::Sell, ..order(name, 1) };
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        given_autonomous(&governor, "alpha").await;
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        let passed = governor.ask(check("alpha", exit("x1"))).await.unwrap();
        assert_eq!((action(&passed), passed.decision().unwrap().execution), (Action::Allow, Execution::Live));
        governor.change(kill(Scope::All, true), AT, "".into(), None).await.unwrap();
        assert_eq!(action(&governor.ask(check("alpha", exit("x2"))).await.unwrap()), Action::Kill);
        governor.shutdown(threads).await.unwrap();
    });
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        assert_eq!(action(&governor.ask(check("alpha", order("o9", 1))).await.unwrap()), Action::Kill);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_strategy_recovers_the_state_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let before = run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        given_autonomous(&governor, "alpha").await;
        for number in 0..60 {
            let pnl = if number % 3 == 0 { -7 } else { 5 };
            governor.ask(ask("alpha", trade(&format!("t{number}"), pnl))).await.unwrap();
        }
        let states = governor.inspect().await;
        governor.shutdown(threads).await.unwrap();
        states
    });
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        governor.ask(ask("alpha", trade("t0", -7))).await.unwrap();
        assert_eq!(governor.inspect().await, before);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn the_same_requests_give_the_same_log_bit_for_bit() {
    let play = || {
        run(async {
            let (governor, threads) = start(EventLog::memory(), &config());
            governor.begin(AT).await.unwrap();
            let names = ["a", "b", "c", "d", "e"];
            let register = names.iter().map(|name| ask(name, registration(name)));
            let rise = names.iter().map(|name| ask(name, set_level(Level::Autonomous)));
            let trades = (0..300).map(|n| ask(names[n % 5], trade(&format!("t{n}"), if n % 7 < 3 { -3 } else { 4 })));
            let orders = (0..300).map(|n| check(names[n * 3 % 5], order(&format!("o{n}"), 1)));
            let asked: Vec<_> =
                register.chain(rise).chain(trades).chain(orders).map(|request| governor.ask(request)).collect();
            for answer in futures::future::join_all(asked).await {
                answer.unwrap();
            }
            let head = governor.reader().head();
            governor.shutdown(threads).await.unwrap();
            head
        })
    };
    assert_eq!(play(), play());
}

#[test]
fn shutdown_answers_and_keeps_everything_that_was_under_way() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        given_autonomous(&governor, "alpha").await;
        let under_way: Vec<_> = (0..500).map(|n| governor.ask(check("alpha", order(&format!("o{n}"), 1)))).collect();
        let (answers, head) = futures::join!(futures::future::join_all(under_way), governor.clone().shutdown(threads));
        assert!(answers.iter().all(Result::is_ok));
        assert!(head.unwrap().is_some());
        let late = governor.ask(check("alpha", order("late", 1))).await;
        assert!(matches!(late, Err(Failure::Stopped)), "{late:?}");
    });
    let log = open(dir.path());
    let reader = log.reader();
    for n in 0..500 {
        assert!(reader.find(&StreamId::new("alpha"), 4, &format!("o{n}")).unwrap().is_some());
    }
}

#[test]
fn more_than_may_be_under_way_is_refused_at_once() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &Config { in_flight_max: 4, ..config() });
        given_autonomous(&governor, "alpha").await;
        let asked: Vec<_> = (0..10).map(|n| governor.ask(check("alpha", order(&format!("o{n}"), 1)))).collect();
        let answers = futures::future::join_all(asked).await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(Failure::Overloaded))).count(), 6);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_governor_that_has_just_started_takes_as_much_as_it_may() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        given_autonomous(&governor, "alpha").await;
        governor.shutdown(threads).await.unwrap();
    });
    for _ in 0..20 {
        run(async {
            let (governor, threads) = start(open(dir.path()), &config());
            let asked: Vec<_> = (0..1_000).map(|n| governor.ask(check("alpha", order(&format!("o{n}"), 1)))).collect();
            let answers = futures::future::join_all(asked).await;
            assert!(answers.iter().all(Result::is_ok));
            governor.shutdown(threads).await.unwrap();
        });
    }
}

#[test]
fn a_strategy_is_decided_at_its_own_time_although_the_log_is_already_later() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        given_autonomous(&governor, "beta").await;
        let later = Request { at: AT.plus_seconds(3_600), ..ask("beta", trade("t1", 1)) };
        governor.ask(later).await.unwrap();
        let answer = governor.ask(ask("alpha", trade("t1", 1))).await.unwrap();
        let commit = governor.reader().commit_of(answer.seq).unwrap().unwrap();
        assert_eq!((answer.at, commit.decided_at), (AT, AT.nanos()));
        assert_eq!(commit.recorded_at, AT.plus_seconds(3_600).nanos());
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_name_that_nobody_registered_gets_no_actor() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        let unknown = governor.ask(check("ghost", order("o1", 1))).await.unwrap_err();
        assert_eq!(unknown.reason(), Reason::StrategyUnknown);
        assert!(governor.inspect().await.is_empty());
        governor.shutdown(threads).await.unwrap();
    });
}

/// The rule, but an order called `panic` makes it fail and one called `slow` makes it late.
fn troubled(
    state: &strategy::State,
    id: &StrategyId,
    command: &Command,
    context: &strategy::Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    if let Command::CheckOrder { order, .. } = command {
        assert_ne!(order.id.as_str(), "panic", "the rule failed");
        if order.id.as_str() == "slow" {
            std::thread::sleep(Duration::from_millis(400));
        }
    }
    strategy::decide(state, id, command, context)
}

#[test]
fn a_panic_blocks_that_order_and_the_strategy_is_rebuilt_from_the_log_with_a_record_of_it() {
    run(async {
        let (governor, threads) =
            Governor::start_with(EventLog::memory(), &config(), troubled as DecideFn, strategy::apply).unwrap();
        given_autonomous(&governor, "alpha").await;
        given_autonomous(&governor, "sibling").await;
        let before = governor.inspect().await;
        let failed = governor.ask(check("alpha", order("panic", 1))).await.unwrap_err();
        assert_eq!(failed.reason(), Reason::ActorFaulted);
        assert!(matches!(&failed, Failure::Faulted { message } if message.contains("the rule failed")), "{failed:?}");

        let next = governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        assert_eq!(action(&next), Action::Allow);
        assert_eq!(action(&governor.ask(check("sibling", order("o1", 1))).await.unwrap()), Action::Allow);
        let fault = governor.reader().commit_of(Seq(next.seq.0 - 1)).unwrap().unwrap();
        let events = ephor_events::codec::decode_commit(&fault).unwrap();
        assert!(matches!(events.first(), Some(Event::ActorFaulted { .. })), "{events:?}");
        let after = governor.inspect().await;
        assert_eq!(after[0].1.state.maturity, before[0].1.state.maturity);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_strategy_that_fails_keeps_what_it_had_decided_and_answers_what_waits_behind() {
    run(async {
        let (governor, threads) =
            Governor::start_with(EventLog::memory(), &config(), troubled as DecideFn, strategy::apply).unwrap();
        given_autonomous(&governor, "alpha").await;
        given_autonomous(&governor, "beta").await;
        // When it fails, its second order waits in the line behind the one that the other has not looked at yet.
        let orders =
            [("alpha", "a1"), ("beta", "b1"), ("alpha", "a2"), ("alpha", "panic"), ("alpha", "a2"), ("alpha", "a3")];
        let asked: Vec<_> = orders.map(|(strategy, name)| governor.ask(check(strategy, order(name, 1)))).into();
        let answers = futures::future::join_all(asked).await;
        let [a1, b1, a2, failed, again, a3] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(failed.as_ref().unwrap_err().reason(), Reason::ActorFaulted);
        let seqs = [a1, b1, a2, a3].map(|answer| answer.as_ref().unwrap().seq.0);
        // The record of the failure stands behind what was under way.
        assert_eq!(seqs, [seqs[0], seqs[0] + 1, seqs[0] + 2, seqs[0] + 4]);
        let again = again.as_ref().unwrap();
        assert!(again.repeat && again.seq.0 == seqs[2], "{again:?}");
        let (_, alive) = governor.inspect().await.remove(0);
        let stream = StreamId::new("alpha");
        let folded = ephor_snapshots::restore(governor.reader(), None, &stream, None, strategy::evolve).unwrap();
        assert_eq!((alive.state, alive.version), (folded.state, folded.version));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn an_order_whose_answer_is_late_is_blocked_although_its_thread_is_stuck() {
    run(async {
        let config = Config { timeout: Duration::from_millis(100), ..config() };
        let (governor, threads) =
            Governor::start_with(EventLog::memory(), &config, troubled as DecideFn, strategy::apply).unwrap();
        given_autonomous(&governor, "alpha").await;
        let late = governor.ask(check("alpha", order("slow", 1))).await.unwrap_err();
        assert_eq!(late.reason(), Reason::GateTimeout);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn when_the_disk_refuses_every_order_is_blocked_and_what_was_answered_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { chunk_bytes: 16 * 1024, ..Options::default() };
    let log = EventLog::open(dir.path(), &options, &mut |_| {}).unwrap().0;
    let answered = run(async {
        let (governor, threads) = start(log, &config());
        given_autonomous(&governor, "alpha").await;
        // The directory is gone: the next chunk cannot be made.
        std::fs::rename(dir.path().join("log"), dir.path().join("elsewhere")).unwrap();
        let mut answered = Vec::new();
        for number in 0..1_000 {
            match governor.ask(check("alpha", order(&format!("o{number}"), 1))).await {
                Ok(_) => answered.push(number),
                Err(failure) => {
                    assert_eq!(failure.reason(), Reason::JournalUnavailable);
                    assert!(!failure.is_retryable());
                    break;
                }
            }
        }
        assert!(answered.len() < 1_000, "the disk never refused");
        let next = governor.ask(check("alpha", order("next", 1))).await.unwrap_err();
        assert_eq!(next.reason(), Reason::JournalUnavailable);
        // Asked again, none of these is answered from a state that the log does not have.
        let nothing_recorded = |failure: Failure| assert!(matches!(failure, Failure::Journal(_)), "{failure:?}");
        for _ in 0..2 {
            nothing_recorded(governor.ask(ask("alpha", pause())).await.unwrap_err());
            nothing_recorded(governor.ask(ask("beta", registration("beta"))).await.unwrap_err());
            nothing_recorded(governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap_err());
        }
        drop(governor.shutdown(threads).await);
        answered
    });
    std::fs::rename(dir.path().join("elsewhere"), dir.path().join("log")).unwrap();
    let reader = EventLog::open(dir.path(), &options, &mut |_| {}).unwrap().0.reader();
    for number in answered {
        assert!(reader.find(&StreamId::new("alpha"), 4, &format!("o{number}")).unwrap().is_some());
    }
}

#[test]
fn what_is_refused_for_the_sake_of_a_commit_under_way_hears_of_it_when_that_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(dir.path(), &Options::default(), &mut |_| {}).unwrap().0;
    run(async {
        let (governor, threads) = start(log, &Config { durability: Durability::Fsync, ..config() });
        given_autonomous(&governor, "alpha").await;
        for _ in 0..50 {
            let before = governor.reader().head().seq;
            let first = governor.ask(ask("alpha", pause()));
            let refused = governor.ask(ask("alpha", pause())).await.unwrap_err();
            assert!(matches!(refused, Failure::Rejected(Rejection::NothingToChange { .. })), "{refused:?}");
            assert!(governor.reader().head().seq > before, "what it was refused for was not recorded");
            first.await.unwrap();
            let (by, reason) = ("bob".parse().unwrap(), "again".to_owned());
            governor.ask(ask("alpha", Command::Resume { by, reason })).await.unwrap();
        }
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_gate_that_is_gone_is_a_block() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        threads.stop_actors();
        let orphaned = governor.ask(check("alpha", order("o1", 1))).await.unwrap_err();
        assert_eq!(orphaned.reason(), Reason::JournalUnavailable);
    });
}

#[test]
fn an_answer_that_waits_to_be_read_while_a_kill_is_acknowledged_is_a_kill() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        let pending = governor.ask(check("alpha", order("o1", 1)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        let answer = pending.await.unwrap();
        assert_eq!((action(&answer), answer.decision().unwrap().attempt), (Action::Kill, 1));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_kill_gets_through_when_as_many_orders_are_under_way_as_may_be() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &Config { in_flight_max: 4, ..config() });
        given_autonomous(&governor, "alpha").await;
        let pending: Vec<_> = (0..4).map(|n| governor.ask(check("alpha", order(&format!("o{n}"), 1)))).collect();
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        drop(pending);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn many_repeats_of_an_order_under_a_kill_are_decided_again_once() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        let before = governor.reader().head().commits;
        let asked: Vec<_> = (0..5).map(|_| governor.ask(check("alpha", order("o1", 1)))).collect();
        for answer in futures::future::join_all(asked).await {
            assert_eq!(action(&answer.unwrap()), Action::Kill);
        }
        assert_eq!(governor.reader().head().commits, before + 1);
        governor.shutdown(threads).await.unwrap();
    });
}

/// The fold, but a fault recorded as `o1` breaks it after the commit was handed over.
fn brittle(state: &mut strategy::State, event: &Event, at: Timestamp) {
    if let Event::DecisionMade(decision) = event {
        assert_ne!(decision.order.id.as_str(), "breaks", "the fold failed");
    }
    strategy::apply(state, event, at);
}

#[test]
fn a_failure_after_the_hand_over_does_not_give_one_order_the_receipt_of_another() {
    run(async {
        let (governor, threads) =
            Governor::start_with(EventLog::memory(), &config(), strategy::decide, brittle).unwrap();
        given_autonomous(&governor, "alpha").await;
        given_autonomous(&governor, "beta").await;
        let broken = governor.ask(check("alpha", order("breaks", 1)));
        let rest: Vec<_> = (0..6).map(|n| governor.ask(check("beta", order(&format!("p{n}"), 1)))).collect();
        drop(broken.await);
        for (n, answer) in futures::future::join_all(rest).await.into_iter().enumerate() {
            let answer = answer.unwrap();
            let commit = governor.reader().commit_of(answer.seq).unwrap().unwrap();
            assert_eq!(commit.key.unwrap().id, format!("p{n}"));
        }
        // Its history cannot be folded any more: that strategy is blocked, and no other.
        assert!(governor.ask(check("alpha", order("next", 1))).await.is_err());
        assert_eq!(action(&governor.ask(check("beta", order("next", 1))).await.unwrap()), Action::Allow);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn the_default_policy_never_replaces_one_that_somebody_adopted() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        let mut policy = ephor_governance::policy::Policy::default();
        policy.execution_tokens.required = true;
        let (id, policy, by) = (policy.id(), Arc::new(policy), "ann".parse().unwrap());
        let adopt = system::Command::AdoptPolicy { id, policy, by, reason: "strict".into() };
        let (adopted, asked) = futures::future::join(
            governor.change(adopt, AT, "".into(), None),
            governor.ask(ask("alpha", registration("alpha"))),
        )
        .await;
        assert!(adopted.is_ok() && asked.is_ok());
        governor.ask(ask("alpha", set_level(Level::Autonomous))).await.unwrap();
        let answer = governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        assert_eq!((answer.decision().unwrap().policy, action(&answer)), (id, Action::Block));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_first_request_that_is_given_up_harms_nothing_that_comes_after() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        {
            let first = std::pin::pin!(governor.ask(ask("alpha", registration("alpha"))));
            assert!(futures::poll!(first).is_pending());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        governor.ask(ask("beta", registration("beta"))).await.unwrap();
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_refused_first_change_still_lets_every_gate_adopt_the_policy_it_brought() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        let by = "ann".parse().unwrap();
        let release = system::Command::ReleaseKillSwitch { scope: Scope::All, by, reason: "none is engaged".into() };
        assert!(matches!(governor.change(release, AT, "".into(), None).await, Err(Failure::Rejected(_))));
        let registered = governor.ask(ask("alpha", registration("alpha"))).await.unwrap();
        assert_eq!(registered.system.0, 1);
        governor.shutdown(threads).await.unwrap();
    });
}

fn often() -> Config {
    Config { spacing: Spacing::new(Spacing::EVERY_MIN).unwrap(), ..config() }
}

/// What was kept of a stream, and whether each folds to what its events alone give.
#[track_caller]
fn keyframes_of(log: &EventLog, name: &str) -> Vec<u64> {
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    let stream = StreamId::new(name);
    let kept = keyframes.all(&reader).unwrap().into_iter().filter(|kept| kept.stream == stream);
    let versions = kept.map(|kept| {
        assert_eq!(kept.misfit, None::<Misfit>);
        let upto = Some(kept.version);
        let plain = restore(&reader, None, &stream, upto, strategy::evolve).unwrap();
        let quick = restore(&reader, Some(&keyframes), &stream, upto, strategy::evolve).unwrap();
        assert_eq!((quick.folded, plain.folded), (0, kept.version.0));
        assert_eq!((quick.state, quick.at), (plain.state, plain.at));
        kept.version.0
    });
    versions.collect()
}

/// Governs trades of `alpha` from one number to another, and changes of the account.
async fn trades(governor: &Governor, from: u32, to: u32) {
    for number in from..to {
        let pnl = if number % 3 == 0 { -7 } else { 5 };
        governor.ask(ask("alpha", trade(&format!("t{number}"), pnl))).await.unwrap();
        governor.change(account(number), AT, "".into(), None).await.unwrap();
    }
}

/// Waits until so many keyframes were made.
async fn saved(governor: &Governor, count: u64) {
    for _ in 0..10_000 {
        if governor.keyframes().saved >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{:?}", governor.keyframes());
}

#[test]
fn keyframes_made_while_running_and_at_the_end_are_states_that_the_events_give() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (governor, threads) = start(open(dir.path()), &often());
        given_autonomous(&governor, "alpha").await;
        trades(&governor, 0, 40).await;
        saved(&governor, 5 + 2).await;
        governor.shutdown(threads).await.unwrap();
    });
    let log = open(dir.path());
    // Two events at first, and two a trade; no trade ends outside the grid of sixteen.
    assert_eq!(keyframes_of(&log, "alpha"), [64, 80, 82]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    let system: Restored<system::State> =
        restore(&reader, Some(&keyframes), &StreamId::system(), None, system::evolve).unwrap();
    assert_eq!((system.folded, system.version.0), (0, 41));
    assert_eq!(system.state, restore(&reader, None, &StreamId::system(), None, system::evolve).unwrap().state);
}

#[test]
fn a_keyframe_made_while_running_is_used_by_the_next_start_after_a_crash() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = run(async {
        let (governor, threads) = start(open(dir.path()), &often());
        given_autonomous(&governor, "alpha").await;
        trades(&governor, 0, 40).await;
        saved(&governor, 5 + 2).await;
        // What a crash leaves behind, once the keyframes were brought to the disk.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        trades(&governor, 40, 42).await;
        copy(dir.path(), copied.path());
        let before = governor.inspect().await;
        governor.shutdown(threads).await.unwrap();
        before
    });
    {
        let log = open(copied.path());
        assert_eq!(keyframes_of(&log, "alpha"), [64, 80]);
        let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
        let stream = StreamId::new("alpha");
        let restored = restore(&reader, Some(&keyframes), &stream, None, strategy::evolve).unwrap();
        assert_eq!((restored.folded, &restored.state), (6, &before[0].1.state));
    }
    run(async {
        let (governor, threads) = start(open(copied.path()), &often());
        governor.ask(ask("alpha", trade("t0", -7))).await.unwrap();
        assert_eq!(governor.inspect().await, before);
        assert_eq!(governor.keyframes().ignored.total(), 0);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_commit_that_the_disk_refused_leaves_no_keyframe() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { chunk_bytes: 16 * 1024, ..Options::default() };
    let log = EventLog::open(dir.path(), &options, &mut |_| {}).unwrap().0;
    run(async {
        let (governor, threads) = start(log, &often());
        given_autonomous(&governor, "alpha").await;
        trades(&governor, 0, 20).await;
        std::fs::rename(dir.path().join("log"), dir.path().join("elsewhere")).unwrap();
        let asked: Vec<_> = (0..1_000).map(|n| governor.ask(check("alpha", order(&format!("o{n}"), 1)))).collect();
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().any(Result::is_err), "the disk never refused");
        let live = governor.inspect().await;
        assert!(
            live[0].1.version > governor.reader().version_of(&StreamId::new("alpha")),
            "nothing went ahead of the log"
        );
        drop(governor.shutdown(threads).await);
    });
    std::fs::rename(dir.path().join("elsewhere"), dir.path().join("log")).unwrap();
    let log = EventLog::open(dir.path(), &options, &mut |_| {}).unwrap().0;
    let last = log.reader().version_of(&StreamId::new("alpha")).0;
    let kept = keyframes_of(&log, "alpha");
    assert!(!kept.is_empty() && kept.iter().all(|version| *version <= last), "{kept:?} {last}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
