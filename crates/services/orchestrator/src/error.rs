//! What can go wrong while a job is driven.

use std::time::Duration;

use fapo_domain::ports::StoreError;
use fapo_domain::ports::queue::QueueError;
use fapo_domain::{Classified, ErrorCode, JobId, Retry};

/// An error of the orchestrator.
#[derive(Debug, thiserror::Error)]
pub enum OrchestratorError {
    /// The store failed.
    #[error("the job's rows cannot be read or written")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("the queue cannot be used")]
    Queue(#[from] QueueError),
    /// A state that this program does not understand.
    #[error(
        "the state of job {job} cannot be read: it is damaged, or another version of fapo wrote it"
    )]
    State {
        /// The job.
        job: JobId,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Something that cannot be written as JSON.
    #[error("the next state of job {job} cannot be written")]
    Unwritable {
        /// The job.
        job: JobId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Other orchestrators changed the job again and again.
    #[error("job {job} changed each of the {tries} times that a tick was tried")]
    Contended {
        /// The job.
        job: JobId,
        /// How often it was tried.
        tries: u32,
    },
    /// A job that cannot be run as it is.
    #[error("{message}")]
    Invalid {
        /// What is wrong, and what to do.
        message: String,
    },
}

impl Classified for OrchestratorError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Queue(error) => error.code(),
            Self::State { .. } | Self::Unwritable { .. } => ErrorCode::Internal,
            Self::Contended { .. } => ErrorCode::Conflict,
            Self::Invalid { .. } => ErrorCode::InvalidArgument,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Queue(error) => error.retry(),
            Self::Contended { .. } => Retry::After(Duration::from_millis(100)),
            Self::State { .. } | Self::Unwritable { .. } | Self::Invalid { .. } => Retry::Never,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Queue(error) => error.reason(),
            Self::State { .. } => "JOB_STATE_UNREADABLE",
            Self::Unwritable { .. } => "JOB_STATE_UNWRITABLE",
            Self::Contended { .. } => "JOB_CONTENDED",
            Self::Invalid { .. } => "JOB_INVALID",
        }
    }
}
