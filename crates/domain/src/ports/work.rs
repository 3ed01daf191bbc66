//! What a service does with a claimed task. The worker loop around it claims, renews, completes and retries.

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::error::{Classified, ErrorCode, Retry};
use crate::model::task::{ClaimedTask, Topic};

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct WorkError {
    /// What failed, for people.
    pub message: String,
    /// The class.
    pub code: ErrorCode,
    /// Whether trying again can help.
    pub retry: Retry,
    /// The stable name.
    pub reason: &'static str,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl WorkError {
    /// Wraps a port's error, keeping its class.
    pub fn from_port<E>(message: impl Into<String>, error: E) -> Self
    where
        E: Classified + Send + Sync + 'static,
    {
        Self {
            message: message.into(),
            code: error.code(),
            retry: error.retry(),
            reason: error.reason(),
            source: Some(Box::new(error)),
        }
    }

    /// An error that no retry can mend.
    pub fn permanent(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: ErrorCode::FailedPrecondition,
            retry: Retry::Never,
            reason,
            source: None,
        }
    }

    /// The task was interrupted by shutdown or cancellation; it goes back to the queue as it is.
    pub fn interrupted() -> Self {
        Self {
            message: "the work was interrupted".to_owned(),
            code: ErrorCode::Unavailable,
            retry: Retry::Now,
            reason: "INTERRUPTED",
            source: None,
        }
    }
}

impl Classified for WorkError {
    fn code(&self) -> ErrorCode {
        self.code
    }

    fn retry(&self) -> Retry {
        self.retry
    }

    fn reason(&self) -> &'static str {
        self.reason
    }
}

/// Handles the tasks of one topic.
#[async_trait]
pub trait TaskHandler: Send + Sync {
    /// The topic.
    fn topic(&self) -> Topic;

    /// Does the task and returns its result, as the payload's documentation says. May be called more than once for one
    /// task (with growing epochs): everything it writes must be harmless to repeat and carry the task's fence. Returns
    /// [`WorkError::interrupted`] soon after `stop` is cancelled.
    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError>;
}
