//! Ports that take a connection, and pages that answer as they should.

use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tokio::net::TcpStream;

use super::{Component, Fault};

/// A port.
pub(super) struct Port {
    address: String,
}

impl Port {
    pub(super) fn new(address: &str) -> Arc<Self> {
        Arc::new(Self { address: address.to_owned() })
    }
}

impl Component for Port {
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            drop(TcpStream::connect(&self.address).await?);
            Ok(())
        })
    }
}

/// A page answered something else.
#[derive(Debug, thiserror::Error)]
#[error("answered {found}, expected {expected}")]
struct OtherStatus {
    found: StatusCode,
    expected: u16,
}

/// A page.
pub(super) struct Page {
    client: Client,
    url: String,
    status: u16,
}

impl Page {
    pub(super) fn new(client: &Client, url: &str, status: u16) -> Arc<Self> {
        Arc::new(Self { client: client.clone(), url: url.to_owned(), status })
    }
}

impl Component for Page {
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            // An address may hold what is not meant for the log.
            let answer = self.client.get(&self.url).send().await.map_err(reqwest::Error::without_url)?;
            let (found, expected) = (answer.status(), self.status);
            if found == expected { Ok(()) } else { Err(OtherStatus { found, expected }.into()) }
        })
    }
}

/// Asks the page itself: no proxy, no redirection, a new connection each time.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    // The first to install one wins; whoever was first has chosen the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().redirect(Policy::none()).pool_max_idle_per_host(0).build()
}
