//! Mailboxes around the rules: the journal's thread, the gates, the strategies, the system.
//!
//! ```text
//! ask -> gate (one a shard) -> strategy: decide, hand to the journal, evolve
//!                                             journal: write the group, sync, receipts
//!        shard: release by receipt <----------'
//!            keyframes' thread: a copy of the state, once the journal has settled
//! ask <- held against the published view: overtaken by a kill, it is decided again
//! ```
//!
//! Invariants: no answer before its commit is durable; no `ALLOW` after an acknowledged kill; a
//! failure of any part is a BLOCK. The rules themselves are elsewhere and know nothing of this.

mod answer;
mod execution;
mod gate;
mod governor;
mod journal;
mod keeper;
mod measures;
mod reply;
mod request;
mod shard;
mod strategy;
mod system;
#[cfg(test)]
mod tests;

pub use answer::{Failure, Recorded};
pub use governor::{Config, Governor, Loaded, Part, StartError, Threads};
pub use journal::JournalError;
pub use keeper::KeyframeCounts;
pub use measures::{Histogram, Measures};
pub use request::Request;
pub use system::View;
