//! All connections of a service: made from the settings, started when there is a governor to ask.

use std::path::Path;
use std::sync::Arc;

use actix_web::web;
use ephor_events::{DerivedTree, Reader};
use smol_str::{SmolStr, format_smolstr};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pump::Pump;
use super::{Inbound, Status, jsonl, mqtt, nats};
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
}

/// All connections of a service.
#[derive(Default)]
pub struct Buses {
    inwards: Vec<In>,
    outwards: Vec<Out>,
    answering: Vec<nats::Orders>,
}

impl Buses {
    /// As the settings say. Nothing is connected yet. `positions` is where positions are kept beside the log that
    /// `reader` reads.
    #[must_use]
    pub fn new(settings: &settings::Bus, data: &Path, positions: &DerivedTree, reader: &Reader) -> Self {
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
        for server in &settings.nats {
            let name = &server.name;
            if server.take {
                buses.take_in(name, Box::new(nats::Input::new(server.clone())), &server.reading);
            }
            if server.publish {
                let kept = Checkpoint::new(positions.clone(), &format!("nats/{name}"));
                let events = nats::Events::new(server.clone(), reader.clone(), kept);
                buses.tell(format_smolstr!("bus:{name}:events"), Box::new(events));
            }
            if server.answer {
                let status = Status::new(format_smolstr!("bus:{name}:orders"));
                buses.answering.push(nats::Orders::new(server.clone(), status));
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
        self.outwards.push(Out { follower, status: Status::new(name) });
    }

    /// How each connection is doing.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let inwards = self.inwards.iter().map(|one| one.status.clone());
        let outwards = self.outwards.iter().map(|one| one.status.clone());
        inwards.chain(outwards).chain(self.answering.iter().map(|one| one.status().clone())).collect()
    }

    /// What the canary checks of them.
    #[must_use]
    pub fn components(&self) -> Vec<(SmolStr, Arc<dyn Component>)> {
        self.statuses().into_iter().map(|status| (status.name().clone(), watched(status))).collect()
    }

    /// Starts all of them on this thread; they end when told to, with what was under way settled.
    #[must_use]
    pub fn start(self, app: &web::Data<App>, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let mut running = Vec::new();
        for In { inbound, reading, status } in self.inwards {
            let pump = Pump::new(app.clone(), &reading, status);
            running.push(tokio::task::spawn_local(pump.run(inbound, stop.clone())));
        }
        for Out { follower, status } in self.outwards {
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

fn watched(status: Status) -> Arc<dyn Component> {
    canary::component(move || {
        let error = status.error();
        async move { error.map_or(Ok(()), |error| Err(Fault::from(error))) }
    })
}
