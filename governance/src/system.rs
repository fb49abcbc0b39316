//! What concerns every strategy: the policy in force, kill switches, the account, the canary.
//!
//! The system's stream is folded into one value that the gates carry to the strategies, so a decision
//! sees one consistent view and records which.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Account, Event, Scope};
use crate::gate::venue_of;
use crate::ids::{Actor, InstrumentId, StrategyId};
use crate::policy::{Policy, PolicyId};
use crate::rejection::{Rejection, said};
use crate::units::Timestamp;
use crate::verdict::{Component, Reason, Verdict};
use crate::{canary, verdict};

/// A kill switch that is engaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// Who threw it.
    pub by: Actor,
    /// When.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether exits are stopped too.
    pub exits_blocked: bool,
}

/// A policy that was put forward and waits to be adopted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// What the policy is known by.
    pub id: PolicyId,
    /// The whole policy.
    #[serde(with = "crate::policy::recorded")]
    pub policy: Arc<Policy>,
    /// Who put it forward.
    pub by: Actor,
    /// When.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// How many proposals may wait; beyond that the oldest is forgotten.
pub const PROPOSALS_MAX: usize = 16;

/// The system's stream, folded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The policy in force.
    #[serde(with = "crate::policy::recorded")]
    pub policy: Arc<Policy>,
    /// What it is known by.
    pub policy_id: PolicyId,
    /// Whether a policy has been adopted in the log, or this is still the default.
    pub policy_adopted: bool,
    /// Policies put forward, one entry a policy, newest last; the newest [`PROPOSALS_MAX`] of them.
    pub proposals: Vec<Proposal>,
    /// Kill switches engaged.
    pub kills: BTreeMap<Scope, Kill>,
    /// The account as last stated.
    pub account: Option<Account>,
    /// The canary.
    pub canary: canary::State,
}

impl Default for State {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            policy_id: policy.id(),
            policy: Arc::new(policy),
            policy_adopted: false,
            proposals: Vec::new(),
            kills: BTreeMap::new(),
            account: None,
            canary: canary::State::default(),
        }
    }
}

impl State {
    /// The kill switches that cover an order, widest scope first.
    #[must_use]
    pub fn kills_covering(
        &self,
        strategy: &StrategyId,
        instrument: &InstrumentId,
        venue: Option<&InstrumentId>,
    ) -> Vec<&Kill> {
        if self.kills.is_empty() {
            return Vec::new();
        }
        let at_venue = |name: &InstrumentId| {
            venue.is_some_and(|venue| venue == name) || venue_of(instrument).is_some_and(|part| part == name.as_str())
        };
        let covers = |scope: &Scope| match scope {
            Scope::All => true,
            Scope::Strategy(id) => id == strategy,
            Scope::Instrument(id) => id == instrument,
            Scope::Venue(name) => at_venue(name),
        };
        self.kills.iter().filter(|(scope, _)| covers(scope)).map(|(_, kill)| kill).collect()
    }
}

/// What can be asked of the system as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Put a policy into force.
    AdoptPolicy {
        /// What it is known by: [`Policy::id`].
        id: PolicyId,
        /// The policy; it is validated again here.
        policy: Arc<Policy>,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Put a policy forward: it changes nothing until it is adopted.
    ProposePolicy {
        /// What it is known by: [`Policy::id`].
        id: PolicyId,
        /// The policy; it is validated as one that is adopted.
        policy: Arc<Policy>,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Throw a kill switch.
    EngageKillSwitch {
        /// What it covers.
        scope: Scope,
        /// Whether exits are stopped too.
        exits_blocked: bool,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Re-arm it.
    ReleaseKillSwitch {
        /// What it covered.
        scope: Scope,
        /// Who; a person.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// State the account.
    UpdateAccount(Account),
    /// Report a round of canary checks.
    RecordCanaryRound(canary::Round),
}

impl Command {
    /// The command that a recorded commit of the system's stream came from.
    #[must_use]
    pub fn of(events: &[Event]) -> Option<Self> {
        match events.first()? {
            Event::PolicyAdopted { id, policy, by, reason } => {
                let (policy, by, reason) = (policy.clone(), by.clone(), reason.clone());
                Some(Self::AdoptPolicy { id: *id, policy, by, reason })
            }
            Event::PolicyProposed { id, policy, by, reason } => {
                let (policy, by, reason) = (policy.clone(), by.clone(), reason.clone());
                Some(Self::ProposePolicy { id: *id, policy, by, reason })
            }
            Event::KillSwitchEngaged { scope, exits_blocked, by, reason } => Some(Self::EngageKillSwitch {
                scope: scope.clone(),
                exits_blocked: *exits_blocked,
                by: by.clone(),
                reason: reason.clone(),
            }),
            Event::KillSwitchReleased { scope, by, reason } => {
                Some(Self::ReleaseKillSwitch { scope: scope.clone(), by: by.clone(), reason: reason.clone() })
            }
            Event::AccountUpdated(account) => Some(Self::UpdateAccount(account.clone())),
            Event::CanaryChecked(round) => Some(Self::RecordCanaryRound(round.clone())),
            Event::StrategyRegistered { .. }
            | Event::BaselineRecorded(_)
            | Event::SignalReceived(_)
            | Event::OrderReported(_)
            | Event::FillRecorded { .. }
            | Event::UnattributedReceived(_)
            | Event::TradeClosed(_)
            | Event::DecisionMade(_)
            | Event::MaturityTransitioned(_)
            | Event::HealthUpdated(_)
            | Event::DriftAlerted(_)
            | Event::TokenChanged(_)
            | Event::CanaryAlerted(_)
            | Event::StrategyPaused { .. }
            | Event::StrategyResumed { .. }
            | Event::LevelSet { .. }
            | Event::ActorFaulted { .. }
            | Event::OrderApproved { .. }
            | Event::OrderDeclined { .. } => None,
        }
    }
}

/// The name a kill by the canary goes by.
const CANARY: &str = "canary";

/// Decides what a command comes to.
///
/// ```
/// use ephor_governance::event::Scope;
/// use ephor_governance::system::{self, Command, State};
/// let engage = Command::EngageKillSwitch {
///     scope: Scope::All,
///     exits_blocked: false,
///     by: "alice".parse().unwrap(),
///     reason: "prices look wrong".to_owned(),
/// };
/// let events = system::decide(&State::default(), &engage).unwrap();
/// assert_eq!(events[0].name(), "KillSwitchEngaged");
/// ```
///
/// # Errors
/// A [`Rejection`] that names the field or the rule.
pub fn decide(state: &State, command: &Command) -> Result<Vec<Event>, Rejection> {
    match command {
        Command::AdoptPolicy { id, policy, by, reason } => {
            fit_to_adopt(state, *id, policy, reason)?;
            let (policy, by, reason) = (policy.clone(), by.clone(), reason.clone());
            Ok(vec![Event::PolicyAdopted { id: *id, policy, by, reason }])
        }
        Command::ProposePolicy { id, policy, by, reason } => {
            fit_to_adopt(state, *id, policy, reason)?;
            if state.proposals.iter().any(|proposal| proposal.id == *id) {
                return Err(Rejection::NothingToChange { what: "this policy is already proposed" });
            }
            let (policy, by, reason) = (policy.clone(), by.clone(), reason.clone());
            Ok(vec![Event::PolicyProposed { id: *id, policy, by, reason }])
        }
        Command::EngageKillSwitch { scope, exits_blocked, by, reason } => {
            said("reason", reason)?;
            if state.kills.get(scope).is_some_and(|kill| kill.exits_blocked == *exits_blocked) {
                return Err(Rejection::NothingToChange { what: "this kill switch is already engaged" });
            }
            Ok(vec![engaged(scope, *exits_blocked, by, reason)])
        }
        Command::ReleaseKillSwitch { scope, by, reason } => {
            said("reason", reason)?;
            if by.as_str() == CANARY {
                return Err(Rejection::NeedsPerson);
            }
            if !state.kills.contains_key(scope) {
                return Err(Rejection::NothingToChange { what: "no kill switch of this scope is engaged" });
            }
            Ok(vec![Event::KillSwitchReleased { scope: scope.clone(), by: by.clone(), reason: reason.clone() }])
        }
        Command::UpdateAccount(account) => Ok(vec![Event::AccountUpdated(account.clone())]),
        Command::RecordCanaryRound(round) => {
            let alerts = canary::decide(&state.canary, round, &state.policy.canary);
            let kills = |alert: &canary::Alert| match alert {
                canary::Alert::Failed { action, .. } => *action == canary::FailureAction::Kill,
                canary::Alert::Recovered { .. } | canary::Alert::NothingRegistered => false,
            };
            let kill = alerts.iter().any(kills) && !state.kills.contains_key(&Scope::All);
            let mut events = vec![Event::CanaryChecked(round.clone())];
            events.extend(alerts.into_iter().map(Event::CanaryAlerted));
            if kill {
                let by = Actor::recorded(CANARY.into());
                events.push(engaged(&Scope::All, false, &by, "a component failed too often"));
            }
            Ok(events)
        }
    }
}

/// What adopting asks of a policy; proposing asks the same, or a proposal could never be adopted.
fn fit_to_adopt(state: &State, id: PolicyId, policy: &Policy, reason: &str) -> Result<(), Rejection> {
    policy.validate().map_err(|error| Rejection::InvalidPolicy { field: error.field, problem: error.problem })?;
    if state.policy_adopted && id == state.policy_id {
        return Err(Rejection::NothingToChange { what: "this policy is already in force" });
    }
    said("reason", reason)
}

fn engaged(scope: &Scope, exits_blocked: bool, by: &Actor, reason: &str) -> Event {
    Event::KillSwitchEngaged { scope: scope.clone(), exits_blocked, by: by.clone(), reason: reason.to_owned() }
}

/// Applies one recorded event. What belongs to a strategy changes nothing here.
#[must_use]
pub fn evolve(mut state: State, event: &Event, at: Timestamp) -> State {
    match event {
        Event::PolicyAdopted { id, policy, .. } => {
            state.policy_id = *id;
            state.policy = policy.clone();
            state.policy_adopted = true;
            state.proposals.retain(|proposal| proposal.id != *id);
        }
        Event::PolicyProposed { id, policy, by, reason } => {
            state.proposals.retain(|proposal| proposal.id != *id);
            let surplus = (state.proposals.len() + 1).saturating_sub(PROPOSALS_MAX);
            state.proposals.drain(..surplus.min(state.proposals.len()));
            let (policy, by, reason) = (policy.clone(), by.clone(), reason.clone());
            state.proposals.push(Proposal { id: *id, policy, by, since: at, reason });
        }
        Event::KillSwitchEngaged { scope, exits_blocked, by, reason } => {
            let kill = Kill { by: by.clone(), since: at, reason: reason.clone(), exits_blocked: *exits_blocked };
            state.kills.insert(scope.clone(), kill);
        }
        Event::KillSwitchReleased { scope, .. } => {
            state.kills.remove(scope);
        }
        Event::AccountUpdated(account) => state.account = Some(account.clone()),
        Event::CanaryChecked(round) => state.canary = canary::evolve_round(state.canary, round, at),
        Event::CanaryAlerted(alert) => state.canary = canary::evolve(state.canary, alert),
        Event::StrategyRegistered { .. }
        | Event::BaselineRecorded(_)
        | Event::SignalReceived(_)
        | Event::OrderReported(_)
        | Event::FillRecorded { .. }
        | Event::UnattributedReceived(_)
        | Event::TradeClosed(_)
        | Event::DecisionMade(_)
        | Event::MaturityTransitioned(_)
        | Event::HealthUpdated(_)
        | Event::DriftAlerted(_)
        | Event::TokenChanged(_)
        | Event::StrategyPaused { .. }
        | Event::StrategyResumed { .. }
        | Event::LevelSet { .. }
        | Event::ActorFaulted { .. }
        | Event::OrderApproved { .. }
        | Event::OrderDeclined { .. } => {}
    }
    state
}

/// The verdict of an answer that could not be recorded: fail closed.
#[must_use]
pub const fn unavailable(reason: Reason) -> Verdict {
    Verdict::reject(Component::KillSwitch, verdict::Action::Block, reason)
}
