//! Fills and what belongs to nobody, through mailboxes: counted once, whatever is delivered how often.

use ephor_governance::event::Unattributed;
use ephor_governance::fill::{Fee, Fill, Netting, Pieces};

use super::*;

fn fill(name: &str, side: Side, price: i64) -> Fill {
    Fill {
        id: id(name),
        instrument: "ABC.XNAS".parse().unwrap(),
        account: None,
        order_id: None,
        side,
        qty: Amount::ONE,
        price: Amount::from(price),
        fee: Some(Fee { amount: Amount::ONE, currency: Some("EUR".parse().unwrap()), rate: Some(Amount::from(2)) }),
        at: AT,
    }
}

fn told(fill: Fill, netting: Netting) -> Request {
    ask("alpha", Command::RecordFill { fill, netting, pieces: Pieces::Together, currency: None })
}

#[test]
fn a_fill_delivered_twice_counts_once_and_another_under_its_id_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (governor, threads) = start(open(dir.path()), &config());
        governor.ask(ask("alpha", registration("alpha"))).await.unwrap();
        governor.ask(told(fill("f1", Side::Buy, 100), Netting::Fifo)).await.unwrap();
        let closed = governor.ask(told(fill("f2", Side::Sell, 110), Netting::Fifo)).await.unwrap();
        let names: Vec<_> = closed.events.iter().map(Event::name).collect();
        assert_eq!(names, ["FillRecorded", "TradeClosed", "HealthUpdated"]);
        let head = governor.reader().head();
        // Delivered again, after the settings have changed: another matching, another rate.
        let mut again = fill("f2", Side::Sell, 110);
        again.fee.as_mut().unwrap().rate = None;
        let repeated = governor.ask(told(again, Netting::Average)).await.unwrap();
        assert!(repeated.repeat && repeated.seq == closed.seq);
        let other = governor.ask(told(fill("f2", Side::Sell, 111), Netting::Fifo)).await;
        assert!(matches!(other, Err(Failure::Rejected(Rejection::IdReused { .. }))), "{other:?}");
        assert_eq!(governor.reader().head(), head);
        governor.shutdown(threads).await.unwrap();
    });
    run(async {
        // The book outlives the process: what was bought before is sold after.
        let (governor, threads) = start(open(dir.path()), &config());
        governor.ask(told(fill("f3", Side::Buy, 100), Netting::Fifo)).await.unwrap();
        assert!(governor.ask(told(fill("f2", Side::Sell, 110), Netting::Fifo)).await.unwrap().repeat);
        governor.shutdown(threads).await.unwrap();
        let (governor, threads) = start(open(dir.path()), &config());
        let closed = governor.ask(told(fill("f4", Side::Sell, 110), Netting::Fifo)).await.unwrap();
        let Some(Event::TradeClosed(closed)) = closed.events.get(1) else { panic!("{closed:?}") };
        assert_eq!(closed.trade.realized_pnl, Amount::from(6), "10 gained, twice a euro of 2 dollars paid");
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn what_belongs_to_nobody_is_kept_once_and_its_stream_takes_nothing_else() {
    run(async {
        let (governor, threads) = start(EventLog::memory(), &config());
        let nobody = |command| Request { strategy: StrategyId::unattributed(), ..ask("alpha", command) };
        let received = |source: &str, content: &str, reason: &str| {
            nobody(Command::RecordUnattributed(Unattributed {
                id: id("exec-1"),
                source: source.into(),
                kind: "fill".into(),
                content: content.to_owned(),
                reason: reason.to_owned(),
            }))
        };
        let stopped = governor.ask(nobody(registration("alpha"))).await;
        assert!(matches!(stopped, Err(Failure::Rejected(Rejection::NoStrategy { .. }))), "{stopped:?}");
        governor.ask(received("fix", "{}", "no rule matches")).await.unwrap();
        assert!(governor.ask(received("fix", "{}", "no rule matches any more")).await.unwrap().repeat);
        // Two venues may well count their executions alike.
        assert!(!governor.ask(received("alpaca", "{}", "no rule matches")).await.unwrap().repeat);
        let other = governor.ask(received("fix", "{\"a\":1}", "no rule matches")).await;
        assert!(matches!(other, Err(Failure::Rejected(Rejection::IdReused { .. }))), "{other:?}");
        let check = governor.ask(nobody(Command::CheckOrder { order: order("o1", 1), attempt: 0 })).await.unwrap_err();
        assert_eq!(check.reason(), Reason::StrategyUnknown);
        let stream = StreamId::new(StrategyId::UNATTRIBUTED);
        assert_eq!(governor.reader().version_of(&stream).0, 2);
        governor.shutdown(threads).await.unwrap();
    });
}
