//! Consumer groups made ahead of the service, and what stands in them.

use serde_json::{Value, json};

use super::client::{ANSWER_WITHIN, Server};
use super::group::Group;
use crate::bus::BusError;
use crate::bus::setup::{Done, Step};
use crate::settings;

/// Makes the group on every stream that there is, or is named; with `dry_run` it only says what it would do.
///
/// # Errors
/// [`BusError`]
pub async fn set_up(settings: &settings::Redis, dry_run: bool) -> Result<Vec<Step>, BusError> {
    let mut connection = Server::new(settings).connect(ANSWER_WITHIN).await?;
    let group = Group::new(settings);
    let mut steps = Vec::new();
    for key in group.streams(&mut connection).await? {
        let (extent, progress) = group.standing(&mut connection, &key).await?;
        let done = if progress.is_some() { Done::Kept } else { Done::Created };
        if done == Done::Created && !dry_run {
            group.make(&mut connection, &key, extent).await?;
        }
        let what = format!("group {} of {}", group.name, String::from_utf8_lossy(&key));
        let limits = vec![("begins with", "the oldest entry".to_owned())];
        steps.push(Step { what, done, limits, differed: Vec::new() });
    }
    for pattern in settings.keys.iter().filter(|key| settings::is_pattern(key)) {
        let (what, limits) = (format!("streams {pattern}"), vec![("group", "made on each as it appears".to_owned())]);
        steps.push(Step { what, done: Done::Kept, limits, differed: Vec::new() });
    }
    Ok(steps)
}

/// What there is on a server: of each stream what it holds, of the group on it what is still to be taken.
///
/// # Errors
/// [`BusError`]
pub async fn look(settings: &settings::Redis) -> Result<Vec<(String, Value)>, BusError> {
    let mut connection = Server::new(settings).connect(ANSWER_WITHIN).await?;
    let group = Group::new(settings);
    let mut seen = Vec::new();
    for key in group.streams(&mut connection).await? {
        let (extent, progress) = group.standing(&mut connection, &key).await?;
        let key = String::from_utf8_lossy(&key);
        let stands = json!({ "entries": extent.length, "added": extent.added, "last": extent.last.to_string() });
        seen.push((format!("stream {key}"), stands));
        let stands = match progress {
            None => json!({ "missing": "`ephor bus setup` makes it" }),
            Some(progress) => json!({ "waiting": progress.waiting, "under_way": progress.pending }),
        };
        seen.push((format!("group {} of {key}", group.name), stands));
    }
    Ok(seen)
}
