//! NATS: who is let in and with what, and what `ephor feed` sends when.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certified;
#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod servers;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use certified::certificates;
use cli::{Desk, Said};
use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use nkeys::KeyPair;
use serde_json::{Value, json};
use servers::Nats;

fn status(desk: &Desk, nats: &Nats, url: &str, more: &str) -> Said {
    let url = if url.is_empty() { nats.url() } else { url.to_owned() };
    desk.write("ephor.toml", format!("[[bus.nats]]\nname = \"desk\"\nservers = [\"{url}\"]\n{more}"));
    desk.run(&["bus", "status"])
}

fn secret(desk: &Desk, text: &str) {
    let path = desk.write("secret", text);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn a_password_a_token_and_an_nkey_open_the_door_and_nothing_else_does() {
    // The pair that the documentation of NATS shows.
    let (seed, public) = (
        "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
        "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    );
    let doors = [
        ("authorization { user: ephor, password: right }", "user_password", "ephor:right\n", "ephor:wrong"),
        ("authorization { token: right }", "token", "right", "wrong"),
        (
            &format!("authorization {{ users: [ {{ nkey: {public} }} ] }}"),
            "nkey",
            seed,
            "SUAOSJLBUWAZQTRZEYRVGKBP7IDXQGDXDNHBZSVT7BVUGAQS3JY57KUJ2I",
        ),
    ];
    for (config, kind, right, wrong) in doors {
        let (nats, desk) = (Nats::with(config), Desk::new());
        let auth = format!("auth = {{ {kind} = \"secret\" }}\n");
        secret(&desk, right);
        let said = status(&desk, &nats, "", &auth).ended(1);
        assert!(said.out.contains("EPHOR_IN"), "{said:?}");
        secret(&desk, wrong);
        status(&desk, &nats, "", &auth).ended(3);
        let said = status(&desk, &nats, "", "").ended(3);
        assert!(!said.err.contains(right.trim()), "{said:?}");
        secret(&desk, right);
        std::fs::set_permissions(desk.path("secret"), PermissionsExt::from_mode(0o640)).unwrap();
        let said = status(&desk, &nats, "", &auth).ended(3);
        assert!(said.err.contains("is open to others (mode 640)"), "{said:?}");
        std::fs::remove_file(desk.path("secret")).unwrap();
        status(&desk, &nats, "", &auth).ended(3);
    }
}

/// A token as NATS makes them: claims of whoever signs about somebody.
fn claims(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let encode = |value: &Value| Base64UrlSafeNoPadding::encode_to_string(value.to_string()).unwrap();
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let (iss, sub) = (issuer.public_key(), subject.public_key());
    let claims = json!({ "jti": sub, "iat": 1_700_000_000, "iss": iss, "sub": sub, "name": "test", "nats": nats });
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", Base64UrlSafeNoPadding::encode_to_string(signature).unwrap())
}

/// The file that a user is given: the token and the seed.
fn credentials(token: &str, user: &KeyPair) -> String {
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[test]
fn a_credentials_file_opens_the_door_of_a_server_with_an_operator_and_a_strangers_does_not() {
    let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let account_of = |subject: &KeyPair, limits: &Value| {
        claims(&operator, subject, &json!({ "type": "account", "version": 2, "limits": limits }))
    };
    let mut without_streams = limits.clone();
    without_streams["disk_storage"] = json!(0);
    without_streams["mem_storage"] = json!(0);
    let operator_token = claims(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
    let config = format!(
        "operator: {operator_token}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}: {}\n{}: {}\n}}",
        system.public_key(),
        system.public_key(),
        account_of(&system, &without_streams),
        account.public_key(),
        account_of(&account, &limits),
    );
    let (nats, desk) = (Nats::with(&config), Desk::new());
    let auth = "auth = { creds = \"secret\" }\n";
    let user = KeyPair::new_user();
    let nobody = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    secret(&desk, &credentials(&claims(&account, &user, &nobody), &user));
    let said = status(&desk, &nats, "", auth).ended(1);
    assert!(said.out.contains("EPHOR_IN"), "{said:?} {}", nats.log());
    desk.run(&["bus", "setup"]).ended(0);
    status(&desk, &nats, "", auth).ended(0);
    status(&desk, &nats, "", "").ended(3);
    // Of an account that the operator has not signed, and with a seed that is not the token's.
    let (stranger, other) = (KeyPair::new_account(), KeyPair::new_user());
    secret(&desk, &credentials(&claims(&stranger, &user, &nobody), &user));
    status(&desk, &nats, "", auth).ended(3);
    secret(&desk, &credentials(&claims(&account, &user, &nobody), &other));
    let said = status(&desk, &nats, "", auth).ended(3);
    assert!(!said.err.contains(&other.seed().unwrap()), "{said:?}");
}

#[test]
fn tls_is_spoken_with_the_authority_and_the_certificate_of_the_settings() {
    let place = tempfile::tempdir().unwrap();
    certificates(place.path(), &["server", "client"]);
    let file = |name: &str| place.path().join(name).display().to_string();
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let (nats, desk) = (Nats::with(&config), Desk::new());
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let whole = format!("tls = {{ ca = \"{ca}\", certificate = \"{certificate}\", key = \"{key}\" }}\n");
    let said = status(&desk, &nats, "", &whole).ended(1);
    assert!(said.out.contains("EPHOR_IN"), "{said:?}");
    status(&desk, &nats, "", &format!("tls = {{ ca = \"{ca}\" }}\n")).ended(3);
    status(&desk, &nats, "", "").ended(3);
    let said = status(&desk, &nats, "", &format!("tls = {{ certificate = \"{certificate}\" }}\n")).ended(2);
    assert!(said.err.contains("bus.nats.tls"), "{said:?}");
}

#[test]
fn a_wrong_setting_is_named() {
    let (nats, desk) = (Nats::new(), Desk::new());
    for (wrong, field) in [
        ("[bus.nats.input]\nstream = \"a.b\"\n", "bus.nats.input.stream"),
        ("[bus.nats.dead]\nsubject = \"a..b\"\n", "bus.nats.dead.subject"),
        ("[bus.nats.input]\nsubjects = [\"ephor.>\"]\n", "bus.nats.input.subjects"),
        ("[bus.nats.input]\nack_wait_seconds = 0\n", "bus.nats.input.ack_wait_seconds"),
        ("[bus.nats.events.limits]\nreplicas = 9\n", "bus.nats.events.limits"),
        ("[bus.nats.reading]\npending_max = 0\n", "bus.nats.reading"),
    ] {
        let said = status(&desk, &nats, "", wrong).ended(2);
        assert!(said.err.contains(field), "{wrong}: {said:?}");
    }
}

fn lines(times: &[&str]) -> String {
    let line = |(number, time): (usize, &&str)| {
        json!({ "type": "trade_closed", "id": format!("t-{number}"), "ts": time }).to_string() + "\n"
    };
    times.iter().enumerate().map(line).collect()
}

#[test]
fn a_file_goes_out_as_fast_as_it_happened_divided_by_the_speed_and_each_id_once() {
    let (nats, desk) = (Nats::new(), Desk::new());
    status(&desk, &nats, "", "");
    desk.run(&["bus", "setup"]).ended(0);
    let text = lines(&["2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z", "2024-01-01T00:02:00Z"]);
    let file = desk.write("in.jsonl", text);
    let feed = |speed: &str| {
        let started = Instant::now();
        let said = desk.run(&["feed", "--to", &nats.url(), "--speed", speed, file.to_str().unwrap()]).ended(0);
        assert!(said.out.starts_with("3 lines sent"), "{said:?}");
        started.elapsed()
    };
    assert!(feed("120") >= Duration::from_secs(1));
    assert_eq!(nats.state("EPHOR_IN").messages, 3);
    feed("0");
    let kept = nats.state("EPHOR_IN");
    assert_eq!(kept.messages, 3, "the server knows the ids");
    let said = desk.run(&["feed", "--to", "http://127.0.0.1", file.to_str().unwrap()]).ended(3);
    assert!(said.err.contains("nats://"), "{said:?}");
    let said = desk.run(&["feed", "--to", &nats.url(), "--speed", "-1", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn interrupted_it_says_how_much_went_out() {
    let (nats, desk) = (Nats::new(), Desk::new());
    status(&desk, &nats, "", "");
    desk.run(&["bus", "setup"]).ended(0);
    let file = desk.write("in.jsonl", lines(&["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]));
    let mut command: Command = desk.program(&["feed", "--to", &nats.url(), "--speed", "1", file.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    servers::eventually("the first line is out", || nats.state("EPHOR_IN").messages == 1);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = Said::of(&child.wait_with_output().unwrap()).ended(130);
    assert!(said.out.starts_with("1 lines sent"), "{said:?}");
}
