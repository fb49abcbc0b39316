//! Where the view stands and what a key does to it: no terminal, no log.
//!
//! Invariant: the place is always an event that the filter lets through.

use std::collections::BTreeSet;

use ephor_events::Version;
use ephor_replay::timeline::{Index, Kind, Turn};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key that goes to the next of a kind; in upper case to the one before.
pub(super) struct Jump {
    pub(super) key: char,
    pub(super) what: &'static str,
    fits: fn(Kind) -> bool,
}

/// Every jump there is.
pub(super) const JUMPS: [Jump; 7] = [
    Jump { key: 'n', what: "demotion", fits: |kind| kind.turn() == Turn::Down },
    Jump { key: 'p', what: "promotion", fits: |kind| kind.turn() == Turn::Up },
    Jump { key: 's', what: "pause", fits: |kind| kind.name() == "StrategyPaused" },
    Jump { key: 'x', what: "refused order", fits: |kind| kind.turn() == Turn::Refused },
    Jump { key: 'd', what: "decision", fits: |kind| kind.name() == "DecisionMade" },
    Jump { key: 't', what: "trade", fits: |kind| kind.name() == "TradeClosed" },
    Jump { key: 'a', what: "drift alert", fits: |kind| kind.name() == "DriftAlerted" },
];

/// What lies over the view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing.
    Nothing,
    /// The keys.
    Help,
    /// The types to choose from.
    Types(Choice),
    /// A line to write a place on.
    GoTo(String),
}

/// Types being chosen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Each type that occurs, how often, and whether it is shown.
    pub(super) types: Vec<(&'static str, u64, bool)>,
    /// Which one the cursor is on.
    pub(super) at: usize,
}

/// What is to be done after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Draw and go on.
    Draw,
    /// Find the place that this text names, and go there.
    Find(String),
    /// End.
    Quit,
}

/// Only events of these types.
#[derive(Debug)]
struct Filter {
    types: BTreeSet<&'static str>,
    versions: Vec<Version>,
}

/// Where the view stands.
#[derive(Debug)]
pub(super) struct Model {
    at: Version,
    last: Version,
    filter: Option<Filter>,
    /// What lies over the view.
    pub(super) over: Over,
    /// What is to be said about the last key.
    pub(super) said: Option<String>,
    /// How many events a page has.
    pub(super) page: u64,
}

impl Model {
    pub(super) fn new(index: &Index, at: Version) -> Self {
        let last = index.last();
        let at = Version(at.0.clamp(1, last.0.max(1)));
        Self { at, last, filter: None, over: Over::Nothing, said: None, page: 10 }
    }

    /// The event in focus.
    pub(super) const fn at(&self) -> Version {
        self.at
    }

    /// The types that are shown, where not all are.
    pub(super) fn types(&self) -> Option<&BTreeSet<&'static str>> {
        self.filter.as_ref().map(|filter| &filter.types)
    }

    /// Which of the events shown is in focus, from 1, and how many there are.
    pub(super) fn place(&self) -> (u64, u64) {
        match &self.filter {
            None => (self.at.0, self.last.0),
            Some(filter) => {
                let upto = filter.versions.partition_point(|version| *version <= self.at);
                (upto as u64, filter.versions.len() as u64)
            }
        }
    }

    /// The events around the one in focus, at most so many.
    pub(super) fn rows(&self, most: u64) -> Vec<Version> {
        let (place, count) = self.place();
        let first = place.saturating_sub(most / 2).min(count.saturating_sub(most.saturating_sub(1))).max(1);
        (first..).take_while(|row| *row < first + most && *row <= count).filter_map(|row| self.nth(row)).collect()
    }

    fn nth(&self, place: u64) -> Option<Version> {
        match &self.filter {
            None => (place >= 1 && place <= self.last.0).then_some(Version(place)),
            Some(filter) => filter.versions.get(usize::try_from(place).ok()?.checked_sub(1)?).copied(),
        }
    }

    /// Goes to an event; a filter that hides it is lifted.
    pub(super) fn go(&mut self, version: Version) {
        self.at = version;
        if self.filter.as_ref().is_some_and(|filter| filter.versions.binary_search(&version).is_err()) {
            self.filter = None;
            self.said = Some("the filter is off: it hid this event".to_owned());
        }
    }

    fn step(&mut self, by: i64) {
        let (place, count) = self.place();
        let wanted = place.saturating_add_signed(by).clamp(1, count.max(1));
        if wanted == place {
            self.said = Some(if by < 0 { "this is the first event" } else { "this is the last event" }.to_owned());
        }
        if let Some(version) = self.nth(wanted) {
            self.at = version;
        }
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: KeyEvent, index: &Index) -> Wish {
        self.said = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Wish::Quit } else { Wish::Draw };
        }
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Nothing => self.press_view(key.code, index),
            // Any key takes the help away; the keys that end the view end only that.
            Over::Help => Wish::Draw,
            Over::Types(choice) => self.press_types(choice, key.code, index),
            Over::GoTo(text) => self.press_go_to(text, key.code),
        }
    }

    fn press_view(&mut self, code: KeyCode, index: &Index) -> Wish {
        let page = i64::try_from(self.page.max(2) - 1).unwrap_or(i64::MAX);
        #[expect(clippy::wildcard_enum_match_arm, reason = "most keys of a keyboard mean nothing here")]
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Up | KeyCode::Left | KeyCode::Char('k' | 'h') => self.step(-1),
            KeyCode::Down | KeyCode::Right | KeyCode::Char('j' | 'l' | ' ') => self.step(1),
            KeyCode::PageUp | KeyCode::Char('b') => self.step(-page),
            KeyCode::PageDown | KeyCode::Char('v') => self.step(page),
            KeyCode::Home | KeyCode::Char('<') => self.step(i64::MIN),
            KeyCode::End | KeyCode::Char('>') => self.step(i64::MAX),
            KeyCode::Char('?') => self.over = Over::Help,
            KeyCode::Char('g') => self.over = Over::GoTo(String::new()),
            KeyCode::Char('f' | '/') => self.over = Over::Types(self.choice(index)),
            KeyCode::Char(key) => match JUMPS.iter().find(|jump| jump.key == key.to_ascii_lowercase()) {
                Some(jump) => self.jump(jump, key.is_ascii_uppercase(), index),
                None => self.said = Some("? shows the keys".to_owned()),
            },
            _other => {}
        }
        Wish::Draw
    }

    fn jump(&mut self, jump: &Jump, back: bool, index: &Index) {
        let found = if back { index.before(self.at, jump.fits) } else { index.after(self.at, jump.fits) };
        match found {
            Some(version) => self.go(version),
            None => {
                let side = if back { "before" } else { "after" };
                self.said = Some(format!("there is no {} {side} this event", jump.what));
            }
        }
    }

    fn choice(&self, index: &Index) -> Choice {
        let shown = |name: &str| self.types().is_some_and(|types| types.contains(name));
        let types = index.types().into_iter().map(|(name, count)| (name, count, shown(name))).collect();
        Choice { types, at: 0 }
    }

    fn press_types(&mut self, mut choice: Choice, code: KeyCode, index: &Index) -> Wish {
        let last = choice.types.len().saturating_sub(1);
        #[expect(clippy::wildcard_enum_match_arm, reason = "most keys of a keyboard mean nothing here")]
        match code {
            KeyCode::Esc | KeyCode::Char('q') => return Wish::Draw,
            KeyCode::Enter => {
                let any = choice.types.iter().any(|(_, _, shown)| *shown);
                let under = choice.at;
                let chosen = choice.types.iter().enumerate();
                // Enter alone means the type under the cursor.
                let chosen = chosen.filter(|(place, (_, _, shown))| if any { *shown } else { *place == under });
                self.show_only(chosen.map(|(_, (name, _, _))| *name).collect(), index);
                return Wish::Draw;
            }
            KeyCode::Up | KeyCode::Char('k') => choice.at = choice.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => choice.at = (choice.at + 1).min(last),
            KeyCode::Home => choice.at = 0,
            KeyCode::End => choice.at = last,
            KeyCode::Char(' ') => {
                if let Some((_, _, shown)) = choice.types.get_mut(choice.at) {
                    *shown = !*shown;
                }
            }
            KeyCode::Char('a') => {
                self.filter = None;
                return Wish::Draw;
            }
            _other => {}
        }
        self.over = Over::Types(choice);
        Wish::Draw
    }

    /// Shows only these types, and goes to the last of them that is not after the present event.
    fn show_only(&mut self, types: BTreeSet<&'static str>, index: &Index) {
        let versions = index.of(|kind| types.contains(kind.name()));
        if types.is_empty() || versions.len() as u64 == self.last.0 {
            self.filter = None;
            return;
        }
        let upto = versions.partition_point(|version| *version <= self.at);
        if let Some(version) = versions.get(upto.saturating_sub(1)) {
            self.at = *version;
            self.filter = Some(Filter { types, versions });
        }
    }

    fn press_go_to(&mut self, mut text: String, code: KeyCode) -> Wish {
        #[expect(clippy::wildcard_enum_match_arm, reason = "most keys of a keyboard mean nothing here")]
        match code {
            KeyCode::Esc => return Wish::Draw,
            KeyCode::Enter if text.trim().is_empty() => return Wish::Draw,
            KeyCode::Enter => return Wish::Find(text),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(written) if text.len() < 64 => text.push(written),
            _other => {}
        }
        self.over = Over::GoTo(text);
        Wish::Draw
    }
}
