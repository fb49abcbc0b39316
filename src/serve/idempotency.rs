//! `Idempotency-Key`: an act that is sent again is answered again, and done once.
//!
//! What is remembered lives in bounded memory and does not outlive a restart: from then on the commands' own
//! rules stand alone (a second pause is refused as nothing to change). An act goes on to its end where its
//! sender has gone: the answer is there when the sender comes again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{self, Bytes};
use actix_web::{Error, HttpResponse, ResponseError};
use blake3::Hash;
use ephor_governance::ids::SourceId;
use futures::stream;

use utoipa::IntoParams;

use super::app::App;
use super::auth;
use super::body::Body;
use super::headers::idempotency_key;
use super::problem::Problem;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The header that makes an act one that is done once.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct OnceKey {
    /// The same request again under the same key is answered again and done once
    #[expect(dead_code, reason = "describes the header; `once` reads it")]
    #[param(rename = "Idempotency-Key")]
    key: Option<String>,
}

/// How many keys are remembered.
const KEYS_MAX: usize = 10_000;
/// For how long.
const AGE_MAX: Duration = Duration::from_hours(24);

/// Whose key, and which.
type Name = (String, SourceId);

/// What was answered.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    media: Option<HeaderValue>,
    body: Bytes,
}

struct Slot {
    request: Hash,
    since: Instant,
    /// `None` while it is under way.
    answer: Option<Answer>,
}

/// The answers that are remembered.
#[derive(Default)]
pub struct Answers {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_name: HashMap<Name, Slot>,
    /// Oldest first.
    order: VecDeque<Name>,
}

/// What a key that comes in turns out to be.
enum Found {
    New,
    UnderWay,
    OfAnother,
    Answered(Answer),
}

impl Slots {
    fn begin(&mut self, name: &Name, request: Hash, now: Instant) -> Found {
        self.forget_old(now);
        if let Some(slot) = self.by_name.get(name) {
            return match &slot.answer {
                _ if slot.request != request => Found::OfAnother,
                None => Found::UnderWay,
                Some(answer) => Found::Answered(answer.clone()),
            };
        }
        self.by_name.insert(name.clone(), Slot { request, since: now, answer: None });
        self.order.push_back(name.clone());
        Found::New
    }

    /// What is under way stays: there are never more of those than connections.
    fn forget_old(&mut self, now: Instant) {
        for _ in 0..self.order.len() {
            let Some(name) = self.order.front() else { return };
            let Some(slot) = self.by_name.get(name) else {
                self.order.pop_front();
                continue;
            };
            if self.order.len() < KEYS_MAX && now.duration_since(slot.since) < AGE_MAX {
                return;
            }
            let is_done = slot.answer.is_some();
            let Some(name) = self.order.pop_front() else { return };
            if is_done {
                self.by_name.remove(&name);
            } else {
                self.order.push_back(name);
            }
        }
    }
}

impl Answers {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way; forgotten where it comes to nothing that could be answered again.
struct UnderWay {
    app: web::Data<App>,
    name: Name,
    answer: Option<Answer>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut slots = self.app.acts.answers.slots();
        let Some(answer) = self.answer.take() else {
            slots.by_name.remove(&self.name);
            slots.order.retain(|name| *name != self.name);
            return;
        };
        if let Some(slot) = slots.by_name.get_mut(&self.name) {
            slot.answer = Some(answer);
        }
    }
}

/// Whether an answer says what came of the request, so that it would be the same again.
fn is_final(status: StatusCode) -> bool {
    let refused = [StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY];
    status.is_success() || refused.contains(&status)
}

/// Lets each act of one key through once.
///
/// # Errors
/// What the handler says.
pub async fn once(
    app: web::Data<App>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let pass = async |request, next: Next<_>| next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    // Who is not known is told so, and no more, by the handler.
    let Ok(caller) = auth::caller(request.request(), &app) else { return pass(request, next).await };
    let key = match idempotency_key(request.request()) {
        Ok(Some(key)) => key,
        Ok(None) => return pass(request, next).await,
        Err(problem) => return Ok(request.into_response(problem.error_response())),
    };
    let body = match request.extract::<Body>().await {
        Ok(Body(body)) => body,
        Err(error) => return Ok(request.error_response(error).map_into_boxed_body()),
    };
    let name = (caller.key_id.clone(), key);
    let found = app.acts.answers.slots().begin(&name, fingerprint(&request, &body), Instant::now());
    if matches!(found, Found::New) {
        let whole = stream::once(std::future::ready(Ok(body)));
        request.set_payload(Payload::Stream { payload: Box::pin(whole) });
        let under_way = UnderWay { app, name, answer: None };
        let done = actix_web::rt::spawn(remembered(under_way, request, next)).await;
        return done.unwrap_or_else(|panic| Err(Problem::internal(&panic).into()));
    }
    // The handler would have counted it.
    if let Err(problem) = app.within_rate(&caller, std::num::NonZeroU32::MIN) {
        return Ok(request.into_response(problem.error_response()));
    }
    let refused = |status, code, detail| Problem::new(status, code, detail).at("Idempotency-Key").error_response();
    let response = match found {
        Found::Answered(answer) => again(answer),
        Found::OfAnother => refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "IDEMPOTENCY_KEY_REUSED",
            "this key came with another request before",
        ),
        Found::UnderWay | Found::New => refused(
            StatusCode::CONFLICT,
            "IDEMPOTENCY_KEY_UNDER_WAY",
            "the first request with this key has not been answered yet",
        ),
    };
    Ok(request.into_response(response))
}

async fn remembered(
    mut under_way: UnderWay,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (request, response) = next.call(request).await?.into_parts();
    let (head, body) = response.into_parts();
    let body = to_bytes(body).await.map_err(|error| {
        let error: Box<dyn std::error::Error> = error.into();
        Problem::internal(&*error)
    })?;
    if is_final(head.status()) {
        let media = head.headers().get(CONTENT_TYPE).cloned();
        under_way.answer = Some(Answer { status: head.status(), media, body: body.clone() });
    }
    Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(body))))
}

fn again(answer: Answer) -> HttpResponse {
    let mut response = HttpResponse::build(answer.status);
    response.insert_header((REPLAYED, HeaderValue::from_static("true")));
    if let Some(media) = answer.media {
        response.insert_header((CONTENT_TYPE, media));
    }
    response.body(answer.body)
}

/// What makes a request the same request.
fn fingerprint(request: &ServiceRequest, body: &[u8]) -> Hash {
    let media = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let mut hasher = blake3::Hasher::new();
    for part in [request.method().as_str().as_bytes(), target.as_bytes(), media, body] {
        // The length keeps the parts apart.
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        ("k".to_owned(), number.to_string().parse().unwrap())
    }

    fn done(slots: &mut Slots, name: &Name) {
        let answer = Answer { status: StatusCode::OK, media: None, body: Bytes::new() };
        slots.by_name.get_mut(name).unwrap().answer = Some(answer);
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_in_time() {
        let (mut slots, start, request) = (Slots::default(), Instant::now(), blake3::hash(b"a"));
        assert!(matches!(slots.begin(&name(0), request, start), Found::New), "under way all the time");
        for number in 1..=KEYS_MAX + 5 {
            assert!(matches!(slots.begin(&name(number), request, start), Found::New));
            done(&mut slots, &name(number));
        }
        assert_eq!((slots.by_name.len(), slots.order.len()), (KEYS_MAX, KEYS_MAX));
        assert!(matches!(slots.begin(&name(0), request, start), Found::UnderWay));
        assert!(matches!(slots.begin(&name(KEYS_MAX), request, start), Found::Answered(_)));
        assert!(matches!(slots.begin(&name(KEYS_MAX), blake3::hash(b"b"), start), Found::OfAnother));
        assert!(matches!(slots.begin(&name(1), request, start), Found::New), "the oldest was forgotten");
        let tomorrow = start + AGE_MAX;
        assert!(matches!(slots.begin(&name(KEYS_MAX), request, tomorrow), Found::New));
        assert_eq!(slots.by_name.len(), 3, "those under way alone: 0, 1 and the new one");
    }
}
