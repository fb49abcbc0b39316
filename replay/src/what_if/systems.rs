//! The system in a counterfactual: as recorded, with another policy in force from a seq on.
//!
//! A gate decides with the view it has adopted, which can be a change or two behind the log; so the last
//! views are kept under the versions that history gave them, and an older one is made again from the
//! system's own stream.

use std::collections::VecDeque;
use std::sync::Arc;

use ephor_events::codec::decode_all;
use ephor_events::{Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::policy::{Policy, PolicyId};
use ephor_governance::rejection::Rejection;
use ephor_governance::system::{self, Command, State};
use ephor_governance::units::Timestamp;

use super::Variant;
use crate::{ReplayError, decided_at};

/// How many views are kept: each gate adopts a change before the next one is made.
const KEPT: usize = 64;

pub(super) struct Systems {
    policy: Arc<Policy>,
    id: PolicyId,
    from: Option<Seq>,
    newest: (Version, State),
    before: VecDeque<(Version, State)>,
    restored: Option<(Version, State)>,
    in_force: bool,
}

impl Systems {
    pub(super) fn new(variant: &Variant, from: Option<Seq>) -> Self {
        let mut systems = Self {
            policy: variant.policy.clone(),
            id: variant.id,
            from,
            newest: (Version(0), State::default()),
            before: VecDeque::new(),
            restored: None,
            in_force: false,
        };
        if from.is_none() {
            systems.put_into_force();
        }
        systems
    }

    /// From here on every view, however old, carries the other policy.
    fn put_into_force(&mut self) {
        if self.in_force {
            return;
        }
        self.in_force = true;
        let Self { policy, id, newest, before, .. } = self;
        for (_, state) in std::iter::once(newest).chain(before) {
            (state.policy, state.policy_id, state.policy_adopted) = (policy.clone(), *id, true);
        }
    }

    /// Takes one commit of the system's stream. Gives the refusal where the command behind it would not
    /// have gone through.
    pub(super) fn step(&mut self, seq: Seq, last: Version, at: Timestamp, recorded: &[Event]) -> Option<Rejection> {
        let judged = self.from.is_none_or(|from| seq.0 + recorded.len() as u64 > from.0);
        if judged {
            self.put_into_force();
        }
        let decided = match Command::of(recorded) {
            // The other policy stands in for every one that history proposes and adopts.
            Some(Command::ProposePolicy { .. } | Command::AdoptPolicy { .. }) if judged => Ok(Vec::new()),
            Some(command) if judged => system::decide(&self.newest.1, &command),
            Some(_) | None => Ok(recorded.to_vec()),
        };
        let (events, refused) = match decided {
            Ok(events) => (events, None),
            Err(rejection) => (Vec::new(), Some(rejection)),
        };
        let state = events.iter().fold(self.newest.1.clone(), |state, event| system::evolve(state, event, at));
        if self.before.len() >= KEPT {
            self.before.pop_front();
        }
        self.before.push_back(std::mem::replace(&mut self.newest, (last, state)));
        refused
    }

    /// The system at a version of history's, for a decision that is made again.
    pub(super) fn at(&mut self, reader: &Reader, version: Version) -> Result<&State, ReplayError> {
        self.put_into_force();
        // One that is ahead of the log is the audit's to name.
        if self.newest.0 <= version {
            return Ok(&self.newest.1);
        }
        if let Some((_, state)) = self.before.iter().rev().find(|(kept, _)| *kept == version) {
            return Ok(state);
        }
        if self.restored.as_ref().is_none_or(|(kept, _)| *kept != version) {
            self.restored = Some((version, self.again(reader, version)?));
        }
        Ok(self.restored.as_ref().map_or(&self.newest.1, |(_, state)| state))
    }

    fn again(&self, reader: &Reader, version: Version) -> Result<State, ReplayError> {
        let variant = Variant { name: String::new(), policy: self.policy.clone(), id: self.id };
        let mut systems = Self::new(&variant, self.from);
        let mut cursor = reader.stream(&StreamId::system(), Version(1))?;
        while let Some(commit) = cursor.next()? {
            if commit.version > version {
                break;
            }
            let recorded = decode_all(&commit).collect::<Result<Vec<Event>, _>>()?;
            // Counted when it was met first.
            drop(systems.step(commit.seq, commit.last_version(), decided_at(&commit), &recorded));
        }
        systems.put_into_force();
        Ok(systems.newest.1)
    }
}
