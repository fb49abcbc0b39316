//! What happens to a log whose files were cut, flipped, lost, copied back or locked.
//!
//! The promise behind all of them: nothing that was acknowledged is lost without a word. So each test
//! compares what is read afterwards with what was appended, or sees the fault named.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it stands"
)]

mod support;

use std::fmt::Write;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ephor_events::{
    Backend, Commit, Durability, EventLog, OpenError, Options, ReadError, Reader, Rebuilt, Seq, StreamId, Verified,
    VerifyFault, Version, verify,
};
use support::{all, draft, drafts, fill, id, open, options};
use tempfile::TempDir;

fn small() -> Options {
    Options {
        chunk_bytes: 6000,
        preallocate_bytes: 1024,
        checkpoint_commits: 16,
        merge_runs: 3,
        ..options(Backend::Chunks)
    }
}

/// A closed log of `count` commits, and what is in it.
fn given(options: &Options, count: u64) -> (TempDir, Vec<Commit>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), options);
    fill(&mut log, 0, count, 5, 7);
    let commits = all(&log.reader());
    log.close().unwrap();
    (dir, commits)
}

fn last_chunk(dir: &Path) -> PathBuf {
    let mut chunks: Vec<_> = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "chunk"))
        .collect();
    chunks.sort();
    chunks.pop().unwrap()
}

fn files(dir: &Path, under: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir.join(under))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.metadata().unwrap().len() > 0)
        .collect();
    found.sort();
    found
}

/// One of so many.
fn pick(random: u64, count: usize) -> usize {
    usize::try_from(random % count as u64).unwrap()
}

fn flip(path: &Path, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

fn try_open(dir: &Path, options: &Options) -> Result<(EventLog, ephor_events::Opened), OpenError> {
    EventLog::open(dir, options, &mut |_| {})
}

fn verified(dir: &Path) -> Verified {
    verify(dir, &mut |_| {}).unwrap()
}

/// Everything a reader can answer, compared with the commits themselves. An error is what the reader
/// noticed itself; a wrong answer panics.
fn check_answers(reader: &Reader, commits: &[Commit]) -> Result<(), ReadError> {
    let mut cursor = reader.cursor(Seq(1))?;
    for commit in commits {
        assert_eq!(cursor.next()?.map(|view| view.to_owned()).as_ref(), Some(commit));
    }
    assert!(cursor.next()?.is_none());
    for (nth, commit) in (0_u64..).zip(commits) {
        assert_eq!(reader.commit_of(commit.last_seq())?.as_ref(), Some(commit));
        assert_eq!(reader.seq_at(commit.recorded_at)?, commit.last_seq());
        if commit.key.is_some() && !id(nth).is_empty() {
            assert_eq!(reader.find(&commit.stream, 1, &id(nth))?.as_ref(), Some(commit));
            assert_eq!(reader.find(&commit.stream, 3, &id(nth))?, None);
        }
    }
    for (stream, version) in reader.streams() {
        let mut own = commits.iter().filter(|commit| commit.stream == stream);
        let mut cursor = reader.stream(&stream, Version(1))?;
        let mut last = 0;
        while let Some(view) = cursor.next()? {
            assert_eq!(Some(&view.to_owned()), own.next());
            last = view.last_version().0;
        }
        assert_eq!(last, version.0);
    }
    Ok(())
}

fn assert_answers(reader: &Reader, commits: &[Commit]) {
    check_answers(reader, commits).unwrap();
}

/// A log that died after its last group was written and before it was acknowledged: files as they
/// are without closing. Gives the end of what was acknowledged.
fn given_unacknowledged(group: u64) -> (TempDir, Vec<Commit>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { preallocate_bytes: 0, ..options(Backend::Chunks) };
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 0, 20, 3, 4);
    let acknowledged = all(&log.reader());
    let before = fs::metadata(last_chunk(dir.path())).unwrap().len();
    let more = drafts(&log.reader(), 20, group, 3);
    log.append(&more, Durability::Written).unwrap();
    drop(log);
    (dir, acknowledged, before)
}

#[test]
fn a_torn_tail_at_every_byte_loses_nothing_acknowledged_and_can_be_appended_to() {
    let (original, acknowledged, before) = given_unacknowledged(1);
    let full = fs::metadata(last_chunk(original.path())).unwrap().len();
    let options = options(Backend::Chunks);
    for length in before..full {
        let dir = tempfile::tempdir().unwrap();
        copy(&original.path().join("log"), &dir.path().join("log"));
        let chunk = last_chunk(dir.path());
        OpenOptions::new().write(true).open(&chunk).unwrap().set_len(length).unwrap();

        let shared = Reader::open_shared(dir.path(), &mut |_| {}).unwrap();
        assert_eq!(all(&shared), acknowledged, "shared, length {length}");

        let (mut log, opened) = open(dir.path(), &options);
        assert_eq!(all(&log.reader()), acknowledged, "length {length}");
        assert_eq!(opened.torn.map(|torn| torn.bytes > 0), (length > before).then_some(true));
        if let Some(torn) = opened.torn {
            assert_eq!((torn.place.chunk, torn.place.offset), (1, before));
            assert_eq!(torn.seq.0, acknowledged.last().unwrap().last_seq().0 + 1);
        }
        if length % 16 == 0 {
            fill(&mut log, 20, 3, 3, 1);
            log.close().unwrap();
            assert_eq!(open(dir.path(), &options).1.head.commits, 23);
        }
    }
}

#[test]
fn a_group_with_a_sector_that_never_reached_the_disk_is_cut_as_a_whole() {
    let (original, acknowledged, before) = given_unacknowledged(12);
    let full = fs::metadata(last_chunk(original.path())).unwrap().len();
    let first = before.div_ceil(512) * 512;
    for sector in (first..full).step_by(512) {
        let dir = tempfile::tempdir().unwrap();
        copy(&original.path().join("log"), &dir.path().join("log"));
        let file = OpenOptions::new().write(true).open(last_chunk(dir.path())).unwrap();
        let blank = vec![0; usize::try_from(512.min(full - sector)).unwrap()];
        file.write_all_at(&blank, sector).unwrap();
        let (log, opened) = open(dir.path(), &options(Backend::Chunks));
        let commits = all(&log.reader());
        assert!(commits.starts_with(&acknowledged), "sector {sector}");
        assert!(commits.len() < acknowledged.len() + 12, "sector {sector}");
        let torn = opened.torn.unwrap();
        assert!(torn.place.offset <= sector && sector < torn.place.offset + torn.bytes + 512);
    }
}

#[test]
fn a_blank_sector_under_a_commit_that_was_acknowledged_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Backend::Chunks);
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 0, 20, 3, 4);
    drop(log);
    let witness = dir.path().join("log/HEAD");
    assert!(!witness.exists(), "only later frames can tell here");
    let file = OpenOptions::new().write(true).open(last_chunk(dir.path())).unwrap();
    file.write_all_at(&[0; 512], 1024).unwrap();
    let error = try_open(dir.path(), &options).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    let error = Reader::open_shared(dir.path(), &mut |_| {}).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

#[test]
fn a_flipped_bit_in_the_last_frame_is_damage_even_if_its_payload_is_all_zero() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { preallocate_bytes: 0, ..options(Backend::Chunks) };
    let (mut log, _) = open(dir.path(), &options);
    let mut blank = draft("a", 0, 0);
    blank.events[0].payload = vec![0; 3000];
    log.append(&[blank], Durability::Fsync).unwrap();
    let commits = all(&log.reader());
    drop(log);
    let chunk = last_chunk(dir.path());
    let bits = fs::metadata(&chunk).unwrap().len() * 8;
    for bit in (0..bits).step_by(37).chain(68 * 8..(68 + 140) * 8) {
        flip(&chunk, bit);
        let opened = try_open(dir.path(), &options).map(|(log, opened)| (all(&log.reader()), opened));
        match opened {
            Err(OpenError::Damaged(_) | OpenError::Chunk { .. }) => {}
            Err(error) => panic!("bit {bit}: {error}"),
            Ok((found, opened)) => panic!("bit {bit}: {} of {}, {opened:?}", found.len(), commits.len()),
        }
        flip(&chunk, bit);
    }
    assert_eq!(all(&open(dir.path(), &options).0.reader()), commits);
}

#[test]
fn a_flipped_bit_anywhere_in_a_chunk_is_found_and_named() {
    let options = small();
    let (original, commits) = given(&options, 90);
    let chunks: Vec<_> = files(original.path(), "log").into_iter().filter(|path| path.extension().is_some()).collect();
    assert!(chunks.len() > 3, "several chunks");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..300 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let chunk = &files(dir.path(), "log")
            .into_iter()
            .filter(|path| path.extension().is_some())
            .nth(pick(random, chunks.len()))
            .unwrap();
        let bit = (random >> 20) % (fs::metadata(chunk).unwrap().len() * 8);
        flip(chunk, bit);

        let name = format!("round {round}: {} bit {bit}", chunk.display());
        let faults = verified(dir.path()).faults;
        let number: u32 = chunk.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let named = faults.iter().any(|fault| match fault {
            VerifyFault::Chunk { chunk, .. } => *chunk == number,
            VerifyFault::Frame(damage) => damage.place.chunk == number && damage.place.offset <= bit / 8,
            VerifyFault::Shorter { .. }
            | VerifyFault::Differs { .. }
            | VerifyFault::Witness
            | VerifyFault::Index(_)
            | VerifyFault::Block(_)
            | VerifyFault::Surplus(_)
            | VerifyFault::Entries { .. } => false,
        });
        assert!(named, "{name}: {faults:?}");

        // Opening reads no more than headers and the tail: what it does not see, reading sees.
        let Ok((log, _)) = try_open(dir.path(), &options) else { continue };
        let mut cursor = log.reader().cursor(Seq(1)).unwrap();
        let mut read = 0;
        let error = loop {
            match cursor.next() {
                Ok(Some(view)) => {
                    assert_eq!(view.to_owned(), commits[read], "{name}");
                    read += 1;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(error.is_some(), "{name}: read {read} of {} without a word", commits.len());
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_index_is_found_or_rebuilt() {
    let options = small();
    let (original, commits) = given(&options, 150);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut rebuilt, mut noticed, mut harmless) = (0, 0, 0);
    for round in 0..200 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let mut targets = files(dir.path(), "derived");
        targets.push(dir.path().join("INDEX"));
        let target = &targets[pick(random, targets.len())];
        // Where sled has written: its file is longer than that.
        let used = fs::read(target).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let bit = (random >> 20) % ((used + 1) * 8);
        flip(target, bit);
        let name = format!("round {round}: {} bit {bit}", target.display());

        let (log, opened) = open(dir.path(), &options);
        rebuilt += u32::from(opened.rebuilt.is_some());
        let outcome = check_answers(&log.reader(), &commits);
        drop(log);
        let Err(error) = outcome else {
            harmless += 1;
            continue;
        };
        assert!(matches!(error, ReadError::Index { .. }), "{name}: {error}");
        // Noticed while reading, as a typed error: the next opening rebuilds.
        noticed += 1;
        let (log, opened) = open(dir.path(), &options);
        assert!(opened.rebuilt.is_some(), "{name}");
        assert_answers(&log.reader(), &commits);
    }
    println!("rebuilt {rebuilt}, noticed in reading {noticed}, same answers {harmless}");
    assert!(rebuilt > 0);
}

#[test]
fn an_index_that_is_gone_stale_or_ahead_gives_the_same_answers() {
    let options = small();
    let (dir, early) = given(&options, 60);
    let old = tempfile::tempdir().unwrap();
    copy(dir.path(), old.path());
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 60, 90, 5, 7);
    let commits = all(&log.reader());
    log.close().unwrap();
    assert_eq!(verified(dir.path()).faults, vec![]);

    let reopened = |prepare: &dyn Fn(&Path), wanted: &dyn Fn(Option<&Rebuilt>) -> bool| {
        let at = tempfile::tempdir().unwrap();
        copy(dir.path(), at.path());
        prepare(at.path());
        let (log, opened) = open(at.path(), &options);
        assert!(wanted(opened.rebuilt.as_ref()), "{:?}", opened.rebuilt);
        assert_answers(&log.reader(), &commits);
        log.close().unwrap();
        assert_eq!(verified(at.path()).faults, vec![]);
        assert_eq!(open(at.path(), &options).1.rebuilt, None);
    };
    let derived = |at: &Path| fs::remove_dir_all(at.join("derived")).unwrap();
    reopened(&|_| {}, &|why| why.is_none());
    reopened(
        &|at| {
            derived(at);
            fs::remove_file(at.join("INDEX")).unwrap();
        },
        &|why| why == Some(&Rebuilt::Missing),
    );
    reopened(&derived, &|why| matches!(why, Some(Rebuilt::Damaged { .. })));
    reopened(&|at| fs::remove_file(at.join("INDEX")).unwrap(), &|why| why == Some(&Rebuilt::Witness));
    // sled as it was an hour ago, beside a list of now.
    reopened(
        &|at| {
            derived(at);
            copy(&old.path().join("derived"), &at.join("derived"));
        },
        &|why| matches!(why, Some(Rebuilt::Damaged { .. })),
    );
    // Both as they were an hour ago: short, and right as far as they go.
    reopened(
        &|at| {
            derived(at);
            copy(&old.path().join("derived"), &at.join("derived"));
            fs::copy(old.path().join("INDEX"), at.join("INDEX")).unwrap();
        },
        &|why| why.is_none(),
    );
    // The index of a longer log beside a shorter one.
    let ahead = tempfile::tempdir().unwrap();
    copy(old.path(), ahead.path());
    derived(ahead.path());
    copy(&dir.path().join("derived"), &ahead.path().join("derived"));
    fs::copy(dir.path().join("INDEX"), ahead.path().join("INDEX")).unwrap();
    let (log, opened) = open(ahead.path(), &options);
    assert!(matches!(opened.rebuilt, Some(Rebuilt::Ahead { .. })), "{:?}", opened.rebuilt);
    assert_answers(&log.reader(), &early);
}

#[test]
fn a_log_shorter_than_its_witness_is_not_opened() {
    let options = small();
    let (dir, _) = given(&options, 60);
    let chunk = last_chunk(dir.path());
    let len = fs::metadata(&chunk).unwrap().len();
    OpenOptions::new().write(true).open(&chunk).unwrap().set_len(len - 1).unwrap();
    let error = try_open(dir.path(), &options).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Shorter { .. } | OpenError::Damaged(_)), "{error}");
    fs::remove_file(&chunk).unwrap();
    let error = try_open(dir.path(), &options).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Shorter { .. }), "{error}");
    let faults = verified(dir.path()).faults;
    assert!(faults.iter().any(|fault| matches!(fault, VerifyFault::Shorter { .. })), "{faults:?}");
}

#[test]
fn a_log_inside_sled_that_lost_its_end_is_not_opened() {
    let options = Options { checkpoint_commits: 16, ..options(Backend::Sled) };
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 0, 40, 5, 7);
    log.checkpoint().unwrap();
    drop(log);
    let old = tempfile::tempdir().unwrap();
    copy(&dir.path().join("log.sled"), old.path());
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 40, 40, 5, 7);
    drop(log);
    fs::remove_dir_all(dir.path().join("log.sled")).unwrap();
    copy(old.path(), &dir.path().join("log.sled"));
    let error = try_open(dir.path(), &options).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Shorter { .. }), "{error}");
}

#[test]
fn a_flipped_bit_in_a_log_inside_sled_is_never_ignored() {
    let options = Options { checkpoint_commits: 16, ..options(Backend::Sled) };
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 0, 80, 5, 7);
    let commits = all(&log.reader());
    log.close().unwrap();
    let mut random = 0xd1b5_4a32_d192_ed03_u64;
    for round in 0..100 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = tempfile::tempdir().unwrap();
        copy(dir.path(), at.path());
        let db = at.path().join("log.sled/db");
        let used = fs::read(&db).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let bit = (random >> 20) % ((used + 1) * 8);
        flip(&db, bit);
        let Ok((log, _)) = try_open(at.path(), &options) else { continue };
        let mut cursor = log.reader().cursor(Seq(1)).unwrap();
        let mut read = 0;
        let error = loop {
            match cursor.next() {
                Ok(Some(view)) => {
                    assert_eq!(view.to_owned(), commits[read], "round {round} bit {bit}");
                    read += 1;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(error.is_some() || read == commits.len(), "round {round} bit {bit}: {read}");
    }
}

#[test]
fn a_second_writer_is_turned_away_and_a_shared_reader_is_not() {
    let options = small();
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 0, 10, 2, 3);
    let error = try_open(dir.path(), &options).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { dir: at } if at == dir.path()), "{error}");
    assert!(error.is_retryable());

    let shared = Reader::open_shared(dir.path(), &mut |_| {}).unwrap();
    let mut cursor = shared.cursor(Seq(0)).unwrap();
    for round in 1..=10 {
        let mut seen = 0;
        while cursor.next().unwrap().is_some() {
            seen += 1;
        }
        assert_eq!(seen, if round == 1 { 10 } else { 12 });
        fill(&mut log, round * 12 - 2, 12, 2, 5);
        assert_eq!(shared.refresh().unwrap(), log.head());
        assert_answers(&shared, &all(&log.reader()));
    }
    log.close().unwrap();
    assert_eq!(shared.refresh().unwrap().commits, 130);
}

#[test]
fn a_log_of_one_backend_is_not_opened_as_another() {
    let (dir, _) = given(&small(), 5);
    let error = try_open(dir.path(), &options(Backend::Sled)).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::OtherBackend { found: Backend::Chunks, .. }), "{error}");
}

#[test]
fn a_kill_at_any_moment_leaves_a_log_that_opens_with_everything_acknowledged() {
    let options = small();
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &options);
    let mut acknowledged = 0;
    for round in 0..25 {
        fill(&mut log, round * 9, 9, 5, 4);
        acknowledged += 9;
        // A copy taken file by file, while the index's thread may be anywhere in its work.
        let at = tempfile::tempdir().unwrap();
        copy(dir.path(), at.path());
        let commits = all(&log.reader());
        let (killed, _) = open(at.path(), &options);
        assert_eq!(commits.len(), acknowledged, "round {round}");
        assert_answers(&killed.reader(), &commits);
        drop(killed);
        assert_eq!(open(at.path(), &options).1.head, log.head());
    }
}

#[test]
fn the_same_drafts_give_the_same_bytes_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Backend::Chunks);
    let (mut log, _) = open(dir.path(), &options);
    fill(&mut log, 0, 6, 2, 2);
    log.close().unwrap();
    let bytes = fs::read(last_chunk(dir.path())).unwrap();
    let mut hex = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(hex, "{byte:02x}").unwrap();
        }
        hex.push('\n');
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/six_commits.hex");
    // What was once recorded is never written over.
    if std::env::var_os("BLESS").is_some() && !golden.exists() {
        fs::write(&golden, &hex).unwrap();
    }
    assert_eq!(hex, fs::read_to_string(&golden).unwrap());
}

#[test]
fn how_drafts_are_grouped_does_not_show_in_the_chain() {
    let mut hashes = Vec::new();
    for group in [1, 3, 40] {
        let mut log = EventLog::memory();
        fill(&mut log, 0, 40, 3, group);
        hashes.push(log.head().hash);
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
    assert_eq!(StreamId::system().as_str(), "system");
}

/// A whole directory, byte for byte.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), &target) {
                // Replaced while the copy is taken.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => assert!(copied.is_ok(), "{copied:?}"),
            }
        }
    }
}
