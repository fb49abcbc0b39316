//! Signals out of JSON lines: the wishes of strategies that run elsewhere.
//!
//! A line is bounded and checked like any line that comes in; one that cannot be taken is a [`Refusal`] with its code
//! and field, and stops nothing. How large an order is does not stand in it: that is for the sizing to say.

use std::collections::BTreeMap;

use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Timestamp};

use crate::input::{Code, Fields, Range, Refusal, SIDES, plausible, required, text};

const INTENTS: [(&str, Intent); 2] = [("entry", Intent::Entry), ("exit", Intent::Exit)];

/// A wish to trade, before anybody has said how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wished {
    /// The source's id for it; what makes it one order however often it comes.
    pub id: SourceId,
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub strategy: StrategyId,
    /// What is to be traded.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// To open or to close; an exit trades what the strategy holds.
    pub intent: Intent,
    /// The worst price it would take; `None` takes the market's.
    pub limit: Option<Amount>,
    /// The price at which it would have been wrong.
    pub stop: Option<Amount>,
    /// How much the market's state is worth to it, from 0 to 1.
    pub regime: Option<Amount>,
}

/// Reads lines in order, of strategies that are known.
#[derive(Debug)]
pub struct Reading {
    known: BTreeMap<StrategyId, InstrumentId>,
    now: fn() -> Timestamp,
    taken: Option<Timestamp>,
}

impl Reading {
    /// `known` is what each strategy that has no rule of its own trades; `now` bounds how far in the future a line may stand.
    #[must_use]
    pub const fn new(known: BTreeMap<StrategyId, InstrumentId>, now: fn() -> Timestamp) -> Self {
        Self { known, now, taken: None }
    }

    /// The signal on a line; `None` for a blank one.
    ///
    /// # Errors
    /// [`Refusal`], by the first thing that is wrong.
    pub fn line(&mut self, bytes: &[u8]) -> Result<Option<Wished>, Refusal> {
        let line = text(bytes)?;
        if line.trim().is_empty() {
            return Ok(None);
        }
        let fields = Fields::of(line)?;
        if let Some(kind) = fields.text("type")?.filter(|kind| kind != "signal") {
            let problem = format!("unknown type {:?}: use signal", crate::input::quoted(&kind));
            return Err(Refusal::field(Code::TypeUnknown, "type", problem));
        }
        let wished = self.signal(&fields)?;
        if let Some(taken) = self.taken.filter(|taken| wished.at < *taken) {
            let problem = format!("{} is before {taken}, which was read already", wished.at);
            return Err(Refusal::field(Code::TimeGoingBack, "ts", problem));
        }
        self.taken = Some(wished.at);
        Ok(Some(wished))
    }

    /// The signal in these fields, whenever it was.
    ///
    /// # Errors
    /// [`Refusal`], by the first field that is wrong.
    pub(crate) fn signal(&self, fields: &Fields<'_>) -> Result<Wished, Refusal> {
        let id = required("id", fields.id("id"))?;
        let at = plausible("ts", required("ts", fields.time("ts"))?, self.now)?;
        let strategy: StrategyId = required("strategy_id", fields.id("strategy_id"))?;
        let Some(trades) = self.known.get(&strategy) else {
            let problem = format!("{strategy} is not among paper.strategies without a rule of its own");
            return Err(Refusal::field(Code::StrategyUnknown, "strategy_id", problem));
        };
        let instrument: InstrumentId = fields.id("instrument")?.unwrap_or_else(|| trades.clone());
        if instrument != *trades {
            let problem = format!("{strategy} trades {trades}, found {instrument}");
            return Err(Refusal::field(Code::FieldOutOfRange, "instrument", problem));
        }
        let regime = fields.amount("regime", Range::AtLeastZero)?;
        if let Some(regime) = regime.filter(|regime| *regime > Amount::ONE) {
            let problem = format!("must not be above 1, found {regime}");
            return Err(Refusal::field(Code::FieldOutOfRange, "regime", problem));
        }
        Ok(Wished {
            id,
            at,
            strategy,
            instrument,
            side: required("side", fields.choice("side", &SIDES))?,
            intent: fields.choice("intent", &INTENTS)?.unwrap_or(Intent::Entry),
            limit: fields.amount("price", Range::AboveZero)?,
            stop: fields.amount("stop", Range::AboveZero)?,
            regime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"type":"signal","id":"s-1","ts":"2017-08-01T10:00:00Z","strategy_id":"desk","side":"BUY","stop":"1.17","regime":"0.5"}"#;

    fn reading() -> Reading {
        let known = BTreeMap::from([("desk".parse().unwrap(), "EUR/USD".parse().unwrap())]);
        Reading::new(known, || Timestamp::from_nanos(1_700_000_000 * 1_000_000_000))
    }

    #[track_caller]
    fn refused(with: &[(&str, &str)]) -> String {
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(LINE).unwrap();
        for (field, value) in with {
            object.insert((*field).to_owned(), serde_json::from_str(value).unwrap());
        }
        let refusal = reading().line(serde_json::to_string(&object).unwrap().as_bytes()).unwrap_err();
        format!("{} {refusal}", refusal.code)
    }

    #[test]
    fn a_signal_opens_in_its_strategys_own_instrument_unless_it_says_otherwise() {
        let wished = reading().line(LINE.as_bytes()).unwrap().unwrap();
        assert_eq!((wished.instrument.as_str(), wished.intent, wished.limit), ("EUR/USD", Intent::Entry, None));
        assert_eq!((wished.stop, wished.regime), (Some(Amount::new(117, 2)), Some(Amount::new(5, 1))));
        assert_eq!(reading().line(b" \r"), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_signal_is_named() {
        for (field, value, said) in [
            ("type", "\"order\"", "TYPE_UNKNOWN type: unknown type \"order\""),
            ("id", "null", "FIELD_MISSING id: missing"),
            ("ts", "\"1970-01-01T00:00:00Z\"", "FIELD_OUT_OF_RANGE ts: must not be before"),
            ("strategy_id", "\"nobody\"", "STRATEGY_UNKNOWN strategy_id: nobody is not among"),
            ("instrument", "\"GOOG\"", "FIELD_OUT_OF_RANGE instrument: desk trades EUR/USD, found GOOG"),
            ("side", "\"HOLD\"", "FIELD_MALFORMED side: expected BUY or SELL"),
            ("intent", "\"maybe\"", "FIELD_MALFORMED intent: expected entry or exit"),
            ("regime", "1.5", "FIELD_OUT_OF_RANGE regime: must not be above 1, found 1.5"),
            ("stop", "-1", "FIELD_OUT_OF_RANGE stop: must be above 0, found -1"),
            ("price", "\"dear\"", "FIELD_MALFORMED price: expected a decimal number"),
        ] {
            let found = refused(&[(field, value)]);
            assert!(found.starts_with(said), "{field}: {found}");
        }
    }

    #[test]
    fn time_does_not_go_back() {
        let mut reading = reading();
        reading.line(LINE.as_bytes()).unwrap();
        let earlier = LINE.replace("2017-08-01T10", "2017-08-01T09");
        assert_eq!(reading.line(earlier.as_bytes()).unwrap_err().code, Code::TimeGoingBack);
    }
}
