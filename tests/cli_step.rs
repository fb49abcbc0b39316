//! The terminal view in a real terminal: what it shows, what its keys do, and how it leaves the terminal.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod cli;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use cli::{Desk, demo};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use serde_json::Value;

const STRATEGY: &str = "EMAX-GBPUSD-M5-001";
/// A loaded machine is slow; a terminal that never comes to it is a failure.
const PATIENCE: Duration = Duration::from_mins(1);

/// A terminal with something running in it.
struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    shown: Arc<Mutex<vt100::Parser>>,
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

impl Terminal {
    /// Runs a line of shell in a terminal of 80x24, in this directory.
    fn run(line: &str, dir: &Path) -> Self {
        let pair = native_pty_system().openpty(size(80, 24)).unwrap();
        let mut command = CommandBuilder::new("/bin/sh");
        command.args(["-c", line]);
        command.cwd(dir);
        command.env("TERM", "xterm-256color");
        for name in ["EPHOR_DATA", "EPHOR_CONFIG", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"] {
            command.env_remove(name);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let shown = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let mut output = pair.master.try_clone_reader().unwrap();
        let to = Arc::clone(&shown);
        spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                match output.read(&mut bytes) {
                    Ok(count) if count > 0 => to.lock().unwrap().process(&bytes[..count]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => break,
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self { master: pair.master, keys, child, shown }
    }

    /// The view, with the terminal's settings noted before and after it, and then its exit code.
    fn view(desk: &Desk, arguments: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_ephor");
        let line =
            format!("stty -g >before; {program} step {arguments}; echo ended with $?; stty -g >after; read line");
        Self::run(&line, desk.path("").as_path())
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn contents(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    /// Waits until the screen is as wanted, and gives its text.
    #[track_caller]
    fn wait(&self, wanted: &str, is: impl Fn(&vt100::Screen) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if is(self.shown.lock().unwrap().screen()) {
                return self.contents();
            }
            assert!(Instant::now() < until, "never came to this: {wanted}\n{}", self.contents());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the screen shows a text.
    #[track_caller]
    fn shows(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contents().contains(text))
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.shown.lock().unwrap().screen_mut().set_size(rows, columns);
        self.master.resize(size(columns, rows)).unwrap();
    }

    /// The view has ended with this code and left the terminal as it was.
    #[track_caller]
    fn ended(&mut self, desk: &Desk, code: i32) -> String {
        let text = self.wait(&format!("ended with {code}"), |screen| {
            screen.contents().contains(&format!("ended with {code}")) && !screen.alternate_screen()
        });
        assert!(!self.shown.lock().unwrap().screen().hide_cursor(), "the cursor is shown again");
        self.press("\n");
        self.child.wait().unwrap();
        let noted = |name: &str| fs::read_to_string(desk.path(name)).unwrap();
        assert_eq!(noted("before"), noted("after"), "echo and the rest are as before");
        text
    }
}

/// A directory of one's own with the demonstration's log in it.
fn desk() -> Desk {
    static GOVERNED: OnceLock<Desk> = OnceLock::new();
    let original = GOVERNED.get_or_init(|| {
        let desk = Desk::new();
        desk.govern(fs::read(demo()).unwrap());
        desk
    });
    let desk = Desk::new();
    copy(&original.path("ephor-data"), &desk.path("ephor-data"));
    desk
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The strategy's events, oldest first.
fn events(desk: &Desk) -> Vec<Value> {
    let out = desk.run(&["events", "--stream", STRATEGY, "--json"]).ended(0).out;
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the header says of an event.
fn headed(event: &Value, of: usize) -> String {
    format!("v{} of {of}  seq {}", event["version"], event["seq"])
}

#[test]
fn the_view_begins_at_the_end_and_goes_through_every_event() {
    let desk = desk();
    let events = events(&desk);
    let count = events.len();
    let mut terminal = Terminal::view(&desk, STRATEGY);
    terminal.shows(&headed(&events[count - 1], count));
    for part in
        [STRATEGY, "L0_shadow", "level", "stopped by", "health", "equity", "drawdown", "? keys", "HealthUpdated"]
    {
        terminal.shows(part);
    }
    terminal.wait("a plot", |screen| screen.contents().contains('█'));
    assert!(terminal.shown.lock().unwrap().screen().alternate_screen());

    // Back to the last trade and what it changed, against the state that the program prints.
    let place = events.iter().rposition(|event| event["type"] == "TradeClosed").unwrap();
    for event in events[place..count - 1].iter().rev() {
        terminal.press("k");
        terminal.shows(&headed(event, count));
    }
    let version = events[place]["version"].as_u64().unwrap();
    let trades = |version: u64| {
        let state = desk.run(&["state", STRATEGY, "--version", &version.to_string(), "--json"]).ended(0).json();
        let record = &state["state"]["maturity"]["evidence"];
        format!("{}/{}", record["trades"], record["wins"])
    };
    let (before, after) = (trades(version - 1), trades(version));
    assert_ne!(before, after);
    terminal.shows(&format!("* trades/won    {after}, was {before}"));
    terminal.shows("  level ");

    terminal.press("\u{1b}[H");
    terminal.shows(&headed(&events[0], count));
    terminal.press("\u{1b}[C");
    terminal.shows(&headed(&events[1], count));
    terminal.press("\u{1b}[6~");
    terminal.shows(&headed(&events[14], count));
    terminal.press("q");
    terminal.ended(&desk, 0);
}

#[test]
fn a_jump_finds_the_demotion_that_why_explains() {
    let desk = desk();
    let events = events(&desk);
    let why = desk.run(&["why", STRATEGY, "--last", "demotion", "--json"]).ended(0).json();
    let mut terminal = Terminal::view(&desk, STRATEGY);
    terminal.shows("seq");
    terminal.press("N");
    terminal.shows(&headed(&why["event"], events.len()));
    terminal.shows("* level         L0_shadow, was L1_paper");
    terminal.shows("demoted from L1_paper to L0_shadow");
    terminal.press("N");
    terminal.shows("there is no demotion before this event");
    terminal.press("<n");
    terminal.shows(&headed(&why["event"], events.len()));
    terminal.press("s");
    let pause = events.iter().find(|event| event["type"] == "StrategyPaused").unwrap();
    terminal.shows(&headed(pause, events.len()));
    terminal.press("\u{3}");
    terminal.ended(&desk, 0);
}

#[test]
fn a_filter_leaves_only_the_types_chosen() {
    let desk = desk();
    let events = events(&desk);
    let trades: Vec<&Value> = events.iter().filter(|event| event["type"] == "TradeClosed").collect();
    let mut terminal = Terminal::view(&desk, STRATEGY);
    terminal.shows("seq");
    terminal.press("f");
    let types = terminal.shows("a shows all");
    let down =
        types.lines().filter(|line| line.contains("[ ]")).take_while(|line| !line.contains("TradeClosed")).count();
    terminal.press(&"j".repeat(down));
    terminal.press(" \r");
    terminal.shows(&format!("TradeClosed ({0} of {0} TradeClosed)", trades.len()));
    terminal.press("kk");
    terminal.shows(&headed(trades[trades.len() - 3], events.len()));
    let is_trade = |seq: u64| trades.iter().any(|trade| trade["seq"] == seq);
    terminal.wait("only trades", |screen| {
        let text = screen.contents();
        let words = text.lines().filter_map(|line| line.trim_start_matches('>').split_whitespace().next());
        let seqs: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        seqs.len() == 14 && seqs.into_iter().all(is_trade)
    });
    terminal.press("fa");
    terminal.shows("signal ");
    terminal.press("q");
    terminal.ended(&desk, 0);
}

#[test]
fn a_place_is_gone_to_by_seq_version_or_time_and_a_wrong_one_says_what_would_do() {
    let desk = desk();
    let events = events(&desk);
    let mut terminal = Terminal::view(&desk, &format!("{STRATEGY} --version 3"));
    terminal.shows(&headed(&events[2], events.len()));
    for (written, place) in [
        ("v100".to_owned(), 99),
        (events[41]["seq"].to_string(), 41),
        ("2012-02-15".to_owned(), usize::MAX),
        ("2030-01-01".to_owned(), events.len() - 1),
    ] {
        terminal.press(&format!("g{written}"));
        terminal.shows(&format!("go to {written}"));
        terminal.press("\r");
        if place == usize::MAX {
            let state = desk.run(&["state", STRATEGY, "--at", &written, "--json"]).ended(0).json();
            terminal.shows(&format!("v{} of {}", state["version"], events.len()));
        } else {
            terminal.shows(&headed(&events[place], events.len()));
        }
    }
    for (written, said) in [
        ("99999999", "it goes from 1 to"),
        ("v0", "has no version 0"),
        ("noon", "give a time such as"),
        ("2001-01-01", "is before the log"),
    ] {
        terminal.press(&format!("g{written}\r"));
        terminal.shows(said);
        terminal.press("k");
        terminal.shows("? keys");
    }
    terminal.press("q");
    terminal.ended(&desk, 0);
}

#[test]
fn every_size_is_drawn_on_or_told_that_it_is_too_small() {
    let desk = desk();
    let mut terminal = Terminal::view(&desk, STRATEGY);
    terminal.shows("stopped by");
    terminal.press("?");
    terminal.shows("next, previous demotion");
    terminal.press("?");
    terminal.wait("the help is gone", |screen| !screen.contents().contains("next, previous"));
    for (columns, rows, text) in [
        (120, 40, "capital"),
        (50, 30, "─ state"),
        (40, 12, "─ state"),
        (39, 24, "too small: 39x24"),
        (80, 5, "too small: 80x5"),
        (20, 4, "too small"),
        (80, 24, "stopped by"),
    ] {
        terminal.resize(columns, rows);
        terminal.shows(text);
        terminal.press("k");
    }
    terminal.press("q");
    terminal.ended(&desk, 0);
}

#[test]
fn a_signal_ends_the_view_and_leaves_the_terminal_as_it_was() {
    let desk = desk();
    let program = env!("CARGO_BIN_EXE_ephor");
    let line = format!(
        "stty -g >before; sh -c 'echo $$ >pid; exec {program} step {STRATEGY}'; echo ended with $?; stty -g >after; \
         read line"
    );
    let mut terminal = Terminal::run(&line, desk.path("").as_path());
    terminal.shows("stopped by");
    let pid = fs::read_to_string(desk.path("pid")).unwrap();
    let sent = std::process::Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap();
    assert!(sent.success());
    terminal.ended(&desk, 130);
}

/// A view whose terminal had been closed went on for ever, looking for keys as fast as it could.
#[test]
fn a_terminal_that_goes_away_takes_the_view_with_it() {
    let desk = desk();
    let line = format!("stty rows 24 columns 80; echo $$ >pid; exec {} step {STRATEGY}", env!("CARGO_BIN_EXE_ephor"));
    let mut owner = std::process::Command::new("script")
        .args(["--quiet", "--flush", "--command", &line, "/dev/null"])
        .current_dir(desk.path(""))
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = owner.stdout.take().unwrap();
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    while !seen.contains(STRATEGY) {
        let count = shown.read(&mut bytes).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    let process = Path::new("/proc").join(fs::read_to_string(desk.path("pid")).unwrap().trim());
    assert!(process.exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let until = Instant::now() + PATIENCE;
    let runs = || fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while runs() {
        assert!(Instant::now() < until, "it runs on without a terminal");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_log_that_breaks_under_the_view_ends_it_with_a_sentence() {
    let desk = desk();
    let mut terminal = Terminal::view(&desk, STRATEGY);
    terminal.shows("stopped by");
    for entry in fs::read_dir(desk.path("ephor-data").join("log")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        for place in (64..bytes.len()).step_by(97) {
            bytes[place] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    terminal.press("<");
    let said = terminal.ended(&desk, 3);
    assert!(said.contains("failed"), "{said}");
}

/// Plays both sides: started by itself in a terminal, it takes the terminal over and panics.
#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    const ROLE: &str = "EPHOR_TEST_PANICS_IN_A_VIEW";
    if std::env::var_os(ROLE).is_some() {
        let mut screen = ephor::screen::Screen::open().unwrap();
        screen.draw(|frame| frame.render_widget("taken over", frame.area())).unwrap();
        std::io::stdin().read_exact(&mut [0]).unwrap();
        panic!("the view has a fault");
    }
    let desk = Desk::new();
    let program = std::env::current_exe().unwrap();
    let name = "a_panic_gives_the_terminal_back_before_it_speaks";
    let line = format!(
        "stty -g >before; RUST_BACKTRACE=0 {ROLE}=1 {} --exact {name} --nocapture; echo ended with $?; stty -g >after; read line",
        program.display()
    );
    let mut terminal = Terminal::run(&line, desk.path("").as_path());
    terminal.wait("the view", |screen| screen.alternate_screen() && screen.contents().contains("taken over"));
    terminal.press("x");
    let said = terminal.ended(&desk, 101);
    assert!(said.contains("the view has a fault"), "{said}");
}

#[test]
fn without_a_terminal_or_a_strategy_it_says_what_would_do() {
    let desk = desk();
    for (arguments, said) in [
        (vec!["step", STRATEGY], "needs a terminal"),
        (vec!["step", STRATEGY, "--json"], "has no JSON"),
        (vec!["step", "EMAX-GBPUSD"], "did you mean EMAX-GBPUSD-M5-001"),
    ] {
        let ran = desk.run(&arguments).ended(2);
        assert!(ran.err.contains(said) && ran.out.is_empty() || ran.out.contains(said), "{ran:#?}");
    }
    let help = desk.run(&["step", "--help"]).ended(0).out;
    assert!(help.contains("Example: ephor step"), "{help}");
}
