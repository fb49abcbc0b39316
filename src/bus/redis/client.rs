//! Connections to a Redis server: address, credentials, TLS and limits as the settings say.
//!
//! Credentials are read anew for every connection, so a password may be changed without a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ErrorKind, IntoConnectionInfo, TlsCertificates};

use crate::bus::BusError;
use crate::canary::Fault;
use crate::{keys, settings};

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may take, beyond what a command waits by itself.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A server, and how to come to it.
#[derive(Clone, Debug)]
pub struct Server {
    url: String,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Server {
    /// As the settings say. Nothing is connected yet.
    #[must_use]
    pub fn new(settings: &settings::Redis) -> Self {
        Self {
            url: settings.url.clone(),
            username: settings.username.clone(),
            password_file: settings.password_file.clone(),
            ca: settings.ca.clone(),
            client: settings.certificate.clone().zip(settings.key.clone()),
        }
    }

    /// A new connection, on which every answer comes within a time.
    pub(super) async fn connect(&self, answer_within: Duration) -> Result<MultiplexedConnection, BusError> {
        let client = self.client().map_err(BusError::unreachable("prepare a connection to Redis"))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(answer_within));
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(failed("connect to Redis"))
    }

    fn client(&self) -> Result<Client, Fault> {
        let mut info = self.url.as_str().into_connection_info()?;
        let mut login = info.redis_settings().clone().set_lib_name("ephor", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        if let Some(path) = &self.password_file {
            let password = keys::secret(path)?;
            login = login.set_password(password);
        }
        info = info.set_redis_settings(login);
        if self.ca.is_none() && self.client.is_none() {
            return Ok(Client::open(info)?);
        }
        let root_cert = self.ca.as_deref().map(public).transpose()?;
        let client_tls = match &self.client {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: public(certificate)?, client_key: keys::secret(key)?.into_bytes() })
            }
            None => None,
        };
        Ok(Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })?)
    }
}

/// A file that anyone may read.
fn public(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| format!("read {} failed: {error}", path.display()).into())
}

/// What was tried on a server, and what it said.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(redis::RedisError) -> BusError {
    move |error| match error.code() {
        _any if error.kind() == ErrorKind::AuthenticationFailed => {
            BusError::NotSetUp { problem: format!("{doing} failed: Redis refuses these credentials: {error}") }
        }
        Some("NOGROUP") => BusError::NotSetUp {
            problem: format!("{doing} failed: the stream or its consumer group is not there any more: {error}"),
        },
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => {
            BusError::NotSetUp { problem: format!("{doing} failed: Redis refuses these credentials: {error}") }
        }
        Some(_) | None => BusError::Unreachable { doing, source: error.into() },
    }
}
