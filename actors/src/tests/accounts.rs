//! Reports of the account are many and a kill is one: it does not wait behind them.

use futures::future::{join_all, maybe_done};

use super::*;

#[test]
fn a_kill_does_not_wait_behind_reports_of_the_account_and_they_keep_their_order() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        governor.begin(AT).await.unwrap();
        let report = |number| Box::pin(maybe_done(governor.change(account(number), AT, "".into(), None)));
        let mut reports: Vec<_> = (0..300).map(report).collect();
        for report in &mut reports {
            let _polled = futures::poll!(report.as_mut());
        }
        let killed = governor.change(kill(Scope::All, false), AT, "".into(), None).await.unwrap();
        join_all(reports.iter_mut()).await;
        let seqs: Vec<Seq> =
            reports.iter_mut().map(|report| report.as_mut().take_output().unwrap().unwrap().seq).collect();
        assert!(seqs.is_sorted(), "an older report recorded later would be taken for the newest");
        let before = seqs.iter().filter(|seq| **seq < killed.seq).count();
        assert!(before < 32, "{before} reports came before the kill");
        drop(reports);
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn a_report_of_the_account_that_gets_no_place_in_time_is_refused_and_nothing_else_is() {
    run(async {
        let config = Config { timeout: Duration::from_millis(100), ..config() };
        let (governor, threads) =
            Governor::start_with(EventLog::memory(), &config, troubled as DecideFn, strategy::apply).unwrap();
        given_autonomous(&governor, "alpha").await;
        // The gate stands still, so no change is adopted.
        let stuck = governor.ask(check("alpha", order("slow", 1)));
        let reports = join_all((0..9).map(|number| governor.change(account(number), AT, "".into(), None)));
        let killing = governor.change(kill(Scope::All, false), AT, "".into(), None);
        let (_late, reports, killed) = futures::join!(stuck, reports, killing);
        let refused = |report: &&Result<Recorded, Failure>| matches!(report, Err(Failure::Overloaded));
        assert_eq!(reports.iter().filter(refused).count(), 1, "{reports:?}");
        assert!(matches!(killed, Err(Failure::TimedOut { .. })), "{killed:?}");
        governor.shutdown(threads).await.unwrap();
    });
}
