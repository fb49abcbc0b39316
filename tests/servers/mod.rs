//! Servers for one test each: on a port of their own, with a directory of their own, gone afterwards.

use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::State;
use async_nats::jetstream::{self, Context};
use futures::StreamExt;
use serde_json::Value;

use crate::installed;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A NATS server with JetStream.
pub(crate) struct Nats {
    dir: tempfile::TempDir,
    port: u16,
    config: String,
    child: Option<Child>,
}

/// A message as it lies in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) subject: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
}

impl Kept {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        &found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }
}

impl Nats {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With these lines in its configuration.
    pub(crate) fn with(config: &str) -> Self {
        // Nobody else gets the port: the listener is closed only when the server is about to take it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = config.to_owned();
        let mut nats = Self { dir: tempfile::tempdir().unwrap(), port, config, child: None };
        nats.start();
        nats
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(&mut self) {
        let config = self.dir.path().join("nats.conf");
        let store = self.dir.path().join("store");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\" }}\n{}\n",
            self.port,
            store.display(),
            self.config
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = installed::command("usr/sbin/nats-server", "nats-server");
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "the server does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it, as `kill -9` would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Does something with its streams, on a connection of its own.
    pub(crate) fn with_streams<T, F: Future<Output = T>>(&self, work: impl FnOnce(Context) -> F) -> T {
        let url = self.url();
        runtime().block_on(async {
            let client = async_nats::connect(url).await.unwrap();
            let streams = jetstream::new(client.clone());
            let done = work(streams).await;
            client.flush().await.unwrap();
            done
        })
    }

    pub(crate) fn state(&self, stream: &str) -> State {
        self.with_streams(
            |streams| async move { streams.get_stream(stream).await.unwrap().cached_info().state.clone() },
        )
    }

    /// Publishes messages and waits until they are kept.
    pub(crate) fn publish(&self, subject: &str, payloads: impl IntoIterator<Item = String>) {
        self.with_streams(|streams| async move {
            let mut under_way = std::collections::VecDeque::new();
            for payload in payloads {
                under_way.push_back(streams.publish(subject.to_owned(), payload.into()).await.unwrap());
                if under_way.len() > 1_000 {
                    under_way.pop_front().unwrap().await.unwrap();
                }
            }
            for ack in under_way {
                ack.await.unwrap();
            }
        });
    }

    /// Everything that a stream holds, in its order.
    pub(crate) fn messages(&self, stream: &str) -> Vec<Kept> {
        let count = usize::try_from(self.state(stream).messages).unwrap();
        self.with_streams(|streams| async move {
            let stream = streams.get_stream(stream).await.unwrap();
            let config = pull::Config {
                ack_policy: AckPolicy::None,
                deliver_policy: DeliverPolicy::All,
                ..pull::Config::default()
            };
            let consumer = stream.create_consumer(config).await.unwrap();
            let mut messages = consumer.messages().await.unwrap();
            let mut kept = Vec::with_capacity(count);
            while kept.len() < count {
                let message = tokio::time::timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
                let headers = message.headers.iter().flat_map(|headers| headers.iter());
                let headers = headers.flat_map(|(name, values)| {
                    values.iter().map(move |value| (name.to_string(), value.as_str().to_owned()))
                });
                kept.push(Kept {
                    subject: message.subject.to_string(),
                    headers: headers.collect(),
                    payload: message.payload.to_vec(),
                });
            }
            kept
        })
    }

    /// Messages that a consumer has still to take or to acknowledge.
    pub(crate) fn outstanding(&self, stream: &str, durable: &str) -> u64 {
        self.with_streams(|streams| async move {
            let stream = streams.get_stream(stream).await.unwrap();
            let info = stream.consumer_info(durable).await.unwrap();
            info.num_pending + u64::try_from(info.num_ack_pending).unwrap()
        })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
