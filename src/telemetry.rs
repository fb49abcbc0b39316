//! Log lines and traces of the service.
//!
//! Lines go to standard error, for people or as JSON. Where an OTLP end point is set, every request's span goes
//! there too, as the child of the caller's `traceparent`; a collector that is down costs spans and nothing else.

use std::io;

use actix_web::http::header::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::settings::{LogFormat, LogLevel, Telemetry};

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint: make an exporter for {endpoint} failed")]
pub struct TelemetryError {
    endpoint: String,
    source: opentelemetry_otlp::ExporterBuildError,
}

/// What has been set up; dropped, it sends the spans that it still holds.
pub struct Started {
    provider: Option<SdkTracerProvider>,
    /// `None` where `EPHOR_LOG` says which lines are written.
    shown: Option<reload::Handle<EnvFilter, Registry>>,
}

impl Started {
    /// Writes log lines of another level from here on; says whether it does. `EPHOR_LOG` stands over the settings.
    #[must_use]
    pub fn show(&self, level: LogLevel) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.reload(filter(level)).is_ok())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.provider.take().map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Lets log lines go to standard error (those that `EPHOR_LOG` asks for, where it is set), and spans to where the
/// settings say.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(settings: &Telemetry) -> Result<Started, TelemetryError> {
    let asked = EnvFilter::try_from_env("EPHOR_LOG").ok();
    let is_asked = asked.is_some();
    let (shown, handle) = reload::Layer::new(asked.unwrap_or_else(|| filter(settings.log_level)));
    let colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colours);
    let lines = match settings.log_format {
        LogFormat::Pretty => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let provider = settings.otlp_endpoint.as_deref().map(exporting).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        // Requests' own spans, whatever the lines show; nothing of the exporter's, or it would feed itself.
        let requests = Targets::new().with_target("ephor::serve", tracing::Level::DEBUG);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("ephor")).with_filter(requests)
    });
    // Someone who embeds the program may have set one up already.
    drop(tracing_subscriber::registry().with(lines.with_filter(shown)).with(spans).try_init());
    Ok(Started { provider, shown: (!is_asked).then_some(handle) })
}

fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        // The server tells how it starts its threads.
        LogLevel::Info => "info,actix_server=warn",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    })
}

fn exporting(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let traces = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(traces).build();
    let exporter = exporter.map_err(|source| TelemetryError { endpoint: endpoint.to_owned(), source })?;
    let resource = Resource::builder().with_service_name("ephor").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// An error and what caused it, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The span that a request is a part of, by its `traceparent`.
#[must_use]
pub fn parent(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract(&Headers(headers))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(actix_web::http::header::HeaderName::as_str).collect()
    }
}
