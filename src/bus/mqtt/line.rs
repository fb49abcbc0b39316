//! One connection to a broker. Its packets are handled on a task of their own, so that it stays alive whatever waits.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, Packet, PubAckReason, Publish, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::bus::BusError;
use crate::keys::{self, KeysError};
use crate::settings;

const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A broker that does not answer for so long is not there.
const PATIENCE: Duration = Duration::from_secs(20);
/// Publications on their way at once.
const PUBLISHED_MAX: u16 = 512;
/// Packets that wait for whoever reads them, beyond the messages under way.
const WAITING: usize = 4_096;
/// The largest packet that is taken: a broker drops a larger one without a word, so there is room for what will be refused.
const PACKET_BYTES_MAX: u32 = 64 << 20;

/// Why a connection cannot be made as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    /// The password cannot be used.
    #[error(transparent)]
    Secret(#[from] KeysError),
    /// The broker's authority cannot be used.
    #[error("read certificates from {} failed", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What was found.
        source: pem::Error,
    },
    /// TLS cannot be spoken with it.
    #[error("certificates cannot be used")]
    Tls(#[from] rustls::Error),
    /// The broker does not answer.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The connection has ended.
    #[error("the connection has ended")]
    Ended,
    /// The broker refused something.
    #[error("the broker refused it: {0}")]
    Refused(String),
}

impl MqttError {
    /// Whether the same may go well later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Silent | Self::Ended => true,
            Self::Secret(_) | Self::Authority { .. } | Self::Tls(_) | Self::Refused(_) => false,
        }
    }
}

/// A connection.
pub(super) struct Line {
    client: AsyncClient,
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    /// Messages that came while something else was waited for.
    held: VecDeque<Publish>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    /// Connects; `part` tells apart what one Ephor does on one broker.
    pub(super) async fn open(settings: &settings::Mqtt, part: &str, pending: u16) -> Result<Self, BusError> {
        let options = options(settings, part, pending).map_err(broken("prepare the connection"))?;
        let (client, events) = AsyncClient::new(options, usize::from(PUBLISHED_MAX));
        let (to, events_here) = mpsc::channel(WAITING + usize::from(pending));
        let task = tokio::spawn(poll(events, to));
        let mut line = Self { client, events: events_here, held: VecDeque::new(), task };
        line.until("connect to the broker", |packet| {
            matches!(packet, Event::Incoming(Packet::ConnAck(_))).then_some(Ok(()))
        })
        .await?;
        Ok(line)
    }

    /// Waits for one event; messages that come meanwhile are held.
    async fn until<T>(
        &mut self,
        doing: &'static str,
        mut wanted: impl FnMut(&Event) -> Option<Result<T, MqttError>>,
    ) -> Result<T, BusError> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event = event.map_err(|_| broken(doing)(MqttError::Silent))?;
            let event = event.ok_or(MqttError::Ended).map_err(broken(doing))?;
            let event = event.map_err(|error| BusError::Unreachable { doing, source: error.into() })?;
            if let Some(found) = wanted(&event) {
                return found.map_err(broken(doing));
            }
            if let Event::Incoming(Packet::Publish(publish)) = event {
                self.held.push_back(publish);
            }
        }
    }

    pub(super) async fn subscribe(&mut self, topics: &[String]) -> Result<(), BusError> {
        let doing = "subscribe to the topics";
        let filters = topics.iter().map(|topic| Filter::new(topic.clone(), QoS::AtLeastOnce));
        let asked = self.client.subscribe_many(filters).await;
        asked.map_err(|error| BusError::Unreachable { doing, source: error.into() })?;
        let topics = topics.to_vec();
        self.until(doing, |event| {
            let Event::Incoming(Packet::SubAck(answer)) = event else { return None };
            let refused = topics
                .iter()
                .zip(&answer.return_codes)
                .find(|(_, code)| !matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)));
            Some(refused.map_or(Ok(()), |(topic, code)| {
                Err(MqttError::Refused(format!("{topic} with acknowledgement: {code:?}")))
            }))
        })
        .await
    }

    /// The next message. May be dropped at any time.
    pub(super) async fn message(&mut self) -> Result<Publish, BusError> {
        let doing = "wait for a message";
        loop {
            if let Some(publish) = self.held.pop_front() {
                return Ok(publish);
            }
            let event = self.events.recv().await.ok_or(MqttError::Ended).map_err(broken(doing))?;
            let event = event.map_err(|error| BusError::Unreachable { doing, source: error.into() })?;
            if let Event::Incoming(Packet::Publish(publish)) = event {
                return Ok(publish);
            }
        }
    }

    /// Acknowledges messages; comes back when the acknowledgements are sent.
    pub(super) async fn acknowledge(&mut self, messages: &[Publish]) -> Result<(), BusError> {
        let doing = "acknowledge messages";
        // In parts, so that none waits for room that only reading events would make.
        for part in messages.chunks(usize::from(PUBLISHED_MAX)) {
            let mut left: HashSet<u16> = part.iter().map(|publish| publish.pkid).filter(|id| *id != 0).collect();
            for publish in part.iter().filter(|publish| publish.pkid != 0) {
                let asked = self.client.ack(publish).await;
                asked.map_err(|error| BusError::Unreachable { doing, source: error.into() })?;
            }
            if left.is_empty() {
                continue;
            }
            self.until(doing, |event| {
                if let Event::Outgoing(Outgoing::PubAck(id)) = event {
                    left.remove(id);
                }
                left.is_empty().then_some(Ok(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Publishes, for the broker to keep where `retained`; comes back when it has acknowledged all. `false` where nobody
    /// listens to one: what is not retained is nowhere then.
    pub(super) async fn publish(
        &mut self,
        messages: Vec<(String, PublishProperties, Vec<u8>)>,
        retained: bool,
    ) -> Result<bool, BusError> {
        let doing = "publish";
        let mut is_heard = true;
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let mut asked = 0;
            for (topic, properties, payload) in messages.by_ref().take(usize::from(PUBLISHED_MAX)) {
                let sent =
                    self.client.publish_with_properties(topic, QoS::AtLeastOnce, retained, payload, properties).await;
                sent.map_err(|error| BusError::Unreachable { doing, source: error.into() })?;
                asked += 1;
            }
            self.until(doing, |event| {
                let Event::Incoming(Packet::PubAck(answer)) = event else { return None };
                match answer.reason {
                    PubAckReason::Success => {}
                    PubAckReason::NoMatchingSubscribers => is_heard = false,
                    reason @ (PubAckReason::UnspecifiedError
                    | PubAckReason::ImplementationSpecificError
                    | PubAckReason::NotAuthorized
                    | PubAckReason::TopicNameInvalid
                    | PubAckReason::PacketIdentifierInUse
                    | PubAckReason::QuotaExceeded
                    | PubAckReason::PayloadFormatInvalid) => {
                        return Some(Err(MqttError::Refused(format!("{reason:?}"))));
                    }
                }
                asked -= 1;
                (asked == 0).then_some(Ok(()))
            })
            .await?;
        }
        Ok(is_heard)
    }
}

fn broken(doing: &'static str) -> impl FnOnce(MqttError) -> BusError {
    move |error| BusError::Unreachable { doing, source: error.into() }
}

/// Handles packets until the connection ends.
async fn poll(mut events: EventLoop, to: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = events.poll().await;
        let ended = event.is_err();
        if to.send(event).await.is_err() || ended {
            return;
        }
    }
}

fn options(settings: &settings::Mqtt, part: &str, pending: u16) -> Result<MqttOptions, MqttError> {
    let id = settings.client_id.clone().unwrap_or_else(|| format!("ephor-{}", settings.name));
    let mut options = MqttOptions::new(format!("{id}{part}"), settings.host.clone(), settings.port);
    let properties = ConnectProperties {
        session_expiry_interval: Some(settings.session_seconds),
        receive_maximum: Some(pending.max(1)),
        max_packet_size: Some(PACKET_BYTES_MAX),
        ..ConnectProperties::new()
    };
    options
        .set_clean_start(false)
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(PATIENCE.as_secs())
        .set_outgoing_inflight_upper_limit(PUBLISHED_MAX)
        .set_connect_properties(properties);
    if let Some(user) = &settings.username {
        let password = settings.password_file.as_deref().map(keys::secret).transpose()?;
        options.set_credentials(user.clone(), password.unwrap_or_default());
    }
    if let Some(path) = &settings.tls_ca {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls(path)?))));
    }
    Ok(options)
}

fn tls(path: &std::path::Path) -> Result<ClientConfig, MqttError> {
    let authority = |source| MqttError::Authority { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(authority)? {
        roots.add(certificate.map_err(authority)?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
