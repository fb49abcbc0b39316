//! Orders that close in pieces: the first piece counts as a trade at once, each further one amends it.
//!
//! What an order has come to is held until newer orders or trades push it out: at most [`ORDERS_MAX`] of them, and
//! none whose outcome has left the windows. A piece of an order that is no longer held counts as a trade.
//!
//! Invariants: an order is counted once a level, at the level where its first piece was counted; what moves equity
//! moves it when it comes, so no drawdown is hidden; a source's own closed trade is never amended.

use serde::{Deserialize, Serialize};

use super::state::{State, push_outcome};
use crate::event::{ClosedTrade, Piece};
use crate::ids::{AccountId, InstrumentId, SourceId};
use crate::maturity::{Evidence, streak_after};
use crate::trade::{Direction, Measured, Outcome, Trade};
use crate::units::Amount;

/// The most orders that are held for further pieces; beyond it the one that began first is forgotten.
pub const ORDERS_MAX: usize = 32;

/// An order that has closed something, and may close more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closing {
    /// Its instrument.
    pub instrument: InstrumentId,
    /// Its account; empty where its source names none.
    pub account: AccountId,
    /// Which way the position stood that it closes.
    pub direction: Direction,
    /// Its id.
    pub order_id: SourceId,
    /// The trade that its first piece was recorded as.
    pub trade: SourceId,
    /// Which of all trades that was, from one.
    pub number: u32,
    /// Result of all its pieces.
    pub pnl: Amount,
    /// Entry notional of all its pieces.
    pub notional: Amount,
    /// The mean loss that it is measured by.
    pub mean_loss: Option<f64>,
    /// Losses in a row before it, at its level.
    pub streak_at_level: u32,
    /// Losses in a row before it, of all.
    pub streak: u32,
    /// Whether what it closes has stood open since its last piece: it may close more, and turn.
    pub is_open: bool,
}

impl State {
    /// The order that this trade is a piece of, if it is held.
    pub(super) fn closing(&self, trade: &Trade, account: &AccountId) -> Option<&Closing> {
        let order_id = trade.order_id.as_ref()?;
        self.closing.iter().rev().find(|held| {
            held.order_id == *order_id
                && held.instrument == trade.instrument
                && held.account == *account
                && held.direction == trade.direction
        })
    }

    /// Where an order's outcome stands among the last ones.
    fn place(&self, held: &Closing) -> Option<usize> {
        let newer = self.totals.trades.checked_sub(held.number)? as usize;
        self.outcomes.len().checked_sub(newer + 1)
    }

    /// Whether an order is counted in the record of the level and version in force.
    fn is_counted(&self, held: &Closing) -> bool {
        self.totals.trades.saturating_sub(held.number) < self.maturity.evidence.trades
    }

    /// Whether anything is open in a book, this way round.
    fn stands(&self, instrument: &InstrumentId, account: &AccountId, direction: Direction) -> bool {
        let book = self.fills.books.get(instrument).and_then(|books| books.get(account));
        book.is_some_and(|book| book.direction == direction && !book.lots.is_empty())
    }

    /// Takes note of what a fill has left open: nothing, and every order that closed it is done, whichever order the fill
    /// was of.
    pub(super) fn see_books(&mut self, instrument: &InstrumentId) {
        let held = self.closing.iter();
        let stand =
            |held: &Closing| held.instrument != *instrument || self.stands(instrument, &held.account, held.direction);
        let stand: Vec<bool> = held.map(stand).collect();
        for (held, stands) in self.closing.iter_mut().zip(stand) {
            held.is_open &= stands;
        }
    }

    /// Takes note of what a piece has left open of its book.
    fn see_book(&mut self, trade: &Trade, account: &AccountId) {
        let stands = self.stands(&trade.instrument, account, trade.direction);
        for held in self.closing.iter_mut().filter(|held| {
            held.direction == trade.direction && held.instrument == trade.instrument && held.account == *account
        }) {
            held.is_open = stands && (held.is_open || Some(&held.order_id) == trade.order_id.as_ref());
        }
    }

    /// The record at the level in which an order that may close more counts only with what it has lost.
    pub(super) fn settled(&self) -> Evidence {
        let open = self.closing.iter().filter(|held| held.is_open && self.is_counted(held));
        open.fold(self.maturity.evidence, |settled, held| {
            let lost = Amount::ZERO.minus(held.pnl.min(Amount::ZERO));
            let without = settled.discounting(held.pnl);
            Evidence { gross_loss: without.gross_loss.plus(lost), ..without }
        })
    }

    /// Outcomes and record with one more piece, for an order that is held; equity moves at any level.
    pub(super) fn amended(&self, held: &Closing, closed: &ClosedTrade) -> (Vec<Measured>, Evidence) {
        let mut outcomes = self.outcomes.clone();
        let evidence = self.maturity.evidence.moved(closed.trade.realized_pnl);
        let Some(place) = self.place(held) else { return (outcomes, evidence) };
        if let Some(known) = outcomes.get_mut(place) {
            *known = measured(closed);
        }
        if !self.is_counted(held) {
            return (outcomes, evidence);
        }
        let loss_streak = streak(held.streak_at_level, outcomes.get(place..).unwrap_or_default());
        let evidence = evidence.discounting(held.pnl).counting(closed.result());
        (outcomes, Evidence { loss_streak, ..evidence })
    }

    /// A further piece of the order whose first piece was recorded as this trade.
    pub(super) fn evolve_amended(&mut self, first: &SourceId, closed: &ClosedTrade) {
        let pnl = closed.trade.realized_pnl;
        self.totals.pnl = self.totals.pnl.plus(pnl);
        let held = self.closing.iter().position(|held| held.trade == *first);
        let Some((at, held)) = held.and_then(|at| Some((at, self.closing.get(at)?.clone()))) else {
            // Counted long ago: what is left of it moves equity.
            self.maturity.evidence = self.maturity.evidence.moved(pnl);
            return self.see_drawdown();
        };
        let counted = self.is_counted(&held);
        (self.outcomes, self.maturity.evidence) = self.amended(&held, closed);
        self.totals.recount(held.pnl, closed.result());
        let place = self.place(&held).unwrap_or(self.outcomes.len());
        let since = self.outcomes.get(place..).unwrap_or_default();
        self.totals.loss_streak = streak(held.streak, since);
        // Those that began later began after other losses in a row than they knew.
        for later in self.closing.iter_mut().skip(at + 1) {
            let between = since.get(..later.number.saturating_sub(held.number) as usize).unwrap_or_default();
            later.streak = streak(held.streak, between);
            if counted {
                later.streak_at_level = streak(held.streak_at_level, between);
            }
        }
        if let (Some(held), Some(piece)) = (self.closing.get_mut(at), &closed.piece) {
            (held.pnl, held.notional) = (piece.pnl, piece.notional);
            self.see_book(&closed.trade, &piece.account);
        }
        self.see_drawdown();
    }

    /// One more trade, of an order that may close more where it is a piece.
    pub(super) fn evolve_counted(&mut self, closed: &ClosedTrade) {
        let (streak_at_level, streak) = (self.maturity.evidence.loss_streak, self.totals.loss_streak);
        push_outcome(&mut self.outcomes, closed);
        self.version_trades = self.version_trades.saturating_add(1);
        self.maturity.evidence = self.maturity.evidence.with(&closed.trade);
        self.totals.count(closed.trade.realized_pnl);
        if let (Some(piece), Some(order_id)) = (&closed.piece, &closed.trade.order_id) {
            if self.closing.len() >= ORDERS_MAX {
                self.closing.remove(0);
            }
            self.closing.push(Closing {
                instrument: closed.trade.instrument.clone(),
                account: piece.account.clone(),
                direction: closed.trade.direction,
                order_id: order_id.clone(),
                trade: closed.trade.id.clone(),
                number: self.totals.trades,
                pnl: piece.pnl,
                notional: piece.notional,
                mean_loss: piece.mean_loss,
                streak_at_level,
                streak,
                is_open: false,
            });
            self.see_book(&closed.trade, &piece.account);
        }
        // Orders are held in the order of their trades.
        while self.closing.first().is_some_and(|held| self.place(held).is_none()) {
            self.closing.remove(0);
        }
        self.see_drawdown();
    }
}

/// A trade that is a piece of an order, as it is recorded.
pub(super) fn piece_of(
    held: Option<&Closing>,
    trade: &Trade,
    notional: Amount,
    account: &AccountId,
    mean_loss: Option<f64>,
) -> Piece {
    let (pnl, before) = held.map_or((Amount::ZERO, Amount::ZERO), |held| (held.pnl, held.notional));
    Piece {
        account: account.clone(),
        amends: held.map(|held| held.trade.clone()),
        pnl: pnl.plus(trade.realized_pnl),
        notional: before.plus(notional),
        mean_loss,
    }
}

/// What the windows keep of a trade, or of all pieces so far.
pub(super) fn measured(closed: &ClosedTrade) -> Measured {
    Measured { pnl: closed.result().to_f64(), r: closed.r.value, return_on_entry: closed.return_on_entry }
}

/// Losses in a row after these outcomes.
fn streak(before: u32, outcomes: &[Measured]) -> u32 {
    outcomes.iter().fold(before, |streak, known| streak_after(streak, outcome_of(known)))
}

fn outcome_of(known: &Measured) -> Outcome {
    if known.pnl > 0.0 {
        Outcome::Win
    } else if known.pnl < 0.0 {
        Outcome::Loss
    } else {
        Outcome::BreakEven
    }
}
