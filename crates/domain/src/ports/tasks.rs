//! Task rows: the truth about queued work.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StoreError;
use crate::clock::Timestamp;
use crate::ids::{JobId, TaskId};
use crate::model::task::{ClaimedTask, Fence, FinishedTask, Lane, TaskState, Topic};

/// What came of an attempt to claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// It is the caller's, until the lease ends.
    Claimed(Box<ClaimedTask>),
    /// Somebody else holds a live lease, until then.
    Held(Timestamp),
    /// It may not be claimed before then.
    NotBefore(Timestamp),
    /// It is done, dead or cancelled, or its job is final or paused: acknowledge the message and forget it. When a paused job
    /// is resumed the reconciler brings its tasks back.
    Over,
}

/// A task that waits for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueTask {
    /// The task.
    pub id: TaskId,
    /// Its job.
    pub job: JobId,
    /// Its project.
    pub lane: Lane,
    /// Its queue.
    pub topic: Topic,
    /// When it may be claimed.
    pub not_before: Timestamp,
}

/// A task that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadTask {
    /// The task.
    pub id: TaskId,
    /// Its queue.
    pub topic: Topic,
    /// Why.
    pub reason: String,
}

/// Claims, renews and finishes tasks. The end of a claim, however it comes, closes its reservations in the same commit (see
/// [`super::ledger::Ledger::close`]).
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Tries to claim a task for `owner`. Atomic: of several callers one succeeds. A task whose lease has run out is
    /// claimed anew with a higher epoch.
    async fn claim_task(
        &self,
        id: TaskId,
        owner: &str,
        lease: Duration,
    ) -> Result<Claim, StoreError>;

    /// Extends a lease. `StaleLease` when the task was claimed again since, or its job is final: nothing that comes of it
    /// counts any more.
    async fn renew_task(&self, fence: Fence, lease: Duration) -> Result<Timestamp, StoreError>;

    /// Marks a task done with its result. `StaleLease` when it was claimed again since; repeating with the same fence is
    /// harmless.
    async fn complete_task(&self, fence: Fence, result: Value) -> Result<(), StoreError>;

    /// Gives a task back: it may be claimed again at `not_before`, or is dead once it was claimed `max_attempts` times.
    /// With `u64::MAX` the claim was interrupted and is not counted among them. Returns its new state.
    async fn fail_task(
        &self,
        fence: Fence,
        reason: &str,
        not_before: Timestamp,
        max_attempts: u64,
    ) -> Result<TaskState, StoreError>;

    /// Marks a task dead at once: trying again cannot help.
    async fn kill_task(&self, fence: Fence, reason: &str) -> Result<(), StoreError>;

    /// Ends every live lease at once, so that the tasks can be claimed anew. Only for a deployment in one process, which
    /// knows when it starts that all earlier owners are dead; in a cluster leases run out by themselves, and a store that
    /// processes share refuses this as `Invalid`. These claims count as interrupted, not as failed. Returns how many there
    /// were; repeating is harmless.
    async fn release_leases(&self) -> Result<u64, StoreError>;

    /// Queued tasks, and leased ones whose lease has run out, oldest first: what a reconciler puts back into the queue.
    async fn due_tasks(&self, limit: u32) -> Result<Vec<DueTask>, StoreError>;

    /// Finished (done or dead) tasks of a job that no tick has consumed yet, in order of creation.
    async fn finished_tasks(&self, job: JobId, limit: u32)
    -> Result<Vec<FinishedTask>, StoreError>;

    /// A job's dead tasks, with their topic and reason, in order of creation.
    async fn dead_tasks(&self, job: JobId) -> Result<Vec<DeadTask>, StoreError>;

    /// Puts a job's dead tasks back to `queued` with a fresh count of attempts, and with them those that were cancelled
    /// because the job ended; its status is running again and its version grows. Returns how many dead ones there
    /// were; when there were none, nothing is changed.
    async fn retry_dead_tasks(&self, job: JobId) -> Result<u64, StoreError>;
}
