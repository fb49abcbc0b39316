//! A check of one's own for the canary: `cargo run --example canary_check -- DIR`.
//!
//! Whatever a program stands on can be watched: here the broker's session, which is lost after two rounds. After
//! three failures in a row the policy's `canary.action_on_failure` follows; at its default that is the kill switch.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ephor::canary::{Canary, component};
use ephor::embed::Embedded;
use ephor::settings::Settings;
use ephor_governance::event::Event;
use tokio::sync::watch;

#[expect(clippy::print_stdout, reason = "an example that shows what it is told")]
fn main() -> Result<(), Box<dyn Error>> {
    // The canary can ask end points over TLS, so it wants to know with what.
    drop(rustls::crypto::ring::default_provider().install_default());
    let dir = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("ephor-data"), PathBuf::from);
    let settings = Settings::default();
    let house = Embedded::open(&dir, &settings)?;

    let is_connected = Arc::new(AtomicBool::new(true));
    let seen = is_connected.clone();
    let broker = component(move || {
        let is_connected = seen.load(Ordering::SeqCst);
        async move { if is_connected { Ok(()) } else { Err("the broker has closed the session".into()) } }
    });
    // Whoever keeps the sender can change what is checked while it is.
    let (_, checked) = watch::channel(settings.canary);
    let mut canary = Canary::new(house.session().clone(), checked, &dir, || Duration::from_secs(30))?;
    canary.add("broker", broker);

    for round in 1..=5 {
        is_connected.store(round <= 2, Ordering::SeqCst);
        let recorded = house.wait(canary.round())?;
        let acted = recorded.events.iter().any(|event| matches!(event, Event::KillSwitchEngaged { .. }));
        let said = if acted { "three times in a row: the kill switch is engaged" } else { "recorded" };
        println!("round {round}: broker {}, {said}", if round <= 2 { "well" } else { "not well" });
    }
    house.close()?;
    Ok(())
}
