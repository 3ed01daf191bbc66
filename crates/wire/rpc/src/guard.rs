//! What stands before every service: who calls, how many calls at once and for how long, a span and figures of each call, and
//! fapo's own form of error for what goes wrong before a service is reached.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fapo_domain::model::access::Caller;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::trace_context::TraceContext;
use fapo_domain::{ErrorCode, Retry};
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use crate::auth::Authenticator;
use crate::fault::Fault;
use crate::watched::Watched;

/// What the guards of all connections share.
pub(crate) struct Rules {
    pub(crate) authenticator: Authenticator,
    pub(crate) trace: Arc<dyn TraceContext>,
    /// One permit for each call under way, streams included.
    pub(crate) permits: Arc<Semaphore>,
    /// How long a call may take until its answer begins.
    pub(crate) timeout: Duration,
}

/// Puts a [`Guard`] before a service.
#[derive(Clone)]
pub(crate) struct GuardLayer(pub(crate) Arc<Rules>);

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            rules: Arc::clone(&self.0),
        }
    }
}

/// See the module's head.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // the one that was polled ready takes the call
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let rules = Arc::clone(&self.rules);
        Box::pin(async move {
            let call = Call::begin(&*rules.trace, &request);
            let span = call.span.clone();
            let (response, permit) = rules.answer(inner, request).instrument(span).await;
            Ok(call.watch(response, permit))
        })
    }
}

impl Rules {
    /// The service's answer, or why it was not asked.
    async fn answer<S>(
        &self,
        inner: S,
        request: Request<Body>,
    ) -> (Response<Body>, Option<OwnedSemaphorePermit>)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return (busy().into_http(), None);
        };
        let response = match timeout(self.timeout, self.admitted(inner, request)).await {
            Ok(response) => response,
            Err(_) => too_slow(self.timeout).into_http(),
        };
        (response, Some(permit))
    }

    async fn admitted<S>(&self, mut inner: S, mut request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        if !is_open(request.uri().path()) {
            let header = request.headers().get("authorization");
            let header = header.and_then(|value| value.to_str().ok());
            match self.authenticator.caller(header).await {
                Ok(caller) => {
                    Span::current().record("caller", field::display(&caller.name));
                    request.extensions_mut().insert::<Caller>(caller);
                }
                Err(status) => return status.into_http(),
            }
        }
        match inner.call(request).await {
            Ok(response) => in_our_form(response),
            Err(never) => match never {},
        }
    }
}

/// Health and reflection say nothing of anybody's data.
fn is_open(path: &str) -> bool {
    path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.")
}

fn busy() -> Status {
    let message = "the server has as many calls under way as it takes; try again";
    Fault {
        retry: Retry::After(Duration::from_millis(250)),
        ..Fault::new(ErrorCode::Exhausted, "SERVER_BUSY", message)
    }
    .into_status()
}

fn too_slow(limit: Duration) -> Status {
    let message = format!(
        "the call took longer than the server's limit of {} s",
        limit.as_secs_f64()
    );
    Fault {
        retry: Retry::Now,
        ..Fault::new(ErrorCode::Timeout, "REQUEST_TIMED_OUT", message)
    }
    .into_status()
}

/// The code of an answer that has an error and nothing else.
fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|value| Code::from_bytes(value.as_bytes()))
}

/// What the transport says of a message that it cannot read, in the form of all other errors.
fn in_our_form(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    let said = || Status::from_header_map(headers).map_or_else(String::new, |s| s.message().into());
    match code_of(headers) {
        // fapo's own internal errors have details
        Some(Code::Internal) => unreadable(&said()).into_http(),
        Some(Code::OutOfRange) => too_large(&said()).into_http(),
        _ => response,
    }
}

fn unreadable(said: &str) -> Status {
    let message = format!("the request is no message of this method: {said}");
    Fault::new(ErrorCode::InvalidArgument, "REQUEST_UNREADABLE", message).into_status()
}

fn too_large(said: &str) -> Status {
    let message = format!("the request is larger than this server reads: {said}");
    Fault::new(ErrorCode::InvalidArgument, "REQUEST_TOO_LARGE", message).into_status()
}

/// The same for a stream of requests, whose messages are read by the service.
pub(crate) fn broken_stream(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        Code::Internal => unreadable(status.message()),
        Code::OutOfRange => too_large(status.message()),
        _ => status,
    }
}

/// A call under way: its span, and when it began.
pub(crate) struct Call {
    span: Span,
    service: String,
    method: String,
    began: Instant,
}

impl Call {
    fn begin(trace: &dyn TraceContext, request: &Request<Body>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let (service, method) = path.split_once('/').unwrap_or((path, ""));
        let span = tracing::info_span!(
            "rpc",
            otel.name = path,
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = field::Empty,
            caller = field::Empty,
        );
        let parent = request.headers().get("traceparent");
        if let Some(parent) = parent
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<TraceParent>().ok())
        {
            trace.adopt(&span, &parent);
        }
        Self {
            span,
            service: service.to_owned(),
            method: method.to_owned(),
            began: Instant::now(),
        }
    }

    /// Follows the answer to its end, where a stream's code is known.
    fn watch(
        self,
        response: Response<Body>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        if let Some(code) = code_of(response.headers()) {
            self.end(code);
            return response;
        }
        response.map(|body| Body::new(Watched::new(body, self, permit)))
    }

    /// Notes how it ended.
    pub(crate) fn end(self, code: Code) {
        self.span.record("rpc.grpc.status_code", code as i32);
        let seconds = self.began.elapsed().as_secs_f64();
        // what is not offered has no name of its own: figures would grow with every name that somebody makes up
        let (service, method) = match code {
            Code::Unimplemented => ("other", "other"),
            _ => (self.service.as_str(), self.method.as_str()),
        };
        let code = name_of(code);
        self.span.in_scope(|| {
            tracing::event!(
                target: "fapo::metrics",
                tracing::Level::INFO,
                monotonic_counter.fapo_rpc_total = 1u64,
                histogram.fapo_rpc_seconds = seconds,
                service,
                method,
                code,
            );
        });
    }

    /// The span that the rest of the answer is made in.
    pub(crate) const fn span(&self) -> &Span {
        &self.span
    }
}

/// A code as figures and the documentation of gRPC spell it: `NOT_FOUND` for `NotFound`.
fn name_of(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_as_in_the_documentation_of_grpc() {
        assert_eq!(name_of(Code::Ok), "OK");
        assert_eq!(name_of(Code::DeadlineExceeded), "DEADLINE_EXCEEDED");
    }
}
