//! Task rows: claims with epochs, and what came of them.
//!
//! Every claim and every end of one changes the task's row and then locks the job's account (`ledger::close`), in that order.
//! So whoever holds the account sees by a new statement which claims are live, and none changes until it commits.

use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::model::task::{ClaimedTask, Fence, FinishedTask, Lane, TaskState};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::tasks::{Claim, DeadTask, DueTask, Tasks};
use fapo_domain::{JobId, TaskId};
use serde_json::Value;
use sqlx::postgres::PgConnection;

use crate::codec::{pack_json, unpack_json};
use crate::error::Failure;
use crate::postgres::fence::stale;
use crate::postgres::ledger;
use crate::postgres::sql::{self, Columns, args};
use crate::postgres::store::{PgStore, PgTx};

#[async_trait]
impl Tasks for PgStore {
    async fn claim_task(
        &self,
        id: TaskId,
        owner: &str,
        lease: Duration,
    ) -> Result<Claim, StoreError> {
        self.run("claim a task", || async {
            let mut tx = self.begin().await?;
            // a wait for another claimer, who mostly wins, makes the lease shorter and never longer
            let now = self.now();
            let lease_until = now.plus(lease);
            let claimed = args()
                .hash(&id.0)
                .text(owner)
                .int(lease_until.0)
                .int(now.0)
                .query(
                    "UPDATE tasks SET state = 'leased', epoch = epoch + 1, owner = $2, lease_until = $3, \
                     updated_at = $4 WHERE id = $1 \
                     AND (state = 'queued' AND not_before <= $4 OR state = 'leased' AND lease_until <= $4) \
                     AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = tasks.job AND status = 'running' AND NOT paused) \
                     RETURNING job, payload, epoch, trace",
                )
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = claimed else {
                return why_not(&mut tx, id).await;
            };
            let task = ClaimedTask {
                id,
                job: row.job(0)?,
                payload: unpack_json(row.column(1)?)?,
                epoch: row.number(2)?,
                lease_until,
                trace: sql::to_trace(row.column(3)?)?,
            };
            // whoever had it before is gone without ending its claim
            ledger::close(&mut tx, task.job, id, task.epoch - 1).await?;
            tx.commit().await?;
            Ok(Claim::Claimed(Box::new(task)))
        })
        .await
    }

    async fn renew_task(&self, fence: Fence, lease: Duration) -> Result<Timestamp, StoreError> {
        self.run("renew a lease", || async {
            let mut tx = self.begin().await?;
            let lease_until = self.now().plus(lease);
            let renewed = args()
                .hash(&fence.task.0)
                .number(fence.epoch)
                .int(lease_until.0)
                .query(
                    "UPDATE tasks SET lease_until = $3 WHERE id = $1 AND epoch = $2 AND state = 'leased' \
                     AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = tasks.job AND status = 'running')",
                )
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if renewed == 0 {
                return Err(stale(fence));
            }
            tx.commit().await?;
            Ok(lease_until)
        })
        .await
    }

    async fn complete_task(&self, fence: Fence, result: Value) -> Result<(), StoreError> {
        self.run("complete a task", || async {
            let packed = pack_json(&result)?;
            let mut tx = self.begin().await?;
            let (state, job) = claim_state(&mut tx, fence).await?;
            match state {
                // the answer to the first attempt was lost on its way
                TaskState::Done => return Ok(()),
                TaskState::Leased => {}
                TaskState::Queued | TaskState::Dead | TaskState::Cancelled => {
                    return Err(stale(fence));
                }
            }
            args()
                .hash(&fence.task.0)
                .bytes(packed)
                .int(self.now().0)
                .query(
                    "UPDATE tasks SET state = 'done', result = $2, reason = NULL, owner = NULL, lease_until = NULL, \
                     updated_at = $3 WHERE id = $1",
                )
                .execute(&mut *tx)
                .await?;
            ledger::close(&mut tx, job, fence.task, fence.epoch).await?;
            tx.commit().await
        })
        .await
    }

    /// Repeating is harmless too: the state that the first call made is returned. A task of a job that is final by now
    /// is cancelled instead of queued.
    async fn fail_task(
        &self,
        fence: Fence,
        reason: &str,
        not_before: Timestamp,
        max_attempts: u64,
    ) -> Result<TaskState, StoreError> {
        self.run("fail a task", || async {
            let mut tx = self.begin().await?;
            // before the task's row, as everywhere, and held: a tick that ends the job must not miss what is queued here
            let running = job_runs(&mut tx, fence.task).await?;
            let (state, job) = claim_state(&mut tx, fence).await?;
            match state {
                TaskState::Leased => {}
                TaskState::Queued | TaskState::Dead | TaskState::Cancelled => return Ok(state),
                TaskState::Done => return Err(stale(fence)),
            }
            let row = args()
                .hash(&fence.task.0)
                .query("SELECT epoch - forgiven FROM tasks WHERE id = $1")
                .fetch_one(&mut *tx)
                .await?;
            let state = if row.number(0)? >= max_attempts {
                TaskState::Dead
            } else if running {
                TaskState::Queued
            } else {
                TaskState::Cancelled
            };
            let forgive = max_attempts == u64::MAX;
            let now = self.now();
            leave(&mut tx, fence, state, reason, not_before, forgive, now).await?;
            ledger::close(&mut tx, job, fence.task, fence.epoch).await?;
            tx.commit().await?;
            Ok(state)
        })
        .await
    }

    async fn kill_task(&self, fence: Fence, reason: &str) -> Result<(), StoreError> {
        self.run("kill a task", || async {
            let mut tx = self.begin().await?;
            let (state, job) = claim_state(&mut tx, fence).await?;
            match state {
                TaskState::Dead => return Ok(()),
                TaskState::Leased => {}
                TaskState::Queued | TaskState::Done | TaskState::Cancelled => {
                    return Err(stale(fence));
                }
            }
            let now = self.now();
            leave(&mut tx, fence, TaskState::Dead, reason, now, false, now).await?;
            ledger::close(&mut tx, job, fence.task, fence.epoch).await?;
            tx.commit().await
        })
        .await
    }

    /// Always refused: other processes use the database too, and nobody can know that all of them are dead. Their leases run
    /// out by themselves.
    async fn release_leases(&self) -> Result<u64, StoreError> {
        Err(StoreError::Invalid {
            message: "leases in Postgres cannot be released at once, because other processes may hold them: they run out by \
                      themselves"
                .to_owned(),
        })
    }

    async fn due_tasks(&self, limit: u32) -> Result<Vec<DueTask>, StoreError> {
        self.run("list due tasks", || async {
            let rows = args()
                .int(self.now().0)
                .number(u64::from(limit))
                .query(
                    "SELECT tasks.id, tasks.job, topic, CASE tasks.state WHEN 'leased' THEN lease_until ELSE not_before END, \
                     project \
                     FROM tasks JOIN jobs ON jobs.id = tasks.job AND status = 'running' AND NOT paused \
                     WHERE tasks.state IN ('queued', 'leased') AND (tasks.state = 'queued' OR lease_until <= $1) \
                     ORDER BY tasks.seq LIMIT $2",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(DueTask {
                        id: TaskId(row.hash(0)?),
                        job: row.job(1)?,
                        topic: sql::to_topic(row.column(2)?)?,
                        not_before: Timestamp(row.column(3)?),
                        lane: Lane::of(row.column(4)?),
                    })
                })
                .collect()
        })
        .await
    }

    async fn finished_tasks(
        &self,
        job: JobId,
        limit: u32,
    ) -> Result<Vec<FinishedTask>, StoreError> {
        self.run("list finished tasks", || async {
            let rows = args()
                .job(job)
                .number(u64::from(limit))
                .query(
                    "SELECT id, payload, state, result, reason FROM tasks \
                     WHERE job = $1 AND NOT consumed AND state IN ('done', 'dead') ORDER BY seq LIMIT $2",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter()
                .map(|row| {
                    let result: Option<&[u8]> = row.column(3)?;
                    Ok(FinishedTask {
                        id: TaskId(row.hash(0)?),
                        payload: unpack_json(row.column(1)?)?,
                        state: sql::to_task_state(row.column(2)?)?,
                        result: result.map(unpack_json).transpose()?,
                        reason: row.column(4)?,
                    })
                })
                .collect()
        })
        .await
    }

    async fn dead_tasks(&self, job: JobId) -> Result<Vec<DeadTask>, StoreError> {
        self.run("list dead tasks", || async {
            let rows = args()
                .job(job)
                .query(
                    "SELECT id, topic, coalesce(reason, '') FROM tasks WHERE job = $1 AND state = 'dead' ORDER BY seq",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(DeadTask {
                        id: TaskId(row.hash(0)?),
                        topic: sql::to_topic(row.column(1)?)?,
                        reason: row.column(2)?,
                    })
                })
                .collect()
        })
        .await
    }

    /// Tasks that were cancelled because the job ended are queued again too: the job cannot go on without them. The
    /// job's version grows, so a tick under way is not lost in it.
    async fn retry_dead_tasks(&self, job: JobId) -> Result<u64, StoreError> {
        self.run("revive dead tasks", || async {
            let mut tx = self.begin().await?;
            let now = self.now();
            args()
                .job(job)
                .query("SELECT 1 FROM jobs WHERE id = $1 FOR NO KEY UPDATE")
                .execute(&mut *tx)
                .await?;
            let revived = args()
                .job(job)
                .int(now.0)
                .query(
                    "UPDATE tasks SET state = 'queued', forgiven = epoch, reason = NULL, not_before = $2, \
                     consumed = false, updated_at = $2 WHERE job = $1 AND state = 'dead'",
                )
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if revived == 0 {
                return Ok(0);
            }
            args()
                .job(job)
                .int(now.0)
                .query(
                    "UPDATE tasks SET state = 'queued', not_before = $2, updated_at = $2 \
                     WHERE job = $1 AND state = 'cancelled'",
                )
                .execute(&mut *tx)
                .await?;
            args()
                .job(job)
                .int(now.0)
                .query(
                    "UPDATE jobs SET status = 'running', version = version + 1, updated_at = $2 WHERE id = $1",
                )
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(revived)
        })
        .await
    }
}

/// Why a task could not be claimed; asked in the transaction of the attempt.
async fn why_not(tx: &mut PgConnection, id: TaskId) -> Result<Claim, Failure> {
    let row = args()
        .hash(&id.0)
        .query(
            "SELECT tasks.state, lease_until, not_before, status = 'running' AND NOT paused FROM tasks \
             JOIN jobs ON jobs.id = tasks.job WHERE tasks.id = $1",
        )
        .fetch_optional(tx)
        .await?
        .ok_or_else(|| Failure::not_found("task", id))?;
    if !row.flag(3)? {
        // where the job is paused, the reconciler brings the task back once it is resumed
        return Ok(Claim::Over);
    }
    Ok(match sql::to_task_state(row.column(0)?)? {
        TaskState::Leased => Claim::Held(Timestamp(row.column(1)?)),
        TaskState::Queued => Claim::NotBefore(Timestamp(row.column(2)?)),
        TaskState::Done | TaskState::Dead | TaskState::Cancelled => Claim::Over,
    })
}

/// The state of the task and its job, if `fence` is its latest claim; holds the row.
async fn claim_state(tx: &mut PgConnection, fence: Fence) -> Result<(TaskState, JobId), Failure> {
    let row = args()
        .hash(&fence.task.0)
        .number(fence.epoch)
        .query("SELECT state, job FROM tasks WHERE id = $1 AND epoch = $2 FOR NO KEY UPDATE")
        .fetch_optional(tx)
        .await?
        .ok_or_else(|| stale(fence))?;
    Ok((sql::to_task_state(row.column(0)?)?, row.job(1)?))
}

/// Whether the task's job is running; holds the job's row as it is.
async fn job_runs(tx: &mut PgConnection, task: TaskId) -> Result<bool, Failure> {
    let row = args()
        .hash(&task.0)
        .query(
            "SELECT status = 'running' FROM jobs WHERE id = (SELECT job FROM tasks WHERE tasks.id = $1) FOR SHARE",
        )
        .fetch_optional(tx)
        .await?;
    row.map_or(Ok(false), |row| row.flag(0))
}

/// Ends a claim without a result; `forgive` keeps it out of the count of attempts.
async fn leave(
    tx: &mut PgTx,
    fence: Fence,
    state: TaskState,
    reason: &str,
    not_before: Timestamp,
    forgive: bool,
    now: Timestamp,
) -> Result<(), Failure> {
    args()
        .hash(&fence.task.0)
        .text(sql::task_state(state))
        .words(reason)
        .int(not_before.0)
        .int(i64::from(forgive))
        .int(now.0)
        .query(
            "UPDATE tasks SET state = $2, reason = $3, not_before = $4, forgiven = forgiven + $5, owner = NULL, \
             lease_until = NULL, updated_at = $6 WHERE id = $1",
        )
        .execute(&mut **tx)
        .await?;
    Ok(())
}
