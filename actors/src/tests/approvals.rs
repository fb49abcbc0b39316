//! An order that people have approved since it was blocked is decided again under its id, and only then.

use ephor_governance::ids::TokenId;
use ephor_governance::order::Signal;
use ephor_governance::policy::Policy;
use ephor_governance::token::{self, Grant};

use super::*;

fn by(name: &str) -> By {
    name.parse().unwrap()
}

fn approve(order_id: &str, who: &str) -> Request {
    let reason = "looks right".to_owned();
    ask("alpha", Command::ApproveOrder { order_id: id(order_id), by: by(who), reason })
}

async fn given_gated(governor: &Governor) {
    governor.ask(ask("alpha", registration("alpha"))).await.unwrap();
    governor.ask(ask("alpha", set_level(Level::Gated))).await.unwrap();
}

fn token_of(recorded: &Recorded) -> TokenId {
    let issued = recorded.events.iter().find_map(|event| {
        let Event::TokenChanged(token::Event::Issued(grant)) = event else { return None };
        Some(grant.id.clone())
    });
    issued.unwrap()
}

fn attempt(recorded: &Recorded) -> (Action, u32, bool) {
    (action(recorded), recorded.decision().unwrap().attempt, recorded.repeat)
}

#[test]
fn an_approved_order_is_decided_again_once_and_gives_that_answer_from_then_on() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_gated(&governor).await;
        let asked = || check("alpha", order("o1", 1));
        let ask_again = async |request| attempt(&governor.ask(request).await.unwrap());
        assert_eq!(ask_again(asked()).await, (Action::Block, 0, false));
        let head = governor.reader().head();
        assert_eq!(ask_again(asked()).await, (Action::Block, 0, true));
        assert_eq!(governor.reader().head(), head, "without an approval nothing is recorded");
        let token = token_of(&governor.ask(approve("o1", "ann")).await.unwrap());
        let presenting = || check("alpha", Order { token: Some(token.clone()), ..order("o1", 1) });
        assert_eq!(ask_again(presenting()).await, (Action::ReduceSize, 1, false));
        let head = governor.reader().head();
        for repeated in [asked(), presenting()] {
            assert_eq!(ask_again(repeated).await, (Action::ReduceSize, 1, true));
        }
        assert_eq!(governor.reader().head(), head);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn an_approved_order_passes_without_its_token_shown_and_many_at_once_use_it_once() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_gated(&governor).await;
        // Nobody waits for an answer: order, approval and question are under way together.
        let blocked = governor.ask(check("alpha", order("o1", 1)));
        let approved = governor.ask(approve("o1", "ann"));
        let again: Vec<_> = (0..20).map(|_| governor.ask(check("alpha", order("o1", 1)))).collect();
        let (blocked, approved, again) = futures::join!(blocked, approved, futures::future::join_all(again));
        assert_eq!(attempt(&blocked.unwrap()), (Action::Block, 0, false));
        approved.unwrap();
        let again: Vec<Recorded> = again.into_iter().map(Result::unwrap).collect();
        assert!(again.iter().all(|answer| action(answer) == Action::ReduceSize && answer.seq == again[0].seq));
        assert_eq!(again.iter().filter(|answer| !answer.repeat).count(), 1);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn an_approval_outlives_a_restart_and_so_does_the_second_answer() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        given_gated(&governor).await;
        governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        governor.ask(approve("o1", "ann")).await.unwrap();
        governor.shutdown(threads).await.unwrap();
    });
    for expected in [(Action::ReduceSize, 1, false), (Action::ReduceSize, 1, true)] {
        run(async {
            let (governor, threads) = start(open(dir.path()), &config());
            let again = governor.ask(check("alpha", order("o1", 1))).await.unwrap();
            assert_eq!(attempt(&again), expected);
            governor.shutdown(threads).await.unwrap();
        });
    }
}

#[test]
fn another_order_under_an_approved_id_is_refused_and_a_token_for_any_order_does_not_reopen_one() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_gated(&governor).await;
        governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        governor.ask(check("alpha", order("o2", 1))).await.unwrap();
        governor.ask(approve("o1", "ann")).await.unwrap();
        let larger = governor.ask(check("alpha", order("o1", 2))).await;
        assert!(matches!(larger, Err(Failure::Rejected(Rejection::IdReused { .. }))), "{larger:?}");
        let any = Grant {
            id: "any".parse().unwrap(),
            instruments: Vec::new(),
            side: None,
            notional_usd_max: None,
            order_id: None,
            uses_max: 1,
            expires_at: AT.plus_seconds(60),
            issued_by: by("ann"),
        };
        governor.ask(ask("alpha", Command::IssueToken(any))).await.unwrap();
        let other = governor.ask(check("alpha", order("o2", 1))).await.unwrap();
        assert_eq!(attempt(&other), (Action::Block, 0, true));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn an_approval_that_ran_out_gives_the_recorded_answer() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_gated(&governor).await;
        governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        governor.ask(approve("o1", "ann")).await.unwrap();
        let late = Request { at: AT.plus_seconds(300), ..check("alpha", order("o1", 1)) };
        assert_eq!(attempt(&governor.ask(late).await.unwrap()), (Action::Block, 0, true));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn the_order_of_a_signal_is_asked_about_again_under_the_signals_id() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_gated(&governor).await;
        let signal = |token: Option<TokenId>| {
            let signal = Signal { id: id("s1"), intent: None, tag: None };
            ask("alpha", Command::ReceiveSignal { signal, order: Order { token, ..order("o1", 1) } })
        };
        governor.ask(signal(None)).await.unwrap();
        let token = token_of(&governor.ask(approve("o1", "ann")).await.unwrap());
        let again = governor.ask(signal(Some(token))).await.unwrap();
        assert_eq!(attempt(&again), (Action::ReduceSize, 1, false));
        assert_eq!(attempt(&governor.ask(signal(None)).await.unwrap()), (Action::ReduceSize, 1, true));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_kill_overtakes_an_approved_order_too() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_gated(&governor).await;
        governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        governor.ask(approve("o1", "ann")).await.unwrap();
        assert_eq!(attempt(&governor.ask(check("alpha", order("o1", 1))).await.unwrap()).1, 1);
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        let killed = governor.ask(check("alpha", order("o1", 1))).await.unwrap();
        assert_eq!(attempt(&killed), (Action::Kill, 2, false));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn an_order_that_has_become_critical_since_is_recorded_once_more_and_then_waits_for_two_people() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        governor.ask(ask("alpha", registration("alpha"))).await.unwrap();
        governor.ask(ask("alpha", set_level(Level::Gated))).await.unwrap();
        let mut policy = Policy::default();
        policy.impact_classifier.required_levels = [Level::Gated; 4];
        adopt(&governor, policy.clone()).await;
        let asked = async || attempt(&governor.ask(check("alpha", order("o1", 1))).await.unwrap());
        asked().await;
        governor.ask(approve("o1", "ann")).await.unwrap();
        (policy.impact_classifier.medium_from, policy.impact_classifier.high_from) = (0.01, 0.02);
        policy.impact_classifier.critical_from = 0.03;
        adopt(&governor, policy).await;
        assert_eq!(asked().await, (Action::Block, 1, false));
        let head = governor.reader().head();
        for _ in 0..3 {
            assert_eq!(asked().await, (Action::Block, 1, true));
        }
        assert_eq!(governor.reader().head(), head, "while the unused token lives nothing is recorded");
        for who in ["ann", "bob"] {
            let later = Request { at: AT.plus_seconds(1), ..approve("o1", who) };
            governor.ask(later).await.unwrap();
        }
        assert_eq!(asked().await, (Action::ReduceSize, 2, false));
        assert_eq!(asked().await, (Action::ReduceSize, 2, true));
        governor.shutdown(threads).await.unwrap();
    });
}

async fn adopt(governor: &Governor, policy: Policy) {
    let (id, policy) = (policy.id(), Arc::new(policy));
    let adopt = system::Command::AdoptPolicy { id, policy, by: by("ann"), reason: "a test".into() };
    governor.change(adopt, AT, "".into(), None).await.unwrap();
}
