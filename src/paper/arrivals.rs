//! Signals and bars as they come over a bus, put into the order in which they are traded.
//!
//! A bar stands for its opening and comes when it is over, so a signal may come before bars that are earlier than it: it
//! waits for the first one that is later. What that order is follows from the order of arrival alone. What is too late
//! for it is refused, because the past has been traded. What comes again is known by what it is: a signal by its id, a
//! bar by its instrument and its time.
//!
//! Invariants: no bar is traded before an earlier one, and no signal after a bar that is later than it.

use std::collections::{BTreeMap, VecDeque};

use ephor_governance::ids::{InstrumentId, SourceId};
use ephor_governance::units::Timestamp;

use super::bars::Bar;
use super::plan::Plan;
use super::run::Step;
use super::signals::{Reading, Wished};
use crate::input::{Code, Fields, LINE_BYTES_MAX, Range, Refusal, plausible, quoted, required, text};

/// Everything that has come.
pub struct Arrivals {
    reading: Reading,
    now: fn() -> Timestamp,
    /// Whether a bar has to say how much was traded.
    needs_volume: bool,
    /// Places in [`Plan::markets`].
    markets: BTreeMap<InstrumentId, usize>,
    signals: BTreeMap<SourceId, Wished>,
    bars: BTreeMap<(usize, Timestamp), Bar>,
    /// The time of the last bar.
    last: Option<Timestamp>,
    /// Signals that wait for a later bar, by time and arrival.
    waiting: BTreeMap<(Timestamp, usize), Wished>,
    /// What can be traded.
    ready: VecDeque<Step>,
}

impl Arrivals {
    /// Behind the bars that the plan has out of files: those of its live part come first. `now` bounds how far in the
    /// future anything may stand.
    #[must_use]
    pub fn behind(plan: &Plan, now: fn() -> Timestamp) -> Self {
        let markets = plan.markets.iter().enumerate().map(|(place, market)| (market.instrument.id.clone(), place));
        let own =
            |(place, bars): (usize, &[Bar])| bars.iter().map(move |bar| ((place, bar.at), *bar)).collect::<Vec<_>>();
        let bars: BTreeMap<_, _> =
            plan.markets.iter().map(|market| market.bars.as_slice()).enumerate().flat_map(own).collect();
        Self {
            reading: Reading::new(plan.without_rule(), now),
            now,
            needs_volume: plan.settings.venue.volume_share.is_some(),
            markets: markets.collect(),
            signals: BTreeMap::new(),
            last: bars.keys().map(|(_, at)| *at).max(),
            bars,
            waiting: BTreeMap::new(),
            ready: plan.live().into_iter().map(|(_, market, bar)| Step::Bar(market, bar)).collect(),
        }
    }

    /// Takes a message; `false` where it has come before, or says nothing.
    ///
    /// # Errors
    /// [`Refusal`]: it cannot be read, comes too late, or is another one under a name that has been used.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(Refusal::too_long(bytes.len() as u64));
        }
        let text = text(bytes)?;
        if text.trim().is_empty() {
            return Ok(false);
        }
        let fields = Fields::of(text)?;
        match fields.text("type")?.as_deref() {
            Some("signal") | None => {
                let wished = self.reading.signal(&fields)?;
                self.signal(wished)
            }
            Some("bar") => {
                let (market, bar) = self.read_bar(&fields)?;
                self.bar(market, bar)
            }
            Some(kind) => {
                let problem = format!("unknown type {:?}: use signal or bar", quoted(kind));
                Err(Refusal::field(Code::TypeUnknown, "type", problem))
            }
        }
    }

    /// The next that can be traded.
    pub fn step(&mut self) -> Option<Step> {
        self.ready.pop_front()
    }

    fn read_bar(&self, fields: &Fields<'_>) -> Result<(usize, Bar), Refusal> {
        let instrument: InstrumentId = required("instrument", fields.id("instrument"))?;
        let Some(market) = self.markets.get(&instrument) else {
            let problem = format!("{instrument} is not among paper.instruments");
            return Err(Refusal::field(Code::FieldOutOfRange, "instrument", problem));
        };
        let price = |field| required(field, fields.amount(field, Range::AboveZero));
        let bar = Bar {
            at: plausible("ts", required("ts", fields.time("ts"))?, self.now)?,
            open: price("open")?,
            high: price("high")?,
            low: price("low")?,
            close: price("close")?,
            volume: fields.amount("volume", Range::AtLeastZero)?,
        };
        if self.needs_volume {
            required("volume", Ok(bar.volume))?;
        }
        let refused = |(field, problem)| Err(Refusal::field(Code::FieldOutOfRange, field, problem));
        bar.fault().map_or(Ok((*market, bar)), refused)
    }

    fn signal(&mut self, wished: Wished) -> Result<bool, Refusal> {
        if let Some(known) = self.signals.get(&wished.id) {
            return if *known == wished { Ok(false) } else { Err(other("id", "signal")) };
        }
        if let Some(last) = self.last.filter(|last| wished.at < *last) {
            return Err(late(wished.at, last));
        }
        self.waiting.insert((wished.at, self.signals.len()), wished.clone());
        self.signals.insert(wished.id.clone(), wished);
        Ok(true)
    }

    fn bar(&mut self, market: usize, bar: Bar) -> Result<bool, Refusal> {
        if let Some(known) = self.bars.get(&(market, bar.at)) {
            return if *known == bar { Ok(false) } else { Err(other("ts", "bar")) };
        }
        if let Some(last) = self.last.filter(|last| bar.at < *last) {
            return Err(late(bar.at, last));
        }
        let later = self.waiting.split_off(&(bar.at, 0));
        let released = std::mem::replace(&mut self.waiting, later);
        self.ready.extend(released.into_values().map(Step::Signal));
        self.ready.push_back(Step::Bar(market, bar));
        self.bars.insert((market, bar.at), bar);
        self.last = Some(bar.at);
        Ok(true)
    }
}

fn other(field: &'static str, what: &str) -> Refusal {
    Refusal::field(Code::IdReused, field, format!("another {what} has come under it"))
}

fn late(at: Timestamp, last: Timestamp) -> Refusal {
    Refusal::field(Code::TimeGoingBack, "ts", format!("{at} is before {last}, a bar that has come"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ephor_governance::units::Amount;

    use super::*;
    use crate::paper::plan::Beside;
    use crate::settings::{Paper, PaperInstrument, PaperSize, PaperStrategy, PaperVenue};

    fn arrivals() -> Arrivals {
        arrivals_with(PaperVenue::default())
    }

    fn arrivals_with(venue: PaperVenue) -> Arrivals {
        let instruments = ["EUR/USD", "GOOG"].map(|id| PaperInstrument::named(id.parse().unwrap()));
        let strategy = PaperStrategy {
            id: "desk".parse().unwrap(),
            instrument: "EUR/USD".parse().unwrap(),
            capital: 1_000.into(),
            rule: None,
            size: PaperSize::default(),
        };
        let settings = Paper { instruments: instruments.into(), strategies: vec![strategy], venue, ..Paper::default() };
        let plan = Plan::make(settings, Path::new(""), &[], Beside::Bus).unwrap();
        Arrivals::behind(&plan, || Timestamp::from_nanos(1_700_000_000 * 1_000_000_000))
    }

    fn signal(id: &str, time: &str) -> String {
        format!(r#"{{"id":"{id}","ts":"2020-01-01T{time}:00Z","strategy_id":"desk","side":"BUY"}}"#)
    }

    fn bar(instrument: &str, time: &str) -> String {
        let at = format!("2020-01-01T{time}:00Z");
        format!(r#"{{"type":"bar","ts":"{at}","instrument":"{instrument}","open":2,"high":3,"low":1,"close":2}}"#)
    }

    fn ready(arrivals: &mut Arrivals) -> Vec<String> {
        let shown = |step| match step {
            Step::Signal(wished) => wished.id.to_string(),
            Step::Bar(market, bar) => format!("{market} {}", &bar.at.to_string()[11..16]),
        };
        std::iter::from_fn(|| arrivals.step()).map(shown).collect()
    }

    #[test]
    fn a_signal_waits_for_the_first_bar_that_is_later() {
        let mut arrivals = arrivals();
        for message in [signal("late", "09:30"), signal("early", "08:30"), signal("early-2", "08:30")] {
            assert_eq!(arrivals.take(message.as_bytes()), Ok(true));
        }
        assert!(ready(&mut arrivals).is_empty());
        assert_eq!(arrivals.take(bar("EUR/USD", "08:30").as_bytes()), Ok(true));
        assert_eq!(ready(&mut arrivals), ["0 08:30"], "it was not before it");
        assert_eq!(arrivals.take(bar("GOOG", "09:00").as_bytes()), Ok(true));
        assert_eq!(ready(&mut arrivals), ["early", "early-2", "1 09:00"]);
        assert_eq!(arrivals.take(bar("EUR/USD", "10:00").as_bytes()), Ok(true));
        assert_eq!(ready(&mut arrivals), ["late", "0 10:00"]);
    }

    #[test]
    fn what_comes_again_is_known_and_what_is_too_late_or_another_is_refused() {
        let mut arrivals = arrivals();
        for message in [signal("s-1", "09:30"), bar("EUR/USD", "10:00"), bar("GOOG", "10:00")] {
            assert_eq!(arrivals.take(message.as_bytes()), Ok(true));
            assert_eq!(arrivals.take(message.as_bytes()), Ok(false));
        }
        assert_eq!(ready(&mut arrivals), ["s-1", "0 10:00", "1 10:00"], "nothing stands there twice");
        for (message, code) in [
            (signal("s-2", "09:59"), Code::TimeGoingBack),
            (bar("GOOG", "09:59"), Code::TimeGoingBack),
            (signal("s-1", "10:30"), Code::IdReused),
            (bar("GOOG", "10:00").replace("\"close\":2", "\"close\":1"), Code::IdReused),
        ] {
            assert_eq!(arrivals.take(message.as_bytes()).unwrap_err().code, code, "{message}");
        }
        assert_eq!(arrivals.take(signal("s-3", "10:00").as_bytes()), Ok(true), "at the very time it is not too late");
        assert!(ready(&mut arrivals).is_empty());
    }

    #[test]
    fn a_bar_has_to_say_its_volume_where_fills_take_a_share_of_it() {
        let message = bar("EUR/USD", "10:00");
        assert_eq!(arrivals().take(message.as_bytes()), Ok(true));
        let mut limited = arrivals_with(PaperVenue { volume_share: Some(Amount::new(1, 1)), ..PaperVenue::default() });
        let refusal = limited.take(message.as_bytes()).unwrap_err();
        assert_eq!((refusal.code, refusal.field), (Code::FieldMissing, Some("volume")));
        assert_eq!(limited.take(message.replace("\"low\"", "\"volume\":5,\"low\"").as_bytes()), Ok(true));
    }
}
