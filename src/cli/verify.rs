//! `ephor verify`: the log's bytes against themselves, and the index against the log.

use ephor_events::{Verified, VerifyError, verify};
use serde_json::{Value, json};

use super::print::{self, BAD, Counted, GOOD, WARN, grouped, styled};
use super::{CliError, Exit, Global, sentence};
use crate::store;

/// Check chain, checksums and index; repairs nothing; exit code 1 where a fault is found
#[derive(clap::Args)]
#[command(after_help = "Example: ephor verify --data ./ephor-data")]
pub(super) struct Args {}

pub(super) fn run(global: &Global, _args: &Args) -> Result<Exit, CliError> {
    let dir = &global.data;
    if !dir.join("log").is_dir() && !dir.join("log.sled").is_dir() {
        return Err(CliError::NoLog { dir: dir.clone() });
    }
    let verified = verify(dir, &mut store::bar()).map_err(|error| match error {
        VerifyError::Open { source } => CliError::Open { dir: dir.clone(), source },
        VerifyError::Storage { path, source } => CliError::File { doing: "read", path, source },
    })?;
    if global.json {
        print::json(&as_json(&verified))?;
    } else {
        print::out(said(&verified))?;
    }
    Ok(if verified.faults.is_empty() { Exit::Done } else { Exit::Found })
}

fn said(verified: &Verified) -> String {
    let Verified { head, bytes, chunks, streams, runs, blocks, torn, faults } = verified;
    let mut text = format!(
        "{} in {}, {} bytes, {}, {}; index of {}, {}\n",
        Counted(head.seq.0, "event"),
        Counted(head.commits, "commit"),
        grouped(*bytes),
        Counted((*chunks).into(), "chunk"),
        Counted(*streams, "stream"),
        Counted(*runs, "run"),
        Counted(*blocks, "block"),
    );
    sentence::add(&mut text, format_args!("head {} at seq {}", head.hash, head.seq));
    if let Some(torn) = torn {
        let note =
            format!("{} bytes at {} were never acknowledged; the next opening cuts them", torn.bytes, torn.place);
        sentence::add(&mut text, format_args!("{}: {note}", styled(WARN, "torn")));
    }
    for fault in faults {
        sentence::add(&mut text, format_args!("{}: {fault}", styled(BAD, "fault")));
    }
    if faults.is_empty() {
        sentence::add(&mut text, format_args!("{}", styled(GOOD, "no faults")));
    } else {
        sentence::add(&mut text, format_args!("{}", styled(BAD, Counted(faults.len() as u64, "fault"))));
    }
    text
}

fn as_json(verified: &Verified) -> Value {
    json!({
        "seq": verified.head.seq,
        "commits": verified.head.commits,
        "hash": verified.head.hash.to_string(),
        "bytes": verified.bytes,
        "chunks": verified.chunks,
        "streams": verified.streams,
        "index_runs": verified.runs,
        "index_blocks": verified.blocks,
        "torn": verified.torn.map(|torn| json!({
            "place": torn.place.to_string(), "bytes": torn.bytes, "seq": torn.seq,
        })),
        "faults": verified.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
