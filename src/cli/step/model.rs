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
        (first..(first + most).min(count + 1)).filter_map(|row| self.nth(row)).collect()
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
        if let Some(version) = found {
            self.go(version);
        } else {
            let side = if back { "before" } else { "after" };
            self.said = Some(format!("there is no {} {side} this event", jump.what));
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

#[cfg(test)]
mod tests {
    use ephor_events::Seq;
    use ephor_governance::event::{Event, PauseCause};
    use ephor_governance::maturity::{Evidence, Level};
    use ephor_governance::units::{Amount, Timestamp};

    use super::*;

    /// Forty faults of an actor; every fifth place a pause, a fall at 12, a climb at 30.
    fn index() -> Index {
        let mut index = Index::default();
        for place in 1..=40_u64 {
            let by = || "alice".parse().unwrap();
            let set = |from, to| {
                let evidence = Evidence::starting(Timestamp::default(), Amount::ONE);
                Event::LevelSet { from, to, earned: false, evidence, by: by(), reason: String::new() }
            };
            let event = match place {
                12 => set(Level::Gated, Level::Paper),
                30 => set(Level::Paper, Level::Gated),
                place if place % 5 == 0 => {
                    Event::StrategyPaused { cause: PauseCause::Operator, by: by(), reason: String::new() }
                }
                _any => Event::ActorFaulted { message: String::new() },
            };
            index.push(Seq(place * 10), Timestamp::from_nanos(0), &event);
        }
        index
    }

    /// The view after these keys, from version 20 on; `\n` is Enter, `\u{1b}` is Esc.
    fn pressed(keys: &str) -> (Model, Wish) {
        let index = index();
        let mut model = Model::new(&index, Version(20));
        let mut wish = Wish::Draw;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                key => KeyCode::Char(key),
            };
            wish = model.press(KeyEvent::from(code), &index);
        }
        (model, wish)
    }

    #[test]
    fn steps_and_pages_end_at_the_ends() {
        let at = |keys: &str| pressed(keys).0.at().0;
        assert_eq!((at("j"), at("k"), at("jjjk")), (21, 19, 22));
        assert_eq!((at("v"), at("b"), at("bbbbb"), at("vvvvv")), (29, 11, 1, 40));
        assert_eq!((at("<"), at(">"), at("<k"), at(">j")), (1, 40, 1, 40));
        assert_eq!(pressed("<k").0.said.unwrap(), "this is the first event");
        assert_eq!(pressed(">j").0.said.unwrap(), "this is the last event");
    }

    #[test]
    fn jumps_go_to_the_next_of_their_kind_or_say_that_there_is_none() {
        let at = |keys: &str| pressed(keys).0.at().0;
        assert_eq!((at("N"), at("p"), at("s"), at("S"), at("sS")), (12, 30, 25, 15, 20));
        assert_eq!(pressed("n").0.said.unwrap(), "there is no demotion after this event");
        assert_eq!(pressed("P").0.said.unwrap(), "there is no promotion before this event");
        assert_eq!((at("n"), at("P"), at("d")), (20, 20, 20));
    }

    #[test]
    fn only_the_types_chosen_are_gone_through() {
        // Types stand in the order of their numbers: StrategyPaused, LevelSet, ActorFaulted.
        let (model, _) = pressed("f\n");
        assert_eq!((model.at(), model.place()), (Version(20), (4, 7)));
        assert_eq!(model.rows(3), [Version(15), Version(20), Version(25)]);
        let at = |keys: &str| pressed(keys).0.at().0;
        assert_eq!((at("f\nj"), at("f\njj"), at("f\nk"), at("fj\n"), at("fj\nj")), (25, 35, 15, 12, 30));
        let (both, _) = pressed("f j \n");
        assert_eq!(both.place().1, 9);
        assert_eq!(pressed("f\nfa").0.place(), (20, 40));
        assert_eq!(pressed("f j\u{1b}").0.place(), (20, 40), "Esc leaves everything as it was");
        let (lifted, _) = pressed("f\nN");
        assert_eq!((lifted.at(), lifted.place()), (Version(12), (12, 40)));
        assert!(lifted.said.unwrap().contains("the filter is off"));
    }

    #[test]
    fn rows_are_around_the_place_and_never_past_an_end() {
        let rows = |keys: &str, most| {
            let rows = pressed(keys).0.rows(most);
            (rows.first().unwrap().0, rows.last().unwrap().0)
        };
        assert_eq!(rows("", 10), (15, 24));
        assert_eq!(rows("<", 10), (1, 10));
        assert_eq!(rows(">", 10), (31, 40));
        assert_eq!(rows("", 100), (1, 40));
        assert_eq!(rows("", 1), (20, 20));
        assert!(pressed("").0.rows(0).is_empty());
    }

    #[test]
    fn a_place_is_written_mended_and_asked_for() {
        assert_eq!(pressed("gv1x\u{8}2\n").1, Wish::Find("v12".to_owned()));
        assert_eq!(pressed("gq").0.over, Over::GoTo("q".to_owned()), "a letter is written, not a command");
        assert_eq!(pressed("g\n").1, Wish::Draw);
        assert_eq!(pressed("g12\u{1b}").0.over, Over::Nothing);
    }

    #[test]
    fn what_lies_over_the_view_ends_before_the_view_does() {
        assert_eq!(pressed("?").0.over, Over::Help);
        assert_eq!((pressed("?q").1, pressed("?q").0.over), (Wish::Draw, Over::Nothing));
        assert_eq!((pressed("fq").1, pressed("f\u{1b}").1), (Wish::Draw, Wish::Draw));
        assert_eq!((pressed("q").1, pressed("\u{1b}").1), (Wish::Quit, Wish::Quit));
        let index = index();
        let mut model = Model::new(&index, Version(1));
        model.over = Over::GoTo(String::new());
        let stop = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.press(stop, &index), Wish::Quit);
    }
}
