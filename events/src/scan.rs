//! Walks the log from a known place on, checking that every frame continues the one before.

use std::sync::Arc;

use crate::error::Trouble;
use crate::frame::decode;
use crate::ledger::Ledger;
use crate::store::Source;
use crate::tail::{Entry, Tail};
use crate::window::Window;

/// Takes every frame from the ledger's end to `limit` into ledger and tail, and calls `after` with
/// both behind each. On an error the ledger's end is where the trouble begins.
pub(crate) fn follow(
    source: &Arc<dyn Source>,
    ledger: &mut Ledger,
    tail: &mut Tail,
    limit: u64,
    after: &mut dyn FnMut(&mut Ledger, &mut Tail),
) -> Result<(), Trouble> {
    let mut window = Window::sequential(source.clone());
    while ledger.end.address < limit {
        let address = ledger.end.address;
        let range = window.frame(address, limit)?;
        let frame = window.bytes(range);
        let raw = decode(frame)?;
        ledger.accept(&raw, frame.len(), raw.hash())?;
        tail.push(&Entry::of(&raw, address));
        after(ledger, tail);
    }
    Ok(())
}
