//! Folded state kept beside the log, and states restored from it.
//!
//! A keyframe saves time and is never trusted over the log: one that does not fit is ignored, counted
//! and made anew.

mod digest;
mod keyframes;
mod restore;
mod saved;
mod spacing;
mod system;

pub use digest::{Digest, Digested};
pub use keyframes::{Ignored, Kept, Keyframes, SaveError};
pub use restore::{Evolve, RestoreError, Restored, restore};
pub use saved::{Ending, Misfit, folded_by};
pub use spacing::Spacing;
pub use system::{KillView, ProposalView, SystemView};
