//! Fills into round trips, and what no strategy can be named for.

use super::{Command, Context, State, after_expiries, close_trade, invalid};
use crate::event::{Event, Unattributed};
use crate::fill::{Fill, Netting, Pieces};
use crate::ids::{AccountId, StrategyId};
use crate::netting;
use crate::rejection::{Rejection, said};
use crate::trade::Trade;

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
    pieces: Pieces,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    let trade = netting::decide(&state.fills, fill, netting, state.registration.as_ref())?;
    let recorded = Event::FillRecorded { fill: fill.clone(), netting, pieces };
    let Some(trade) = trade else { return Ok(vec![recorded]) };
    let account = account_of(fill, pieces);
    let follow = close_trade(state, &trade, account.as_ref(), Some(&recorded), context)?;
    Ok(std::iter::once(recorded).chain(follow).collect())
}

/// The account of the order that the fill is a piece of; `None` where it counts by itself.
fn account_of(fill: &Fill, pieces: Pieces) -> Option<AccountId> {
    match (pieces, &fill.order_id) {
        (Pieces::Together, Some(_)) => Some(fill.account.clone().unwrap_or_default()),
        (Pieces::Together | Pieces::Apart, _) => None,
    }
}

/// What follows from a trade that a fill closed, told apart from its fill, which `state` has already:
/// for looking at history otherwise.
///
/// # Errors
/// As [`super::decide`].
pub fn close_apart(
    state: &State,
    trade: &Trade,
    fill: &Fill,
    pieces: Pieces,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    let account = account_of(fill, pieces);
    let follow = close_trade(state, trade, account.as_ref(), None, context)?;
    Ok(after_expiries(state, follow, context.at))
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
