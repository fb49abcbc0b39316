//! Keyframes: with or without them, a state is the same; one that does not fit is ignored and counted.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it stands"
)]

use ephor_events::codec::{Heading, decode_all, draft};
use ephor_events::{Derived, DerivedTree, Durability, EventLog, Pair, Reader, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::units::Timestamp;
use ephor_snapshots::{Digest, Digested, Ignored, Kept, Keyframes, Misfit, Restored, Spacing, folded_by, restore};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Everything that was said, with the time it was said at: two states are the same only if nothing was
/// left out, doubled or moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State(Vec<(i64, String)>);

impl Digested for State {
    fn digest(&self) -> Result<Digest, serde_json::Error> {
        Digest::of(&self.0)
    }
}

/// A state in another form.
#[derive(Serialize)]
struct Other(&'static str);

impl Digested for Other {
    fn digest(&self) -> Result<Digest, serde_json::Error> {
        Digest::of(self.0)
    }
}

fn evolve(mut state: State, event: &Event, at: Timestamp) -> State {
    let Event::ActorFaulted { message } = event else { panic!("{event:?}") };
    state.0.push((at.nanos(), message.clone()));
    state
}

fn stream() -> StreamId {
    StreamId::new("btc-trend")
}

/// Appends one commit a number, of so many events, and one of another stream after each.
fn append(log: &mut EventLog, sizes: &[usize], word: &str) {
    for size in sizes {
        for stream in [stream(), StreamId::new("another")] {
            let expected = log.reader().version_of(&stream);
            let said = |index| Event::ActorFaulted { message: format!("{word} {} {index}", expected.0) };
            let mut events: Vec<Event> = (0..*size).map(said).collect();
            let at = Timestamp::from_nanos(1_000 + i64::try_from(expected.0).unwrap());
            let heading = Heading {
                stream,
                expected,
                decided_at: at,
                occurred_at: at,
                trace: "".into(),
                key: None,
                instrument: None,
                system: Version(0),
            };
            log.append(&[draft(heading, &mut events).unwrap()], Durability::Written).unwrap();
        }
    }
}

fn log_of(sizes: &[usize]) -> EventLog {
    let mut log = EventLog::memory();
    append(&mut log, sizes, "said");
    log
}

fn folded(reader: &Reader, upto: Option<u64>) -> Restored<State> {
    restore(reader, None, &stream(), upto.map(Version), evolve).unwrap()
}

/// Restores with keyframes, sees that it is the state that the events alone give, and says how many had
/// to be folded.
#[track_caller]
fn check(reader: &Reader, keyframes: &Keyframes, upto: Option<u64>) -> u64 {
    let plain = folded(reader, upto);
    assert_eq!(plain.folded, plain.version.0);
    let found = restore(reader, Some(keyframes), &stream(), upto.map(Version), evolve).unwrap();
    assert_eq!((&found.state, found.version, found.at), (&plain.state, plain.version, plain.at));
    found.folded
}

fn save(reader: &Reader, keyframes: &Keyframes, version: u64) {
    keyframes.save(reader, &stream(), &folded(reader, Some(version))).unwrap();
}

fn saved(derived: &Derived) -> (DerivedTree, Vec<Pair>) {
    let tree = derived.tree("keyframes").unwrap();
    let all = tree.range(.., false, 100).unwrap();
    (tree, all)
}

fn saved_versions(derived: &Derived) -> Vec<u64> {
    let version = |key: &[u8]| u64::from_be_bytes(*key.last_chunk::<8>().unwrap());
    saved(derived).1.iter().map(|(key, _)| version(key)).collect()
}

/// Writes over a part of what was saved last, wherever it stands in the bytes, and seals it again.
fn forge(derived: &Derived, old: &[u8], new: &[u8]) {
    let (tree, all) = saved(derived);
    let (key, mut bytes) = all.last().unwrap().clone();
    let at = bytes.windows(old.len()).position(|part| part == old).unwrap();
    bytes[at..at + old.len()].copy_from_slice(new);
    let sealed = bytes.len() - 32;
    let digest = blake3::hash(&bytes[..sealed]);
    bytes[sealed..].copy_from_slice(digest.as_bytes());
    tree.put(&key, &bytes).unwrap();
}

#[test]
fn only_what_came_after_a_keyframe_is_folded() {
    let mut log = log_of(&[2, 3, 1, 4]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    assert_eq!(check(&reader, &keyframes, None), 10);
    save(&reader, &keyframes, 5);
    assert_eq!(check(&reader, &keyframes, None), 5);
    assert_eq!(check(&reader, &keyframes, Some(5)), 0);
    assert_eq!(check(&reader, &keyframes, Some(8)), 3);
    // Before the keyframe it is of no use, and not a keyframe that does not fit.
    assert_eq!(check(&reader, &keyframes, Some(4)), 4);
    append(&mut log, &[2], "later");
    assert_eq!(check(&reader, &keyframes, None), 7);
    assert_eq!(keyframes.ignored().total(), 0);
    let nobody = restore(&reader, Some(&keyframes), &StreamId::new("nobody"), None, evolve).unwrap();
    assert_eq!((nobody.state, nobody.version, nobody.folded), (State::default(), Version(0), 0));
}

#[test]
fn the_newest_keyframes_stay_and_older_ones_go_where_their_neighbours_are_close_enough() {
    let log = log_of(&[1; 800]);
    let keyframes = Keyframes::open(&log.derived()).unwrap().spaced(Spacing::new(20).unwrap());
    let reader = log.reader();
    assert_eq!(keyframes.spacing().gap_max(), 80);
    keyframes.save(&reader, &StreamId::new("another"), &folded(&reader, Some(3))).unwrap();
    let saves = [
        (10, vec![10]),
        (20, vec![10, 20]),
        // Two are the newest; the third is not missed between the beginning and 20.
        (30, vec![20, 30]),
        (40, vec![30, 40]),
        (40, vec![30, 40]),
        (81, vec![40, 81]),
        // From the beginning to 81 it would be further than 80.
        (90, vec![40, 81, 90]),
        (100, vec![40, 90, 100]),
        (110, vec![40, 100, 110]),
        (121, vec![40, 110, 121]),
        (131, vec![40, 110, 121, 131]),
        (700, vec![40, 110, 131, 700]),
        (701, vec![40, 110, 131, 700, 701]),
    ];
    for (version, kept) in saves {
        save(&reader, &keyframes, version);
        let kept = [vec![3], kept].concat();
        assert_eq!(saved_versions(&log.derived()), kept, "after {version}");
    }
    keyframes.flush().unwrap();
}

#[test]
fn a_state_that_ends_inside_a_commit_or_beyond_the_log_is_not_saved() {
    let log = log_of(&[2, 3]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    for version in [0, 1, 3, 4] {
        save(&reader, &keyframes, version);
    }
    let beyond = Restored { version: Version(6), ..folded(&reader, None) };
    keyframes.save(&reader, &stream(), &beyond).unwrap();
    assert_eq!(saved_versions(&log.derived()), Vec::<u64>::new());
}

#[test]
fn a_keyframe_of_other_rules_is_ignored_and_an_older_good_one_is_used() {
    let log = log_of(&[2, 3, 1]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    save(&reader, &keyframes, 2);
    save(&reader, &keyframes, 5);
    forge(&log.derived(), folded_by().as_bytes(), folded_by().as_bytes());
    assert_eq!(check(&reader, &keyframes, None), 1);
    assert_eq!(keyframes.ignored().total(), 0);
    let other: Vec<u8> = folded_by().bytes().rev().collect();
    assert_ne!(other, folded_by().as_bytes());
    forge(&log.derived(), folded_by().as_bytes(), &other);
    assert_eq!(check(&reader, &keyframes, None), 4);
    assert_eq!(keyframes.ignored().total(), 1);
    save(&reader, &keyframes, 5);
    assert_eq!(check(&reader, &keyframes, None), 1);
    assert_eq!(keyframes.ignored().total(), 1);
}

/// Every byte, because one was once outside the digest: a keyframe gave its state at another time.
#[test]
fn a_keyframe_in_which_any_byte_is_damaged_is_ignored() {
    let log = log_of(&[2, 3]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    save(&reader, &keyframes, 5);
    let (tree, all) = saved(&log.derived());
    let (key, good) = &all[0];
    let mut ignored = 0;
    let mut try_one = |bytes: &[u8]| {
        tree.put(key, bytes).unwrap();
        check(&reader, &keyframes, None);
        ignored += 1;
        keyframes.ignored().total() == ignored
    };
    for len in 0..good.len() {
        assert!(try_one(&good[..len]), "cut to {len}");
    }
    assert!(try_one(&[good.as_slice(), &[0]].concat()), "a byte more");
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert!(try_one(&bytes), "byte {at} of {}", good.len());
    }
}

#[test]
fn a_keyframe_ahead_of_the_log_is_ignored_and_counted() {
    let (long, short) = (log_of(&[2, 3, 1]), log_of(&[2, 3]));
    save(&long.reader(), &Keyframes::open(&long.derived()).unwrap(), 6);
    let (tree, _) = saved(&short.derived());
    for (key, bytes) in saved(&long.derived()).1 {
        tree.put(&key, &bytes).unwrap();
    }
    let keyframes = Keyframes::open(&short.derived()).unwrap();
    assert_eq!(check(&short.reader(), &keyframes, None), 5);
    assert_eq!(keyframes.ignored().total(), 1);
    assert_eq!(keyframes.ignored(), Ignored { ahead_of_log: 1, ..Ignored::default() });
    // It goes when its stream is saved again.
    save(&short.reader(), &keyframes, 2);
    assert_eq!(check(&short.reader(), &keyframes, None), 3);
    assert_eq!((keyframes.ignored().total(), saved_versions(&short.derived())), (1, vec![2]));
}

#[test]
fn a_keyframe_of_another_log_is_ignored_where_the_logs_differ() {
    let mut own = log_of(&[2]);
    let mut other = log_of(&[2]);
    append(&mut own, &[3, 1], "own");
    append(&mut other, &[3, 1], "other");
    let theirs = Keyframes::open(&other.derived()).unwrap();
    save(&other.reader(), &theirs, 2);
    save(&other.reader(), &theirs, 5);
    let (tree, _) = saved(&own.derived());
    for (key, bytes) in saved(&other.derived()).1 {
        tree.put(&key, &bytes).unwrap();
    }
    // The first commits of the two are the same, hash and all; so is the state after them.
    let keyframes = Keyframes::open(&own.derived()).unwrap();
    assert_eq!(check(&own.reader(), &keyframes, None), 4);
    assert_eq!(keyframes.ignored().total(), 1);
}

#[test]
fn a_keyframe_of_a_state_in_another_form_is_ignored() {
    let log = log_of(&[2, 3]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    let Restored { version, at, folded, .. } = folded(&reader, None);
    keyframes.save(&reader, &stream(), &Restored { state: Other("five events"), version, at, folded }).unwrap();
    assert_eq!(check(&reader, &keyframes, None), 5);
    assert_eq!(keyframes.ignored().total(), 1);
}

#[test]
fn a_reader_opened_again_finds_the_keyframes_that_are_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let open = || EventLog::open(dir.path(), &ephor_events::Options::default(), &mut |_| {}).unwrap().0;
    let mut log = open();
    append(&mut log, &[2, 3, 1], "said");
    let keyframes = Keyframes::open(&log.derived()).unwrap();
    save(&log.reader(), &keyframes, 5);
    keyframes.flush().unwrap();
    drop(keyframes);
    log.close().unwrap();
    let log = open();
    let keyframes = Keyframes::open(&log.derived()).unwrap();
    assert_eq!(check(&log.reader(), &keyframes, None), 1);
    assert_eq!(keyframes.ignored().total(), 0);
}

/// Writes another first byte, and seals it again.
fn in_format(derived: &Derived, format: u8) {
    let (tree, all) = saved(derived);
    let (key, bytes) = all.last().unwrap().clone();
    let mut sealed = bytes[..bytes.len() - 32].to_vec();
    sealed[0] = format;
    let seal = *blake3::hash(&sealed).as_bytes();
    sealed.extend(seal);
    tree.put(&key, &sealed).unwrap();
}

#[test]
fn a_keyframe_in_another_form_is_ignored_and_one_of_a_newer_program_is_left_for_it() {
    let log = log_of(&[2, 3, 1]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    save(&reader, &keyframes, 5);
    let own = saved(&log.derived()).1[0].1[0];
    for (format, versions) in [(own + 1, vec![2, 5]), (own - 1, vec![2])] {
        in_format(&log.derived(), format);
        let before = keyframes.ignored();
        check(&reader, &keyframes, None);
        assert_eq!(keyframes.ignored().other_format, before.other_format + 1);
        assert_eq!(keyframes.all(&reader).unwrap().last().unwrap().misfit, Some(Misfit::OtherFormat { found: format }));
        save(&reader, &keyframes, 2);
        assert_eq!(saved_versions(&log.derived()), versions);
        keyframes.clear().unwrap();
        save(&reader, &keyframes, 5);
    }
}

#[test]
fn everything_kept_is_listed_with_what_it_says_and_what_is_wrong_with_it() {
    let log = log_of(&[2, 3, 1]);
    let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
    for version in [2, 5] {
        save(&reader, &keyframes, version);
    }
    keyframes.save(&reader, &StreamId::new("another"), &folded(&reader, Some(2))).unwrap();
    let (tree, all) = saved(&log.derived());
    tree.put(&all[2].0, &all[1].1).unwrap();
    let listed = keyframes.all(&reader).unwrap();
    let place = |kept: &Kept| (kept.stream.as_str().to_owned(), kept.version.0, kept.misfit);
    let places: Vec<_> = listed.iter().map(place).collect();
    let expected = [("another", 2, None), ("btc-trend", 2, None), ("btc-trend", 5, Some(Misfit::Damaged))];
    assert_eq!(places, expected.map(|(stream, version, misfit)| (stream.to_owned(), version, misfit)));
    let last = reader.commit_of(ephor_events::Seq(2)).unwrap().unwrap();
    let ending = listed[1].ending.unwrap();
    assert_eq!((ending.seq, ending.commit), (last.last_seq(), last.hash));
    let (state, digest) = keyframes.read::<State>(&reader, &stream(), Version(2)).unwrap().unwrap();
    assert_eq!((&state, digest), (&folded(&reader, Some(2)).state, state.digest().unwrap()));
    assert_eq!(listed[1].digest, Some(digest));
    assert_eq!(keyframes.read::<State>(&reader, &stream(), Version(5)).unwrap(), None);
}

/// Folds the stream commit by commit, and saves where the spacing says so: what a running house does.
fn keep(reader: &Reader, keyframes: &Keyframes) {
    let mut cursor = reader.stream(&stream(), Version(1)).unwrap();
    let (mut state, mut newest) = (State::default(), Version(0));
    while let Some(commit) = cursor.next().unwrap() {
        let at = Timestamp::from_nanos(commit.decided_at);
        for event in decode_all(&commit) {
            state = evolve(state, &event.unwrap(), at);
        }
        if keyframes.spacing().is_due(newest, commit.last_version()) {
            newest = commit.last_version();
            assert!(keyframes.save_after(reader, &commit, &state).unwrap());
        }
    }
}

/// What can become of bytes on a disk.
#[derive(Clone, Debug)]
enum Harm {
    Flip {
        at: usize,
        bit: u8,
    },
    Cut {
        at: usize,
    },
    Longer,
    Gone,
    /// The bytes of another key.
    Swapped {
        with: usize,
    },
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (any::<usize>(), 0_u8..8).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        any::<usize>().prop_map(|at| Harm::Cut { at }),
        Just(Harm::Longer),
        Just(Harm::Gone),
        any::<usize>().prop_map(|with| Harm::Swapped { with }),
    ]
}

fn do_harm(derived: &Derived, which: usize, harm: &Harm) {
    let (tree, all) = saved(derived);
    let Some((key, bytes)) = all.get(which % all.len().max(1)) else { return };
    let mut bytes = bytes.clone();
    match harm {
        Harm::Flip { at, bit } => {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        Harm::Cut { at } => bytes.truncate(at % bytes.len()),
        Harm::Longer => bytes.push(0),
        Harm::Gone => return tree.remove(key).unwrap(),
        Harm::Swapped { with } => bytes.clone_from(&all[with % all.len()].1),
    }
    tree.put(key, &bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn thinned_keyframes_are_few_and_never_further_apart_than_the_spacing_allows(
        sizes in proptest::collection::vec(1_usize..9, 1..400),
        every in 16_u64..60,
    ) {
        let log = log_of(&sizes);
        let keyframes = Keyframes::open(&log.derived()).unwrap().spaced(Spacing::new(every).unwrap());
        keep(&log.reader(), &keyframes);
        let last = log.reader().version_of(&stream()).0;
        let gap_max = keyframes.spacing().gap_max();
        let kept = saved_versions(&log.derived());
        let ends: Vec<u64> = kept.iter().copied().chain([last]).collect();
        let gaps = ends.iter().scan(0, |before, end| Some(end - std::mem::replace(before, *end)));
        prop_assert!(gaps.max().unwrap() <= gap_max, "{:?}", ends);
        let few = 4 + last / (gap_max - every - 8);
        prop_assert!(kept.len() as u64 <= few, "{} kept of {} events", kept.len(), last);
        prop_assert!(kept.iter().all(|version| *version <= last));
    }

    #[test]
    fn whatever_was_kept_and_however_it_was_harmed_a_state_is_what_its_events_give(
        sizes in proptest::collection::vec(1_usize..7, 1..60),
        every in 16_u64..40,
        by_hand in proptest::collection::vec(0_u64..300, 0..4),
        harms in proptest::collection::vec((any::<usize>(), harm()), 0..6),
        upto in proptest::option::of(0_u64..400),
    ) {
        let log = log_of(&sizes);
        let reader = log.reader();
        let keyframes = Keyframes::open(&log.derived()).unwrap().spaced(Spacing::new(every).unwrap());
        keep(&reader, &keyframes);
        for version in by_hand {
            save(&reader, &keyframes, version);
        }
        for (which, harm) in &harms {
            do_harm(&log.derived(), *which, harm);
        }
        check(&reader, &keyframes, upto);
        // What goes on from there is kept as if nothing had happened.
        save(&reader, &keyframes, reader.version_of(&stream()).0);
        prop_assert_eq!(check(&reader, &keyframes, None), 0);
    }

    #[test]
    fn a_keyframe_anywhere_is_invisible(
        sizes in proptest::collection::vec(1_usize..5, 1..12),
        at in proptest::collection::vec(0_u64..40, 0..5),
        damaged: bool,
        upto in proptest::option::of(0_u64..45),
    ) {
        let log = log_of(&sizes);
        let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
        for version in at {
            save(&reader, &keyframes, version);
        }
        let (tree, all) = saved(&log.derived());
        if let Some((key, bytes)) = all.last().filter(|_| damaged) {
            tree.put(key, &bytes[1..]).unwrap();
        }
        let folded = check(&reader, &keyframes, upto);
        let last = upto.unwrap_or(u64::MAX).min(reader.version_of(&stream()).0);
        let usable = if damaged { all.len().saturating_sub(1) } else { all.len() };
        let nearest = saved_versions(&log.derived())[..usable].iter().rev().find(|version| **version <= last).copied();
        prop_assert_eq!(folded, last - nearest.unwrap_or(0));
    }
}
