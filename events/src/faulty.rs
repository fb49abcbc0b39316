//! A disk that dies after so many bytes, and what the log makes of it.

use std::io;
use std::sync::Arc;

use proptest::prelude::*;
use smol_str::SmolStr;

use crate::frame::{Stamp, decode, encode, texts};
use crate::store::{Group, Source, Store};
use crate::{
    AppendError, Cause, CheckpointError, Draft, Durability, Encoded, EventLog, Hash, Key, Options, Seq, StreamId, Text,
    Version,
};

/// Passes on what fits, writes the front of what does not, and fails from then on.
struct Faulty {
    inner: Box<dyn Store>,
    left: usize,
    kind: io::ErrorKind,
    fails_sync: bool,
}

impl Store for Faulty {
    fn source(&self) -> Arc<dyn Source> {
        self.inner.source()
    }

    fn append(&mut self, group: &Group<'_>) -> io::Result<()> {
        let fits = group.frames.len().min(self.left);
        self.left -= fits;
        self.inner.append(&Group { frames: &group.frames[..fits], ..*group })?;
        if fits < group.frames.len() { Err(self.kind.into()) } else { Ok(()) }
    }

    fn sync(&mut self, seq: Seq, hash: Hash) -> io::Result<()> {
        if self.fails_sync { Err(self.kind.into()) } else { self.inner.sync(seq, hash) }
    }

    fn cut(&mut self, address: u64) -> io::Result<()> {
        self.inner.cut(address)
    }

    fn chunks(&self) -> u32 {
        self.inner.chunks()
    }
}

fn draft(nth: u64) -> Draft {
    Draft {
        stream: StreamId::new("alpha"),
        expected: Version(nth),
        decided_at: nth.cast_signed(),
        occurred_at: 0,
        trace: SmolStr::default(),
        key: Some(Key { kind: 1, id: format!("order-{nth}").into() }),
        instrument: None,
        system: Version(0),
        events: vec![Encoded { type_id: 1, schema: 1, cause: Cause::None, payload: vec![0xa5; 40] }],
    }
}

fn open(dir: &std::path::Path) -> EventLog {
    EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap().0
}

fn commits(log: &EventLog) -> u64 {
    let mut cursor = log.reader().cursor(Seq(1)).unwrap();
    let mut commits = 0;
    while let Some(view) = cursor.next().unwrap() {
        assert_eq!(view.seq.0, commits + 1);
        commits += 1;
    }
    assert_eq!(log.head().commits, commits);
    commits
}

#[test]
fn a_disk_that_dies_after_any_number_of_bytes_stops_the_log_and_loses_nothing_acknowledged() {
    for left in (0..420).step_by(7).chain(0..14) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let kind = io::ErrorKind::StorageFull;
        log.wrap(|inner| Box::new(Faulty { inner, left, kind, fails_sync: false }));
        let mut acknowledged = 0;
        let error = loop {
            let group = [draft(acknowledged), draft(acknowledged + 1)];
            match log.append(&group, Durability::Fsync) {
                Ok(positions) => acknowledged += positions.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, AppendError::Storage { source, .. } if source.kind() == kind));
        assert!(!error.is_retryable());
        let again = log.append(&[draft(acknowledged)], Durability::Fsync).unwrap_err();
        assert!(matches!(again, AppendError::Stopped));
        assert!(matches!(log.checkpoint(), Err(CheckpointError::Stopped)));
        assert_eq!(commits(&log), acknowledged);
        drop(log);

        let mut log = open(dir.path());
        let found = commits(&log);
        // The first of a group of two may have reached the disk whole: nobody was told either way.
        assert!((acknowledged..=acknowledged + 1).contains(&found), "{acknowledged} {found}");
        log.append(&[draft(found)], Durability::Fsync).unwrap();
        assert_eq!(commits(&log), found + 1);
    }
}

#[test]
fn a_failed_sync_stops_the_log_and_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(&[draft(0)], Durability::Fsync).unwrap();
    let kind = io::ErrorKind::Other;
    log.wrap(|inner| Box::new(Faulty { inner, left: usize::MAX, kind, fails_sync: true }));
    let error = log.append(&[draft(1)], Durability::Fsync).unwrap_err();
    assert!(matches!(error, AppendError::Storage { last: Seq(1), .. }));
    assert_eq!(commits(&log), 1);
    let again = log.append(&[draft(1)], Durability::Written).unwrap_err();
    assert!(matches!(again, AppendError::Stopped));
}

proptest! {
    #[test]
    fn a_frame_reads_back_letter_for_letter(
        seq in 1_u64..u64::MAX / 4,
        back in 1_u64..1000,
        version in 1_u64..1 << 40,
        system: u64,
        recorded_at: i64,
        raised in prop_oneof![Just(0_i64), 1..i64::MAX],
        occurred_at: i64,
        trace in ".{0,40}",
        uuid: Option<u128>,
        key: Option<(u8, String)>,
        key_is_trace: bool,
        names in proptest::collection::vec("[a-z]{1,12}", 0..4),
        stream in 1_u32..1 << 20,
        instrument in 0_u32..1 << 20,
        events in proptest::collection::vec(
            (any::<u16>(), any::<u16>(), 0_u8..3, proptest::collection::vec(any::<u8>(), 0..300)),
            1..6,
        ),
    ) {
        // The clock had gone back so far; what cannot be that far before is taken as recorded at once.
        let decided_at = recorded_at.checked_sub(raised).unwrap_or(recorded_at);
        let text = uuid.map_or(trace, |uuid| uuid::Uuid::from_u128(uuid).to_string());
        let id = |id: String| SmolStr::new(if key_is_trace { &text } else { &id });
        let draft = Draft {
            stream: StreamId::new("unused"),
            expected: Version(version - 1),
            decided_at,
            occurred_at,
            trace: SmolStr::new(&text),
            key: key.map(|(kind, text)| Key { kind, id: id(text) }),
            instrument: None,
            system: Version(system),
            events: (0_u16..)
                .zip(events)
                .map(|(index, (type_id, schema, cause, payload))| Encoded {
                    type_id,
                    schema,
                    cause: match cause {
                        1 if index > 0 => Cause::InCommit(index - 1),
                        2 if seq > 7 => Cause::Earlier(Seq(seq - 7)),
                        _ => Cause::None,
                    },
                    payload,
                })
                .collect(),
        };
        let names: Vec<SmolStr> = names.iter().map(SmolStr::new).collect();
        let (trace, key) = texts(&draft);
        let stamp = Stamp {
            synced: Seq(seq.saturating_sub(back)),
            prev: Hash::genesis(),
            seq: Seq(seq),
            version: Version(version),
            recorded_at,
            names: &names,
            stream,
            instrument,
            trace,
            key,
        };
        let mut out = vec![7; 3];
        let hash = encode(&mut out, &draft, &stamp);
        let raw = decode(&out[3..]).unwrap();
        prop_assert_eq!(raw.hash(), hash);
        prop_assert_eq!(raw.synced, stamp.synced);
        prop_assert_eq!((raw.seq, raw.version, raw.prev), (stamp.seq, stamp.version, stamp.prev));
        prop_assert_eq!((raw.recorded_at, raw.decided_at, raw.occurred_at), (recorded_at, decided_at, occurred_at));
        prop_assert_eq!((raw.stream, raw.instrument, raw.system), (stream, instrument, draft.system));
        prop_assert_eq!(raw.trace.to_smol_str(), draft.trace.clone());
        let key = raw.key.map(|(kind, id)| Key { kind, id: id.to_smol_str() });
        prop_assert_eq!(key, draft.key.clone());
        prop_assert!(raw.names.iter().eq(names.iter().map(SmolStr::as_str)));
        let stream = StreamId::new("unused");
        let view = crate::CommitView::new(&raw, &stream, None);
        prop_assert_eq!(view.to_owned().events, draft.events);
    }

    #[test]
    fn a_uuid_is_shortened_only_if_it_reads_back(text in "[0-9a-fA-F-]{36}|.{0,50}") {
        prop_assert_eq!(Text::of(&text).to_smol_str(), SmolStr::new(&text));
    }
}
