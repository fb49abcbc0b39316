//! `ephor feed`: a file's lines onto a bus, as if they happened now.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::web::Bytes;
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
    after_help = "Each line goes out on PREFIX.TYPE with its id, so a bus that knows ids keeps it once. Who the \
                        server must be shown is taken from the [[bus.nats]] of the settings that names it.\n\n\
                        Example: ephor feed --to nats://127.0.0.1:4222 --speed 3600 trades.jsonl.gz"
)]
pub(super) struct Args {
    /// The bus: nats://HOST:PORT
    #[arg(long, value_name = "URL")]
    to: String,
    /// How many times faster than it happened; 1 is real time, 0 as fast as possible
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    speed: f64,
    /// What stands before the type of each line in its subject
    #[arg(long, value_name = "PREFIX", default_value = "ephor.in")]
    subject: String,
    /// JSON lines, gzipped or not; - for standard input
    file: PathBuf,
}

/// What a line must say to be sent; the rest is for whoever reads it.
#[derive(Default, Deserialize)]
struct Head {
    r#type: Option<String>,
    id: Option<String>,
    ts: Option<Timestamp>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    if !args.speed.is_finite() || args.speed < 0.0 {
        return Err(CliError::usage(format!("--speed must be 0 or more, found {}", args.speed)));
    }
    let settings = Settings::load(global.config.as_deref(), &[])?;
    drop(rustls::crypto::ring::default_provider().install_default());
    block_on(async {
        let mut bus = outward::connect(&args.to, &settings.bus).await?;
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
        // What is no JSON goes out as it is: how that is taken is worth a rehearsal, too.
        let head: Head = serde_json::from_slice(&line).unwrap_or_default();
        let due = pace.due(head.ts);
        if due.is_some_and(|due| due > Instant::now()) {
            bus.settled().await?;
        }
        tokio::select! {
            biased;
            () = &mut stop => break Exit::Interrupted,
            () = async { if let Some(due) = due { tokio::time::sleep_until(due).await } } => {}
        }
        let kind = head.r#type.as_deref().unwrap_or("unknown");
        let subject = format!("{}.{}", args.subject, crate::bus::nats::encode(kind));
        bus.publish(Parcel { subject, id: head.id, headers: Vec::new(), payload: Bytes::from(line) }).await?;
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
