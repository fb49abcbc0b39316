//! All connections of a service: made from the settings, started when there is a governor to ask.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pump::Pump;
use super::{Inbound, Status, jsonl, mqtt, nats, redis};
use crate::canary::{self, Component, Fault};
use crate::follow::{Checkpoint, Follower, follow};
use crate::serve::app::App;
use crate::settings::{self, Settings};
use crate::store::Session;

/// A connection inwards that has not been started.
struct In {
    inbound: Box<dyn Inbound>,
    reading: settings::Reading,
    status: Status,
    /// How long nothing may come, where that is watched.
    silent_max: Option<Duration>,
}

/// A connection outwards that has not been started.
struct Out {
    follower: Box<dyn Follower>,
    status: Status,
    /// Whether its status is what the canary checks of it.
    is_checked: bool,
}

/// All connections of a service.
#[derive(Default)]
pub struct Buses {
    inwards: Vec<In>,
    outwards: Vec<Out>,
    answering: Vec<nats::Orders>,
    /// What the canary checks beside the connections.
    checked: Vec<(SmolStr, Arc<dyn Component>)>,
}

impl Buses {
    /// As the settings say; `canary` is what they say of it later on, too. Nothing is connected yet.
    #[must_use]
    pub fn new(
        settings: &Settings,
        canary: &watch::Receiver<settings::Canary>,
        data: &Path,
        session: &Session,
    ) -> Self {
        let mut buses = Self::default();
        let positions = &session.positions;
        for file in &settings.bus.jsonl {
            let taken = Checkpoint::new(positions.clone(), &format!("jsonl/{}", file.name));
            let which = Checkpoint::new(positions.clone(), &format!("jsonl/{}/inode", file.name));
            let dead = data.join("dead").join(format!("{}.jsonl", file.name));
            let inbound = jsonl::Growing::new(&file.path, &dead, taken, which);
            buses.take_in(&file.name, |_| Box::new(inbound), &file.reading, None);
        }
        for server in &settings.bus.redis {
            buses.redis(server, session, canary);
        }
        for broker in &settings.bus.mqtt {
            if !broker.topics.is_empty() {
                buses.take_in(&broker.name, |_| Box::new(mqtt::Input::new(broker)), &broker.reading, None);
            }
            if let Some(prefix) = &broker.publish {
                let published = Checkpoint::new(positions.clone(), &format!("mqtt/{}", broker.name));
                let events = mqtt::Events::new(broker, prefix, published);
                buses.tell(format_smolstr!("bus:{}:events", broker.name), Box::new(events));
            }
        }
        for server in &settings.bus.nats {
            let name = &server.name;
            if server.take {
                buses.take_in(name, |_| Box::new(nats::Input::new(server.clone())), &server.reading, None);
            }
            if server.publish {
                let kept = Checkpoint::new(positions.clone(), &format!("nats/{name}"));
                let events = nats::Events::new(server.clone(), session.governor.reader().clone(), kept);
                buses.tell(format_smolstr!("bus:{name}:events"), Box::new(events));
            }
            if server.answer {
                let status = Status::new(format_smolstr!("bus:{name}:orders"));
                buses.answering.push(nats::Orders::new(server.clone(), status));
            }
        }
        buses
    }

    fn redis(&mut self, server: &settings::Redis, session: &Session, canary: &watch::Receiver<settings::Canary>) {
        let name = &server.name;
        if !server.keys.is_empty() {
            let silent_max = server.heartbeat_seconds_max.map(Duration::from_secs);
            let inbound = |status| Box::new(redis::Streams::new(server, status)) as Box<dyn Inbound>;
            self.take_in(name, inbound, &server.reading, silent_max);
        }
        let taken = Checkpoint::new(session.positions.clone(), &format!("redis/{name}/halt"));
        if let Some(halt) = redis::Halt::new(server, &session.governor, taken) {
            self.tell(format_smolstr!("bus:{name}:halt"), Box::new(halt));
        }
        if let Some(events) = redis::Events::new(server, &session.governor) {
            self.tell(format_smolstr!("bus:{name}:publish"), Box::new(events));
        }
        let clock = redis::Clock::new(redis::Server::new(server), canary.clone());
        self.checked.push((format_smolstr!("clock:{name}"), clock));
    }

    fn take_in(
        &mut self,
        name: &str,
        inbound: impl FnOnce(Status) -> Box<dyn Inbound>,
        reading: &settings::Reading,
        silent_max: Option<Duration>,
    ) {
        let status = Status::new(format_smolstr!("bus:{name}"));
        self.inwards.push(In { inbound: inbound(status.clone()), reading: reading.clone(), status, silent_max });
    }

    /// The way in of this name, for somebody who takes what comes there in his own way: how it is read, and how it is
    /// doing. The other connections are given up.
    #[must_use]
    pub fn into_inward(self, name: &str) -> Option<(Box<dyn Inbound>, settings::Reading, Status)> {
        let named = |one: &In| one.status.name().strip_prefix("bus:") == Some(name);
        self.inwards.into_iter().find(named).map(|one| (one.inbound, one.reading, one.status))
    }

    /// Has somebody told everything that is recorded.
    pub fn tell(&mut self, name: impl Into<SmolStr>, follower: Box<dyn Follower>) {
        self.outwards.push(Out { follower, status: Status::new(name), is_checked: true });
    }

    /// The same for somebody of whom the canary checks something else.
    pub fn tell_unchecked(&mut self, status: Status, follower: Box<dyn Follower>) {
        self.outwards.push(Out { follower, status, is_checked: false });
    }

    /// How each connection is doing.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let inwards = self.inwards.iter().map(|one| one.status.clone());
        let outwards = self.outwards.iter().map(|one| one.status.clone());
        inwards.chain(outwards).chain(self.answering.iter().map(|one| one.status().clone())).collect()
    }

    /// What the canary checks of them: who governs blind should not go on.
    #[must_use]
    pub fn components(&self) -> Vec<(SmolStr, Arc<dyn Component>)> {
        let inwards = self.inwards.iter().map(|one| (one.status.clone(), one.silent_max));
        let answering = self.answering.iter().map(|one| (one.status().clone(), None));
        let watched = |(status, silent_max): (Status, _)| (status.name().clone(), watched(status, silent_max));
        inwards.chain(answering).map(watched).chain(self.checked.iter().cloned()).collect()
    }

    /// What the canary shows of them and does nothing about: those who are told have the log to be told from.
    #[must_use]
    pub fn shown(&self) -> Vec<(SmolStr, Arc<dyn Component>)> {
        let outwards = self.outwards.iter().filter(|one| one.is_checked).map(|one| one.status.clone());
        outwards.map(|status| (status.name().clone(), watched(status, None))).collect()
    }

    /// Starts all of them on this thread; they end when told to, with what was under way settled.
    #[must_use]
    pub fn start(self, app: &web::Data<App>, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let mut running = Vec::new();
        for In { inbound, reading, status, silent_max: _ } in self.inwards {
            let pump = Pump::new(app.clone(), &reading, status);
            running.push(tokio::task::spawn_local(pump.run(inbound, stop.clone())));
        }
        for Out { follower, status, is_checked: _ } in self.outwards {
            if let Some(governor) = app.governor().cloned() {
                running.push(tokio::task::spawn_local(follow(governor, follower, status, stop.clone())));
            }
        }
        for orders in self.answering {
            running.push(tokio::task::spawn_local(orders.run(app.clone(), stop.clone())));
        }
        running
    }
}

/// A connection has fallen silent.
#[derive(Debug, thiserror::Error)]
#[error("nothing came for {:.1} s, at most {:.1} s are allowed", silent.as_secs_f64(), silent_max.as_secs_f64())]
struct Silent {
    silent: Duration,
    silent_max: Duration,
}

fn watched(status: Status, silent_max: Option<Duration>) -> Arc<dyn Component> {
    canary::component(move || {
        let error = status.fault().map(Fault::from);
        let silent = silent_max.map(|silent_max| Silent { silent: status.silent(), silent_max });
        let silent = silent.filter(|said| said.silent > said.silent_max).map(Fault::from);
        async move { error.or(silent).map_or(Ok(()), Err) }
    })
}
