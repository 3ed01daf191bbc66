//! One tick of a job, as one transaction.

use std::collections::HashSet;

use fapo_domain::JobId;
use fapo_domain::clock::Timestamp;
use fapo_domain::model::decision::Decision;
use fapo_domain::model::task::NewTask;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::Lineage;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Tick;
use serde_json::Value;
use sqlx::sqlite::SqliteConnection;

use crate::codec::{pack_json, to_text};
use crate::error::Failure;
use crate::sqlite::sql::{self, Args, Columns, Insert, args, hash_list};
use crate::sqlite::store::SqliteStore;

pub(super) async fn commit(store: &SqliteStore, tick: Tick) -> Result<u64, Failure> {
    let packed_state = pack_json(&tick.state)?;
    let job = tick.job;
    let mut writer = store.writer().await;
    let mut tx = writer.begin().await?;
    let now = store.now();
    let row = args()
        .job(job)
        .query("SELECT version, test_opened FROM jobs WHERE id = ?")
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| Failure::not_found("job", job))?;
    if row.number(0)? != tick.expected_version {
        return Err(StoreError::VersionConflict {
            kind: "job",
            id: job.to_string(),
        }
        .into());
    }
    if let (Some(what), Some(opened)) = (tick.open_test, row.column::<Option<&[u8]>>(1)?)
        && opened != what.as_bytes()
    {
        return Err(super::already("sealed test of job", job));
    }
    let version = tick.expected_version + 1;
    args()
        .job(job)
        .number(version)
        .text(sql::job_status(tick.status))
        .bytes(packed_state)
        .int(now.0)
        .opt_bytes(tick.open_test.map(|what| what.as_bytes().to_vec()))
        .query(
            "UPDATE jobs SET version = ?2, status = ?3, state = ?4, updated_at = ?5, \
             test_opened = coalesce(test_opened, ?6) WHERE id = ?1",
        )
        .execute(&mut *tx)
        .await?;
    append_events(&mut tx, job, tick.events, now).await?;
    insert_evaluations(&mut tx, &tick.tasks).await?;
    insert_tasks(&mut tx, tick.tasks, tick.trace.as_ref(), now).await?;
    if !tick.consumed.is_empty() {
        args()
            .job(job)
            .text(hash_list(tick.consumed.iter().map(|task| &task.0)))
            .query(
                "UPDATE tasks SET consumed = 1 WHERE job = ?1 AND state IN ('done', 'dead') \
                 AND id IN (SELECT unhex(value) FROM json_each(?2))",
            )
            .execute(&mut *tx)
            .await?;
    }
    append_lineage(&mut tx, job, tick.lineage).await?;
    insert_decisions(&mut tx, job, tick.decisions).await?;
    if tick.status.is_final() {
        args()
            .job(job)
            .int(now.0)
            .query(
                "UPDATE tasks SET state = 'cancelled', updated_at = ?2 WHERE job = ?1 \
                 AND state IN ('queued', 'leased') AND state = 'queued'",
            )
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(version)
}

async fn append_events(
    tx: &mut SqliteConnection,
    job: JobId,
    events: Vec<Value>,
    now: Timestamp,
) -> Result<(), Failure> {
    static EVENTS: Insert =
        Insert::new("INSERT INTO job_events (job, seq, at, body) VALUES", 4, "");
    if events.is_empty() {
        return Ok(());
    }
    let last = next(
        tx,
        job,
        "SELECT coalesce(max(seq), 0) FROM job_events WHERE job = ?",
    )
    .await?;
    let rows = (last + 1..)
        .zip(events)
        .map(|(seq, body)| Ok((job, seq, now, to_text(&body)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    EVENTS.run(tx, rows, bind_event).await
}

fn bind_event((job, seq, now, body): (JobId, u64, Timestamp, String), arguments: &mut Args) {
    arguments.job(job).number(seq).int(now.0).text(body);
}

/// Writes down which evaluations are the job's, once each.
async fn insert_evaluations(tx: &mut SqliteConnection, tasks: &[NewTask]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for task in tasks {
        let Some(evaluation) = task.payload.executes() else {
            continue;
        };
        let id = evaluation.id();
        if !seen.insert(id) {
            continue;
        }
        args()
            .job(evaluation.job)
            .hash(&id.0)
            .bytes(pack_json(evaluation)?)
            .query(
                "INSERT INTO job_evaluations (job, hash, spec) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert_tasks(
    tx: &mut SqliteConnection,
    tasks: Vec<NewTask>,
    trace: Option<&TraceParent>,
    now: Timestamp,
) -> Result<(), Failure> {
    static TASKS: Insert = Insert::new(
        "INSERT INTO tasks (id, job, topic, payload, state, not_before, created_at, updated_at, trace) VALUES",
        9,
        "ON CONFLICT (id) DO NOTHING",
    );
    let rows = tasks
        .into_iter()
        .map(|task| {
            let packed = pack_json(&task.payload)?;
            Ok((task, packed, trace.cloned(), now))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    TASKS.run(tx, rows, bind_task).await
}

fn bind_task(
    (task, packed, trace, now): (NewTask, Vec<u8>, Option<TraceParent>, Timestamp),
    arguments: &mut Args,
) {
    arguments
        .hash(&task.id.0)
        .job(task.job)
        .text(sql::topic(task.payload.topic()))
        .bytes(packed)
        .text(sql::task_state(fapo_domain::model::task::TaskState::Queued))
        .int(now.0)
        .int(now.0)
        .int(now.0)
        .opt_text(trace.map(String::from));
}

async fn append_lineage(
    tx: &mut SqliteConnection,
    job: JobId,
    lineage: Vec<Lineage>,
) -> Result<(), Failure> {
    if lineage.is_empty() {
        return Ok(());
    }
    let first = next(
        tx,
        job,
        "SELECT coalesce(max(seq) + 1, 0) FROM lineage WHERE job = ?",
    )
    .await?;
    for (seq, row) in (first..).zip(lineage) {
        let parents: Vec<u8> = row
            .parents
            .iter()
            .flat_map(|parent| *parent.0.as_bytes())
            .collect();
        args()
            .job(job)
            .number(seq)
            .hash(&row.child.0)
            .bytes(parents)
            .number(u64::from(row.iteration))
            .opt_text(row.level.as_ref().map(sql::serde_name).transpose()?)
            .opt_text(row.technique.as_ref().map(sql::serde_name).transpose()?)
            .text(row.hypothesis)
            .number(u64::from(row.diff.files))
            .number(u64::from(row.diff.added))
            .number(u64::from(row.diff.removed))
            .query(
                "INSERT INTO lineage (job, seq, child, parents, iteration, level, technique, hypothesis, files, added, \
                 removed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert_decisions(
    tx: &mut SqliteConnection,
    job: JobId,
    decisions: Vec<Decision>,
) -> Result<(), Failure> {
    for decision in decisions {
        let inserted = args()
            .job(job)
            .number(u64::from(decision.seq))
            .number(u64::from(decision.iteration))
            .text(to_text(&decision.what)?)
            .text(decision.reason)
            .text(to_text(&decision.evidence)?)
            .query(
                "INSERT INTO decisions (job, seq, iteration, what, reason, evidence) VALUES (?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO NOTHING",
            )
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if inserted == 0 {
            return Err(StoreError::AlreadyExists {
                kind: "decision",
                id: format!("{} of job {job}", decision.seq),
            }
            .into());
        }
    }
    Ok(())
}

async fn next(tx: &mut SqliteConnection, job: JobId, sql: &'static str) -> Result<u64, Failure> {
    args().job(job).query(sql).fetch_one(tx).await?.number(0)
}
