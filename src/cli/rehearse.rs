//! `ephor feed`: a file's lines onto a bus, as if they happened now.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::web::Bytes;
use ct_codecs::Decoder;
use ephor_governance::units::Timestamp;
use indicatif::ProgressBar;
use serde::Deserialize;
use tokio::time::Instant;

use super::feed::stop_asked;
use super::print;
use super::{CliError, Exit, Global};
use crate::bus::outward::{self, Outward, Parcel};
use crate::input::{self, Line, Lines};
use crate::settings::Settings;
use crate::store::{block_on, bytes_bar};

/// Replay a file of lines onto a bus, in real, scaled or no time: to rehearse
#[derive(clap::Args)]
#[command(
    after_help = "Each line goes out by its type: on the subject PREFIX.TYPE (NATS), the topic PREFIX/TYPE (MQTT), or as an \
                        entry of the stream PREFIX (Redis). NATS is told its id, and keeps it once. A line of a capture, \
                        with `topic` and `payload` (or `payload_b64`), goes out as its payload, in Redis on its own \
                        `stream`. What the server must be shown is taken from the [bus] of the settings that names it.\n\n\
                        Example: ephor feed --to nats://127.0.0.1:4222 --speed 3600 trades.jsonl.gz\n\
                        Example: ephor feed --to redis://127.0.0.1:6379 --prefix trader-DESK-001:stream trades.jsonl\n\
                        Example: ephor feed --to mqtt://127.0.0.1:1883 trades.jsonl"
)]
pub(super) struct Args {
    /// The bus: nats://, redis:// or mqtt://HOST:PORT, or with TLS tls://, rediss:// or mqtts://
    #[arg(long, value_name = "URL")]
    to: String,
    /// How many times faster than it happened; 1 is real time, 0 as fast as possible
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    speed: f64,
    /// What stands before the type of each line; ephor.in, ephor/in, or the stream trader-rehearsal:stream
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// JSON lines, gzipped or not; - for standard input
    file: PathBuf,
}

/// What a line must say to be sent; the rest is for whoever reads it.
#[derive(Default, Deserialize)]
struct Head {
    r#type: Option<String>,
    id: Option<String>,
    ts: Option<Timestamp>,
    /// Of a capture: the bus's own words, with what was published in the payload.
    stream: Option<String>,
    topic: Option<String>,
    payload: Option<String>,
    payload_b64: Option<String>,
    encoding: Option<String>,
}

/// What a line comes to on a bus, and when it happened. What is no JSON goes out as it is: how that is taken is worth a
/// rehearsal, too.
fn parcel(line: Vec<u8>) -> (Option<Timestamp>, Parcel) {
    let head: Head = serde_json::from_slice(&line).unwrap_or_default();
    let Head { r#type: kind, id, ts, stream, topic, payload, payload_b64, encoding } = head;
    let packed = || ct_codecs::Base64::decode_to_vec(payload_b64?, None).ok();
    let published = payload.map(String::into_bytes).or_else(packed);
    if let Some((topic, payload)) = topic.zip(published) {
        let fields = [("type", kind), ("encoding", encoding)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let ts = ts.or_else(|| added_at(id.as_deref()?));
        return (ts, Parcel { stream, topic, id: None, fields, payload: payload.into() });
    }
    let topic = kind.unwrap_or_else(|| "unknown".to_owned());
    (ts, Parcel { topic, id, payload: Bytes::from(line), ..Parcel::default() })
}

/// When an entry of Redis was added: its id begins with the server's milliseconds.
fn added_at(id: &str) -> Option<Timestamp> {
    let millis: i64 = id.split_once('-')?.0.parse().ok()?;
    millis.checked_mul(1_000_000).map(Timestamp::from_nanos)
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    if !args.speed.is_finite() || args.speed < 0.0 {
        return Err(CliError::usage(format!("--speed must be 0 or more, found {}", args.speed)));
    }
    let settings = Settings::load(global.config.as_deref(), &[])?;
    drop(rustls::crypto::ring::default_provider().install_default());
    block_on(async {
        let mut bus = outward::connect(&args.to, args.prefix.as_deref(), &settings.bus).await?;
        let mut stop = std::pin::pin!(stop_asked());
        let started = Instant::now();
        let (sent, ended) = replay(args, &mut *bus, stop.as_mut()).await?;
        bus.settled().await?;
        let took = started.elapsed().as_secs_f64();
        if global.json {
            print::json(
                &serde_json::json!({ "sent": sent, "seconds": took, "interrupted": ended == Exit::Interrupted }),
            )?;
        } else {
            print::out(format_args!("{sent} lines sent in {took:.2} s\n"))?;
        }
        Ok(ended)
    })
}

async fn replay(
    args: &Args,
    bus: &mut dyn Outward,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(u64, Exit), CliError> {
    let failed = |source| CliError::File { doing: "read", path: args.file.clone(), source };
    let input = input::open(&args.file).map_err(failed)?;
    let (bar, position) = (bar(input.size), input.read);
    let mut lines = Lines::new(input.bytes);
    let mut pace = Pace { speed: args.speed, first: None };
    let mut sent = 0;
    let ended = loop {
        let Some((number, line)) = lines.next().map_err(failed)? else { break Exit::Done };
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong { bytes, .. } => return Err(too_long(&args.file, number, bytes)),
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let (ts, parcel) = parcel(line);
        let due = pace.due(ts);
        if due.is_some_and(|due| due > Instant::now()) {
            bus.settled().await?;
        }
        tokio::select! {
            biased;
            () = &mut stop => break Exit::Interrupted,
            () = async { if let Some(due) = due { tokio::time::sleep_until(due).await } } => {}
        }
        bus.publish(parcel).await?;
        sent += 1;
        bar.set_position(position.load(Ordering::Relaxed));
    };
    bar.finish_and_clear();
    Ok((sent, ended))
}

fn bar(size: Option<u64>) -> ProgressBar {
    size.map_or_else(ProgressBar::hidden, |size| bytes_bar(size, "sending"))
}

fn too_long(file: &Path, line: u64, bytes: u64) -> CliError {
    CliError::usage(format!("{}: line {line} has {bytes} bytes: no bus would take it", file.display()))
}

/// When a line is due.
struct Pace {
    speed: f64,
    /// The time of the first line, and when it went out.
    first: Option<(Timestamp, Instant)>,
}

impl Pace {
    fn due(&mut self, ts: Option<Timestamp>) -> Option<Instant> {
        let ts = ts.filter(|_| self.speed > 0.0)?;
        let (first, began) = *self.first.get_or_insert_with(|| (ts, Instant::now()));
        let since = u64::try_from(ts.nanos().saturating_sub(first.nanos())).unwrap_or(0);
        // A pause too long to be counted is as good as none that ends.
        let wait = Duration::try_from_secs_f64(Duration::from_nanos(since).as_secs_f64() / self.speed);
        began.checked_add(wait.unwrap_or(Duration::MAX)).or(Some(began + Duration::from_hours(24 * 3_650)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_capture_goes_out_as_it_was_published() {
        let line = r#"{"stream":"trader-A-1:stream","id":"1500-2","topic":"events.risk","type":"X","payload_b64":"gaF4AQ==","encoding":"msgpack"}"#;
        let (ts, sent) = parcel(line.as_bytes().to_vec());
        assert_eq!(ts, Some(Timestamp::from_nanos(1_500_000_000)));
        assert_eq!((sent.stream.as_deref(), &*sent.topic, sent.id), (Some("trader-A-1:stream"), "events.risk", None));
        assert_eq!(sent.fields, [("type", "X".to_owned()), ("encoding", "msgpack".to_owned())]);
        assert_eq!(&*sent.payload, b"\x81\xa1x\x01");
        let own = r#"{"type":"fill","id":"f-1","topic":"mine"}"#;
        let (_, sent) = parcel(own.as_bytes().to_vec());
        assert_eq!((&*sent.topic, sent.id.as_deref(), &*sent.payload), ("fill", Some("f-1"), own.as_bytes()));
        assert_eq!(parcel(b"nonsense".to_vec()).1.topic, "unknown");
    }

    #[test]
    fn a_line_is_due_as_long_after_the_first_as_it_happened_divided_by_the_speed() {
        let at = |seconds: i64| Some(Timestamp::from_nanos(seconds * 1_000_000_000));
        let mut pace = Pace { speed: 60.0, first: None };
        let began = pace.due(at(1_000)).unwrap();
        assert_eq!(pace.due(at(1_120)).unwrap() - began, Duration::from_secs(2));
        assert_eq!(pace.due(at(900)), Some(began), "what stands before the first is due at once");
        assert_eq!(pace.due(None), None);
        assert_eq!(Pace { speed: 0.0, first: None }.due(at(5)), None);
    }
}
