//! A strategy or the system at a moment, as programs read it: on the command line and over HTTP alike.

use ephor_events::envelope::to_json;
use ephor_events::{Reader, Seq};
use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::State;
use ephor_governance::system;
use ephor_replay::at::{Moment, Point, strategy_at, system_at};
use ephor_replay::fold::{Digest, digest_of_strategy};
use ephor_replay::happened::Reading;
use ephor_replay::{ReplayError, SystemView, covers};
use ephor_snapshots::Keyframes;
use serde_json::{Value, json};

/// A strategy as it was known at a moment.
///
/// # Errors
/// As [`strategy_at`].
pub fn strategy(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    id: &StrategyId,
    point: Point,
) -> Result<Value, ReplayError> {
    let moment = strategy_at(reader, keyframes, id, point)?;
    let system = system_at(reader, keyframes, beside(point, moment.seq))?.state;
    strategy_json(id, &moment, None, &system)
}

/// A strategy at a moment, with what the system then was to it.
///
/// # Errors
/// [`ReplayError::Digest`].
pub fn strategy_json(
    id: &StrategyId,
    moment: &Moment<State>,
    reading: Option<&Reading>,
    system: &system::State,
) -> Result<Value, ReplayError> {
    let digest = digest_of_strategy(id, &moment.state)?;
    let mut value = moment_json(moment, reading, digest, &to_json(&moment.state));
    if let Some(fields) = value.as_object_mut() {
        fields.insert("kills".to_owned(), json!(covering(id, &moment.state, system)));
        fields.insert("policy_id".to_owned(), json!(system.policy_id));
    }
    Ok(value)
}

/// A moment of any stream.
#[must_use]
pub fn moment_json<S>(moment: &Moment<S>, reading: Option<&Reading>, digest: Digest, state: &Value) -> Value {
    json!({
        "stream": moment.stream,
        "version": moment.version,
        "newest_version": moment.newest,
        "seq": moment.seq,
        "recorded_at": (moment.version.0 > 0).then_some(moment.recorded_at),
        "digest": digest,
        "as_happened": reading,
        "state": state,
    })
}

/// The system at the same moment as a stream whose last event is at `seq`: a version of the stream's is that event.
#[must_use]
pub const fn beside(point: Point, seq: Seq) -> Point {
    match point {
        _before if seq.0 == 0 => Point::Now,
        Point::Version(_) => Point::Seq(seq),
        Point::Now | Point::Time(_) | Point::Seq(_) => point,
    }
}

/// The kill switches engaged that cover a strategy.
#[must_use]
pub fn covering(id: &StrategyId, state: &State, system: &system::State) -> Vec<Value> {
    let view = SystemView::from(system);
    let instrument = state.registration.as_ref().and_then(|registration| registration.instrument.as_ref());
    view.kills.iter().filter(|kill| covers(kill.scope, id, instrument.into_iter())).map(|kill| json!(kill)).collect()
}
