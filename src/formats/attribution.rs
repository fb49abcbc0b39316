//! Whose a fact is: by one setting for all, by rules in their order, by the source's own word.
//!
//! Invariant: what none of them says is nobody's. It is never guessed.

use std::borrow::Cow;

use ephor_governance::ids::StrategyId;

use super::fact::{Fact, Said};
use crate::input::quoted;
use crate::settings::{self, RULE_GROUP, Rule, Sign};

/// How strategies are found.
#[derive(Clone, Debug)]
pub(super) struct Attribution {
    all: Option<StrategyId>,
    rules: Vec<Rule>,
}

impl Attribution {
    pub(super) fn new(settings: &settings::Reading) -> Self {
        Self { all: settings.strategy.clone(), rules: settings.rules.clone() }
    }

    /// The strategy, or why there is none.
    pub(super) fn whose(&self, fact: &Fact, message: &dyn Said) -> Result<StrategyId, String> {
        if let Some(all) = &self.all {
            return Ok(all.clone());
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let looked_at = match &rule.by {
                Sign::Field(name) => message.said(name),
                Sign::ClientOrderId => fact.client_order_id.as_deref().map(Cow::Borrowed),
                Sign::Account(account) => {
                    fact.account.as_deref().filter(|found| *found == account.as_str()).map(Cow::Borrowed)
                }
            };
            if let Some(strategy) = looked_at.as_deref().and_then(|text| named_by(rule, text)) {
                return strategy.map_err(|problem| format!("rule {} found no strategy's name: {problem}", index + 1));
            }
        }
        fact.owner.clone().ok_or_else(|| self.nobody(fact))
    }

    fn nobody(&self, fact: &Fact) -> String {
        let shown = |text: &Option<smol_str::SmolStr>| text.as_deref().map_or("none".to_owned(), quoted);
        let rules = self.rules.len();
        let (order, account) = (shown(&fact.client_order_id), shown(&fact.account));
        format!("none of {rules} rules matches: client order id {order}, account {account}")
    }
}

/// What a rule makes of the text it looked at; `None` where it does not match.
fn named_by(rule: &Rule, text: &str) -> Option<Result<StrategyId, String>> {
    let Some(pattern) = &rule.pattern else {
        let fixed = rule.strategy.clone().map(Ok);
        return Some(fixed.unwrap_or_else(|| text.parse().map_err(|error| format!("{error}"))));
    };
    let found = pattern.get().captures(text)?;
    match &rule.strategy {
        Some(fixed) => Some(Ok(fixed.clone())),
        None => found.name(RULE_GROUP).map(|name| name.as_str().parse().map_err(|error| format!("{error}"))),
    }
}

#[cfg(test)]
mod tests;
