//! Fills into round trips, and what no strategy can be named for.

use super::{Command, Context, State, close_trade, invalid};
use crate::event::{Event, Unattributed};
use crate::fill::{Fill, Netting};
use crate::ids::StrategyId;
use crate::netting;
use crate::rejection::{Rejection, said};

/// The longest content that is kept of something unattributed, bytes.
const CONTENT_BYTES_MAX: usize = 64 << 10;
/// The longest reason that it may come with, bytes.
const REASON_BYTES_MAX: usize = 1 << 10;
/// The longest name of a source or a kind, bytes.
const NAME_BYTES_MAX: usize = 48;

/// A fill, and where it closes part of a position that round trip with all that follows from it.
pub(super) fn record(
    state: &State,
    fill: &Fill,
    netting: Netting,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    let trade = netting::decide(&state.fills, fill, netting, state.registration.as_ref())?;
    let mut events = vec![Event::FillRecorded { fill: fill.clone(), netting }];
    if let Some(trade) = trade {
        events.extend(close_trade(state, &trade, context)?);
    }
    Ok(events)
}

/// The stream of what is unattributed takes nothing else, and no other stream takes that.
pub(super) fn only_its_own(id: &StrategyId, command: &Command) -> Result<(), Rejection> {
    let is_unattributed = matches!(command, Command::RecordUnattributed(_));
    let is_fault = matches!(command, Command::RecordFault { .. });
    match id.is_unattributed() {
        true if !is_unattributed && !is_fault => Err(Rejection::NoStrategy { name: StrategyId::UNATTRIBUTED }),
        false if is_unattributed => {
            Err(invalid("strategy_id", format!("what is attributed to {id} is not unattributed")))
        }
        true | false => Ok(()),
    }
}

/// Keeps all of it, as long as that is not too much.
pub(super) fn unattributed(received: &Unattributed) -> Result<Event, Rejection> {
    let Unattributed { source, kind, content, reason, .. } = received;
    for (field, text, most) in [
        ("source", source.as_str(), NAME_BYTES_MAX),
        ("kind", kind.as_str(), NAME_BYTES_MAX),
        ("content", content.as_str(), CONTENT_BYTES_MAX),
        ("reason", reason.as_str(), REASON_BYTES_MAX),
    ] {
        said(field, text)?;
        if text.len() > most {
            return Err(invalid(field, format!("has at most {most} bytes, found {}", text.len())));
        }
    }
    Ok(Event::UnattributedReceived(received.clone()))
}
