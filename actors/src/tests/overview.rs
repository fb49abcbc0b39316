//! What is seen of the house from outside: live states, heads, figures, heartbeats.

use super::*;
use crate::{Loaded, Part};

#[test]
fn every_registered_strategy_is_brought_to_life_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        for number in 0..100 {
            let name = format!("s{number:02}");
            governor.ask(ask(&name, registration(&name))).await.unwrap();
        }
        governor.shutdown(threads).await.unwrap();
    });
    run(async {
        let (governor, threads) = start(open(dir.path()), &Config { shards: 3, ..config() });
        let s07: StrategyId = "s07".parse().unwrap();
        assert!(governor.look(&s07).await.is_none(), "nobody has asked about it");
        let Loaded { live, failed } = governor.load_all().await;
        assert_eq!((live, failed.len(), governor.gates()), (100, 0, 3));
        let seen = governor.survey(|id, state, version, at| (id.clone(), state.maturity.level, version.0, at)).await;
        assert_eq!(seen.len(), 100);
        assert!(
            seen.is_sorted()
                && seen.iter().all(|(_, level, version, at)| (*level, *version, *at) == (Level::Paper, 1, AT))
        );
        assert_eq!(governor.look(&s07).await.unwrap().state.registration.unwrap().id, id("s07"));
        let Loaded { live, failed } = governor.load(["ghost".parse().unwrap(), s07]).await;
        assert_eq!((live, failed[0].0.as_str()), (1, "ghost"));
        assert!(matches!(failed[0].1, Failure::Rejected(Rejection::UnknownStrategy)));
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn who_looks_and_panics_sees_nothing_and_harms_nobody() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        let seen = governor.survey(|_, _, version, _| assert!(version.0 > 1_000)).await;
        assert_eq!(seen.len(), 0);
        assert_eq!(action(&governor.ask(check("alpha", order("o1", 1))).await.unwrap()), Action::Allow);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn the_head_moves_with_every_group_and_what_it_names_can_be_read() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        let mut head = governor.head_watch();
        let before = *head.borrow_and_update();
        assert_eq!(before, governor.reader().head().seq);
        given_autonomous(&governor, "alpha").await;
        tokio::time::timeout(Duration::from_secs(5), head.changed()).await.unwrap().unwrap();
        let after = *head.borrow_and_update();
        assert_eq!(after, governor.reader().head().seq);
        assert!(after > before && governor.reader().commit_of(after).unwrap().is_some());
        assert!(!head.has_changed().unwrap(), "and only then");
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn measures_count_what_was_written_and_what_was_refused() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &Config { in_flight_max: 4, ..config() });
        given_autonomous(&governor, "alpha").await;
        let asked: Vec<_> = (0..10).map(|n| governor.ask(check("alpha", order(&format!("o{n}"), 1)))).collect();
        assert_eq!(governor.measures().under_way, 4);
        futures::future::join_all(asked).await;
        let measures = governor.measures();
        assert_eq!((measures.commits, measures.events), (7, governor.reader().head().seq.0));
        assert_eq!((measures.overloaded, measures.under_way, measures.under_way_max, measures.queued), (6, 0, 4, 0));
        let groups: u64 = measures.group_commits.counts.iter().sum();
        assert_eq!(groups, measures.group_micros.counts.iter().sum::<u64>());
        assert!(groups >= 4 && measures.group_commits.sum == 7);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_gate_that_stands_still_has_no_heartbeat() {
    run(async {
        let (governor, threads) =
            Governor::start_with(EventLog::memory(), &Config { shards: 2, ..config() }, troubled, strategy::apply)
                .unwrap();
        let within = Duration::from_secs(5);
        assert_eq!(governor.heartbeat(within).await, []);
        given_autonomous(&governor, "alpha").await;
        let slow = governor.ask(check("alpha", order("slow", 1)));
        let silent = governor.heartbeat(Duration::from_millis(20)).await;
        assert!(matches!(silent[..], [Part::Gate(_)]), "{silent:?}");
        drop(slow.await);
        assert_eq!(governor.heartbeat(within).await, []);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn the_system_is_seen_as_every_gate_has_adopted_it() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        governor.begin(AT).await.unwrap();
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        let view = governor.system_view();
        assert_eq!((view.version.0, view.state.kills.len()), (2, 1));
        governor.shutdown(threads).await.unwrap();
    });
}
