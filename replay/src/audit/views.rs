//! The system as it was at each version that a commit may still stand on.
//!
//! A gate decides with the view it has adopted, which can be a change or two behind the log; so the last
//! views are kept. An older one that a commit names all the same is folded again from the system's own
//! stream: slow, and right.

use std::collections::VecDeque;

use ephor_events::{Reader, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::system::{self, State};
use ephor_governance::units::Timestamp;
use ephor_snapshots::restore;

use crate::ReplayError;

/// How many views are kept: each gate adopts a change before the next one is made.
const KEPT: usize = 64;

pub(super) struct Views {
    newest: (Version, State),
    before: VecDeque<(Version, State)>,
    restored: Option<(Version, State)>,
}

impl Views {
    pub(super) fn new() -> Self {
        Self { newest: (Version(0), State::default()), before: VecDeque::new(), restored: None }
    }

    pub(super) fn newest(&self) -> (Version, &State) {
        (self.newest.0, &self.newest.1)
    }

    /// Goes on to the view after a commit.
    pub(super) fn evolve(&mut self, events: &[Event], version: Version, at: Timestamp) {
        let state = events.iter().fold(self.newest.1.clone(), |state, event| system::evolve(state, event, at));
        if self.before.len() >= KEPT {
            self.before.pop_front();
        }
        self.before.push_back(std::mem::replace(&mut self.newest, (version, state)));
    }

    /// The system at a version, which is not ahead of the newest.
    pub(super) fn at(&mut self, reader: &Reader, version: Version) -> Result<&State, ReplayError> {
        if self.newest.0 == version {
            return Ok(&self.newest.1);
        }
        if let Some((_, state)) = self.before.iter().rev().find(|(kept, _)| *kept == version) {
            return Ok(state);
        }
        if self.restored.as_ref().is_none_or(|(kept, _)| *kept != version) {
            let restored = restore(reader, None, &StreamId::system(), Some(version), system::evolve)?;
            self.restored = Some((version, restored.state));
        }
        Ok(self.restored.as_ref().map_or(&self.newest.1, |(_, state)| state))
    }
}
