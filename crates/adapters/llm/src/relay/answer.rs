//! What the relay answers by itself.

use std::io;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// The body of every reply.
pub(super) type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

/// Why a request is not passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not what the protocol asks for, or asks for what is not allowed here.
    Invalid(String),
    /// No such path.
    NotFound(String),
    /// Larger than the bound.
    TooLarge(String),
    /// It cannot be paid for.
    Money(String),
    /// It costs nothing, and there were enough of its kind.
    TooMany(String),
    /// It is over, or its money cannot be counted: later, elsewhere.
    Unavailable(String),
}

impl Refusal {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Invalid(message)
            | Self::NotFound(message)
            | Self::TooLarge(message)
            | Self::Money(message)
            | Self::TooMany(message)
            | Self::Unavailable(message) => message,
        }
    }

    /// The error as the provider would put it; its fields serve both protocols.
    pub(super) fn answer(&self) -> Response<Body> {
        let (status, kind) = match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request_error"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found_error"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            // The one status that no client tries again, and that none takes for a wrong key.
            Self::Money(_) => (StatusCode::PAYMENT_REQUIRED, "billing_error"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "api_error"),
        };
        let mut response = json_answer(status, &error(kind, self.message()));
        if !matches!(self, Self::Unavailable(_)) {
            let never = HeaderValue::from_static("false");
            response.headers_mut().insert("x-should-retry", never);
        }
        response
    }
}

/// An error's body.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "code": kind, "message": message}})
}

pub(super) fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = bytes_answer(status, Bytes::from(value.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

pub(super) fn bytes_answer(status: StatusCode, bytes: Bytes) -> Response<Body> {
    let frames = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(stream::iter(frames).boxed()));
    *response.status_mut() = status;
    response
}
