//! The directory that holds the log: finding what is there, opening it to read, governing on it.
//!
//! Reading never creates anything. A reader takes the log's lock where it can, because the index then
//! makes it fast; where another process holds the lock, or the directory cannot be written, it reads
//! beside it. Governing opens or creates the log, runs to the end, and always closes it.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ephor_actors::{Config, Governor, Threads};
use ephor_events::{
    Backend, DerivedTree, Durability, EventLog, OpenError, Opened, Options, Progress, Reader, Stage, Torn,
};
use ephor_governance::units::Timestamp;
use ephor_snapshots::{Ignored, Keyframes};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{CliError, Global};
use crate::settings::Settings;

/// Requests that may be under way at once.
pub const IN_FLIGHT_MAX: usize = 1_024;

/// A reader, and the log behind it where this process holds it.
pub struct OpenedReader {
    /// Reads what is recorded.
    pub reader: Reader,
    /// What opening found; `None` where the log is read beside another process.
    pub opened: Option<Opened>,
    /// The keyframes beside the log; `None` where the log is read beside another process, which has them.
    pub keyframes: Option<Keyframes>,
    log: Option<EventLog>,
}

impl OpenedReader {
    /// Whether the log is read beside another process, or in a directory that cannot be written.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.log.is_none()
    }
}

impl Drop for OpenedReader {
    fn drop(&mut self) {
        if let Some(keyframes) = &self.keyframes {
            note_ignored(&keyframes.ignored());
        }
        // Lets the index keep what this reading has built. The log itself is unharmed where it fails.
        if let Some(Err(error)) = self.log.take().map(EventLog::close) {
            tracing::warn!(%error, "the index of the log could not be brought to the disk");
        }
    }
}

/// What a directory holds.
fn found(dir: &Path) -> Option<Backend> {
    if dir.join("log.sled").is_dir() {
        Some(Backend::Sled)
    } else if dir.join("log").is_dir() {
        Some(Backend::Chunks)
    } else {
        None
    }
}

/// The options to open a directory with: its own backend, which the settings may not contradict.
fn options(dir: &Path, settings: &Settings) -> Result<Options, CliError> {
    let asked = settings.log.backend.map(Backend::from);
    let backend = match (found(dir), asked) {
        (Some(found), Some(asked)) if found != asked => {
            return Err(CliError::usage(format!(
                "{} holds a log of the {found} backend, but the settings ask for log.backend = \"{asked}\": change the \
                 settings, or name another directory with --data",
                dir.display()
            )));
        }
        (Some(backend), _) | (None, Some(backend)) => backend,
        (None, None) => Backend::default(),
    };
    Ok(Options { backend, chunk_bytes: settings.log.chunk_mib << 20, ..Options::default() })
}

fn open_failed(dir: &Path) -> impl FnOnce(OpenError) -> CliError {
    let dir = dir.to_owned();
    move |source| CliError::Open { dir, source }
}

fn cannot_be_written(error: &OpenError) -> bool {
    match error {
        OpenError::Locked { .. } => true,
        OpenError::Storage { source, .. } => {
            matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
        }
        OpenError::Damaged(_)
        | OpenError::Chunk { .. }
        | OpenError::Shorter { .. }
        | OpenError::Differs { .. }
        | OpenError::Witness { .. }
        | OpenError::Sled { .. }
        | OpenError::OtherBackend { .. }
        | OpenError::NotShareable { .. } => false,
    }
}

/// Opens the log to read: with the lock and the index where they can be had, else beside whoever has them.
///
/// # Errors
/// [`CliError::NoLog`] where there is none, [`CliError::Open`] where it does not open.
pub fn open_reader(global: &Global) -> Result<OpenedReader, CliError> {
    let dir = &global.data;
    if found(dir).is_none() {
        return Err(CliError::NoLog { dir: dir.clone() });
    }
    let settings = Settings::load(global.config.as_deref(), &[])?;
    let options = options(dir, &settings)?;
    match EventLog::open(dir, &options, &mut bar()) {
        Ok((log, opened)) => {
            report(&opened);
            let keyframes = Keyframes::open(&log.derived());
            let keyframes = keyframes.inspect_err(|error| tracing::warn!(%error, "keyframes cannot be read")).ok();
            let keyframes = keyframes.map(|keyframes| keyframes.spaced(settings.snapshots.spacing()));
            Ok(OpenedReader { reader: log.reader(), opened: Some(opened), keyframes, log: Some(log) })
        }
        Err(error) if cannot_be_written(&error) && options.backend == Backend::Chunks => open_shared(global),
        Err(error) => Err(open_failed(dir)(error)),
    }
}

/// Opens the log to read beside whoever writes it, and without hindering them: what `--follow` needs.
///
/// # Errors
/// As [`open_reader`].
pub fn open_shared(global: &Global) -> Result<OpenedReader, CliError> {
    let dir = &global.data;
    if found(dir).is_none() {
        return Err(CliError::NoLog { dir: dir.clone() });
    }
    let reader = Reader::open_shared(dir, &mut bar()).map_err(open_failed(dir))?;
    Ok(OpenedReader { reader, opened: None, keyframes: None, log: None })
}

/// How a command governs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Whether a directory without a log gets one.
    pub creates: bool,
    /// Instead of the settings' durability; the log is on the disk all the same when the command ends.
    pub durability: Option<Durability>,
}

/// A running governor and the moment from which it can record.
#[derive(Clone)]
pub struct Session {
    /// The governor.
    pub governor: Governor,
    /// When the log's last commit was recorded: nothing is recorded before it.
    pub not_before: Timestamp,
    /// The keyframes beside the log, to look into the past; `None` where their store did not open.
    pub keyframes: Option<Keyframes>,
    /// Where positions of those who follow the log, or are followed, are kept beside it.
    pub positions: DerivedTree,
}

impl Session {
    /// The wall clock, but never before what is recorded already.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        now().max(self.not_before)
    }
}

/// The wall clock, read where a command comes in.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Opens (or creates) the log, governs on it while `work` runs, and closes it.
///
/// # Errors
/// What `work` said; else what opening, starting or closing said.
pub fn govern<T>(
    global: &Global,
    terms: Terms,
    work: impl AsyncFnOnce(Session) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let dir = &global.data;
    if !terms.creates && found(dir).is_none() {
        return Err(CliError::NoLog { dir: dir.clone() });
    }
    let settings = Settings::load(global.config.as_deref(), &[])?;
    let config = Config {
        shards: 1,
        durability: terms.durability.unwrap_or(settings.log.durability.into()),
        in_flight_max: IN_FLIGHT_MAX,
        timeout: Duration::from_mins(1),
        spacing: settings.snapshots.spacing(),
    };
    govern_with(dir, &settings, &config, work)
}

/// Opens (or creates) the log in a directory, governs on it as `config` says while `work` runs, and closes it.
///
/// # Errors
/// What `work` said; else what opening, starting or closing said.
pub fn govern_with<T>(
    dir: &Path,
    settings: &Settings,
    config: &Config,
    work: impl AsyncFnOnce(Session) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let house = House::open(dir, settings, config)?;
    block_on(async {
        let worked = work(house.session.clone()).await;
        let closed = house.close().await;
        // A stopped journal says so twice; the first word is the cause.
        let worked = worked?;
        closed?;
        Ok(worked)
    })
}

/// A governor on the log of a directory, to be closed.
pub struct House {
    /// What is asked of it.
    pub session: Session,
    threads: Threads,
}

impl House {
    /// Opens (or creates) the log in a directory and starts a governor on it.
    ///
    /// # Errors
    /// What opening or starting said.
    pub fn open(dir: &Path, settings: &Settings, config: &Config) -> Result<Self, CliError> {
        let options = options(dir, settings)?;
        let (log, opened) = EventLog::open(dir, &options, &mut bar()).map_err(open_failed(dir))?;
        report(&opened);
        let last = log.reader().commit_of(opened.head.seq)?;
        let not_before =
            last.map_or(Timestamp::from_nanos(i64::MIN), |commit| Timestamp::from_nanos(commit.recorded_at));
        let keyframes = Keyframes::open(&log.derived()).ok().map(|keyframes| keyframes.spaced(config.spacing));
        let positions = log.derived().tree("positions")?;
        let (governor, threads) = Governor::start(log, config)?;
        Ok(Self { session: Session { governor, not_before, keyframes, positions }, threads })
    }

    /// Takes nothing more, waits for what is under way and closes the log.
    ///
    /// # Errors
    /// What closing said; every answered commit is durable all the same.
    pub async fn close(self) -> Result<(), CliError> {
        let governor = self.session.governor;
        note_ignored(&governor.keyframes().ignored);
        governor.shutdown(self.threads).await?;
        Ok(())
    }
}

/// Runs to the end on this thread.
///
/// # Errors
/// What `work` said; else that there is no runtime.
pub fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Start(source.into()))?;
    let done = tokio::task::LocalSet::new().block_on(&runtime, work);
    // A thread that waits for a terminal's next line must not hold up the end.
    runtime.shutdown_background();
    done
}

/// Says what opening found, where that is not what it should be.
fn report(opened: &Opened) {
    if let Some(Torn { bytes, place, seq }) = opened.torn {
        note(format_args!(
            "note: the log ended in {bytes} bytes of a group that was never acknowledged ({place}, seq {seq}); they were cut"
        ));
    }
    if let Some(rebuilt) = &opened.rebuilt {
        note(format_args!("note: the index was rebuilt from the log: {rebuilt}"));
    }
    if opened.witness_missing {
        note(format_args!("note: the witness of the log's end was missing and is written anew"));
    }
}

/// Says that keyframes did not fit: nothing is wrong with what was answered, it only took longer.
fn note_ignored(ignored: &Ignored) {
    if ignored.total() > 0 {
        note(format_args!(
            "note: keyframes that do not fit were not used ({ignored}); `ephor snapshots rebuild` makes them anew"
        ));
    }
}

/// Nobody can be told where standard error is closed.
fn note(text: std::fmt::Arguments<'_>) {
    drop(io::Write::write_fmt(&mut anstream::stderr().lock(), format_args!("{text}\n")));
}

/// A bar on a terminal, nothing in a pipe.
pub fn bar() -> impl FnMut(Progress) {
    let mut shown: Option<(Stage, ProgressBar)> = None;
    move |progress| {
        if shown.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
            let doing = match progress.stage {
                Stage::Tail => "reading the log",
                Stage::Rebuild => "indexing the log",
                Stage::Verify => "checking the log",
            };
            shown = Some((progress.stage, bytes_bar(progress.total, doing)));
        }
        if let Some((_, bar)) = &shown {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            if progress.done >= progress.total {
                bar.finish_and_clear();
            }
        }
    }
}

/// A bar over bytes, on standard error where that is a terminal; a spinner where the total is not known.
#[must_use]
pub fn bytes_bar(total: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
    let template = "{msg} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸─"));
    bar.set_message(doing);
    bar
}
