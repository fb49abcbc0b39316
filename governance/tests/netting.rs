//! Fills into round trips: vectors worked out by hand, and what holds for every sequence of fills.

use ephor_governance::event::{Event, Registration, Unattributed};
use ephor_governance::fill::{Fee, Fill, Netting, Pieces};
use ephor_governance::ids::StrategyId;
use ephor_governance::netting::{FLAT_MAX, LOTS_MAX};
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::Amount;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::given::{World, amount, order, read, registration, second};

/// [`LOTS_MAX`] and [`FLAT_MAX`], to count with.
const LOTS: i64 = 64;
const FLAT: i64 = 256;

/// `B 10 @ 100` at this second; the id is the second too.
pub(crate) fn fill(at: i64, text: &str) -> Fill {
    let words: Vec<&str> = text.split(' ').collect();
    Fill {
        id: read(&format!("fill-{at}")),
        instrument: read("GOOG.NASDAQ"),
        account: None,
        order_id: None,
        side: if words[0] == "B" { Side::Buy } else { Side::Sell },
        qty: amount(words[1]),
        price: amount(words[3]),
        fee: None,
        at: second(at),
    }
}

fn costing(fill: Fill, fee: &str, currency: Option<&str>, rate: Option<&str>) -> Fill {
    Fill { fee: Some(Fee { amount: amount(fee), currency: currency.map(read), rate: rate.map(amount) }), ..fill }
}

fn tell(world: &mut World, fill: &Fill, netting: Netting) -> Option<Trade> {
    let events = world
        .tell(&Command::RecordFill { fill: fill.clone(), netting, pieces: Pieces::Together, currency: None })
        .unwrap();
    assert_eq!(events[0], Event::FillRecorded { fill: fill.clone(), netting, pieces: Pieces::Together });
    let closed: Vec<Trade> = events
        .iter()
        .filter_map(|event| if let Event::TradeClosed(closed) = event { Some(closed.trade.clone()) } else { None })
        .collect();
    assert!(closed.len() <= 1, "{events:?}");
    assert_eq!(events.len() > 1, !closed.is_empty(), "nothing follows a fill that closes nothing: {events:?}");
    closed.into_iter().next()
}

fn refused(world: &World, fill: Fill) -> String {
    match world.decide(&Command::RecordFill { fill, netting: Netting::Fifo, pieces: Pieces::Together, currency: None })
    {
        Err(Rejection::InvalidField { field, problem }) => format!("{field}: {problem}"),
        other => panic!("{other:?}"),
    }
}

/// What each fill closes, as `qty entry->exit = pnl`, or `-`.
fn closes(netting: Netting, fills: &[Fill]) -> Vec<String> {
    let mut world = World::registered();
    let mut shown = |fill: &Fill| {
        let Some(trade) = tell(&mut world, fill, netting) else { return "-".to_owned() };
        let Trade { direction, qty, entry_price, exit_price, realized_pnl, .. } = trade;
        format!("{direction:?} {qty} {entry_price}->{exit_price} = {}", realized_pnl.normalized())
    };
    fills.iter().map(&mut shown).collect()
}

fn numbered(fills: &[&str]) -> Vec<Fill> {
    (0..).zip(fills).map(|(at, text)| fill(at, text)).collect()
}

#[test]
fn a_fill_counted_in_another_currency_is_refused() {
    let mut world = World::registered();
    let told = |currency: &str| Command::RecordFill {
        fill: fill(1, "B 10 @ 100"),
        netting: Netting::Fifo,
        pieces: Pieces::Together,
        currency: Some(read(currency)),
    };
    let problem = "EUR is not the strategy's own, USD".to_owned();
    assert_eq!(world.decide(&told("EUR")), Err(Rejection::InvalidField { field: "currency", problem }));
    let events = world.tell(&told("USD")).unwrap();
    // What is recorded is the same as where nothing was said.
    let (fill, netting, pieces) = (fill(1, "B 10 @ 100"), Netting::Fifo, Pieces::Together);
    assert_eq!(events, [Event::FillRecorded { fill, netting, pieces }]);
}

#[test]
fn partial_exits_take_the_oldest_lots_or_a_part_of_all() {
    let fills = numbered(&["B 10 @ 100", "B 10 @ 110", "S 5 @ 120", "S 10 @ 115", "S 5 @ 90"]);
    let fifo = ["-", "-", "Long 5 100->120 = 100", "Long 10 105->115 = 100", "Long 5 110->90 = -100"];
    let average = ["-", "-", "Long 5 105->120 = 75", "Long 10 105->115 = 100", "Long 5 105->90 = -75"];
    assert_eq!(closes(Netting::Fifo, &fills), fifo);
    assert_eq!(closes(Netting::Average, &fills), average);
}

#[test]
fn a_short_position_gains_when_the_price_falls() {
    let fills = numbered(&["S 1 @ 50", "S 3 @ 46", "B 2 @ 40", "B 2 @ 60"]);
    assert_eq!(closes(Netting::Fifo, &fills)[2..], ["Short 2 48->40 = 16", "Short 2 46->60 = -28"]);
    assert_eq!(closes(Netting::Average, &fills)[2..], ["Short 2 47->40 = 14", "Short 2 47->60 = -26"]);
}

#[test]
fn a_reversal_closes_the_old_position_and_opens_the_rest() {
    let fills = numbered(&["B 10 @ 100", "S 15 @ 110", "B 5 @ 100"]);
    for netting in [Netting::Fifo, Netting::Average] {
        assert_eq!(closes(netting, &fills), ["-", "Long 10 100->110 = 100", "Short 5 110->100 = 50"]);
    }
}

#[test]
fn pyramids_are_closed_from_the_bottom_up() {
    let fills = numbered(&["B 1 @ 10", "B 1 @ 20", "B 1 @ 30", "S 2 @ 25", "B 1 @ 40", "S 2 @ 35"]);
    assert_eq!(closes(Netting::Fifo, &fills), ["-", "-", "-", "Long 2 15->25 = 20", "-", "Long 2 35->35 = 0"]);
    assert_eq!(closes(Netting::Average, &fills)[3..], ["Long 2 20->25 = 10", "-", "Long 2 30->35 = 10"]);
}

#[test]
fn one_fill_gives_one_commit_with_all_that_follows() {
    let mut world = World::registered();
    let opened = Fill { order_id: Some(read("O-1")), ..fill(10, "B 10 @ 100") };
    tell(&mut world, &opened, Netting::Fifo);
    let closing = Fill { order_id: Some(read("O-2")), ..fill(20, "S 4 @ 90") };
    let events = world
        .tell(&Command::RecordFill {
            fill: closing.clone(),
            netting: Netting::Fifo,
            pieces: Pieces::Together,
            currency: None,
        })
        .unwrap();
    let names: Vec<&str> = events.iter().map(Event::name).collect();
    assert_eq!(names, ["FillRecorded", "TradeClosed", "HealthUpdated"]);
    assert_eq!(
        Command::of(&events),
        Some(Command::RecordFill { fill: closing, netting: Netting::Fifo, pieces: Pieces::Together, currency: None })
    );
    let Event::TradeClosed(closed) = &events[1] else { panic!("{events:?}") };
    let trade = &closed.trade;
    assert_eq!((trade.id.as_str(), trade.order_id.as_ref().unwrap().as_str()), ("fill-20", "O-2"));
    assert_eq!((trade.opened_at, trade.closed_at), (second(10), second(20)));
    assert_eq!((trade.direction, trade.qty, trade.currency.clone()), (Direction::Long, amount("4"), Some(read("USD"))));
    assert_eq!((world.state.totals.trades, world.state.totals.pnl), (1, amount("-40")));
    // Fourteen losing exits in a row are fourteen losing trades.
    for at in 21..31 {
        tell(&mut world, &fill(at, "B 1 @ 100"), Netting::Fifo);
    }
    let demoted = (31..45).any(|at| {
        let fill = fill(at, "S 1 @ 90");
        let events = world
            .tell(&Command::RecordFill { fill, netting: Netting::Fifo, pieces: Pieces::Together, currency: None })
            .unwrap();
        events.last().unwrap().name() == "MaturityTransitioned"
    });
    assert!(demoted, "a row of losses demotes, whoever netted them");
}

#[test]
fn fees_of_both_sides_are_taken_off_in_proportion() {
    let mut world = World::registered();
    assert_eq!(tell(&mut world, &costing(fill(0, "B 10 @ 100"), "2", None, None), Netting::Fifo), None);
    // 4 x 10 gained, 4/10 of 2 paid on entry, 1 on exit.
    let first = tell(&mut world, &costing(fill(1, "S 4 @ 110"), "1", Some("USD"), None), Netting::Fifo).unwrap();
    assert_eq!(first.realized_pnl, amount("38.2"));
    // 6 x 10 gained, 1.2 paid on entry; 15 sold for a rebate of 3, of which 6/15 belongs to what is closed.
    let second = tell(&mut world, &costing(fill(2, "S 15 @ 110"), "-3", None, Some("1")), Netting::Fifo).unwrap();
    assert_eq!((second.qty, second.realized_pnl), (amount("6"), amount("60")));
    // The other 9/15 of the rebate come with the short position of 9 that it opened.
    let third = tell(&mut world, &fill(3, "B 9 @ 110"), Netting::Fifo).unwrap();
    assert_eq!(third.realized_pnl, amount("1.8"));
    assert_eq!(world.state.fills.fees_unconverted, 0);
}

#[test]
fn a_fee_in_another_currency_counts_at_its_rate_and_is_never_guessed() {
    let mut world = World::registered();
    tell(&mut world, &costing(fill(0, "B 10 @ 100"), "0.01", Some("BNB"), Some("300")), Netting::Fifo);
    let known = tell(&mut world, &fill(1, "S 5 @ 100"), Netting::Fifo).unwrap();
    assert_eq!(known.realized_pnl, amount("-1.5"));
    let unknown = tell(&mut world, &costing(fill(2, "S 5 @ 100"), "0.01", Some("BNB"), None), Netting::Fifo).unwrap();
    assert_eq!(unknown.realized_pnl, amount("-1.5"), "only the entry's half");
    assert_eq!((world.state.fills.recorded, world.state.fills.fees_unconverted), (3, 1));
    // In the strategy's own currency there is nothing to convert, whatever rate a source knows for it.
    tell(&mut world, &costing(fill(3, "B 1 @ 100"), "1", Some("USD"), Some("2")), Netting::Fifo);
    let own = tell(&mut world, &fill(4, "S 1 @ 100"), Netting::Fifo).unwrap();
    assert_eq!(own.realized_pnl, amount("-1"));
    let wrong = costing(fill(5, "B 1 @ 1"), "1", Some("BNB"), Some("0"));
    assert_eq!(refused(&world, wrong), "fee_rate: must be above 0");
}

#[test]
fn a_late_fill_is_netted_when_it_arrives_and_counted() {
    let mut world = World::registered();
    tell(&mut world, &fill(100, "B 10 @ 100"), Netting::Fifo);
    let late = tell(&mut world, &fill(50, "S 4 @ 110"), Netting::Fifo).unwrap();
    assert_eq!((late.opened_at, late.closed_at), (second(100), second(100)), "not closed before it was opened");
    assert_eq!(world.state.fills.late, 1);
    tell(&mut world, &fill(90, "B 1 @ 120"), Netting::Fifo);
    // The late lot stands behind the one that came before it; the trade began when the first of both did.
    let closed = tell(&mut world, &fill(110, "S 7 @ 110"), Netting::Fifo).unwrap();
    assert_eq!((closed.opened_at, closed.closed_at, closed.realized_pnl), (second(90), second(110), amount("50")));
    assert_eq!(world.state.fills.late, 2);
    // Entry and exit the wrong way round: a short position from the exit on, and the same result.
    tell(&mut world, &fill(210, "S 1 @ 130"), Netting::Fifo);
    let turned = tell(&mut world, &fill(200, "B 1 @ 100"), Netting::Fifo).unwrap();
    assert_eq!((turned.direction, turned.realized_pnl), (Direction::Short, amount("30")));
}

#[test]
fn beyond_the_bound_the_two_oldest_lots_become_one() {
    let mut world = World::registered();
    for at in 1..=LOTS + 1 {
        tell(&mut world, &fill(at, &format!("B 1 @ {at}")), Netting::Fifo);
    }
    let book = &world.state.fills.books.values().next().unwrap().values().next().unwrap();
    assert_eq!((book.lots.len(), book.lots[0].qty, book.lots[0].cost), (LOTS_MAX, amount("2"), amount("3")));
    let first = tell(&mut world, &fill(100, "S 1 @ 2"), Netting::Fifo).unwrap();
    assert_eq!((first.entry_price, first.realized_pnl, first.opened_at), (amount("1.5"), amount("0.5"), second(1)));
    let all = tell(&mut world, &fill(101, &format!("S {LOTS_MAX} @ 0")), Netting::Fifo).unwrap();
    let cost = (LOTS + 1) * (LOTS + 2) / 2;
    assert_eq!(all.realized_pnl, amount("1.5").minus(Amount::from(cost)));
}

#[test]
fn the_multiplier_of_the_registration_values_the_result_and_no_fee() {
    let mut world = World::empty();
    let future = Registration { multiplier: amount("50"), ..registration() };
    world.tell(&Command::Register(future)).unwrap();
    tell(&mut world, &costing(fill(0, "B 2 @ 4000"), "4", None, None), Netting::Fifo);
    let trade = tell(&mut world, &costing(fill(1, "S 1 @ 4010.25"), "2", None, None), Netting::Fifo).unwrap();
    // 10.25 x 50, less half of 4 and 2.
    assert_eq!(trade.realized_pnl, amount("508.5"));
}

#[test]
fn what_divides_inexactly_is_rounded_once_and_lost_nowhere() {
    let fills = numbered(&["B 1 @ 1", "B 2 @ 2", "S 1 @ 2", "S 1 @ 2", "S 1 @ 2"]);
    let found = closes(Netting::Average, &fills);
    let pnl: Vec<&str> = found[2..].iter().map(|text| text.split(" = ").nth(1).unwrap()).collect();
    // 5/3 of cost each; the half of an odd last place goes to the even one.
    assert_eq!(pnl, ["0.3333333333333333", "0.3333333333333334", "0.3333333333333333"]);
    assert!(found[2].starts_with("Long 1 1.6666666666666667->2"), "{}", found[2]);
}

#[test]
fn a_quantity_that_would_lose_digits_is_refused() {
    let mut world = World::registered();
    tell(&mut world, &fill(0, "B 100000000000000000000 @ 1"), Netting::Fifo);
    let said = refused(&world, fill(1, "B 0.00000000000000000001 @ 1"));
    assert!(said.starts_with("qty: 0.00000000000000000001 beside the position of 1"), "{said}");
    assert!(refused(&world, fill(1, "S 0.00000000000000000001 @ 1")).starts_with("qty: "));
    let said = refused(&world, fill(1, "B 1000000000 @ 79228162514264337593543950335"));
    assert!(said.starts_with("qty: 1000000000 x price 7922"), "{said}");
    assert_eq!(refused(&world, Fill { qty: Amount::ZERO, ..fill(1, "B 1 @ 1") }), "qty: must be above 0, found 0");
}

#[test]
fn accounts_are_netted_apart_and_the_position_is_what_all_of_them_hold() {
    let mut world = World::registered();
    let of = |account: &str, fill: Fill| Fill { account: Some(read(account)), ..fill };
    tell(&mut world, &of("A", fill(0, "B 10 @ 100")), Netting::Fifo);
    assert_eq!(tell(&mut world, &of("B", fill(1, "S 4 @ 110")), Netting::Fifo), None);
    let positions = world.state.positions.clone().unwrap();
    assert_eq!(positions.into_iter().collect::<Vec<_>>(), [(read("GOOG.NASDAQ"), amount("6"))]);
    assert_eq!(tell(&mut world, &of("A", fill(2, "S 6 @ 100")), Netting::Fifo).unwrap().qty, amount("6"));
    assert_eq!(world.state.positions, Some([].into()), "4 long in one, 4 short in the other");
    // A report of what the fills have told already moves nothing; the position that a venue states is taken.
    let report = |position_qty| {
        Command::ReportOrder(OrderReport {
            id: read("report"),
            instrument: read("GOOG.NASDAQ"),
            order_id: None,
            status: OrderStatus::Filled,
            side: Some(Side::Buy),
            qty: Some(amount("10")),
            price: None,
            position_qty,
            equity: None,
            commission: None,
            reason: None,
        })
    };
    world.tell(&report(None)).unwrap();
    assert_eq!(world.state.positions, Some([].into()));
    world.tell(&report(Some(amount("3")))).unwrap();
    assert_eq!(world.state.positions, Some([(read("GOOG.NASDAQ"), amount("3"))].into()));
}

#[test]
fn the_currency_cannot_change_while_a_position_stands() {
    let mut world = World::registered();
    tell(&mut world, &fill(0, "B 1 @ 1"), Netting::Fifo);
    let euros = Command::Register(Registration { currency: read("EUR"), ..registration() });
    assert!(matches!(world.decide(&euros), Err(Rejection::InvalidField { field: "currency", .. })));
}

#[test]
fn only_so_many_flat_books_are_remembered_and_every_open_one() {
    let mut world = World::registered();
    let of = |number: i64, fill: Fill| Fill { instrument: read(&format!("I-{number}")), ..fill };
    let count = FLAT + 10;
    for number in 0..count {
        tell(&mut world, &of(number, fill(number, "B 2 @ 1")), Netting::Fifo);
    }
    assert_eq!(i64::try_from(world.state.fills.books.len()), Ok(count));
    for number in 0..count {
        tell(&mut world, &of(number, fill(count + number, "S 2 @ 1")), Netting::Fifo);
    }
    assert_eq!(world.state.fills.books.len(), FLAT_MAX);
    assert!(!world.state.fills.knows(&read("I-9")) && world.state.fills.knows(&read("I-10")));
    assert!(!world.state.fills.is_open());
}

fn unattributed() -> Unattributed {
    Unattributed {
        id: read("exec-1"),
        source: "fix".into(),
        kind: "fill".into(),
        content: "{}".to_owned(),
        reason: "no rule matches account X".to_owned(),
    }
}

#[test]
fn what_nobody_can_be_named_for_has_a_stream_that_takes_nothing_else() {
    let mut world = World::empty();
    world.id = StrategyId::unattributed();
    let events = world.tell(&Command::RecordUnattributed(unattributed())).unwrap();
    assert_eq!(events, [Event::UnattributedReceived(unattributed())]);
    assert_eq!(
        (world.state.unattributed, Command::of(&events)),
        (1, Some(Command::RecordUnattributed(unattributed())))
    );
    let no_strategy = Err(Rejection::NoStrategy { name: "UNATTRIBUTED" });
    assert_eq!(world.decide(&Command::Register(registration())), no_strategy);
    assert_eq!(world.decide(&Command::CheckOrder { order: order("O-1"), attempt: 0 }), no_strategy);
    assert_eq!(
        world.decide(&Command::RecordFill {
            fill: fill(0, "B 1 @ 1"),
            netting: Netting::Fifo,
            pieces: Pieces::Together,
            currency: None
        }),
        no_strategy
    );
    assert!("UNATTRIBUTED".parse::<StrategyId>().is_err());
    let elsewhere = World::registered().decide(&Command::RecordUnattributed(unattributed()));
    assert!(matches!(elsewhere, Err(Rejection::InvalidField { field: "strategy_id", .. })), "{elsewhere:?}");
    let long = Unattributed { content: "x".repeat((64 << 10) + 1), ..unattributed() };
    let Err(Rejection::InvalidField { field, problem }) = world.decide(&Command::RecordUnattributed(long)) else {
        panic!("too long");
    };
    assert_eq!((field, problem.as_str()), ("content", "has at most 65536 bytes, found 65537"));
    let mute = Unattributed { reason: " ".to_owned(), ..unattributed() };
    assert!(matches!(
        world.decide(&Command::RecordUnattributed(mute)),
        Err(Rejection::InvalidField { field: "reason", .. })
    ));
}

fn any_fee() -> impl Strategy<Value = Option<Fee>> {
    let fee = (
        -500..2_000_i64,
        select(vec![(None, None), (Some("USD"), None), (Some("BNB"), Some("3.7")), (Some("BNB"), None)]),
    );
    option::of(fee.prop_map(|(cents, (currency, rate))| Fee {
        amount: Amount::new(cents, 2),
        currency: currency.map(read),
        rate: rate.map(amount),
    }))
}

/// Any fill of one of two instruments, in one of two accounts.
pub(crate) fn any_fill() -> impl Strategy<Value = Fill> {
    let (instruments, accounts) = (select(vec!["BTC", "GOOG.NASDAQ"]), option::of(select(vec!["A", "B"])));
    (any::<bool>(), 1..5_000_i64, 1..90_000_i64, any_fee(), 0..10_000_i64, instruments, accounts).prop_map(
        |(buy, qty, price, fee, at, instrument, account)| Fill {
            id: read(&format!("fill-{at}")),
            instrument: read(instrument),
            account: account.map(read),
            order_id: (at % 3 > 0).then(|| read(&format!("order-{}", at % 7))),
            side: if buy { Side::Buy } else { Side::Sell },
            qty: Amount::new(qty, 3),
            price: Amount::new(price, 4),
            fee,
            at: second(at),
        },
    )
}

pub(crate) fn any_netting() -> impl Strategy<Value = Netting> {
    select(vec![Netting::Fifo, Netting::Average])
}

pub(crate) fn any_pieces() -> impl Strategy<Value = Pieces> {
    select(vec![Pieces::Apart, Pieces::Together])
}

/// The same fill without a fee, that brings this position to nothing.
fn flattening(position: Amount) -> Option<Fill> {
    let side = if position.is_positive() { Side::Sell } else { Side::Buy };
    (!position.is_zero()).then(|| Fill { side, qty: position.abs(), ..fill(99_999, "B 1 @ 7.77") })
}

fn one_book(mut fills: Vec<Fill>) -> Vec<Fill> {
    for fill in &mut fills {
        (fill.instrument, fill.account) = (read("GOOG.NASDAQ"), None);
    }
    fills
}

/// All fills, and one that ends the position.
fn to_flat(fills: &[Fill], netting: impl Fn(usize) -> Netting) -> (Vec<Trade>, Amount) {
    let mut world = World::registered();
    let mut trades: Vec<Trade> =
        fills.iter().enumerate().filter_map(|(place, fill)| tell(&mut world, fill, netting(place))).collect();
    let position = world.state.fills.position(&read("GOOG.NASDAQ"));
    let last = flattening(position).and_then(|fill| tell(&mut world, &fill, netting(fills.len())));
    trades.extend(last);
    assert!(!world.state.fills.is_open());
    (trades, world.state.totals.pnl)
}

proptest! {
    #[test]
    fn every_quantity_is_opened_and_closed_once(fills in vec(any_fill(), 1..100), netting in any_netting()) {
        let mut world = World::registered();
        let mut closed = Amount::ZERO;
        for fill in &fills {
            if let Some(trade) = tell(&mut world, fill, netting) {
                prop_assert!(trade.qty <= fill.qty && trade.closed_at >= trade.opened_at);
                closed = closed.plus(trade.qty);
            }
        }
        let books = world.state.fills.books.values().flat_map(|books| books.values());
        let open = books.fold(Amount::ZERO, |open, book| open.plus(book.position().abs()));
        let all = fills.iter().fold(Amount::ZERO, |all, fill| all.plus(fill.qty));
        prop_assert_eq!(closed.plus(closed).plus(open), all);
        for instrument in ["BTC", "GOOG.NASDAQ"] {
            let of = fills.iter().filter(|fill| fill.instrument.as_str() == instrument);
            let net = of.fold(Amount::ZERO, |net, fill| net.plus(fill.signed_qty()));
            prop_assert_eq!(world.state.fills.position(&read(instrument)), net);
            let reported = world.state.positions.as_ref().and_then(|open| open.get(&read(instrument))).copied();
            prop_assert_eq!(reported.unwrap_or_default(), net);
        }
    }

    #[test]
    fn once_flat_the_whole_result_does_not_depend_on_the_matching(
        fills in vec(any_fill(), 1..100), mixed in vec(any_netting(), 101),
    ) {
        let fills = one_book(fills);
        let (_, fifo) = to_flat(&fills, |_| Netting::Fifo);
        let (_, average) = to_flat(&fills, |_| Netting::Average);
        let (_, mixed) = to_flat(&fills, |place| mixed[place]);
        prop_assert_eq!((fifo, fifo), (average, mixed));
        // And it is what was sold for less what was paid for, less the fees that could be converted.
        let position = fills.iter().fold(Amount::ZERO, |net, fill| net.plus(fill.signed_qty()));
        let spent = fills.iter().cloned().chain(flattening(position)).fold(Amount::ZERO, |spent, fill| {
            let fee = fill.fee.as_ref().map_or(Amount::ZERO, |fee| match (&fee.currency, fee.rate) {
                (Some(currency), None) if currency.as_str() == "BNB" => Amount::ZERO,
                (_, rate) => fee.amount.times(rate.unwrap_or(Amount::ONE)).unwrap(),
            });
            spent.plus(fill.signed_qty().times(fill.price).unwrap()).plus(fee)
        });
        prop_assert_eq!(fifo, Amount::ZERO.minus(spent));
    }

    #[test]
    fn the_pieces_that_an_order_is_filled_in_do_not_change_the_whole_result(
        fills in vec((any_fill(), 1..5_i64), 1..50), netting in any_netting(),
    ) {
        let (whole, pieces): (Vec<Fill>, Vec<i64>) = fills.into_iter().unzip();
        let whole = one_book(whole);
        let split = whole.iter().zip(pieces).flat_map(|(fill, pieces)| {
            let thousandths = |qty: Amount| qty.times(amount("1000")).unwrap();
            let (last, each) = (pieces - 1, Amount::new(1, 3));
            let rest = fill.qty.minus(Amount::new(last, 3));
            let pieces = if thousandths(fill.qty) > Amount::from(last) { vec![each; usize::try_from(last).unwrap()] } else { vec![] };
            let rest = if pieces.is_empty() { fill.qty } else { rest };
            // The fee comes with the last piece.
            let piece = |qty| Fill { qty, fee: None, ..fill.clone() };
            pieces.into_iter().map(piece).chain([Fill { qty: rest, ..fill.clone() }]).collect::<Vec<_>>()
        });
        let split: Vec<Fill> = split.collect();
        prop_assert_eq!(to_flat(&whole, |_| netting).1, to_flat(&split, |_| netting).1);
    }
}
