//! A request's body, of bounded size: the bound is asked for with each request, for it may change.

use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{self, Bytes};
use actix_web::{Error, FromRequest, HttpRequest};
use futures::future::LocalBoxFuture;

use super::app::App;
use super::problem::Problem;

/// A whole body.
pub struct Body(pub Bytes);

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl FromRequest for Body {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kib = request.app_data::<web::Data<App>>().map_or(0, |app| app.limits().body_kib);
        let bytes = kib << 10;
        let said = request.headers().get(CONTENT_LENGTH).and_then(|said| said.to_str().ok()?.parse::<u64>().ok());
        let payload = web::Payload::from_request(request, payload);
        Box::pin(async move {
            let too_large = || {
                let detail = format!("the body is larger than {kib} KiB");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", detail).blocking()
            };
            // What says itself that it is too large is not read at all.
            if said.is_some_and(|said| said > bytes as u64) {
                return Err(too_large().into());
            }
            payload.await?.to_bytes_limited(bytes).await.map_err(|_| too_large())?.map(Self)
        })
    }
}
