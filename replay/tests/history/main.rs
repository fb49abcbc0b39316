//! History as it is asked about: folded, found, judged again, explained. One binary, one file a question.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod at;
mod audit;
mod bisect;
mod diff;
mod fills;
mod fold;
mod happened;
mod keyframes;
mod random;
mod states;
mod timeline;
mod what_if;
mod why;
mod why_otherwise;
mod why_thresholds;
mod why_versions;
mod world;
