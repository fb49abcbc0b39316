//! What `ephor bus setup` has done on a server, whichever kind it is.

use std::fmt::Display;

/// What was done to one thing that a server must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was not there.
    Created,
    /// It was there and not as the settings say.
    Updated,
    /// It is as it should be.
    Kept,
}

impl Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Kept => "as it should be",
        })
    }
}

/// One thing that a server must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `stream NAME`, `consumer NAME` or `group NAME`.
    pub what: String,
    /// What was done, or would be.
    pub done: Done,
    /// How it is: `name value` of each limit.
    pub limits: Vec<(&'static str, String)>,
    /// What was otherwise: of which limit, and how it was.
    pub differed: Vec<(&'static str, String)>,
}
