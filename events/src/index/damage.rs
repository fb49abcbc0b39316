//! Blocks changed, lost and added behind the index's back, where sled's own checks see nothing.

use std::path::Path;

use super::disk::Disk;
use super::section::Kind;
use crate::{
    Block, Cause, Draft, Durability, Encoded, EventLog, Key, Options, ReadError, Rebuilt, Seq, StreamId, VerifyFault,
    Version, verify,
};

fn options() -> Options {
    Options { checkpoint_commits: 100, ..Options::default() }
}

fn open(dir: &Path) -> (EventLog, Option<Rebuilt>) {
    let (log, opened) = EventLog::open(dir, &options(), &mut |_| {}).unwrap();
    (log, opened.rebuilt)
}

/// A closed log of 300 commits in one stream.
fn given() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for nth in 0..300_u64 {
        let draft = Draft {
            stream: StreamId::new("alpha"),
            expected: Version(nth),
            decided_at: nth.cast_signed(),
            occurred_at: 0,
            trace: "".into(),
            key: Some(Key { kind: 1, id: format!("order-{nth}").into() }),
            instrument: None,
            system: Version(0),
            events: vec![Encoded { type_id: 1, schema: 1, cause: Cause::None, payload: vec![1; 20] }],
        };
        log.append(&[draft], Durability::Written).unwrap();
    }
    log.close().unwrap();
    dir
}

fn edit(dir: &Path, edit: impl FnOnce(&Disk)) {
    let disk = Disk::open(&dir.join(super::open::DERIVED_DIR), 1 << 20).unwrap();
    edit(&disk);
    disk.flush().unwrap();
}

/// Asks for everything; the first error, if any.
fn ask(log: &EventLog) -> Result<(), ReadError> {
    let reader = log.reader();
    let stream = StreamId::new("alpha");
    for nth in 0..300 {
        assert_eq!(reader.find(&stream, 1, &format!("order-{nth}"))?.map(|commit| commit.seq), Some(Seq(nth + 1)));
        assert_eq!(reader.seq_at(nth.cast_signed())?, Seq(nth + 1));
    }
    let mut cursor = reader.stream(&stream, Version(1))?;
    let mut seen = 0;
    while cursor.next()?.is_some() {
        seen += 1;
    }
    assert_eq!(seen, 300);
    Ok(())
}

fn then_it_is_named_and_the_next_opening_rebuilds(dir: &Path, block: Block) {
    let faults = verify(dir, &mut |_| {}).unwrap().faults;
    assert!(faults.contains(&VerifyFault::Block(block)), "{block}: {faults:?}");
    let (log, rebuilt) = open(dir);
    if rebuilt.is_none() {
        let error = ask(&log).unwrap_err();
        assert!(matches!(error, ReadError::Index { block: named } if named == block), "{block}: {error}");
        drop(log);
        let (log, rebuilt) = open(dir);
        assert!(rebuilt.is_some());
        ask(&log).unwrap();
    } else {
        ask(&log).unwrap();
        drop(log);
    }
    assert_eq!(verify(dir, &mut |_| {}).unwrap().faults, vec![]);
}

#[test]
fn a_changed_or_missing_block_of_any_section_is_named_and_rebuilt() {
    for kind in [Kind::Ids, Kind::Streams, Kind::Marks, Kind::Names, Kind::Heads, Kind::Filter] {
        for missing in [false, true] {
            let dir = given();
            let mut block = Block { run: 0, section: kind as u8, number: 0 };
            edit(dir.path(), |disk| {
                let of_kind = |found: &Block| found.section == kind as u8 && found.number == 0;
                block = disk.blocks().unwrap().into_iter().find(of_kind).unwrap();
                if missing {
                    disk.remove_block(block).unwrap();
                } else {
                    let mut bytes = disk.block(block).unwrap().unwrap().to_vec();
                    *bytes.last_mut().unwrap() ^= 1;
                    disk.put_block(block, &bytes).unwrap();
                }
            });
            then_it_is_named_and_the_next_opening_rebuilds(dir.path(), block);
        }
    }
}

#[test]
fn a_block_of_no_run_is_named_and_removed_at_the_next_opening() {
    let dir = given();
    let block = Block { run: 99, section: Kind::Ids as u8, number: 3 };
    edit(dir.path(), |disk| disk.put_block(block, b"left over").unwrap());
    assert_eq!(verify(dir.path(), &mut |_| {}).unwrap().faults, vec![VerifyFault::Surplus(block)]);
    assert_eq!(open(dir.path()).1, None);
    assert_eq!(verify(dir.path(), &mut |_| {}).unwrap().faults, vec![]);
}
