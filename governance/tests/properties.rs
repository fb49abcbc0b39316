//! What holds for every history, shrunk to the smallest counterexample where it does not.

use std::collections::{BTreeMap, BTreeSet};

use ephor_governance::drift::Metric;
use ephor_governance::event::Event;
use ephor_governance::gate::{self, Sizing};
use ephor_governance::ids::{SourceId, TokenId};
use ephor_governance::maturity::{self, Level};
use ephor_governance::order::Order;
use ephor_governance::strategy::{self, Command};
use ephor_governance::trade::{Measured, Trade};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use ephor_governance::verdict::{Action, Component, Reason, Verdict};
use ephor_governance::{health, system, token};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::given::{World, amount, baseline, critical_order, decision, grant, order, read, set_level, trade};
use crate::histories::{any_amount, any_event, any_order, history, level, money, play, strategy_command};

fn verdict() -> impl Strategy<Value = Verdict> {
    let component = select(vec![Component::KillSwitch, Component::Maturity, Component::Drift, Component::Health]);
    (component, select(Action::ALL.to_vec()), 0.0..=1.0_f64).prop_map(|(component, action, share)| {
        let multiplier = match action {
            Action::Allow => Multiplier::ONE,
            Action::ReduceSize | Action::Demote => Multiplier::new(share),
            Action::Block | Action::Pause | Action::Kill => Multiplier::ZERO,
        };
        Verdict { component, action, multiplier, reason: Reason::ComponentClear }
    })
}

fn sizing() -> impl Strategy<Value = Sizing> {
    select(vec![Sizing::MostRestrictive, Sizing::Compound])
}

fn merged(verdicts: &[Verdict], sizing: Sizing) -> Option<(Action, Multiplier)> {
    gate::merge(verdicts, sizing).map(|merged| (merged.action, merged.multiplier))
}

/// What was merged, as one verdict among others.
fn as_verdict(verdicts: &[Verdict], sizing: Sizing) -> Verdict {
    let gate::Merged { action, multiplier, decided_by } = gate::merge(verdicts, sizing).unwrap();
    Verdict { component: decided_by, action, multiplier, reason: Reason::ComponentClear }
}

proptest! {
    #[test]
    fn merging_is_commutative(verdicts in vec(verdict(), 1..8), sizing in sizing(), turn in 0..8_usize) {
        let mut turned = verdicts.clone();
        turned.rotate_left(turn % verdicts.len());
        prop_assert_eq!(gate::merge(&verdicts, sizing), gate::merge(&turned, sizing));
        turned.reverse();
        prop_assert_eq!(gate::merge(&verdicts, sizing), gate::merge(&turned, sizing));
    }

    #[test]
    fn merging_is_associative(a in vec(verdict(), 1..5), b in vec(verdict(), 1..5), c in vec(verdict(), 1..5)) {
        let merge = |verdicts: &[Verdict]| as_verdict(verdicts, Sizing::MostRestrictive);
        let all = [a.clone(), b.clone(), c.clone()].concat();
        let left = merge(&[merge(&[a.clone(), b.clone()].concat()), merge(&c)]);
        let right = merge(&[merge(&a), merge(&[b, c].concat())]);
        prop_assert_eq!((left.action, left.multiplier), (right.action, right.multiplier));
        prop_assert_eq!(Some((left.action, left.multiplier)), merged(&all, Sizing::MostRestrictive));
    }

    /// A product is not idempotent over a list with repetitions; the gate gives it each component once.
    #[test]
    fn merging_is_idempotent(verdicts in vec(verdict(), 1..8)) {
        let twice = [verdicts.clone(), verdicts.clone()].concat();
        prop_assert_eq!(merged(&twice, Sizing::MostRestrictive), merged(&verdicts, Sizing::MostRestrictive));
        let one = as_verdict(&verdicts, Sizing::MostRestrictive);
        prop_assert_eq!(merged(std::slice::from_ref(&one), Sizing::MostRestrictive), Some((one.action, one.multiplier)));
    }

    #[test]
    fn merging_never_loosens(verdicts in vec(verdict(), 1..8), one_more in verdict(), sizing in sizing()) {
        let (action, multiplier) = merged(&verdicts, sizing).unwrap();
        let (then, smaller) = merged(&[verdicts.clone(), vec![one_more]].concat(), sizing).unwrap();
        prop_assert!(then >= action && smaller <= multiplier);
        prop_assert!(verdicts.iter().all(|verdict| action >= verdict.action && multiplier <= verdict.multiplier));
    }

    #[test]
    fn a_product_is_never_larger_than_the_smallest_share(verdicts in vec(verdict(), 1..8)) {
        let (_, product) = merged(&verdicts, Sizing::Compound).unwrap();
        let (_, smallest) = merged(&verdicts, Sizing::MostRestrictive).unwrap();
        prop_assert!(product <= smallest);
    }
}

/// What a strategy's ladder did, seen from its events alone.
fn transitions(results: &[Amount]) -> Vec<(usize, maturity::Event)> {
    let mut world = World::registered();
    let mut seen = Vec::new();
    for (index, pnl) in results.iter().enumerate() {
        for event in world.close_amount(*pnl) {
            if let Event::MaturityTransitioned(transition) = event {
                seen.push((index + 1, transition));
            }
        }
    }
    seen
}

proptest! {
    #[test]
    fn no_trade_is_evidence_twice(results in vec(prop_oneof![3 => Just(amount("10")), 1 => money()], 0..300)) {
        let mut used = 0;
        for (trade_no, transition) in transitions(&results) {
            let (maturity::Event::Promoted { evidence, .. } | maturity::Event::Demoted { evidence, .. }) = transition;
            // Exactly the trades since the last transition, and none before it.
            prop_assert_eq!(evidence.trades as usize, trade_no - used);
            let since = &results[used..trade_no];
            prop_assert_eq!(evidence.wins as usize, since.iter().filter(|pnl| pnl.is_positive()).count());
            used = trade_no;
        }
    }

    #[test]
    fn a_promotion_climbs_exactly_one_level_and_a_demotion_falls(results in vec(money(), 0..300)) {
        for (_, transition) in transitions(&results) {
            match transition {
                maturity::Event::Promoted { from, to, .. } => prop_assert_eq!(from.next(), Some(to)),
                maturity::Event::Demoted { from, to, .. } => prop_assert!(to < from),
            }
        }
    }

    #[test]
    fn deciding_is_deterministic(before in history(), last in strategy_command()) {
        let world = play(&before);
        prop_assert_eq!(&world.state, &play(&before).state);
        prop_assert_eq!(world.decide(&last), world.decide(&last));
    }

    #[test]
    fn an_exit_is_never_turned_away_but_by_a_kill_that_stops_exits(before in history(), order in any_order()) {
        let mut world = play(&before);
        let stops = world.system.kills.values().any(|kill| kill.exits_blocked);
        let decision = world.check(Order { reduce_only: true, ..order });
        if decision.action == Action::Kill {
            prop_assert!(stops);
        } else {
            prop_assert_eq!((decision.action, decision.multiplier), (Action::Allow, Multiplier::ONE));
        }
    }

    /// Orders of two ids that wait at the top and below, people who speak for and against them, and time.
    #[test]
    fn an_approval_takes_its_people_and_is_used_once(
        steps in vec((0..5_u32, 0..2_usize, select(vec!["alice", "bob", "carol"]), 0..200_u64), 0..60),
        level in select(vec![Level::Gated, Level::Autonomous]),
    ) {
        let mut world = World::at_level(level);
        let orders = if level == Level::Gated { [order("a"), order("b")] } else { ["a", "b"].map(critical_order) };
        let needed = if level == Level::Gated { 1 } else { 2 };
        let mut approvals = [(); 2].map(|()| BTreeSet::new());
        let mut granted: BTreeMap<TokenId, (SourceId, u32)> = BTreeMap::new();
        for (act, which, by, seconds) in steps {
            world.at = world.at.plus_seconds(seconds);
            let (order, by, reason) = (orders[which].clone(), read(by), "test".to_owned());
            let command = match act {
                0 => Command::DeclineOrder { order_id: order.id, by, reason },
                1 => Command::CheckOrder { order, attempt: 1 },
                _ => Command::ApproveOrder { order_id: order.id, by, reason },
            };
            for event in world.tell(&command).unwrap_or_default() {
                match event {
                    Event::OrderApproved { by, .. } => prop_assert!(approvals[which].insert(by), "the same person twice"),
                    Event::OrderDeclined { .. } | Event::DecisionMade(_) => approvals[which].clear(),
                    Event::TokenChanged(token::Event::Issued(grant)) => {
                        prop_assert_eq!((grant.uses_max, approvals[which].len()), (1, needed));
                        granted.insert(grant.id, (grant.order_id.unwrap(), 1));
                    }
                    Event::TokenChanged(token::Event::Used { id, order_id, .. }) => {
                        let (covered, uses_left) = granted.get_mut(&id).unwrap();
                        prop_assert_eq!((&*covered, *uses_left), (&order_id, 1));
                        *uses_left = 0;
                    }
                    Event::TokenChanged(token::Event::Expired { id, .. } | token::Event::Revoked { id, .. }) => {
                        let (covered, _) = granted.remove(&id).unwrap();
                        approvals[usize::from(covered.as_str() == "b")].clear();
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }

    #[test]
    fn every_decision_has_one_verdict_of_each_component(before in history(), order in any_order()) {
        let decision = play(&before).check(order);
        let mut components: Vec<Component> = decision.verdicts.iter().map(|verdict| verdict.component).collect();
        components.sort();
        prop_assert_eq!(components, vec![
            Component::KillSwitch, Component::Pause, Component::Canary, Component::Maturity,
            Component::Drift, Component::Impact, Component::Token, Component::Health,
        ]);
        // Each reason has its code in the written form; nothing that must never be recorded is there.
        for verdict in &decision.verdicts {
            let reason = serde_json::to_value(&verdict.reason).unwrap();
            let code = reason.as_str().or_else(|| reason.as_object()?.keys().next().map(String::as_str)).unwrap().to_owned();
            prop_assert!(code.contains('_') && code == code.to_uppercase(), "{code}");
            prop_assert!(!["JOURNAL_UNAVAILABLE", "STRATEGY_UNKNOWN", "GATE_TIMEOUT", "ACTOR_FAULTED"].contains(&&*code));
        }
        prop_assert_eq!(decision.multiplier.is_zero() || !decision.action.rejects(), true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn folding_never_panics_whatever_is_in_the_log(events in vec((any_event(), any::<i64>()), 0..40), order in any_order()) {
        let mut world = World::empty();
        for (event, nanos) in &events {
            let at = Timestamp::from_nanos(*nanos);
            world.state = strategy::evolve(world.state, event, at);
            world.system = system::evolve(world.system, event, at);
        }
        // Nor does deciding on what came of it.
        for command in [Command::CheckOrder { order, attempt: 0 }, Command::CloseTrade(trade(1, amount("-1")))] {
            drop(world.decide(&command));
        }
    }
}

proptest! {
    #[test]
    fn arithmetic_on_amounts_never_panics(a in any_amount(), b in any_amount(), value in any::<f64>()) {
        let sums = [a.plus(b), a.minus(b), a.times_saturating(b), a.times(b).unwrap_or_default(), a.abs(), a.normalized()];
        for sum in sums {
            prop_assert!(sum.to_f64().is_finite());
            prop_assert_eq!(read::<Amount>(&sum.to_string()), sum);
        }
        prop_assert_eq!(a.normalized(), a);
        prop_assert!(Amount::from_f64(value).is_none_or(|amount| amount.to_f64().is_finite()));
    }

    #[test]
    fn times_are_written_and_read_without_loss(nanos in any::<i64>(), seconds in any::<u64>()) {
        let at = Timestamp::from_nanos(nanos);
        prop_assert_eq!(read::<Timestamp>(&at.to_string()), at);
        prop_assert!(at.plus_seconds(seconds) >= at);
        prop_assert_eq!(at.seconds_since(at.plus_seconds(seconds)), 0);
    }
}

/// The share that the next order gets after these results, and whether the ladder moved on the way.
fn share_after(level: Level, results: &[Amount]) -> (f64, bool) {
    let mut world = World::registered();
    let promised = [(Metric::WinRate, 0.5), (Metric::ProfitFactor, 1.2), (Metric::AvgRr, 0.1)];
    world.tell(&Command::RecordBaseline(baseline(&promised))).unwrap();
    if level != Level::Paper {
        world.tell(&set_level(level)).unwrap();
    }
    world.tell(&Command::IssueToken(grant("token-1"))).unwrap();
    for (number, pnl) in results.iter().enumerate() {
        let closed = Trade { initial_risk: Some(amount("10")), ..trade(number, *pnl) };
        world.tell(&Command::CloseTrade(closed)).unwrap();
    }
    let events = world.decide(&Command::CheckOrder { order: order("order-1"), attempt: 0 }).unwrap();
    (decision(&events).multiplier.get(), world.state.maturity.level != level)
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 65_536, ..ProptestConfig::default() })]

    /// A win becomes a loss, or a loss larger, anywhere in the history, and no later order gets more.
    ///
    /// It holds within these bounds, each of which the rules ask for:
    /// - R comes with the trade. Measured by the mean loss instead, one larger loss makes the later ones small.
    /// - The ladder does not move under the worse record. A level that is entered starts the evidence again,
    ///   so a record that falls sooner also leaves its losses behind sooner, and may climb sooner.
    /// - Sharpe is not compared. A larger loss widens the spread, and a negative ratio then comes nearer to zero.
    #[test]
    fn a_worse_record_never_gets_a_larger_size(
        level in level(),
        results in vec(money(), 1..120),
        place in any::<prop::sample::Index>(),
        worse_by in 1..200_i64,
    ) {
        let mut worse = results.clone();
        let pnl = place.get(&results);
        worse[place.index(results.len())] = Amount::ZERO.minus(pnl.abs()).minus(Amount::from(worse_by));
        let (share, moved) = share_after(level, &worse);
        prop_assume!(!moved);
        prop_assert!(share <= share_after(level, &results).0);
    }

    /// Health alone needs only that R comes with the trade.
    #[test]
    fn health_never_gains_by_a_worse_outcome(
        outcomes in vec(-5.0..5.0_f64, 1..120),
        place in any::<prop::sample::Index>(),
        worse_by in 0.0..5.0_f64,
    ) {
        let score = |results: &[f64]| {
            let outcome = |r: &f64| Measured { pnl: *r, r: *r, return_on_entry: 0.0 };
            let outcomes: Vec<Measured> = results.iter().map(outcome).collect();
            health::fold(&outcomes, &health::Policy::default()).score
        };
        let mut worse = outcomes.clone();
        worse[place.index(outcomes.len())] -= worse_by;
        prop_assert!(score(&worse) <= score(&outcomes));
    }
}
