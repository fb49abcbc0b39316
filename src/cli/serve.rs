//! `ephor serve`: the service, until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::web;
use ephor_actors::Config;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print::{self, DIM, WARN, styled};
use super::{CliError, Exit, Global};
use crate::serve::app::{App, Governed, Keys};
use crate::serve::tls::Certificate;
use crate::serve::{self, Listening};
use crate::settings::{Overrides, Settings};
use crate::store::{self, Session};

/// Serve the HTTP API: engines ask before every order, operators act
#[derive(clap::Args)]
#[command(after_help = "Whoever asks needs a key: ephor api-key create --name desk --role engine\n\n\
                        Example: ephor serve --enabled --bind 127.0.0.1:8750")]
pub(super) struct Args {
    /// Address to listen on, instead of server.bind
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<SocketAddr>,
    /// Govern, whatever governance.enabled says
    #[arg(long)]
    enabled: bool,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let overrides = Overrides { bind: args.bind, enabled: args.enabled.then_some(true) };
    let settings = Settings::load_with(global.config.as_deref(), &overrides)?;
    let keys = Keys::open(&global.data)?;
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
            until_told(to_serve, keys, Some(session)).await
        })
    } else {
        print::note(format_args!(
            "{}: governance.enabled is false, so every order is allowed and nothing is recorded",
            styled(WARN, "not governing")
        ));
        store::block_on(until_told(settings, keys, None))
    }
}

/// Serves until a signal ends it.
async fn until_told(settings: Settings, keys: Keys, session: Option<Session>) -> Result<Exit, CliError> {
    let limit = Duration::from_secs(settings.server.shutdown_seconds);
    let governed = session.map(|session| Governed { governor: session.governor, keyframes: session.keyframes });
    let app = web::Data::new(App::new(settings, keys, governed).map_err(serve::ServeError::from)?);
    let Listening { server, addresses, certificate } = serve::listen(&app)?;
    let scheme = if certificate.is_some() { "https" } else { "http" };
    for address in &addresses {
        print::out(format_args!("listening on {scheme}://{address}\n"))?;
    }
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let mut hang_up = listen_for(SignalKind::hangup())?;
    // A key that is revoked is out within a second.
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => app.refresh_keys(),
            _ = hang_up.recv() => reload(&app, certificate.as_deref()),
        }
    }
    print::note(styled(DIM, "stopping: no new work; what is under way is finished"));
    app.close();
    // What has not ended by itself within the limit is cut off; the log is closed all the same.
    let stopped = tokio::time::timeout(limit, handle.stop(true)).await;
    if stopped.is_err() {
        print::note(format_args!("{}: requests were cut off after {limit:?}", styled(WARN, "stopped")));
    }
    match serving.await {
        Ok(Err(source)) => Err(serve::ServeError::Server(source).into()),
        Ok(Ok(())) | Err(_) => Ok(Exit::Done),
    }
}

fn listen_for(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|source| serve::ServeError::Server(source).into())
}

/// Reads again what can be read again while serving.
fn reload(app: &App, certificate: Option<&Certificate>) {
    app.refresh_keys();
    if let Some(Err(error)) = certificate.map(Certificate::reload) {
        tracing::error!(%error, "the certificate could not be read again: the one before stays");
    }
    tracing::info!("keys and certificate were read again");
}
