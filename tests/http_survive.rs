//! What the service has acknowledged survives its end: told to end, or killed, under load; and no order is allowed once a
//! kill switch is acknowledged.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use served::Served;

const ASKERS: usize = 6;

fn order(id: &str) -> Value {
    // It only makes a position smaller, so it is allowed at every level.
    let mut order = json!({ "order_id": id, "strategy_id": "s-1", "instrument": "ABC", "side": "SELL", "qty": "1" });
    order["reduce_only"] = json!(true);
    order
}

/// One answer: when its request was sent, and the decision.
struct Answer {
    sent: Instant,
    decision: Value,
}

/// Asks without end from several threads until a request fails or `enough` is set; gives what was answered with 200.
fn load(served: &Served, prefix: &str, enough: &AtomicBool, answered: &AtomicU64) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..ASKERS)
            .map(|asker| {
                scope.spawn(move || {
                    let client = reqwest::blocking::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
                    let (mut answers, started) = (Vec::new(), Instant::now());
                    for number in 0.. {
                        let request =
                            client.post(format!("{}/v1/orders/check", served.address)).bearer_auth(&served.key);
                        let sent = Instant::now();
                        let response = request.json(&order(&format!("{prefix}-{asker}-{number}"))).send();
                        let Ok(decision) = response.and_then(|response| response.error_for_status()?.json()) else {
                            break;
                        };
                        answers.push(Answer { sent, decision });
                        answered.fetch_add(1, Ordering::Relaxed);
                        // A test that has failed meanwhile does not wait for ever.
                        if enough.load(Ordering::Relaxed) || started.elapsed() > Duration::from_mins(1) {
                            break;
                        }
                    }
                    answers
                })
            })
            .collect();
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
    })
}

fn wait_for(answered: &AtomicU64, wanted: u64) {
    let started = Instant::now();
    while answered.load(Ordering::Relaxed) < wanted {
        assert!(started.elapsed() < Duration::from_mins(1), "{wanted} answers do not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every decision that was acknowledged is in the log, where its answer says, and the log checks.
#[track_caller]
fn all_there(desk: &cli::Desk, answers: &[Answer]) {
    // A service that was killed may have left the index, which the next opening makes anew from the log, but no fault else.
    let verified = desk.run(&["verify"]);
    let faults = verified.out.lines().filter(|line| line.starts_with("fault: ") && !line.starts_with("fault: index: "));
    assert_eq!(faults.count(), 0, "{verified:#?}");
    assert!(matches!(verified.code, Some(0 | 1)) && verified.err.is_empty(), "{verified:#?}");
    let events = desk.run(&["events", "--type", "DecisionMade", "--json"]).ended(0).out;
    let recorded: BTreeMap<u64, Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| (event["seq"].as_u64().unwrap(), event))
        .collect();
    assert!(answers.len() >= 40, "{} answers", answers.len());
    for Answer { decision, .. } in answers {
        let event = recorded.get(&decision["seq"].as_u64().unwrap());
        let event = event.unwrap_or_else(|| panic!("acknowledged and not in the log: {decision}"));
        assert_eq!(event["data"]["order"]["id"], decision["order_id"]);
        assert_eq!(event["data"]["action"], decision["action"]);
    }
}

#[test]
fn told_to_end_under_load_it_ends_in_time_and_has_all_that_it_acknowledged() {
    let served = Served::with("[server]\nshutdown_seconds = 5\n", &[]);
    served.register("s-1");
    let (enough, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let (told, answers) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| load(&served, "o", &enough, &answered));
        wait_for(&answered, 300);
        served.signal("TERM");
        (Instant::now(), asking.join().unwrap())
    });
    let mut served = served;
    assert_eq!(served.ended(), Some(0), "{}", served.stderr());
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    all_there(&served.into_desk(), &answers);
}

#[test]
fn killed_under_load_it_has_lost_nothing_that_it_acknowledged() {
    let mut served = Served::new();
    served.register("s-1");
    let mut answers = Vec::new();
    for round in 0..5_u64 {
        let (enough, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let key = served.key.clone();
        answers.extend(std::thread::scope(|scope| {
            let asking = scope.spawn(|| load(&served, &format!("r{round}"), &enough, &answered));
            wait_for(&answered, 40 + 37 * round);
            served.signal("KILL");
            asking.join().unwrap()
        }));
        assert_eq!(served.ended(), None, "a signal ended it");
        let desk = served.into_desk();
        all_there(&desk, &answers);
        served = Served::at(desk, key, &[]);
    }
    // Asked again, the service that came up knows what the one before it answered.
    for Answer { decision, .. } in answers.iter().step_by(20) {
        let (status, again) = served.post("/v1/orders/check", &order(decision["order_id"].as_str().unwrap()));
        assert_eq!((status, &again["repeat"], &again["seq"]), (200, &json!(true), &decision["seq"]), "{again}");
    }
    // After an end in good order nothing is left to be made anew.
    served.signal("TERM");
    served.into_desk().run(&["verify"]).ended(0);
}

#[test]
fn no_order_is_allowed_that_was_asked_after_a_kill_was_acknowledged() {
    let served = Served::new();
    served.register("s-1");
    let (enough, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let (acknowledged, kill, answers) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| load(&served, "k", &enough, &answered));
        wait_for(&answered, 200);
        let kill = json!({ "scope": "all", "block_exits": true, "reason": "a drill under load" });
        let (status, said) = served.post("/v1/kill", &kill);
        let acknowledged = Instant::now();
        assert_eq!(status, 200, "{said}");
        wait_for(&answered, answered.load(Ordering::Relaxed) + 200);
        enough.store(true, Ordering::Relaxed);
        (acknowledged, said, asking.join().unwrap())
    });
    let before = answers.iter().filter(|answer| answer.decision["action"] == "allow").count();
    assert!(before >= 100, "{before} were allowed before");
    let after: Vec<&Answer> = answers.iter().filter(|answer| answer.sent > acknowledged).collect();
    assert!(after.len() >= 100, "{} were asked after it", after.len());
    for answer in after {
        assert_eq!((&answer.decision["action"], &answer.decision["multiplier"]), (&json!("kill"), &json!(0.0)));
    }
    // In the log, what was allowed behind the kill was under way while the kill was: one order for each who asks, at most.
    let killed = kill["seq"].as_u64().unwrap();
    let behind = answers.iter().filter(|answer| answer.decision["seq"].as_u64().unwrap() > killed);
    let overtaken = behind.filter(|answer| answer.decision["action"] == "allow").count();
    assert!(overtaken <= ASKERS, "{overtaken} orders were allowed behind the kill");
}
