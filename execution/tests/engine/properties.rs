//! What holds for any stream of signals, any answer and any venue.

use std::collections::BTreeMap;

use ephor_execution::order::TradeSignal;
use ephor_execution::outcome::Outcome;
use ephor_execution::positions::Lane;
use ephor_execution::risk::{ExposureLimits, OrderLimits, Throttle};
use ephor_execution::venue::{Execution, What};
use ephor_governance::gate;
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use proptest::prelude::*;

use crate::house::{Journal, Says, block, engine, send, signal, stages};

fn actions() -> impl Strategy<Value = (Action, f64, gate::Execution)> {
    let executions =
        prop_oneof![Just(gate::Execution::None), Just(gate::Execution::Paper), Just(gate::Execution::Live)];
    let actions = prop_oneof![
        Just(Action::Allow),
        Just(Action::ReduceSize),
        Just(Action::Block),
        Just(Action::Demote),
        Just(Action::Pause),
        Just(Action::Kill)
    ];
    (actions, 0.0..=1.0, executions)
}

fn wishes() -> impl Strategy<Value = Vec<(bool, bool, bool)>> {
    prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..40)
}

fn signals(wishes: &[(bool, bool, bool)]) -> Vec<TradeSignal> {
    let make = |(number, (buys, enters, other)): (usize, &(bool, bool, bool))| {
        let side = if *buys { Side::Buy } else { Side::Sell };
        let intent = if *enters { Intent::Entry } else { Intent::Exit };
        let strategy = if *other { "carry" } else { "momentum" };
        let at = Timestamp::from_nanos(1_000 * i64::try_from(number).unwrap());
        TradeSignal { strategy: strategy.parse().unwrap(), at, ..signal(&format!("o-{number}"), side, intent) }
    };
    wishes.iter().enumerate().map(make).collect()
}

proptest! {
    #[test]
    fn no_order_is_larger_than_asked_for_or_than_allowed((action, multiplier, execution) in actions(), wishes in wishes(), size in 1_i64..1_000) {
        let journal = Journal::default();
        let says = Says { execution, ..Says::new(action, multiplier) };
        let mut engine = engine(Some(says), stages(size, &journal), &journal);
        for signal in signals(&wishes) {
            let Outcome::Submitted(sent) = send(&mut engine, &signal) else { continue };
            prop_assert!(sent.order.qty <= sent.asked);
            if signal.intent == Intent::Entry {
                prop_assert!(sent.order.qty <= Amount::from(size));
                let answer = sent.answer.as_ref().unwrap();
                prop_assert!(answer.execution != gate::Execution::None, "an order of a strategy that may not trade");
                if answer.execution == gate::Execution::Live {
                    prop_assert!(!answer.action.rejects());
                    prop_assert!(sent.order.qty.to_f64() <= f64::from(i32::try_from(size).unwrap()) * multiplier + 1e-9);
                }
            }
        }
    }

    #[test]
    fn an_exit_passes_whatever_the_limits(wishes in wishes(), size in 1_i64..100) {
        let journal = Journal::default();
        let mut stages = stages(size, &journal);
        stages.pre_trade.push(Box::new(OrderLimits { value_max: Some(1.into()), qty_max: Some(1.into()) }));
        stages.pre_trade.push(Box::new(ExposureLimits { position_max: Some(1.into()), gross_max: Some(1.into()) }));
        stages.pre_trade.push(Box::new(Throttle::new(0, 1)));
        let mut engine = engine(Some(Says::new(Action::Allow, 1.0)), stages, &journal);
        // Positions from before the limits: filled, and told by the venue.
        let before = crate::house::entry("before");
        let mut open = crate::house::engine(Some(Says::new(Action::Allow, 1.0)), crate::house::stages(size, &journal), &journal);
        send(&mut open, &before);
        let told = open.live().executions.clone();
        engine.live().executions = told;
        block(engine.on_executions()).unwrap();
        for signal in signals(&wishes) {
            let of = |lane| engine.positions().reducible(lane, &signal.strategy, &signal.instrument, signal.side);
            let held = Lane::ALL.into_iter().map(of).find(|held| held.is_positive());
            let outcome = send(&mut engine, &signal);
            match signal.intent {
                Intent::Entry => prop_assert!(outcome.submitted().is_none()),
                Intent::Exit => prop_assert_eq!(outcome.submitted().map(|sent| sent.order.qty), held),
            }
        }
    }

    #[test]
    fn the_sum_of_fills_is_the_position(wishes in wishes(), size in 1_i64..100, pieces in 1_u32..5) {
        let journal = Journal::default();
        let mut engine = engine(Some(Says::new(Action::ReduceSize, 0.5)), stages(size, &journal), &journal);
        engine.live().pieces = pieces;
        for signal in signals(&wishes) {
            send(&mut engine, &signal);
        }
        let mut sums = BTreeMap::<_, Amount>::new();
        for Execution { strategy, what, .. } in &engine.live().executions.clone() {
            if let What::Filled(filled) = what {
                let sum = sums.entry(strategy.clone()).or_default();
                *sum = sum.plus(filled.side.signed(filled.qty));
            }
        }
        sums.retain(|_, sum| !sum.is_zero());
        let held: BTreeMap<_, _> = engine.positions().all().map(|(_, strategy, _, qty)| (strategy.clone(), qty)).collect();
        prop_assert_eq!(held, sums);
        prop_assert_eq!(engine.reconcile().unwrap(), vec![]);
    }
}
