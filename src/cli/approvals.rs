//! `ephor approvals`: orders that wait for people, and what people say to them.

use clap::Subcommand;
use comfy_table::Cell;
use ephor_actors::Request;
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::order::Side;
use ephor_governance::strategy::Command;
use serde_json::json;

use super::operator::{self, Who, Why};
use super::print::{self, LEFT, RIGHT};
use super::{CliError, Exit, Global};
use crate::keys::Claims;
use crate::keys::signing::Signer;
use crate::operate;
use crate::store::{self, Terms};

/// List, approve and decline orders that wait for a person
#[derive(clap::Args)]
#[command(
    after_help = "Example: ephor approvals approve MEANREV-EURUSD O-17 --by alice --reason 'checked with the desk'"
)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    List(List),
    Approve(Answer),
    Decline(Answer),
}

/// List the orders that wait, oldest first
#[derive(clap::Args)]
#[command(after_help = "Example: ephor approvals list")]
struct List {
    /// Of which strategy; all of them where none is named
    strategy: Option<StrategyId>,
}

/// Say yes or no to an order that waits
#[derive(clap::Args)]
#[command(
    after_help = "The last approval that an order takes issues a token for exactly that order and prints it signed; the \
                  engine then asks the same order again.\n\n\
                  Example: ephor approvals approve MEANREV-EURUSD O-17 --by alice --reason 'checked with the desk'"
)]
struct Answer {
    /// Whose order it is
    strategy: StrategyId,
    /// Which order, by its engine's id
    order: SourceId,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    match &args.act {
        Act::List(list) => show(global, list.strategy.as_ref()),
        Act::Approve(answer) => approve(global, answer),
        Act::Decline(answer) => {
            let (order_id, by, reason) = (answer.order.clone(), answer.who.name()?, answer.why.reason.clone());
            operator::ask(global, Terms::default(), &answer.strategy, async |_| {
                Ok(Command::DeclineOrder { order_id, by, reason })
            })
        }
    }
}

/// Records the approval and, where it was the last one, signs the token that it came to.
fn approve(global: &Global, answer: &Answer) -> Result<Exit, CliError> {
    let strategy = &answer.strategy;
    let (order_id, by, reason) = (answer.order.clone(), answer.who.name()?, answer.why.reason.clone());
    let (recorded, signed) = store::govern(global, Terms::default(), async |session| {
        let reader = session.governor.reader();
        ephor_replay::at::known(reader, strategy)?;
        // Before anything is recorded: a token that cannot be signed is not issued.
        let signer = Signer::open(&global.data, session.now())?;
        let trace = operate::trace_of_order(reader, strategy, &order_id)?.unwrap_or_else(operate::new_id);
        let command = Command::ApproveOrder { order_id, by, reason };
        let at = session.now();
        let request = Request { strategy: strategy.clone(), command, at, trace: trace.clone(), occurred_at: None };
        let recorded = session.governor.ask(request).await?;
        let grant = operate::granted(&recorded).cloned();
        let claims = grant.map(|grant| Claims::new(strategy.clone(), grant, recorded.at, trace));
        let signed = claims.map(|claims| signer.sign(&claims)).transpose()?;
        Ok((recorded, signed))
    })?;
    if global.json {
        let mut said = operator::as_json(strategy.as_str(), &recorded);
        if let Some(said) = said.as_object_mut() {
            said.insert("signed".to_owned(), json!(signed));
        }
        print::json(&said)?;
    } else {
        let said = operator::as_text(strategy.as_str(), &recorded);
        let token = signed.map_or_else(|| "another person must approve it, too\n".to_owned(), |text| text + "\n");
        print::out(format_args!("{said}{token}"))?;
    }
    Ok(Exit::Done)
}

fn show(global: &Global, only: Option<&StrategyId>) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let now = store::now();
    let mut waiting = operator::seen(&opened.reader, only, |id, state| operate::awaited(id, state, now))?;
    waiting.sort_by(|a, b| (a.since, &a.strategy_id, &a.order.id).cmp(&(b.since, &b.strategy_id, &b.order.id)));
    if global.json {
        print::json(&waiting)?;
        return Ok(Exit::Done);
    }
    if waiting.is_empty() {
        print::out("no order waits for approval\n")?;
        return Ok(Exit::Done);
    }
    let mut table = print::table(&[
        ("order", LEFT),
        ("strategy", LEFT),
        ("since", LEFT),
        ("impact", LEFT),
        ("asks for", LEFT),
        ("missing", RIGHT),
        ("approved by", LEFT),
    ]);
    for awaited in &waiting {
        let order = &awaited.order;
        let side = match order.side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        };
        let people: Vec<&str> = awaited.approvals.keys().map(|person| person.as_str()).collect();
        table.add_row(vec![
            Cell::new(&order.id),
            Cell::new(&awaited.strategy_id),
            Cell::new(print::time(awaited.since)),
            Cell::new(awaited.tier.as_str()),
            Cell::new(format!("{side} {} {}", print::amount(order.qty), order.instrument)),
            Cell::new(awaited.approvals_missing),
            Cell::new(if people.is_empty() { "-".to_owned() } else { people.join(", ") }),
        ]);
    }
    print::out(print::rows(&table))?;
    Ok(Exit::Done)
}
