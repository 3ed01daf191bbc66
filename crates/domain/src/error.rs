//! The classes every port error falls into, so that callers decide once what to do with a failure.

use std::time::Duration;

/// What kind of failure an error is; maps one to one to gRPC and HTTP status codes at the edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The caller sent something invalid and must change it.
    InvalidArgument,
    /// No valid credential was given.
    Unauthenticated,
    /// The credential does not allow this.
    Forbidden,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists with other content.
    AlreadyExists,
    /// A lease epoch or a version is stale: somebody else owns the work now.
    Conflict,
    /// The system is not in a state in which this can be done.
    FailedPrecondition,
    /// A rate, a budget or a queue is used up.
    Exhausted,
    /// It took too long.
    Timeout,
    /// The other side cannot be reached or is overloaded.
    Unavailable,
    /// A bug or a broken invariant on our side.
    Internal,
}

/// Whether, and when, the same call can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// The same call may succeed at once.
    Now,
    /// The same call may succeed after at least this long.
    After(Duration),
}

/// Implemented by every port error.
pub trait Classified: std::error::Error {
    /// The class of the failure.
    fn code(&self) -> ErrorCode;
    /// Whether a retry can help.
    fn retry(&self) -> Retry;
    /// A stable upper-case name, such as `LEASE_STALE`; `docs/errors/<REASON>.md` explains those a person meets.
    fn reason(&self) -> &'static str;
}

/// Renders an error with its whole source chain, outermost first, joined by `: `.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
