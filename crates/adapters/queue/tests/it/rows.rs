//! Task rows in memory, with the rules of the port that the worker relies on.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::clock::{Clock, Timestamp};
use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::{Block, CacheUse, EvaluationSpec};
use fapo_domain::model::task::{ClaimedTask, Fence, FinishedTask, TaskPayload, TaskState};
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::tasks::{Claim, DeadTask, DueTask, Tasks};
use fapo_domain::{DatasetId, JobId, TaskId, VariantId};
use serde_json::Value;

/// A clock that follows tokio's (paused) time.
#[derive(Debug)]
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000).plus(self.0.elapsed())
    }
}

#[derive(Debug, Clone)]
pub struct Row {
    pub state: TaskState,
    pub epoch: u64,
    pub lease_until: Timestamp,
    pub not_before: Timestamp,
    pub result: Option<Value>,
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct Rows {
    clock: TokioClock,
    rows: Mutex<HashMap<TaskId, Row>>,
    trace: Mutex<Option<TraceParent>>,
    pub renewals: AtomicU64,
    /// While set, every call fails as unavailable.
    pub down: AtomicBool,
    /// While set, every call fails as on a full disk.
    pub full: AtomicBool,
}

pub fn job() -> JobId {
    JobId::at(7, [7; 10])
}

fn payload() -> TaskPayload {
    TaskPayload::Score {
        evaluation: EvaluationSpec {
            job: job(),
            variant: VariantId(ContentHash::of(b"v")),
            dataset: DatasetId(ContentHash::of(b"d")),
            split: Split::Val,
            sample: 0,
            cases: 1,
            order_seed: None,
            cache: CacheUse::Shared,
            attempt: 0,
        },
        block: Block { start: 0, end: 1 },
    }
}

impl Rows {
    pub fn new() -> Self {
        Self {
            clock: TokioClock::new(),
            rows: Mutex::default(),
            trace: Mutex::default(),
            renewals: AtomicU64::new(0),
            down: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    pub fn add(&self, name: &str) -> TaskId {
        let id = TaskId::derive(job(), "score", name);
        let row = Row {
            state: TaskState::Queued,
            epoch: 0,
            lease_until: Timestamp(0),
            not_before: Timestamp(0),
            result: None,
            reason: None,
        };
        self.rows.lock().unwrap().insert(id, row);
        id
    }

    pub fn row(&self, id: TaskId) -> Row {
        self.rows.lock().unwrap()[&id].clone()
    }

    /// Tasks belong to this trace from now on.
    pub fn trace(&self, parent: TraceParent) {
        *self.trace.lock().unwrap() = Some(parent);
    }

    /// Another worker claims the task, as if the lease had run out.
    pub fn steal(&self, id: TaskId) {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.get_mut(&id).unwrap();
        row.epoch += 1;
        row.lease_until = self.clock.now().plus(Duration::from_secs(3600));
    }

    fn up(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                operation: "test",
                source: "down".into(),
            });
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Unwritable {
                place: "test".to_owned(),
                source: "full".into(),
            });
        }
        Ok(())
    }

    fn fenced<T>(
        &self,
        fence: Fence,
        change: impl FnOnce(&mut Row, Timestamp) -> T,
    ) -> Result<T, StoreError> {
        self.up()?;
        let mut rows = self.rows.lock().unwrap();
        let row = rows.get_mut(&fence.task).unwrap();
        if row.epoch != fence.epoch || row.state != TaskState::Leased {
            return Err(StoreError::StaleLease { task: fence.task });
        }
        Ok(change(row, self.clock.now()))
    }
}

#[async_trait]
impl Tasks for Rows {
    async fn claim_task(
        &self,
        id: TaskId,
        _owner: &str,
        lease: Duration,
    ) -> Result<Claim, StoreError> {
        self.up()?;
        let now = self.clock.now();
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.get_mut(&id) else {
            return Err(StoreError::NotFound {
                kind: "task",
                id: id.to_string(),
            });
        };
        match row.state {
            TaskState::Done | TaskState::Dead | TaskState::Cancelled => return Ok(Claim::Over),
            TaskState::Leased if row.lease_until > now => return Ok(Claim::Held(row.lease_until)),
            TaskState::Queued if row.not_before > now => {
                return Ok(Claim::NotBefore(row.not_before));
            }
            TaskState::Queued | TaskState::Leased => {}
        }
        row.state = TaskState::Leased;
        row.epoch += 1;
        row.lease_until = now.plus(lease);
        Ok(Claim::Claimed(Box::new(ClaimedTask {
            id,
            job: job(),
            payload: payload(),
            epoch: row.epoch,
            lease_until: row.lease_until,
            trace: self.trace.lock().unwrap().clone(),
        })))
    }

    async fn renew_task(&self, fence: Fence, lease: Duration) -> Result<Timestamp, StoreError> {
        self.fenced(fence, |row, now| {
            self.renewals.fetch_add(1, Ordering::SeqCst);
            row.lease_until = now.plus(lease);
            row.lease_until
        })
    }

    async fn complete_task(&self, fence: Fence, result: Value) -> Result<(), StoreError> {
        self.fenced(fence, |row, _| {
            row.state = TaskState::Done;
            row.result = Some(result);
        })
    }

    async fn fail_task(
        &self,
        fence: Fence,
        reason: &str,
        not_before: Timestamp,
        max_attempts: u64,
    ) -> Result<TaskState, StoreError> {
        self.fenced(fence, |row, _| {
            row.reason = Some(reason.to_owned());
            row.not_before = not_before;
            row.state = if row.epoch >= max_attempts {
                TaskState::Dead
            } else {
                TaskState::Queued
            };
            row.state
        })
    }

    async fn kill_task(&self, fence: Fence, reason: &str) -> Result<(), StoreError> {
        self.fenced(fence, |row, _| {
            row.reason = Some(reason.to_owned());
            row.state = TaskState::Dead;
        })
    }

    async fn release_leases(&self) -> Result<u64, StoreError> {
        Err(StoreError::Invalid {
            message: "these rows are never opened anew".to_owned(),
        })
    }

    async fn due_tasks(&self, _limit: u32) -> Result<Vec<DueTask>, StoreError> {
        Ok(Vec::new())
    }

    async fn finished_tasks(
        &self,
        _job: JobId,
        _limit: u32,
    ) -> Result<Vec<FinishedTask>, StoreError> {
        Ok(Vec::new())
    }

    async fn dead_tasks(&self, _job: JobId) -> Result<Vec<DeadTask>, StoreError> {
        Ok(Vec::new())
    }

    async fn retry_dead_tasks(&self, _job: JobId) -> Result<u64, StoreError> {
        Ok(0)
    }
}
