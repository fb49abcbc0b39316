//! What a type cannot say of a setting: ranges, names used twice, what must stand together.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use async_nats::ServerAddr;
use ephor_snapshots::Spacing;

use super::plaintext::in_plain_text;
use super::{
    AuditDatabase, AuditTls, Bus, Canary, Limits, Nats, NatsAuth, Reading, Server, Settings, StreamLimits, Telemetry,
};
use crate::audit_db::Address;

/// A setting that cannot stand.
#[derive(Debug)]
pub(super) struct Unfit {
    /// `section.name`.
    pub(super) field: &'static str,
    /// What was found and what would do.
    pub(super) problem: String,
}

/// A day: no wait is longer.
pub(super) const DAY_MS: u64 = 86_400_000;

/// The first setting that cannot stand.
pub(super) fn check(settings: &Settings) -> Result<(), Unfit> {
    within("log.chunk_mib", settings.log.chunk_mib, 1..=65_536)?;
    let every = settings.snapshots.every;
    if Spacing::new(every).is_none() {
        let (min, max) = (Spacing::EVERY_MIN, Spacing::EVERY_MAX);
        return unfit("snapshots.every", format!("must be from {min} to {max} events, found {every}"));
    }
    server(&settings.server)?;
    limits(&settings.server.limits)?;
    canary(&settings.canary)?;
    bus(&settings.bus)?;
    audit_database(&settings.audit.database)?;
    settings.paper.check()?;
    telemetry(&settings.telemetry)
}

fn server(server: &Server) -> Result<(), Unfit> {
    within("server.workers", server.workers, 0..=1_024)?;
    within("server.shards", server.shards, 1..=1_024)?;
    within("server.answer_timeout_ms", server.answer_timeout_ms, 1..=DAY_MS)?;
    within("server.shutdown_seconds", server.shutdown_seconds, 1..=3_600)?;
    if let Some(tls) = &server.tls {
        let files = [
            ("server.tls.certificate", Some(&tls.certificate)),
            ("server.tls.key", Some(&tls.key)),
            ("server.tls.client_ca", tls.client_ca.as_ref()),
        ];
        let unnamed = files.into_iter().find(|(_, path)| path.is_some_and(|path| path.as_os_str().is_empty()));
        if let Some((field, _)) = unnamed {
            return unfit(field, "must name a file".to_owned());
        }
    } else if !server.bind.ip().to_canonical().is_loopback() && !server.allow_plaintext {
        let bind = server.bind;
        let problem = format!(
            "{bind} can be reached from other machines: set server.tls.certificate and server.tls.key, or \
             server.allow_plaintext where something in front of the service has TLS"
        );
        return unfit("server.bind", problem);
    }
    Ok(())
}

fn limits(limits: &Limits) -> Result<(), Unfit> {
    within("server.limits.body_kib", limits.body_kib, 1..=65_536)?;
    within("server.limits.connections", limits.connections, 1..=1_000_000)?;
    within("server.limits.in_flight", limits.in_flight, 1..=4_096)?;
    within("server.limits.head_timeout_ms", limits.head_timeout_ms, 1..=DAY_MS)?;
    within("server.limits.request_timeout_ms", limits.request_timeout_ms, 1..=DAY_MS)?;
    within("server.limits.requests_per_second", limits.requests_per_second, 1..=1_000_000_000)?;
    within("server.limits.burst", limits.burst, 1..=1_000_000_000)?;
    within("server.limits.streams", limits.streams, 0..=1_000_000)?;
    within("server.limits.stream_lag_seconds", limits.stream_lag_seconds, 1..=3_600)
}

fn bus(bus: &Bus) -> Result<(), Unfit> {
    names("bus.jsonl", bus.jsonl.iter().map(|file| file.name.as_str()))?;
    for file in &bus.jsonl {
        reading("bus.jsonl.reading", &file.reading)?;
    }
    names("bus.mqtt", bus.mqtt.iter().map(|broker| broker.name.as_str()))?;
    for broker in &bus.mqtt {
        reading("bus.mqtt.reading", &broker.reading)?;
        let wild = |topic: &String| topic.is_empty() || topic.contains(['+', '#']);
        if wild(&broker.dead) || broker.publish.as_ref().is_some_and(wild) {
            return unfit("bus.mqtt", format!("{}: dead and publish must be topics without + and #", broker.name));
        }
        let published = broker.publish.iter().map(|prefix| format!("{prefix}/type/strategy"));
        for own in published.chain([broker.dead.clone()]) {
            if let Some(topic) = broker.topics.iter().find(|topic| listens(topic, &own)) {
                let problem = format!("{}: {topic} must not cover what Ephor itself publishes, {own}", broker.name);
                return unfit("bus.mqtt.topics", problem);
            }
        }
        if broker.password_file.is_some() && broker.username.is_none() {
            return unfit("bus.mqtt.username", format!("{}: a password needs a user", broker.name));
        }
        if broker.password_file.is_some()
            && broker.tls_ca.is_none()
            && let Some(problem) = in_plain_text(&broker.host, broker.allow_plaintext)
        {
            return unfit("bus.mqtt.password_file", format!("of {} {problem}", broker.name));
        }
    }
    names("bus.nats", bus.nats.iter().map(|server| server.name.as_str()))?;
    bus.nats.iter().try_for_each(nats)?;
    names("bus.redis", bus.redis.iter().map(|server| server.name.as_str()))?;
    for server in &bus.redis {
        server.check()?;
        reading("bus.redis.reading", &server.reading)?;
    }
    // One name is one component.
    let files = bus.jsonl.iter().map(|file| file.name.as_str());
    let brokers = bus.mqtt.iter().map(|broker| broker.name.as_str());
    let servers = bus.nats.iter().map(|server| server.name.as_str());
    names("bus", files.chain(brokers).chain(servers).chain(bus.redis.iter().map(|server| server.name.as_str())))
}

fn nats(server: &Nats) -> Result<(), Unfit> {
    reading("bus.nats.reading", &server.reading)?;
    if server.servers.is_empty() {
        return unfit("bus.nats.servers", "must name at least one server, such as nats://127.0.0.1:4222".to_owned());
    }
    for url in &server.servers {
        if url.contains('@') {
            let problem = format!("{}: an address holds no user and no password: auth does", server.name);
            return unfit("bus.nats.servers", problem);
        }
        let address = url.parse::<ServerAddr>();
        let address =
            address.map_err(|error| Unfit { field: "bus.nats.servers", problem: format!("{url}: {error}") })?;
        // Of credentials and an nkey nothing secret is sent: what they sign is.
        let is_told = matches!(server.auth, Some(NatsAuth::Token(_) | NatsAuth::UserPassword(_)));
        if is_told
            && server.tls.is_none()
            && !address.tls_required()
            && let Some(problem) = in_plain_text(address.host(), server.allow_plaintext)
        {
            return unfit("bus.nats.auth", format!("of {} {problem}", server.name));
        }
    }
    if let Some(tls) = &server.tls
        && tls.certificate.is_some() != tls.key.is_some()
    {
        return unfit("bus.nats.tls", "a certificate and its key stand together".to_owned());
    }
    within("bus.nats.input.ack_wait_seconds", server.input.ack_wait_seconds, 1..=3_600)?;
    let named = [
        ("bus.nats.input.stream", &server.input.stream, false),
        ("bus.nats.input.durable", &server.input.durable, false),
        ("bus.nats.dead.stream", &server.dead.stream, false),
        ("bus.nats.dead.subject", &server.dead.subject, true),
        ("bus.nats.events.stream", &server.events.stream, false),
        ("bus.nats.events.subject", &server.events.subject, true),
        ("bus.nats.orders.subject", &server.orders.subject, true),
    ];
    for (field, found, dots) in named {
        let fits = |c: char| c.is_ascii_graphic() && !"*>/\\".contains(c) && (dots || c != '.');
        if found.is_empty() || !found.chars().all(fits) || found.split('.').any(str::is_empty) {
            return unfit(field, format!("cannot be the name of a stream or a subject: {found:?}"));
        }
    }
    let orders = &server.orders.subject;
    for subject in &server.input.subjects {
        if covers(subject, orders) {
            // The stream would answer before Ephor does.
            return unfit("bus.nats.input.subjects", format!("{subject} must not cover orders.subject, {orders}"));
        }
    }
    stream("bus.nats.input.limits", &server.input.limits)?;
    stream("bus.nats.dead.limits", &server.dead.limits)?;
    stream("bus.nats.events.limits", &server.events.limits)
}

/// Whether a filter of MQTT takes a topic.
fn listens(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == "+" || wanted == found => {}
            (Some(_) | None, _) => return false,
        }
    }
}

/// Whether a pattern of NATS takes a subject.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == "*" || wanted == found => {}
            (Some(_) | None, _) => return false,
        }
    }
}

fn stream(field: &'static str, limits: &StreamLimits) -> Result<(), Unfit> {
    within(field, limits.replicas, 1..=5)?;
    within(field, limits.max_mib, 1..=u32::MAX)?;
    within(field, limits.duplicate_window_seconds, 1..=86_400)?;
    within(field, limits.max_age_hours, 0..=876_000)
}

fn reading(field: &'static str, reading: &Reading) -> Result<(), Unfit> {
    let tied = reading.strategy.is_some() || !reading.rules.is_empty();
    if tied && reading.format.is_own() {
        let format = reading.format.as_str();
        return unfit(
            field,
            format!("messages of the format {format} name their strategy: leave out strategy and rules"),
        );
    }
    within(field, reading.attempts_max, 1..=1_000)?;
    within(field, reading.pending_max, 1..=4_096)
}

fn audit_database(database: &AuditDatabase) -> Result<(), Unfit> {
    within("audit.database.batch_events", database.batch_events, 1..=100_000)?;
    within("audit.database.connect_timeout_ms", database.connect_timeout_ms, 1..=DAY_MS)?;
    within("audit.database.lag_events_max", database.lag_events_max, 1..=1_000_000_000)?;
    let Some(url) = &database.url else {
        if database.required {
            return unfit("audit.database.required", "needs a database: set audit.database.url".to_owned());
        }
        return Ok(());
    };
    let unusable = |problem| Unfit { field: "audit.database.url", problem };
    let address = Address::parse(url).map_err(unusable)?;
    if database.tls == AuditTls::Disable && !address.is_local() && !database.allow_plaintext {
        let problem = format!(
            "{url} is another machine: set audit.database.tls to \"verify_full\" or \"verify_ca\", or \
             audit.database.allow_plaintext where something in between has TLS"
        );
        return unfit("audit.database.tls", problem);
    }
    Ok(())
}

fn canary(canary: &Canary) -> Result<(), Unfit> {
    within("canary.check_timeout_ms", canary.check_timeout_ms, 1..=DAY_MS)?;
    within("canary.clock_offset_ms_max", canary.clock_offset_ms_max, 1..=DAY_MS)?;
    names("canary.feeds", canary.feeds.iter().map(|feed| feed.name.as_str()))?;
    names("canary.tcp", canary.tcp.iter().map(|tcp| tcp.name.as_str()))?;
    names("canary.http", canary.http.iter().map(|http| http.name.as_str()))?;
    if let Some(feed) = canary.feeds.iter().find(|feed| feed.age_seconds_max == 0) {
        return unfit("canary.feeds", format!("age_seconds_max of {:?} must be at least 1, found 0", feed.name));
    }
    if let Some(tcp) = canary.tcp.iter().find(|tcp| !is_address(&tcp.address)) {
        let (name, address) = (&tcp.name, &tcp.address);
        return unfit("canary.tcp", format!("address of {name:?} must be HOST:PORT, found {address:?}"));
    }
    for http in &canary.http {
        let name = &http.name;
        if let Err(problem) = web_address(&http.url) {
            return unfit("canary.http", format!("url of {name:?} {problem}"));
        }
        if !(100..=599).contains(&http.status) {
            let status = http.status;
            return unfit("canary.http", format!("status of {name:?} must be from 100 to 599, found {status}"));
        }
    }
    Ok(())
}

fn telemetry(telemetry: &Telemetry) -> Result<(), Unfit> {
    within("telemetry.metrics_strategies_max", telemetry.metrics_strategies_max, 0..=100_000)?;
    match telemetry.otlp_endpoint.as_deref().map(web_address) {
        Some(Err(problem)) => unfit("telemetry.otlp_endpoint", problem),
        Some(Ok(())) | None => Ok(()),
    }
}

pub(super) fn unfit(field: &'static str, problem: String) -> Result<(), Unfit> {
    Err(Unfit { field, problem })
}

pub(super) fn within<T: Copy + PartialOrd + Display>(
    field: &'static str,
    found: T,
    allowed: RangeInclusive<T>,
) -> Result<(), Unfit> {
    if allowed.contains(&found) {
        return Ok(());
    }
    unfit(field, format!("must be from {} to {}, found {found}", allowed.start(), allowed.end()))
}

/// Names become names of components: they are recorded, and labels of metrics.
fn names<'a>(field: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), Unfit> {
    let mut seen = BTreeSet::new();
    for name in names {
        let fits =
            (1..=64).contains(&name.chars().count()) && !name.chars().any(|c| c.is_control() || c.is_whitespace());
        if !fits {
            return unfit(field, format!("a name must be from 1 to 64 characters without spaces, found {name:?}"));
        }
        if !seen.insert(name) {
            return unfit(field, format!("the name {name:?} is used twice"));
        }
    }
    Ok(())
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let named = !host.is_empty() && !host.contains([':', '/', '@', ' ']);
    (bracketed || named) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A password in an address would be shown, logged and recorded with it.
fn web_address(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("must be an address, found {text:?}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("must begin with http:// or https:// and name a host, found {text:?}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password".to_owned());
    }
    Ok(())
}
