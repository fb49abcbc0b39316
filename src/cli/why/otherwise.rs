//! What would have had to be otherwise, in lines under the numbers.

use ephor_replay::why::Because;
use ephor_replay::why::otherwise::{Absent, Change, OtherPolicy, Otherwise, WithoutTrades};

use super::Node;
use crate::cli::print::{Counted, DIM, amount, grouped, styled};
use crate::cli::sentence::signed;

/// The most trades that are named in a line, and policies that are given.
const NAMED: usize = 6;
const POLICIES: usize = 4;

/// A line for the trades, and one for each policy.
pub(super) fn lines(otherwise: &Otherwise, because: &Because, all: bool) -> Vec<Node> {
    let what = if matches!(because, Because::Decision { .. }) {
        "it would have been decided otherwise"
    } else {
        "it would not have happened"
    };
    let mut lines: Vec<Node> = otherwise.trades.iter().map(|trades| without(what, trades)).collect();
    let (shown, more) = otherwise.policy.split_at(otherwise.policy.len().min(if all { usize::MAX } else { POLICIES }));
    lines.extend(shown.iter().map(|policy| under(what, policy)));
    if !more.is_empty() {
        let values = Counted(more.len() as u64, "other value");
        lines.push(Node::new(styled(DIM, format_args!("and so with any one of {values}, --all shows them"))));
    }
    lines.extend(otherwise.policy.is_empty().then(|| none_of(&otherwise.tried, all)));
    lines
}

/// Nothing is known of the thresholds that were not tried.
fn none_of(tried: &[&str], all: bool) -> Node {
    let thresholds = Counted(tried.len() as u64, "threshold");
    let names = if all { "" } else { ", --all names them" };
    let mut node = Node::new(format!("none of the {thresholds} tried, each moved alone, would have changed it{names}"));
    for field in tried.iter().filter(|_| all) {
        node.push(Node::new((*field).to_owned()));
    }
    node
}

fn under(what: &str, policy: &OtherPolicy) -> Node {
    let change =
        |change: &Change| format!("{} {} instead of {}", change.field, amount(change.nearest), amount(change.recorded));
    let changes: Vec<String> = policy.changes.iter().map(change).collect();
    Node::new(format!("{what} with {}", changes.join(" and ")))
}

fn without(what: &str, trades: &WithoutTrades) -> Node {
    let WithoutTrades { any_one, together, fewest, looked_at, trades, bound_met } = trades;
    let set = together.as_deref();
    let mut node = match any_one.as_slice() {
        [] => Node::new(match set {
            Some(set) => format!("{what} had {}", all_of(set, *fewest)),
            None => "no trades were found without which it would have been otherwise".to_owned(),
        }),
        [one] => {
            let mut node =
                Node::new(format!("{what} had the trade at seq {} ({}) not been made", one.seq, signed(one.pnl)));
            match set {
                Some(set) if set == any_one.as_slice() => {}
                Some(set) => {
                    node.push(Node::new(format!("nor with it, had {}", all_of(set, *fewest))));
                }
                None => {
                    node.push(Node::new("of the trades before it no set was found that is enough".to_owned()));
                }
            }
            node
        }
        several => {
            let count = Counted(several.len() as u64, "trade");
            let mut node = Node::new(format!("{what} had any one of {count} not been made"));
            node.push(Node::new(list(several)));
            node
        }
    };
    if *bound_met {
        let sets = if *fewest { "" } else { ", each alone, and not every set of them" };
        let looked = Counted(*looked_at as u64, "trade");
        let said = format!("the last {looked} of {} were looked at{sets}", grouped(*trades as u64));
        node.push(Node::new(styled(DIM, said)));
    }
    node
}

/// A set of trades that is enough.
fn all_of(set: &[Absent], fewest: bool) -> String {
    let fewest = if fewest { "no fewer are enough" } else { "fewer may be enough" };
    format!("{} before it not been made ({fewest}): {}", Counted(set.len() as u64, "trade"), list(set))
}

/// The last of the trades, by seq and result.
fn list(trades: &[Absent]) -> String {
    let names = trades.iter().rev().take(NAMED).map(|one| format!("seq {} ({})", one.seq, signed(one.pnl)));
    let names: Vec<String> = names.collect();
    let more = trades.len() - names.len();
    let more = if more > 0 { format!(" and {more} before") } else { String::new() };
    format!("{}{more}", names.join(", "))
}
