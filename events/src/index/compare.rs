//! Compares a run with the part of the log that it covers.
//!
//! Sums of mixed entries, not the entries: two sets with the same count and the same sum are the
//! same set, but for a chance of one in 2^64.

use std::collections::HashMap;
use std::sync::Arc;

use super::run::Run;
use super::section::{Id, Kind, Name, Place, StreamHead};
use crate::frame::{Raw, decode};
use crate::hashing::{NumberHash, id_hash};
use crate::ledger::Ledger;
use crate::store::Source;
use crate::tail::{MARK_EVERY, Mark};
use crate::verify::VerifyFault;
use crate::window::Window;
use crate::{Block, Version};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    sum: u64,
}

impl Sum {
    fn add(&mut self, parts: &[u64]) {
        let mixed = parts.iter().fold(0x51_7c_c1_b7_27_22_0a_95, |state: u64, part| {
            let state = (state ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            state ^ (state >> 29)
        });
        self.count += 1;
        self.sum = self.sum.wrapping_add(mixed);
    }
}

/// What the log calls for between two ends.
#[derive(Default)]
pub(crate) struct Sums {
    ids: Sum,
    places: Sum,
    heads: HashMap<u32, Version, NumberHash>,
}

impl Sums {
    pub(crate) fn add(&mut self, raw: &Raw<'_>, address: u64) {
        if let Some((kind, id)) = raw.key {
            self.ids.add(&[id_hash(raw.stream, kind, &id), address]);
        }
        let (stream, count) = (u64::from(raw.stream), u64::from(raw.count));
        self.places.add(&[stream, raw.version.0, address, count]);
        self.heads.insert(raw.stream, raw.last_version());
    }
}

/// Compares every section of `run` with what the log calls for.
pub(crate) fn compare(
    run: &Run,
    expected: Sums,
    ledger: &Ledger,
    source: &Arc<dyn Source>,
    faults: &mut Vec<VerifyFault>,
) {
    let mut ids = Sum::default();
    let read = run.each(|id: Id| ids.add(&[id.hash, id.address]));
    report(run, Kind::Ids, &read, expected.ids, ids, faults);

    let mut places = Sum::default();
    let read = run.each(|place: Place| {
        let Place { stream, version, address, count } = place;
        places.add(&[u64::from(stream), version.0, address, u64::from(count)]);
    });
    report(run, Kind::Streams, &read, expected.places, places, faults);

    let (mut wanted, mut heads) = (Sum::default(), Sum::default());
    for (stream, version) in expected.heads {
        wanted.add(&[u64::from(stream), version.0]);
    }
    let read = run.each(|head: StreamHead| heads.add(&[u64::from(head.stream), head.version.0]));
    report(run, Kind::Heads, &read, wanted, heads, faults);

    let (mut wanted, mut names) = (Sum::default(), Sum::default());
    for number in run.head.from.names + 1..=run.head.to.names {
        let name = ledger.names.get(number).map(|name| name.as_bytes()).unwrap_or_default();
        wanted.add(&[u64::from(number), u64::from(crc32c::crc32c(name))]);
    }
    let read = run.each(|Name { number, name }: Name| {
        names.add(&[u64::from(number), u64::from(crc32c::crc32c(name.as_bytes()))]);
    });
    report(run, Kind::Names, &read, wanted, names, faults);
    marks(run, source, faults);

    let end = &ledger.end;
    if run.head.to != *end {
        let section = Kind::Manifest as u8;
        let (expected, found) = (end.head.seq.0, run.head.to.head.seq.0);
        faults.push(VerifyFault::Entries { run: run.head.id, section, expected, found });
    }
}

/// Each mark must stand at a commit, and no more than the usual number of commits apart.
fn marks(run: &Run, source: &Arc<dyn Source>, faults: &mut Vec<VerifyFault>) {
    let mut window = Window::jumping(source.clone());
    let mut found = Sum::default();
    let mut right = Sum::default();
    let read = run.each(|mark: Mark| {
        found.add(&[mark.address]);
        let range = window.frame(mark.address, run.head.to.address);
        let frame = range.ok().map(|range| window.bytes(range));
        let stands = frame
            .and_then(|frame| decode(frame).ok())
            .is_some_and(|raw| raw.seq == mark.seq && raw.recorded_at == mark.recorded_at);
        if stands {
            right.add(&[mark.address]);
        }
    });
    let least = run.commits().div_ceil(MARK_EVERY);
    if right.count < least {
        right.count = least;
    }
    report(run, Kind::Marks, &read, right, found, faults);
}

fn report(run: &Run, kind: Kind, read: &Result<(), Block>, expected: Sum, found: Sum, faults: &mut Vec<VerifyFault>) {
    // A block that cannot be read is reported as such.
    if read.is_ok() && expected != found {
        let (run, section) = (run.head.id, kind as u8);
        let (expected, found) = (expected.count, found.count);
        faults.push(VerifyFault::Entries { run, section, expected, found });
    }
}
