//! An MQTT broker for one test: on a port of its own, with a directory of its own, gone afterwards.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test waits for one packet among all")]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{Client, Connection, Event, MqttOptions};

use crate::installed;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A broker of this test's own, which keeps on disk what it has acknowledged.
pub(crate) struct Broker {
    dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) child: Child,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self::with(|_| "allow_anonymous true\n".to_owned())
    }

    /// With these lines in its configuration; they may name files that are put into its directory.
    pub(crate) fn with(config: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = config(dir.path());
        let settings = format!(
            "listener {port} 127.0.0.1\n{config}persistence true\npersistence_location {}/\nautosave_interval 1\n\
             max_queued_messages 0\nmax_inflight_messages 200\nuser root\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("mosquitto.conf"), settings).unwrap();
        let child = start(&dir, port);
        Self { dir, port, child }
    }

    /// Starts it again, after it has ended.
    pub(crate) fn start(&mut self) {
        self.child = start(&self.dir, self.port);
    }

    /// Ends it in an orderly way and starts it again on what it kept.
    pub(crate) fn restart(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap();
        self.child = start(&self.dir, self.port);
    }

    /// A file in its directory.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn client(&self, name: &str) -> (Client, Connection) {
        let mut options = MqttOptions::new(name, "127.0.0.1", self.port);
        options.set_clean_start(false).set_session_expiry_interval(Some(600)).set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(Some(4 << 20)).set_receive_maximum(Some(1_000));
        Client::new(options, 10_000)
    }

    /// Publishes lines in their order; comes back when the broker has them all.
    pub(crate) fn publish(&self, topic: &str, lines: &[String]) {
        let (client, mut connection) = self.client("engine");
        let mut left = lines.len();
        for part in lines.chunks(1_000) {
            for line in part {
                client.publish(topic, QoS::AtLeastOnce, false, line.clone()).unwrap();
            }
            let mut here = part.len();
            while here > 0 {
                if let Event::Incoming(Packet::PubAck(_)) = connection.recv().unwrap().unwrap() {
                    here -= 1;
                }
            }
            left -= part.len();
        }
        assert_eq!(left, 0);
        client.disconnect().unwrap();
        while !matches!(connection.recv(), Err(_) | Ok(Err(_) | Ok(Event::Outgoing(Outgoing::Disconnect)))) {}
    }

    /// Listens on topics from now on, in a session of this name.
    pub(crate) fn listen(&self, name: &str, topic: &str) -> Listener {
        let (client, mut connection) = self.client(name);
        client.subscribe(topic, QoS::AtLeastOnce).unwrap();
        // What a session was kept for comes before the answer.
        let mut held = Vec::new();
        loop {
            match connection.recv().unwrap().unwrap() {
                Event::Incoming(Packet::Publish(publish)) => held.push(publish),
                Event::Incoming(Packet::SubAck(_)) => return Listener { _client: client, connection, held },
                _ => {}
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(dir: &tempfile::TempDir, port: u16) -> Child {
    let mut command = installed::command("usr/sbin/mosquitto", "mosquitto");
    command.arg("-c").arg(dir.path().join("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < PATIENCE, "the broker does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

pub(crate) struct Listener {
    _client: Client,
    connection: Connection,
    held: Vec<Publish>,
}

impl Listener {
    /// Messages until none has come for a while.
    pub(crate) fn messages(&mut self, silence: Duration) -> Vec<Publish> {
        let mut found = std::mem::take(&mut self.held);
        while let Ok(event) = self.connection.recv_timeout(silence) {
            if let Ok(Event::Incoming(Packet::Publish(publish))) = event {
                found.push(publish);
            }
        }
        found
    }
}
