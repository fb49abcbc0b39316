//! NATS: who is let in and with what, and what `ephor feed` sends when.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod servers;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cli::{Desk, Said};
use serde_json::json;
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

/// A certificate authority, the server's certificate and a client's, as PEM files.
fn certificates(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        let path = dir.join(format!("{name}.key"));
        std::fs::write(&path, key.serialize_pem()).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

#[test]
fn tls_is_spoken_with_the_authority_and_the_certificate_of_the_settings() {
    let place = tempfile::tempdir().unwrap();
    certificates(place.path());
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
