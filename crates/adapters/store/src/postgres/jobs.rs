//! Job rows, their events, lineage and decisions.

mod tick;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::model::decision::Decision;
use fapo_domain::model::job::{Job, JobEvent, JobSpec, JobStatus};
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::{DiffStats, Lineage};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::{Jobs, Tick};
use fapo_domain::{JobId, VariantId};
use serde_json::Value;
use sqlx::postgres::PgRow;

use crate::codec::{from_json, pack_json, to_hash, unpack_json};
use crate::error::Failure;
use crate::postgres::sql::{self, Columns, args};
use crate::postgres::store::PgStore;

/// Reads jobs, in the order of [`to_job`]'s columns.
macro_rules! select_jobs {
    ($($rest:literal),+) => {
        concat!(
            "SELECT id, project, spec, status, version, state, created_at, updated_at, paused, trace FROM jobs ",
            $($rest),+
        )
    };
}

/// Lists jobs, newest first.
macro_rules! list_jobs {
    ($project:literal, $before:literal) => {
        select_jobs!(
            "WHERE ",
            $project,
            " AND ",
            $before,
            " ORDER BY created_at DESC, seq DESC LIMIT $3"
        )
    };
}

#[async_trait]
impl Jobs for PgStore {
    async fn create_job(
        &self,
        id: JobId,
        spec: JobSpec,
        state: Value,
        now: Timestamp,
        trace: Option<TraceParent>,
    ) -> Result<(), StoreError> {
        self.run("create a job", || async {
            let mut tx = self.begin().await?;
            let made = args()
                .job(id)
                .text(spec.project.name.clone())
                .bytes(pack_json(&spec)?)
                .text(sql::job_status(JobStatus::Running))
                .bytes(pack_json(&state)?)
                .int(now.0)
                .opt_text(trace.as_ref().map(TraceParent::as_str))
                .query(
                    "INSERT INTO jobs (id, project, spec, status, version, state, created_at, updated_at, trace) \
                     VALUES ($1, $2, $3, $4, 0, $5, $6, $6, $7) ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if made > 0 {
                return tx.commit().await;
            }
            let row = args()
                .job(id)
                .query("SELECT spec FROM jobs WHERE id = $1")
                .fetch_one(&mut *tx)
                .await?;
            let stored: JobSpec = unpack_json(row.column(0)?)?;
            if stored == spec {
                Ok(())
            } else {
                Err(Failure::exists("job", id))
            }
        })
        .await
    }

    async fn get_job(&self, id: JobId) -> Result<Job, StoreError> {
        self.run("read a job", || async {
            let row = args()
                .job(id)
                .query(select_jobs!("WHERE id = $1"))
                .fetch_optional(self.pool())
                .await?
                .ok_or_else(|| Failure::not_found("job", id))?;
            to_job(&row)
        })
        .await
    }

    async fn set_paused(&self, id: JobId, paused: bool) -> Result<bool, StoreError> {
        self.run("pause or resume a job", || async {
            let mut tx = self.begin().await?;
            let changed = args()
                .job(id)
                .flag(paused)
                .int(self.now().0)
                .query(
                    "UPDATE jobs SET paused = $2, version = version + 1, \
                     updated_at = CASE WHEN $2 THEN updated_at ELSE $3 END \
                     WHERE id = $1 AND status = 'running' AND paused <> $2",
                )
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if changed > 0 {
                tx.commit().await?;
                return Ok(paused);
            }
            args()
                .job(id)
                .query("SELECT paused FROM jobs WHERE id = $1")
                .fetch_optional(&mut *tx)
                .await?
                .ok_or_else(|| Failure::not_found("job", id))?
                .flag(0)
        })
        .await
    }

    async fn list_jobs(
        &self,
        project: Option<&str>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        // a text for each question, so that each has a plan of its own, along an index
        let text = match (project, before) {
            (None, None) => list_jobs!("$1::text IS NULL", "$2::uuid IS NULL"),
            (None, Some(_)) => list_jobs!(
                "$1::text IS NULL",
                "(created_at, seq) < (SELECT created_at, seq FROM jobs WHERE id = $2)"
            ),
            (Some(_), None) => list_jobs!("project = $1", "$2::uuid IS NULL"),
            (Some(_), Some(_)) => list_jobs!(
                "project = $1",
                "(created_at, seq) < (SELECT created_at, seq FROM jobs WHERE id = $2)"
            ),
        };
        self.run("list jobs", || async {
            let rows = args()
                .opt_text(project)
                .opt_job(before)
                .number(u64::from(limit))
                .query(text)
                .fetch_all(self.pool())
                .await?;
            rows.iter().map(to_job).collect()
        })
        .await
    }

    async fn jobs_to_tick(&self, limit: u32) -> Result<Vec<JobId>, StoreError> {
        self.run("list jobs to tick", || async {
            let rows = args()
                .number(u64::from(limit))
                .query(
                    "SELECT id FROM jobs WHERE status = 'running' AND NOT paused AND ( \
                     EXISTS (SELECT 1 FROM tasks WHERE job = jobs.id AND NOT consumed AND state IN ('done', 'dead')) \
                     OR NOT EXISTS (SELECT 1 FROM tasks WHERE job = jobs.id AND state IN ('queued', 'leased'))) \
                     ORDER BY seq LIMIT $1",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter().map(|row| row.job(0)).collect()
        })
        .await
    }

    async fn commit_tick(&self, tick: Tick) -> Result<u64, StoreError> {
        self.run("commit a tick", || tick::commit(self, &tick))
            .await
    }

    async fn events(
        &self,
        job: JobId,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, StoreError> {
        self.run("read a job's events", || async {
            let rows = args()
                .job(job)
                .number(after_seq)
                .number(u64::from(limit))
                .query(
                    "SELECT seq, at, body FROM job_events WHERE job = $1 AND seq > $2 ORDER BY seq LIMIT $3",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(JobEvent {
                        seq: row.number(0)?,
                        at: Timestamp(row.column(1)?),
                        body: from_json(row.column::<&str>(2)?.as_bytes())?,
                    })
                })
                .collect()
        })
        .await
    }

    async fn lineage(&self, job: JobId) -> Result<Vec<Lineage>, StoreError> {
        self.run("read a job's lineage", || async {
            let rows = args()
                .job(job)
                .query(
                    "SELECT child, parents, iteration, level, technique, hypothesis, files, added, removed \
                     FROM lineage WHERE job = $1 ORDER BY seq",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter().map(to_lineage).collect()
        })
        .await
    }

    async fn decisions(&self, job: JobId) -> Result<Vec<Decision>, StoreError> {
        self.run("read a job's decisions", || async {
            let rows = args()
                .job(job)
                .query(
                    "SELECT seq, iteration, what, reason, evidence FROM decisions WHERE job = $1 ORDER BY seq",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(Decision {
                        seq: row.number32(0)?,
                        iteration: row.number32(1)?,
                        what: from_json(row.column::<&str>(2)?.as_bytes())?,
                        reason: row.column(3)?,
                        evidence: from_json(row.column::<&str>(4)?.as_bytes())?,
                    })
                })
                .collect()
        })
        .await
    }
}

fn to_job(row: &PgRow) -> Result<Job, Failure> {
    Ok(Job {
        id: row.job(0)?,
        project: row.column(1)?,
        spec: unpack_json(row.column(2)?)?,
        status: sql::to_job_status(row.column(3)?)?,
        version: row.number(4)?,
        state: unpack_json(row.column(5)?)?,
        created_at: Timestamp(row.column(6)?),
        updated_at: Timestamp(row.column(7)?),
        paused: row.flag(8)?,
        trace: sql::to_trace(row.column(9)?)?,
    })
}

fn to_lineage(row: &PgRow) -> Result<Lineage, Failure> {
    let parents: Vec<Vec<u8>> = row.column(1)?;
    let level: Option<String> = row.column(3)?;
    let technique: Option<String> = row.column(4)?;
    Ok(Lineage {
        child: VariantId(row.hash(0)?),
        parents: parents
            .iter()
            .map(|parent| to_hash(parent).map(VariantId))
            .collect::<Result<_, _>>()?,
        iteration: row.number32(2)?,
        level: level.map(sql::from_serde_name).transpose()?,
        technique: technique.map(sql::from_serde_name).transpose()?,
        hypothesis: row.column(5)?,
        diff: DiffStats {
            files: row.number32(6)?,
            added: row.number32(7)?,
            removed: row.number32(8)?,
        },
    })
}
