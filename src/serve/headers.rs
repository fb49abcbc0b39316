//! What handlers read out of a request's headers.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName};
use ephor_governance::ids::SourceId;
use smol_str::SmolStr;

use super::problem::Problem;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A body is JSON, in the one encoding that JSON has.
///
/// # Errors
/// 415.
pub fn json_in_utf8(request: &HttpRequest) -> Result<(), Problem> {
    of_type(request, "application/json")
}

/// A body is of this media type, in UTF-8.
///
/// # Errors
/// 415.
pub fn of_type(request: &HttpRequest, wanted: &str) -> Result<(), Problem> {
    let given = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let wrong = || {
        let detail = format!("expected {wanted} in UTF-8, found {}", given.unwrap_or("no Content-Type"));
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "MEDIA_TYPE_UNSUPPORTED", detail).at("Content-Type")
    };
    let mut parts = given.unwrap_or_default().split(';').map(str::trim);
    if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case(wanted)) {
        return Err(wrong());
    }
    let charset = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    };
    match parts.find_map(charset) {
        Some(charset) if charset != "utf-8" && charset != "utf8" => Err(wrong()),
        Some(_) | None => Ok(()),
    }
}

/// The key under which a request may come again.
///
/// # Errors
/// 422 where it is no id.
pub fn idempotency_key(request: &HttpRequest) -> Result<Option<SourceId>, Problem> {
    let Some(given) = request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
    // What is no text is no id either.
    given_key(given.to_str().unwrap_or("\u{fffd}")).map(Some)
}

/// The key under which a request may come again, as it was given.
///
/// # Errors
/// 422 where it is no id.
pub fn given_key(text: &str) -> Result<SourceId, Problem> {
    text.parse().map_err(|error: ephor_governance::ids::IdError| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_MALFORMED", error.to_string()).at("Idempotency-Key")
    })
}

/// The trace id of a W3C `traceparent`; one that is malformed is as good as none, as the standard says.
#[must_use]
pub fn trace_of(request: &HttpRequest) -> Option<SmolStr> {
    trace_in(request.headers().get(TRACEPARENT)?.to_str().ok()?)
}

/// The trace id in the text of a `traceparent`.
#[must_use]
pub fn trace_in(text: &str) -> Option<SmolStr> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let last = version != "00" || parts.next().is_none();
    let whole = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && last;
    (whole && some(trace) && some(parent)).then(|| SmolStr::new(trace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_trace_id_is_taken_from_a_whole_traceparent_only() {
        let of = |text: &str| trace_of(&TestRequest::default().insert_header(("traceparent", text)).to_http_request());
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Some(trace));
        assert_eq!(of(&format!("01-{trace}-00f067aa0ba902b7-01-more")).as_deref(), Some(trace));
        for wrong in [
            String::new(),
            format!("00-{trace}"),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
        ] {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_utf8_json_is_json() {
        let of =
            |text: &str| json_in_utf8(&TestRequest::default().insert_header(("content-type", text)).to_http_request());
        for right in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert!(of(right).is_ok(), "{right}");
        }
        for wrong in ["text/plain", "application/json; charset=latin1", "application/jsonl", ""] {
            assert_eq!(of(wrong).unwrap_err().code(), "MEDIA_TYPE_UNSUPPORTED", "{wrong}");
        }
    }
}
