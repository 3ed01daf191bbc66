//! Jobs, as clients see them: what the gRPC service `Optimizer`, the gateway and the command line's `--server` offer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::ledger::Balance;
use super::queue::QueueError;
use super::tasks::DeadTask;
use crate::clock::Timestamp;
use crate::error::{Classified, ErrorCode, Retry};
use crate::hash::ContentHash;
use crate::ids::{JobId, VariantId};
use crate::model::access::{AccessError, Caller};
use crate::model::decision::Decision;
use crate::model::job::{JobEvent, JobGoal, JobSpec, JobStatus};
use crate::model::trace_context::TraceParent;
use crate::model::variant::{Lineage, VariantTree};
use crate::problem::Problems;

/// The files of a project, by path relative to its folder with `/` between the parts; their contents are blobs that were
/// uploaded before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest(pub BTreeMap<String, ContentHash>);

/// A job to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// The client's own name for this request, at most 64 characters: sent again with the same content it gives the same job,
    /// so a request whose answer was lost is repeated without harm.
    pub request_id: String,
    /// The project's name, as in its fapo.yaml.
    pub project: String,
    /// Its files.
    pub files: Manifest,
    /// What to do.
    pub goal: JobGoal,
}

/// How a job stands, in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// The id.
    pub id: JobId,
    /// The project's name.
    pub project: String,
    /// What was asked.
    pub goal: JobGoal,
    /// How it stands.
    pub status: JobStatus,
    /// Whether it was paused: nothing new is begun until it is resumed.
    pub paused: bool,
    /// What it is at, as the policy names it.
    pub phase: String,
    /// Grows with every change.
    pub version: u64,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The baseline's variant and its mean on val (for an evaluation: its mean).
    pub baseline: VariantId,
    /// Its mean, once known.
    pub baseline_mean: Option<f64>,
    /// The best variant so far; the baseline at first.
    pub best: VariantId,
    /// Its mean on val, once known.
    pub best_mean: Option<f64>,
    /// The sealed test's means, baseline and best, once it was opened and done.
    pub test: Option<(f64, f64)>,
    /// Proposals asked for, and how many the budget allows.
    pub proposals: (u32, u32),
    /// Cases done and in all, over the evaluations under way.
    pub cases: (u64, u64),
    /// Why it stopped, once it did.
    pub stopped: Option<String>,
    /// Reasons of its dead tasks.
    pub dead: Vec<String>,
    /// The account.
    pub balance: Balance,
    /// The hash over its variants in order of creation and what became of each: equal for two runs that went the same way.
    pub lineage_hash: ContentHash,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only this project's.
    pub project: Option<String>,
    /// Only those before this one, in order of creation: the last of the page before.
    pub before: Option<JobId>,
    /// How many at most.
    pub limit: u32,
}

/// A job's family tree with what was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct JobLineage {
    /// Its variants in order of creation.
    pub variants: Vec<Lineage>,
    /// Its decisions in order.
    pub decisions: Vec<Decision>,
}

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    /// Markdown.
    Markdown,
    /// One HTML page with everything in it.
    Html,
    /// The figures, as JSON.
    Json,
}

/// Why a call of [`Optimizer`] failed.
#[derive(Debug, thiserror::Error)]
pub enum OptimizerError {
    /// The caller may not.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// There is no such thing, or it is another project's: the two are not told apart.
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The request breaks a rule of the service.
    #[error("`{field}`: {message}")]
    Invalid {
        /// Which part of the request.
        field: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The project has problems; nothing was stored of the job.
    #[error("the project has problems")]
    Project(Problems),
    /// Files of the manifest were not uploaded.
    #[error("{} of the project's files were not uploaded; the first is {}", missing.len(), missing.first().map(ContentHash::short).unwrap_or_default())]
    MissingBlobs {
        /// Their hashes.
        missing: Vec<ContentHash>,
    },
    /// The request id was used for something else.
    #[error("the request id {request_id:?} was used for another request")]
    RequestReused {
        /// The id.
        request_id: String,
    },
    /// The job is not in a state in which this can be done.
    #[error("{message}")]
    State {
        /// Why not, and what to do.
        message: String,
    },
    /// The project's models cannot be called as they are set up on the server.
    #[error("{message}")]
    Models {
        /// What is missing.
        message: String,
    },
    /// The store failed.
    #[error("the job cannot be read or written")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("the queue cannot be used")]
    Queue(#[from] QueueError),
    /// The server cannot be reached.
    #[error("{server} cannot be reached")]
    Unreachable {
        /// Its address.
        server: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something else failed; its log has the reason.
    #[error("{message}")]
    Internal {
        /// What is known.
        message: String,
        /// The cause, where it is known here.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Classified for OptimizerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Access(error) => error.code(),
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Invalid { .. } => ErrorCode::InvalidArgument,
            Self::Project(_)
            | Self::MissingBlobs { .. }
            | Self::State { .. }
            | Self::Models { .. } => ErrorCode::FailedPrecondition,
            Self::RequestReused { .. } => ErrorCode::AlreadyExists,
            Self::Store(error) => error.code(),
            Self::Queue(error) => error.code(),
            Self::Unreachable { .. } => ErrorCode::Unavailable,
            Self::Internal { .. } => ErrorCode::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Queue(error) => error.retry(),
            Self::Unreachable { .. } => Retry::After(Duration::from_millis(500)),
            Self::Access(_)
            | Self::NotFound { .. }
            | Self::Invalid { .. }
            | Self::Project(_)
            | Self::MissingBlobs { .. }
            | Self::State { .. }
            | Self::Models { .. }
            | Self::RequestReused { .. }
            | Self::Internal { .. } => Retry::Never,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Access(error) => error.reason(),
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Invalid { .. } => "REQUEST_INVALID",
            Self::Project(_) => "PROJECT_INVALID",
            Self::MissingBlobs { .. } => "BLOBS_MISSING",
            Self::RequestReused { .. } => "REQUEST_ID_REUSED",
            Self::State { .. } => "JOB_STATE",
            Self::Models { .. } => "MODELS_NOT_CALLABLE",
            Self::Store(error) => error.reason(),
            Self::Queue(error) => error.reason(),
            Self::Unreachable { .. } => "SERVER_UNREACHABLE",
            Self::Internal { .. } => "INTERNAL",
        }
    }
}

/// Jobs, as clients see them. Every call names its caller, and is held against what that caller may do before anything else:
/// a job or variant of a project that is not theirs does not exist for them.
#[async_trait]
pub trait Optimizer: Send + Sync {
    /// Which of `hashes` (at most 10 000) are not stored yet, in order. Submitter.
    async fn missing_blobs(
        &self,
        caller: &Caller,
        hashes: &[ContentHash],
    ) -> Result<Vec<ContentHash>, OptimizerError>;

    /// Stores contents; returns their hashes in order. Atomic per call; repeating is harmless. Submitter.
    async fn upload_blobs(
        &self,
        caller: &Caller,
        contents: Vec<Arc<[u8]>>,
    ) -> Result<Vec<ContentHash>, OptimizerError>;

    /// Reads the project, and makes a job of it. All or nothing; repeating it with the same `request_id` and content gives the
    /// same job. `trace` is the caller's place in a distributed trace. Submitter.
    async fn submit(
        &self,
        caller: &Caller,
        submission: Submission,
        trace: Option<TraceParent>,
    ) -> Result<JobSummary, OptimizerError>;

    /// A job. Viewer.
    async fn job(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError>;

    /// Jobs, newest first. A caller of one project sees its own, whatever the filter says. Viewer.
    async fn jobs(
        &self,
        caller: &Caller,
        filter: &JobFilter,
    ) -> Result<Vec<JobSummary>, OptimizerError>;

    /// Ends a job for good. One that is final already stays as it is. Submitter.
    async fn cancel(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError>;

    /// Pauses a running job, or resumes it. Work that is under way ends, nothing new is begun; the time does not count as the
    /// job's running time. Repeating is harmless; a final job is [`OptimizerError::State`]. Submitter.
    async fn set_paused(
        &self,
        caller: &Caller,
        id: JobId,
        paused: bool,
    ) -> Result<JobSummary, OptimizerError>;

    /// A job's events after `after_seq`, in order, at most `limit`; where there are none and the job is not final it waits up
    /// to `wait` for the first. Viewer.
    async fn events(
        &self,
        caller: &Caller,
        id: JobId,
        after_seq: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<JobEvent>, OptimizerError>;

    /// A job's variants and decisions. Viewer.
    async fn lineage(&self, caller: &Caller, id: JobId) -> Result<JobLineage, OptimizerError>;

    /// The files of one of the job's variants. Viewer.
    async fn variant(
        &self,
        caller: &Caller,
        id: JobId,
        variant: VariantId,
    ) -> Result<VariantTree, OptimizerError>;

    /// The job's report. Viewer.
    async fn report(
        &self,
        caller: &Caller,
        id: JobId,
        format: ReportFormat,
    ) -> Result<Vec<u8>, OptimizerError>;

    /// The job's dead tasks. Viewer.
    async fn dead_tasks(&self, caller: &Caller, id: JobId)
    -> Result<Vec<DeadTask>, OptimizerError>;

    /// Puts a job's dead tasks back; the job runs again. Returns how many there were. Submitter.
    async fn retry_dead_tasks(&self, caller: &Caller, id: JobId) -> Result<u64, OptimizerError>;
}

/// Makes a job's specification of uploaded files: reads the project as the command line does, and brings its cases, documents
/// and baseline into the store.
#[async_trait]
pub trait ProjectIntake: Send + Sync {
    /// Reads and imports. All or nothing; equal content gives an equal specification.
    ///
    /// Errors: [`OptimizerError::Invalid`] for a path that leaves the folder; [`OptimizerError::MissingBlobs`];
    /// [`OptimizerError::Project`]; [`OptimizerError::Models`]; the store's.
    async fn import(&self, files: &Manifest, goal: JobGoal) -> Result<JobSpec, OptimizerError>;
}

/// Writes reports.
#[async_trait]
pub trait Reporter: Send + Sync {
    /// The report of a job as it stands.
    async fn report(&self, id: JobId, format: ReportFormat) -> Result<Vec<u8>, OptimizerError>;
}
