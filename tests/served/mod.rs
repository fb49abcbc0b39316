//! The program as a service, for one test: started on a free port, asked over HTTP, gone afterwards.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Once, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::{Desk, Said};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service that runs. What it says on standard error is in the file `stderr` of its desk.
pub(crate) struct Served {
    pub(crate) desk: Desk,
    /// `http://127.0.0.1:PORT`
    pub(crate) address: String,
    /// Of the role admin.
    pub(crate) key: String,
    pub(crate) client: reqwest::blocking::Client,
    child: Child,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with("", &[])
    }

    /// With these settings (TOML) and these arguments behind `serve`.
    pub(crate) fn with(settings: &str, args: &[&str]) -> Self {
        let desk = Desk::new();
        desk.write("ephor.toml", settings);
        let key = key_of(&desk, "desk", "admin");
        Self::at(desk, key, args)
    }

    /// On a desk that is there already, with nothing governed.
    pub(crate) fn disabled(desk: Desk, key: String) -> Self {
        Self::start(desk, key, &["serve", "--bind", "127.0.0.1:0"])
    }

    /// On a desk that is there already.
    pub(crate) fn at(desk: Desk, key: String, args: &[&str]) -> Self {
        Self::start(desk, key, &[&["serve", "--enabled", "--bind", "127.0.0.1:0"], args].concat())
    }

    /// The same; the program's id is told while it starts.
    pub(crate) fn told(desk: Desk, key: String, pid: &mpsc::Sender<u32>) -> Self {
        Self::spawned(desk, key, &["serve", "--enabled", "--bind", "127.0.0.1:0"], |id| pid.send(id).unwrap())
    }

    fn start(desk: Desk, key: String, args: &[&str]) -> Self {
        Self::spawned(desk, key, args, |_| ())
    }

    fn spawned(desk: Desk, key: String, args: &[&str], begun: impl FnOnce(u32)) -> Self {
        PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        let mut command = desk.program(args);
        let said = File::options().create(true).append(true).open(desk.path("stderr")).unwrap();
        command.env("RUST_BACKTRACE", "0").stdout(Stdio::piped()).stderr(said);
        let mut child = command.spawn().unwrap();
        begun(child.id());
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let client = reqwest::blocking::Client::builder().timeout(PATIENCE).build().unwrap();
        let mut served = Self { desk, address: String::new(), key, client, child };
        served.address = address.unwrap_or_else(|| panic!("it does not listen: {line}{}", served.stderr()));
        served
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn authority(&self) -> &str {
        self.address.split_once("://").unwrap().1
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.desk.path("stderr")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::blocking::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address)).bearer_auth(&self.key)
    }

    /// Status and JSON of an answer.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(reqwest::Method::GET, path))
    }

    /// Status and JSON of an answer.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(reqwest::Method::POST, path).json(body))
    }

    /// Makes a strategy known, at the level where a strategy begins.
    #[track_caller]
    pub(crate) fn register(&self, strategy: &str) {
        let registration = json!({
            "type": "strategy", "id": format!("register-{strategy}"), "ts": "2024-01-01T00:00:00Z",
            "strategy_id": strategy, "initial_capital": "1000000", "currency": "USD",
        });
        let (status, said) = self.post("/v1/reports", &registration);
        assert_eq!(status, 200, "{said}");
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the program to end; gives its exit code.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.stderr());
    }

    /// The desk of a service that has ended.
    pub(crate) fn into_desk(mut self) -> Desk {
        self.ended();
        std::mem::replace(&mut self.desk, Desk::new())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

static PROVIDER: Once = Once::new();

/// A key of this role, as the program prints it.
#[track_caller]
pub(crate) fn key_of(desk: &Desk, name: &str, role: &str) -> String {
    desk.run(&["api-key", "create", "--name", name, "--role", role]).ended(0).out.trim().to_owned()
}

#[track_caller]
fn answer(request: reqwest::blocking::RequestBuilder) -> (u16, Value) {
    let response = request.send().unwrap();
    let status = response.status().as_u16();
    let text = response.text().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A Python of a test's own, made once of what `requirements` (a file) names.
pub(crate) fn python(name: &str, requirements: &str) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = place.join("bin/python");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let wanted = std::fs::read_to_string(&file).unwrap();
    let made = place.join("made-of");
    if std::fs::read_to_string(&made).is_ok_and(|found| found == wanted) {
        return python;
    }
    let ran = |command: &mut std::process::Command| Said::of(&command.output().unwrap()).ended(0);
    ran(std::process::Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    ran(std::process::Command::new(&python).args(install).arg(&file));
    std::fs::write(made, wanted).unwrap();
    python
}
