//! The rules of governance: which strategy may trade, and how large. Facts in, facts out.
//!
//! This crate is pure: no clock, disk, network, thread, async or randomness. Time and ids come in with
//! the command; `decide` gives events or a rejection; `evolve` folds events into state and never fails.
//! So the same commands give the same events on every machine, and a recorded decision can be made
//! again and compared.
//!
//! One file is one component: `maturity`, `health`, `impact`, `drift`, `token`, `canary`; `approval`
//! keeps what waits for people; `gate` merges what they say, `strategy` and `system` are the two kinds of stream.

pub mod approval;
pub mod canary;
pub mod drift;
pub mod error;
pub mod event;
pub mod fill;
pub mod gate;
pub mod health;
pub mod ids;
pub mod impact;
pub mod maturity;
pub mod netting;
pub mod order;
pub mod policy;
pub mod record;
pub mod rejection;
pub mod strategy;
pub mod system;
pub mod token;
pub mod trade;
pub mod units;
pub mod verdict;

/// The digest of this crate's source, in hexadecimal: a state that was folded by other rules is not
/// trusted.
pub const RULES_DIGEST: &str = env!("EPHOR_RULES_DIGEST");
