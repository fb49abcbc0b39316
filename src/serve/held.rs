//! A body that comes in pieces, held until its request has been answered.
//!
//! What is left of such a body the server passes over where nobody holds it, for as long as its sender cares to go on:
//! a connection that costs nothing and never ends, to be had without a key. Of a body that somebody holds it ends the
//! connection instead, once the answer is out.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use futures::{Stream, stream};

/// How long an answer without a body of its own may take to be sent.
const SENT_WITHIN: Duration = Duration::from_secs(1);

/// A body that is held.
pub(super) struct Held {
    _body: Rc<RefCell<Payload>>,
}

impl Held {
    /// Of a request whose body comes in pieces; handlers read it as before.
    pub(super) fn of(request: &mut ServiceRequest) -> Option<Self> {
        request.headers().get(TRANSFER_ENCODING)?;
        let body = Rc::new(RefCell::new(request.take_payload()));
        let read = body.clone();
        let pieces = stream::poll_fn(move |context| Pin::new(&mut *read.borrow_mut()).poll_next(context));
        request.set_payload(Payload::Stream { payload: Box::pin(pieces) });
        Some(Self { _body: body })
    }

    /// Until this answer has been sent to its end.
    pub(super) fn until_sent(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        response.map_body(|_, body| BoxBody::new(Sent { body, _held: self }))
    }

    /// Until a short answer has been sent.
    pub(super) fn for_a_while(self) {
        actix_web::rt::spawn(async move {
            tokio::time::sleep(SENT_WITHIN).await;
            drop(self);
        });
    }
}

/// An answer, and what is held until it has been sent.
struct Sent {
    body: BoxBody,
    _held: Held,
}

impl MessageBody for Sent {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
