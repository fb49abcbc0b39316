//! Trace and key as the log keeps them: nothing, sixteen bytes, or the text itself.
//!
//! Most ids are UUIDs, and 36 letters a commit would be a tenth of the log. Only the canonical form
//! is shortened, so every text reads back letter for letter.

use std::fmt;

use smol_str::SmolStr;

/// A text of a commit, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// No text, or an empty one.
    None,
    /// A UUID in lower case with hyphens.
    Uuid([u8; 16]),
    /// Anything else.
    Str(&'a str),
}

impl<'a> Text<'a> {
    /// The shortest form of `text`.
    ///
    /// ```
    /// # use ephor_events::Text;
    /// let uuid = "0190c42e-5b7f-7a31-8f0e-2f6d3c1b9a77";
    /// assert!(matches!(Text::of(uuid), Text::Uuid(_)));
    /// assert_eq!(Text::of(uuid).to_string(), uuid);
    /// assert!(matches!(Text::of("order-1"), Text::Str("order-1")));
    /// ```
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        if text.is_empty() {
            return Self::None;
        }
        let may_be = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match may_be.then(|| uuid::Uuid::try_parse(text)) {
            Some(Ok(id)) => Self::Uuid(id.into_bytes()),
            Some(Err(_)) | None => Self::Str(text),
        }
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether this is that text.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        match self {
            Self::None => text.is_empty(),
            Self::Uuid(bytes) => {
                let mut letters = uuid::Uuid::encode_buffer();
                *uuid::Uuid::from_bytes(*bytes).hyphenated().encode_lower(&mut letters) == *text
            }
            Self::Str(own) => *own == text,
        }
    }

    /// The text, owned.
    #[must_use]
    pub fn to_smol_str(&self) -> SmolStr {
        match self {
            Self::None => SmolStr::default(),
            Self::Uuid(bytes) => {
                let mut letters = uuid::Uuid::encode_buffer();
                SmolStr::new(uuid::Uuid::from_bytes(*bytes).hyphenated().encode_lower(&mut letters))
            }
            Self::Str(text) => SmolStr::new(text),
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().fmt(f),
            Self::Str(text) => f.write_str(text),
        }
    }
}
