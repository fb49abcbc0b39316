//! Where a signal's way has ended, and why.

use ephor_governance::units::Amount;

use crate::gate::Answer;
use crate::order::VenueOrder;
use crate::positions::Lane;
use crate::refusal::Refusal;

/// A stage of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// How large?
    Sizing,
    /// Has it been an order before?
    Deduplication,
    /// Should this strategy trade?
    Governance,
    /// Is this order safe?
    Risk,
    /// To the venue.
    Submission,
}

impl Stage {
    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sizing => "sizing",
            Self::Deduplication => "deduplication",
            Self::Governance => "governance",
            Self::Risk => "risk",
            Self::Submission => "submission",
        }
    }
}

/// An order that is with a venue.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// As it was sent.
    pub order: VenueOrder,
    /// To which venue.
    pub lane: Lane,
    /// How large it was asked for.
    pub asked: Amount,
    /// What governance said; `None` without the stage, and where it is off.
    pub answer: Option<Answer>,
    /// An exit passes; what would have stopped an entry stands here, and what made it smaller than the position.
    pub flags: Vec<Refusal>,
}

/// A signal that became no order.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Where it ended.
    pub stage: Stage,
    /// Why.
    pub refusal: Refusal,
    /// The order it would have been, where it got that far.
    pub order: Option<VenueOrder>,
    /// What governance said, where it was asked.
    pub answer: Option<Answer>,
}

impl Refused {
    pub(crate) fn at(stage: Stage) -> impl FnOnce(Refusal) -> Box<Self> {
        move |refusal| Box::new(Self { stage, refusal, order: None, answer: None })
    }
}

/// What became of a signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// An order went out.
    Submitted(Box<Submitted>),
    /// None did.
    Refused(Box<Refused>),
}

impl Outcome {
    /// The order that went out.
    #[must_use]
    pub fn submitted(&self) -> Option<&Submitted> {
        match self {
            Self::Submitted(submitted) => Some(submitted),
            Self::Refused(_) => None,
        }
    }

    /// Why none did.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Submitted(_) => None,
            Self::Refused(refused) => Some(refused),
        }
    }
}
