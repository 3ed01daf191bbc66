//! From a connection to a request that is passed on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::answer::{Body, Refusal, bytes_answer, json_answer};
use super::forward::forward;
use super::rules::{Call, plan};
use super::session::{Session, closed};

/// How long a client may take to say what it wants.
const HEADER_WAIT: Duration = Duration::from_secs(30);
/// Connections at once; a client needs a few.
const MOST_CONNECTIONS: usize = 64;

/// Serves a session until it is cut off or, once it is closing, its last reply is written.
pub(super) async fn serve(listener: UnixListener, session: Arc<Session>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = session.closing.cancelled() => break,
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&session)));
                }
                // out of descriptors: those that end give some back
                Err(error) => {
                    tracing::warn!(%error, "a relay could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    // what is under way is still written to its client
    let rest = async { while connections.join_next().await.is_some() {} };
    session.cutting.run_until_cancelled(rest).await;
}

async fn connection(stream: UnixStream, session: Arc<Session>) {
    let served = Arc::clone(&session);
    let service = service_fn(move |request| {
        let session = Arc::clone(&served);
        async move { Ok::<_, Infallible>(answer(request, session).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // a client that breaks the protocol or goes away harms itself only
        _ = connection.as_mut() => return,
        () = session.closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, session: Arc<Session>) -> Response<Body> {
    match take(request, &session).await {
        Ok(response) => response,
        Err(refusal) => {
            session.refused(&refusal);
            refusal.answer()
        }
    }
}

async fn take(
    request: Request<Incoming>,
    session: &Arc<Session>,
) -> Result<Response<Body>, Refusal> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let call = match (&head.method, path) {
        (&Method::GET | &Method::HEAD, "/" | "/v1") => {
            return Ok(bytes_answer(StatusCode::OK, Bytes::new()));
        }
        (&Method::GET, "/v1/models") => return Ok(models(session.model())),
        (&Method::POST, path) => Call::of(session.endpoint.protocol, path),
        _ => None,
    };
    let call = call.ok_or_else(|| {
        Refusal::NotFound(format!(
            "{} {path} is not allowed in this session",
            head.method
        ))
    })?;
    if call.is_paid() {
        session.arrived();
    }
    let most = session.config.request_bytes;
    // a body that does not say how long it is may be of any length
    let expected = body
        .size_hint()
        .upper()
        .and_then(|bytes| bytes.try_into().ok());
    let expected = expected.map_or(most, |bytes: usize| bytes.min(most));
    let mut held = session.admit(call.is_paid(), expected).await?;
    let reading = session.readers.acquire().await.map_err(|_| closed())?;
    let bytes = match Limited::new(body, most).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Refusal::TooLarge(format!(
                "the request is larger than {most} bytes"
            )));
        }
        Err(_) => return Err(Refusal::Invalid("the request broke off".to_owned())),
    };
    let plan = plan(session, call, &bytes)?;
    drop((bytes, reading));
    held.keep(plan.body.len());
    let (reply, replied) = oneshot::channel();
    if !session.begin(forward(
        Arc::clone(session),
        (plan, held),
        head.headers,
        reply,
    )) {
        return Err(closed());
    }
    replied.await.unwrap_or_else(|_| Err(closed()))
}

/// The only model that there is to know of.
fn models(model: &str) -> Response<Body> {
    let entry = json!({
        "type": "model", "object": "model", "id": model, "display_name": model,
        "created_at": "1970-01-01T00:00:00Z", "created": 0, "owned_by": "relay",
    });
    let list = json!({
        "object": "list", "data": [entry], "has_more": false, "first_id": model, "last_id": model,
    });
    json_answer(StatusCode::OK, &list)
}
