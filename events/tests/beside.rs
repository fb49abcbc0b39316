//! A reader beside a writer that does not stop: what is half written is not there yet, and is no damage.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use ephor_events::{Backend, Durability, Reader, Seq};
use support::{all, drafts, open, options};

#[test]
fn a_log_that_is_being_written_opens_and_is_followed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path(), &options(Backend::Chunks));
    let done = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| {
            let mut nth = 0;
            while nth < 60 || !done.load(Ordering::Relaxed) && nth < 9_000 {
                let group = drafts(&log.reader(), nth, 3, 5);
                log.append(&group, Durability::Written).unwrap();
                nth += 3;
            }
        });
        let opened = (0..30).map(|_| -> Result<(), String> {
            let shared = Reader::open_shared(dir.path(), &mut |_| {}).map_err(|error| error.to_string())?;
            let mut last = shared.head().seq;
            for _ in 0..20 {
                let head = shared.refresh().map_err(|error| error.to_string())?;
                assert!(head.seq >= last);
                last = head.seq;
            }
            Ok(())
        });
        let opened: Result<(), String> = opened.collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(opened, Ok(()));
    });
    let shared = Reader::open_shared(dir.path(), &mut |_| {}).unwrap();
    assert_eq!(shared.head().seq, log.reader().head().seq);
    assert!(shared.head().seq > Seq(100) && all(&shared) == all(&log.reader()));
}
