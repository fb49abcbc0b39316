//! Around every request: its time limit, its span, its figures, and problems in one shape.

use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};
use tracing::Instrument;

use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::app::App;
use super::headers::trace_of;
use super::held::Held;
use super::problem::{MEDIA_TYPE, Problem};
use crate::telemetry;

/// Answered to the end: whoever balances load must see that the service is going.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The middleware.
///
/// # Errors
/// What the server answers as a problem.
pub async fn watch(
    app: web::Data<App>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    if app.is_closing() && !PROBES.contains(&request.path()) {
        return Err(Problem::stopping().blocking().closing().into());
    }
    let route = request.match_pattern().unwrap_or_else(|| "unknown".to_owned());
    let trace = trace_of(request.request());
    let span = tracing::debug_span!(
        "request",
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = route,
        trace_id = trace.as_deref(),
        http.response.status_code = tracing::field::Empty,
    );
    if !span.is_disabled() {
        // Fails where no traces are sent: there is nothing to hang it on then.
        drop(span.set_parent(telemetry::parent(request.headers())));
    }
    let held = Held::of(&mut request);
    let limit = Duration::from_millis(app.limits().request_timeout_ms);
    let answer = tokio::time::timeout(limit, next.call(request)).instrument(span.clone()).await;
    let response = match answer {
        Ok(Ok(response)) => Ok(in_shape(response.map_into_boxed_body())),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let detail = format!("the request was not there within {} ms", limit.as_millis());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", detail).blocking().closing().into())
        }
    };
    let status =
        response.as_ref().map_or_else(|error| error.as_response_error().status_code(), ServiceResponse::status);
    let status = status.as_u16();
    span.record("http.response.status_code", status);
    let took = started.elapsed();
    tracing::debug!(parent: &span, status, micros = took.as_micros(), "answered");
    app.figures.answered(&route, status, took);
    match (held, response) {
        (Some(held), Ok(response)) => Ok(held.until_sent(response)),
        (Some(held), Err(error)) => {
            held.for_a_while();
            Err(error)
        }
        (None, response) => response,
    }
}

/// Errors of the server's own, a body too large or a path that nobody serves, as problems.
fn in_shape(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let is_problem = response.headers().get(CONTENT_TYPE) == Some(&HeaderValue::from_static(MEDIA_TYPE));
    if !(status.is_client_error() || status.is_server_error())
        || is_problem
        || status == StatusCode::SERVICE_UNAVAILABLE
    {
        return response;
    }
    let said = response.response().error().map(ToString::to_string);
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "BODY_TOO_LARGE",
        StatusCode::REQUEST_TIMEOUT => "REQUEST_TIMEOUT",
        _other => "REQUEST_MALFORMED",
    };
    let problem = Problem::new(status, code, said.unwrap_or_else(|| "the request makes no sense".to_owned()));
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, problem.blocking().error_response())
}
