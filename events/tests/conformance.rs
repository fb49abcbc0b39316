//! One suite, run over every backend: what a log promises whoever keeps its bytes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it stands"
)]

mod support;

use ephor_events::{
    AppendError, Backend, Cause, Commit, Draft, Durability, EventLog, Options, Reader, Seq, StreamId, Version,
};
use support::{all, draft, drafts, fill, id};
use tempfile::TempDir;

/// A log of one backend, and how to close and open it again.
struct Given {
    dir: TempDir,
    options: Options,
    log: Option<EventLog>,
}

impl Given {
    fn new(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = match options.backend {
            Backend::Memory => EventLog::memory(),
            Backend::Chunks | Backend::Sled => support::open(dir.path(), &options).0,
        };
        Self { dir, options, log: Some(log) }
    }

    fn log(&mut self) -> &mut EventLog {
        self.log.as_mut().unwrap()
    }

    fn reader(&mut self) -> Reader {
        self.log().reader()
    }

    /// Closes and opens again; a log in memory just stays.
    fn reopen(&mut self) {
        if self.options.backend != Backend::Memory {
            let head = self.log.take().unwrap().close().unwrap();
            let (log, opened) = support::open(self.dir.path(), &self.options);
            assert_eq!(opened.head, head);
            assert_eq!(opened.torn, None);
            assert_eq!(opened.rebuilt, None);
            self.log = Some(log);
        }
    }
}

/// What must stand in the log after these drafts.
fn assert_holds(reader: &Reader, drafts: &[Draft]) {
    let commits = all(reader);
    assert_eq!(commits.len(), drafts.len());
    let mut next = Seq(1);
    let mut prev = ephor_events::Hash::genesis();
    for (commit, draft) in commits.iter().zip(drafts) {
        assert_eq!(commit.seq, next);
        assert_eq!(commit.prev, prev);
        assert_eq!(commit.version.0, draft.expected.0 + 1);
        assert_eq!(commit.stream, draft.stream);
        assert_eq!((commit.recorded_at, commit.decided_at), (draft.decided_at, draft.decided_at));
        assert_eq!(commit.occurred_at, draft.occurred_at);
        assert_eq!(commit.trace, draft.trace);
        assert_eq!(commit.key, draft.key);
        assert_eq!(commit.instrument, draft.instrument);
        assert_eq!(commit.system, draft.system);
        assert_eq!(commit.events, draft.events);
        next = Seq(commit.last_seq().0 + 1);
        prev = commit.hash;
    }
    assert_eq!(reader.head().seq.0 + 1, next.0);
    assert_eq!(reader.head().hash, prev);
    assert_eq!(reader.head().commits, drafts.len() as u64);
}

fn what_is_appended_reads_back(options: Options) {
    let mut given = Given::new(options);
    let mut expected = Vec::new();
    for round in 0..20 {
        let more = drafts(&given.reader(), round * 13, 13, 5);
        let positions = given.log().append(&more, Durability::Fsync).unwrap();
        for (position, draft) in positions.iter().zip(&more) {
            assert_eq!(position.version.0, draft.expected.0 + 1);
            assert_eq!(position.count as usize, draft.events.len());
        }
        expected.extend(more);
        if round % 6 == 5 {
            given.reopen();
        }
        assert_holds(&given.reader(), &expected);
    }
}

fn a_wrong_version_leaves_no_trace(options: Options) {
    let mut given = Given::new(options);
    fill(given.log(), 0, 10, 2, 5);
    let before = given.log().head();
    let reader = given.reader();
    let mut group = drafts(&reader, 10, 4, 2);
    group.push(draft("newcomer", 0, 14));
    group.push(draft("strategy-0", 1, 15));
    let error = given.log().append(&group, Durability::Fsync).unwrap_err();
    assert!(error.is_retryable());
    let AppendError::WrongVersion { stream, expected, actual } = error else { panic!("{error}") };
    let last = group.iter().rfind(|draft| draft.stream == stream && draft.expected.0 > 1).unwrap();
    assert_eq!(stream, StreamId::new("strategy-0"));
    assert_eq!(expected, Version(1));
    assert_eq!(actual.0, last.expected.0 + last.events.len() as u64);
    assert_eq!(given.log().head(), before);
    assert_eq!(reader.version_of(&StreamId::new("newcomer")), Version(0));
    group.pop();
    given.log().append(&group, Durability::Fsync).unwrap();
    assert_eq!(reader.head().commits, 15);
}

fn a_key_is_found_for_ever_and_the_latest_wins(options: Options) {
    let mut given = Given::new(options);
    fill(given.log(), 0, 300, 7, 20);
    let twice = Draft {
        key: draft("strategy-3", 0, 3).key,
        ..draft("strategy-3", given.reader().version_of(&StreamId::new("strategy-3")).0, 900)
    };
    let position = given.log().append(std::slice::from_ref(&twice), Durability::Fsync).unwrap()[0];
    for reopened in [false, true, true] {
        if reopened {
            given.reopen();
        }
        let reader = given.reader();
        for nth in 0..300_u64 {
            let stream = StreamId::new(&format!("strategy-{}", nth % 7));
            let other = StreamId::new(&format!("strategy-{}", (nth + 1) % 7));
            let found = reader.find(&stream, 1, &id(nth)).unwrap();
            if nth % 5 == 4 || id(nth).is_empty() {
                continue;
            }
            let found = found.unwrap_or_else(|| panic!("{nth}"));
            if nth == 3 {
                assert_eq!(found.seq, position.seq);
            } else {
                assert_eq!(found.events, draft("", 0, nth).events);
            }
            assert_eq!(reader.find(&other, 1, &id(nth)).unwrap(), None);
            assert_eq!(reader.find(&stream, 2, &id(nth)).unwrap(), None);
        }
        assert_eq!(reader.find(&StreamId::new("nobody"), 1, "order-2").unwrap(), None);
    }
}

fn a_stream_reads_alone_from_any_version(options: Options) {
    let mut given = Given::new(options);
    fill(given.log(), 0, 400, 9, 30);
    given.reopen();
    fill(given.log(), 400, 100, 9, 30);
    let reader = given.reader();
    let commits = all(&reader);
    for number in 0..9 {
        let stream = StreamId::new(&format!("strategy-{number}"));
        let own: Vec<_> = commits.iter().filter(|c| c.stream == stream).cloned().collect();
        let head = reader.version_of(&stream);
        assert_eq!(head, own.last().unwrap().last_version());
        for from in [0, 1, 2, 3, head.0 / 2, head.0, head.0 + 1] {
            let mut cursor = reader.stream(&stream, Version(from)).unwrap();
            let mut read = Vec::new();
            while let Some(view) = cursor.next().unwrap() {
                read.push(view.to_owned());
            }
            let wanted: Vec<_> = own.iter().filter(|c| c.last_version().0 >= from).cloned().collect();
            assert_eq!(read, wanted, "{stream} from {from}");
        }
    }
    let mut none = reader.stream(&StreamId::new("nobody"), Version(1)).unwrap();
    assert!(none.next().unwrap().is_none());
}

fn any_seq_and_any_time_is_found(options: Options) {
    let mut given = Given::new(options);
    fill(given.log(), 0, 250, 4, 25);
    given.reopen();
    fill(given.log(), 250, 50, 4, 25);
    let reader = given.reader();
    assert_eq!(reader.seq_at(0).unwrap(), Seq(0));
    assert_eq!(reader.seq_at(i64::MAX).unwrap(), reader.head().seq);
    for commit in all(&reader) {
        for seq in commit.seq.0..=commit.last_seq().0 {
            assert_eq!(reader.commit_of(Seq(seq)).unwrap().as_ref(), Some(&commit));
            let mut cursor = reader.cursor(Seq(seq)).unwrap();
            assert_eq!(cursor.next().unwrap().unwrap().seq, commit.seq);
        }
        assert_eq!(reader.seq_at(commit.recorded_at).unwrap(), commit.last_seq());
        assert_eq!(reader.seq_at(commit.recorded_at - 1).unwrap().0, commit.seq.0 - 1);
    }
    assert_eq!(reader.commit_of(Seq(0)).unwrap(), None);
    assert_eq!(reader.commit_of(Seq(reader.head().seq.0 + 1)).unwrap(), None);
}

/// The clock may go back between two commands. The log's time does not, and what the rules were given is
/// kept beside it: whoever decides again needs the very same time.
fn recorded_at_never_goes_back(options: Options) {
    let mut given = Given::new(options);
    let late = Draft { events: draft("a", 0, 3).events, ..draft("a", 0, 50) };
    let early = Draft { events: draft("b", 0, 2).events, ..draft("b", 0, 10) };
    let again = Draft { events: draft("b", 0, 1).events, ..draft("b", early.events.len() as u64, 20) };
    assert!(early.decided_at < again.decided_at && again.decided_at < late.decided_at);
    given.log().append(&[late.clone(), early.clone()], Durability::Fsync).unwrap();
    // Once more behind a head that is read from the log, not from the group.
    given.log().append(std::slice::from_ref(&again), Durability::Fsync).unwrap();
    let wanted = [&late, &early, &again].map(|draft| (late.decided_at, draft.decided_at, draft.occurred_at));
    for reopened in [false, true] {
        if reopened {
            given.reopen();
        }
        let reader = given.reader();
        let times = |commit: &Commit| (commit.recorded_at, commit.decided_at, commit.occurred_at);
        let commits = all(&reader);
        assert_eq!(commits.iter().map(times).collect::<Vec<_>>(), wanted);
        let mut own = reader.stream(&early.stream, Version(1)).unwrap();
        for wanted in &commits[1..] {
            assert_eq!(own.next().unwrap().unwrap().to_owned(), *wanted);
        }
        for (draft, wanted) in [&late, &early, &again].into_iter().zip(&commits) {
            let Some(key) = &draft.key else { panic!("every one of them has a key") };
            assert_eq!(reader.find(&draft.stream, key.kind, &key.id).unwrap().as_ref(), Some(wanted));
            assert_eq!(reader.commit_of(wanted.seq).unwrap().as_ref(), Some(wanted));
        }
        assert_eq!(reader.seq_at(late.decided_at).unwrap(), reader.head().seq);
        assert_eq!(reader.seq_at(late.decided_at - 1).unwrap(), Seq(0));
        assert_eq!(reader.head().recorded_at, late.decided_at);
    }
}

fn many_streams_in_one_group(options: Options) {
    let mut given = Given::new(options);
    let group: Vec<_> = (0..5000).map(|nth| draft(&format!("s{nth}"), 0, nth)).collect();
    given.log().append(&group, Durability::Fsync).unwrap();
    given.reopen();
    let streams = given.reader().streams();
    assert_eq!(streams.len(), 5000);
    for (nth, (stream, version)) in (0_u64..).zip(&streams) {
        assert_eq!(stream.as_str(), format!("s{nth}"));
        assert_eq!(version.0, 1 + nth % 4);
    }
    assert_holds(&given.reader(), &group);
}

fn a_reader_sees_what_is_appended_after_it_reached_the_end(options: Options) {
    let mut given = Given::new(options);
    let reader = given.reader();
    let mut cursor = reader.cursor(Seq(0)).unwrap();
    let mut ahead = reader.cursor(Seq(20)).unwrap();
    let stream = StreamId::new("strategy-1");
    let mut own = reader.stream(&stream, Version(0)).unwrap();
    assert!(cursor.next().unwrap().is_none());
    assert!(own.next().unwrap().is_none());
    let mut seen = 0;
    for round in 0..4 {
        assert!(ahead.next().unwrap().is_none() || round > 1);
        fill(given.log(), round * 6, 6, 2, 3);
        while let Some(view) = cursor.next().unwrap() {
            seen += 1;
            assert_eq!(view.events().count() as u64, 1 + (seen - 1) % 4);
        }
        assert_eq!(seen, (round + 1) * 6);
        let mut own_seen = 0;
        while own.next().unwrap().is_some() {
            own_seen += 1;
        }
        assert_eq!(own_seen, 3);
    }
}

fn a_draft_that_contradicts_itself_is_refused(options: Options) {
    let mut given = Given::new(options);
    let good = draft("a", 0, 3);
    let mut forward = good.clone();
    forward.events[0].cause = Cause::InCommit(0);
    let mut future = good.clone();
    future.events[0].cause = Cause::Earlier(Seq(1));
    let empty = Draft { events: Vec::new(), ..good.clone() };
    let nameless = Draft { stream: StreamId::new(""), ..good.clone() };
    for bad in [forward, future, empty, nameless] {
        let error = given.log().append(&[bad], Durability::Fsync).unwrap_err();
        assert!(matches!(error, AppendError::Malformed { index: 0, .. }), "{error}");
    }
    assert_eq!(given.log().head().commits, 0);
    assert!(given.log().append(&[], Durability::Fsync).unwrap().is_empty());
    given.log().append(&[good], Durability::Fsync).unwrap();
}

fn an_event_has_an_id_of_its_own_that_reopening_does_not_change(options: Options) {
    let mut given = Given::new(options);
    fill(given.log(), 0, 50, 3, 10);
    let ids = |reader: &Reader| -> Vec<_> {
        let mut cursor = reader.cursor(Seq(1)).unwrap();
        let mut ids = Vec::new();
        while let Some(view) = cursor.next().unwrap() {
            ids.extend((0..view.count).map(|index| view.event_id(index)));
            let owned = view.to_owned();
            assert_eq!(owned.event_id(0), view.event_id(0));
        }
        ids
    };
    let before = ids(&given.reader());
    given.reopen();
    assert_eq!(ids(&given.reader()), before);
    let distinct: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(distinct.len(), before.len());
}

macro_rules! suite {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(super::support::options(super::Backend::Memory)); })*
        }
        mod chunks {
            $(#[test] fn $promise() { super::$promise(super::support::options(super::Backend::Chunks)); })*
        }
        mod rolling_chunks {
            $(#[test] fn $promise() { super::$promise(super::tiny(super::Backend::Chunks)); })*
        }
        mod sled {
            $(#[test] fn $promise() { super::$promise(super::support::options(super::Backend::Sled)); })*
        }
        mod sled_with_many_runs {
            $(#[test] fn $promise() { super::$promise(super::tiny(super::Backend::Sled)); })*
        }
    };
}

/// Everything that grows is small, so that a short test crosses every border.
fn tiny(backend: Backend) -> Options {
    Options {
        chunk_bytes: 5000,
        preallocate_bytes: 700,
        checkpoint_commits: 11,
        merge_runs: 3,
        ..support::options(backend)
    }
}

suite!(
    what_is_appended_reads_back,
    a_wrong_version_leaves_no_trace,
    a_key_is_found_for_ever_and_the_latest_wins,
    a_stream_reads_alone_from_any_version,
    any_seq_and_any_time_is_found,
    recorded_at_never_goes_back,
    many_streams_in_one_group,
    a_reader_sees_what_is_appended_after_it_reached_the_end,
    a_draft_that_contradicts_itself_is_refused,
    an_event_has_an_id_of_its_own_that_reopening_does_not_change,
);
