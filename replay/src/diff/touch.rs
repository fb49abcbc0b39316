//! Which fields an event touched: a state before it against the state behind it.
//!
//! Only the parts that differ are written as JSON and compared; the long lists are not, because an event that
//! changes one changes it as a whole.

use ephor_events::envelope::to_json;
use ephor_governance::{strategy, system};
use ephor_snapshots::Evolve;
use serde::Serialize;
use serde_json::Value;

use super::{Path, Step, compare};
use crate::SystemView;

/// A state that can be compared event by event.
pub(super) trait Subject: Sized {
    /// How an event changes it.
    const EVOLVE: Evolve<Self>;

    /// As programs read it.
    fn json(&self) -> Value;

    /// The fields in which two states differ.
    fn touched(before: &Self, after: &Self) -> Vec<Path>;
}

fn field(name: &str) -> Path {
    Path::default().with(Step::Field(name.to_owned()))
}

#[derive(Default)]
struct Touched(Vec<Path>);

impl Touched {
    /// A part that is compared field by field.
    fn part<T: PartialEq + Serialize>(&mut self, name: &str, before: &T, after: &T) {
        if before == after {
            return;
        }
        for (Path(mut rest), _) in compare(&to_json(before), &to_json(after)) {
            let mut path = field(name);
            path.0.append(&mut rest);
            self.0.push(path);
        }
    }

    /// A part that changes as a whole.
    fn whole<T: PartialEq>(&mut self, name: &str, before: &T, after: &T) {
        if before != after {
            self.0.push(field(name));
        }
    }
}

impl Subject for strategy::State {
    const EVOLVE: Evolve<Self> = strategy::evolve;

    fn json(&self) -> Value {
        to_json(self)
    }

    fn touched(before: &Self, after: &Self) -> Vec<Path> {
        // Taken apart by name, so that a new part is not forgotten here.
        let Self {
            registration,
            maturity,
            path,
            health,
            outcomes,
            version_trades,
            closing,
            totals,
            baseline,
            drift,
            tokens,
            approvals,
            pauses,
            positions,
            fills,
            unattributed,
        } = before;
        let mut touched = Touched::default();
        touched.part("registration", registration, &after.registration);
        touched.part("maturity", maturity, &after.maturity);
        touched.whole("path", path, &after.path);
        touched.part("health", health, &after.health);
        touched.whole("outcomes", outcomes, &after.outcomes);
        touched.whole("version_trades", version_trades, &after.version_trades);
        touched.whole("closing", closing, &after.closing);
        touched.part("totals", totals, &after.totals);
        touched.part("baseline", baseline, &after.baseline);
        touched.part("drift", drift, &after.drift);
        touched.part("tokens", tokens, &after.tokens);
        touched.part("approvals", approvals, &after.approvals);
        touched.part("pauses", pauses, &after.pauses);
        touched.part("positions", positions, &after.positions);
        touched.part("fills", fills, &after.fills);
        touched.whole("unattributed", unattributed, &after.unattributed);
        touched.0
    }
}

impl Subject for system::State {
    const EVOLVE: Evolve<Self> = system::evolve;

    fn json(&self) -> Value {
        to_json(&SystemView::from(self))
    }

    fn touched(before: &Self, after: &Self) -> Vec<Path> {
        let Self { policy_id, policy_adopted, policy, proposals, kills, account, canary } = before;
        let mut touched = Touched::default();
        touched.whole("policy_id", policy_id, &after.policy_id);
        touched.whole("policy_adopted", policy_adopted, &after.policy_adopted);
        if policy != &after.policy {
            let (before, after) = (SystemView::from(before), SystemView::from(after));
            touched.part("policy", &before.policy, &after.policy);
        }
        touched.whole("proposals", proposals, &after.proposals);
        touched.whole("kills", kills, &after.kills);
        touched.part("account", account, &after.account);
        touched.part("canary", canary, &after.canary);
        touched.0
    }
}
