//! Job rows, their events, lineage and decisions.

use async_trait::async_trait;
use serde_json::Value;

use super::StoreError;
use crate::clock::Timestamp;
use crate::hash::ContentHash;
use crate::ids::EvaluationId;
use crate::ids::{JobId, TaskId};
use crate::model::decision::Decision;
use crate::model::finding::Attribution;
use crate::model::finding::Finding;
use crate::model::job::{Job, JobEvent, JobSpec, JobStatus};
use crate::model::task::{Fence, NewTask};
use crate::model::trace_context::TraceParent;
use crate::model::variant::Lineage;

/// Everything that one tick of a job changes, committed as one.
#[derive(Debug, Clone)]
pub struct Tick {
    /// The job.
    pub job: JobId,
    /// The version that was read.
    pub expected_version: u64,
    /// The policy's new state.
    pub state: Value,
    /// The new status.
    pub status: JobStatus,
    /// Events to append.
    pub events: Vec<Value>,
    /// Tasks to create; one that exists already is left as it is.
    pub tasks: Vec<NewTask>,
    /// Finished tasks whose results went into the state.
    pub consumed: Vec<TaskId>,
    /// New lineage rows.
    pub lineage: Vec<Lineage>,
    /// New decision rows.
    pub decisions: Vec<Decision>,
    /// What the sealed test is opened for, where this tick opens it. A part of the tick, so that a tick that is lost has
    /// opened nothing.
    pub open_test: Option<ContentHash>,
    /// Where the tick stands in the job's distributed trace: what its tasks are done under.
    pub trace: Option<TraceParent>,
}

/// Stores jobs.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Creates a job at version 0. Repeating with an equal spec is harmless; the first `trace`, the place of whoever submitted
    /// it in a distributed trace, stays.
    async fn create_job(
        &self,
        id: JobId,
        spec: JobSpec,
        state: Value,
        now: Timestamp,
        trace: Option<TraceParent>,
    ) -> Result<(), StoreError>;

    /// Pauses a running job or resumes it: a paused job's tasks cannot be claimed, and it is not among
    /// [`Self::jobs_to_tick`]. Resuming sets `updated_at`, so that the pause does not count as running time. Its version grows
    /// where something changed. A final job stays as it is. Returns whether it is paused now. Atomic; repeating is harmless.
    async fn set_paused(&self, id: JobId, paused: bool) -> Result<bool, StoreError>;

    /// A job.
    async fn get_job(&self, id: JobId) -> Result<Job, StoreError>;

    /// Jobs, newest first; only those of `project` where given, and only those created before `before` where given.
    async fn list_jobs(
        &self,
        project: Option<&str>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;

    /// Jobs that are running and not paused, and have finished tasks to consume or nothing under way at all: what a reconciler ticks.
    async fn jobs_to_tick(&self, limit: u32) -> Result<Vec<JobId>, StoreError>;

    /// Commits a tick. Atomic; `VersionConflict` when the job changed since it was read, and nothing is written. A job
    /// that becomes final has its queued tasks cancelled. A job's sealed test is opened once: a tick that opens it for
    /// something else is `AlreadyExists`, and nothing is written. Returns the new version.
    async fn commit_tick(&self, tick: Tick) -> Result<u64, StoreError>;

    /// A job's events after `after_seq`, in order.
    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, StoreError>;

    /// A job's variants in order of creation.
    async fn lineage(&self, job: JobId) -> Result<Vec<Lineage>, StoreError>;

    /// A job's decisions in order.
    async fn decisions(&self, job: JobId) -> Result<Vec<Decision>, StoreError>;
}

/// Stores what attribution found.
#[async_trait]
pub trait Findings: Send + Sync {
    /// Stores an evaluation's attribution: its findings and clusters, replacing earlier ones. Atomic. A stale fence is
    /// `StaleLease`.
    async fn record_attribution(
        &self,
        fence: Option<Fence>,
        evaluation: EvaluationId,
        findings: Vec<Finding>,
        attribution: &Attribution,
    ) -> Result<(), StoreError>;

    /// An evaluation's attribution, or `None`.
    async fn attribution(
        &self,
        evaluation: EvaluationId,
    ) -> Result<Option<Attribution>, StoreError>;

    /// An evaluation's findings, by ordinal.
    async fn findings(&self, evaluation: EvaluationId) -> Result<Vec<Finding>, StoreError>;
}

/// Stores proposals and their reviews, for the record and against repeats.
#[async_trait]
pub trait Proposals: Send + Sync {
    /// Stores what was asked of a proposer and what it answered, by task. The first record under a task stays.
    async fn record_proposal(&self, fence: Fence, body: Value) -> Result<(), StoreError>;

    /// What was recorded under a task, or `None`.
    async fn proposal(&self, task: TaskId) -> Result<Option<Value>, StoreError>;
}
