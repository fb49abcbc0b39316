//! `ephor serve`: the service, until it is told to stop.

mod reload;

use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::web;
use ephor_actors::{Config, Governor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::flags::Flags;
use super::print::{self, DIM, WARN, styled};
use super::{CliError, Exit, Global};
use crate::audit_db::{self, Database, Sink, Watch};
use crate::bus::{Buses, Status};
use crate::canary::{self, Canary, Fault};
use crate::serve::app::{App, Governed, Keys, Recovery};
use crate::serve::{self, Listening};
use crate::settings::{self, Flag, Settings};
use crate::store::{self, Session};
use crate::telemetry;
use reload::Reload;

/// Serve the HTTP API: engines ask before every order, operators act
#[derive(clap::Args)]
#[command(after_help = "Whoever asks needs a key: ephor api-key create --name desk --role engine\n\n\
                        Example: ephor serve --enabled --bind 127.0.0.1:8750")]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let started = Instant::now();
    // Until somebody listens for it a reload would end the service: to open a long log takes its time. What was
    // installed once stays.
    store::block_on(async { listen_for(SignalKind::hangup()).map(drop) })?;
    let mut flags = args.flags.given();
    let level = match global.verbose {
        0 => None,
        1 => Some("debug"),
        _more => Some("trace"),
    };
    flags.extend(level.map(|level| Flag::new("--verbose", "telemetry.log_level", level)));
    let settings = Settings::load(global.config.as_deref(), &flags)?;
    // Whoever speaks TLS here speaks it with one library; a second call finds it set.
    drop(rustls::crypto::ring::default_provider().install_default());
    let telemetry = telemetry::start(&settings.telemetry).map_err(serve::ServeError::from)?;
    let keys = Keys::open(&global.data)?;
    let (canary, checked) = watch::channel(settings.canary.clone());
    let reload =
        Reload { config: global.config.clone(), flags, settings: settings.clone(), telemetry: &telemetry, canary };
    if settings.governance.enabled {
        let server = &settings.server;
        let config = Config {
            shards: server.shards,
            durability: settings.log.durability.into(),
            in_flight_max: server.limits.in_flight,
            timeout: Duration::from_millis(server.answer_timeout_ms),
            spacing: settings.snapshots.spacing(),
        };
        let to_serve = settings.clone();
        store::govern_with(&global.data, &settings, &config, async |session| {
            let hang_up = listen_for(SignalKind::hangup())?;
            let mut buses = Buses::new(&to_serve, &checked, &global.data, &session);
            let governor = session.governor.clone();
            let database = Database::of(&to_serve.audit.database)?;
            let mut audit = database.clone().map(|database| {
                let sink = Sink::new(database.clone(), governor.reader().clone());
                let required = database.settings().required;
                let status = if required { Status::new(audit_db::NAME) } else { Status::spare(audit_db::NAME) };
                let written = sink.written();
                buses.tell_unchecked(status, Box::new(sink));
                Watch::begin(database, governor.clone(), written)
            });
            let (governed, canary) = wake(session, checked, &global.data, &buses, audit.as_mut(), started).await?;
            let stop = CancellationToken::new();
            let audit_watch = audit.map(|audit| tokio::task::spawn_local(audit.run(stop.clone())));
            let limit = Duration::from_secs(to_serve.server.shutdown_seconds);
            let watching = tokio::task::spawn_local(canary.watch(stop.clone()));
            let ended = until_told(reload, hang_up, keys, Some((governed, buses))).await;
            stop.cancel();
            if watching.await.is_err() {
                tracing::error!("the canary had died");
            }
            if let Some(watch) = audit_watch {
                drop(watch.await);
            }
            if let Some(database) = database {
                bring_up(database, &governor, limit).await;
            }
            ended
        })
    } else {
        print::note(format_args!(
            "{}: governance.enabled is false, so every order is allowed and nothing is recorded",
            styled(WARN, "not governing")
        ));
        store::block_on(async { until_told(reload, listen_for(SignalKind::hangup())?, keys, None).await })
    }
}

/// Makes everything ready before the first order: the policy recorded, every strategy alive, the canary's first round.
async fn wake(
    session: Session,
    checked: watch::Receiver<settings::Canary>,
    data: &Path,
    buses: &Buses,
    audit: Option<&mut Watch>,
    started: Instant,
) -> Result<(Governed, Canary), CliError> {
    let governor = session.governor.clone();
    let events = governor.reader().head().seq.0;
    governor.begin(session.now()).await?;
    for (id, failure) in governor.load_all().await.failed {
        tracing::error!(strategy = %id, %failure, "a strategy could not be recovered: its orders are blocked");
    }
    let (keyframes, not_before) = (session.keyframes.clone(), session.not_before);
    let asked = governor.clone();
    let interval = move || {
        let seconds = asked.system_view().state.policy.canary.interval_seconds;
        Duration::from_secs(u64::from(seconds))
    };
    let mut canary = Canary::new(session, checked.clone(), data, interval).map_err(serve::ServeError::from)?;
    let asked = governor.clone();
    let within = move || Duration::from_millis(checked.borrow().check_timeout_ms);
    canary.add("actors", canary::component(move || beat(asked.clone(), within())));
    for (name, component) in buses.components() {
        canary.add(name, component);
    }
    for (name, component) in buses.shown() {
        canary.add_shown(name, component);
    }
    if let Some(audit) = audit {
        audit.look().await;
        audit.join(&mut canary);
    }
    canary.round().await?;
    let (last_round, feeds) = (canary.last_round(), canary.feeds());
    let recovery = Recovery { took: started.elapsed(), events };
    let connections = buses.statuses();
    Ok((Governed { governor, keyframes, last_round, feeds, connections, not_before, recovery }, canary))
}

/// Writes the last events of a service that ends into the audit database; what cannot be written the next one writes.
async fn bring_up(database: Database, governor: &Governor, limit: Duration) {
    let reader = governor.reader();
    let mut sink = Sink::new(database, reader.clone());
    let left = match tokio::time::timeout(limit, audit_db::catch_up(&mut sink, reader, &mut |_| {})).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => telemetry::chain(&error),
        Err(_elapsed) => format!("it took longer than {limit:?}"),
    };
    tracing::warn!(left, "the audit database was left behind the log: the next start brings it the rest");
}

/// Whether every gate answers.
async fn beat(governor: Governor, within: Duration) -> Result<(), Fault> {
    serve::app::silent(&governor, within / 2).await.map_or(Ok(()), |said| Err(said.into()))
}

/// Serves until a signal ends it.
async fn until_told(
    mut reload: Reload<'_>,
    mut hang_up: Signal,
    keys: Keys,
    governed: Option<(Governed, Buses)>,
) -> Result<Exit, CliError> {
    let limit = Duration::from_secs(reload.settings.server.shutdown_seconds);
    let (governed, buses) = governed.unzip();
    let app = web::Data::new(App::new(reload.settings.clone(), keys, governed).map_err(serve::ServeError::from)?);
    let Listening { server, addresses, certificate } = serve::listen(&app)?;
    let scheme = if certificate.is_some() { "https" } else { "http" };
    for address in &addresses {
        print::out(format_args!("listening on {scheme}://{address}\n"))?;
    }
    let hang_up_buses = CancellationToken::new();
    let running = buses.map(|buses| buses.start(&app, &hang_up_buses)).unwrap_or_default();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    // A key that is revoked is out within a second.
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => app.refresh_keys(),
            _ = hang_up.recv() => reload.again(&app, certificate.as_deref()),
        }
    }
    print::note(styled(DIM, "stopping: no new work; what is under way is finished"));
    app.close();
    hang_up_buses.cancel();
    // What has not ended by itself within the limit is cut off; the log is closed all the same.
    let stopped = tokio::time::timeout(limit, handle.stop(true)).await;
    if stopped.is_err() {
        print::note(format_args!("{}: requests were cut off after {limit:?}", styled(WARN, "stopped")));
    }
    for one in running {
        if tokio::time::timeout(limit, one).await.is_err() {
            print::note(format_args!("{}: a bus was cut off after {limit:?}", styled(WARN, "stopped")));
        }
    }
    match serving.await {
        Ok(Err(source)) => Err(serve::ServeError::Server(source).into()),
        Ok(Ok(())) | Err(_) => Ok(Exit::Done),
    }
}

fn listen_for(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|source| serve::ServeError::Server(source).into())
}
