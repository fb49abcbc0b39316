//! Health: the vectors of the rule, and where R comes from.

use ephor_governance::health::{self, Policy};
use ephor_governance::trade::{Measured, RSource, Trade};

use crate::given::{World, amount, assert_close, trade};

fn outcome(r: f64) -> Measured {
    Measured { pnl: r, r, return_on_entry: 0.0 }
}

fn check(outcomes: &[(usize, f64)], debt: f64, score: f64, multiplier: f64) {
    let outcomes: Vec<Measured> = outcomes.iter().flat_map(|(count, r)| vec![outcome(*r); *count]).collect();
    let health = health::fold(&outcomes, &Policy::default());
    assert_close(health.debt, debt, 1e-12, "debt");
    assert_close(health.score, score, 1e-12, "score");
    assert_close(health.multiplier.get(), multiplier, 1e-12, "multiplier");
}

#[test]
fn five_losses_of_one_r_leave_half_of_the_score() {
    check(&[(5, -1.0)], 5.0, 0.5, 0.5);
}

#[test]
fn ten_wins_pay_four_of_five_debts_back() {
    check(&[(5, -1.0), (10, 1.0)], 1.0, 0.9, 0.9);
}

#[test]
fn ten_losses_leave_nothing_but_the_floor() {
    check(&[(10, -1.0)], 10.0, 0.0, 0.1);
}

#[test]
fn a_loss_is_charged_by_its_size_and_never_less_than_one() {
    check(&[(1, -3.0)], 3.0, 0.7, 0.7);
    check(&[(1, -0.2)], 1.0, 0.9, 0.9);
}

#[test]
fn credit_is_held_at_its_most_and_pays_before_debt() {
    check(&[(20, 1.0), (3, -1.0)], 1.0, 0.9, 0.9);
}

#[test]
fn a_win_that_pays_the_last_debt_adds_the_rest_as_credit() {
    let outcomes = [outcome(-1.0), outcome(1.0), outcome(1.0), outcome(1.0)];
    let health = health::fold(&outcomes, &Policy::default());
    assert_close(health.debt, 0.0, 1e-12, "debt");
    assert_close(health.credit, 0.2, 1e-12, "credit");
}

#[test]
fn a_break_even_changes_nothing_but_takes_a_place_in_the_window() {
    check(&[(5, -1.0), (49, 0.0)], 1.0, 0.9, 0.9);
}

#[test]
fn what_has_left_the_window_no_longer_weighs() {
    check(&[(10, -1.0), (50, 0.0)], 0.0, 1.0, 1.0);
}

fn sources(world: &World, trade: &Trade) -> (f64, RSource) {
    let r = health::measure(trade, &world.state.outcomes, &Policy::default());
    (r.value, r.source)
}

#[test]
fn r_is_the_result_over_the_initial_risk_where_it_is_given() {
    let risked = Trade { initial_risk: Some(amount("-50")), ..trade(1, amount("-100")) };
    assert_eq!(sources(&World::registered(), &risked), (-2.0, RSource::InitialRisk));
    let none = Trade { initial_risk: Some(amount("0")), ..trade(1, amount("-100")) };
    assert_eq!(sources(&World::registered(), &none), (-1.0, RSource::Unit));
}

#[test]
fn r_is_one_while_there_is_no_loss_to_measure_by() {
    let mut world = World::registered();
    world.close_many(3, "10");
    assert_eq!(sources(&world, &trade(9, amount("-100"))), (-1.0, RSource::Unit));
    assert_eq!(sources(&world, &trade(9, amount("70"))), (1.0, RSource::Unit));
    assert_eq!(sources(&world, &trade(9, amount("0"))), (0.0, RSource::Unit));
}

#[test]
fn r_is_measured_by_the_mean_of_the_losses_in_the_window_before_the_trade() {
    let mut world = World::registered();
    for pnl in ["-100", "-50", "10"] {
        world.close(pnl);
    }
    assert_eq!(sources(&world, &trade(9, amount("-150"))), (-2.0, RSource::MeanLoss));
}

#[test]
fn fifty_outcomes_before_the_trade_are_in_the_window() {
    let mut world = World::registered();
    world.close("-100");
    world.close_many(49, "10");
    assert_eq!(sources(&world, &trade(99, amount("-150"))), (-1.5, RSource::MeanLoss));
    world.close("10");
    assert_eq!(sources(&world, &trade(99, amount("-150"))), (-1.0, RSource::Unit));
}
