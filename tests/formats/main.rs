//! Messages of other programs, read as they were sent: what each says, whose it is, and what cannot be read.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one report among all")]

mod captures;
mod golden;
mod hostile;
mod nautilus;

use ephor::formats::{Message, Reading, Told};
use ephor::input::{Asked, Entry, Parser, Refusal};
use ephor::settings;
use ephor_governance::strategy::Command;
use ephor_governance::units::Timestamp;

/// 2026-12-01T00:00:00Z.
fn now() -> Timestamp {
    Timestamp::from_nanos(1_796_083_200 * 1_000_000_000)
}

/// A reader for these settings, as TOML.
#[track_caller]
fn reading(settings: &str) -> Reading {
    let settings: settings::Reading = toml::from_str(settings).unwrap();
    Reading::new(&settings, now)
}

fn read(reading: &mut Reading, subject: &str, payload: &[u8]) -> Result<Told, Refusal> {
    reading.read(&Message { subject, headers: &[], payload })
}

/// What a line of Ephor's own JSON asks for: what a message of another format must come to.
#[track_caller]
fn own(line: &str) -> Entry {
    Parser::live(now).line(line.as_bytes()).unwrap().unwrap()
}

/// The strategy's name and the command of an entry.
#[track_caller]
fn command(entry: &Entry) -> (&str, &Command) {
    match &entry.asked {
        Asked::Strategy(request) => (request.strategy.as_str(), &request.command),
        Asked::Account(account) => panic!("an account: {account:?}"),
    }
}
