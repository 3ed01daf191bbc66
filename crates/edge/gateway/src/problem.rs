//! What goes wrong, in the one shape in which a client hears of it (RFC 9457, `application/problem+json`).

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fapo_domain::error::{Classified, ErrorCode, Retry, chain};
use fapo_domain::model::access::AccessError;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::OptimizerError;
use rand::TryRng as _;
use rand::rngs::SysRng;
use schemars::JsonSchema;
use serde::Serialize;

/// Parts of a request that are named at most; the rest would not be read.
const MAX_ERRORS: usize = 100;
/// What a client hears of a fault of the server.
const INTERNAL: &str = "a fault of the server; its log has the cause under this error id";

/// What went wrong. In a box, because every function of the crate can fail with it and few do.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem(Box<ProblemView>);

impl Deref for Problem {
    type Target = ProblemView;
    fn deref(&self) -> &ProblemView {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut ProblemView {
        &mut self.0
    }
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemView {
    /// The reason: a stable upper-case name. `docs/errors/<type>.md` explains it.
    #[serde(rename = "type")]
    pub reason: Cow<'static, str>,
    /// The class of the failure, in words.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
    /// The parts of the request, or of the project, that are to be changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemPart>,
    /// After how many milliseconds the same request may succeed; absent where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Under which id the server's log has the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_id: Option<String>,
    /// Methods that the path has, for the header `Allow`.
    #[serde(skip)]
    pub allow: Option<String>,
}

/// A part of a request, or of the project that it brings, that is to be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ProblemPart {
    /// The parameter, the header or the path in the body; for a project the key path in `file`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The project's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column in the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// Which rule of the project format it breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl ProblemPart {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            ..Self::default()
        }
    }
}

/// The table: what a class of failure is in HTTP.
pub(crate) const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::AlreadyExists | ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::FailedPrecondition => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The words that go with a status.
pub(crate) const fn title_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "The request is not right",
        401 => "A valid token is needed",
        403 => "The token does not allow this",
        404 => "There is no such thing",
        405 => "The path has no such method",
        409 => "Something else is there already",
        413 => "The body is too large",
        415 => "The body is of another media type",
        422 => "This cannot be done as things stand",
        429 => "Too much was asked for",
        503 => "The server cannot answer now",
        504 => "It took too long",
        _ => "The server failed",
    }
}

impl Problem {
    /// A problem of the gateway's own.
    pub(crate) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemView {
            reason: Cow::Borrowed(reason),
            title: Cow::Borrowed(title_of(status)),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_ms: None,
            error_id: None,
            allow: None,
        }))
    }

    /// The same, which may be tried again after `wait`.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Parts of the request that are not right; there is at least one.
    pub(crate) fn invalid(errors: Vec<ProblemPart>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("`{}`: {}", one.field, one.message),
            many => format!("{} parts of the request are not right", many.len()),
        };
        Self::new(StatusCode::BAD_REQUEST, "REQUEST_INVALID", detail).with_errors(errors)
    }

    /// One part of the request that is not right.
    pub(crate) fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![ProblemPart::new(field, message)])
    }

    /// There is no such thing, or it is another project's.
    pub(crate) fn not_found(kind: &str, id: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            format!("{kind} {id} does not exist"),
        )
    }

    /// A fault of the server, logged here with its chain.
    pub(crate) fn internal(reason: &str, cause: &str) -> Self {
        let id = error_id();
        tracing::error!(error.id = %id, reason, error = cause, "a request failed");
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", INTERNAL);
        problem.error_id = Some(id);
        problem
    }

    fn with_errors(mut self, mut errors: Vec<ProblemPart>) -> Self {
        errors.truncate(MAX_ERRORS);
        self.errors = errors;
        self
    }

    /// What a port's error says to a client. Faults of the server are logged here, once, with their chain.
    fn of(error: &(impl Classified + 'static), detail: String) -> Self {
        // a full disk is no state that a client could mend, whatever its class says to a worker
        let internal =
            error.code() == ErrorCode::Internal || error.reason() == StoreError::UNWRITABLE;
        if internal {
            return Self::internal(error.reason(), &chain(error));
        }
        let status = status_of(error.code());
        if error.code() == ErrorCode::Unavailable {
            tracing::warn!(reason = error.reason(), error = %chain(error), "a request cannot be answered now");
        }
        let mut problem = Self::new(status, error.reason(), detail);
        match error.retry() {
            Retry::Never => {}
            Retry::Now => problem.retry_after_ms = Some(0),
            Retry::After(wait) => problem = problem.retry_after(wait),
        }
        problem
    }
}

/// 64 random bits, to find a line of the log by.
fn error_id() -> String {
    let mut bytes = [0u8; 8];
    match SysRng.try_fill_bytes(&mut bytes) {
        Ok(()) => hex::encode(bytes),
        Err(_) => "unknown".to_owned(),
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        Self::of(&error, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::of(&error, error.to_string())
    }
}

impl From<OptimizerError> for Problem {
    fn from(error: OptimizerError) -> Self {
        match error {
            // the wrapper says what could not be done, the store's own words say why
            OptimizerError::Access(error) => error.into(),
            OptimizerError::Store(error) => error.into(),
            OptimizerError::Invalid {
                ref field,
                ref message,
            } => Self::of(&error, error.to_string())
                .with_errors(vec![ProblemPart::new(field, message)]),
            OptimizerError::Project(ref problems) => {
                let parts = problems.iter().map(|problem| ProblemPart {
                    field: problem.path.clone().unwrap_or_default(),
                    message: problem.message.clone(),
                    help: problem.help.clone(),
                    file: Some(problem.file.clone()),
                    line: problem.line,
                    column: problem.column,
                    rule: Some(problem.rule.to_string()),
                });
                Self::of(&error, error.to_string()).with_errors(parts.collect())
            }
            OptimizerError::MissingBlobs { ref missing } => {
                let parts = missing
                    .iter()
                    .map(|hash| ProblemPart::new("files", format!("{hash} was not uploaded")));
                Self::of(&error, error.to_string()).with_errors(parts.collect())
            }
            OptimizerError::RequestReused { .. } => Self::of(&error, error.to_string())
                .with_errors(vec![ProblemPart::new(
                    "request_id",
                    "was used for another request",
                )]),
            OptimizerError::NotFound { .. }
            | OptimizerError::State { .. }
            | OptimizerError::Models { .. }
            | OptimizerError::Queue(_)
            | OptimizerError::Unreachable { .. }
            | OptimizerError::Internal { .. } => Self::of(&error, error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after_ms {
            // whole seconds, and never a zero that would have a client come again in a loop
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.div_ceil(1000).max(1)),
            );
        }
        let challenge = match (status, &*self.reason) {
            (StatusCode::UNAUTHORIZED, "TOKEN_MISSING") => Some("Bearer realm=\"fapo\""),
            (StatusCode::UNAUTHORIZED, _) => Some("Bearer realm=\"fapo\", error=\"invalid_token\""),
            (StatusCode::FORBIDDEN, _) => {
                Some("Bearer realm=\"fapo\", error=\"insufficient_scope\"")
            }
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        if let Some(allow) = self
            .0
            .allow
            .and_then(|allow| HeaderValue::try_from(allow).ok())
        {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}
