//! The HTTP service: an engine asks before every order; operators act; Prometheus watches.
//!
//! Handlers are thin: parse, ask the governor, write the answer. Everything that comes in is bounded (size,
//! number, time, rate), and every handler names in its signature who may call it.

pub mod acts;
pub mod answer;
pub mod app;
pub mod auth;
pub mod body;
pub mod decisions;
pub mod describe;
pub mod digests;
pub mod events;
pub mod figures;
pub mod headers;
mod held;
pub mod idempotency;
pub mod intake;
pub mod measured;
pub mod orders;
pub mod probes;
pub mod problem;
pub mod query;
pub mod reading;
pub mod routes;
pub mod schema;
pub mod strategies;
pub mod stream;
pub mod tls;
pub mod watch;

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::{HttpServer, web};

use crate::settings::TlsError;
use app::App;
use auth::ClientCertificate;
use stream::Line;
use tls::Certificate;

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("listen on {address} failed")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The canary cannot be made.
    #[error(transparent)]
    Canary(#[from] crate::canary::CanaryError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Telemetry(#[from] crate::telemetry::TelemetryError),
    /// TLS cannot be had.
    #[error("TLS cannot be had")]
    Tls(#[from] TlsError),
    /// A metric cannot be.
    #[error("a metric cannot be")]
    Metric(#[from] prometheus::Error),
    /// The server ended with an error.
    #[error("the server ended")]
    Server(#[source] io::Error),
}

/// A server that listens.
pub struct Listening {
    /// To be awaited.
    pub server: Server,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Its certificate, where it has one, to be read again on a reload.
    pub certificate: Option<Arc<Certificate>>,
}

/// Listens where the settings say.
///
/// # Errors
/// [`ServeError`].
pub fn listen(app: &web::Data<App>) -> Result<Listening, ServeError> {
    let settings = app.settings.server.clone();
    let limits = settings.limits.clone();
    let shared = app.clone();
    let factory =
        move || actix_web::App::new().app_data(shared.clone()).configure(routes::configure).wrap(from_fn(watch::watch));
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let server = HttpServer::new(factory)
        .workers(workers)
        .max_connections(limits.connections.div_ceil(workers).max(1))
        .client_request_timeout(Duration::from_millis(limits.head_timeout_ms))
        .client_disconnect_timeout(Duration::from_secs(2))
        .tls_handshake_timeout(Duration::from_millis(limits.head_timeout_ms))
        .shutdown_timeout(settings.shutdown_seconds)
        .disable_signals()
        .on_connect(remember);
    let address = settings.bind;
    let bind = |source| ServeError::Bind { address, source };
    let certificate = settings.tls.as_ref().map(Certificate::read).transpose()?;
    let server = match &certificate {
        Some(certificate) => server.bind_rustls_0_23(address, certificate.config()?).map_err(bind)?,
        None => server.bind(address).map_err(bind)?,
    };
    let addresses = server.addrs();
    Ok(Listening { server: server.run(), addresses, certificate })
}

/// Keeps for the handlers what only the connection knows: the certificate that a client has shown, and a hold on it.
fn remember(connection: &dyn Any, kept: &mut Extensions) {
    use actix_tls::accept::rustls_0_23::TlsStream;
    use actix_web::rt::net::TcpStream;
    let plain = connection.downcast_ref::<TcpStream>();
    let secured = connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref());
    if let Some(line) = plain.or(secured.map(|(stream, _)| stream)) {
        match Line::of(line) {
            Ok(line) => drop(kept.insert(line)),
            Err(error) => tracing::warn!(%error, "a connection could not be held on to: a slow reader will hold it"),
        }
    }
    let certificate = secured.and_then(|(_, session)| session.peer_certificates()).and_then(<[_]>::first);
    if let Some(certificate) = certificate {
        kept.insert(ClientCertificate(certificate.to_vec()));
    }
}
