//! Drafts for tests: made from a counter, so that every run and machine makes the same ones.

use std::path::Path;

use ephor_events::{
    Backend, Cause, Commit, Draft, Durability, Encoded, EventLog, Key, Opened, Options, Reader, Seq, StreamId, Version,
};

/// The events of one trade: what came in and what followed.
pub(crate) fn draft(stream: &str, expected: u64, nth: u64) -> Draft {
    let at = 1_700_000_000_000_000_000 + i64::try_from(nth).unwrap() * 1_000_000;
    let count = 1 + nth % 4;
    Draft {
        stream: StreamId::new(stream),
        expected: Version(expected),
        decided_at: at,
        occurred_at: at - 250_000,
        trace: trace(nth).into(),
        key: (nth % 5 != 4).then(|| Key { kind: 1, id: id(nth).into() }),
        instrument: (!nth.is_multiple_of(3)).then(|| ["BTC-USD", "ETH-USD"][(nth % 2) as usize].into()),
        system: Version(nth / 10),
        events: (0..count)
            .map(|index| Encoded {
                type_id: (nth % 14) as u16 + 1,
                schema: 1,
                cause: match index {
                    0 if nth < 8 => Cause::None,
                    0 => Cause::Earlier(Seq(nth / 2)),
                    _ => Cause::InCommit(u16::try_from(index).unwrap() - 1),
                },
                payload: payload(nth * 4 + index),
            })
            .collect(),
    }
}

/// A UUID for most, none or a plain text for some.
pub(crate) fn trace(nth: u64) -> String {
    match nth % 7 {
        5 => String::new(),
        6 => format!("trace {nth}"),
        _ => uuid(nth),
    }
}

/// Mostly the trace itself, else a text or another UUID.
pub(crate) fn id(nth: u64) -> String {
    match nth % 5 {
        0 | 1 => trace(nth),
        2 => format!("order-{nth}"),
        _ => uuid(nth + 1_000_000),
    }
}

fn uuid(nth: u64) -> String {
    let mixed = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-7a31-8f0e-{:012x}", mixed >> 32, mixed & 0xffff, nth)
}

pub(crate) fn payload(nth: u64) -> Vec<u8> {
    let mut state = nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..60 + nth % 61)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// `count` commits spread over `streams` strategies, from the `first`-th on.
pub(crate) fn drafts(reader: &Reader, first: u64, count: u64, streams: u64) -> Vec<Draft> {
    let mut heads = std::collections::HashMap::new();
    (first..first + count)
        .map(|nth| {
            let name = format!("strategy-{}", nth % streams);
            let head = heads.entry(name.clone()).or_insert_with(|| reader.version_of(&StreamId::new(&name)).0);
            let draft = draft(&name, *head, nth);
            *head += draft.events.len() as u64;
            draft
        })
        .collect()
}

/// Appends `count` commits in groups of `group`.
pub(crate) fn fill(log: &mut EventLog, first: u64, count: u64, streams: u64, group: u64) {
    let mut at = first;
    while at < first + count {
        let size = group.min(first + count - at);
        let drafts = drafts(&log.reader(), at, size, streams);
        log.append(&drafts, Durability::Fsync).unwrap();
        at += size;
    }
}

pub(crate) fn all(reader: &Reader) -> Vec<Commit> {
    let mut cursor = reader.cursor(Seq(1)).unwrap();
    let mut commits = Vec::new();
    while let Some(view) = cursor.next().unwrap() {
        commits.push(view.to_owned());
    }
    commits
}

pub(crate) fn options(backend: Backend) -> Options {
    Options { backend, ..Options::default() }
}

pub(crate) fn open(dir: &Path, options: &Options) -> (EventLog, Opened) {
    EventLog::open(dir, options, &mut |_| {}).unwrap()
}
