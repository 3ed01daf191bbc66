//! Bodies of requests: their media type, their size, their JSON.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use crate::problem::{Problem, ProblemPart};

/// The media type that a body must have.
pub(crate) const JSON: &str = "application/json";
/// The media type of raw bytes.
pub(crate) const BYTES: &str = "application/octet-stream";

/// Holds `Content-Type` against what the route reads; parameters such as `charset` do not matter.
pub(crate) fn check_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if given.is_some_and(|given| given.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "MEDIA_TYPE_UNSUPPORTED",
        format!("send the body as `Content-Type: {wanted}`"),
    ))
}

/// Reads a body of at most `limit` bytes. One that says beforehand that it is larger is not read at all.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "REQUEST_TOO_LARGE",
            format!("the body may have {limit} bytes at most"),
        )
    };
    let said = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if said.is_some_and(|said| said > limit as u64) {
        return Err(too_large());
    }
    let mut read = Vec::with_capacity(usize::try_from(said.unwrap_or(0)).unwrap_or(0));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            Problem::invalid_field(
                "body",
                "broke off: the connection was lost, or its framing is wrong",
            )
        })?;
        if read.len() + chunk.len() > limit {
            return Err(too_large());
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

/// Reads JSON as `T`. What does not fit is named by its path in the body.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "body".to_owned() } else { path };
        Problem::invalid(vec![ProblemPart::new(
            field,
            error.into_inner().to_string(),
        )])
    })?;
    reader
        .end()
        .map_err(|error| Problem::invalid_field("body", error.to_string()))?;
    Ok(value)
}
