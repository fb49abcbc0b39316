//! Clients that mean harm, or know no better: each is answered with a problem or cut off, and the service lives on.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use reqwest::blocking::{Client, Response};
use reqwest::{Certificate, Identity};
use serde_json::{Value, json};
use served::Served;

const LIMITS: &str =
    "[server]\nworkers = 1\n[server.limits]\nbody_kib = 64\nhead_timeout_ms = 700\nrequest_timeout_ms = 900\n";

fn order(id: &str) -> Value {
    json!({ "order_id": id, "strategy_id": "s-1", "instrument": "ABC", "side": "BUY", "qty": "1", "price": "2" })
}

fn connect(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.authority()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// What the service says until it hangs up.
#[track_caller]
fn rest(mut stream: &TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the service neither answers nor hangs up: {error}"),
    }
    String::from_utf8(said).unwrap()
}

/// A request as bytes, with a key that is known.
fn raw(served: &Served, head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("POST /v1/orders/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{head}\r\n", served.key)
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[track_caller]
fn lives(served: &Served) {
    assert_eq!(served.get("/healthz").0, 200);
    let (status, said) = served.post("/v1/orders/check", &order("lives"));
    assert_eq!((status, &said["order_id"]), (200, &json!("lives")), "{said}");
    let said = served.stderr();
    assert!(!said.contains("panicked"), "{said}");
}

/// A body sent as it is.
#[track_caller]
fn refused(served: &Served, kind: &str, body: &[u8]) -> (u16, String) {
    let request = served.request(reqwest::Method::POST, "/v1/orders/check");
    let request = request.header("Content-Type", kind);
    let response = request.body(body.to_vec()).send().unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{}", String::from_utf8_lossy(body));
    let status = response.status().as_u16();
    let problem: Value = response.json().unwrap();
    assert_eq!((&problem["status"], &problem["action"]), (&json!(status), &json!("block")), "{problem}");
    (status, problem["code"].as_str().unwrap().to_owned())
}

#[test]
fn a_body_that_is_no_order_is_a_problem_that_blocks() {
    let served = Served::with(LIMITS, &[]);
    served.register("s-1");
    let with = |field: &str, value: &str| {
        let mut text = order("hostile").to_string();
        text.truncate(text.len() - 1);
        format!("{text},{field:?}:{value}}}").into_bytes()
    };
    let json = "application/json";
    let deep = [b"{\"order_id\":".to_vec(), b"[".repeat(60_000)].concat();
    let long = with("more", &format!("\"{}\"", "x".repeat(70_000)));
    for (what, kind, body, status, code) in [
        ("empty", json, b"".to_vec(), 400, "LINE_NOT_JSON"),
        ("half", json, b"{\"order_id\":".to_vec(), 400, "LINE_NOT_JSON"),
        ("a list", json, b"[]".to_vec(), 400, "LINE_NOT_OBJECT"),
        ("deep", json, deep, 400, "LINE_NOT_JSON"),
        ("bad UTF-8", json, b"{\"order_id\":\"\xff\xfe\"}".to_vec(), 400, "LINE_NOT_UTF8"),
        ("UTF-16", json, b"\xff\xfe{\0}\0".to_vec(), 400, "LINE_NOT_UTF8"),
        ("a field twice", json, with("side", "\"SELL\""), 422, "FIELD_TWICE"),
        ("a text for a flag", json, with("reduce_only", "\"true\""), 422, "FIELD_MALFORMED"),
        ("an object for an amount", json, with("equity", "{}"), 422, "FIELD_MALFORMED"),
        ("NaN", json, with("equity", "NaN"), 400, "LINE_NOT_JSON"),
        ("Infinity", json, with("equity", "-Infinity"), 400, "LINE_NOT_JSON"),
        ("NaN as a text", json, with("equity", "\"NaN\""), 422, "FIELD_MALFORMED"),
        ("more digits than fit", json, with("equity", &"9".repeat(60)), 422, "DECIMAL_DOES_NOT_FIT"),
        ("a text that is no side", json, with("leverage", "\"0x10\""), 422, "FIELD_MALFORMED"),
        ("too long", json, long, 413, "BODY_TOO_LARGE"),
        (
            "another charset",
            "application/json; charset=utf-16",
            order("c").to_string().into(),
            415,
            "MEDIA_TYPE_UNSUPPORTED",
        ),
        ("another type", "text/plain", order("c").to_string().into(), 415, "MEDIA_TYPE_UNSUPPORTED"),
        (
            "another encoding",
            "application/x-www-form-urlencoded",
            b"order_id=1".to_vec(),
            415,
            "MEDIA_TYPE_UNSUPPORTED",
        ),
    ] {
        assert_eq!(refused(&served, kind, &body), (status, code.to_owned()), "{what}");
    }
    // A field that nobody reads is passed over, however deep it is.
    let deep = String::from_utf8(with("more", &format!("{}{}", "[".repeat(30_000), "]".repeat(30_000)))).unwrap();
    let request = served.request(reqwest::Method::POST, "/v1/orders/check").header("Content-Type", json);
    assert_eq!(request.body(deep.replace("hostile", "passed-over")).send().unwrap().status(), 200);
    lives(&served);
    // Nothing of it was taken for the order it spoiled.
    let desk = {
        let mut served = served;
        served.signal("TERM");
        assert_eq!(served.ended(), Some(0));
        served.into_desk()
    };
    let events = desk.run(&["events", "--type", "DecisionMade", "--json"]).ended(0).out;
    assert!(!events.contains("hostile") && events.contains("lives"), "{events}");
}

#[test]
fn a_head_that_trickles_is_cut_off() {
    let served = Served::with(LIMITS, &[]);
    served.register("s-1");
    let slow: Vec<TcpStream> = (0..50).map(|_| connect(&served)).collect();
    let started = Instant::now();
    let mut gone = 0;
    for byte in b"POST /v1/orders/check HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle() {
        gone = slow.iter().filter(|stream| (&**stream).write_all(&[*byte]).is_err()).count();
        if gone == slow.len() || started.elapsed() > Duration::from_secs(8) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(gone, slow.len(), "after {:?}", started.elapsed());
    lives(&served);
}

#[test]
fn a_body_that_trickles_is_answered_with_a_time_out_and_the_connection_ends() {
    let served = Served::with(LIMITS, &[]);
    served.register("s-1");
    let stream = connect(&served);
    let head = "Content-Type: application/json\r\nContent-Length: 1000\r\n";
    (&stream).write_all(&raw(&served, head, b"{")).unwrap();
    let writer = stream.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for _ in 0..60 {
            if (&writer).write_all(b" ").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let said = rest(&stream);
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("\"code\":\"REQUEST_TIMEOUT\"") && said.contains("\"action\":\"block\""), "{said}");
    trickle.join().unwrap();
    lives(&served);
}

/// What was left of a body in pieces was passed over for as long as its sender liked: a connection without end, without
/// a key and for one packet.
#[test]
fn a_body_in_pieces_without_an_end_holds_no_connection() {
    let served = Served::with(LIMITS, &[]);
    served.register("s-1");
    let head = "Host: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let key = format!("Authorization: Bearer {}\r\n", served.key);
    for (what, request, status) in [
        ("without a key", format!("POST /v1/orders/check HTTP/1.1\r\n{head}"), 401),
        ("nowhere", format!("POST /v1/nowhere HTTP/1.1\r\n{head}"), 404),
        ("where none is read", format!("GET /healthz HTTP/1.1\r\n{head}"), 200),
        ("in time", format!("POST /v1/orders/check HTTP/1.1\r\n{head}{key}"), 408),
    ] {
        let stream = connect(&served);
        (&stream).write_all(format!("{request}\r\n3\r\nabc\r\n").as_bytes()).unwrap();
        let said = rest(&stream);
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {said}");
    }
    // One that is read to its end leaves the connection as it was.
    let stream = connect(&served);
    for _ in 0..2 {
        let request = format!("POST /v1/orders/check HTTP/1.1\r\n{head}{key}\r\n2\r\n{{}}\r\n0\r\n\r\n");
        (&stream).write_all(request.as_bytes()).unwrap();
        let mut said = [0; 4_096];
        let read = (&stream).read(&mut said).unwrap();
        assert!(said[..read].starts_with(b"HTTP/1.1 422"), "{}", String::from_utf8_lossy(&said[..read]));
    }
    lives(&served);
}

#[test]
fn rubbish_on_the_wire_is_refused_and_a_request_behind_it_is_not_read() {
    let served = Served::with(LIMITS, &[]);
    served.register("s-1");
    let body = order("smuggled").to_string();
    let whole =
        raw(&served, &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()), body.as_bytes());
    let large_head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_heads = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(5_000));
    for (what, bytes) in [
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("no version", b"GET /\r\n\r\n".to_vec()),
        ("two lengths", raw(&served, "Content-Length: 1\r\nContent-Length: 300\r\n", b"{")),
        ("length and chunks", raw(&served, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
        ("a length below zero", raw(&served, "Content-Length: -1\r\n", b"")),
        ("a chunk without a size", raw(&served, "Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n")),
        ("a large head", large_head.into_bytes()),
        ("many heads", many_heads.into_bytes()),
    ] {
        let stream = connect(&served);
        // It may hang up while it is still being written to.
        drop((&stream).write_all(&[bytes, whole.clone()].concat()));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let said = rest(&stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{what}: {said}");
        assert!(!said.contains("smuggled"), "{what}: {said}");
    }
    // What is well-formed may be pipelined.
    let stream = connect(&served);
    (&stream).write_all(&whole.repeat(3)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&stream).matches("HTTP/1.1 200 OK").count(), 3);
    lives(&served);
}

#[test]
fn more_connections_than_are_taken_wait_and_harm_nobody() {
    let served = Served::with("[server]\nworkers = 1\n[server.limits]\nconnections = 8\nhead_timeout_ms = 700\n", &[]);
    served.register("s-1");
    let started = Instant::now();
    let idle: Vec<TcpStream> = (0..40).map(|_| connect(&served)).collect();
    let late = connect(&served);
    (&late).write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(&late).starts_with("HTTP/1.1 200 OK"));
    // Each idle one loses its place when its head does not come, so whoever waits comes in after some rounds of that.
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(1_400) && waited < Duration::from_secs(20), "{waited:?}");
    drop(idle);
    lives(&served);
}

#[test]
fn one_key_that_asks_too_much_is_told_when_to_come_again_and_others_are_served() {
    let served = Served::with("[server.limits]\nrequests_per_second = 1\nburst = 5\n", &[]);
    let other = served::key_of(&served.desk, "other", "viewer");
    let ask = |key: &str| served.client.get(format!("{}/metrics", served.address)).bearer_auth(key).send().unwrap();
    let answers: Vec<Response> = (0..20).map(|_| ask(&served.key)).collect();
    let refused: Vec<&Response> = answers.iter().filter(|answer| answer.status() == 429).collect();
    assert!(refused.len() >= 10, "{} of 20", refused.len());
    assert!(refused.iter().all(|answer| answer.headers()["retry-after"] == "1"));
    // The service takes note of a new key within a second.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(ask(&other).status(), 200);
    assert_eq!(ask(&served.key).status(), 200, "it came again when it was told to");
}

/// An authority, and the certificates it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, as PEM.
    fn signs(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

#[test]
fn with_tls_plaintext_and_strange_certificates_stay_outside_and_no_secret_is_logged() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let desk = cli::Desk::new();
    let (certificate, key) = ours.signs("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    desk.write("server.pem", certificate);
    desk.write("server.key", key);
    desk.write("clients.pem", ours.0.pem());
    let tls = "certificate = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"clients.pem\"\n";
    desk.write("ephor.toml", format!("[server.tls]\n{tls}"));
    let (known, known_key) = ours.signs("engine", ExtendedKeyUsagePurpose::ClientAuth);
    let path = desk.write("engine.pem", &known);
    let create = ["api-key", "create", "--name", "engine", "--role", "engine", "--certificate"];
    desk.run(&[&create[..], &[path.to_str().unwrap()]].concat()).ended(0);
    let admin = served::key_of(&desk, "desk", "admin");
    let served = Served::at(desk, admin, &["-vvv"]);
    assert!(served.address.starts_with("https://"), "{}", served.address);
    let address = format!("https://localhost:{}", served.authority().rsplit_once(':').unwrap().1);

    let stream = connect(&served);
    (&stream).write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let said = {
        let mut said = Vec::new();
        drop((&stream).read_to_end(&mut said));
        said
    };
    assert!(!said.starts_with(b"HTTP"), "plaintext is not answered in HTTP");

    let client = |identity: Option<(&str, &str)>| {
        let mut builder = Client::builder().timeout(Duration::from_secs(10));
        builder = builder.tls_certs_only([Certificate::from_pem(ours.0.pem().as_bytes()).unwrap()]);
        if let Some((certificate, key)) = identity {
            builder = builder.identity(Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap());
        }
        builder.build().unwrap()
    };
    let check = |client: &Client, key: Option<&str>| {
        let request = client.post(format!("{address}/v1/orders/check")).json(&order("tls"));
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
        .send()
    };
    // Not of our authority: the handshake fails. Of it, but nobody's: not known.
    let (strange, strange_key) = theirs.signs("engine", ExtendedKeyUsagePurpose::ClientAuth);
    assert!(check(&client(Some((&strange, &strange_key))), None).is_err());
    let (nobody, nobody_key) = ours.signs("nobody", ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(check(&client(Some((&nobody, &nobody_key))), None).unwrap().status(), 401);
    assert_eq!(check(&client(None), None).unwrap().status(), 401);
    // The strategy is not there, but who asks is.
    assert_eq!(check(&client(Some((&known, &known_key))), None).unwrap().status(), 404);
    assert_eq!(check(&client(None), Some(&served.key)).unwrap().status(), 404);
    let wrong = format!("{}x", &served.key[..served.key.len() - 1]);
    assert_eq!(check(&client(None), Some(&wrong)).unwrap().status(), 401);

    let said = served.stderr();
    assert!(said.lines().count() > 10, "{said}");
    for key in [&served.key, &wrong] {
        let secret = key.rsplit_once('_').unwrap().1;
        assert!(!said.contains(&secret[..secret.len() / 2]), "a secret is logged: {said}");
    }
    assert!(!said.contains("Bearer ephor_") && !said.contains("PRIVATE KEY"), "{said}");
}
