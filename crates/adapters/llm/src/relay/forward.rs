//! One request's way to the provider and back.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fapo_domain::money::{MicroUsd, Spend};
use futures::stream::{self, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::{HeaderMap, Response};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::answer::{Body, Refusal, bytes_answer};
use super::count::{Count, Used};
use super::rules::{Plan, betas};
use super::session::{End, Held, Session};
use crate::endpoint::{Endpoint, chain};
use crate::wire::complaint;

/// What of the client's headers is passed on. Never a key.
const TO_PROVIDER: &[&str] = &[
    "accept",
    "anthropic-version",
    "openai-beta",
    "originator",
    "user-agent",
    "x-app",
    "x-claude-code-session-id",
];
/// The header that asks for what is not in the protocol yet; some of it is passed on.
const BETA: &str = "anthropic-beta";
/// What of the provider's headers is passed on. Nothing that names the account.
const TO_CLIENT: &[&str] = &[
    "content-type",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
];
/// Largest error that is passed on.
const MOST_ERROR: usize = 64 * 1024;
/// Pieces of a reply that wait for a slow client.
const PIECES: usize = 16;

type Reply = Result<Response<Body>, Refusal>;

/// Reserves, passes on, and settles, whatever becomes of the client.
pub(super) async fn forward(
    session: Arc<Session>,
    (plan, _held): (Plan, Held),
    headers: HeaderMap,
    mut reply: oneshot::Sender<Reply>,
) {
    if !plan.call.is_paid() {
        let exchange = exchange(&session, plan, &headers, reply);
        if let Some((_, last)) = session.cutting.run_until_cancelled(exchange).await {
            last.say().await;
        }
        return;
    }
    if let Err(refusal) = session.reserve(plan.worst, reply.closed()).await {
        // nobody is there to be told when this fails
        let _ = reply.send(Err(refusal));
        return;
    }
    let worst = plan.worst;
    let (end, last) = if reply.is_closed() {
        (End::Free, Last::Nothing)
    } else {
        let span = session.span();
        let exchange = exchange(&session, plan, &headers, reply).instrument(span.clone());
        let ended = session.cutting.run_until_cancelled(exchange).await;
        let (end, last) = ended.unwrap_or((End::Lost, Last::Nothing));
        session.ended(&span, end);
        (end, last)
    };
    session.settle(worst, end).await;
    session.cutting.run_until_cancelled(last.say()).await;
}

/// The last that a client hears of its request: said after the request is settled, so that the room which it gave back is there
/// for the client's next one.
enum Last {
    Nothing,
    Reply(oneshot::Sender<Reply>, Reply),
    End(mpsc::Sender<Piece>),
}

impl Last {
    /// Nobody may be there to be told.
    async fn say(self) {
        match self {
            Self::Nothing => {}
            Self::Reply(to, reply) => drop(to.send(reply)),
            Self::End(to) => drop(to.send(Piece::End).await),
        }
    }
}

/// Sends a request, passes the reply back, and says how it ended.
async fn exchange(
    session: &Session,
    plan: Plan,
    headers: &HeaderMap,
    mut reply: oneshot::Sender<Reply>,
) -> (End, Last) {
    let endpoint = &session.endpoint;
    // what is free to ask fails nobody's session
    let failed = |message: &str| {
        if plan.call.is_paid() {
            session.failed(message);
        }
    };
    let waiting = plan.call.is_paid().then(|| session.waits());
    let mut request = endpoint.post(plan.call.path(), plan.body);
    for name in TO_PROVIDER {
        if let Some(value) = headers.get(*name) {
            request = request.header(*name, value);
        }
    }
    let asked = headers.get_all(BETA).iter();
    if let Some(betas) = betas(asked.filter_map(|value| value.to_str().ok())) {
        request = request.header(BETA, betas);
    }
    let sending = tokio::time::timeout(session.config.silence, request.send());
    let mut sending = std::pin::pin!(sending);
    let sent = tokio::select! {
        sent = sending.as_mut() => sent.ok(),
        // The provider may be at work already; what it has to say of its use is waited for.
        () = reply.closed() => match tokio::time::timeout(session.config.drain, sending).await {
            Ok(sent) => sent.ok(),
            Err(_) => None,
        },
    };
    let response = match sent {
        Some(Ok(response)) => response,
        Some(Err(error)) => {
            // Surely not sent where there is no connection. One that broke may have broken while the provider was at work.
            let end = if error.is_connect() {
                End::Free
            } else {
                End::Lost
            };
            let message = format!("{} cannot be reached: {}", endpoint.host, chain(error));
            failed(&message);
            let refusal = Refusal::Unavailable(endpoint.scrub(&message));
            return (end, Last::Reply(reply, Err(refusal)));
        }
        None => {
            let message = silent(session);
            failed(&message);
            let refusal = Refusal::Unavailable(message);
            return (End::Lost, Last::Reply(reply, Err(refusal)));
        }
    };
    drop(waiting);
    let status = response.status();
    let passed = passed(response.headers(), endpoint);
    if !status.is_success() {
        // An error costs nothing, and is short.
        let reading = Endpoint::read(response, MOST_ERROR);
        let body = match tokio::time::timeout(session.config.drain, reading).await {
            Ok(Ok((body, _))) => body,
            // the status alone says enough
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        let said = complaint(&body).message;
        // a request that was wrong is its sender's failure
        if !matches!(status.as_u16(), 400 | 413 | 422) {
            failed(&format!(
                "{} answered with status {}: {said}",
                endpoint.host,
                status.as_u16()
            ));
        }
        let body = match std::str::from_utf8(&body) {
            Ok(text) => Bytes::from(endpoint.scrub(text)),
            Err(_) => Bytes::new(),
        };
        let mut answer = bytes_answer(status, body);
        *answer.headers_mut() = passed;
        return (End::Free, Last::Reply(reply, Ok(answer)));
    }
    let events = passed
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    let count = Count::new(endpoint.protocol, events);
    let (pieces, received) = mpsc::channel(PIECES);
    let mut answer = Response::new(body(received));
    *answer.status_mut() = status;
    *answer.headers_mut() = passed;
    // a client that is gone is noticed at the first piece
    let _ = reply.send(Ok(answer));
    let (used, last) = pass(session, response, count, pieces).await;
    let end = match used {
        Some(used) => End::Paid(Spend {
            cost: plan.price.map_or(MicroUsd::ZERO, |price| used.cost(&price)),
            model_calls: 1,
            usage: used.usage,
        }),
        None => End::Lost,
    };
    (end, last)
}

/// Passes a reply's body on as it comes, and counts it; a while longer where the client goes away.
async fn pass(
    session: &Session,
    mut response: reqwest::Response,
    mut count: Count,
    pieces: mpsc::Sender<Piece>,
) -> (Option<Used>, Last) {
    let mut total = 0_usize;
    let mut gone = None;
    let whole = loop {
        let next = tokio::select! {
            next = tokio::time::timeout(session.config.silence, response.chunk()) => next,
            () = pieces.closed(), if gone.is_none() => {
                gone = Some(tokio::time::Instant::now() + session.config.drain);
                continue;
            }
            () = until(gone) => break false,
        };
        let piece = match next {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => break true,
            Err(_) => {
                session.failed(&silent(session));
                break false;
            }
            Ok(Err(error)) => {
                let host = &session.endpoint.host;
                session.failed(&format!("the reply of {host} broke off: {}", chain(error)));
                break false;
            }
        };
        total += piece.len();
        if total > session.config.reply_bytes {
            session.failed(&format!(
                "the reply of {} is larger than {} bytes",
                session.endpoint.host, session.config.reply_bytes
            ));
            break false;
        }
        count.add(&piece);
        if gone.is_none() {
            // fails where the client is gone, which the next turn notices
            let _ = pieces.send(Piece::Bytes(piece)).await;
        }
    };
    let last = if whole {
        Last::End(pieces)
    } else {
        Last::Nothing
    };
    (count.used(whole), last)
}

fn silent(session: &Session) -> String {
    format!(
        "{} did not answer, or stopped in the middle of an answer",
        session.endpoint.host
    )
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A part of a reply on its way to the client.
enum Piece {
    Bytes(Bytes),
    /// That was all. A reply without it broke off, and the client is to see that.
    End,
}

fn body(received: mpsc::Receiver<Piece>) -> Body {
    let frames = stream::unfold(Some(received), |received| async {
        let mut received = received?;
        match received.recv().await {
            Some(Piece::Bytes(piece)) => Some((Ok(Frame::data(piece)), Some(received))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the reply broke off")), None)),
        }
    });
    StreamBody::new(frames.boxed())
}

fn passed(headers: &HeaderMap, endpoint: &Endpoint) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in TO_CLIENT {
        let Some(value) = headers.get(*name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        if let Ok(value) = HeaderValue::from_str(&endpoint.scrub(value)) {
            passed.insert(HeaderName::from_static(name), value);
        }
    }
    passed
}
