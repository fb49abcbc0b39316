//! Recorded events: the log they stand in, its chain, its index and its dictionary.
//!
//! The log stores, orders, chains and finds; what an event means it does not know. One writer
//! ([`EventLog`]) appends groups of commits, any number of [`Reader`]s see what is published.
//!
//! Invariants: what was acknowledged is never cut or skipped without a word; the same drafts give
//! the same chained bytes on every machine; everything outside `log/` can be deleted and is rebuilt.

mod batch;
mod bytes;
pub mod codec;
mod commit;
mod cursor;
mod derived;
mod draft;
pub mod envelope;
mod error;
#[cfg(test)]
mod faulty;
mod frame;
mod hashing;
mod ids;
mod index;
mod ledger;
mod log;
mod names;
mod opening;
mod options;
mod reader;
mod scan;
mod shared;
mod store;
mod tail;
mod text;
mod torn;
mod verify;
mod window;
mod witness;

pub use commit::{Commit, CommitView, EventView, Events};
pub use cursor::{Cursor, StreamCursor};
pub use derived::{Derived, DerivedTree, Pair};
pub use draft::{Cause, Draft, Durability, Encoded, Head, Position};
pub use error::{
    AppendError, Block, CheckpointError, ChunkFault, Damage, DraftFault, Fault, OpenError, Part, ReadError,
};
pub use ids::{Hash, Key, Seq, StreamId, Version, event_id};
pub use index::disk::SledError;
pub use log::EventLog;
pub use options::{Backend, Opened, Options, Place, Progress, Rebuilt, Stage, Torn};
pub use reader::Reader;
pub use text::Text;
pub use verify::{Verified, VerifyError, VerifyFault, verify};
