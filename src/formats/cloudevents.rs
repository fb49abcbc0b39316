//! CloudEvents 1.0 around Ephor's own JSON: structured (one JSON text) or binary (attributes in headers).
//!
//! The attributes are checked and must agree with the data where both say something; nothing of the report is taken
//! from them, so that a report means the same with its envelope and without.

use std::borrow::Cow;

use ephor_governance::units::Timestamp;

use super::{Message, times};
use crate::input::{Code, Fields, Refusal, quoted, required, text};

/// How the type of an event begins whose data are a report; behind it stands the report's own type.
pub const TYPE_PREFIX: &str = "ephor.";
/// The media type of the structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// How names of attributes begin in the headers of the binary mode, transport by transport; MQTT has them bare.
const PREFIXES: [&str; 5] = ["ce-", "ce_", "cloudevents:", "cloudevents_", ""];
/// Bytes of an attribute.
const ATTRIBUTE_BYTES_MAX: usize = 1 << 10;

/// The report that an event carries.
pub(super) fn report<'a>(message: &Message<'a>, now: fn() -> Timestamp) -> Result<Cow<'a, str>, Refusal> {
    let payload = text(message.payload)?;
    let content_type = header(message, "content-type").unwrap_or_default();
    let binary = attribute(message, "specversion").is_some();
    if binary && !content_type.starts_with("application/cloudevents") {
        let found = |name: &'static str| bounded(name, attribute(message, name).map(Cow::Borrowed));
        check(&found, payload, json_content(content_type), now)?;
        return Ok(payload.into());
    }
    if content_type.starts_with("application/cloudevents-batch") {
        return Err(Refusal::line(Code::LineNotObject, "a batch of events: send them one by one"));
    }
    let event = Fields::of(payload)?;
    let found = |name: &'static str| event.text(name);
    if event.value("data_base64").is_some() {
        let problem = "data must be JSON, in `data`";
        return Err(Refusal::field(Code::FieldMalformed, "data_base64", problem));
    }
    let data = event.value("data").ok_or_else(|| Refusal::field(Code::FieldMissing, "data", "missing"))?;
    let content = event.text("datacontenttype")?;
    check(&found, data, content.as_deref().is_none_or(json_content), now)?;
    Ok(data.into())
}

fn check<'a>(
    found: &dyn Fn(&'static str) -> Result<Option<Cow<'a, str>>, Refusal>,
    data: &str,
    is_json: bool,
    now: fn() -> Timestamp,
) -> Result<(), Refusal> {
    let version = required("specversion", found("specversion"))?;
    if version != "1.0" {
        let problem = format!("expected 1.0, found {:?}", quoted(&version));
        return Err(Refusal::field(Code::FieldOutOfRange, "specversion", problem));
    }
    for name in ["id", "source"] {
        if required(name, found(name))?.is_empty() {
            return Err(Refusal::field(Code::FieldMalformed, name, "must not be empty"));
        }
    }
    let kind = required("type", found("type"))?;
    if let Some(time) = found("time")? {
        let _at = times::moment("time", &time, now)?;
    }
    if !is_json {
        return Err(Refusal::field(Code::FieldMalformed, "datacontenttype", "must be application/json, or left out"));
    }
    let fields = Fields::of(data)?;
    let inner = required("type", fields.text("type"))?;
    if kind.strip_prefix(TYPE_PREFIX) != Some(&*inner) {
        let problem = format!("expected {TYPE_PREFIX}{}, as its data say, found {:?}", quoted(&inner), quoted(&kind));
        return Err(Refusal::field(Code::FieldOutOfRange, "type", problem));
    }
    Ok(())
}

/// JSON, by its media type; nothing said is JSON.
fn json_content(content: &str) -> bool {
    let media = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.is_empty() || media == "application/json" || media.ends_with("+json")
}

fn header<'a>(message: &Message<'a>, name: &str) -> Option<&'a str> {
    message.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn attribute<'a>(message: &Message<'a>, name: &str) -> Option<&'a str> {
    PREFIXES.iter().find_map(|prefix| header(message, &format!("{prefix}{name}")))
}

fn bounded<'a>(name: &'static str, value: Option<Cow<'a, str>>) -> Result<Option<Cow<'a, str>>, Refusal> {
    match value {
        Some(value) if value.len() > ATTRIBUTE_BYTES_MAX => {
            let problem = format!("a text has at most {ATTRIBUTE_BYTES_MAX} bytes, found {}", value.len());
            Err(Refusal::field(Code::FieldTooLong, name, problem))
        }
        value => Ok(value),
    }
}
