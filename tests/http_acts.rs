//! What operators do over HTTP: each act is one commit under the name of its key, done once, refused to who may not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use cli::{Desk, demo};
use reqwest::Method;
use serde_json::{Value, json};
use served::{Served, key_of};

/// An order of a size: `large` is critical, and takes two people at any level.
fn order(id: &str, large: bool) -> Value {
    let [qty, position, leverage] = if large { ["300000", "300000", "5"] } else { ["1000", "0", "1"] };
    json!({
        "order_id": id, "strategy_id": "A", "instrument": "EUR/USD.SIM", "side": "BUY", "qty": qty, "price": "1",
        "currency": "USD", "equity": "1000000", "leverage": leverage, "position_qty": position,
        "open_positions": if large { 10 } else { 0 },
    })
}

/// With strategy A, at a level.
fn governed(level: &str) -> Served {
    let served = Served::new();
    served.register("A");
    let set = json!({"to": level, "without_evidence": true, "reason": "a test"});
    let (status, said) = served.post("/v1/strategies/A/level", &set);
    assert_eq!(status, 200, "{said}");
    served
}

fn why() -> Value {
    json!({"reason": "a test"})
}

/// As somebody else.
fn with_key(served: &Served, key: &str, path: &str, body: &Value) -> (u16, Value) {
    let response = served.client.post(format!("{}{path}", served.address)).bearer_auth(key).json(body).send().unwrap();
    (response.status().as_u16(), response.json().unwrap())
}

/// What many do at the same time.
fn at_once<T: Send>(many: usize, act: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|threads| {
        let all: Vec<_> = (0..many).map(|_| threads.spawn(&act)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The log's last events of a stream, newest last, as the program reads them beside the service.
fn events(desk: &Desk, stream: &str) -> Vec<Value> {
    let lines = desk.run(&["events", "--json"]).ended(0).out;
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["stream"] == stream).collect()
}

#[test]
fn a_strategy_is_registered_renewed_raised_paused_and_resumed_under_the_name_of_the_key() {
    let served = Served::new();
    let new = json!({"strategy_id": "EUR/USD one", "initial_capital": "1000", "currency": "USD", "engine": "nautilus"});
    let (status, said) = served.post("/v1/strategies", &new);
    assert_eq!((status, &said["stream"], &said["version"]), (200, &json!("EUR/USD one"), &json!(1)), "{said}");
    assert_eq!(said["events"][0]["type"], "StrategyRegistered");
    let (status, said) = served.post("/v1/strategies", &new);
    assert_eq!((status, &said["code"]), (409, &json!("STRATEGY_KNOWN")), "{said}");

    let path = |act: &str| format!("/v1/strategies/EUR%2FUSD%20one/{act}");
    let (status, said) = served.post(&path("versions"), &json!({"version_digest": "v2"}));
    let registration = &said["events"][0]["data"]["registration"];
    assert_eq!((status, &registration["engine"]), (200, &json!("nautilus")), "what is left out stays: {said}");
    let (status, said) = served.post(&path("versions"), &json!({"version_digest": "v2"}));
    assert_eq!((status, &said["code"]), (409, &json!("STATE_UNCHANGED")), "{said}");

    let (status, said) = served.post(&path("level"), &json!({"to": "L2", "reason": "a test"}));
    assert_eq!((status, &said["code"]), (409, &json!("EVIDENCE_MISSING")), "{said}");
    let by_hand = json!({"to": "L2_gated", "without_evidence": true, "reason": "a test"});
    assert_eq!(served.post(&path("level"), &by_hand).0, 200);
    assert_eq!(served.post(&path("pause"), &why()).0, 200);
    let (status, said) = served.post(&path("pause"), &why());
    assert_eq!((status, &said["code"]), (409, &json!("STATE_UNCHANGED")), "{said}");
    assert_eq!(served.post(&path("resume"), &why()).0, 200);

    let log = events(&served.desk, "EUR/USD one");
    let kinds: Vec<&str> = log.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = ["StrategyRegistered", "StrategyRegistered", "LevelSet", "StrategyPaused", "StrategyResumed"];
    assert_eq!(kinds, expected);
    for event in &log[2..] {
        assert_eq!((&event["data"]["by"], &event["data"]["reason"]), (&json!("desk"), &json!("a test")), "{event}");
    }
}

#[test]
fn what_an_act_lacks_or_does_not_know_is_named() {
    let served = governed("L2");
    let cases = [
        ("/v1/strategies/A/pause", json!({}), 422, "FIELD_MISSING", Some("reason")),
        ("/v1/strategies/A/pause", json!({"reason": "  "}), 422, "FIELD_OUT_OF_RANGE", Some("reason")),
        ("/v1/strategies/A/pause", json!({"reason": 7}), 422, "FIELD_MALFORMED", Some("reason")),
        ("/v1/strategies/A/pause", json!({"reason": "a", "by": "eve"}), 422, "FIELD_UNKNOWN", None),
        ("/v1/strategies/A/pause", json!([]), 400, "LINE_NOT_OBJECT", None),
        ("/v1/strategies/B/pause", why(), 404, "STRATEGY_UNKNOWN", Some("strategy_id")),
        ("/v1/strategies/system/pause", why(), 422, "PARAMETER_INVALID", Some("id")),
        ("/v1/strategies/B/versions", json!({"version_digest": "2"}), 404, "STRATEGY_UNKNOWN", Some("strategy_id")),
        ("/v1/strategies/A/level", json!({"to": "L9", "reason": "a"}), 422, "FIELD_MALFORMED", Some("to")),
        ("/v1/kill", json!({"reason": "a"}), 422, "FIELD_MISSING", Some("scope")),
        ("/v1/kill", json!({"scope": "desk:A", "reason": "a"}), 422, "FIELD_MALFORMED", Some("scope")),
        ("/v1/kill", json!({"scope": "strategy:ephor-drill", "reason": "a"}), 422, "FIELD_MALFORMED", Some("scope")),
        ("/v1/kill", json!({"scope": "all", "block_exit": true, "reason": "a"}), 422, "FIELD_UNKNOWN", None),
        ("/v1/kill/rearm", json!({"scope": "all", "reason": "a"}), 409, "STATE_UNCHANGED", None),
        ("/v1/approvals/A/o-9/approve", why(), 404, "ORDER_NOT_WAITING", Some("order_id")),
        ("/v1/approvals/A/o-9/decline", why(), 404, "ORDER_NOT_WAITING", Some("order_id")),
        ("/v1/tokens", json!({"strategy_id": "A", "uses": 0}), 422, "FIELD_OUT_OF_RANGE", Some("uses_max")),
        ("/v1/tokens", json!({"strategy_id": "A", "instruments": []}), 422, "FIELD_OUT_OF_RANGE", Some("instruments")),
        ("/v1/tokens", json!({"strategy_id": "A", "instruments": [7]}), 422, "FIELD_MALFORMED", Some("instruments")),
        (
            "/v1/tokens",
            json!({"strategy_id": "A", "ttl_seconds": 999_999}),
            422,
            "FIELD_OUT_OF_RANGE",
            Some("expires_at"),
        ),
        ("/v1/tokens/A/nothing/revoke", why(), 404, "TOKEN_UNKNOWN", None),
        ("/v1/tokens/A/revoke", why(), 404, "TOKEN_UNKNOWN", None),
        ("/v1/policy/proposals", why(), 422, "FIELD_MISSING", Some("policy")),
        ("/v1/policy/proposals", json!({"policy": 7, "reason": "a"}), 422, "FIELD_MALFORMED", Some("policy")),
        ("/v1/policy/proposals/0011223344556677/adopt", why(), 404, "PROPOSAL_UNKNOWN", Some("id")),
    ];
    let head = served.get("/metrics").0;
    assert_eq!(head, 200);
    let before = events(&served.desk, "A").len();
    for (path, body, status, code, field) in cases {
        let (found, said) = served.post(path, &body);
        assert_eq!(
            (found, &said["code"], said["field"].as_str()),
            (status, &json!(code), field),
            "{path} {body}: {said}"
        );
    }
    for (path, field) in [
        ("/v1/kill?limit=0", "limit"),
        ("/v1/kill?limit=many", "limit"),
        ("/v1/tokens?strategies=A", "strategies"),
        ("/v1/tokens?limit=1&limit=2", "limit"),
        ("/v1/approvals?strategy=system", "strategy"),
        ("/v1/policy?at=1", "at"),
        ("/v1/policy/proposals/x?what_if=maybe", "what_if"),
    ] {
        let (status, said) = served.get(path);
        assert_eq!((status, &said["code"]), (422, &json!("PARAMETER_INVALID")), "{path}: {said}");
        assert_eq!(said["field"], field, "{path}: {said}");
    }
    assert_eq!(events(&served.desk, "A").len(), before, "nothing was recorded");
}

#[test]
fn a_kill_stops_orders_is_listed_and_is_released_by_a_person() {
    let served = governed("L4");
    assert_eq!(served.post("/v1/orders/check", &order("o-1", false)).1["action"], "allow");
    for scope in ["strategy:A", "venue:SIM"] {
        let (status, said) = served.post("/v1/kill", &json!({"scope": scope, "block_exits": true, "reason": "a test"}));
        assert_eq!((status, &said["stream"]), (200, &json!("system")), "{said}");
    }
    assert_eq!(served.post("/v1/orders/check", &order("o-2", false)).1["action"], "kill");
    let (_, first) = served.get("/v1/kill?limit=1");
    let next = first["next"].as_str().unwrap();
    let (_, second) = served.get(&format!("/v1/kill?limit=1&after={next}"));
    let kills = [&first["kills"][0], &second["kills"][0]];
    assert_eq!(kills.map(|kill| kill["scope"].as_str().unwrap()), ["strategy:A", "venue:SIM"]);
    assert_eq!((&kills[0]["by"], &kills[0]["block_exits"]), (&json!("desk"), &json!(true)));
    assert_eq!(second["next"], Value::Null);
    for scope in ["strategy:A", "venue:SIM"] {
        assert_eq!(served.post("/v1/kill/rearm", &json!({"scope": scope, "reason": "a test"})).0, 200);
    }
    assert_eq!(served.post("/v1/orders/check", &order("o-3", false)).1["action"], "allow");
}

#[test]
fn a_drill_measures_a_kill_and_touches_nobody() {
    let served = governed("L4");
    let (status, said) = served.post("/v1/kill/drill", &why());
    assert_eq!((status, &said["scope"]), (200, &json!("strategy:ephor-drill")), "{said}");
    assert!(said["engaged_ms"].as_f64().unwrap() > 0.0 && said["released_ms"].as_f64().unwrap() > 0.0, "{said}");
    assert_eq!(said["engaged"]["events"][0]["type"], "KillSwitchEngaged");
    assert_eq!(said["released"]["events"][0]["type"], "KillSwitchReleased");
    let many: Vec<u16> = at_once(6, || served.post("/v1/kill/drill", &why()).0);
    assert!(many.contains(&200) && many.iter().all(|status| [200, 409].contains(status)), "{many:?}");
    assert_eq!(served.get("/v1/kill").1["kills"], json!([]), "none is left engaged");
    assert_eq!(served.post("/v1/orders/check", &order("o-1", false)).1["action"], "allow");
    let drilled = json!({"strategy_id": "ephor-drill", "initial_capital": "1", "currency": "USD"});
    assert_eq!(served.post("/v1/strategies", &drilled).0, 422, "nobody can have the name");
}

#[test]
fn a_critical_order_takes_two_people_and_then_passes() {
    let served = governed("L4");
    let second = key_of(&served.desk, "second", "operator");
    served.post("/v1/orders/check", &order("o-1", true));
    let (_, blocked) = served.post("/v1/orders/check", &order("o-2", true));
    assert_eq!(
        (&blocked["action"], &blocked["reason"]),
        (&json!("block"), &json!("IMPACT_APPROVAL_REQUIRED")),
        "{blocked}"
    );
    let (_, queue) = served.get("/v1/approvals?limit=1");
    let oldest = &queue["approvals"][0];
    assert_eq!((&oldest["order"]["id"], &oldest["approvals_missing"]), (&json!("o-1"), &json!(2)), "{queue}");
    let (_, rest) = served.get(&format!("/v1/approvals?after={}", queue["next"].as_str().unwrap()));
    assert_eq!(rest["approvals"].as_array().unwrap().len(), 1, "{rest}");
    assert_eq!(rest["approvals"][0]["order"]["id"], "o-2");

    let approve = "/v1/approvals/A/o-1/approve";
    let (status, said) = served.post(approve, &why());
    assert_eq!((status, &said["approvals_missing"], &said["signed"]), (200, &json!(1), &Value::Null), "{said}");
    let (status, said) = served.post(approve, &why());
    assert_eq!((status, &said["code"]), (409, &json!("APPROVAL_REPEATED")), "{said}");
    assert_eq!(served.post("/v1/orders/check", &order("o-1", true)).1["action"], "block", "one is not enough");
    // A key made a moment ago is known within a second.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let (status, said) = with_key(&served, &second, approve, &why());
    assert_eq!((status, &said["approvals_missing"]), (200, &json!(0)), "{said}");
    let signed = said["signed"].as_str().unwrap();
    let verified = served.desk.run(&["token", "verify", signed, "--json"]).ended(0).json();
    assert_eq!(
        (&verified["claims"]["order_id"], &verified["claims"]["iss"]),
        (&json!("o-1"), &json!("second")),
        "{verified}"
    );

    let (_, passed) = served.post("/v1/orders/check", &order("o-1", true));
    assert_eq!((&passed["execution"], &passed["attempt"]), (&json!("live"), &json!(1)), "{passed}");
    assert_eq!(served.post("/v1/approvals/A/o-2/decline", &why()).0, 200);
    assert_eq!(served.get("/v1/approvals").1["approvals"], json!([]));
    let log = events(&served.desk, "A");
    let people: Vec<_> = log.iter().filter(|event| event["type"] == "OrderApproved").collect();
    assert_eq!(
        people.iter().map(|event| event["data"]["by"].as_str().unwrap()).collect::<Vec<_>>(),
        ["desk", "second"]
    );
    assert!(people.iter().all(|event| event["trace_id"] == passed["trace_id"]), "tied to the order: {people:?}");
}

#[test]
fn tokens_are_issued_signed_used_listed_and_revoked() {
    let served = governed("L2");
    let wanted = json!({
        "strategy_id": "A", "instruments": ["EUR/USD.SIM"], "side": "buy", "max_notional_usd": "50000", "uses": 2,
        "ttl_seconds": 600,
    });
    let (status, issued) = served.post("/v1/tokens", &wanted);
    assert_eq!(status, 200, "{issued}");
    let signed = issued["signed"].as_str().unwrap();
    let verified = served.desk.run(&["token", "verify", signed, "--json"]).ended(0).json();
    assert_eq!(
        (&verified["claims"]["iss"], &verified["claims"]["max_notional_usd"]),
        (&json!("desk"), &json!("50000")),
        "{verified}"
    );
    let mut shown = order("o-1", false);
    shown["token"] = json!(signed);
    let (_, passed) = served.post("/v1/orders/check", &shown);
    assert_eq!(passed["execution"], "live", "{passed}");
    for _ in 0..2 {
        assert_eq!(served.post("/v1/tokens", &json!({"strategy_id": "A"})).0, 200);
    }
    let (_, listed) = served.get("/v1/tokens?strategy=A");
    let tokens = listed["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 3, "{listed}");
    assert_eq!((&tokens[0]["uses_left"], &tokens[0]["issued_by"]), (&json!(1), &json!("desk")), "{listed}");
    let id = tokens[0]["id"].as_str().unwrap();
    assert_eq!(served.post(&format!("/v1/tokens/A/{id}/revoke"), &why()).0, 200);
    let (status, all) = served.post("/v1/tokens/A/revoke", &why());
    assert_eq!((status, all["events"].as_array().unwrap().len()), (200, 2), "{all}");
    assert_eq!(served.get("/v1/tokens").1["tokens"], json!([]));
}

#[test]
fn a_policy_is_checked_proposed_weighed_and_adopted() {
    let served = governed("L4");
    served.post("/v1/orders/check", &order("o-1", false));
    let (_, before) = served.get("/v1/policy");
    assert_eq!((&before["adopted"]["by"], &before["policy"]["gate"]), (&json!("ephor"), &before["policy"]["gate"]));
    let stricter = json!({"maturity": {"sizing_caps": [0.0, 0.0, 0.1, 0.2, 0.5]}});
    let (status, checked) = served.post("/v1/policy/check", &stricter);
    assert_eq!((status, &checked["in_force"]), (200, &json!(false)), "{checked}");
    assert_eq!(checked["changes"][0]["field"], "maturity.sizing_caps");
    let toml = |text: &str| {
        let request = served.request(Method::POST, "/v1/policy/check").header("content-type", "application/toml");
        let response = request.body(text.to_owned()).send().unwrap();
        (response.status().as_u16(), response.json::<Value>().unwrap())
    };
    let (status, same) = toml("[maturity]\nsizing_caps = [0.0, 0.0, 0.1, 0.2, 0.5]\n");
    assert_eq!((status, &same["policy_id"]), (200, &checked["policy_id"]), "{same}");
    let (status, wrong) = toml("[maturity]\ncaps = 1\n");
    assert_eq!((status, &wrong["code"], &wrong["field"]), (422, &json!("POLICY_INVALID"), &json!("maturity.caps")));
    let other = served.request(Method::POST, "/v1/policy/check").header("content-type", "text/plain").body("a");
    assert_eq!(other.send().unwrap().status().as_u16(), 415);

    let (status, said) = served.post("/v1/policy/proposals", &json!({"policy": stricter, "reason": "holidays"}));
    assert_eq!((status, &said["events"][0]["type"]), (200, &json!("PolicyProposed")), "{said}");
    let (_, listed) = served.get("/v1/policy/proposals");
    let id = listed["proposals"][0]["id"].as_str().unwrap();
    assert_eq!(id, checked["policy_id"]);
    let (status, weighed) = served.get(&format!("/v1/policy/proposals/{id}?what_if=true"));
    assert_eq!((status, &weighed["reason"]), (200, &json!("holidays")), "{weighed}");
    assert!(weighed["what_if"]["commits"].as_u64().unwrap() > 0, "{weighed}");
    assert!(weighed["what_if"]["policies"][0]["orders"].is_object(), "{weighed}");
    assert_eq!(served.get(&format!("/v1/policy/proposals/{id}")).1["what_if"], Value::Null);
    assert_eq!(served.get("/v1/policy").1["policy_id"], before["policy_id"], "a proposal changes nothing");

    let (status, said) = served.post(&format!("/v1/policy/proposals/{id}/adopt"), &why());
    assert_eq!((status, &said["events"][0]["type"]), (200, &json!("PolicyAdopted")), "{said}");
    let (_, after) = served.get("/v1/policy");
    assert_eq!((&after["policy_id"], &after["adopted"]["by"]), (&json!(id), &json!("desk")), "{after}");
    assert_eq!(served.get("/v1/policy/proposals").1["proposals"], json!([]));
    let (_, smaller) = served.post("/v1/orders/check", &order("o-2", false));
    assert_eq!(smaller["multiplier"], 0.5, "{smaller}");
}

#[test]
fn a_proposal_is_weighed_by_the_whole_history_and_one_at_a_time() {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    let key = key_of(&desk, "desk", "admin");
    let served = Served::at(desk, key, &[]);
    let gentler = json!({"policy": {"maturity": {"demotion_loss_streak": 11}}, "reason": "a test"});
    assert_eq!(served.post("/v1/policy/proposals", &gentler).0, 200);
    let (_, listed) = served.get("/v1/policy/proposals");
    let path = format!("/v1/policy/proposals/{}?what_if=true", listed["proposals"][0]["id"].as_str().unwrap());
    let viewer = key_of(&served.desk, "eve", "viewer");
    let looked = served.client.get(format!("{}{path}", served.address)).bearer_auth(viewer).send().unwrap();
    assert!([401, 403].contains(&looked.status().as_u16()), "a viewer decides no history again: {looked:?}");
    let many = at_once(6, || served.get(&path));
    assert!(many.iter().any(|(status, _)| *status == 200), "{many:?}");
    for (status, said) in many {
        match status {
            200 => {
                let said = &said["what_if"]["policies"][0];
                assert_eq!(said["strategies"], json!([]), "totals alone: {said}");
                assert!(said["orders"]["decided"].as_u64().unwrap_or(1) > 0, "{said}");
            }
            _busy => assert_eq!((status, &said["code"]), (503, &json!("WHAT_IF_BUSY")), "{said}"),
        }
    }
}

#[test]
fn an_act_under_one_idempotency_key_is_done_once() {
    let served = governed("L4");
    let send = |path: &str, key: &str, body: &Value| {
        let request = served.request(Method::POST, path).header("Idempotency-Key", key).json(body);
        let response = request.send().unwrap();
        let replayed = response.headers().get("Idempotent-Replayed").is_some_and(|value| value == "true");
        (response.status().as_u16(), replayed, response.text().unwrap())
    };
    let token = json!({"strategy_id": "A"});
    let first = send("/v1/tokens", "k-1", &token);
    let again = send("/v1/tokens", "k-1", &token);
    assert_eq!((first.0, first.1, again.0, again.1), (200, false, 200, true), "{}", again.2);
    assert_eq!(first.2, again.2, "the same answer, to the byte");
    assert_eq!(served.get("/v1/tokens").1["tokens"].as_array().unwrap().len(), 1, "one token");
    for (path, body) in [("/v1/tokens", json!({"strategy_id": "A", "uses": 2})), ("/v1/kill/drill", why())] {
        let other = send(path, "k-1", &body);
        assert_eq!(other.0, 422, "{}", other.2);
        assert!(other.2.contains("IDEMPOTENCY_KEY_REUSED"), "{}", other.2);
    }
    // What a rule refused stays refused under its key, whatever has changed since.
    let pause = "/v1/strategies/A/pause";
    assert_eq!(send(pause, "k-2", &why()).0, 200);
    assert_eq!(send(pause, "k-3", &why()).0, 409);
    assert_eq!(served.post("/v1/strategies/A/resume", &why()).0, 200);
    assert_eq!((send(pause, "k-2", &why()).0, send(pause, "k-3", &why()).0), (200, 409));
    let paused = events(&served.desk, "A").iter().filter(|event| event["type"] == "StrategyPaused").count();
    assert_eq!(paused, 1);
    let wrong = send(pause, &"k".repeat(200), &why());
    assert!(wrong.0 == 422 && wrong.2.contains("Idempotency-Key"), "{}", wrong.2);
    // Of many at once with one key, one is done.
    let many = at_once(8, || send("/v1/tokens", "k-4", &json!({"strategy_id": "A"})));
    assert!(many.iter().all(|(status, _, _)| [200, 409].contains(status)), "{many:?}");
    assert_eq!(many.iter().filter(|(status, replayed, _)| *status == 200 && !replayed).count(), 1, "{many:?}");
    assert_eq!(served.get("/v1/tokens").1["tokens"].as_array().unwrap().len(), 2);
}

#[test]
fn orders_are_approved_and_declined_offline_as_well() {
    let served = governed("L4");
    for id in ["o-1", "o-2"] {
        served.post("/v1/orders/check", &order(id, true));
    }
    served.signal("TERM");
    let desk = served.into_desk();
    let act = |who: &str, what: &str, id: &str| {
        desk.run(&["approvals", what, "A", id, "--by", who, "--reason", "a test", "--json"])
    };
    let listed = desk.run(&["approvals", "list", "--json"]).ended(0).json();
    assert_eq!((&listed[0]["order"]["id"], &listed[1]["approvals_missing"]), (&json!("o-1"), &json!(2)), "{listed}");
    assert_eq!(act("alice", "approve", "o-1").ended(0).json()["signed"], Value::Null);
    assert!(act("alice", "approve", "o-1").ended(2).err.contains("another person must"));
    let text = desk.run(&["approvals", "list", "A"]).ended(0).out;
    assert!(text.contains("alice") && text.contains("critical") && text.contains("o-2"), "{text}");
    let signed = act("bob", "approve", "o-1").ended(0).json()["signed"].as_str().unwrap().to_owned();
    desk.run(&["token", "verify", &signed]).ended(0);
    act("alice", "decline", "o-2").ended(0);
    act("alice", "decline", "o-2").ended(2);
    let left = desk.run(&["approvals", "list", "--json"]).ended(0).json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["approvals_missing"]), (1, &json!(0)), "{left}");
}

#[test]
fn nothing_is_acted_on_where_governance_is_disabled() {
    let desk = Desk::new();
    let key = key_of(&desk, "desk", "admin");
    let served = Served::disabled(desk, key);
    for (path, body) in [("/v1/kill", json!({"scope": "all", "reason": "a"})), ("/v1/kill/drill", why())] {
        let (status, said) = served.post(path, &body);
        assert_eq!((status, &said["code"]), (409, &json!("GOVERNANCE_DISABLED")), "{said}");
    }
    assert_eq!(served.get("/v1/approvals").1["code"], "GOVERNANCE_DISABLED");
}

/// The roles that a route lets in, by what it documents.
fn let_in(operation: &Value) -> Option<Vec<&'static str>> {
    operation.get("security")?;
    let all = ["viewer", "engine", "operator", "admin"];
    let Some(said) = operation.pointer("/responses/403/description").and_then(Value::as_str) else {
        return Some(all.to_vec());
    };
    let named = said.strip_prefix("Not of the role ").unwrap_or_else(|| panic!("{said}"));
    let named: Vec<&str> = named.split(" or ").collect();
    assert!(named.contains(&"admin") && named.iter().all(|role| all.contains(role)), "{said}");
    Some(all.into_iter().filter(|role| named.contains(role)).collect())
}

#[test]
fn every_route_lets_in_the_roles_that_it_documents_and_nobody_else() {
    let desk = Desk::new();
    let keys = ["viewer", "engine", "operator", "admin"].map(|role| (role, key_of(&desk, role, role)));
    let admin = keys[3].1.clone();
    let served = Served::at(desk, admin, &[]);
    let document = served.get("/openapi.json").1;
    let mut asked = 0;
    for (pattern, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let path = pattern.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let url = format!("{}{}", served.address, path.collect::<Vec<_>>().join("/"));
            let status = |key: Option<&str>| {
                let request = served.client.request(method.clone(), &url);
                let request = if method == Method::GET { request } else { request.json(&json!({})) };
                let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
                request.send().unwrap().status().as_u16()
            };
            asked += 1;
            let Some(roles) = let_in(operation) else {
                assert!(![401, 403].contains(&status(None)), "{method} {pattern} is open");
                continue;
            };
            assert_eq!(status(None), 401, "{method} {pattern} without a key");
            let stranger = "ephor_0a1b2c3d4e5f_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
            assert_eq!(status(Some(stranger)), 401, "{method} {pattern} with an unknown key");
            for (role, key) in &keys {
                let found = status(Some(key));
                if roles.contains(role) {
                    assert!(![401, 403, 405].contains(&found), "{method} {pattern} as {role}: {found}");
                    let documented = operation["responses"].get(found.to_string().as_str());
                    assert!(documented.is_some(), "{method} {pattern} as {role}: {found} is not documented");
                } else {
                    assert_eq!(found, 403, "{method} {pattern} as {role}");
                }
            }
        }
    }
    assert!(asked >= 25, "{asked} routes");
}
