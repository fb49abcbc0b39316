//! What a state is known by: the digest of its JSON.
//!
//! One definition for everyone who compares states: a keyframe with a fold, one machine with another, what
//! is live with what is recorded. JSON, because it has every field by name in the order of declaration, and
//! does not change with how a keyframe is packed.

use std::fmt;

use ephor_governance::{strategy, system};
use serde::{Serialize, Serializer};

use crate::SystemView;

/// BLAKE3 over the JSON of a state, every field in the order of declaration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Digest {
    /// The digest of a value.
    ///
    /// # Errors
    /// Where the value has no JSON form.
    ///
    /// ```
    /// # use ephor_snapshots::Digest;
    /// assert_eq!(Digest::of(&[1, 2]).unwrap(), Digest::of(&(1, 2)).unwrap());
    /// ```
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let mut hasher = blake3::Hasher::new();
        serde_json::to_writer(&mut hasher, value)?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }
}

/// A state that is known by a digest.
pub trait Digested {
    /// Its digest.
    ///
    /// # Errors
    /// Where the state has no JSON form.
    fn digest(&self) -> Result<Digest, serde_json::Error>;
}

impl Digested for strategy::State {
    fn digest(&self) -> Result<Digest, serde_json::Error> {
        Digest::of(self)
    }
}

impl Digested for system::State {
    fn digest(&self) -> Result<Digest, serde_json::Error> {
        Digest::of(&SystemView::from(self))
    }
}
