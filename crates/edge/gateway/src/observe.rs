//! What is around every request: its span and figures, a bound on how many there are, headers for browsers, and a net for
//! panics.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::trace_context::TraceContext;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument as _, field};

use crate::problem::Problem;

/// What a browser may do with an answer that is no report: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// Puts all of it around `router`, whose fallback is set.
pub(crate) fn layers(
    router: Router,
    trace_context: Arc<dyn TraceContext>,
    requests: usize,
) -> Router {
    let places = Arc::new(Semaphore::new(requests));
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(move |request, next| {
            bounded(Arc::clone(&places), request, next)
        }))
        .layer(middleware::from_fn(secured))
        .layer(middleware::from_fn(move |request, next| {
            observed(Arc::clone(&trace_context), request, next)
        }))
}

/// The answer where a handler panicked: a fault of fapo. The panic's place was written by the panic hook.
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let words = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("no words");
    Problem::internal("PANIC", words).into_response()
}

/// Answers at once that the server is busy, rather than let requests pile up. Asking whether it is alive always passes.
async fn bounded(places: Arc<Semaphore>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SERVER_BUSY",
            "as many requests are under way as the server allows",
        )
        .retry_after(Duration::from_secs(1))
        .into_response(),
    }
}

/// Headers that keep browsers and caches from doing anything with an answer but show it.
async fn secured(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert_with(|| HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CACHE_CONTROL, "no-store");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, NOTHING);
    response
}

/// A method as a label: few, whatever clients send.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The request's span, under the trace that the client names, and its figures. Routes are labelled by their templates, so
/// that their number is bounded.
async fn observed(trace_context: Arc<dyn TraceContext>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let method = method_label(request.method());
    let span = tracing::info_span!(
        "http",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.route = route,
        http.request.method = method,
        http.response.status_code = field::Empty,
        fapo.caller = field::Empty,
    );
    let parent = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<TraceParent>().ok());
    if let Some(parent) = parent {
        trace_context.adopt(&span, &parent);
    }
    let begun = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    let seconds = begun.elapsed().as_secs_f64();
    span.in_scope(|| {
        tracing::event!(
            target: "fapo::metrics",
            tracing::Level::INFO,
            monotonic_counter.fapo_http_requests_total = 1u64,
            route = route,
            method = method,
            status = status
        );
        tracing::event!(
            target: "fapo::metrics",
            tracing::Level::INFO,
            histogram.fapo_http_seconds = seconds,
            route = route,
            method = method,
            status = status
        );
    });
    response
}
