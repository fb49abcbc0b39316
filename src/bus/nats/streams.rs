//! The streams and the consumer that Ephor needs on a server: made, brought to what the settings say, looked at.
//!
//! Every limit is spelled out, so nothing depends on what a server takes for granted. What the settings do not speak of
//! is left as it is found.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde_json::{Value, json};

use super::{Line, SEQ, failed};
use crate::bus::BusError;
use crate::bus::setup::{Done, Step};
use crate::settings::{Discard, Nats, Retention, StreamLimits};

/// Makes or brings up to date what a server must have. With `dry_run` it only says what it would do.
///
/// # Errors
/// [`BusError`]
pub async fn set_up(settings: &Nats, dry_run: bool) -> Result<Vec<Step>, BusError> {
    let line = Line::open(settings).await?;
    let mut steps = Vec::new();
    for wanted in streams(settings) {
        steps.push(stream(&line, wanted, dry_run).await?);
    }
    if settings.take {
        steps.push(consumer(&line, settings, dry_run).await?);
    }
    Ok(steps)
}

fn streams(settings: &Nats) -> Vec<Config> {
    let Nats { input, dead, events, .. } = settings;
    let mut streams = Vec::new();
    if settings.take {
        let retention = match input.retention {
            Retention::Workqueue => RetentionPolicy::WorkQueue,
            Retention::Limits => RetentionPolicy::Limits,
        };
        streams.push(config(&input.stream, input.subjects.clone(), retention, input.limits));
        let subjects = vec![format!("{}.>", dead.subject)];
        streams.push(config(&dead.stream, subjects, RetentionPolicy::Limits, dead.limits));
    }
    if settings.publish {
        let subjects = vec![format!("{}.>", events.subject)];
        streams.push(config(&events.stream, subjects, RetentionPolicy::Limits, events.limits));
    }
    streams
}

fn config(name: &str, subjects: Vec<String>, retention: RetentionPolicy, limits: StreamLimits) -> Config {
    Config {
        name: name.to_owned(),
        subjects,
        retention,
        storage: StorageType::File,
        max_age: Duration::from_secs(limits.max_age_hours * 3_600),
        max_bytes: i64::from(limits.max_mib) << 20,
        max_messages: if limits.max_messages == 0 { -1 } else { i64::from(limits.max_messages) },
        max_messages_per_subject: -1,
        max_consumers: -1,
        discard: match limits.discard {
            Discard::New => DiscardPolicy::New,
            Discard::Old => DiscardPolicy::Old,
        },
        duplicate_window: Duration::from_secs(limits.duplicate_window_seconds),
        num_replicas: limits.replicas,
        ..Config::default()
    }
}

/// What the settings say of a stream.
fn described(config: &Config) -> Vec<(&'static str, String)> {
    let some = |found: bool, value: String| if found { value } else { "none".to_owned() };
    vec![
        ("subjects", config.subjects.join(" ")),
        ("retention", format!("{:?}", config.retention).to_lowercase()),
        ("max age", some(!config.max_age.is_zero(), format!("{} h", config.max_age.as_secs() / 3_600))),
        ("max bytes", some(config.max_bytes > 0, format!("{} MiB", config.max_bytes >> 20))),
        ("max messages", some(config.max_messages > 0, config.max_messages.to_string())),
        ("discard", format!("{:?}", config.discard).to_lowercase()),
        ("duplicate window", format!("{} s", config.duplicate_window.as_secs())),
        ("replicas", config.num_replicas.to_string()),
    ]
}

async fn stream(line: &Line, wanted: Config, dry_run: bool) -> Result<Step, BusError> {
    let limits = described(&wanted);
    let what = format!("stream {}", wanted.name);
    let found = match line.stream(&wanted.name).await {
        Ok(found) => found.cached_info().config.clone(),
        Err(BusError::NotSetUp { .. }) => {
            if !dry_run {
                line.streams.create_stream(wanted).await.map_err(failed("create a stream"))?;
            }
            return Ok(Step { what, done: Done::Created, limits, differed: Vec::new() });
        }
        Err(error @ BusError::Unreachable { .. }) => return Err(error),
    };
    let differed = differences(&limits, &described(&found));
    if differed.is_empty() {
        return Ok(Step { what, done: Done::Kept, limits, differed });
    }
    if !dry_run {
        let updated = Config {
            subjects: wanted.subjects,
            retention: wanted.retention,
            max_age: wanted.max_age,
            max_bytes: wanted.max_bytes,
            max_messages: wanted.max_messages,
            discard: wanted.discard,
            duplicate_window: wanted.duplicate_window,
            num_replicas: wanted.num_replicas,
            ..found
        };
        line.streams.update_stream(updated).await.map_err(failed("update a stream"))?;
    }
    Ok(Step { what, done: Done::Updated, limits, differed })
}

fn differences(wanted: &[(&'static str, String)], found: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    wanted.iter().zip(found).filter(|(wanted, found)| wanted != found).map(|(_, found)| found.clone()).collect()
}

fn consumed(config: &pull::Config) -> Vec<(&'static str, String)> {
    let most = |number: i64| if number > 0 { number.to_string() } else { "none".to_owned() };
    vec![
        ("acknowledged", format!("{:?}", config.ack_policy).to_lowercase()),
        ("ack wait", format!("{} s", config.ack_wait.as_secs())),
        ("max deliver", most(config.max_deliver)),
        ("max ack pending", most(config.max_ack_pending)),
    ]
}

async fn consumer(line: &Line, settings: &Nats, dry_run: bool) -> Result<Step, BusError> {
    let input = &settings.input;
    let wanted = pull::Config {
        durable_name: Some(input.durable.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(input.ack_wait_seconds),
        max_deliver: -1,
        max_ack_pending: i64::try_from(settings.reading.pending_max).unwrap_or(i64::MAX),
        ..pull::Config::default()
    };
    let (what, limits) = (format!("consumer {} of {}", input.durable, input.stream), consumed(&wanted));
    let found = match line.stream(&input.stream).await {
        // Only said, not done: the stream is not there yet.
        Err(BusError::NotSetUp { .. }) if dry_run => None,
        Err(error) => return Err(error),
        Ok(stream) => stream.get_consumer::<pull::Config>(&input.durable).await.ok(),
    };
    let Some(found) = found else {
        if !dry_run {
            let made = line.streams.create_consumer_on_stream(wanted, &input.stream).await;
            made.map_err(failed("create a consumer"))?;
        }
        return Ok(Step { what, done: Done::Created, limits, differed: Vec::new() });
    };
    let now = &found.cached_info().config;
    let now = pull::Config {
        ack_policy: now.ack_policy,
        ack_wait: now.ack_wait,
        max_deliver: now.max_deliver,
        max_ack_pending: now.max_ack_pending,
        ..pull::Config::default()
    };
    let differed = differences(&limits, &consumed(&now));
    if differed.is_empty() {
        return Ok(Step { what, done: Done::Kept, limits, differed });
    }
    if !dry_run {
        let made = line.streams.create_consumer_on_stream(wanted, &input.stream).await;
        made.map_err(failed("update a consumer"))?;
    }
    Ok(Step { what, done: Done::Updated, limits, differed })
}

/// What there is on a server: of each stream what it holds, of the consumer what is still to be taken.
///
/// # Errors
/// [`BusError`]
pub async fn look(settings: &Nats) -> Result<Vec<(String, Value)>, BusError> {
    let line = Line::open(settings).await?;
    let mut seen = Vec::new();
    for wanted in streams(settings) {
        let found = match line.stream(&wanted.name).await {
            Ok(found) => found,
            Err(BusError::NotSetUp { problem }) => {
                seen.push((format!("stream {}", wanted.name), json!({ "missing": problem })));
                continue;
            }
            Err(error @ BusError::Unreachable { .. }) => return Err(error),
        };
        let state = &found.cached_info().state;
        let mut shown = json!({ "messages": state.messages, "bytes": state.bytes, "last": state.last_sequence });
        if wanted.name == settings.events.stream
            && state.messages > 0
            && let Ok(message) = found.get_raw_message(state.last_sequence).await
            && let Some(seq) = message.headers.get(SEQ).and_then(|seq| seq.as_str().parse::<u64>().ok())
            && let Value::Object(shown) = &mut shown
        {
            shown.insert("published_seq".to_owned(), json!(seq));
        }
        seen.push((format!("stream {}", wanted.name), shown));
        if settings.take && wanted.name == settings.input.stream {
            let what = format!("consumer {}", settings.input.durable);
            let Ok(info) = found.consumer_info(&settings.input.durable).await else {
                seen.push((what, json!({ "missing": "`ephor bus setup` makes it" })));
                continue;
            };
            let shown = json!({
                "waiting": info.num_pending, "under_way": info.num_ack_pending, "redelivered": info.num_redelivered,
            });
            seen.push((what, shown));
        }
    }
    Ok(seen)
}
