//! The router that the table makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use fapo_domain::clock::Clock;
use fapo_domain::ports::access::Tokens;
use fapo_domain::ports::jobs::Findings;
use fapo_domain::ports::optimizer::Optimizer;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::trace_context::TraceContext;
use fapo_domain::ports::traces::{TraceQueries, Traces};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::GatewayConfig;
use crate::ops::{self, Ops};
use crate::problem::Problem;
use crate::rate::Rates;
use crate::route::{Route, table};
use crate::{dispatch, observe, openapi};

/// The ports that the API speaks to.
#[derive(Clone)]
pub struct Ports {
    /// Jobs, blobs, lineage, reports.
    pub optimizer: Arc<dyn Optimizer>,
    /// Evaluations, lists of runs, aggregates.
    pub queries: Arc<dyn TraceQueries>,
    /// Whole runs.
    pub traces: Arc<dyn Traces>,
    /// Attributions and findings.
    pub findings: Arc<dyn Findings>,
    /// Agents' sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Tokens, by which callers are known.
    pub tokens: Arc<dyn Tokens>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The distributed trace that a request belongs to.
    pub trace_context: Arc<dyn TraceContext>,
}

/// All that the API's router holds.
#[derive(Clone)]
pub struct ApiState(pub(crate) Arc<Api>);

/// What handlers reach.
pub(crate) struct Api {
    pub ports: Ports,
    pub config: GatewayConfig,
    pub rates: Rates,
    /// Places of event streams.
    pub streams: Arc<Semaphore>,
    /// Cancelled when the server stops: event streams end, so that it can.
    pub stop: CancellationToken,
}

impl ApiState {
    /// Over `ports`. Once `stop` is cancelled event streams end; everything else is answered as long as somebody serves it.
    pub fn new(ports: Ports, config: GatewayConfig, stop: CancellationToken) -> Self {
        let limits = &config.limits;
        Self(Arc::new(Api {
            rates: Rates::new(limits.rate, limits.burst, limits.rates),
            streams: Arc::new(Semaphore::new(limits.streams)),
            ports,
            config,
            stop,
        }))
    }
}

/// The whole HTTP service of the gateway: the API below `/api/v1`, its document at `/openapi.json`, and what [`Ops`] has.
pub fn api_router(state: ApiState, ops: Ops) -> Router {
    let mut paths: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for route in table() {
        paths.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in paths {
        let routes: Arc<[&'static Route]> = routes.into();
        let api = Arc::clone(&state.0);
        let handler = move |params: Result<RawPathParams, _>, request: Request| {
            let (api, routes) = (Arc::clone(&api), Arc::clone(&routes));
            async move {
                let path = params.map_err(|_| ());
                Box::pin(dispatch::dispatch(api, &routes, path, request))
                    .await
                    .unwrap_or_else(Problem::into_response)
            }
        };
        router = router.route(path, any(handler));
    }
    let document = ops::get_only(|| async { openapi::response() });
    let router = router
        .route("/openapi.json", document)
        .merge(ops::routes(ops))
        .fallback(unknown);
    observe::layers(
        router,
        Arc::clone(&state.0.ports.trace_context),
        state.0.config.limits.requests,
    )
}

/// The answer to a path that is none.
pub(crate) async fn unknown(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "ROUTE_UNKNOWN",
        format!("{path} is no path of this server; /openapi.json lists them"),
    )
    .into_response()
}
