//! Histories that nobody thought of: commands in any order, some of them late.

use ephor_events::Reader;
use ephor_events::codec::decode_all;
use ephor_governance::event::{Event, Scope};
use ephor_governance::fill::{Fee, Fill, Netting, Pieces};
use ephor_governance::maturity::Level;
use ephor_governance::order::Side;
use ephor_governance::strategy::{self, Command, State};
use ephor_governance::units::{Amount, Timestamp};
use proptest::prelude::*;

use crate::world::{World, check, read, second, set_level};

pub(crate) const NAMES: [&str; 3] = ["momentum", "reversion", "carry"];

#[derive(Clone, Debug)]
pub(crate) struct Step {
    strategy: usize,
    what: What,
    /// Seconds before it is recorded, or after; mostly none.
    late: i64,
}

#[derive(Clone, Debug)]
enum What {
    Close(i64),
    Fill(i64, i64),
    Check,
    Pause,
    Resume,
    Level(usize),
    Baseline,
    Account,
    Kill,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let what = prop_oneof![
        6 => (-300_i64..300).prop_map(What::Close),
        4 => (-20_i64..20, 90_i64..110).prop_map(|(qty, price)| What::Fill(qty, price)),
        3 => Just(What::Check),
        1 => Just(What::Pause),
        1 => Just(What::Resume),
        1 => (0_usize..5).prop_map(What::Level),
        1 => Just(What::Baseline),
        1 => Just(What::Account),
        1 => Just(What::Kill),
    ];
    let late = prop_oneof![3 => Just(0_i64), 1 => -2_i64..12];
    let step = (0..NAMES.len(), what, late).prop_map(|(strategy, what, late)| Step { strategy, what, late });
    prop::collection::vec(step, 1..60)
}

/// The history that these steps make: every strategy registered first.
pub(crate) fn world(steps: &[Step]) -> World {
    let mut world = World::registered();
    NAMES.iter().skip(1).for_each(|name| {
        world.register(name);
    });
    for (number, Step { strategy, what, late }) in steps.iter().enumerate() {
        let name = NAMES[*strategy];
        world.happened = Some(world.at.plus_seconds(0.max(-late).unsigned_abs())).filter(|_| *late < 0);
        if *late > 0 {
            world.happened = Some(second(world.at.nanos() / 1_000_000_000 - late));
        }
        match what {
            What::Close(pnl) => {
                let command = world.trade(&pnl.to_string());
                world.ask(name, &command);
            }
            What::Fill(qty, price) => {
                let command = fill(number, *qty, *price, world.happened.unwrap_or(world.at));
                world.ask(name, &command);
            }
            What::Check => world.ask(name, &check(&format!("order-{number}"), "10")),
            What::Pause => world.ask(name, &Command::Pause { by: read("alice"), reason: "a look".into() }),
            What::Resume => world.ask(name, &Command::Resume { by: read("alice"), reason: "seen".into() }),
            What::Level(level) => world.ask(name, &set_level(Level::ALL[*level])),
            What::Baseline => {
                if !has_baseline(&world, name) {
                    world.baseline(name);
                }
            }
            What::Account => {
                world.account(number);
            }
            What::Kill => {
                let scope = Scope::Instrument(read(&format!("I{number}.NASDAQ")));
                world.kill(scope);
            }
        }
    }
    world
}

/// A fill of so many, a sale where that is below zero; a fee in another currency with some of them.
pub(crate) fn fill(number: usize, qty: i64, price: i64, at: Timestamp) -> Command {
    let fee = Fee { amount: Amount::new(7, 1), currency: Some(read("EUR")), rate: Some(Amount::new(108, 2)) };
    let fill = Fill {
        id: read(&format!("fill-{number}")),
        instrument: read("GOOG.NASDAQ"),
        account: number.is_multiple_of(5).then(|| read("second")),
        order_id: Some(read(&format!("order-{}", number / 3))),
        side: if qty < 0 { Side::Sell } else { Side::Buy },
        qty: Amount::from(qty.abs()),
        price: Amount::from(price),
        fee: (qty % 2 == 0).then_some(fee),
        at,
    };
    let netting = if number.is_multiple_of(3) { Netting::Average } else { Netting::Fifo };
    let pieces = if number.is_multiple_of(7) { Pieces::Apart } else { Pieces::Together };
    Command::RecordFill { fill, netting, pieces, currency: None }
}

fn has_baseline(world: &World, name: &str) -> bool {
    world.strategies[&read(name)].0.baseline.is_some()
}

/// One recorded event of a strategy with its commit's times, read in the plainest way.
pub(crate) struct Plain {
    pub(crate) seq: u64,
    pub(crate) recorded_at: i64,
    pub(crate) occurred_at: i64,
    pub(crate) decided_at: Timestamp,
    pub(crate) event: Event,
}

/// Every event of a strategy in the order of the log.
pub(crate) fn events(reader: &Reader, name: &str) -> Vec<Plain> {
    let mut found = Vec::new();
    let mut cursor = reader.cursor(ephor_events::Seq(1)).unwrap();
    while let Some(commit) = cursor.next().unwrap() {
        if commit.stream.as_str() == name {
            for (seq, event) in (commit.seq.0..).zip(decode_all(&commit)) {
                found.push(Plain {
                    seq,
                    recorded_at: commit.recorded_at,
                    occurred_at: commit.occurred_at,
                    decided_at: Timestamp::from_nanos(commit.decided_at),
                    event: event.unwrap(),
                });
            }
        }
    }
    found
}

pub(crate) fn folded<'a>(events: impl IntoIterator<Item = &'a Plain>) -> State {
    events.into_iter().fold(State::default(), |state, plain| strategy::evolve(state, &plain.event, plain.decided_at))
}
