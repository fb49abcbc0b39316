//! New exposure is turned away while something that must be there is not; exits pass, and nothing latches.

use super::*;

#[test]
fn while_new_exposure_is_held_back_exits_pass_and_afterwards_everything_does() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (governor, threads) = Governor::start(open(dir.path()), &config()).unwrap();
        governor.ask(ask("s", registration("r"))).await.unwrap();
        let first = governor.ask(check("s", order("o0", 1))).await.unwrap();
        governor.hold(Some("the archive is away".into()));
        let before = governor.reader().head().seq;
        let failure = governor.ask(check("s", order("o1", 1))).await.unwrap_err();
        assert!(matches!(&failure, Failure::Held { why } if &**why == "the archive is away"), "{failure}");
        assert!(failure.is_retryable());
        assert_eq!(governor.reader().head().seq, before, "nothing is recorded of it");
        // What was decided before is answered as it was, and its id stands for nothing else.
        let again = governor.ask(check("s", order("o0", 1))).await.unwrap();
        assert!(again.repeat && (again.seq, again.decision()) == (first.seq, first.decision()));
        let other = governor.ask(check("s", order("o0", 2))).await.unwrap_err();
        assert!(matches!(&other, Failure::Rejected(Rejection::IdReused { .. })), "{other}");
        assert_eq!(governor.reader().head().seq, before);
        let exit = Order { reduce_only: true, ..order("o2", 1) };
        assert!(governor.ask(check("s", exit)).await.unwrap().decision().is_some());
        governor.ask(ask("s", trade("t", 1))).await.unwrap();
        governor.hold(None);
        let recorded = governor.ask(check("s", order("o1", 1))).await.unwrap();
        assert!(!recorded.repeat && recorded.decision().is_some(), "it is decided now");
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn what_was_decided_before_leaves_no_more_after_a_kill_while_new_exposure_is_held_back() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        given_autonomous(&governor, "alpha").await;
        assert_eq!(action(&governor.ask(check("alpha", order("o1", 1))).await.unwrap()), Action::Allow);
        governor.hold(Some("the archive is away".into()));
        assert_eq!(action(&governor.ask(check("alpha", order("o1", 1))).await.unwrap()), Action::Allow);
        governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        let failure = governor.ask(check("alpha", order("o1", 1))).await.unwrap_err();
        assert!(matches!(failure, Failure::Held { .. }), "{failure}");
        governor.hold(None);
        assert_eq!(action(&governor.ask(check("alpha", order("o1", 1))).await.unwrap()), Action::Kill);
        governor.shutdown(threads).await.unwrap();
    });
}
