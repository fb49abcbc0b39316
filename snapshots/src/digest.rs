//! What a state is known by: the digest of its JSON.
//!
//! One definition for everyone who compares states: a keyframe with a fold, one machine with another, what
//! is live with what is recorded. JSON, because it has every field by name in the order of declaration, and
//! does not change with how a keyframe is packed.

use std::fmt;
use std::str::FromStr;

use ephor_governance::{strategy, system};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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

/// Why a text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits, in lower case")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() != 64 || !text.as_bytes().iter().all(hex) {
            return Err(DigestError);
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            let two = text.get(at..at + 2).ok_or(DigestError)?;
            *byte = u8::from_str_radix(two, 16).map_err(|_| DigestError)?;
        }
        Ok(Self(digest))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
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
