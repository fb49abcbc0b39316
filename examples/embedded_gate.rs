//! A trading program that asks Ephor before each of its orders: `cargo run --example embedded_gate -- DIR`.
//!
//! The answer decides what goes out: nothing, all of it, or a share. Run it twice with the same directory: the orders
//! have been answered before, so the recorded answers come back and the log does not grow.

use std::error::Error;
use std::path::PathBuf;

use ephor::embed::{Embedded, order};
use ephor::settings::Settings;
use ephor_actors::Request;
use ephor_execution::{Ask, Gate};
use ephor_governance::maturity::Level;
use ephor_governance::order::Side;
use ephor_governance::strategy::Command;

#[expect(clippy::print_stdout, reason = "an example that shows what it is told")]
fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("ephor-data"), PathBuf::from);
    let house = Embedded::open(&dir, &Settings::default())?;
    let strategy = "momentum".parse()?;
    let is_new = house.declare(&strategy, "v1", 100_000.into(), "USD".parse()?)?.is_some_and(|it| !it.repeat);

    // A new strategy starts on paper. A person may say otherwise, and it is recorded on that person's word.
    if is_new {
        let (by, reason) = ("alice".parse()?, "an example needs no evidence".to_owned());
        let command = Command::SetLevel { to: Level::Constrained, without_evidence: true, by, reason };
        let (at, trace) = (house.session().now(), "promotion".into());
        house.wait(house.gate().ask(Request { strategy: strategy.clone(), command, at, trace, occurred_at: None }))?;
    }

    for (id, side, qty) in [("O-1", Side::Buy, 100), ("O-2", Side::Sell, 20_000)] {
        let mut order = order(id.parse()?, "ABC.XNAS".parse()?, side, qty.into(), 25.into());
        (order.equity, order.position_qty, order.open_positions) = (Some(100_000.into()), Some(0.into()), Some(0));
        let ask = Ask { strategy: strategy.clone(), trace: order.id.text(), order, at: house.session().now() };
        let answer = house.wait(house.gate().check(ask));
        let again = if answer.repeat { ", as recorded before" } else { "" };
        println!("{id}: {} {} by {}{again}", answer.action.as_str(), answer.multiplier, answer.code());
    }
    house.close()?;
    Ok(())
}
