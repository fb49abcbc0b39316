//! Redis Streams, as `NautilusTrader`'s external message bus writes them.
//!
//! Inwards a consumer group: an entry is acknowledged when what it reports is durable, stays pending otherwise, and goes
//! to a stream of dead letters where it cannot be taken. Outwards an engaged kill switch becomes the command that stops
//! a node, and what is recorded can be published to a stream of its own.

mod client;
mod clock;
mod entry;
mod events;
mod gone;
mod group;
mod halt;
mod inbound;
mod publisher;
mod reader;
mod setup;

pub use client::Server;
pub use clock::Clock;
pub use events::Events;
pub use halt::Halt;
pub use inbound::Streams;
pub use publisher::Publisher;
pub use setup::{look, set_up};
