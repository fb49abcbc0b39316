//! History under another policy: what would have been decided, who would have fallen or climbed, which
//! trades would have been smaller or not there.
//!
//! One pass. Each commit gives the command it came from; that command is decided again, under the other
//! policy, on a *counterfactual* state, and this state goes on from what comes out. So an early difference
//! has its consequences: a strategy that falls sooner is judged at its lower level from there on. A trade
//! is made as large as its order would have been, see [`Trades`]; everything else enters as recorded.
//!
//! Invariants: the policy of history gives history, with every count at zero; a trade that cannot be tied
//! to its order is evidence as recorded, counted apart and in no sum of money; what is said of a policy does
//! not depend on the others; memory grows with strategies times policies, never with the log.

mod changes;
mod orders;
mod outcome;
mod subject;
mod systems;

use std::num::NonZero;
use std::sync::Arc;

use ephor_events::{Reader, Seq, StreamId};
use ephor_governance::event::Event;
use ephor_governance::policy::{Policy, PolicyId};
use serde::Serialize;

use crate::audit::Scope;
use crate::streams::Streams;
use crate::{PROGRESS_EVERY, Progress, ReplayError, at, decided_at, decode_into};

pub use changes::{Change, Kind, Place};
pub use outcome::{Apart, FirstDifference, Matrix, Orders, Outcome, Pair, Refused, Sized, Strategy, Sums, Trades};

use outcome::Tally;
use subject::Subject;
use systems::Systems;

/// Another policy, and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// What people know it by: a file, or a field and its value.
    pub name: String,
    /// The policy, validated by the caller.
    pub policy: Arc<Policy>,
    /// [`Policy::id`].
    pub id: PolicyId,
}

impl Variant {
    /// A policy under a name.
    #[must_use]
    pub fn new(name: impl Into<String>, policy: Policy) -> Self {
        Self { name: name.into(), id: policy.id(), policy: Arc::new(policy) }
    }
}

/// What history would have been, policy by policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The first seq that was decided again.
    pub from: Seq,
    /// The last.
    pub through: Seq,
    /// Commits decided again.
    pub commits: u64,
    /// Policy adoptions in history that the other policy stands in for.
    pub adoptions_replaced: u64,
    /// One for each policy, in the order asked for.
    pub policies: Vec<Outcome>,
}

/// Bytes that one pass may take for strategies and their windows and orders; more of them take several passes.
const BYTES_MAX: usize = 1 << 30;

/// What is kept of each policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Every strategy, with its changes.
    Strategies,
    /// What all strategies add up to.
    Totals,
}

/// How many policies one pass takes, by what they have to remember.
fn at_once(strategies: usize, cores: usize, variants: &[Variant]) -> usize {
    let keep = variants.iter().map(|variant| variant.policy.keep() as usize).max().unwrap_or_default();
    let fixed = Subject::BYTES.saturating_mul(strategies).saturating_mul(cores);
    let each = Subject::bytes_a_policy(keep).saturating_mul(strategies).max(1);
    (BYTES_MAX.saturating_sub(fixed) / each).clamp(1, variants.len().max(1))
}

/// Folds the log and decides every commit in scope again, under each policy.
///
/// Policies are shared out over the cores there are, and over several passes where the states of all at
/// once would be too many; the answer does not depend on either.
///
/// # Errors
/// [`ReplayError::UnknownStrategy`], [`ReplayError::SeqOutside`] for a scope that the log does not have;
/// [`ReplayError::EmptyLog`]; [`ReplayError::Read`] and [`ReplayError::Decode`] for a log that cannot be
/// read.
pub fn what_if(
    reader: &Reader,
    scope: &Scope,
    variants: &[Variant],
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ReplayError> {
    judged(reader, scope, variants, Detail::Strategies, progress)
}

/// As [`what_if`], but of each policy only what all strategies add up to: for many policies at once.
///
/// # Errors
/// As [`what_if`].
pub fn totals(
    reader: &Reader,
    scope: &Scope,
    variants: &[Variant],
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ReplayError> {
    judged(reader, scope, variants, Detail::Totals, progress)
}

fn judged(
    reader: &Reader,
    scope: &Scope,
    variants: &[Variant],
    detail: Detail,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ReplayError> {
    if reader.head().seq.0 == 0 {
        return Err(ReplayError::EmptyLog);
    }
    if let Some(id) = &scope.strategy {
        at::known(reader, id)?;
    }
    for seq in [scope.from, scope.to].into_iter().flatten() {
        at::within(reader, seq)?;
    }
    // The end is fixed here: passes must not see a log that grows between them.
    let scope = Scope { to: Some(scope.to.unwrap_or(reader.head().seq)), ..scope.clone() };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let strategies = if scope.strategy.is_some() { 1 } else { reader.streams().len() };
    let at_once = at_once(strategies, cores, variants);
    let mut report: Option<Report> = None;
    for chunk in variants.chunks(at_once) {
        let share = chunk.len().div_ceil(cores).max(1);
        let (first, others) = chunk.split_at(share.min(chunk.len()));
        let parts = std::thread::scope(|threads| {
            let started: Vec<_> = others
                .chunks(share)
                .map(|variants| threads.spawn(|| pass(reader, &scope, variants, detail, &mut |_| {})))
                .collect();
            let mut parts = vec![pass(reader, &scope, first, detail, progress)];
            for thread in started {
                parts.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            parts
        });
        for part in parts {
            let part = part?;
            match &mut report {
                Some(report) => report.policies.extend(part.policies),
                None => report = Some(part),
            }
        }
    }
    Ok(report.unwrap_or_default())
}

fn pass(
    reader: &Reader,
    scope: &Scope,
    variants: &[Variant],
    detail: Detail,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ReplayError> {
    let only = scope.strategy.as_ref().map(|id| StreamId::new(id.as_str()));
    let total = scope.to.unwrap_or(reader.head().seq);
    let mut systems: Vec<Systems> = variants.iter().map(|variant| Systems::new(variant, scope.from)).collect();
    let mut tallies: Vec<Tally> = variants.iter().map(|_| Tally::default()).collect();
    let mut subjects: Streams<Subject> = Streams::new();
    let mut report = Report::default();
    let mut recorded: Vec<Event> = Vec::new();
    let mut passed = 0_u64;
    let mut cursor = reader.cursor(Seq(1))?;
    while let Some(commit) = cursor.next()? {
        if commit.seq > total {
            break;
        }
        passed += 1;
        report.through = commit.last_seq();
        if passed.is_multiple_of(PROGRESS_EVERY) {
            progress(Progress { done: commit.last_seq(), total: total.max(commit.last_seq()) });
        }
        let is_system = commit.stream.is_system();
        let of_another = only.as_ref().is_some_and(|only| only != commit.stream);
        if !is_system && (of_another || !commit.stream.is_strategy()) {
            continue;
        }
        decode_into(&commit, &mut recorded)?;
        let judged = scope.from.is_none_or(|from| commit.last_seq() >= from);
        if judged {
            report.from = if report.commits == 0 { commit.seq } else { report.from };
            report.commits += 1;
        }
        if is_system {
            let adopts = recorded.iter().any(|event| matches!(event, Event::PolicyAdopted { .. }));
            report.adoptions_replaced += u64::from(judged && adopts);
            for (system, tally) in systems.iter_mut().zip(&mut tallies) {
                if let Some(rejection) = system.step(commit.seq, commit.last_version(), decided_at(&commit), &recorded)
                {
                    tally.refuse(&commit, &rejection);
                }
            }
            continue;
        }
        let subject = subjects.of(commit.stream_no, || Subject::new(commit.stream));
        if judged {
            subject.judge(reader, &commit, &recorded, &mut systems, &mut tallies)?;
        } else {
            subject.pass_over(&commit, &recorded, variants.len());
        }
    }
    progress(Progress { done: report.through, total: report.through });
    let mut outcomes: Vec<Outcome> =
        tallies.into_iter().zip(variants).map(|(tally, variant)| Outcome::new(variant, tally)).collect();
    for subject in subjects.into_values() {
        subject.conclude(&mut outcomes, detail);
    }
    for outcome in &mut outcomes {
        outcome.strategies.sort_unstable_by(|one, other| one.strategy.cmp(&other.strategy));
    }
    report.policies = outcomes;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_windows_and_many_strategies_make_more_passes() {
        let variants = |window: u32| {
            let mut policy = Policy::default();
            policy.drift_detector.window_trades = window;
            vec![Variant::new("wide", policy); 200]
        };
        assert_eq!(at_once(10, 2, &variants(200)), 200, "a small house takes one pass");
        let (narrow, wide) = (at_once(2_000, 2, &variants(200)), at_once(2_000, 2, &variants(5_000)));
        assert!(1 < wide && wide < narrow && narrow < 200, "{wide} {narrow}");
        assert_eq!(at_once(usize::MAX, 2, &variants(5_000)), 1, "never none");
    }
}
