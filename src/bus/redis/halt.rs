//! An engaged kill switch as the command that stops a `NautilusTrader` node.
//!
//! The node reads it from its external stream and stops as a whole. The command of an event is always the same, by its
//! id, and is written at least once: after a crash perhaps again. A kill that was released before it could be written
//! is not: the node may run again by then.

use std::time::{Duration, Instant};

use ephor_actors::Governor;
use ephor_events::Seq;
use ephor_events::envelope::Envelope;
use ephor_governance::event::{Event, Scope};
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::cmd;
use serde_json::{Value, json};

use super::client::{ANSWER_WITHIN, Server, failed};
use crate::canary::Fault;
use crate::follow::{Checkpoint, Follower};
use crate::operate::Covers;
use crate::settings;

/// Commands that the stream keeps, about.
const LENGTH_MAX: u64 = 10_000;
/// How long the gates may take to adopt what is recorded.
const ADOPTED_WITHIN: Duration = Duration::from_secs(5);
/// The topic of the command, and its type.
const TOPIC: &str = "commands.system.shutdown";
const COMMAND: &str = "ShutdownSystem";

/// Who writes the command.
pub struct Halt {
    name: String,
    server: Server,
    stream: String,
    trader_id: String,
    scopes: Vec<Scope>,
    governor: Governor,
    taken: Checkpoint,
    connection: Option<MultiplexedConnection>,
}

impl Halt {
    /// Where the settings name a node to stop.
    #[must_use]
    pub fn new(settings: &settings::Redis, governor: &Governor, taken: Checkpoint) -> Option<Self> {
        let (stream, trader_id) = settings.control.clone().zip(settings.trader_id.clone())?;
        Some(Self {
            name: settings.name.clone(),
            server: Server::new(settings),
            stream,
            trader_id,
            scopes: settings.scopes(),
            governor: governor.clone(),
            taken,
            connection: None,
        })
    }

    async fn write(&mut self, envelope: &Envelope, scope: &Scope, reason: &str) -> Result<(), Fault> {
        let connection = self.connection.as_mut().ok_or("not connected")?;
        let mut add = cmd("XADD");
        add.arg(&self.stream).arg("MAXLEN").arg("~").arg(LENGTH_MAX).arg("*");
        // Older nodes go by the place of a field: topic first, payload second.
        add.arg("topic").arg(TOPIC).arg("payload").arg(command(&self.trader_id, envelope, reason).to_string());
        add.arg("type").arg(COMMAND).arg("encoding").arg("json");
        add.exec_async(connection).await.map_err(failed("write the command that stops the node"))?;
        // Whoever looks for why a node has stopped finds it.
        self.taken.keep(envelope.seq.0)?;
        self.taken.flush()?;
        tracing::warn!(
            bus = %self.name, stream = %self.stream, trader = %self.trader_id, scope = %Covers(scope.clone()),
            seq = %envelope.seq, "a kill was passed on: the node is told to stop"
        );
        Ok(())
    }

    /// Whether a kill is in force now. What is recorded is adopted by the gates within moments.
    async fn is_in_force(&self, envelope: &Envelope, scope: &Scope) -> Result<bool, Fault> {
        let began = Instant::now();
        while began.elapsed() < ADOPTED_WITHIN {
            let view = self.governor.system_view();
            if view.version >= envelope.version {
                return Ok(view.state.kills.contains_key(scope));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err("the gates have not adopted a kill that is recorded".into())
    }
}

/// The command, as a node reads it.
fn command(trader_id: &str, envelope: &Envelope, reason: &str) -> Value {
    // Nodes take version 4 only.
    let id = uuid::Builder::from_random_bytes(envelope.event_id.into_bytes()).into_uuid();
    json!({
        "type": COMMAND,
        "trader_id": trader_id,
        "component_id": "GOVERNANCE",
        "reason": format!("kill switch: {reason}"),
        "command_id": id.to_string(),
        "ts_init": envelope.recorded_at.nanos().to_string(),
        "correlation_id": null,
    })
}

impl Follower for Halt {
    fn position(&mut self) -> BoxFuture<'_, Result<Seq, Fault>> {
        Box::pin(async move {
            self.connection = Some(self.server.connect(ANSWER_WITHIN).await?);
            // Without a position the whole log is gone through: what is in force is written, once more if need be.
            Ok(Seq(self.taken.read()?.unwrap_or(0)))
        })
    }

    fn take<'a>(&'a mut self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            for envelope in events {
                if let Event::KillSwitchEngaged { scope, reason, .. } = &envelope.event
                    && self.scopes.contains(scope)
                    && self.is_in_force(envelope, scope).await?
                {
                    self.write(envelope, scope, reason).await?;
                }
            }
            events.last().map_or(Ok(()), |last| self.taken.keep(last.seq.0))
        })
    }
}
