//! Lines of a file: a message each, or one with the topic that it came on beside it, as captures keep them.

use std::borrow::Cow;

use super::{Format, Message, Reading};
use crate::input::{Entry, Fields, Refusal};

/// What a line says; nothing for a blank one.
pub(crate) fn read(reading: &mut Reading, line: &[u8]) -> Result<Vec<Entry>, Refusal> {
    if reading.format == Format::Ephor {
        // By far the most lines: nothing stands around them.
        return reading.read(&Message { subject: "", headers: &[], payload: line }).map(|told| told.entries);
    }
    let text = std::str::from_utf8(line).ok();
    if text.is_some_and(|text| text.trim().is_empty()) {
        return Ok(Vec::new());
    }
    let (subject, payload) =
        text.and_then(captured).map_or((Cow::Borrowed(""), None), |(topic, payload)| (topic, Some(payload)));
    let payload = payload.as_ref().map_or(line, |payload| payload.as_bytes());
    reading.read(&Message { subject: &subject, headers: &[], payload }).map(|told| told.entries)
}

/// Topic and payload of a line that holds both.
fn captured(line: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let fields = Fields::of(line).ok()?;
    let text = |name| fields.text_within(name, crate::input::LINE_BYTES_MAX).ok().flatten();
    text("topic").zip(text("payload"))
}
