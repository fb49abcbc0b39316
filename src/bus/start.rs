//! All connections of a service: made from the settings, started when there is a governor to ask.

use std::path::Path;
use std::sync::Arc;

use actix_web::web;
use ephor_events::DerivedTree;
use smol_str::{SmolStr, format_smolstr};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pump::Pump;
use super::{Inbound, Status, jsonl, mqtt};
use crate::canary::{self, Component, Fault};
use crate::follow::{Checkpoint, Follower, follow};
use crate::serve::app::App;
use crate::settings;

/// A connection inwards that has not been started.
struct In {
    inbound: Box<dyn Inbound>,
    reading: settings::Reading,
    status: Status,
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
}

impl Buses {
    /// As the settings say. Nothing is connected yet. `positions` is where positions are kept beside the log.
    #[must_use]
    pub fn new(settings: &settings::Bus, data: &Path, positions: &DerivedTree) -> Self {
        let mut buses = Self::default();
        for file in &settings.jsonl {
            let taken = Checkpoint::new(positions.clone(), &format!("jsonl/{}", file.name));
            let dead = data.join("rejects").join(format!("{}.jsonl", file.name));
            let inbound = jsonl::Growing::new(&file.path, &dead, taken);
            buses.take_in(&file.name, Box::new(inbound), &file.reading);
        }
        for broker in &settings.mqtt {
            if !broker.topics.is_empty() {
                buses.take_in(&broker.name, Box::new(mqtt::Input::new(broker)), &broker.reading);
            }
            if let Some(prefix) = &broker.publish {
                let published = Checkpoint::new(positions.clone(), &format!("mqtt/{}", broker.name));
                let events = mqtt::Events::new(broker, prefix, published);
                buses.tell(format_smolstr!("bus:{}:events", broker.name), Box::new(events));
            }
        }
        buses
    }

    fn take_in(&mut self, name: &str, inbound: Box<dyn Inbound>, reading: &settings::Reading) {
        let status = Status::new(format_smolstr!("bus:{name}"));
        self.inwards.push(In { inbound, reading: reading.clone(), status });
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
        inwards.chain(self.outwards.iter().map(|one| one.status.clone())).collect()
    }

    /// What the canary checks of them.
    #[must_use]
    pub fn components(&self) -> Vec<(SmolStr, Arc<dyn Component>)> {
        let outwards = self.outwards.iter().filter(|one| one.is_checked).map(|one| &one.status);
        let statuses = self.inwards.iter().map(|one| &one.status).chain(outwards);
        statuses.map(|status| (status.name().clone(), watched(status.clone()))).collect()
    }

    /// Starts all of them on this thread; they end when told to, with what was under way settled.
    #[must_use]
    pub fn start(self, app: &web::Data<App>, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let mut running = Vec::new();
        for In { inbound, reading, status } in self.inwards {
            let pump = Pump::new(app.clone(), &reading, status);
            running.push(tokio::task::spawn_local(pump.run(inbound, stop.clone())));
        }
        for Out { follower, status, is_checked: _ } in self.outwards {
            if let Some(governor) = app.governor().cloned() {
                running.push(tokio::task::spawn_local(follow(governor, follower, status, stop.clone())));
            }
        }
        running
    }
}

fn watched(status: Status) -> Arc<dyn Component> {
    canary::component(move || {
        let error = status.error();
        async move { error.map_or(Ok(()), |error| Err(Fault::from(error))) }
    })
}
