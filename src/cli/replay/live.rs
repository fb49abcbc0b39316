//! The live states of a running service, by their digests, asked for over HTTP.
//!
//! The key comes from the environment: a command line is read by everybody on the machine. It is sent to the
//! address that was named and nowhere else: no redirect is followed and no proxy is used.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ephor_events::StreamId;
use ephor_replay::fold::Kept;
use reqwest::blocking::{Client, Response};
use reqwest::{Certificate, Url, redirect};
use serde_json::Value;

use crate::cli::CliError;
use crate::serve::digests::{LiveDigest, LiveDigests};

/// Where the key is.
const KEY: &str = "EPHOR_API_KEY";
/// No page of digests is longer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a running service could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// It cannot be reached, or the connection broke.
    #[error("ask {url} failed")]
    Unreachable {
        /// What was asked for.
        url: Url,
        /// What was wrong.
        source: reqwest::Error,
    },
    /// Its answer could not be read.
    #[error("read the answer of {url} failed")]
    Cut {
        /// What was asked for.
        url: Url,
        /// What the system said.
        source: std::io::Error,
    },
    /// It answered otherwise.
    #[error("{url} answered {status}: {said}")]
    Refused {
        /// What was asked for.
        url: Url,
        /// The status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// Its answer is not what it should be.
    #[error("the answer of {url} is no list of digests: {problem}")]
    Malformed {
        /// What was asked for.
        url: Url,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate to trust cannot be used.
    #[error("the certificate in {} cannot be used", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: reqwest::Error,
    },
    /// There can be no client.
    #[error("make an HTTP client failed")]
    Client(#[source] reqwest::Error),
}

/// What the states of the service's live actors are known by.
pub(super) fn kept(url: &str, ca: Option<&Path>) -> Result<BTreeMap<StreamId, Kept>, CliError> {
    let key = std::env::var(KEY).ok().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| CliError::usage(format!("set {KEY} to an API key of the service, of any role")))?;
    let base = base(url)?;
    let client = client(ca)?;
    let mut kept = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let mut url = base.clone();
        if let Some(after) = &after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let asked = client.get(url.clone()).bearer_auth(&key).send();
        let page = page(&url, asked.map_err(|source| LiveError::Unreachable { url: url.clone(), source })?)?;
        kept.extend(page.strategies.into_iter().map(held));
        let next = page.next.map(|next| next.as_str().to_owned());
        // A list that does not go on would be asked for without end.
        if next.is_some() && next <= after {
            return Err(LiveError::Malformed { url, problem: "next does not go on".to_owned() }.into());
        }
        if next.is_none() {
            if page.system.version.0 > 0 {
                kept.extend([held(page.system)]);
            }
            return Ok(kept);
        }
        after = next;
    }
}

fn held(live: LiveDigest) -> (StreamId, Kept) {
    let LiveDigest { stream, version, digest } = live;
    (stream.clone(), Kept { stream, version, digest })
}

fn base(url: &str) -> Result<Url, CliError> {
    let wrong = |problem: String| CliError::usage(format!("--url {url}: {problem}"));
    let mut base: Url = url.parse().map_err(|error| wrong(format!("{error}")))?;
    if !["http", "https"].contains(&base.scheme()) {
        return Err(wrong("give http://HOST:PORT or https://HOST:PORT".to_owned()));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(wrong(format!("the key belongs into {KEY}")));
    }
    base.set_path("/v1/digests");
    base.set_query(None);
    base.set_fragment(None);
    Ok(base)
}

fn client(ca: Option<&Path>) -> Result<Client, CliError> {
    // Another part of the program may have done it already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder().timeout(PATIENCE).redirect(redirect::Policy::none()).no_proxy();
    let builder = match ca {
        None => builder,
        Some(path) => {
            let read = std::fs::read(path);
            let pem = read.map_err(|source| CliError::File { doing: "read", path: path.to_owned(), source })?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|source| LiveError::Certificate { path: path.to_owned(), source })?;
            if certificates.is_empty() {
                return Err(CliError::usage(format!("there is no certificate in {}", path.display())));
            }
            builder.tls_certs_only(certificates)
        }
    };
    Ok(builder.build().map_err(LiveError::Client)?)
}

fn page(url: &Url, response: Response) -> Result<LiveDigests, LiveError> {
    let status = response.status();
    let mut bytes = Vec::new();
    let read = response.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|source| LiveError::Cut { url: url.clone(), source })?;
    if status != reqwest::StatusCode::OK {
        let problem: Option<Value> = serde_json::from_slice(&bytes).ok();
        let said = problem.as_ref().and_then(|problem| problem.get("detail")).and_then(Value::as_str);
        let said = said.unwrap_or("no service of this kind is there").to_owned();
        return Err(LiveError::Refused { url: url.clone(), status: status.as_u16(), said });
    }
    let malformed = |problem| LiveError::Malformed { url: url.clone(), problem };
    if bytes.len() as u64 > ANSWER_BYTES_MAX {
        return Err(malformed(format!("it is longer than {ANSWER_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))
}
