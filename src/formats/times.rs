//! Instants as sources write them.

use ephor_governance::units::Timestamp;

use crate::input::{Code, Fields, Refusal, plausible, quoted};

const NANOS_A_MILLI: i64 = 1_000_000;

/// Nanoseconds since 1970 as text or number, or RFC 3339; zero is no time.
pub(super) fn nanos(
    fields: &Fields<'_>,
    name: &'static str,
    now: fn() -> Timestamp,
) -> Result<Option<Timestamp>, Refusal> {
    let Some(raw) = fields.value(name) else { return Ok(None) };
    let text = if raw.starts_with('"') { fields.text(name)?.unwrap_or_default() } else { raw.into() };
    let at = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let nanos: i64 = text.parse().map_err(|_| malformed(name, raw))?;
        if nanos == 0 {
            return Ok(None);
        }
        Timestamp::from_nanos(nanos)
    } else {
        rfc3339(name, &text)?
    };
    plausible(name, at, now).map(Some)
}

/// Milliseconds since 1970; a fraction of zeros is none.
pub(super) fn millis(
    fields: &Fields<'_>,
    name: &'static str,
    now: fn() -> Timestamp,
) -> Result<Option<Timestamp>, Refusal> {
    let Some(raw) = fields.value(name) else { return Ok(None) };
    let (whole, fraction) = raw.split_once('.').unwrap_or((raw, "0"));
    let nanos = whole.parse::<i64>().ok().filter(|_| fraction.bytes().all(|byte| byte == b'0'));
    let nanos = nanos.and_then(|millis| millis.checked_mul(NANOS_A_MILLI)).ok_or_else(|| malformed(name, raw))?;
    plausible(name, Timestamp::from_nanos(nanos), now).map(Some)
}

/// RFC 3339.
pub(super) fn rfc3339(name: &'static str, text: &str) -> Result<Timestamp, Refusal> {
    text.parse().map_err(|_| malformed(name, text))
}

/// RFC 3339, at a time that recorded trading can have.
pub(super) fn moment(name: &'static str, text: &str, now: fn() -> Timestamp) -> Result<Timestamp, Refusal> {
    plausible(name, rfc3339(name, text)?, now)
}

pub(super) fn malformed(name: &'static str, found: &str) -> Refusal {
    Refusal::field(Code::FieldMalformed, name, format!("not a time between 1677 and 2262: {}", quoted(found)))
}
