//! A Redis server for one test: on a port of its own, with a directory of its own, gone afterwards.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue, ToRedisArgs, Value, cmd};

use crate::installed;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A Redis server that keeps everything it has acknowledged.
pub(crate) struct Redis {
    dir: tempfile::TempDir,
    port: u16,
    args: Vec<String>,
    child: Option<Child>,
}

/// Names and values.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// An entry as it lies in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) fields: Fields,
}

impl Kept {
    /// The first field of a name, as text.
    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(found, _)| found == name);
        std::str::from_utf8(&found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.text("payload")).unwrap()
    }
}

impl Redis {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// With these options of `redis-server`.
    pub(crate) fn with(args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self { dir: tempfile::tempdir().unwrap(), port, args, child: None };
        server.start();
        server
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = server();
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]).args(&self.args);
        self.child = Some(command.spawn().unwrap());
        let started = Instant::now();
        while !self.answers() {
            assert!(started.elapsed() < PATIENCE, "the server does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has read what it had kept and listens.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = [0; 8];
        let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read(&mut answer));
        asked.is_ok_and(|bytes| bytes > 0) && !answer.starts_with(b"-LOADING")
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn connection(&self) -> Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Asks for something.
    #[track_caller]
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut asked = redis::Cmd::new();
        for word in words {
            asked.arg(word);
        }
        asked.query(&mut self.connection()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Adds payloads to a stream, in their order.
    pub(crate) fn publish<T: ToRedisArgs>(&self, key: &str, payloads: impl IntoIterator<Item = T>) {
        let mut adding = redis::pipe();
        for payload in payloads {
            adding.cmd("XADD").arg(key).arg("*").arg("payload").arg(payload).ignore();
        }
        adding.exec(&mut self.connection()).unwrap();
    }

    pub(crate) fn length(&self, key: &str) -> u64 {
        self.ask(&["XLEN", key])
    }

    /// Everything that a stream holds.
    #[track_caller]
    pub(crate) fn entries(&self, key: &str) -> Vec<Kept> {
        let entries: Vec<(String, Fields)> = self.ask(&["XRANGE", key, "-", "+"]);
        entries.into_iter().map(|(id, fields)| Kept { id, fields }).collect()
    }

    /// Entries that a group has not settled: not delivered, or delivered and pending.
    pub(crate) fn outstanding(&self, key: &str, group: &str) -> u64 {
        let groups = cmd("XINFO").arg("GROUPS").arg(key).query::<Vec<Value>>(&mut self.connection());
        // Before there is a stream or a group nothing is settled.
        let Ok(groups) = groups else { return u64::MAX };
        for group_of in groups {
            let Value::Array(parts) = group_of else { panic!("{group_of:?}") };
            let field = |name: &str| {
                let at = parts.iter().position(|part| *part == Value::BulkString(name.into())).unwrap();
                parts.get(at + 1).unwrap()
            };
            if *field("name") != Value::BulkString(group.into()) {
                continue;
            }
            let Value::Int(pending) = field("pending") else { panic!("{parts:?}") };
            let Value::BulkString(last) = field("last-delivered-id") else { panic!("{parts:?}") };
            let behind = format!("({}", String::from_utf8_lossy(last));
            let undelivered: Vec<Value> = self.ask(&["XRANGE", key, &behind, "+", "COUNT", "1000"]);
            return u64::try_from(*pending).unwrap() + undelivered.len() as u64;
        }
        u64::MAX
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server: one program, which does what its name says.
fn server() -> Command {
    let mut command = installed::command("usr/bin/redis-check-rdb", "redis-tools");
    command.arg0("redis-server");
    command
}

/// Waits until it holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "it never came about: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Numbers that look like chance and are the same every time.
pub(crate) fn scattered(round: u64, below: u64) -> u64 {
    let mixed = (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33) % below
}
