//! Prints what the log does in a second on this machine: `cargo run --release -p ephor-events
//! --example log_bench [commits] [streams] [chunks, sled or memory] [preallocate bytes]`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::cast_precision_loss,
    reason = "a measurement, run by hand and read by a person"
)]

use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use ephor_events::{
    Backend, Cause, Draft, Durability, Encoded, EventLog, Key, Options, Seq, StreamId, Version, verify,
};

/// Numbers that repeat only after a long time.
fn scattered(nth: u64, below: u64) -> usize {
    usize::try_from(nth.wrapping_mul(2_654_435_761) % below).unwrap()
}

fn trace(nth: u64) -> String {
    let number = (u128::from(nth) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ (0x7a31 << 64);
    uuid::Uuid::from_u128(number).to_string()
}

/// What a directory takes on the disk.
fn size(dir: &std::path::Path) -> u64 {
    let size_of = |entry: std::fs::DirEntry| {
        if entry.file_type().unwrap().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().blocks() * 512 }
    };
    std::fs::read_dir(dir).unwrap().map(|entry| size_of(entry.unwrap())).sum()
}

fn payload(nth: u64) -> Vec<u8> {
    let mut state = nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..85 + nth % 11)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// Time this thread has really run, which a busy machine does not change.
fn cpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap()
        / 1e9
}

fn main() {
    let commits: u64 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    let streams: u64 = std::env::args().nth(2).map_or(1000, |n| n.parse().unwrap());
    let backend = match std::env::args().nth(3).as_deref() {
        Some("sled") => Backend::Sled,
        Some("memory") => Backend::Memory,
        _ => Backend::Chunks,
    };
    let pre: u64 = std::env::args().nth(4).map_or(4 << 20, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        checkpoint_commits: std::env::var("CP").map_or(65536, |v| v.parse().unwrap()),
        backend,
        preallocate_bytes: pre,
        ..Options::default()
    };
    let (mut log, _) = EventLog::open(dir.path(), &options, &mut |_| {}).unwrap();
    let mut heads = vec![0_u64; usize::try_from(streams).unwrap()];
    let payloads: Vec<Vec<u8>> = (0..4096).map(payload).collect();
    let names: Vec<StreamId> = (0..streams).map(|n| StreamId::new(&format!("strategy-{n:05}"))).collect();
    let mut spent = 0.0;
    let mut busy = 0.0;
    let mut bytes = 0_u64;
    let mut events = 0_u64;
    let mut worst: f64 = 0.0;
    let mut at = 0;
    let mut synced_at = vec![];
    while at < commits {
        let n = 256.min(commits - at);
        let drafts: Vec<Draft> = (at..at + n)
            .map(|nth| {
                let s = scattered(nth, streams);
                let count = 2 + nth % 2;
                let d = Draft {
                    stream: names[s].clone(),
                    expected: Version(heads[s]),
                    decided_at: 1_700_000_000_000_000_000 + nth.cast_signed() * 1000,
                    occurred_at: 1_700_000_000_000_000_000 + nth.cast_signed() * 1000 - 150_000,
                    trace: trace(nth).into(),
                    key: None,
                    instrument: Some("BTC-USD".into()),
                    system: Version(12),
                    events: (0..count)
                        .zip(0_u16..)
                        .map(|(i, index)| Encoded {
                            type_id: 3 + index,
                            schema: 1,
                            cause: if i == 0 { Cause::None } else { Cause::InCommit(index - 1) },
                            payload: payloads[scattered(nth * 3 + i, 4096)].clone(),
                        })
                        .collect(),
                };
                let d = Draft { key: Some(Key { kind: 1, id: d.trace.clone() }), ..d };
                heads[s] += count;
                events += count;
                bytes += d.events.iter().map(|e| e.payload.len() as u64).sum::<u64>();
                d
            })
            .collect();
        let c = cpu();
        let t = Instant::now();
        log.append(&drafts, Durability::Written).unwrap();
        let e = t.elapsed().as_secs_f64();
        spent += e;
        busy += cpu() - c;
        worst = worst.max(e);
        at += n;
    }
    println!(
        "append, groups of 256, written: {:.2} M commits/s ({:.2} M events/s), slowest group {:.1} ms; {:.2} M commits/s of processor time",
        commits as f64 / spent / 1e6,
        events as f64 / spent / 1e6,
        worst * 1e3,
        commits as f64 / busy / 1e6
    );
    let t = Instant::now();
    log.checkpoint().unwrap();
    println!("checkpoint {:.2} s", t.elapsed().as_secs_f64());
    for _ in 0..200 {
        let s = 0;
        let d = Draft {
            stream: names[s].clone(),
            expected: Version(heads[s]),
            decided_at: i64::MAX,
            occurred_at: 0,
            trace: "".into(),
            key: None,
            instrument: None,
            system: Version(1),
            events: vec![Encoded { type_id: 1, schema: 1, cause: Cause::None, payload: payloads[1].clone() }],
        };
        heads[s] += 1;
        let t = Instant::now();
        log.append(&[d], Durability::Fsync).unwrap();
        synced_at.push(t.elapsed().as_secs_f64() * 1e6);
    }
    synced_at.sort_by(f64::total_cmp);
    println!("append one + fsync: p50 {:.0} us, p99 {:.0} us", synced_at[100], synced_at[197]);
    let reader = log.reader();
    for round in 0..2 {
        let c = cpu();
        let t = Instant::now();
        let mut cursor = reader.cursor(Seq(1)).unwrap();
        let mut n = 0_u64;
        let mut sum = 0_u64;
        while let Some(v) = cursor.next().unwrap() {
            for e in v.events() {
                n += 1;
                sum += e.payload.len() as u64;
            }
        }
        println!(
            "cursor {round}: {:.2} M events/s, {:.2} of processor time ({sum})",
            n as f64 / t.elapsed().as_secs_f64() / 1e6,
            n as f64 / (cpu() - c) / 1e6
        );
    }
    let t = Instant::now();
    let mut n = 0_u64;
    for name in names.iter().take(200) {
        let mut c = reader.stream(name, Version(1)).unwrap();
        while c.next().unwrap().is_some() {
            n += 1;
        }
    }
    println!("streams: {:.2} M commits/s ({n})", n as f64 / t.elapsed().as_secs_f64() / 1e6);
    let t = Instant::now();
    for i in 0..10_000 {
        let nth = i * 7919 % commits;
        let s = scattered(nth, streams);
        assert!(reader.find(&names[s], 1, &trace(nth)).unwrap().is_some());
    }
    println!("find a known id: {:.1} us", t.elapsed().as_secs_f64() / 10_000.0 * 1e6);
    let t = Instant::now();
    for nth in 0..100_000 {
        assert!(reader.find(&names[0], 1, &trace(commits + nth)).unwrap().is_none());
    }
    println!("find a new id: {:.2} us", t.elapsed().as_secs_f64() / 100_000.0 * 1e6);
    let t = Instant::now();
    for i in 0..10_000 {
        reader.commit_of(Seq(1 + i * 104_729 % events)).unwrap().unwrap();
    }
    println!("commit of a seq: {:.1} us", t.elapsed().as_secs_f64() / 10_000.0 * 1e6);
    drop(reader);
    log.close().unwrap();
    let frames = if dir.path().join("log").exists() { size(&dir.path().join("log")) } else { 0 };
    let total = size(dir.path());
    println!(
        "payload {:.1} MB, frames {:.3}x, total {:.3}x; {:.1} B of frames a commit, {:.1} B of index a commit",
        bytes as f64 / 1e6,
        frames as f64 / bytes as f64,
        total as f64 / bytes as f64,
        frames as f64 / commits as f64,
        (total - frames) as f64 / commits as f64
    );
    let t = Instant::now();
    let (log, opened) = EventLog::open(dir.path(), &options, &mut |_| {}).unwrap();
    println!(
        "open {:.1} ms, {} commits indexed, rebuilt {:?}",
        t.elapsed().as_secs_f64() * 1e3,
        opened.indexed_commits,
        opened.rebuilt
    );
    drop(log);
    let t = Instant::now();
    let v = verify(dir.path(), &mut |_| {}).unwrap();
    println!(
        "verify {:.2} s: {} runs, {} blocks, {} faults",
        t.elapsed().as_secs_f64(),
        v.runs,
        v.blocks,
        v.faults.len()
    );
    if let Ok(kb) = std::fs::read_to_string("/proc/self/status") {
        println!("{}", kb.lines().find(|l| l.starts_with("VmHWM")).unwrap());
    }
}
