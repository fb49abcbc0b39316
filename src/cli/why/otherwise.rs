//! What would have had to be otherwise, in lines under the numbers.

use ephor_replay::why::Because;
use ephor_replay::why::otherwise::{Absent, Change, OtherPolicy, Otherwise, WithoutTrades};

use super::Node;
use crate::cli::print::{Counted, DIM, amount, grouped, styled};
use crate::cli::sentence::signed;

/// The most trades that are named in a line, and policies that are given.
const NAMED: usize = 6;
const POLICIES: usize = 3;

/// A line for the trades, and one for the policy.
pub(super) fn lines(otherwise: &Otherwise, because: &Because) -> Vec<Node> {
    let mut lines = Vec::new();
    if let Some(trades) = &otherwise.trades {
        lines.push(without(trades));
    }
    let mut policies = otherwise.policy.iter();
    for policy in policies.by_ref().take(POLICIES) {
        lines.push(under(policy, because));
    }
    let more = policies.len();
    if more > 0 {
        lines.push(Node::new(styled(DIM, format_args!("{more} more thresholds would do, --json gives them"))));
    }
    if otherwise.policy.is_empty() {
        lines.push(Node::new("no single threshold of the policy would have changed it".to_owned()));
    }
    lines
}

fn under(policy: &OtherPolicy, because: &Because) -> Node {
    let change =
        |change: &Change| format!("{} {} instead of {}", change.field, amount(change.nearest), amount(change.recorded));
    let changes: Vec<String> = policy.changes.iter().map(change).collect();
    let what = if is_decision(because) { "it would have been decided otherwise" } else { "it would not have happened" };
    Node::new(format!("{what} with {}", changes.join(" and ")))
}

fn is_decision(because: &Because) -> bool {
    matches!(because, Because::Decision { .. })
}

fn without(trades: &WithoutTrades) -> Node {
    let WithoutTrades { any_one, together, fewest, looked_at, trades, bound_met } = trades;
    let looked = Counted(*looked_at as u64, "trade");
    let mut node = match (any_one.as_slice(), together) {
        ([], None) => Node::new(format!("leaving out none of the last {looked} would have kept it from happening")),
        ([], Some(set)) => Node::new(without_all(set, *fewest)),
        ([one], together) => {
            let mut node = Node::new(format!("it would not have happened without {}", named(one)));
            match together {
                Some(set) if set.as_slice() != any_one => {
                    node.push(Node::new(format!("nor, with it, {}", without_all(set, *fewest))));
                }
                Some(_) => {}
                None => {
                    node.push(Node::new("with it, no trades before it were found that are enough together".to_owned()));
                }
            }
            node
        }
        (several, _) => {
            let mut node = Node::new(format!(
                "it would not have happened without any one of {}",
                Counted(several.len() as u64, "trade")
            ));
            node.push(Node::new(list(several)));
            node
        }
    };
    if *bound_met {
        let sets = if *fewest { "" } else { ", each alone, and not every set of them" };
        let said = format!("the last {looked} of {} were looked at{sets}", grouped(*trades as u64));
        node.push(Node::new(styled(DIM, said)));
    }
    node
}

/// A set that is enough together.
fn without_all(set: &[Absent], fewest: bool) -> String {
    let fewest = if fewest { "no fewer are enough" } else { "whether fewer are enough was not found out" };
    format!("without {} before it together ({fewest}): {}", Counted(set.len() as u64, "trade"), list(set))
}

fn named(one: &Absent) -> String {
    format!("the trade at seq {} ({})", one.seq, signed(one.pnl))
}

/// The last of the trades, by seq and result.
fn list(trades: &[Absent]) -> String {
    let names = trades.iter().rev().take(NAMED).map(|one| format!("seq {} ({})", one.seq, signed(one.pnl)));
    let names: Vec<String> = names.collect();
    let more = trades.len() - names.len();
    let more = if more > 0 { format!(" and {more} before") } else { String::new() };
    format!("{}{more}", names.join(", "))
}
