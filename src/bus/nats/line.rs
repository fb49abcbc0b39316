//! A connection to a NATS server, and what is shown to be let in.

use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::{Client, ConnectOptions, Event};
use tokio_util::sync::CancellationToken;

use super::{failed, said};
use crate::bus::BusError;
use crate::keys;
use crate::settings::{Nats, NatsAuth, NatsTls};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that stands, until it is lost.
pub struct Line {
    /// Speaks to the server.
    pub client: Client,
    /// Speaks to its streams.
    pub streams: Context,
    lost: CancellationToken,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// [`BusError`]: a file cannot be used, or the server cannot be reached.
    pub async fn open(settings: &Nats) -> Result<Self, BusError> {
        let lost = CancellationToken::new();
        let tell = lost.clone();
        let options = ConnectOptions::new()
            .name(format!("ephor {}", settings.name))
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .max_reconnects(1)
            .event_callback(move |event| {
                match &event {
                    Event::Disconnected | Event::Closed | Event::LameDuckMode => tell.cancel(),
                    Event::ServerError(_) | Event::ClientError(_) | Event::SlowConsumer(_) => {
                        tracing::warn!(%event, "said by the NATS connection");
                    }
                    Event::Connected | Event::Draining => {}
                }
                std::future::ready(())
            });
        let options = secured(authenticated(options, settings)?, settings.tls.as_ref())?;
        let servers: &[String] = &settings.servers;
        let client = options.connect(servers).await.map_err(failed("connect to NATS"))?;
        let streams = ContextBuilder::new().timeout(PATIENCE).ack_timeout(PATIENCE).build(client.clone());
        Ok(Self { client, streams, lost })
    }

    /// A stream that must be there.
    ///
    /// # Errors
    /// [`BusError::NotSetUp`] where it is not.
    pub async fn stream(&self, name: &str) -> Result<Stream<Info>, BusError> {
        use async_nats::jetstream::ErrorCode;
        use async_nats::jetstream::context::GetStreamErrorKind;
        self.streams.get_stream(name).await.map_err(|error| {
            if let GetStreamErrorKind::JetStream(told) = error.kind()
                && told.error_code() == ErrorCode::STREAM_NOT_FOUND
            {
                let problem = format!("there is no stream {name}: `ephor bus setup` makes it");
                return BusError::NotSetUp { problem };
            }
            failed("ask for a stream")(error)
        })
    }

    /// What `work` gives, unless the connection is lost before.
    ///
    /// # Errors
    /// [`BusError::Unreachable`]; what `work` says.
    pub async fn unless_lost<T>(&self, work: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(said("hold the connection to NATS")("it was lost".into())),
            done = work => done,
        }
    }
}

fn secret(path: &std::path::Path) -> Result<String, BusError> {
    let secret = keys::secret(path).map_err(failed("read what NATS is shown"))?;
    Ok(secret.trim().to_owned())
}

fn authenticated(options: ConnectOptions, settings: &Nats) -> Result<ConnectOptions, BusError> {
    let Some(auth) = &settings.auth else { return Ok(options) };
    Ok(match auth {
        NatsAuth::Creds(path) => {
            // Each part of it ends with a line of its own.
            let credentials = secret(path)? + "\n";
            options.credentials(&credentials).map_err(failed("read the credentials file"))?
        }
        NatsAuth::Nkey(path) => options.nkey(secret(path)?),
        NatsAuth::Token(path) => options.token(secret(path)?),
        NatsAuth::UserPassword(path) => {
            let found = secret(path)?;
            let Some((user, password)) = found.split_once(':') else {
                let problem = format!("{}: expected USER:PASSWORD", path.display());
                return Err(BusError::NotSetUp { problem });
            };
            options.user_and_password(user.to_owned(), password.to_owned())
        }
    })
}

fn secured(options: ConnectOptions, tls: Option<&NatsTls>) -> Result<ConnectOptions, BusError> {
    let Some(NatsTls { ca, certificate, key }) = tls else { return Ok(options) };
    let mut options = options.require_tls(true);
    if let Some(ca) = ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(certificate), Some(key)) = (certificate, key) {
        secret(key)?;
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}
