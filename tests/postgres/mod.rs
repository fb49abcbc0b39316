//! A PostgreSQL server of a test's own: in a directory and on a port of its own, gone afterwards.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

/// The password of everybody over TCP; over the socket nobody needs one.
pub(crate) const PASSWORD: &str = "s3cret-of-the-test";

/// A server that runs, or ran.
pub(crate) struct Postgres {
    dir: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    options: String,
}

static INSTALL: Once = Once::new();

/// Where the newest installed server's programs are.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let dirs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    dirs.filter(|dir| dir.join("initdb").is_file()).max()
}

fn installed() -> PathBuf {
    INSTALL.call_once(|| {
        if programs().is_none() {
            let apt =
                |args: &[&str]| Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").output();
            drop(apt(&["update", "--quiet"]));
            drop(apt(&["install", "--quiet", "--yes", "--no-install-recommends", "postgresql"]));
        }
    });
    programs()
        .unwrap_or_else(|| panic!("PostgreSQL is not installed, and apt-get cannot install the package postgresql"))
}

/// A server refuses to be root: then it is the user that its package has made.
fn command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

#[track_caller]
fn done(output: std::io::Result<Output>) -> String {
    let output = output.unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

impl Postgres {
    pub(crate) fn start() -> Self {
        Self::with("-c fsync=off", |_| {})
    }

    /// With options of its own; `prepare` may put files beside its data before it starts.
    pub(crate) fn with(options: &str, prepare: impl FnOnce(&Path)) -> Self {
        let programs = installed();
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        std::fs::write(dir.path().join("password"), PASSWORD).unwrap();
        if is_root() {
            done(Command::new("chown").args(["-R", "postgres"]).arg(dir.path()).output());
        }
        let mut initdb = command(&programs.join("initdb"));
        initdb.args(["-U", "ephor", "-E", "UTF8", "--locale=C", "--no-sync", "--auth-local=trust"]);
        initdb.args(["--auth-host=scram-sha-256", "--pwfile"]).arg(dir.path().join("password"));
        done(initdb.arg("-D").arg(dir.path().join("data")).current_dir("/").output());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let this = Self { dir, programs, port, options: options.to_owned() };
        this.begin();
        this.sql("postgres", "CREATE DATABASE audit");
        this
    }

    fn control(&self, args: &[&str]) {
        let mut control = command(&self.programs.join("pg_ctl"));
        control.arg("-D").arg(self.path("data")).args(args);
        // The server keeps what it was started with open: its output must not be a pipe that somebody waits for.
        let said = std::fs::File::create(std::env::temp_dir().join(format!("pg_ctl-{}", self.port))).unwrap();
        control.stdout(said.try_clone().unwrap()).stderr(said).current_dir("/");
        let status = control.status().unwrap();
        let said = std::fs::read_to_string(std::env::temp_dir().join(format!("pg_ctl-{}", self.port))).unwrap();
        drop(std::fs::remove_file(std::env::temp_dir().join(format!("pg_ctl-{}", self.port))));
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(status.success(), "{said}{log}");
    }

    /// Starts it, again.
    pub(crate) fn begin(&self) {
        let Self { port, options, .. } = self;
        let socket = self.dir.path().display();
        let options = format!("-p {port} -k {socket} -c listen_addresses=127.0.0.1 {options}");
        let log = self.path("log");
        self.control(&["-w", "-t", "120", "-l", log.to_str().unwrap(), "-o", &options, "start"]);
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a statement gives, as `psql` prints it: fields by `|`, rows by lines.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql("ephor", database, sql);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// The same as somebody else, however it ends.
    pub(crate) fn psql(&self, user: &str, database: &str, sql: &str) -> Output {
        let port = self.port.to_string();
        let mut psql = Command::new(self.programs.join("psql"));
        psql.arg("-h").arg(self.dir.path()).args(["-p", &port, "-U", user, "-d", database]);
        psql.args(["-AtXq", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap()
    }

    /// `postgres://USER@127.0.0.1:PORT/DATABASE`
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may have been stopped already.
        let mut control = command(&self.programs.join("pg_ctl"));
        drop(control.arg("-D").arg(self.path("data")).args(["-m", "immediate", "stop"]).current_dir("/").output());
    }
}
