//! The description of the service: `OpenAPI` 3.1, out of the handlers themselves, and a page to read it.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi as Document};
use utoipa::{Modify, OpenApi};

/// What the handlers do not say.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ephor",
        description = "Governs automated trading strategies: which may trade, and how large.\n\nAn engine asks `POST /v1/orders/check` \
                       before every order. Any answer but a decision means that the order must not go out. Errors are \
                       `application/problem+json` with a `code`, and the `field` at fault where it is one. Amounts are exact: \
                       decimals as texts, or JSON numbers that never pass through a float. Times are RFC 3339.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "orders", description = "Ask before an order"),
        (name = "ingest", description = "Report what happened"),
        (name = "strategies", description = "Strategies: what they are, and what an operator does to one"),
        (name = "decisions", description = "Decisions, and why"),
        (name = "events", description = "What is recorded"),
        (name = "approvals", description = "Orders that wait for a person"),
        (name = "tokens", description = "Scoped execution tokens"),
        (name = "kill", description = "Kill switches"),
        (name = "policy", description = "The rules"),
        (name = "service", description = "The service itself"),
    ),
    modifiers(&Keys),
)]
pub struct Described;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("ephor_<id>_<secret>")
            .description(Some("An API key, made by `ephor api-key create`"))
            .build();
        let components = document.components.get_or_insert_with(Components::default);
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}
