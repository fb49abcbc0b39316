//! Exits that are under way: together never more than is held, and what they leave can always be closed.

use std::collections::BTreeMap;

use ephor_execution::engine::ExecutionEngine;
use ephor_execution::order::{TradeSignal, VenueOrder};
use ephor_execution::outcome::Outcome;
use ephor_execution::positions::Lane;
use ephor_execution::refusal::Refusal;
use ephor_execution::venue::{Execution, Filled, Holding, Known, Venue, VenueError, What};
use ephor_governance::ids::SourceId;
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use proptest::prelude::*;

use crate::house::{Fills, Journal, Says, block, code, entry, exit, prepare, signal, stages};

/// What becomes of the next order on its way.
#[derive(Clone, Copy, Debug, Default)]
enum Wire {
    #[default]
    Good,
    /// The venue has it, and its answer is lost.
    LosesAnswer,
    /// It never comes.
    LosesOrder,
}

/// Fills when it is told to, and as much as it is told to: for it, "reduce only" is advice.
#[derive(Clone, Debug, Default)]
struct Slow {
    orders: BTreeMap<SourceId, Known>,
    executions: Vec<Execution>,
    wire: Wire,
}

impl Slow {
    fn tell(&mut self, order: &VenueOrder, what: What) {
        self.executions.push(Execution {
            order_id: order.id.clone(),
            strategy: order.strategy.clone(),
            instrument: order.instrument.clone(),
            at: Timestamp::from_nanos(2_000_000_000),
            what,
        });
    }

    fn open(&self) -> Vec<SourceId> {
        self.orders.values().filter(|known| known.is_open).map(|known| known.order.id.clone()).collect()
    }

    fn fill(&mut self, id: &SourceId, most: i64) {
        let known = self.orders.get_mut(id).unwrap();
        let qty = known.order.qty.minus(known.filled).min(most.into());
        known.filled = known.filled.plus(qty);
        known.is_open = known.filled < known.order.qty;
        let (order, number) = (known.order.clone(), self.executions.len());
        let (id, price) = (format!("f-{number}").parse().unwrap(), 100.into());
        self.tell(&order, What::Filled(Filled { id, side: order.side, qty, price, fee: 0.into() }));
    }

    fn end(&mut self, id: &SourceId, what: What) {
        let known = self.orders.get_mut(id).unwrap();
        known.is_open = false;
        let order = known.order.clone();
        self.tell(&order, what);
    }

    fn held(&self) -> Amount {
        let signed = |known: &Known| known.order.side.signed(known.filled);
        self.orders.values().fold(Amount::ZERO, |sum, known| sum.plus(signed(known)))
    }

    /// What exits may still take.
    fn leaving(&self) -> Amount {
        let exits = self.orders.values().filter(|known| known.is_open && known.order.reduce_only);
        exits.fold(Amount::ZERO, |sum, known| sum.plus(known.order.qty.minus(known.filled)))
    }
}

impl Venue for Slow {
    fn submit(&mut self, order: &VenueOrder, _: Timestamp) -> Result<(), VenueError> {
        let wire = std::mem::take(&mut self.wire);
        let lost = || Err(VenueError::Unreachable { problem: "the line is cut".to_owned() });
        if matches!(wire, Wire::LosesOrder) {
            return lost();
        }
        if let Some(known) = self.orders.get(&order.id) {
            return if known.order == *order { Ok(()) } else { Err(VenueError::IdReused { id: order.id.clone() }) };
        }
        let known = Known { order: order.clone(), filled: Amount::ZERO, is_open: true };
        self.orders.insert(order.id.clone(), known);
        self.tell(order, What::Accepted);
        if matches!(wire, Wire::LosesAnswer) { lost() } else { Ok(()) }
    }

    fn cancel(&mut self, id: &SourceId, _: Timestamp) -> Result<(), VenueError> {
        if !self.open().contains(id) {
            return Err(VenueError::NotOpen { id: id.clone() });
        }
        self.end(id, What::Canceled);
        Ok(())
    }

    fn order(&self, id: &SourceId) -> Result<Option<Known>, VenueError> {
        Ok(self.orders.get(id).cloned())
    }

    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError> {
        Ok(self.executions.iter().skip(usize::try_from(cursor).unwrap()).cloned().collect())
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        Ok(Vec::new())
    }
}

type Engine = ExecutionEngine<Says, Slow, Fills>;

fn engine(live: Slow) -> Engine {
    let stages = stages(10, &Journal::default());
    let mut engine = ExecutionEngine::new(Some(Says::new(Action::Allow, 1.0)), live, Fills::at(100), stages);
    prepare(&mut engine);
    engine
}

/// Ten are held.
fn holding() -> Engine {
    let mut engine = engine(Slow::default());
    block(engine.on_signal(&entry("o-1")));
    engine.live().fill(&"o-1".parse().unwrap(), 10);
    block(engine.on_executions()).unwrap();
    engine
}

fn taken(outcome: &Outcome) -> (Amount, Vec<&'static str>) {
    let sent = outcome.submitted().unwrap();
    (sent.order.qty, sent.flags.iter().map(Refusal::code).collect())
}

#[test]
fn a_second_exit_gets_what_the_first_one_leaves_and_none_where_it_leaves_nothing() {
    let mut engine = holding();
    let first = "o-2".parse().unwrap();
    assert_eq!(taken(&block(engine.on_signal(&exit("o-2")))), (10.into(), vec![]));
    let none = block(engine.on_signal(&exit("o-3")));
    assert_eq!(code(&none), ("sizing", "SIZING_EXITS_UNDER_WAY"));
    let expected = Refusal::ExitsUnderWay { held: 10.into(), under_way: 10.into() };
    assert_eq!(none.refused().unwrap().refusal, expected);
    // Half is filled, and more is bought: what is held beyond the other half is free.
    engine.live().fill(&first, 5);
    block(engine.on_signal(&entry("o-4")));
    engine.live().fill(&"o-4".parse().unwrap(), 3);
    block(engine.on_executions()).unwrap();
    assert_eq!(taken(&block(engine.on_signal(&exit("o-5")))), (3.into(), vec!["SIZING_EXITS_UNDER_WAY"]));
    // Taken back, and the rest is free again; before it is heard of, it is not.
    engine.cancel(&first).unwrap();
    assert_eq!(code(&block(engine.on_signal(&exit("o-6")))), ("sizing", "SIZING_EXITS_UNDER_WAY"));
    block(engine.on_executions()).unwrap();
    assert_eq!(taken(&block(engine.on_signal(&exit("o-7")))), (5.into(), vec!["SIZING_EXITS_UNDER_WAY"]));
}

#[test]
fn an_exit_without_an_answer_is_under_way_until_the_venue_says_otherwise() {
    for (wire, is_free) in [(Wire::LosesAnswer, false), (Wire::LosesOrder, true)] {
        let without_answer = || {
            let mut engine = holding();
            engine.live().wire = wire;
            assert_eq!(code(&block(engine.on_signal(&exit("o-2")))), ("submission", "VENUE_UNREACHABLE"));
            assert_eq!(code(&block(engine.on_signal(&exit("o-3")))), ("sizing", "SIZING_EXITS_UNDER_WAY"));
            engine
        };
        let mut engine = without_answer();
        block(engine.on_executions()).unwrap();
        let other = block(engine.on_signal(&exit("o-3")));
        assert_eq!(other.submitted().is_some(), is_free, "{wire:?}: {other:?}");
        // The same signal again is the same order, and stands in nobody's way twice.
        let mut engine = without_answer();
        assert_eq!(taken(&block(engine.on_signal(&exit("o-2")))), (10.into(), vec![]), "{wire:?}");
        assert_eq!((engine.live().leaving(), engine.live().orders.len()), (10.into(), 2), "{wire:?}");
        // A venue that is slow to say that it has it.
        let told = engine.live().executions.iter().position(|told| told.order_id.as_str() == "o-2").unwrap();
        engine.live().executions.remove(told);
        block(engine.on_signal(&entry("o-4")));
        engine.live().fill(&"o-4".parse().unwrap(), 10);
        block(engine.on_executions()).unwrap();
        assert_eq!(taken(&block(engine.on_signal(&exit("o-5")))).0, 10.into(), "{wire:?}");
    }
}

#[test]
fn only_exits_from_the_same_position_count() {
    let mut engine = holding();
    let other = |id: &str, strategy: &str, instrument: &str, side, intent| TradeSignal {
        strategy: strategy.parse().unwrap(),
        instrument: instrument.parse().unwrap(),
        ..signal(id, side, intent)
    };
    // Others have positions of their own, and exits from them under way.
    for (number, (strategy, instrument)) in [("carry", "ABC"), ("momentum", "XYZ")].into_iter().enumerate() {
        let [into, out] = ["in", "out"].map(|way| format!("{way}-{number}"));
        block(engine.on_signal(&other(&into, strategy, instrument, Side::Buy, Intent::Entry)));
        engine.live().fill(&into.parse().unwrap(), 10);
        block(engine.on_executions()).unwrap();
        let leaves = block(engine.on_signal(&other(&out, strategy, instrument, Side::Sell, Intent::Exit)));
        assert_eq!(taken(&leaves), (10.into(), vec![]), "{strategy} {instrument}");
    }
    // A sale that is no exit is a position of its own.
    block(engine.on_signal(&signal("short", Side::Sell, Intent::Entry)));
    assert_eq!(taken(&block(engine.on_signal(&exit("o-2")))), (10.into(), vec![]));

    // An exit from a short position that is a long one by now.
    let mut engine = self::engine(Slow::default());
    block(engine.on_signal(&signal("o-1", Side::Sell, Intent::Entry)));
    engine.live().fill(&"o-1".parse().unwrap(), 10);
    block(engine.on_executions()).unwrap();
    assert_eq!(taken(&block(engine.on_signal(&signal("o-2", Side::Buy, Intent::Exit)))), (10.into(), vec![]));
    for long in ["o-3", "o-4"] {
        block(engine.on_signal(&entry(long)));
        engine.live().fill(&long.parse().unwrap(), 10);
    }
    block(engine.on_executions()).unwrap();
    assert_eq!(taken(&block(engine.on_signal(&exit("o-5")))), (10.into(), vec![]));
}

#[test]
fn an_exit_under_way_on_one_venue_leaves_the_position_on_the_other_alone() {
    let stages = stages(10, &Journal::default());
    let says = Says::new(Action::Allow, 1.0);
    let mut engine = ExecutionEngine::new(Some(says), Slow::default(), Slow::default(), stages);
    prepare(&mut engine);
    // The same order of the same strategy, filled on both.
    block(engine.on_signal(&entry("o-1")));
    engine.live().fill(&"o-1".parse().unwrap(), 10);
    *engine.paper() = engine.live().clone();
    block(engine.on_executions()).unwrap();
    for lane in Lane::ALL {
        let outcome = block(engine.on_signal(&exit(lane.as_str())));
        assert_eq!((taken(&outcome), outcome.submitted().unwrap().lane), ((10.into(), vec![]), lane));
    }
    assert_eq!(code(&block(engine.on_signal(&exit("o-2")))), ("sizing", "SIZING_EXITS_UNDER_WAY"));
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    /// On what is known, or after a look at what venues have done.
    Leave {
        looks: bool,
        wire: Wire,
    },
    /// Any open order, by as much.
    Fill(prop::sample::Index, i64),
    Cancel(prop::sample::Index),
    Reject(prop::sample::Index),
    TakeIn,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wire = prop_oneof![4 => Just(Wire::Good), 1 => Just(Wire::LosesAnswer), 1 => Just(Wire::LosesOrder)];
    let open = any::<prop::sample::Index>;
    let step = prop_oneof![
        3 => Just(Step::Enter),
        5 => (any::<bool>(), wire).prop_map(|(looks, wire)| Step::Leave { looks, wire }),
        6 => (open(), 1_i64..12).prop_map(|(which, most)| Step::Fill(which, most)),
        1 => open().prop_map(Step::Cancel),
        1 => open().prop_map(Step::Reject),
        3 => Just(Step::TakeIn),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

fn on_one(venue: &mut Slow, which: prop::sample::Index, act: impl FnOnce(&mut Slow, &SourceId)) {
    let open = venue.open();
    if !open.is_empty() {
        act(venue, which.get(&open));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn exits_under_way_never_come_to_more_than_the_position(steps in steps(), is_short in any::<bool>()) {
        let (into, out) = if is_short { (Side::Sell, Side::Buy) } else { (Side::Buy, Side::Sell) };
        let mut engine = engine(Slow::default());
        for (number, step) in steps.iter().enumerate() {
            let id = format!("o-{number}");
            match step {
                Step::Enter => {
                    block(engine.on_signal(&signal(&id, into, Intent::Entry)));
                }
                Step::Leave { looks, wire } => {
                    if *looks {
                        block(engine.on_executions()).unwrap();
                    }
                    let free = engine.live().held().abs().minus(engine.live().leaving());
                    engine.live().wire = *wire;
                    let outcome = block(engine.on_signal(&signal(&id, out, Intent::Exit)));
                    engine.live().wire = Wire::Good;
                    // What no other exit may take is not trapped.
                    if *looks && matches!(wire, Wire::Good) {
                        let sent = outcome.submitted().map_or(Amount::ZERO, |sent| sent.order.qty);
                        prop_assert_eq!(sent, free);
                    }
                }
                Step::Fill(which, most) => on_one(engine.live(), *which, |venue, id| venue.fill(id, *most)),
                Step::Cancel(which) => on_one(engine.live(), *which, |venue, id| venue.end(id, What::Canceled)),
                Step::Reject(which) => on_one(engine.live(), *which, |venue, id| {
                    venue.end(id, What::Rejected { reason: "no".to_owned() });
                }),
                Step::TakeIn => block(engine.on_executions()).unwrap(),
                Step::Restart => engine = self::engine(engine.into_venues().0),
            }
            let venue = engine.live();
            prop_assert!(venue.leaving() <= venue.held().abs(), "{} of {} leave", venue.leaving(), venue.held());
        }
    }
}
