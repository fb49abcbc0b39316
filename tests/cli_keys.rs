//! Keys from the command line: made once, shown once, taken back; and tokens that check without the log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use cli::{Desk, demo};
use ephor::keys::api::{ApiKeys, Role};
use serde_json::{Value, json};

fn issue(desk: &Desk, more: &[&str]) -> Value {
    let issue = ["token", "issue", "A", "--by", "alice", "--json"];
    desk.run(&[&issue, more].concat()).ended(0).json()
}

/// A directory with one strategy in its log.
fn governed() -> Desk {
    let desk = Desk::new();
    desk.govern(r#"{"type":"strategy","id":"r1","ts":"2020-01-01T00:00:00Z","strategy_id":"A","initial_capital":"1000","currency":"USD"}"#);
    desk
}

#[test]
fn an_api_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let desk = Desk::new();
    let none = desk.run(&["api-key", "list"]).ended(0);
    assert!(none.out.starts_with("there is no API key: "), "{}", none.out);
    let made = desk.run(&["api-key", "create", "--name", "alice", "--role", "operator"]).ended(0);
    let key = made.out.trim();
    assert!(key.starts_with("ephor_") && !made.err.contains(key), "{made:#?}");
    assert!(made.err.contains("alice (operator), shown this once:"), "{}", made.err);

    let keys = ApiKeys::open(&desk.path("ephor-data")).unwrap();
    let caller = keys.verify(key).unwrap();
    assert_eq!((caller.name.as_str(), caller.role), ("alice", Role::Operator));
    let listed = desk.run(&["api-key", "list"]).ended(0).out;
    let secret = key.splitn(3, '_').nth(2).unwrap();
    assert!(listed.contains(&caller.key_id) && listed.contains("operator") && !listed.contains(secret), "{listed}");

    let second = desk.run(&["api-key", "create", "--name", "bob", "--role", "admin", "--json"]).ended(0).json();
    assert!(second["key"].as_str().unwrap().starts_with("ephor_"));
    let revoke = ["api-key", "revoke", &caller.key_id];
    let revoked = desk.run(&revoke).ended(0);
    assert_eq!(revoked.out, format!("the key {} of alice (operator) is revoked\n", caller.key_id));
    keys.refresh().unwrap();
    assert!(keys.verify(key).is_none() && keys.verify(second["key"].as_str().unwrap()).is_some());
    let again = desk.run(&revoke).ended(2);
    assert_eq!(again.err, format!("error: the key {} is revoked already\n", caller.key_id));
    assert_eq!(desk.run(&["api-key", "revoke", "x"]).ended(2).err, "error: there is no key \"x\"\n");
    let listed = desk.run(&["api-key", "list", "--json"]).ended(0);
    assert!(listed.json()[0]["revoked_at"].is_string() && listed.json()[1]["revoked_at"].is_null());
    assert!(!listed.out.contains(secret) && !listed.out.contains("blake3"), "{}", listed.out);
    assert!(!desk.path("ephor-data/log").exists(), "no log is needed");
}

#[test]
fn a_key_needs_a_name_and_a_role_that_there_is() {
    let desk = Desk::new();
    for args in [
        &["api-key", "create", "--name", "alice"][..],
        &["api-key", "create", "--role", "admin"],
        &["api-key", "create", "--name", "alice", "--role", "root"],
        &["api-key", "create", "--name", "", "--role", "admin"],
        &["api-key", "create", "--name", "a\nb", "--role", "admin"],
        &["api-key", "create", "--name", "canary", "--role", "admin"],
    ] {
        desk.run(args).ended(2);
    }
    assert!(!desk.path("ephor-data/keys/api-keys.json").exists());
}

#[test]
fn a_certificate_makes_a_key_without_a_secret() {
    let desk = Desk::new();
    let [one, two] = ["engine", "other"].map(|name| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap());
    desk.write("engine.pem", one.cert.pem());
    desk.write("both.pem", one.cert.pem() + &two.cert.pem());
    desk.write("key.pem", one.signing_key.serialize_pem());
    desk.write("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let create = |file: &str, code| {
        let args = ["api-key", "create", "--name", "engine", "--role", "engine", "--certificate", file, "--json"];
        desk.run(&args).ended(code)
    };
    let made = create("engine.pem", 0).json();
    assert_eq!((&made["key"], made["certificate_sha256"].as_str().unwrap().len()), (&Value::Null, 64));
    let keys = ApiKeys::open(&desk.path("ephor-data")).unwrap();
    assert_eq!(keys.verify_certificate(one.cert.der()).unwrap().name.as_str(), "engine");
    assert!(keys.verify_certificate(two.cert.der()).is_none());
    assert!(create("engine.pem", 2).err.contains("belongs to the key"));
    assert!(create("both.pem", 2).err.contains("holds 2 certificates"));
    assert!(create("key.pem", 2).err.contains("holds no certificate"));
    assert!(create("broken.pem", 2).err.contains("not PEM"));
    create("nowhere.pem", 3);
}

#[test]
fn many_commands_at_once_lose_no_key() {
    let desk = Desk::new();
    let create = ["api-key", "create", "--name", "engine", "--role", "engine"];
    let children: Vec<_> =
        (0..12).map(|_| desk.program(&create).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()).collect();
    let keys: Vec<String> = children
        .into_iter()
        .map(|child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned())
        .collect();
    let table = ApiKeys::open(&desk.path("ephor-data")).unwrap();
    assert_eq!(keys.iter().filter(|key| table.verify(key).is_some()).count(), 12);
}

#[test]
fn a_damaged_key_file_is_named_and_never_written_over() {
    let desk = Desk::new();
    desk.run(&["api-key", "create", "--name", "alice", "--role", "admin"]).ended(0);
    let path = desk.write("ephor-data/keys/api-keys.json", "{\"version\":1,\"keys\":[");
    for args in [&["api-key", "list"][..], &["api-key", "create", "--name", "eve", "--role", "admin"]] {
        assert!(desk.run(args).ended(3).err.contains("api-keys.json: EOF while parsing"));
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"version\":1,\"keys\":[");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(desk.run(&["api-key", "list"]).ended(3).err.contains("is open to others (mode 644): chmod 600"));
}

#[test]
fn signing_keys_are_rotated_and_given_away_without_their_secret() {
    let desk = Desk::new();
    assert!(desk.run(&["keys", "list"]).ended(0).out.starts_with("there is no signing key: "));
    assert!(desk.run(&["keys", "public"]).ended(2).err.contains("`ephor keys rotate` makes keys"));
    let first = desk.run(&["keys", "rotate", "--json"]).ended(0).json();
    let said = desk.run(&["keys", "rotate"]).ended(0).out;
    let listed = desk.run(&["keys", "list", "--json"]).ended(0).json();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["signs"], &listed[1]["signs"]),
        (&first["id"], &json!(false), &json!(true))
    );
    assert!(listed[0]["retired_at"].is_string() && listed[1]["retired_at"].is_null());
    let second = listed[1]["id"].as_str().unwrap();
    assert_eq!(said, format!("tokens are signed with {second} from now on\n"));
    assert!(desk.run(&["keys", "list"]).ended(0).out.lines().last().unwrap().ends_with("signs"));

    let public = desk.run(&["keys", "public"]).ended(0);
    assert_eq!(public.json()["implicit_assertion"], "ephor execution token v1");
    assert_eq!(public.json()["keys"].as_array().unwrap().len(), 2);
    let one = desk.run(&["keys", "public", "--id", second]).ended(0).json();
    assert_eq!((one["keys"].as_array().unwrap().len(), &one["keys"][0]["id"]), (1, &json!(second)));
    desk.run(&["keys", "public", "--id", "k4.pid.x"]).ended(2);
    let secret = std::fs::read_to_string(desk.path("ephor-data/keys/signing.json")).unwrap();
    let secret = secret.split("k4.secret.").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(!public.out.contains(&secret));
    let mode = std::fs::metadata(desk.path("ephor-data/keys/signing.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_issued_token_checks_with_the_public_keys_alone_also_after_a_rotation() {
    let desk = governed();
    let said = desk.run(&["token", "issue", "A", "--by", "alice"]).ended(0).out;
    let text = said.lines().last().unwrap();
    assert!(text.starts_with("v4.public."), "{said}");
    let scope = ["--side", "buy", "--instrument", "X", "--max-notional-usd", "500.50", "--order", "O-1"];
    let issued = issue(&desk, &scope);
    let token = issued["signed"].as_str().unwrap();
    desk.run(&["keys", "rotate"]).ended(0);
    let public = desk.run(&["keys", "public"]).ended(0).out;

    let away = Desk::new();
    away.write("public.json", public);
    let verify = |more: &[&str], code| {
        away.run(&[&["token", "verify", token, "--public", "public.json"], more].concat()).ended(code)
    };
    let valid = verify(&[], 0).out;
    let grant = &issued["events"][0]["data"]["issued"];
    for part in [
        &format!("valid: token {} of A\n", grant["id"].as_str().unwrap()),
        "covers  order O-1, buy, X, up to 500.50 USD\n",
        "uses    1\n",
        "until   ",
        " seconds)\n",
        "by      alice\n",
    ] {
        assert!(valid.contains(part), "{part}: {valid}");
    }
    let found = verify(&["--json"], 0).json();
    assert_eq!((&found["valid"], &found["covers"]), (&json!(true), &Value::Null));
    assert_eq!((&found["claims"]["jti"], &found["claims"]["exp"]), (&grant["id"], &grant["expires_at"]));
    assert_eq!(found["claims"]["iat"], issued["at"]);
    let logged = desk.run(&["events", "--json", "--type", "TokenChanged"]).ended(0).out;
    assert!(logged.contains(found["claims"]["trace_id"].as_str().unwrap()), "the trace is the issue's: {logged}");
    assert!(
        away.run(&["token", "verify", text, "--public", "public.json"]).ended(0).out.contains("covers  any order\n")
    );

    let order = |field: &str, value: Value| {
        let mut order = json!({
            "strategy_id": "A", "order_id": "O-1", "instrument": "X", "side": "buy", "qty": "5", "price": "100",
            "notional": "500", "currency": "USD",
        });
        order[field] = value;
        order.to_string()
    };
    let whole = order("notional", json!("500"));
    assert!(verify(&["--order", &whole], 0).out.ends_with("order   O-1 is covered\n"));
    for (field, value, mismatch) in [
        ("strategy_id", json!("B"), "strategy"),
        ("instrument", json!("Y"), "instrument"),
        ("side", json!("sell"), "side"),
        ("order_id", json!("O-2"), "order"),
        ("notional", json!("500.51"), "notional"),
        ("notional", Value::Null, "notional"),
        ("currency", json!("EUR"), "notional"),
    ] {
        let other = order(field, value);
        let said = verify(&["--order", &other, "--json"], 1).json();
        assert_eq!((&said["covers"], &said["mismatch"]), (&json!(false), &json!(mismatch)), "{other}");
        assert!(verify(&["--order", &other], 1).out.contains("not covered: "));
    }
    let wrong = verify(&["--order", &order("qty", json!("many"))], 2).err;
    assert!(wrong.starts_with("error: order: qty: expected a decimal number"), "{wrong}");
    verify(&["--order", "{}"], 2);
    assert!(!away.path("ephor-data").exists(), "nothing was opened and nothing made");
}

#[test]
fn a_token_that_is_not_good_ends_with_1_and_says_why() {
    let desk = governed();
    let token = issue(&desk, &["--ttl-seconds", "1"])["signed"].as_str().unwrap().to_owned();
    let other = governed();
    let foreign = issue(&other, &[])["signed"].as_str().unwrap().to_owned();
    let verify = |token: &str| desk.run(&["token", "verify", token, "--json"]).ended(1).json()["code"].clone();
    assert_eq!(verify("v4.public.nothing"), "TOKEN_MALFORMED");
    assert_eq!(verify(&foreign), "TOKEN_KEY_UNKNOWN");
    let parts: Vec<&str> = token.split('.').collect();
    let forged = ["v4", "public", foreign.split('.').nth(2).unwrap(), parts[3]].join(".");
    assert_eq!(verify(&forged), "TOKEN_SIGNATURE_WRONG");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(verify(&token), "TOKEN_EXPIRED");
    let said = desk.run(&["token", "verify", &token]).ended(1).out;
    assert!(said.starts_with("not valid: expired at "), "{said}");

    let good = issue(&desk, &[])["signed"].as_str().unwrap().to_owned();
    let file = desk.write("token.txt", format!("{good}\n"));
    let output = desk.program(&["token", "verify", "-"]).stdin(std::fs::File::open(file).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(desk.run(&["token", "verify", &good, "--public", "none.json"]).ended(2).err.contains("none.json"));
    desk.run(&["token", "verify"]).ended(2);
}

#[test]
fn a_token_that_cannot_be_signed_is_not_issued() {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    desk.run(&["keys", "rotate"]).ended(0);
    desk.write("ephor-data/keys/signing.json", "{}");
    let refused = desk.run(&["token", "issue", "FT-SampleStrategy", "--by", "alice"]).ended(3);
    assert!(refused.err.contains("signing.json: not a signing key"), "{}", refused.err);
    assert_eq!(desk.run(&["token", "list"]).ended(0).out, "no token is in force\n");
}
