//! Problems in the document: one response for each status, with an example.

use axum::http::StatusCode;
use schemars::Schema;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::problem::title_of;

/// The statuses that problems have.
pub(super) const STATUSES: [u16; 13] = [
    400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503, 504,
];

pub(super) fn problem_name(status: u16) -> String {
    format!("Problem{status}")
}

pub(super) fn problem_reference(status: u16) -> Json {
    json!({"$ref": format!("#/components/responses/{}", problem_name(status))})
}

/// An example of a problem, for the document's readers.
#[derive(Serialize)]
struct Example<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

pub(super) fn problem_response(status: u16, schema: &Schema) -> Json {
    let (reason, detail) = match status {
        400 => (
            "REQUEST_INVALID",
            "`limit`: a whole number from 1 to 100 is needed",
        ),
        401 => ("TOKEN_INVALID", "the token is not valid"),
        403 => (
            "ACCESS_FORBIDDEN",
            "the token \"ci\" is a viewer's; this needs submitter",
        ),
        404 => (
            "NOT_FOUND",
            "job 019a2b3c-4d5e-7f00-8a1b-2c3d4e5f6071 does not exist",
        ),
        405 => ("METHOD_NOT_ALLOWED", "the path has GET"),
        409 => (
            "REQUEST_ID_REUSED",
            "the request id \"nightly\" was used for another request",
        ),
        413 => (
            "REQUEST_TOO_LARGE",
            "the body may have 4194304 bytes at most",
        ),
        415 => (
            "MEDIA_TYPE_UNSUPPORTED",
            "send the body as `Content-Type: application/json`",
        ),
        422 => ("PROJECT_INVALID", "the project has problems"),
        429 => (
            "RATE_LIMITED",
            "too many requests: wait as long as Retry-After says",
        ),
        503 => (
            "STORE_UNAVAILABLE",
            "the store is unavailable while trying to read a job",
        ),
        504 => ("REQUEST_TIMED_OUT", "the request took longer than 30 s"),
        _ => (
            "INTERNAL",
            "a fault of the server; its log has the cause under this error id",
        ),
    };
    let title = StatusCode::from_u16(status).map_or("", title_of);
    let example = Example {
        r#type: reason,
        title,
        status,
        detail,
    };
    let mut response = json!({
        "description": format!("{title}."),
        "content": {"application/problem+json": {"schema": schema, "example": example}},
    });
    let header = |about: &str, schema: Json| json!({"description": about, "schema": schema, "required": true});
    match status {
        401 | 403 => {
            response["headers"] =
                json!({"WWW-Authenticate": header("What is needed.", json!({"type": "string"}))});
        }
        405 => {
            response["headers"] =
                json!({"Allow": header("The path's methods.", json!({"type": "string"}))});
        }
        429 | 503 | 504 => {
            let seconds = json!({"type": "integer", "minimum": 1});
            let mut header = header("After how many seconds to come again.", seconds);
            header["required"] = json!(false);
            response["headers"] = json!({"Retry-After": header});
        }
        _ => {}
    }
    response
}
