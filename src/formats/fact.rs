//! What a source tells, before it is known whose it is.

use std::borrow::Cow;

use ephor_governance::event::Account;
use ephor_governance::fill::Fill;
use ephor_governance::ids::{Currency, SourceId, StrategyId};
use ephor_governance::order::OrderReport;
use ephor_governance::trade::Trade;
use ephor_governance::units::Timestamp;
use smol_str::SmolStr;

use crate::input::{Fields, Refusal};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    /// When, by the source's clock.
    pub(super) at: Timestamp,
    /// What.
    pub(super) what: What,
    /// Whose it is by the source's own word.
    pub(super) owner: Option<StrategyId>,
    /// The id that the engine gave to the order it is about.
    pub(super) client_order_id: Option<SmolStr>,
    /// The account it happened in.
    pub(super) account: Option<SmolStr>,
}

impl Fact {
    /// What ties it to others: the order it is about.
    pub(super) fn trace(&self) -> Option<SmolStr> {
        let order = match &self.what {
            What::Trade(trade) => trade.order_id.as_ref(),
            What::Fill { fill, .. } => fill.order_id.as_ref(),
            What::Order(report) => report.order_id.as_ref(),
            What::Account(_) => None,
        };
        order.map(SourceId::text)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A round trip ended.
    Trade(Trade),
    /// An order was executed, wholly or in part.
    Fill {
        /// The execution.
        fill: Fill,
        /// What its price is counted in, where the source says.
        currency: Option<Currency>,
    },
    /// A venue reported on an order.
    Order(OrderReport),
    /// An account stands so now; it is no strategy's.
    Account(Account),
}

/// A message in which a field can be looked up by whatever name a rule gives.
pub(super) trait Said {
    /// The text of a field.
    fn said(&self, name: &str) -> Option<Cow<'_, str>>;
}

impl Said for Fields<'_> {
    fn said(&self, name: &str) -> Option<Cow<'_, str>> {
        self.at(name)
    }
}

/// Takes what a message says, one by one.
pub(super) type Take<'a> = &'a mut dyn FnMut(Fact, &dyn Said) -> Result<(), Refusal>;
