//! Conditions for use in CI: `NAME OP NUMBER[%]`.

use std::fmt;
use std::str::FromStr;

use ephor_governance::units::Amount;
use ephor_replay::nearest;
use ephor_replay::what_if::{Outcome, Pair, Report, Sums};
use serde::{Serialize, Serializer};

use crate::cli::{print, sentence};

/// What stands in the short help.
pub(super) const SHORT_HELP: &str =
    "Exit with code 1 where this holds, as in 'blocked > 5%'; may be given more than once";

/// The short help, and every name.
pub(super) fn long_help() -> String {
    let mut text =
        format!("{SHORT_HELP}\n\nNAME OP NUMBER or NAME OP NUMBER%, with OP one of > >= < <= = and NAME one of:\n");
    for (_, name, unit, meaning) in MEASURES {
        let unit = match unit {
            Unit::OfDecisions => " (% of decisions)",
            Unit::OfTrades => " (% of trades)",
            Unit::Count | Unit::Money => "",
            Unit::Percent => " (with %)",
        };
        sentence::add(&mut text, format_args!("  {name:<19}{meaning}{unit}"));
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Changed,
    Blocked,
    Reduced,
    Larger,
    LetThrough,
    TradesSmaller,
    TradesLarger,
    TradesNotTaken,
    TradesLetThrough,
    TradesUntied,
    Promotions,
    Demotions,
    Pauses,
    PromotionsChange,
    DemotionsChange,
    PausesChange,
    Refused,
    Pnl,
    PnlChange,
    Drawdown,
    DrawdownChange,
}

/// What a measure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A count, or its share of all decisions.
    OfDecisions,
    /// A count, or its share of all trades.
    OfTrades,
    /// A count.
    Count,
    /// An amount, in each currency for itself.
    Money,
    /// A percentage.
    Percent,
}

const MEASURES: [(Measure, &str, Unit, &str); 21] = [
    (Measure::Changed, "changed", Unit::OfDecisions, "decisions that would have been otherwise"),
    (Measure::Blocked, "blocked", Unit::OfDecisions, "orders that would have been turned away"),
    (Measure::Reduced, "reduced", Unit::OfDecisions, "orders that would have been smaller"),
    (Measure::Larger, "larger", Unit::OfDecisions, "orders that would have been larger"),
    (Measure::LetThrough, "let_through", Unit::OfDecisions, "orders turned away that would have gone out"),
    (Measure::TradesSmaller, "trades_smaller", Unit::OfTrades, "trades that would have been smaller"),
    (Measure::TradesLarger, "trades_larger", Unit::OfTrades, "trades that would have been larger"),
    (Measure::TradesNotTaken, "trades_not_taken", Unit::OfTrades, "trades that would not have been live"),
    (
        Measure::TradesLetThrough,
        "trades_let_through",
        Unit::OfTrades,
        "trades that would have been live, result unknown",
    ),
    (Measure::TradesUntied, "trades_untied", Unit::OfTrades, "trades that are not tied to an order"),
    (Measure::Promotions, "promotions", Unit::Count, "promotions there would have been"),
    (Measure::Demotions, "demotions", Unit::Count, "demotions there would have been"),
    (Measure::Pauses, "pauses", Unit::Count, "pauses there would have been"),
    (
        Measure::PromotionsChange,
        "promotions_change",
        Unit::Count,
        "how many more there would have been; below 0: fewer",
    ),
    (Measure::DemotionsChange, "demotions_change", Unit::Count, "how many more there would have been; below 0: fewer"),
    (Measure::PausesChange, "pauses_change", Unit::Count, "how many more there would have been; below 0: fewer"),
    (Measure::Refused, "refused", Unit::Count, "recorded commands that would have been refused"),
    (Measure::Pnl, "pnl", Unit::Money, "live realised result there would have been, in any currency"),
    (
        Measure::PnlChange,
        "pnl_change",
        Unit::Money,
        "how much better it would have been, in any currency; below 0: worse",
    ),
    (Measure::Drawdown, "drawdown", Unit::Percent, "deepest drawdown of any strategy there would have been"),
    (
        Measure::DrawdownChange,
        "drawdown_change",
        Unit::Percent,
        "how much deeper it would have been, percentage points",
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
}

impl Op {
    const ALL: [(&'static str, Self); 6] = [
        (">=", Self::AtLeast),
        ("<=", Self::AtMost),
        ("==", Self::Equal),
        (">", Self::Above),
        ("<", Self::Below),
        ("=", Self::Equal),
    ];

    fn holds(self, found: Amount, limit: Amount) -> bool {
        match self {
            Self::Above => found > limit,
            Self::AtLeast => found >= limit,
            Self::Below => found < limit,
            Self::AtMost => found <= limit,
            Self::Equal => found == limit,
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
        }
    }
}

/// When a counterfactual is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    measure: Measure,
    name: &'static str,
    unit: Unit,
    op: Op,
    limit: Amount,
    percent: bool,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = if self.percent { "%" } else { "" };
        write!(f, "{} {} {}{percent}", self.name, self.op.sign(), self.limit)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is no condition: NAME OP NUMBER or NUMBER%, as in 'blocked > 5%'");
        let place = text.find(['<', '>', '=']).ok_or_else(malformed)?;
        let (name, rest) = text.split_at_checked(place).ok_or_else(malformed)?;
        let (sign, op) = Op::ALL.into_iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(malformed)?;
        let number = rest.get(sign.len()..).unwrap_or_default().trim();
        let (number, percent) = number.strip_suffix('%').map_or((number, false), |number| (number.trim_end(), true));
        let limit: Amount = number.parse().map_err(|error| format!("{error} in {text:?}: as in 'blocked > 5%'"))?;
        let name = name.trim();
        let known = MEASURES.into_iter().find(|(_, known, _, _)| *known == name);
        let (measure, name, unit, _) = known.ok_or_else(|| {
            let names = MEASURES.map(|(_, name, _, _)| name);
            let close = nearest(name, names);
            let offered = if close.is_empty() { names.join(", ") } else { close.join(", ") };
            format!("{name:?} is nothing that --fail-on knows; it knows {offered}")
        })?;
        match (unit, percent) {
            (Unit::Count | Unit::Money, true) => Err(format!("{name} is no share: write {name} {} {limit}", op.sign())),
            (Unit::Percent, false) => Err(format!("{name} is a percentage: write {name} {} {limit}%", op.sign())),
            (Unit::OfDecisions | Unit::OfTrades | Unit::Count | Unit::Money | Unit::Percent, _) => {
                Ok(Self { measure, name, unit, op, limit, percent })
            }
        }
    }
}

/// A condition that held, and where.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Failed {
    /// Under which policy.
    policy: String,
    /// The condition, as it was given.
    #[serde(serialize_with = "shown")]
    condition: Condition,
    /// What was found; in percent where the condition is.
    found: Amount,
    /// In which currency, where it is money.
    currency: Option<String>,
}

fn shown<S: Serializer>(condition: &Condition, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(condition)
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, condition, found, currency } = self;
        let percent = if condition.percent { " %" } else { "" };
        let currency = currency.as_ref().map_or_else(String::new, |currency| format!(" {currency}"));
        let found = print::amount(condition.shortest(*found));
        write!(f, "{condition}: {} is {found}{percent}{currency} under {policy}", condition.name)
    }
}

impl Condition {
    /// A figure with as many digits as show that the condition holds.
    fn shortest(&self, exact: Amount) -> Amount {
        let few = match (self.percent, exact.abs() < Amount::from(100)) {
            (true, true) => 3,
            (false, true) => 8,
            (_, false) => 2,
        };
        let rounded = [few, 8, 16].map(|digits| Amount::from(exact.decimal().round_dp(digits)));
        rounded.into_iter().find(|rounded| self.op.holds(*rounded, self.limit)).unwrap_or(exact)
    }

    /// The policies under which the condition holds.
    pub(super) fn failed(&self, report: &Report) -> Vec<Failed> {
        report.policies.iter().flat_map(|outcome| self.failed_under(outcome)).collect()
    }

    fn failed_under(&self, outcome: &Outcome) -> Vec<Failed> {
        let found: Vec<(Amount, Option<String>)> = match self.unit {
            Unit::OfDecisions => vec![(self.share(outcome, outcome.orders.decided), None)],
            Unit::OfTrades => vec![(self.share(outcome, outcome.trades), None)],
            Unit::Count => vec![(self.count(outcome), None)],
            Unit::Percent => {
                let Pair { before, after } = outcome.drawdown;
                let fall = if self.measure == Measure::DrawdownChange { after - before } else { after };
                vec![(Amount::from_f64(fall).unwrap_or_default().times_saturating(Amount::from(100)), None)]
            }
            Unit::Money => {
                let change = self.measure == Measure::PnlChange;
                let amount = |sums: &Sums| if change { sums.pnl.after.minus(sums.pnl.before) } else { sums.pnl.after };
                outcome.sums.iter().map(|(currency, sums)| (amount(sums), Some(currency.to_string()))).collect()
            }
        };
        let failed = |(found, currency)| Failed { policy: outcome.name.clone(), condition: *self, found, currency };
        found.into_iter().filter(|(found, _)| self.op.holds(*found, self.limit)).map(failed).collect()
    }

    /// A count, or what it is per cent of a whole; of an empty whole, nothing is anything.
    fn share(&self, outcome: &Outcome, whole: u64) -> Amount {
        let count = self.count(outcome);
        if !self.percent {
            return count;
        }
        let share = count.times_saturating(Amount::from(100)).decimal().checked_div(signed(whole).decimal());
        share.map_or(Amount::ZERO, Amount::from)
    }

    fn count(&self, outcome: &Outcome) -> Amount {
        let trades = |of: fn(&Sums) -> u64| signed(outcome.sums.values().map(of).sum());
        let change = |pair: Pair<u64>| signed(pair.after).minus(signed(pair.before));
        match self.measure {
            Measure::Changed => signed(outcome.orders.changed),
            Measure::Blocked => signed(outcome.orders.blocked),
            Measure::Reduced => signed(outcome.orders.reduced),
            Measure::Larger => signed(outcome.orders.larger),
            Measure::LetThrough => signed(outcome.orders.let_through),
            Measure::TradesSmaller => trades(|sums| sums.trades.smaller.trades),
            Measure::TradesLarger => trades(|sums| sums.trades.larger.trades),
            Measure::TradesNotTaken => trades(|sums| sums.trades.not_taken.trades),
            Measure::TradesLetThrough => trades(|sums| sums.trades.let_through.trades),
            Measure::TradesUntied => trades(|sums| sums.trades.untied.trades),
            Measure::Promotions => signed(outcome.promotions.after),
            Measure::Demotions => signed(outcome.demotions.after),
            Measure::Pauses => signed(outcome.pauses.after),
            Measure::PromotionsChange => change(outcome.promotions),
            Measure::DemotionsChange => change(outcome.demotions),
            Measure::PausesChange => change(outcome.pauses),
            Measure::Refused => signed(outcome.refused.commands),
            Measure::Pnl | Measure::PnlChange | Measure::Drawdown | Measure::DrawdownChange => Amount::ZERO,
        }
    }
}

fn signed(count: u64) -> Amount {
    Amount::from(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_reads_as_it_is_written() {
        for (text, shown) in [
            ("blocked > 5%", "blocked > 5%"),
            ("blocked>5", "blocked > 5"),
            ("pnl_change<-1000.50", "pnl_change < -1000.50"),
            ("demotions == 0", "demotions = 0"),
            (" drawdown >= 12.5 % ", "drawdown >= 12.5%"),
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_found_is_shown_with_the_digits_that_it_takes_to_see_why() {
        for (condition, found, shown) in [
            ("drawdown > 5%", "5.00010000", "drawdown is 5.0001 % under it"),
            ("drawdown > 5%", "6.12345678", "drawdown is 6.123 % under it"),
            ("pnl < 1000", "999.999", "pnl is 999.999 USD under it"),
            ("pnl < 2000", "999.999", "pnl is 1 000 USD under it"),
            ("blocked = 33.33333%", "33.33333", "blocked is 33.33333 % under it"),
        ] {
            let condition: Condition = condition.parse().unwrap();
            let currency = (condition.unit == Unit::Money).then(|| "USD".to_owned());
            let failed = Failed { policy: "it".into(), condition, found: found.parse().unwrap(), currency };
            assert!(failed.to_string().ends_with(shown), "{failed}");
        }
    }

    #[test]
    fn a_condition_that_makes_no_sense_says_what_would() {
        for (text, said) in [
            ("blocked", "is no condition: NAME OP NUMBER"),
            ("blocked > five", "not a decimal number: \"five\""),
            ("bloked > 5%", "it knows blocked"),
            ("x > 5%", "it knows changed, blocked, reduced"),
            ("demotions > 5%", "demotions is no share: write demotions > 5"),
            ("pnl < 5%", "pnl is no share: write pnl < 5"),
            ("drawdown > 5", "drawdown is a percentage: write drawdown > 5%"),
        ] {
            let found = text.parse::<Condition>().unwrap_err();
            assert!(found.contains(said), "{text}: {found}");
        }
    }
}
