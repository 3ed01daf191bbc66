//! From a connection to replies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::State;
use super::line::Line;
use crate::messages::script::{Move, What};
use crate::messages::wire;
use crate::messages::{Gate, Outcome, Request};

type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

/// Serves until it is dropped, connections included.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    // what is slow is said to be slow
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(stream, Arc::clone(&state)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, state: Arc<State>) {
    let (line, reset) = Line::new(stream);
    let service = service_fn(move |request| {
        let (state, reset) = (Arc::clone(&state), Arc::clone(&reset));
        async move { answer(request, &state, &reset).await }
    });
    // a client that goes away is no fault of the endpoint
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(line), service)
        .await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    state: &Arc<State>,
    reset: &AtomicBool,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let received = Request {
        number: 0,
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        conversation: None,
        overrun: false,
        outcome: AtomicU8::new(0),
    };
    let (request, said) = state.receive(received);
    let ending = Ending {
        state: Arc::clone(state),
        request: Arc::clone(&request),
        outcome: Outcome::Abandoned,
    };
    let mut said = match said {
        Some(said) => said,
        None if request.is_message() => Move::text("ok"),
        None => return Ok(aside(&head.method, head.uri.path(), &bytes, ending)),
    };
    while let What::React(react) = &said.what {
        said = react(&request);
    }
    play(said, &request, ending, reset).await
}

/// What is asked besides messages.
fn aside(method: &Method, path: &str, body: &[u8], ending: Ending) -> Response<Body> {
    let (status, value) = match (method.as_str(), path) {
        ("HEAD" | "GET", "/" | "/v1") => (StatusCode::OK, Value::Null),
        ("POST", "/v1/messages/count_tokens") => {
            (StatusCode::OK, json!({"input_tokens": body.len() / 4}))
        }
        ("GET", "/v1/models") => (
            StatusCode::OK,
            json!({"data": [], "has_more": false, "first_id": null, "last_id": null}),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            wire::error("not_found_error", "the scripted endpoint has no such path"),
        ),
    };
    let text = match value {
        Value::Null => String::new(),
        value => value.to_string(),
    };
    whole(status, text, ending)
}

async fn play(
    said: Move,
    request: &Request,
    ending: Ending,
    reset: &AtomicBool,
) -> io::Result<Response<Body>> {
    if let Some(gate) = &said.slow {
        gate.pass().await;
    }
    let (model, number) = (request.model(), request.number);
    let streamed = request.body["stream"] == true;
    let slow = said.slow.clone();
    Ok(match &said.what {
        What::Say(blocks) if !streamed => {
            let reply = wire::whole(&said, blocks, model, number);
            whole(StatusCode::OK, reply.to_string(), ending)
        }
        What::Say(blocks) => {
            let events = wire::events(&said, blocks, model, number);
            stream_of(texts(&events), slow, End::Proper, ending)
        }
        What::Cut { blocks, events } => {
            let mut all = texts(&wire::events(&said, blocks, model, number));
            if !streamed {
                let mut reply = wire::whole(&said, blocks, model, number).to_string();
                reply.truncate(reply.floor_char_boundary(reply.len() / 2));
                all = vec![reply];
            }
            all.truncate(*events);
            stream_of(all, slow, End::Lost, ending)
        }
        What::Broken => {
            let first = wire::event(&wire::start(&said, model, number));
            let second = "event: content_block_start\ndata: {\"type\": \"content_bl\n\n".to_owned();
            stream_of(vec![first, second], slow, End::Proper, ending)
        }
        What::Endless => {
            let first = wire::event(&wire::start(&said, model, number));
            let second = wire::event(&json!({
                "type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""},
            }));
            stream_of(vec![first, second], slow, End::Never, ending)
        }
        What::Status {
            status,
            kind,
            message,
            retry_after,
        } => {
            let status = StatusCode::from_u16(*status).map_err(io::Error::other)?;
            let mut response = whole(status, wire::error(kind, message).to_string(), ending);
            if let Some(seconds) = retry_after {
                let value = HeaderValue::from_str(seconds).map_err(io::Error::other)?;
                response.headers_mut().insert(RETRY_AFTER, value);
            }
            response
        }
        What::Reset => {
            reset.store(true, Ordering::SeqCst);
            ending.written();
            return Err(io::Error::other("the script resets the connection"));
        }
        // reacting ends with a move of another kind before this
        What::React(_) => whole(StatusCode::OK, String::new(), ending),
    })
}

fn texts(events: &[Value]) -> Vec<String> {
    events.iter().map(wire::event).collect()
}

/// How a stream ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Proper,
    Lost,
    Never,
}

fn stream_of(events: Vec<String>, slow: Option<Gate>, end: End, ending: Ending) -> Response<Body> {
    let state = (events.into_iter(), slow, Some(ending));
    let stream = stream::unfold(state, move |(mut events, slow, mut ending)| async move {
        ending.as_ref()?;
        // lets what was said before be written, and other connections be served
        tokio::task::yield_now().await;
        let next = match (events.next(), end) {
            (Some(event), _) => Some(event),
            (None, End::Never) => Some(wire::event(&json!({
                "type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": "and so on, "},
            }))),
            (None, End::Proper | End::Lost) => None,
        };
        let Some(event) = next else {
            if let Some(ending) = ending.take() {
                ending.written();
            }
            if end == End::Proper {
                return None;
            }
            let lost = io::Error::other("the script cuts the connection");
            return Some((Err(lost), (events, slow, None)));
        };
        if let Some(gate) = &slow {
            gate.pass().await;
        }
        Some((Ok(Frame::data(Bytes::from(event))), (events, slow, ending)))
    });
    let mut response = Response::new(StreamBody::new(stream.boxed()));
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    label(response)
}

fn whole(status: StatusCode, text: String, ending: Ending) -> Response<Body> {
    ending.written();
    let frames = (!text.is_empty()).then(|| Ok(Frame::data(Bytes::from(text))));
    let mut response = Response::new(StreamBody::new(stream::iter(frames).boxed()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    label(response)
}

fn label(mut response: Response<Body>) -> Response<Body> {
    let id = HeaderValue::from_static("req_scripted");
    response.headers_mut().insert("request-id", id);
    response
}

/// Notes what became of a reply, when it is dropped.
struct Ending {
    state: Arc<State>,
    request: Arc<Request>,
    outcome: Outcome,
}

impl Ending {
    fn written(mut self) {
        self.outcome = Outcome::Written;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.state.ended(&self.request, self.outcome);
    }
}
