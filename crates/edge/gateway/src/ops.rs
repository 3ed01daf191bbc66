//! What operates the process asks of it: is it alive, can it work, what are its figures. Without a token, and apart from the
//! API, so that a role without one has it, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use fapo_domain::ports::trace_context::NoTraces;
use futures::future::join_all;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dispatch::method_not_allowed;
use crate::{call, observe, router};

/// How long a probe may take.
const PROBE_TIME: Duration = Duration::from_secs(2);
/// How long an answer about readiness serves others who ask: whoever asks often must not make the store work.
const KEEP: Duration = Duration::from_secs(1);
/// Requests at once on a port of its own.
const REQUESTS: usize = 64;

/// Why something that the process needs cannot be used. For the log; whoever asks hears that it failed, and no more.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// What was seen.
    pub message: String,
}

/// Asks something that the process needs whether it can be used. Called about once a second at most; what takes longer than
/// two seconds is taken for a failure, and its future is dropped.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Nothing where it can be used.
    async fn probe(&self) -> Result<(), ProbeFailure>;
}

/// The state behind `/healthz`, `/readyz` and `/metrics`.
#[derive(Clone)]
pub struct Ops(Arc<Inner>);

struct Inner {
    probes: Vec<(String, Arc<dyn Probe>)>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    stop: CancellationToken,
    last: Mutex<Option<(Instant, Readiness)>>,
}

/// What each probe said.
#[derive(Debug, Clone)]
struct Readiness(BTreeMap<String, &'static str>);

impl Ops {
    /// `probes` ask what the process needs, each under its name; `metrics` writes the figures in Prometheus' text format; once
    /// `stop` is cancelled the process is no longer ready, so that nothing new is sent to it while it ends.
    pub fn new(
        probes: Vec<(String, Arc<dyn Probe>)>,
        metrics: Arc<dyn Fn() -> String + Send + Sync>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            probes,
            metrics,
            stop,
            last: Mutex::new(None),
        }))
    }
}

impl Inner {
    /// What the probes say, or said a moment ago. Those who ask at the same time wait for one answer.
    async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < KEEP
        {
            return readiness.clone();
        }
        let asked = self.probes.iter().map(|(name, probe)| async move {
            let state = match tokio::time::timeout(PROBE_TIME, probe.probe()).await {
                Ok(Ok(())) => "ok",
                Ok(Err(error)) => {
                    tracing::warn!(probe = %name, %error, "not ready");
                    "failed"
                }
                Err(_) => {
                    tracing::warn!(probe = %name, "not ready: no answer in time");
                    "timed_out"
                }
            };
            (name.clone(), state)
        });
        let readiness = Readiness(join_all(asked).await.into_iter().collect());
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }

    async fn readyz(&self) -> Response {
        let Readiness(checks) = self.readiness().await;
        let stopping = self.stop.is_cancelled();
        let ready = !stopping && checks.values().all(|state| *state == "ok");
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let body = json!({"ready": ready, "stopping": stopping, "checks": checks});
        call::json(status, &body).unwrap_or_else(IntoResponse::into_response)
    }
}

/// A route that has `GET` only, with other methods answered in the shape of all problems.
pub(crate) fn get_only<F, Fut>(answer: F) -> MethodRouter
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send,
{
    any(move |request: Request| {
        let answer = answer.clone();
        async move {
            if matches!(*request.method(), Method::GET | Method::HEAD) {
                answer().await
            } else {
                method_not_allowed(std::iter::once(Method::GET.to_string())).into_response()
            }
        }
    })
}

/// `/healthz`, `/readyz`, `/metrics`.
pub(crate) fn routes(ops: Ops) -> Router {
    let (ready, metrics) = (ops.clone(), ops);
    Router::new()
        .route(
            "/healthz",
            get_only(|| async {
                call::ok(&json!({"alive": true})).unwrap_or_else(IntoResponse::into_response)
            }),
        )
        .route(
            "/readyz",
            get_only(move || {
                let ops = ready.clone();
                async move { ops.0.readyz().await }
            }),
        )
        .route(
            "/metrics",
            get_only(move || {
                let ops = metrics.clone();
                async move {
                    let text = (ops.0.metrics)();
                    let media_type = "text/plain; version=0.0.4; charset=utf-8";
                    ([(header::CONTENT_TYPE, media_type)], text).into_response()
                }
            }),
        )
}

/// The HTTP service of a role without an API.
pub fn ops_router(ops: Ops) -> Router {
    observe::layers(
        routes(ops).fallback(router::unknown),
        Arc::new(NoTraces),
        REQUESTS,
    )
}
