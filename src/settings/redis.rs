//! `[[bus.redis]]`: streams of a Redis server, read by a consumer group, and what is written to it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ephor_governance::event::Scope;
use serde::{Deserialize, Serialize};

use super::Reading;
use super::checks::{DAY_MS, Unfit, unfit};
use super::plaintext::in_plain_text;
use crate::operate::Covers;

/// Where problems are said to be.
const FIELD: &str = "bus.redis";

/// A Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// What people call it; `bus:NAME` as a component.
    pub name: String,
    /// `redis://HOST:PORT/DATABASE`, or `rediss://` with TLS; without user and password.
    pub url: String,
    /// The user, where it is not the default one.
    #[serde(default)]
    pub username: Option<String>,
    /// A file that holds the password and that only its owner may read.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Whether that password may go to another machine in plain text: something in between has TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Certificates (PEM) that the server's must go back to; the system's where none is named.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// This side's certificate, where the server asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The streams to read: keys, or patterns of keys as `SCAN` takes them.
    #[serde(default = "keys")]
    pub keys: Vec<String>,
    /// The consumer group.
    #[serde(default = "ephor")]
    pub group: String,
    /// This consumer's name in it.
    #[serde(default = "ephor")]
    pub consumer: String,
    /// Whether the group is made on a stream where it is missing.
    #[serde(default = "yes")]
    pub create: bool,
    /// How long an entry may lie with a consumer before it is taken over, milliseconds.
    #[serde(default = "claim_after_ms")]
    pub claim_after_ms: u64,
    /// The stream of entries that cannot be taken.
    #[serde(default = "dead_letter")]
    pub dead_letter: String,
    /// About how many it keeps.
    #[serde(default = "dead_letter_max")]
    pub dead_letter_max: u64,
    /// How long nothing may come before the canary says so, seconds; a node's heartbeat counts.
    #[serde(default)]
    pub heartbeat_seconds_max: Option<u64>,
    /// The node that is stopped by a kill.
    #[serde(default)]
    pub trader_id: Option<String>,
    /// The external stream on which it is told to.
    #[serde(default)]
    pub control: Option<String>,
    /// By kills of which scopes: `all`, `strategy:ID`, `instrument:ID`, `venue:ID`.
    #[serde(default = "halt_on")]
    pub halt_on: Vec<String>,
    /// The stream to which everything recorded is published.
    #[serde(default)]
    pub publish: Option<String>,
    /// About how many events it keeps.
    #[serde(default = "publish_max")]
    pub publish_max: u64,
    /// How entries are read.
    #[serde(default)]
    pub reading: Reading,
}

/// Both layouts of a node: one stream, and one for each topic.
fn keys() -> Vec<String> {
    vec!["trader-*:stream".to_owned(), "trader-*:stream:*".to_owned()]
}

fn ephor() -> String {
    "ephor".to_owned()
}

const fn yes() -> bool {
    true
}

const fn claim_after_ms() -> u64 {
    60_000
}

fn dead_letter() -> String {
    "ephor:dead".to_owned()
}

const fn dead_letter_max() -> u64 {
    100_000
}

fn halt_on() -> Vec<String> {
    vec!["all".to_owned()]
}

const fn publish_max() -> u64 {
    1_000_000
}

/// Whether a key stands for many.
#[must_use]
pub fn is_pattern(key: &str) -> bool {
    key.contains(['*', '?', '[', '\\'])
}

impl Redis {
    /// A server of which no more is known than where it is.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            name: url.to_owned(),
            url: url.to_owned(),
            username: None,
            password_file: None,
            allow_plaintext: false,
            ca: None,
            certificate: None,
            key: None,
            keys: keys(),
            group: ephor(),
            consumer: ephor(),
            create: yes(),
            claim_after_ms: claim_after_ms(),
            dead_letter: dead_letter(),
            dead_letter_max: dead_letter_max(),
            heartbeat_seconds_max: None,
            trader_id: None,
            control: None,
            halt_on: halt_on(),
            publish: None,
            publish_max: publish_max(),
            reading: Reading::default(),
        }
    }

    /// The scopes whose kills stop the node.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        self.halt_on.iter().filter_map(|scope| scope.parse().ok()).map(|Covers(scope)| scope).collect()
    }

    pub(super) fn check(&self) -> Result<(), Unfit> {
        self.reach()?;
        self.inwards()?;
        self.outwards()
    }

    fn wrong(&self, setting: &str, problem: impl std::fmt::Display) -> Result<(), Unfit> {
        unfit(FIELD, format!("{setting} of {:?} {problem}", self.name))
    }

    fn reach(&self) -> Result<(), Unfit> {
        let url = match reqwest::Url::parse(&self.url) {
            Ok(url) => url,
            // Not what was found: a password may stand in it.
            Err(error) => return self.wrong("url", format_args!("must be an address: {error}")),
        };
        if !matches!(url.scheme(), "redis" | "rediss") || !url.has_host() {
            let found = url.scheme();
            return self
                .wrong("url", format_args!("must begin with redis:// or rediss:// and name a host, found {found}://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return self.wrong("url", "must not hold a user or a password: username and password_file do");
        }
        let database = url.path().trim_start_matches('/');
        if (!database.is_empty() && database.parse::<u16>().is_err())
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return self
                .wrong("url", format_args!("may end with /DATABASE and with nothing else, found {:?}", self.url));
        }
        if self.username.is_some() && self.password_file.is_none() {
            return self.wrong("username", "needs a password_file");
        }
        let files = [&self.ca, &self.certificate, &self.key];
        if url.scheme() == "redis" && files.iter().any(|file| file.is_some()) {
            return self.wrong("ca, certificate or key", "needs an url with rediss://");
        }
        if self.password_file.is_some()
            && url.scheme() == "redis"
            && let Some(problem) = in_plain_text(url.host_str().unwrap_or_default(), self.allow_plaintext)
        {
            return self.wrong("password_file", problem);
        }
        if self.certificate.is_some() != self.key.is_some() {
            return self.wrong("certificate", "and key must both be named, or neither");
        }
        Ok(())
    }

    fn inwards(&self) -> Result<(), Unfit> {
        if self.keys.is_empty() && self.control.is_none() && self.publish.is_none() {
            return self.wrong("keys", "must name a stream, where neither control nor publish does");
        }
        for (setting, name) in
            [("group", &self.group), ("consumer", &self.consumer), ("dead_letter", &self.dead_letter)]
        {
            self.name_of(setting, name)?;
        }
        for key in &self.keys {
            self.name_of("keys", key)?;
        }
        if let Some(key) = self.keys.iter().find(|key| !self.create && is_pattern(key)) {
            return self.wrong(
                "keys",
                format_args!("has the pattern {key:?}, whose groups nobody makes: create must be true"),
            );
        }
        if !(10..=DAY_MS).contains(&self.claim_after_ms) {
            let found = self.claim_after_ms;
            return self.wrong("claim_after_ms", format_args!("must be from 10 to {DAY_MS}, found {found}"));
        }
        for (setting, found) in [("dead_letter_max", self.dead_letter_max), ("publish_max", self.publish_max)] {
            if found == 0 {
                return self.wrong(setting, "must be at least 1, found 0");
            }
        }
        if let Some(found) = self.heartbeat_seconds_max.filter(|seconds| !(1..=86_400).contains(seconds)) {
            return self.wrong("heartbeat_seconds_max", format_args!("must be from 1 to 86400, found {found}"));
        }
        Ok(())
    }

    fn outwards(&self) -> Result<(), Unfit> {
        if self.control.is_some() != self.trader_id.is_some() {
            return self.wrong("control", "and trader_id must both be named, or neither");
        }
        if let Some(trader_id) = &self.trader_id {
            self.name_of("trader_id", trader_id)?;
            if !trader_id.contains('-') {
                return self
                    .wrong("trader_id", format_args!("must have a hyphen as a node's has, found {trader_id:?}"));
            }
        }
        if self.halt_on.is_empty() {
            return self.wrong("halt_on", "must name a scope; leave control out where nothing is to be stopped");
        }
        for scope in &self.halt_on {
            if let Err(problem) = scope.parse::<Covers>() {
                return self.wrong("halt_on", format_args!("has {scope:?}: {problem}"));
            }
        }
        let ours = [Some(&self.dead_letter), self.control.as_ref(), self.publish.as_ref()];
        let mut seen: BTreeSet<&String> = self.keys.iter().collect();
        for key in ours.into_iter().flatten() {
            self.name_of("control, publish or dead_letter", key)?;
            if !seen.insert(key) {
                return self.wrong("control, publish, dead_letter and keys", format_args!("name {key:?} twice"));
            }
        }
        Ok(())
    }

    fn name_of(&self, setting: &str, name: &str) -> Result<(), Unfit> {
        let fits = (1..=512).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c.is_whitespace());
        if fits {
            return Ok(());
        }
        self.wrong(setting, format_args!("must be from 1 to 512 bytes without spaces, found {name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(more: &str) -> Option<String> {
        let redis: Redis = toml::from_str(&format!("name = \"n\"\n{more}")).unwrap();
        redis.check().err().map(|Unfit { problem, .. }| problem)
    }

    #[test]
    fn what_cannot_stand_is_refused_by_its_name() {
        let url = "url = \"redis://localhost:6379/2\"\n";
        let cases = [
            ("url = \"localhost\"", "url of \"n\" must be an address"),
            ("url = \"http://localhost\"", "url of \"n\" must begin with redis://"),
            ("url = \"redis://:secret@localhost\"", "url of \"n\" must not hold a user or a password"),
            ("url = \"redis://localhost/two\"", "url of \"n\" may end with /DATABASE"),
            ("url = \"redis://localhost?protocol=3\"", "url of \"n\" may end with /DATABASE"),
            ("username = \"u\"", "username of \"n\" needs a password_file"),
            (
                "url = \"redis://db:6379\"\npassword_file = \"p\"",
                "password_file of \"n\" would go to db in plain text: speak TLS, or set allow_plaintext",
            ),
            ("ca = \"ca.pem\"", "ca, certificate or key of \"n\" needs an url with rediss://"),
            ("keys = []", "keys of \"n\" must name a stream"),
            ("keys = [\"\"]", "keys of \"n\" must be from 1 to 512 bytes"),
            ("create = false", "keys of \"n\" has the pattern \"trader-*:stream\""),
            ("group = \"a b\"", "group of \"n\" must be from 1 to 512 bytes"),
            ("claim_after_ms = 9", "claim_after_ms of \"n\" must be from 10 to 86400000, found 9"),
            ("publish_max = 0", "publish_max of \"n\" must be at least 1"),
            ("heartbeat_seconds_max = 0", "heartbeat_seconds_max of \"n\" must be from 1 to 86400, found 0"),
            ("control = \"c\"", "control of \"n\" and trader_id must both be named"),
            ("control = \"c\"\ntrader_id = \"T\"", "trader_id of \"n\" must have a hyphen"),
            ("halt_on = [\"some\"]", "halt_on of \"n\" has \"some\": use all, strategy:ID"),
            ("publish = \"x\"\nkeys = [\"x\"]", "control, publish, dead_letter and keys of \"n\" name \"x\" twice"),
        ];
        for (more, problem) in cases {
            let given = if more.starts_with("url") { more.to_owned() } else { format!("{url}{more}") };
            let found = said(&given).unwrap_or_else(|| panic!("{more} stands"));
            assert!(found.starts_with(problem), "{more}: {found}");
        }
        for more in [
            "",
            "password_file = \"p\"",
            "create = false\nkeys = [\"a\"]",
            "keys = []\npublish = \"x\"",
            "control = \"c\"\ntrader_id = \"T-1\"",
        ] {
            assert_eq!(said(&format!("{url}{more}")), None, "{more}");
        }
    }
}
