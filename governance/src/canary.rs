//! The infrastructure canary: failures in a row, and what follows from them.
//!
//! The checks themselves are made outside; this file counts their results. A component that fails
//! `failures_max` times in a row acts once, at the edge, and reports its recovery; one that is checked no longer
//! has recovered as well, or what it did would outlast it for ever. A round that checks nothing ends the watch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::units::Timestamp;
use crate::verdict::{Action, Component, Reason, Verdict};

/// What follows from a component that has failed often enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// The kill switch for everything.
    Kill,
    /// Every strategy stands still until the component is back.
    Pause,
    /// People are told.
    Alert,
}

/// Bounds of the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Seconds between checks.
    pub interval_seconds: u32,
    /// Failures in a row that act.
    pub failures_max: u32,
    /// What they do.
    pub action_on_failure: FailureAction,
}

impl Default for Policy {
    fn default() -> Self {
        Self { interval_seconds: 30, failures_max: 3, action_on_failure: FailureAction::Kill }
    }
}

/// One round of checks. A time-out or a panic of a check is a failure. A round without a result that follows one with
/// results is the orderly end of the watch: nobody is missed from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Each component's name and, where it failed, what was wrong.
    pub results: BTreeMap<SmolStr, Option<String>>,
}

/// A component crossed an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alert {
    /// It failed `failures_max` times in a row.
    Failed {
        /// Which.
        component: SmolStr,
        /// Failures in a row.
        failures: u32,
        /// What was wrong the last time.
        message: String,
        /// What followed.
        action: FailureAction,
    },
    /// It is back, or it is checked no longer.
    Recovered {
        /// Which.
        component: SmolStr,
    },
    /// Nothing is registered: nobody is watching.
    NothingRegistered,
}

/// What the canary knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Failures in a row, by component.
    pub failures: BTreeMap<SmolStr, u32>,
    /// Components whose failure has acted and that have not recovered, with what followed.
    pub acted: BTreeMap<SmolStr, FailureAction>,
    /// Whether the absence of any component has been reported.
    pub emptiness_reported: bool,
    /// When it last spoke: the time of the last recorded round, unless that one ended the watch.
    pub spoken_at: Option<Timestamp>,
}

/// The alerts that a round calls for.
///
/// ```
/// use ephor_governance::canary::{self, Alert, Round, State};
/// let nobody = Round { results: Default::default() };
/// let alerts = canary::decide(&State::default(), &nobody, &canary::Policy::default());
/// assert_eq!(alerts, [Alert::NothingRegistered]);
/// ```
#[must_use]
pub fn decide(state: &State, round: &Round, policy: &Policy) -> Vec<Alert> {
    if round.results.is_empty() {
        let watch_ends = state.spoken_at.is_some();
        return if watch_ends || state.emptiness_reported { Vec::new() } else { vec![Alert::NothingRegistered] };
    }
    let alert = |(component, result): (&SmolStr, &Option<String>)| match result {
        Some(message) => {
            let failures = state.failures.get(component).copied().unwrap_or(0).saturating_add(1);
            let acts = failures >= policy.failures_max && !state.acted.contains_key(component);
            acts.then(|| Alert::Failed {
                component: component.clone(),
                failures,
                message: message.clone(),
                action: policy.action_on_failure,
            })
        }
        None => state.acted.contains_key(component).then(|| Alert::Recovered { component: component.clone() }),
    };
    let gone = state.acted.keys().filter(|component| !round.results.contains_key(*component));
    let recovered = gone.map(|component| Alert::Recovered { component: component.clone() });
    round.results.iter().filter_map(alert).chain(recovered).collect()
}

/// Counts one recorded round.
#[must_use]
pub fn evolve_round(mut state: State, round: &Round, at: Timestamp) -> State {
    // What has acted stays so when the watch ends: nobody has seen it recover.
    state.spoken_at = if round.results.is_empty() { None } else { Some(at) };
    if !round.results.is_empty() {
        state.failures.retain(|component, _| round.results.contains_key(component));
    }
    for (component, result) in &round.results {
        match result {
            Some(_) => {
                let failures = state.failures.entry(component.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
            }
            None => {
                state.failures.remove(component);
            }
        }
    }
    state.emptiness_reported &= round.results.is_empty();
    state
}

/// Applies one recorded alert.
#[must_use]
pub fn evolve(mut state: State, alert: &Alert) -> State {
    match alert {
        Alert::Failed { component, action, .. } => {
            state.acted.insert(component.clone(), *action);
        }
        Alert::Recovered { component } => {
            state.acted.remove(component);
        }
        Alert::NothingRegistered => state.emptiness_reported = true,
    }
    state
}

/// How many intervals the canary may be silent before nobody is watching.
const SILENT_INTERVALS_MAX: u64 = 3;

impl State {
    /// When the canary last spoke, where it has spoken and has then been silent for too long.
    ///
    /// ```
    /// use ephor_governance::canary::{Policy, State};
    /// use ephor_governance::units::Timestamp;
    /// let (start, policy) = (Timestamp::default(), Policy::default());
    /// let state = State { spoken_at: Some(start), ..State::default() };
    /// assert_eq!(state.silent_since(start.plus_seconds(90), &policy), None, "three intervals of thirty seconds");
    /// assert_eq!(state.silent_since(start.plus_seconds(91), &policy), Some(start));
    /// ```
    #[must_use]
    pub fn silent_since(&self, at: Timestamp, policy: &Policy) -> Option<Timestamp> {
        let silence_max = SILENT_INTERVALS_MAX * u64::from(policy.interval_seconds);
        self.spoken_at.filter(|spoken_at| at > spoken_at.plus_seconds(silence_max))
    }
}

/// What the canary says of an order. A kill speaks through the kill switch, which stays latched.
#[must_use]
pub fn assess(state: &State, at: Timestamp, policy: &Policy) -> Verdict {
    let components_failed = u32::try_from(state.acted.len()).unwrap_or(u32::MAX);
    let stands_still = state.acted.values().any(|action| match action {
        FailureAction::Kill | FailureAction::Pause => true,
        FailureAction::Alert => false,
    });
    if stands_still {
        return Verdict::reject(Component::Canary, Action::Pause, Reason::CanaryUnhealthy { components_failed });
    }
    if let Some(since) = state.silent_since(at, policy) {
        return Verdict::reject(Component::Canary, Action::Block, Reason::CanarySilent { since });
    }
    let reason = if components_failed > 0 {
        Reason::CanaryUnhealthy { components_failed }
    } else if state.emptiness_reported {
        Reason::CanaryNoComponents
    } else {
        Reason::ComponentClear
    };
    Verdict::allow(Component::Canary, reason)
}
