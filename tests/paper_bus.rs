//! `ephor paper --from`, with real servers: what comes over a bus comes to what it comes to from files, whatever dies
//! meanwhile, and nothing is traded twice.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod servers;
#[expect(dead_code, reason = "each test uses its part")]
mod streams;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cli::{Desk, Said};
use serde_json::{Value, json};
use servers::{Nats, eventually};
use streams::{Redis, scattered};

/// Bars in all; the first of them are the backtest.
const BARS: usize = 400;
const HISTORY: usize = 120;

/// A bus of this name in the settings: `desk`.
trait Bus {
    fn settings(&self) -> String;
    fn publish(&self, messages: &[String]);
    /// What is still to be acknowledged.
    fn outstanding(&self) -> u64;
    /// What was put apart: for each message its code and its reason.
    fn dead(&self, desk: &Desk) -> Vec<(String, String)>;
}

impl Bus for Nats {
    fn settings(&self) -> String {
        let url = self.url();
        format!("[[bus.nats]]\nname = \"desk\"\nservers = [\"{url}\"]\n[bus.nats.input]\nack_wait_seconds = 2\n")
    }

    fn publish(&self, messages: &[String]) {
        Nats::publish(self, "ephor.in.any", messages.iter().cloned());
    }

    fn outstanding(&self) -> u64 {
        Nats::outstanding(self, "EPHOR_IN", "ephor")
    }

    fn dead(&self, _: &Desk) -> Vec<(String, String)> {
        let mut dead = self.messages("EPHOR_DEAD");
        dead.sort_by_key(|kept| kept.header("Ephor-Stream-Seq").parse::<u64>().unwrap());
        dead.iter().map(|kept| (kept.header("Ephor-Code").to_owned(), kept.header("Ephor-Reason").to_owned())).collect()
    }
}

const KEY: &str = "trader-rehearsal:stream";

impl Bus for Redis {
    fn settings(&self) -> String {
        format!("[[bus.redis]]\nname = \"desk\"\nurl = \"{}\"\n", self.url())
    }

    fn publish(&self, messages: &[String]) {
        Redis::publish(self, KEY, messages);
    }

    fn outstanding(&self) -> u64 {
        Redis::outstanding(self, KEY, "ephor")
    }

    fn dead(&self, _: &Desk) -> Vec<(String, String)> {
        let dead = self.entries("ephor:dead");
        dead.iter().map(|kept| (kept.text("code").to_owned(), kept.text("reason").to_owned())).collect()
    }
}

/// A file that grows.
struct File(PathBuf);

impl File {
    fn new(desk: &Desk) -> Self {
        Self(desk.write("spool.jsonl", ""))
    }
}

impl Bus for File {
    fn settings(&self) -> String {
        format!("[[bus.jsonl]]\nname = \"desk\"\npath = \"{}\"\n", self.0.display())
    }

    fn publish(&self, messages: &[String]) {
        let text: String = messages.iter().flat_map(|message| [&**message, "\n"]).collect();
        std::fs::File::options().append(true).open(&self.0).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn outstanding(&self) -> u64 {
        0
    }

    fn dead(&self, desk: &Desk) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(desk.path("ephor-data/dead/desk.jsonl")).unwrap_or_default();
        let letters = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        letters.map(|it| (it["code"].as_str().unwrap().to_owned(), it["reason"].as_str().unwrap().to_owned())).collect()
    }
}

/// Lines of the bars that ship: a header, and so many bars.
fn csv(bars: usize) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bars/EURUSD-1h.csv");
    std::fs::read_to_string(file).unwrap().lines().take(bars + 1).flat_map(|line| [line, "\n"]).collect()
}

fn time(of: &str) -> String {
    format!("{}Z", of.replace(' ', "T"))
}

fn bar(line: &str) -> String {
    let [ts, open, high, low, close, volume] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let ts = time(ts);
    json!({ "type": "bar", "ts": ts, "instrument": "EUR/USD", "open": open, "high": high, "low": low, "close": close,
        "volume": volume })
    .to_string()
}

fn signal(number: usize, ts: &str, side: &str, intent: &str) -> String {
    json!({ "type": "signal", "id": format!("s-{number}"), "ts": ts, "strategy_id": "desk", "side": side,
        "intent": intent })
    .to_string()
}

/// A strategy with a rule and one whose signals come from outside, behind a few bars of history.
fn settings(in_sample: &str) -> String {
    format!(
        "[paper]\nin_sample = {in_sample}\n\
         [paper.venue]\nfee = 0.00002\npartial = 0.2\n\
         [[paper.instruments]]\nid = \"EUR/USD\"\nlot = 100\ntick = 0.00001\n\
         [[paper.strategies]]\nid = \"rule\"\ninstrument = \"EUR/USD\"\nrule = {{ kind = \"breakout\" }}\n\
         [[paper.strategies]]\nid = \"desk\"\ninstrument = \"EUR/USD\"\nsize = {{ kind = \"fixed\", qty = 10000 }}\n"
    )
}

/// Signals half an hour into every seventh bar behind the history: in and out, by turns. The last bars have none.
fn signals(lines: &[String]) -> Vec<(usize, String)> {
    let places = (HISTORY..BARS - 10).step_by(7);
    let signals = places.enumerate().map(|(number, place)| {
        let ts = time(lines[place + 1].split(',').next().unwrap()).replace(":00:00Z", ":30:00Z");
        let (side, intent) = [("BUY", "entry"), ("SELL", "exit"), ("SELL", "entry"), ("BUY", "exit")][number % 4];
        (place, signal(number, &ts, side, intent))
    });
    signals.collect()
}

/// Everything behind the history as it happens: a bar comes when it is over, and what came meanwhile before it.
fn messages() -> Vec<String> {
    let lines: Vec<String> = csv(BARS).lines().map(str::to_owned).collect();
    let signals = signals(&lines);
    let mut messages = Vec::new();
    for place in HISTORY..BARS {
        messages.extend(signals.iter().filter(|(at, _)| *at == place).map(|(_, signal)| signal.clone()));
        messages.push(bar(&lines[place + 1]));
    }
    messages
}

/// What all of it comes to from files.
fn from_files() -> Value {
    let desk = Desk::new();
    let lines: Vec<String> = csv(BARS).lines().map(str::to_owned).collect();
    desk.write("bars.csv", csv(BARS));
    let signals: Vec<String> = signals(&lines).into_iter().map(|(_, signal)| signal).collect();
    desk.write("signals.jsonl", signals.join("\n"));
    desk.write("ephor.toml", settings("0.3"));
    let args = ["paper", "--json", "--bars", "bars.csv=EUR/USD", "--signals", "signals.jsonl"];
    let said = desk.run(&args).ended(0).json();
    let of =
        |strategy: &str| said["strategies"].as_array().unwrap().iter().find(|it| it["strategy"] == strategy).unwrap();
    assert!(of("desk")["trades"].as_u64() > Some(10) && of("rule")["trades"].as_u64() > Some(5), "{said:#}");
    said
}

/// A desk that has the history in a file and the rest on the bus.
fn prepare(desk: &Desk, bus: &impl Bus) {
    desk.write("history.csv", csv(HISTORY));
    let text = format!("{}{}", settings("1"), bus.settings());
    desk.write("ephor.toml", &text);
    if !text.contains("bus.jsonl") {
        desk.run(&["bus", "setup"]).ended(0);
    }
}

fn run(desk: &Desk) -> Child {
    run_at("max", desk)
}

fn run_at(speed: &str, desk: &Desk) -> Child {
    let args = ["-v", "paper", "--json", "--bars", "history.csv=EUR/USD", "--from", "desk", "--report", "out"];
    let args = [&args[..], &["--speed", speed]].concat();
    let said = std::fs::File::create(desk.path("stderr")).unwrap();
    desk.program(&args).stdout(Stdio::piped()).stderr(said).spawn().unwrap()
}

fn stderr(desk: &Desk) -> String {
    std::fs::read_to_string(desk.path("stderr")).unwrap_or_default()
}

fn kept(desk: &Desk) -> usize {
    std::fs::read_to_string(desk.path("ephor-data/paper/inputs.jsonl")).unwrap_or_default().lines().count()
}

/// Waits until the log is as long as it was from files, and everything is acknowledged; then asks the run to end.
#[track_caller]
fn whole(desk: &Desk, bus: &impl Bus, run: Child, files: &Value) -> Value {
    eventually("it listens", || stderr(desk).contains("connected"));
    eventually("the log is as long as from files", || {
        // Beside the run, without a look at the lock that it needs.
        desk.run(&["events", "--follow", "--limit", "1", "--from", &files["head_seq"].to_string()]).code == Some(0)
    });
    eventually("everything is acknowledged", || bus.outstanding() == 0);
    let said = asked_to_end(run).ended(0).json();
    for same in ["head_seq", "head_hash", "strategies", "changes"] {
        assert_eq!(said[same], files[same], "{same}");
    }
    for same in ["strategies", "ended", "bars", "signals", "period"] {
        assert_eq!(said["paper"][same], files["paper"][same], "{same}");
    }
    assert!(
        std::fs::read_to_string(desk.path("out/index.html")).unwrap().contains(said["head_hash"].as_str().unwrap())
    );
    said
}

fn asked_to_end(run: Child) -> Said {
    assert!(Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap().success());
    Said::of(&run.wait_with_output().unwrap())
}

fn comes_to_the_same_as_from_files(desk: &Desk, bus: &impl Bus) {
    let (files, messages) = (from_files(), messages());
    prepare(desk, bus);
    // Some before it listens, the rest while it does.
    let (early, late) = messages.split_at(messages.len() / 3);
    bus.publish(early);
    let running = run(desk);
    eventually("the first are taken", || kept(desk) == early.len());
    bus.publish(late);
    let said = whole(desk, bus, running, &files);
    let counted =
        |said: &Value| ["lines_recorded", "lines_repeated", "lines_rejected"].map(|it| said[it].as_u64().unwrap());
    assert_eq!(counted(&said), [messages.len() as u64, 0, 0]);
    assert_eq!(bus.dead(desk), []);

    // Everything once more, to one that begins again: it is known, and nothing follows from it.
    let running = run(desk);
    bus.publish(&messages);
    bus.publish(&["the end".to_owned()]);
    eventually("all of it has come", || bus.dead(desk).len() == 1);
    let again = whole(desk, bus, running, &files);
    assert_eq!(counted(&again), [0, messages.len() as u64, 1]);
    assert_eq!((again["events_recorded"].clone(), kept(desk)), (0.into(), messages.len()));
}

fn is_killed_again_and_again_and_trades_nothing_twice(desk: &Desk, bus: &impl Bus) {
    let (files, messages) = (from_files(), messages());
    prepare(desk, bus);
    let mut behind = 0;
    for (round, part) in (0_u64..).zip(messages.chunks(messages.len() / 5)) {
        // Slower than messages come: what is acknowledged is not traded yet.
        let mut running = run_at("40", desk);
        bus.publish(part);
        // Published again, too: of some the first was acknowledged, of some it was not.
        bus.publish(&part[..part.len() / 2]);
        std::thread::sleep(Duration::from_millis(300 + scattered(round, 700)));
        running.kill().unwrap();
        running.wait().unwrap();
        let log = desk.run(&["events", "--json"]).out.lines().count() as u64;
        behind += u32::from(kept(desk) > 0 && Some(log) < files["head_seq"].as_u64());
    }
    assert!(behind >= 3, "{behind}: {}", stderr(desk));
    let running = run(desk);
    whole(desk, bus, running, &files);
    assert_eq!(kept(desk), messages.len());
    assert_eq!(bus.dead(desk), []);
}

fn puts_apart_what_cannot_be_taken(desk: &Desk, bus: &impl Bus) {
    let (files, mut messages) = (from_files(), messages());
    prepare(desk, bus);
    let lines: Vec<String> = csv(BARS).lines().map(str::to_owned).collect();
    let middle = messages.len() / 2;
    let (first, last) = (lines[HISTORY + 1].as_str(), lines[HISTORY].as_str());
    let now = time(lines[BARS].split(',').next().unwrap());
    let poison = [
        ("LINE_NOT_JSON", "no json".to_owned()),
        ("TYPE_UNKNOWN", r#"{"type":"quote"}"#.to_owned()),
        ("STRATEGY_UNKNOWN", signal(900, &now, "BUY", "entry").replace("desk", "nobody")),
        ("STRATEGY_UNKNOWN", signal(901, &now, "BUY", "entry").replace("desk", "rule")),
        ("FIELD_MALFORMED", signal(902, &now, "HOLD", "entry")),
        ("TIME_GOING_BACK", signal(903, &time(first.split(',').next().unwrap()), "BUY", "entry")),
        ("ID_REUSED", signal(0, &now, "BUY", "entry")),
        ("FIELD_OUT_OF_RANGE", bar(&lines[BARS]).replace("EUR/USD", "GOOG")),
        ("FIELD_OUT_OF_RANGE", bar(&lines[BARS]).replace("\"high\":\"1.", "\"high\":\"0.")),
        ("FIELD_MISSING", bar(&lines[BARS]).replace("\"close\"", "\"last\"")),
        ("ID_REUSED", bar(first).replace("\"volume\":\"", "\"volume\":\"1")),
        ("TIME_GOING_BACK", bar(last).replace(":00:00Z", ":20:00Z")),
        ("LINE_TOO_LONG", format!("{}{}", bar(&lines[BARS]), " ".repeat(1 << 20))),
    ];
    // A file's own bound is the same as ours, and NATS takes nothing so long.
    let fits = |(code, _): &&(&str, String)| *code != "LINE_TOO_LONG";
    let poison: Vec<_> = if bus.settings().contains("bus.nats") {
        poison.iter().filter(fits).collect()
    } else {
        poison.iter().collect()
    };
    // A bar of the history comes again, and a bar that is written otherwise: neither is poison.
    let harmless = [bar(last), bar(first).replace(',', ",\n "), " ".to_owned()];
    let harmless = if bus.settings().contains("bus.jsonl") { vec![harmless[0].clone()] } else { harmless.to_vec() };
    let between: Vec<String> = poison.iter().map(|(_, message)| message.clone()).chain(harmless).collect();
    messages.splice(middle..middle, between);
    bus.publish(&messages);
    let said = whole(desk, bus, run(desk), &files);
    let dead = bus.dead(desk);
    let codes: Vec<&str> = dead.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, poison.iter().map(|(code, _)| *code).collect::<Vec<_>>());
    let reasons: String = dead.iter().flat_map(|(_, reason)| [&**reason, "\n"]).collect();
    for part in [
        "unknown type \"quote\": use signal or bar",
        "nobody is not among paper.strategies without a rule",
        "id: another signal has come under it",
        "instrument: GOOG is not among paper.instruments",
        "close: missing",
        "ts: another bar has come under it",
        "a bar that has come",
    ] {
        assert!(reasons.contains(part), "{part}: {reasons}");
    }
    assert_eq!(said["lines_rejected"], poison.len() as u64);
    assert!(stderr(desk).contains("a message is put apart"), "{}", stderr(desk));
}

#[test]
fn over_nats_it_comes_to_the_same_as_from_files_and_twice_to_nothing_more() {
    comes_to_the_same_as_from_files(&Desk::new(), &Nats::new());
}

#[test]
fn over_redis_it_comes_to_the_same_as_from_files_and_twice_to_nothing_more() {
    comes_to_the_same_as_from_files(&Desk::new(), &Redis::new());
}

#[test]
fn from_a_file_that_grows_it_comes_to_the_same_as_from_one_that_is_whole() {
    let desk = Desk::new();
    comes_to_the_same_as_from_files(&desk, &File::new(&desk));
}

#[test]
fn over_nats_a_run_that_is_killed_goes_on_where_it_was() {
    is_killed_again_and_again_and_trades_nothing_twice(&Desk::new(), &Nats::new());
}

#[test]
fn over_redis_a_run_that_is_killed_goes_on_where_it_was() {
    is_killed_again_and_again_and_trades_nothing_twice(&Desk::new(), &Redis::new());
}

#[test]
fn from_a_file_that_grows_a_run_that_is_killed_goes_on_where_it_was() {
    let desk = Desk::new();
    is_killed_again_and_again_and_trades_nothing_twice(&desk, &File::new(&desk));
}

#[test]
fn over_nats_what_cannot_be_taken_is_put_apart_with_its_reason() {
    puts_apart_what_cannot_be_taken(&Desk::new(), &Nats::new());
}

#[test]
fn over_redis_what_cannot_be_taken_is_put_apart_with_its_reason() {
    puts_apart_what_cannot_be_taken(&Desk::new(), &Redis::new());
}

#[test]
fn from_a_file_that_grows_what_cannot_be_taken_is_put_apart_with_its_reason() {
    let desk = Desk::new();
    puts_apart_what_cannot_be_taken(&desk, &File::new(&desk));
}

#[test]
fn a_bus_that_goes_away_and_comes_back_costs_nothing_and_feed_is_one_who_publishes() {
    let (files, messages) = (from_files(), messages());
    let (desk, mut nats) = (Desk::new(), Nats::new());
    prepare(&desk, &nats);
    let running = run(&desk);
    let (early, late) = messages.split_at(messages.len() / 2);
    let feed = |nats: &Nats, name: &str, part: &[String]| {
        desk.write(name, part.join("\n"));
        desk.run(&["feed", "--to", &nats.url(), name]).ended(0);
    };
    feed(&nats, "early.jsonl", early);
    eventually("the first are taken", || kept(&desk) == early.len());
    nats.stop();
    eventually("it is noticed", || stderr(&desk).contains("the connection is made anew"));
    nats.start();
    feed(&nats, "late.jsonl", late);
    whole(&desk, &nats, running, &files);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_recorded() {
    let desk = Desk::new();
    let file = File::new(&desk);
    prepare(&desk, &file);
    let said = desk.run(&["paper", "--from", "else", "--bars", "history.csv=EUR/USD"]).ended(2);
    assert!(said.err.contains("the settings have no connection \"else\" that takes messages"), "{}", said.err);
    let text = format!("{}{}[bus.jsonl.reading]\nformat = \"nautilus\"\n", settings("1"), file.settings());
    desk.write("ephor.toml", text);
    let said = desk.run(&["paper", "--from", "desk", "--bars", "history.csv=EUR/USD"]).ended(2);
    assert!(said.err.contains("desk is read as nautilus"), "{}", said.err);
}

#[test]
fn a_journal_that_the_settings_have_no_place_for_is_no_run_and_a_torn_end_of_it_is_cut() {
    let desk = Desk::new();
    let file = File::new(&desk);
    prepare(&desk, &file);
    let (files, messages) = (from_files(), messages());
    file.publish(&messages);
    whole(&desk, &file, run(&desk), &files);
    let journal = desk.path("ephor-data/paper/inputs.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, format!("{text}{}", &messages[0][..20])).unwrap();
    let again = whole(&desk, &file, run(&desk), &files);
    assert_eq!(again["events_recorded"], 0);
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), text, "nobody was told of what was torn");

    let config = std::fs::read_to_string(desk.path("ephor.toml")).unwrap();
    desk.write("ephor.toml", config.replace("id = \"desk\"", "id = \"other\""));
    let said = Said::of(&run(&desk).wait_with_output().unwrap());
    assert_eq!(said.code, Some(2));
    let err = stderr(&desk);
    assert!(
        err.contains("line 1 of ephor-data/paper/inputs.jsonl cannot be taken any more: strategy_id: desk"),
        "{err}"
    );
}
