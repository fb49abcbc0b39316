//! Errors as RFC 9457 asks for them: `application/problem+json`, with a code for programs, the field at
//! fault, and a sentence for people.
//!
//! An order that meets one is not allowed: the body says `"action": "block"`, so that a client which
//! reads nothing else still fails closed.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use ephor_actors::{Failure, JournalError};
use ephor_governance::rejection::Rejection;
use ephor_replay::ReplayError;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::input::{Code, Refusal};
use crate::telemetry::chain;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Body>);

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        Body::schema()
    }
}

impl ToSchema for Problem {}

/// A problem as it is sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Body {
    /// What kind of problem it is, as a URN: one a code.
    #[serde(rename = "type")]
    #[schema(example = "urn:ephor:problem:FIELD_MISSING")]
    kind: String,
    /// The kind in words.
    #[schema(example = "Unprocessable Entity")]
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// What was found and what would do.
    detail: String,
    /// `CATEGORY_CONDITION`, for programs.
    #[schema(example = "FIELD_MISSING")]
    code: String,
    /// The field at fault, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What an engine does with the order that met this: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "block")]
    action: Option<&'static str>,
    /// Seconds after which the same request may go through.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// Whether the connection ends with it.
    #[serde(skip)]
    closes: bool,
}

impl Problem {
    /// A problem by status and code.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Body {
            kind: format!("urn:ephor:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            field: None,
            action: None,
            retry_after_seconds: None,
            closes: false,
        }))
    }

    /// Nobody we know.
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "KEY_INVALID", detail)
    }

    /// Nothing of this name.
    #[must_use]
    pub fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// A parameter that makes no sense.
    #[must_use]
    pub fn parameter(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "PARAMETER_INVALID", detail).at(field)
    }

    /// Governance is switched off.
    #[must_use]
    pub fn disabled() -> Self {
        let detail = "governance.enabled is false: nothing is governed and nothing is recorded";
        Self::new(StatusCode::CONFLICT, "GOVERNANCE_DISABLED", detail)
    }

    /// The service is on its way out.
    #[must_use]
    pub fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_STOPPING", "the service is shutting down")
    }

    /// Something of ours is broken; what it is stands in the service's own log.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(error), "a request met a fault");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_FAULT",
            "a fault of the service's own; its log says more",
        )
    }

    /// Names the field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says what becomes of the order that met it.
    #[must_use]
    pub fn blocking(mut self) -> Self {
        self.0.action = Some("block");
        self
    }

    /// Ends the connection with it: what is left of a body would be read as the next request.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The field at fault.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.0.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.0.status == StatusCode::UNAUTHORIZED.as_u16() {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if self.0.closes {
            response.force_close();
        }
        response.content_type(MEDIA_TYPE).body(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            Code::LineNotUtf8 | Code::LineNotJson | Code::LineNotObject | Code::LineNotFix => StatusCode::BAD_REQUEST,
            Code::LineTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Code::StrategyUnknown => StatusCode::NOT_FOUND,
            Code::IdReused | Code::RuleRefused => StatusCode::CONFLICT,
            Code::TypeUnknown
            | Code::FieldMissing
            | Code::FieldUnknown
            | Code::FieldTwice
            | Code::FieldMalformed
            | Code::FieldOutOfRange
            | Code::FieldTooLong
            | Code::DecimalDoesNotFit
            | Code::TimeGoingBack => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let problem = Self::new(status, refusal.code.as_str(), refusal.problem);
        match refusal.field {
            Some(field) => problem.at(field),
            None => problem,
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let said = rejection.to_string();
        match &rejection {
            Rejection::NothingToChange { .. } => Self::new(StatusCode::CONFLICT, "STATE_UNCHANGED", said),
            Rejection::EvidenceMissing { .. } => Self::new(StatusCode::CONFLICT, "EVIDENCE_MISSING", said),
            Rejection::NeedsPerson => Self::new(StatusCode::FORBIDDEN, "PERSON_NEEDED", said),
            Rejection::TooManyTokens { .. } => Self::new(StatusCode::CONFLICT, "TOKENS_TOO_MANY", said),
            Rejection::UnknownToken => Self::not_found("TOKEN_UNKNOWN", said),
            Rejection::NotWaiting { .. } => Self::not_found("ORDER_NOT_WAITING", said).at("order_id"),
            Rejection::ApprovedBefore { .. } => Self::new(StatusCode::CONFLICT, "APPROVAL_REPEATED", said),
            Rejection::InvalidPolicy { field, problem } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "POLICY_INVALID", problem.clone()).at(*field)
            }
            Rejection::UnknownStrategy
            | Rejection::NoStrategy { .. }
            | Rejection::InvalidField { .. }
            | Rejection::IdReused { .. } => Refusal::from(rejection).into(),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let unavailable = |code, said: String| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, said);
        let said = failure.to_string();
        match failure {
            Failure::Rejected(rejection) => rejection.into(),
            Failure::Journal(JournalError::Full) | Failure::Overloaded => {
                unavailable("SERVICE_OVERLOADED", said).retry_after(1)
            }
            Failure::TimedOut { .. } => unavailable("GATE_TIMEOUT", said).retry_after(1),
            Failure::Faulted { .. } => unavailable("ACTOR_FAULTED", said).retry_after(1),
            Failure::Held { .. } => unavailable("EXPOSURE_HELD", said).retry_after(1),
            Failure::Stopped | Failure::Journal(JournalError::Closed) => unavailable("SERVICE_STOPPING", said),
            Failure::Journal(JournalError::Stopped { .. }) => unavailable("JOURNAL_UNAVAILABLE", said),
            Failure::Unreadable { .. } | Failure::Unencodable { .. } => Self::internal(&failure),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        if let ReplayError::UnknownStrategy { .. } = error {
            return Self::not_found("STRATEGY_UNKNOWN", error.to_string());
        }
        if error.is_callers() {
            return Self::new(StatusCode::UNPROCESSABLE_ENTITY, "PARAMETER_INVALID", error.to_string());
        }
        Self::internal(&error)
    }
}
