//! Finding what is asked about: by an id, or as the last of its kind.

use std::collections::BTreeSet;

use ephor_events::codec::{decode, decode_all, decode_commit, type_name};
use ephor_events::{CommitView, Reader, Seq, StreamId, Text, Version};
use ephor_governance::event::{Event, Scope};
use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::maturity;
use ephor_governance::record::KeyKind;

use super::Happening;
use crate::{ReplayError, at, covers};

/// Kinds of ids, the likeliest to be asked about first.
const KINDS: [KeyKind; 6] =
    [KeyKind::Order, KeyKind::Signal, KeyKind::Trade, KeyKind::Token, KeyKind::Report, KeyKind::Baseline];

/// The event to explain for a trace id or an id of the source's.
pub(super) fn by_id(reader: &Reader, id: &str) -> Result<Seq, ReplayError> {
    for kind in KINDS {
        for (stream, _) in reader.streams() {
            if let Some(commit) = reader.find(&stream, kind as u8, id)? {
                let decision = commit.events.iter().position(|event| type_name(event.type_id) == Some("DecisionMade"));
                return Ok(Seq(commit.seq.0 + decision.unwrap_or_default() as u64));
            }
        }
    }
    // Traces, and the orders that signals ask for, are in no index: the log is read once.
    let text = Text::of(id);
    let (mut decision, mut other) = (None, None);
    let mut cursor = reader.cursor(Seq(1))?;
    while let Some(commit) = cursor.next()? {
        let traced = commit.trace == text && !text.is_empty();
        let decided = decision_by(&commit, id, traced)?;
        if decided.is_some() {
            decision = decided;
        } else if traced {
            other = Some(commit.seq);
        }
    }
    decision.or(other).ok_or_else(|| ReplayError::UnknownId { id: id.to_owned() })
}

/// The decisions of an order, a signal or a trace, oldest first: from a seq on, and at most so many.
///
/// # Errors
/// As reading.
pub fn decisions_of(reader: &Reader, id: &str, from: Seq, most: usize) -> Result<Vec<Seq>, ReplayError> {
    let text = Text::of(id);
    let mut found = Vec::new();
    let mut known = false;
    for (stream, _) in reader.streams() {
        for kind in [KeyKind::Order, KeyKind::Signal] {
            let Some(commit) = reader.find(&stream, kind as u8, id)? else { continue };
            let mut decided = None;
            for (event, seq) in decode_commit(&commit)?.into_iter().zip(commit.seq.0..) {
                if let Event::DecisionMade(decision) = event {
                    decided = Some((Seq(seq), decision.attempt));
                }
            }
            let Some((seq, attempt)) = decided else { continue };
            known = true;
            if attempt == 0 {
                found.push(seq);
                continue;
            }
            // It was decided before: earlier commits of the same key are in no index.
            let mut cursor = reader.stream(&stream, Version(1))?;
            while let Some(commit) = cursor.next()? {
                if commit.key == Some((kind as u8, text)) {
                    found.extend(decision_by(&commit, id, true)?);
                }
            }
        }
    }
    if !known && !text.is_empty() {
        let mut cursor = reader.cursor(from.max(Seq(1)))?;
        while found.len() < most
            && let Some(commit) = cursor.next()?
        {
            found.extend(decision_by(&commit, id, commit.trace == text)?);
        }
    }
    found.retain(|seq| *seq >= from);
    found.sort_unstable();
    found.truncate(most);
    Ok(found)
}

/// The decision in a commit of this trace, or about this order.
fn decision_by(commit: &CommitView<'_>, id: &str, traced: bool) -> Result<Option<Seq>, ReplayError> {
    for view in commit.events().filter(|event| type_name(event.type_id) == Some("DecisionMade")) {
        if traced {
            return Ok(Some(view.seq));
        }
        let event = decode(&view, &commit.once())?;
        if matches!(&event, Event::DecisionMade(decision) if decision.order.id.as_str() == id) {
            return Ok(Some(view.seq));
        }
    }
    Ok(None)
}

/// The last time something happened to a strategy.
pub(super) fn last(reader: &Reader, strategy: &StrategyId, happening: Happening) -> Result<Seq, ReplayError> {
    at::known(reader, strategy)?;
    let stream = StreamId::new(strategy.as_str());
    let never = || ReplayError::NeverHappened { stream: stream.clone(), what: happening.as_str() };
    if happening == Happening::Kill {
        return last_kill(reader, strategy, &stream)?.ok_or_else(never);
    }
    let mut found = None;
    let mut cursor = reader.stream(&stream, Version(1))?;
    while let Some(commit) = cursor.next()? {
        if !commit.events().any(|event| may_be(event.type_id, happening)) {
            continue;
        }
        for (seq, event) in (commit.seq.0..).zip(decode_all(&commit)) {
            if is(&event?, happening) {
                found = Some(Seq(seq));
            }
        }
    }
    found.ok_or_else(never)
}

fn may_be(type_id: u16, happening: Happening) -> bool {
    let name = type_name(type_id).unwrap_or_default();
    match happening {
        Happening::Demotion | Happening::Promotion => name == "MaturityTransitioned" || name == "LevelSet",
        Happening::Pause => name == "StrategyPaused",
        Happening::Decision => name == "DecisionMade",
        Happening::Kill => name == "KillSwitchEngaged",
    }
}

fn is(event: &Event, happening: Happening) -> bool {
    match happening {
        Happening::Demotion => {
            matches!(event, Event::MaturityTransitioned(maturity::Event::Demoted { .. }))
                || matches!(event, Event::LevelSet { from, to, .. } if to < from)
        }
        Happening::Promotion => {
            matches!(event, Event::MaturityTransitioned(maturity::Event::Promoted { .. }))
                || matches!(event, Event::LevelSet { from, to, .. } if to > from)
        }
        Happening::Pause => matches!(event, Event::StrategyPaused { .. }),
        Happening::Decision => matches!(event, Event::DecisionMade(_)),
        Happening::Kill => matches!(event, Event::KillSwitchEngaged { .. }),
    }
}

fn last_kill(reader: &Reader, strategy: &StrategyId, stream: &StreamId) -> Result<Option<Seq>, ReplayError> {
    let instruments = instruments(reader, stream)?;
    let mut found = None;
    let mut cursor = reader.stream(&StreamId::system(), Version(1))?;
    while let Some(commit) = cursor.next()? {
        if !commit.events().any(|event| may_be(event.type_id, Happening::Kill)) {
            continue;
        }
        for (seq, event) in (commit.seq.0..).zip(decode_all(&commit)) {
            let covering = |scope: &Scope| covers(scope, strategy, instruments.iter());
            if matches!(&event?, Event::KillSwitchEngaged { scope, .. } if covering(scope)) {
                found = Some(Seq(seq));
            }
        }
    }
    Ok(found)
}

/// The instruments that a strategy's events are about.
///
/// # Errors
/// As reading.
pub fn instruments(reader: &Reader, stream: &StreamId) -> Result<BTreeSet<InstrumentId>, ReplayError> {
    let mut seen = BTreeSet::new();
    let mut cursor = reader.stream(stream, Version(1))?;
    while let Some(commit) = cursor.next()? {
        if let Some(name) = commit.instrument
            && !seen.iter().any(|known: &InstrumentId| known.as_str() == name.as_str())
        {
            seen.insert(InstrumentId::recorded(name.clone()));
        }
    }
    Ok(seen)
}
