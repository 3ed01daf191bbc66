//! An error on its way over the wire: everything of a port's error that the other side needs to make the same one again.
//!
//! It travels as a gRPC status with `google.rpc` details: `ErrorInfo` (reason, domain `fapo`, and the error's own fields as
//! metadata), `RetryInfo` where the same call can succeed later, `BadRequest` where a part of the request is wrong. The table
//! of codes below is the only place that maps them.

use std::collections::BTreeMap;
use std::time::Duration;

use fapo_domain::error::chain;
use fapo_domain::{Classified, ErrorCode, Retry};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::names::name;

/// The `domain` of every `ErrorInfo` that a fapo server sends.
const DOMAIN: &str = "fapo";
/// Details travel in a header, which clients accept up to 8 KiB or so; all of them together stay below.
const LONGEST_MESSAGE: usize = 1024;
/// One field of an error; what may be longer (a project's problems) bounds itself.
const LONGEST_FIELD: usize = 3072;

/// The reason of an answer that says nothing of its own: the connection broke, or nothing listens.
pub(crate) const UNREACHABLE: &str = "SERVER_UNREACHABLE";

/// What the gRPC code of an error is.
pub(crate) const fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::Forbidden => Code::PermissionDenied,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::AlreadyExists => Code::AlreadyExists,
        ErrorCode::Conflict => Code::Aborted,
        ErrorCode::FailedPrecondition => Code::FailedPrecondition,
        ErrorCode::Exhausted => Code::ResourceExhausted,
        ErrorCode::Timeout => Code::DeadlineExceeded,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::Internal => Code::Internal,
    }
}

/// The class of a gRPC code.
const fn error_code(code: Code) -> ErrorCode {
    match code {
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        Code::Unauthenticated => ErrorCode::Unauthenticated,
        Code::PermissionDenied => ErrorCode::Forbidden,
        Code::NotFound => ErrorCode::NotFound,
        Code::AlreadyExists => ErrorCode::AlreadyExists,
        Code::Aborted => ErrorCode::Conflict,
        // an answer that is larger than this side reads, a service that the server does not have
        Code::FailedPrecondition | Code::OutOfRange | Code::Unimplemented => {
            ErrorCode::FailedPrecondition
        }
        Code::ResourceExhausted => ErrorCode::Exhausted,
        Code::DeadlineExceeded | Code::Cancelled => ErrorCode::Timeout,
        Code::Ok | Code::Unavailable | Code::Unknown => ErrorCode::Unavailable,
        Code::Internal | Code::DataLoss => ErrorCode::Internal,
    }
}

/// An error as it travels.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// The class.
    pub(crate) code: ErrorCode,
    /// The stable name.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
    /// Whether the same call can succeed.
    pub(crate) retry: Retry,
    /// The error's own fields.
    pub(crate) fields: BTreeMap<String, String>,
    /// What is wrong with the request: field and message.
    pub(crate) violation: Option<(String, String)>,
    /// Who answered, or was to; known on the client's side only.
    pub(crate) server: String,
}

/// What a server said, as the cause of an error that was made again from it.
#[derive(Debug, thiserror::Error)]
#[error("{server}: {message}")]
pub(crate) struct Said {
    server: String,
    message: String,
}

/// A port's error that can travel.
pub(crate) trait Travels: Classified + Sized + 'static {
    /// Its own fields, by name, for the other side to make it again.
    fn fields(&self) -> Vec<(&'static str, String)>;

    /// Which part of the request is wrong, and how, where it is that.
    fn violation(&self) -> Option<(String, String)> {
        None
    }

    /// The error that became `fault`; of an unknown reason, the nearest by its code.
    fn arrived(fault: Fault) -> Self;
}

impl Fault {
    /// A fault without fields.
    pub(crate) fn new(code: ErrorCode, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            retry: Retry::Never,
            fields: BTreeMap::new(),
            violation: None,
            server: String::new(),
        }
    }

    /// A port's error, as a client is to see it. What is the server's own affair (a bug, a damaged store, a database that is
    /// down) is logged here with all its causes, and the client gets what it can act on.
    pub(crate) fn of<E: Travels>(error: &E) -> Self {
        let mut fault = Self {
            retry: error.retry(),
            fields: error
                .fields()
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            violation: error.violation(),
            ..Self::new(error.code(), error.reason(), error.to_string())
        };
        match fault.code {
            ErrorCode::Internal => {
                let id = error_id();
                let causes = chain(error);
                tracing::error!(error.id = %id, error.reason = fault.reason, "{causes}");
                fault.message = format!("an internal error; the server's log has it as {id}");
                fault.fields.insert("error_id".to_owned(), id);
            }
            ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::FailedPrecondition => {
                if error.source().is_some() {
                    tracing::warn!(error.reason = fault.reason, "{}", chain(error));
                }
            }
            ErrorCode::InvalidArgument
            | ErrorCode::Unauthenticated
            | ErrorCode::Forbidden
            | ErrorCode::NotFound
            | ErrorCode::AlreadyExists
            | ErrorCode::Conflict
            | ErrorCode::Exhausted => fault.message = chain(error),
        }
        fault
    }

    /// As a status.
    pub(crate) fn into_status(self) -> Status {
        let mut details = ErrorDetails::new();
        let fields: std::collections::HashMap<String, String> = self
            .fields
            .into_iter()
            .map(|(key, value)| (key, cut(&value, LONGEST_FIELD).to_owned()))
            .collect();
        details.set_error_info(self.reason, DOMAIN, fields);
        match self.retry {
            Retry::Never => {}
            Retry::Now => {
                details.set_retry_info(Some(Duration::ZERO));
            }
            Retry::After(wait) => {
                details.set_retry_info(Some(wait));
            }
        }
        if let Some((field, message)) = self.violation {
            let message = cut(&message, LONGEST_MESSAGE).to_owned();
            details.add_bad_request_violation(cut(&field, LONGEST_MESSAGE), message);
        }
        let message = cut(&self.message, LONGEST_MESSAGE);
        Status::with_error_details(grpc_code(self.code), message, details)
    }

    /// What a status says. One without `ErrorInfo` is none of ours: of a broken connection, or of a proxy.
    pub(crate) fn read(status: &Status, server: &str) -> Self {
        let details = status.get_error_details();
        let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) else {
            return Self::foreign(status, server);
        };
        Self {
            code: error_code(status.code()),
            reason: info.reason.clone(),
            message: status.message().to_owned(),
            retry: match details.retry_info().and_then(|info| info.retry_delay) {
                None => Retry::Never,
                Some(Duration::ZERO) => Retry::Now,
                Some(wait) => Retry::After(wait),
            },
            fields: info
                .metadata
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            violation: details
                .bad_request()
                .and_then(|bad| bad.field_violations.first())
                .map(|violation| (violation.field.clone(), violation.description.clone())),
            server: server.to_owned(),
        }
    }

    fn foreign(status: &Status, server: &str) -> Self {
        let message = match std::error::Error::source(status) {
            Some(cause) => format!("{}: {}", status.message(), chain(cause)),
            None => status.message().to_owned(),
        };
        let code = match error_code(status.code()) {
            // fapo's own internal errors have details: this is a connection that broke in the middle
            ErrorCode::Internal => ErrorCode::Unavailable,
            code => code,
        };
        let retry = match code {
            ErrorCode::Unavailable | ErrorCode::Exhausted => {
                Retry::After(Duration::from_millis(500))
            }
            ErrorCode::Timeout => Retry::Now,
            _ => Retry::Never,
        };
        Self {
            retry,
            server: server.to_owned(),
            ..Self::new(code, UNREACHABLE, message)
        }
    }

    /// Whether nothing of fapo answered.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.reason == UNREACHABLE
    }

    /// Takes a field; empty where it is absent.
    pub(crate) fn take(&mut self, field: &str) -> String {
        self.fields.remove(field).unwrap_or_default()
    }

    /// Takes a field that is a fixed name in the program.
    pub(crate) fn take_name(&mut self, field: &str) -> &'static str {
        name(&self.take(field))
    }

    /// Itself as the cause of another error.
    pub(crate) fn said(self) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(Said {
            server: self.server,
            message: self.message,
        })
    }
}

/// At most so many bytes, cut between characters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A port's error as a status.
pub(crate) fn status<E: Travels>(error: &E) -> Status {
    Fault::of(error).into_status()
}

/// A name for one occurrence of an error. Unique enough to be found in a log: the standard library's random keys, over a
/// counter.
fn error_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", KEYS.hash_one(number))
}

/// An answer that breaks a rule of its message: the server is of another version, or none of ours.
pub(crate) fn unreadable_answer(invalid: crate::read::Invalid, server: &str) -> Fault {
    let wrong = Fault::from(invalid);
    Fault {
        server: server.to_owned(),
        ..Fault::new(
            ErrorCode::Internal,
            "ANSWER_UNREADABLE",
            format!("the answer of {server} cannot be read: {}", wrong.message),
        )
    }
}
