//! Every route there is.

use std::sync::LazyLock;

use actix_web::dev::ResourceDef;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use utoipa::OpenApi;
use utoipa::openapi::PathItem;
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_actix_web::{AppExt, scope};
use utoipa_swagger_ui::SwaggerUi;

use super::describe::Described;
use super::problem::Problem;
use super::{acts, decisions, digests, events, intake, orders, probes, strategies, stream};

/// The version of the API that this is.
pub const V1: &str = "/v1";

/// What stands under `/v1`.
fn v1(config: &mut ServiceConfig<'_>) {
    config.service(orders::check_order).service(orders::check_orders).service(intake::one).service(intake::lines);
    acts::routes(config);
    config.service(events::page_of_events).service(stream::follow_events);
    config
        .service(strategies::list_strategies)
        .service(strategies::one_strategy)
        .service(strategies::history_of_strategy);
    config.service(decisions::decisions_by_trace).service(digests::live_digests);
}

fn all(config: &mut ServiceConfig<'_>) {
    config.service(probes::healthz).service(probes::readyz).service(probes::metrics).service(scope(V1).configure(v1));
}

/// The description of all of it.
pub static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(|| {
    let described = actix_web::App::new().into_utoipa_app().openapi(Described::openapi()).configure(all);
    described.split_for_parts().1
});

/// Puts everything into an application.
pub fn configure(config: &mut web::ServiceConfig) {
    let mut described = ServiceConfig::new(config);
    all(&mut described);
    let page = SwaggerUi::new("/docs/{_:.*}").url("/openapi.json", DOCUMENT.clone());
    config.service(page).default_service(web::to(nowhere));
}

/// A path that nobody serves, or not by this method.
async fn nowhere(request: HttpRequest) -> HttpResponse {
    let methods = methods_of(request.path());
    if methods.is_empty() {
        let detail = format!("there is nothing at {}: /openapi.json says what there is", request.path());
        return Problem::not_found("ROUTE_UNKNOWN", detail).error_response();
    }
    let allowed = methods.join(", ");
    let detail = format!("{} takes {allowed}", request.path());
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail).error_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Every path with the methods that it takes. Made once: whoever asks for what is not there needs no key to do so.
static METHODS: LazyLock<Vec<(ResourceDef, Vec<&'static str>)>> = LazyLock::new(|| {
    let methods = |item: &PathItem| {
        let all = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("DELETE", &item.delete),
            ("PATCH", &item.patch),
        ];
        all.into_iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| method).collect()
    };
    let paths = DOCUMENT.paths.paths.iter();
    paths.map(|(pattern, item)| (ResourceDef::new(pattern.as_str()), methods(item))).collect()
});

/// The methods that a path takes.
fn methods_of(path: &str) -> Vec<&'static str> {
    let fitting = METHODS.iter().filter(|(pattern, _)| pattern.is_match(path));
    fitting.flat_map(|(_, methods)| methods).copied().collect()
}
