//! Folded state kept beside the log, and states restored from it.
//!
//! A keyframe saves time and is never trusted over the log: one that does not fit is ignored, counted
//! and made anew.

mod keyframes;
mod restore;

pub use keyframes::{Keyframes, SaveError};
pub use restore::{Evolve, RestoreError, Restored, restore};
