//! A strategy's wishes made into signals: one whenever it wants to stand otherwise than before.

use ephor_governance::ids::SourceId;
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::Amount;

use super::bars::Bar;
use super::rules::{Rule, Stance, Wish};
use super::signals::Wished;
use crate::settings::PaperStrategy;

/// A rule, and how it stood after the bar before.
pub struct Follower {
    settings: PaperStrategy,
    rule: Box<dyn Rule>,
    stance: Stance,
}

impl Follower {
    /// At the beginning of its rule; `None` for a strategy without one.
    #[must_use]
    pub fn begin(settings: &PaperStrategy) -> Option<Self> {
        let rule = settings.rule.as_ref()?.begin();
        Some(Self { settings: settings.clone(), rule, stance: Stance::Flat })
    }

    /// Takes one more bar; gives what is to be done for the stance that it wants after it. To turn around is to leave
    /// first: an exit passes where an entry need not. What is still held against its will (an exit that was turned
    /// away, an entry filled too late) it leaves with the next bar.
    pub fn on_bar(&mut self, bar: &Bar, held: Amount, is_leaving: bool) -> Vec<Wished> {
        let Some(Wish { stance, stop }) = self.rule.on_bar(bar) else { return Vec::new() };
        let before = std::mem::replace(&mut self.stance, stance);
        let leaves = match stance {
            Stance::Long | Stance::Flat if held.is_negative() => Some(Side::Buy),
            Stance::Short | Stance::Flat if held.is_positive() => Some(Side::Sell),
            Stance::Long | Stance::Flat | Stance::Short => None,
        };
        let enters = match stance {
            Stance::Long if before != stance => Some(Side::Buy),
            Stance::Short if before != stance => Some(Side::Sell),
            Stance::Long | Stance::Flat | Stance::Short => None,
        };
        let leaves = leaves.filter(|_| !is_leaving).map(|side| self.wished(bar, side, Intent::Exit));
        let enters = enters.map(|side| Wished { stop, ..self.wished(bar, side, Intent::Entry) });
        leaves.into_iter().chain(enters).collect()
    }

    fn wished(&self, bar: &Bar, side: Side, intent: Intent) -> Wished {
        let PaperStrategy { id, instrument, .. } = &self.settings;
        // The strategy, the moment and the purpose: two signals of one strategy never share all three.
        let nanos = bar.at.nanos();
        let moment = if nanos % 1_000_000_000 == 0 { nanos / 1_000_000_000 } else { nanos };
        let purpose = match intent {
            Intent::Entry => "in",
            Intent::Exit => "out",
        };
        Wished {
            id: SourceId::recorded(format!("{id}-{moment}-{purpose}").into()),
            at: bar.at,
            strategy: id.clone(),
            instrument: instrument.clone(),
            side,
            intent,
            limit: None,
            stop: None,
            regime: None,
        }
    }
}
