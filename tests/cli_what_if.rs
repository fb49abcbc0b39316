//! History under another policy, through the binary, on real trades.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod cli;

use std::fs;
use std::path::Path;

use cli::{Desk, Said, demo};
use ephor_governance::units::{Amount, Timestamp};
use serde_json::Value;

const EMAX: &str = "EMAX-GBPUSD-M5-001";

/// The default policy with some lines changed.
fn policy(desk: &Desk, name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = desk.run(&["policy", "show", "--default"]).ended(0).out;
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    desk.write(name, text);
    name.to_owned()
}

const LIVE: (&str, &str) = ("default_level = \"L1_paper\"", "default_level = \"L4_autonomous\"");

fn strict(drawdown: &str) -> String {
    format!("demotion_drawdown = \"{drawdown}\"")
}

/// A log in which every strategy began with live orders.
fn live(input: &Path) -> Desk {
    let desk = Desk::new();
    let file = policy(&desk, "live.toml", &[LIVE]);
    desk.run(&["policy", "adopt", &file, "--by", "alice", "--reason", "start"]).ended(0);
    desk.govern(fs::read(input).unwrap());
    desk
}

fn json(desk: &Desk, args: &[&str]) -> Value {
    let mut all = vec!["what-if", "--json"];
    all.extend(args);
    desk.run(&all).ended(0).json()
}

fn amount(value: &Value) -> Amount {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

#[track_caller]
fn assert_nothing_differs(report: &Value) {
    let outcome = &report["policies"][0];
    for count in ["changed", "blocked", "reduced", "larger", "let_through", "elsewhere"] {
        assert_eq!(outcome["orders"][count], 0, "{count}");
    }
    for pair in ["promotions", "demotions", "pauses", "drawdown"] {
        assert_eq!(outcome[pair]["before"], outcome[pair]["after"], "{pair}");
    }
    for (before, row) in outcome["matrix"].as_object().unwrap() {
        for (after, count) in row.as_object().unwrap() {
            assert!(before == after || count == 0, "{before} {after} {count}");
        }
    }
    for (currency, sums) in outcome["sums"].as_object().unwrap() {
        assert_eq!(sums["pnl"]["before"], sums["pnl"]["after"], "{currency}");
        for kind in ["smaller", "larger", "not_taken", "let_through"] {
            assert_eq!(sums["trades"][kind]["trades"], 0, "{currency} {kind}");
        }
    }
    assert!(outcome["strategies"].as_array().unwrap().iter().all(|it| it["changes"] == serde_json::json!([])));
    assert_eq!((&outcome["first"], &outcome["refused"]["commands"]), (&Value::Null, &Value::from(0)));
}

#[test]
fn the_policy_of_history_changes_nothing_on_the_whole_data_set() {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events.jsonl.gz");
    let desk = live(&input);
    let report = json(&desk, &["--policy", "live.toml"]);
    assert_nothing_differs(&report);
    let outcome = &report["policies"][0];
    assert_eq!((&outcome["trades"], &outcome["orders"]["decided"]), (&Value::from(8399), &Value::from(21_124)));
    // Engines that name their orders have every trade tied; those that do not, none.
    for strategy in outcome["strategies"].as_array().unwrap() {
        let untied = strategy["trades"]["untied"]["trades"].as_u64().unwrap();
        let named = !strategy["strategy"].as_str().unwrap().starts_with("BTPY-");
        assert_eq!(untied == 0, named, "{strategy}");
    }
    let said = desk.run(&["what-if", "--policy", "live.toml"]).ended(0).out;
    assert!(said.contains("nothing would have been decided otherwise"), "{said}");
}

#[test]
fn a_stricter_drawdown_demotes_where_plain_arithmetic_says() {
    let desk = live(&demo());
    let file = policy(&desk, "strict.toml", &[LIVE, ("demotion_drawdown = \"0.10\"", &strict("0.03"))]);
    let report = json(&desk, &["--policy", &file, "--strategy", EMAX]);
    let strategy = &report["policies"][0]["strategies"][0];

    let (mut equity, mut peak, mut breach) = (Amount::from(100_000), Amount::from(100_000), None);
    for line in fs::read_to_string(demo()).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["strategy_id"] == EMAX && line["type"] == "trade_closed" && breach.is_none() {
            equity = equity.plus(amount(&line["realized_pnl"]));
            peak = peak.max(equity);
            let beyond = peak.minus(equity) > peak.times(Amount::new(3, 2)).unwrap();
            breach = beyond.then(|| line["ts"].clone());
        }
    }
    let fall = &strategy["changes"][0];
    assert_eq!((&fall["kind"], &fall["before"]), (&Value::from("demoted"), &Value::Null));
    assert_eq!((&fall["from"], &fall["to"]), (&Value::from("L4_autonomous"), &Value::from("L1_paper")));
    assert_eq!(moment(&fall["after"]["at"]), moment(&breach.unwrap()));

    // Money is what history took on orders decided before the fall.
    let trades = &strategy["trades"];
    assert!(trades["not_taken"]["trades"].as_u64().unwrap() > 0);
    let gone = amount(&trades["not_taken"]["pnl"]["before"]);
    let (before, after) = (amount(&strategy["pnl"]["before"]), amount(&strategy["pnl"]["after"]));
    assert_eq!(before.minus(gone), after);
    let seq = fall["after"]["seq"].as_u64().unwrap();
    assert_eq!((before, after), (taken(&desk, u64::MAX), taken(&desk, seq)));
    assert!(strategy["drawdown"]["after"].as_f64() < strategy["drawdown"]["before"].as_f64());
}

/// What the strategy made on entries that went out live and were decided before a seq. Its entries fill at the
/// moment they are decided, so an entry is known by that moment and its side.
fn taken(desk: &Desk, before: u64) -> Amount {
    let decided = desk.run(&["events", "--json", "--stream", EMAX, "--type", "DecisionMade"]).ended(0).out;
    let mut entries = std::collections::BTreeSet::new();
    for line in decided.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let (order, seq) = (&event["data"]["order"], event["seq"].as_u64().unwrap());
        if order["reduce_only"] == false && event["data"]["multiplier"].as_f64() > Some(0.0) && seq < before {
            let at = moment(&event["occurred_at"]);
            entries.insert((at, order["side"] == "buy"));
        }
    }
    let mut made = Amount::ZERO;
    for line in fs::read_to_string(demo()).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["strategy_id"] == EMAX && line["type"] == "trade_closed" {
            let entry = (moment(&line["opened_at"]), line["side"] == "LONG");
            made = made.plus(if entries.contains(&entry) { amount(&line["realized_pnl"]) } else { Amount::ZERO });
        }
    }
    made
}

fn moment(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}

/// Two round trips of one order each, at a quarter of the size: the first trade carries its order's trace, the
/// second a trace of nobody's.
const TRACED: &str = r#"
{"type":"strategy","id":"r1","ts":"2020-01-01T00:00:00Z","strategy_id":"a","initial_capital":"1000","currency":"USD"}
{"type":"signal","id":"s1","trace_id":"one","order_id":"o1","ts":"2020-01-02T00:00:00Z","strategy_id":"a","instrument":"X","side":"BUY","qty":"4","price":"10","position_qty":"0","equity":"1000","open_positions":0,"leverage":"1"}
{"type":"trade_closed","id":"t1","trace_id":"one","ts":"2020-01-03T00:00:00Z","strategy_id":"a","instrument":"X","side":"LONG","qty":"1","entry_price":"10","price":"6","realized_pnl":"-4","opened_at":"2020-01-02T00:00:00Z","closed_at":"2020-01-03T00:00:00Z"}
{"type":"signal","id":"s2","trace_id":"two","order_id":"o2","ts":"2020-01-04T00:00:00Z","strategy_id":"a","instrument":"X","side":"BUY","qty":"4","price":"10","position_qty":"0","equity":"1000","open_positions":0,"leverage":"1"}
{"type":"trade_closed","id":"t2","trace_id":"three","ts":"2020-01-05T00:00:00Z","strategy_id":"a","instrument":"X","side":"LONG","qty":"1","entry_price":"10","price":"6","realized_pnl":"-4","opened_at":"2020-01-04T00:00:00Z","closed_at":"2020-01-05T00:00:00Z"}
"#;

#[test]
fn a_trade_is_tied_by_its_trace_and_not_by_likelihood() {
    let desk = Desk::new();
    let constrained = (LIVE.0, "default_level = \"L3_constrained\"");
    let file = policy(&desk, "l3.toml", &[constrained]);
    desk.run(&["policy", "adopt", &file, "--by", "alice", "--reason", "start"]).ended(0);
    desk.govern(TRACED);
    let file = policy(&desk, "small.toml", &[constrained, ("0.25,", "0.1,")]);
    let report = json(&desk, &["--policy", &file]);
    let trades = &report["policies"][0]["strategies"][0]["trades"];
    assert_eq!(trades["smaller"]["trades"], 1, "{trades}");
    assert_eq!(amount(&trades["smaller"]["pnl"]["after"]), Amount::new(-16, 1));
    assert_eq!((&trades["untied"]["trades"], amount(&trades["untied"]["pnl"])), (&Value::from(1), Amount::from(-4)));
}

/// A position of two orders, with a loss of 5 % between them.
const PARTED: &str = r#"
{"type":"strategy","id":"r1","ts":"2020-01-01T00:00:00Z","strategy_id":"a","initial_capital":"1000","currency":"USD"}
{"type":"signal","id":"s1","trace_id":"one","order_id":"o1","ts":"2020-01-02T00:00:00Z","strategy_id":"a","instrument":"X","side":"BUY","qty":"4","price":"10","position_qty":"0","equity":"1000","open_positions":0,"leverage":"1"}
{"type":"trade_closed","id":"t1","trace_id":"two","ts":"2020-01-03T00:00:00Z","strategy_id":"a","instrument":"Y","side":"LONG","qty":"1","entry_price":"100","price":"50","realized_pnl":"-50","opened_at":"2020-01-02T00:00:00Z","closed_at":"2020-01-03T00:00:00Z"}
{"type":"signal","id":"s2","trace_id":"one","order_id":"o2","ts":"2020-01-04T00:00:00Z","strategy_id":"a","instrument":"X","side":"BUY","qty":"4","price":"10","position_qty":"0","equity":"1000","open_positions":0,"leverage":"1"}
{"type":"trade_closed","id":"t2","trace_id":"one","ts":"2020-01-05T00:00:00Z","strategy_id":"a","instrument":"X","side":"LONG","qty":"2","entry_price":"10","price":"6","realized_pnl":"-8","opened_at":"2020-01-04T00:00:00Z","closed_at":"2020-01-05T00:00:00Z"}
"#;

#[test]
fn what_history_made_of_trades_that_one_policy_cannot_size_is_said_to_vary() {
    let desk = Desk::new();
    let constrained = (LIVE.0, "default_level = \"L3_constrained\"");
    let file = policy(&desk, "l3.toml", &[constrained]);
    desk.run(&["policy", "adopt", &file, "--by", "alice", "--reason", "start"]).ended(0);
    desk.govern(PARTED);
    let strict = policy(&desk, "strict.toml", &[constrained, ("demotion_drawdown = \"0.10\"", &strict("0.03"))]);
    let args = ["what-if", "--policy", &file, "--policy", &strict];
    let report = desk.run(&[&args[..], &["--json"]].concat()).ended(0).json();
    let sums = |place: usize| report["policies"][place]["sums"]["USD"].clone();
    assert_eq!(
        (amount(&sums(0)["pnl"]["before"]), &sums(0)["trades"]["untied"]["trades"]),
        (Amount::from(-8), &1.into())
    );
    assert_eq!((amount(&sums(1)["pnl"]["before"]), &sums(1)["trades"]["untied"]["trades"]), (Amount::ZERO, &2.into()));
    let said = desk.run(&args).ended(0).out;
    let recorded = said.lines().find(|line| line.starts_with("as recorded")).unwrap();
    assert_eq!(recorded.matches("varies").count(), 2, "{said}");
    assert!(said.contains("varies: of the trades whose size is known on both sides"), "{said}");
}

#[test]
fn what_cannot_be_tied_is_no_money() {
    // Everything on paper: the engine that names no orders made no money either.
    let desk = Desk::new();
    desk.govern(fs::read(demo()).unwrap());
    let file = policy(&desk, "default.toml", &[]);
    let outcome = json(&desk, &["--policy", &file])["policies"][0].clone();
    let sums = &outcome["sums"]["USD"];
    assert_eq!(sums["trades"]["untied"]["trades"], 311, "{sums}");
    for side in ["before", "after"] {
        assert_eq!((amount(&sums["pnl"][side]), outcome["drawdown"][side].as_f64()), (Amount::ZERO, Some(0.0)));
    }
    let pnl = amount(&sums["trades"]["untied"]["pnl"]);
    let said = desk.run(&["what-if", "--policy", &file, "--fail-on", "drawdown > 0%", "--fail-on", "pnl < 0"]);
    let said = said.ended(0).out;
    assert!(said.contains("311 trades not tied to an order: whether they were live is not known"), "{said}");
    let row = said.lines().find(|line| line.contains("not tied to an order, as recorded")).unwrap();
    assert!(row.contains("unknown") && !pnl.is_zero(), "{row}");
}

#[test]
fn a_policy_is_shown_with_its_matrix_its_changes_and_its_limits() {
    let desk = live(&demo());
    let file = policy(&desk, "strict.toml", &[LIVE, ("demotion_drawdown = \"0.10\"", &strict("0.03"))]);
    let said = desk.run(&["what-if", "--policy", &file]).ended(0).out;
    for part in [
        "before \\ after",
        "turned away",
        "promotions 0 → 4, demotions 5 → 10",
        "not tied to an order, as recorded",
        "not taken",
        "first decision that differs: seq ",
        "goes where its position is held",
        "what this cannot know",
        "without market impact",
        "went out larger than the answer to their orders let through",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let earlier = said.lines().find(|line| line.contains("BTPY-SMA-EURUSD") && line.contains("earlier")).unwrap();
    assert!(earlier.contains("demoted L4→L1") && earlier.contains("instead of"), "{earlier}");
}

#[test]
fn a_condition_that_holds_ends_with_exit_code_1_and_says_so() {
    let desk = live(&demo());
    let file = policy(&desk, "strict.toml", &[LIVE, ("demotion_drawdown = \"0.10\"", &strict("0.03"))]);
    let run = |conditions: &[&str]| {
        let mut args = vec!["what-if", "--policy", file.as_str()];
        for condition in conditions {
            args.extend(["--fail-on", condition]);
        }
        desk.run(&args)
    };
    let passed = run(&["blocked > 5%", "demotions > 10", "drawdown > 50%"]).ended(0);
    assert!(passed.out.contains("passed: none of: blocked > 5%, demotions > 10, drawdown > 50%"), "{passed:#?}");
    let failed = run(&["blocked > 5%", "demotions >= 10", "demotions_change > 0"]).ended(1);
    assert!(failed.out.contains("failed: demotions >= 10: demotions is 10 under strict.toml"), "{failed:#?}");
    assert!(failed.out.contains("failed: demotions_change > 0: demotions_change is 5"), "{failed:#?}");
    assert!(!failed.out.contains("failed: blocked"), "{failed:#?}");

    let json = desk.run(&["what-if", "--json", "--policy", &file, "--fail-on", "demotions > 1"]).ended(1).json();
    assert_eq!(json["failed"][0]["condition"], "demotions > 1");
    assert_eq!((&json["failed"][0]["policy"], &json["failed"][0]["found"]), (&file.into(), &"10".into()));
}

#[test]
fn several_policies_stand_side_by_side() {
    let desk = live(&demo());
    let strict = policy(&desk, "strict.toml", &[LIVE, ("demotion_drawdown = \"0.10\"", &strict("0.03"))]);
    let args = ["what-if", "--policy", "live.toml", "--policy", &strict];
    let said = desk.run(&args).ended(0).out;
    let row = |name: &str| {
        let row = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {said}"));
        row.split_whitespace().skip(name.split_whitespace().count()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("live.toml")[5..], row("as recorded")[5..]);
    assert_eq!(row("strict.toml")[5..8], ["4", "10", "5"]);
    let report = json(&desk, &args[1..]);
    let names: Vec<_> = report["policies"].as_array().unwrap().iter().map(|outcome| &outcome["name"]).collect();
    assert_eq!(names, ["live.toml", "strict.toml"]);
}

#[test]
fn a_sweep_is_a_table_and_a_picture() {
    let desk = live(&demo());
    let sweep = ["--sweep", "maturity.demotion_drawdown=0.02..0.14/0.04", "--svg", "sweep.svg"];
    let said = desk.run(&[&["what-if"], sweep.as_slice()].concat()).ended(0).out;
    for value in ["0.02", "0.06", "* 0.10", "0.14"] {
        assert!(said.lines().any(|line| line.trim_start().starts_with(value)), "{value}: {said}");
    }
    let picture = fs::read_to_string(desk.path("sweep.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    for part in
        ["maturity.demotion_drawdown from 0.02 to 0.14", "live realised P&amp;L, USD", "turned away", "demotions"]
    {
        assert!(picture.contains(part), "{part}");
    }

    let report = json(&desk, &sweep[..2]);
    assert_eq!(report["sweep"]["values"], serde_json::json!(["0.02", "0.06", "0.10", "0.14"]));
    assert_eq!(report["policies"][2]["orders"]["changed"], 0, "the policy in force");
    let demotions: Vec<u64> =
        report["policies"].as_array().unwrap().iter().map(|it| it["demotions"]["after"].as_u64().unwrap()).collect();
    assert!(demotions.is_sorted_by(|one, next| one >= next), "{demotions:?}");

    assert!(report["policies"].as_array().unwrap().iter().all(|it| it["strategies"] == serde_json::json!([])));

    let short = ["what-if", "--sweep", "maturity.demotion_drawdown=0.02..0.14/0.05"];
    let said = desk.run(&short).ended(0).out;
    assert!(said.contains("the last value tried is 0.12: steps of 0.05 do not meet 0.14"), "{said}");

    // One value of a sweep is what the policy says alone.
    let file = policy(&desk, "one.toml", &[LIVE, ("demotion_drawdown = \"0.10\"", &strict("0.02"))]);
    let alone = json(&desk, &["--policy", &file]);
    assert_eq!(alone["policies"][0]["orders"], report["policies"][0]["orders"]);
    assert_eq!(alone["policies"][0]["sums"], report["policies"][0]["sums"]);
}

#[test]
fn a_part_of_history_is_judged_on_the_whole_past() {
    let desk = live(&demo());
    let file = policy(&desk, "strict.toml", &[LIVE, ("demotion_drawdown = \"0.10\"", &strict("0.03"))]);
    let report = json(&desk, &["--policy", &file, "--from", "1000", "--to", "2000"]);
    let outcome = &report["policies"][0];
    let decided = outcome["orders"]["decided"].as_u64().unwrap();
    assert!(decided > 0 && decided < 1_480, "{decided}");
    for strategy in outcome["strategies"].as_array().unwrap() {
        for change in strategy["changes"].as_array().unwrap() {
            let seq = change["after"]["seq"].as_u64().or(change["before"]["seq"].as_u64()).unwrap();
            assert!((990..=2000).contains(&seq), "{seq}");
        }
    }
    assert!((995..=1000).contains(&report["from"].as_u64().unwrap()), "{}", report["from"]);
    let none = json(&desk, &["--policy", "live.toml", "--from", "1000"]);
    assert_nothing_differs(&none);
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let desk = live(&demo());
    desk.write("wrong.toml", "[maturity]\n\ndemotion_drawdown = \"1.5\"\n");
    desk.write("typo.toml", "[maturity]\ndemotion_drawdwon = \"0.1\"\n");
    let refused = |args: &str| -> Said {
        desk.run(&[&["what-if"], args.split(' ').collect::<Vec<_>>().as_slice()].concat()).ended(2)
    };
    for (args, said) in [
        (
            "--policy wrong.toml",
            "policy wrong.toml: line 3: maturity.demotion_drawdown: must be from 0 to 1, found 1.5",
        ),
        ("--policy typo.toml", "policy typo.toml: line 2: maturity.demotion_drawdwon: unknown field"),
        ("--policy nowhere.toml", "there is no file nowhere.toml"),
        ("--strategy EMAX-GBPUSD-M5-001", "--policy <FILE>"),
        ("--policy live.toml --svg plot.svg", "--sweep <FIELD=A..B/STEP>"),
        ("--policy live.toml --strategy EMAX-GBPUSD", "did you mean EMAX-GBPUSD-M5-001"),
        ("--policy live.toml --from 999999", "the log has no seq 999999: it goes from 1 to 6558"),
        ("--policy live.toml --from 2030-01-01", "there is nothing to decide again between --from and --to"),
        ("--policy live.toml --from 900 --to 100", "there is nothing to decide again between --from and --to"),
        (
            "--policy live.toml --policy live.toml --sweep maturity.demotion_drawdown=0.1..0.2/0.1",
            "--sweep starts from one policy",
        ),
        ("--sweep maturity.demotion_drawdwon=0.1..0.2/0.1", "did you mean maturity.demotion_drawdown"),
        ("--sweep maturity/demotion_drawdown=0.1..0.2/0.1", "did you mean maturity.demotion_drawdown"),
        (
            "--sweep maturity.demotion_drawdown=0.1..2/1",
            "= 1.1 is no policy: maturity.demotion_drawdown: must be from 0 to 1",
        ),
        ("--policy live.toml --fail-on bloked>5%", "\"bloked\" is nothing that --fail-on knows; it knows blocked"),
    ] {
        let found = refused(args).err;
        assert!(found.contains(said), "{args}: {found}");
    }
    let empty = Desk::new();
    let file = policy(&empty, "default.toml", &[]);
    let nothing = empty.run(&["what-if", "--policy", &file]).ended(2).err;
    assert!(nothing.contains("there is no log in"), "{nothing}");
}
