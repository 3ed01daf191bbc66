//! What can go wrong at a persistence port.

use std::time::Duration;

use crate::error::{Classified, ErrorCode, Retry};
use crate::ids::TaskId;

/// An error of a persistence port.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The named thing is not there.
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The thing exists with other content.
    #[error("{kind} {id} exists already, with other content")]
    AlreadyExists {
        /// What kind of thing.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The task was claimed again since; this worker must drop it.
    #[error("the lease on task {} is stale", task.short())]
    StaleLease {
        /// The task.
        task: TaskId,
    },
    /// The row changed since it was read.
    #[error("{kind} {id} changed since it was read")]
    VersionConflict {
        /// What kind of thing.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The input breaks a rule of the store.
    #[error("{message}")]
    Invalid {
        /// Which rule, and what to do.
        message: String,
    },
    /// No space is left, or the place cannot be written.
    #[error("cannot write to {place}")]
    Unwritable {
        /// The file or server.
        place: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store cannot be reached, or is busy.
    #[error("the store is unavailable while trying to {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored value cannot be read: the store is damaged or newer than this program.
    #[error("a stored value cannot be read while trying to {operation}")]
    Corrupt {
        /// What was tried.
        operation: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// The reason of [`StoreError::Unwritable`]. A process that meets it ends: whatever it did next could not be kept.
    pub const UNWRITABLE: &str = "STORE_UNWRITABLE";
}

impl Classified for StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::AlreadyExists { .. } => ErrorCode::AlreadyExists,
            Self::StaleLease { .. } | Self::VersionConflict { .. } => ErrorCode::Conflict,
            Self::Invalid { .. } => ErrorCode::InvalidArgument,
            Self::Unwritable { .. } => ErrorCode::FailedPrecondition,
            Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::Corrupt { .. } => ErrorCode::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } => Retry::After(Duration::from_millis(200)),
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::StaleLease { .. }
            | Self::VersionConflict { .. }
            | Self::Invalid { .. }
            | Self::Unwritable { .. }
            | Self::Corrupt { .. } => Retry::Never,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NOT_FOUND",
            Self::AlreadyExists { .. } => "ALREADY_EXISTS",
            Self::StaleLease { .. } => "LEASE_STALE",
            Self::VersionConflict { .. } => "VERSION_CONFLICT",
            Self::Invalid { .. } => "STORE_INPUT_INVALID",
            Self::Unwritable { .. } => Self::UNWRITABLE,
            Self::Unavailable { .. } => "STORE_UNAVAILABLE",
            Self::Corrupt { .. } => "STORE_CORRUPT",
        }
    }
}
