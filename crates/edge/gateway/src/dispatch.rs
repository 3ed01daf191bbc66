//! The way that every request takes: method, caller and rate, role, parameters, body, handler. The order is the same for all
//! routes, so that what a stranger can learn from an error, and what a request can make the server do, is known once.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request};
use axum::http::StatusCode;
use axum::response::Response;
use fapo_domain::model::access::Caller;
use tracing::Span;

use crate::auth;
use crate::body;
use crate::call::Call;
use crate::params::Values;
use crate::problem::{Problem, ProblemPart};
use crate::route::{Access, BodySpec, Patience, Route};
use crate::router::Api;

/// Answers a request for one of `routes`, which share a path.
pub(crate) async fn dispatch(
    api: Arc<Api>,
    routes: &[&'static Route],
    path: Result<RawPathParams, ()>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(route) = routes
        .iter()
        .find(|route| route.verb.serves(request.method()))
    else {
        return Err(method_not_allowed(
            routes.iter().map(|route| route.verb.method().to_string()),
        ));
    };
    let limits = &api.config.limits;
    let time = match route.patience {
        Patience::Usual => limits.request_time,
        Patience::Upload => limits.upload_time,
    };
    let answer = Box::pin(checked(Arc::clone(&api), route, path, request));
    tokio::time::timeout(time, answer)
        .await
        .unwrap_or_else(|_| {
            Err(Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "REQUEST_TIMED_OUT",
                format!("the request took longer than {} s", time.as_secs_f64()),
            )
            .retry_after(std::time::Duration::from_secs(1)))
        })
}

async fn checked(
    api: Arc<Api>,
    route: &'static Route,
    path: Result<RawPathParams, ()>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let caller = match route.access {
        Access::Anybody => Caller::local(),
        Access::Role(role) => {
            let caller = auth::caller(&api, &head.extensions, &head.headers).await?;
            Span::current().record("fapo.caller", &*caller.name);
            caller.need(role)?;
            caller
        }
    };
    let path = path.map_err(|()| {
        Problem::invalid_field("path", "is not UTF-8 once its percent signs are read")
    })?;
    let path = Values::read(
        route.path_params,
        path.iter().map(|(name, text)| (name.into(), text.into())),
    );
    let query = Values::read(
        route.query,
        form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()),
    );
    let (path, query) = match (path, query) {
        (Ok(path), Ok(query)) => (path, query),
        (path, query) => {
            let parts: Vec<ProblemPart> = [path.err(), query.err()]
                .into_iter()
                .flatten()
                .flatten()
                .collect();
            return Err(Problem::invalid(parts));
        }
    };
    let limits = &api.config.limits;
    let body = match route.body {
        BodySpec::None => axum::body::Bytes::new(),
        BodySpec::Json { .. } => {
            body::check_type(&head.headers, body::JSON)?;
            body::read(&head.headers, content, limits.json_bytes).await?
        }
        BodySpec::Bytes => {
            body::check_type(&head.headers, body::BYTES)?;
            body::read(&head.headers, content, limits.blob_bytes).await?
        }
    };
    (route.handler)(Call {
        api,
        caller,
        path,
        query,
        headers: head.headers,
        body,
    })
    .await
}

/// The answer to a method that a path has not.
pub(crate) fn method_not_allowed(allowed: impl Iterator<Item = String>) -> Problem {
    let mut allowed: Vec<String> = allowed.collect();
    allowed.sort();
    let allow = allowed.join(", ");
    let mut problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        format!("the path has {allow}"),
    );
    problem.allow = Some(allow);
    problem
}
