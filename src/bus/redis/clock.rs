//! The clock of this machine against the clock of the bus's server.
//!
//! Ids of entries, time-outs of claims and the order of what several machines publish are told by clocks. One that is
//! off shows here; the way there and back is allowed for.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use redis::cmd;
use tokio::sync::watch;

use super::client::{ANSWER_WITHIN, Server, failed};
use crate::canary::{Component, Fault};
use crate::settings;

/// Two clocks stand too far from each other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this clock is {} ms {} the server's, at most {} ms are allowed",
    offset.as_millis(), if *is_behind { "behind" } else { "ahead of" }, offset_max.as_millis()
)]
struct Off {
    offset: Duration,
    is_behind: bool,
    offset_max: Duration,
}

/// Refuses a server's time that cannot have been told between two moments here, by more than is allowed.
fn held_against(server: Duration, before: Duration, after: Duration, offset_max: Duration) -> Result<(), Off> {
    let (offset, is_behind) =
        if server > after { (server.saturating_sub(after), true) } else { (before.saturating_sub(server), false) };
    if offset > offset_max { Err(Off { offset, is_behind, offset_max }) } else { Ok(()) }
}

/// Whether both clocks tell the same time.
pub struct Clock {
    server: Server,
    settings: watch::Receiver<settings::Canary>,
}

impl Clock {
    /// Of a server; the clocks may be as far apart as the settings say.
    #[must_use]
    pub fn new(server: Server, settings: watch::Receiver<settings::Canary>) -> Arc<Self> {
        Arc::new(Self { server, settings })
    }
}

impl Component for Clock {
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let now = || SystemTime::now().duration_since(UNIX_EPOCH);
            let mut connection = self.server.connect(ANSWER_WITHIN).await?;
            let before = now()?;
            let told: (u64, u64) =
                cmd("TIME").query_async(&mut connection).await.map_err(failed("ask for the time"))?;
            let server = Duration::from_secs(told.0).saturating_add(Duration::from_micros(told.1));
            let offset_max = Duration::from_millis(self.settings.borrow().clock_offset_ms_max);
            Ok(held_against(server, before, now()?, offset_max)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_the_way_there_and_back_does_not_explain() {
        let ms = Duration::from_millis;
        let check = |server, before, after| held_against(ms(server), ms(before), ms(after), ms(500));
        // Anywhere on the way; a slow answer; just within on both sides.
        for (server, before, after) in
            [(1_000, 990, 1_010), (1_000, 1_000, 9_000), (1_500, 900, 1_000), (500, 1_000, 1_001)]
        {
            assert_eq!(check(server, before, after), Ok(()), "{server} {before} {after}");
        }
        let behind = check(1_511, 1_000, 1_010).unwrap_err();
        assert_eq!(behind.to_string(), "this clock is 501 ms behind the server's, at most 500 ms are allowed");
        let ahead = check(400, 1_000, 1_010).unwrap_err();
        assert_eq!(ahead.to_string(), "this clock is 600 ms ahead of the server's, at most 500 ms are allowed");
    }
}
