//! MessagePack into the JSON that says the same, so that there is one way to read an event.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::input::{Code, Refusal};

/// How deep a message may be nested.
const DEPTH_MAX: usize = 64;

/// Whether these bytes begin as a map does. No JSON text does.
pub(super) fn is_map(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf))
}

/// The JSON of a message. A number that JSON has no word for (infinite, or none at all) becomes null.
pub(super) fn json(bytes: &[u8]) -> Result<String, Refusal> {
    let wrong = |problem: String| Refusal::line(Code::LineNotJson, format!("not MessagePack: {problem}"));
    let mut from = rmp_serde::Deserializer::from_read_ref(bytes);
    from.set_max_depth(DEPTH_MAX);
    let mut to = serde_json::Serializer::new(Vec::with_capacity(bytes.len() * 2));
    serde_transcode::transcode(&mut from, &mut to).map_err(|error| wrong(error.to_string()))?;
    if IgnoredAny::deserialize(&mut from).is_ok() {
        return Err(wrong("there is something behind its end".to_owned()));
    }
    String::from_utf8(to.into_inner()).map_err(|error| wrong(error.to_string()))
}
