//! Who may ask, and what proves that Ephor permitted an order.
//!
//! API keys say who is calling and what that caller may do. Signing keys put Ephor's name under execution tokens,
//! so that a broker adapter can check one without asking. Both live in `keys/` of the data directory, apart from
//! the log: a log can be shown to anyone who audits, a secret to nobody.
//!
//! Invariants: no secret is ever shown by `Debug` or in an error; a file that is not what it should be lets nobody
//! in and signs nothing.

pub mod api;
mod claims;
mod files;
pub mod signing;

pub use claims::{Claims, TokenError};
pub use files::{KeysError, secret};

#[cfg(test)]
mod tests;
