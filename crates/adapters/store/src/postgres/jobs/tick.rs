//! One tick of a job, as one transaction.

use std::collections::HashSet;

use fapo_domain::JobId;
use fapo_domain::clock::Timestamp;
use fapo_domain::model::decision::Decision;
use fapo_domain::model::task::{NewTask, TaskState};
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::Lineage;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Tick;
use serde_json::Value;
use sqlx::postgres::PgConnection;

use crate::codec::{pack_json, to_text};
use crate::error::Failure;
use crate::postgres::sql::{self, Columns, args};
use crate::postgres::store::PgStore;

pub(super) async fn commit(store: &PgStore, tick: &Tick) -> Result<u64, Failure> {
    let job = tick.job;
    let packed_state = pack_json(&tick.state)?;
    let mut tx = store.begin().await?;
    // ticks of one job wait for each other here, and the later one meets the new version
    let row = args()
        .job(job)
        .query("SELECT version, test_opened FROM jobs WHERE id = $1 FOR NO KEY UPDATE")
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
        return Err(Failure::exists("sealed test of job", job));
    }
    let now = store.now();
    let version = tick.expected_version + 1;
    args()
        .job(job)
        .number(version)
        .text(sql::job_status(tick.status))
        .bytes(packed_state)
        .int(now.0)
        .opt_hash(tick.open_test.as_ref())
        .query(
            "UPDATE jobs SET version = $2, status = $3, state = $4, updated_at = $5, \
             test_opened = coalesce(test_opened, $6) WHERE id = $1",
        )
        .execute(&mut *tx)
        .await?;
    append_events(&mut tx, job, &tick.events, now).await?;
    insert_evaluations(&mut tx, &tick.tasks).await?;
    insert_tasks(&mut tx, &tick.tasks, tick.trace.as_ref(), now).await?;
    if !tick.consumed.is_empty() {
        args()
            .job(job)
            .hashes(tick.consumed.iter().map(|task| &task.0))
            .query(
                "UPDATE tasks SET consumed = true WHERE job = $1 AND state IN ('done', 'dead') AND id = ANY($2)",
            )
            .execute(&mut *tx)
            .await?;
    }
    append_lineage(&mut tx, job, &tick.lineage).await?;
    insert_decisions(&mut tx, job, &tick.decisions).await?;
    if tick.status.is_final() {
        args()
            .job(job)
            .int(now.0)
            .query(
                "UPDATE tasks SET state = 'cancelled', updated_at = $2 WHERE job = $1 AND state = 'queued'",
            )
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(version)
}

async fn append_events(
    tx: &mut PgConnection,
    job: JobId,
    events: &[Value],
    now: Timestamp,
) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let bodies = events.iter().map(to_text).collect::<Result<_, _>>()?;
    // the job's row is locked: nobody else appends
    args()
        .job(job)
        .int(now.0)
        .texts(bodies)
        .query(
            "INSERT INTO job_events (job, seq, at, body) \
             SELECT $1, (SELECT coalesce(max(seq), 0) FROM job_events WHERE job = $1) + n, $2, body \
             FROM UNNEST($3::text[]) WITH ORDINALITY AS e (body, n)",
        )
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes down which evaluations are the job's, once each.
async fn insert_evaluations(tx: &mut PgConnection, tasks: &[NewTask]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    let evaluations: Vec<_> = tasks
        .iter()
        .filter_map(|task| task.payload.executes())
        .filter(|evaluation| seen.insert(evaluation.id()))
        .collect();
    if evaluations.is_empty() {
        return Ok(());
    }
    let specs = evaluations
        .iter()
        .map(pack_json)
        .collect::<Result<_, _>>()?;
    let ids: Vec<_> = evaluations
        .iter()
        .map(|evaluation| evaluation.id())
        .collect();
    args()
        .jobs(evaluations.iter().map(|evaluation| evaluation.job))
        .hashes(ids.iter().map(|id| &id.0))
        .byte_lists(specs)
        .query(
            "INSERT INTO job_evaluations (job, hash, spec) SELECT job, hash, spec \
             FROM UNNEST($1::uuid[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS e (job, hash, spec, n) ORDER BY n \
             ON CONFLICT DO NOTHING",
        )
        .execute(tx)
        .await?;
    Ok(())
}

async fn insert_tasks(
    tx: &mut PgConnection,
    tasks: &[NewTask],
    trace: Option<&TraceParent>,
    now: Timestamp,
) -> Result<(), Failure> {
    if tasks.is_empty() {
        return Ok(());
    }
    let topics = tasks
        .iter()
        .map(|task| sql::topic(task.payload.topic()).to_owned())
        .collect();
    let payloads = tasks
        .iter()
        .map(|task| pack_json(&task.payload))
        .collect::<Result<_, _>>()?;
    args()
        .hashes(tasks.iter().map(|task| &task.id.0))
        .jobs(tasks.iter().map(|task| task.job))
        .texts(topics)
        .byte_lists(payloads)
        .text(sql::task_state(TaskState::Queued))
        .int(now.0)
        .opt_text(trace.map(TraceParent::as_str))
        .query(
            "INSERT INTO tasks (id, job, topic, payload, state, not_before, created_at, updated_at, trace) \
             SELECT id, job, topic, payload, $5, $6, $6, $6, $7 \
             FROM UNNEST($1::bytea[], $2::uuid[], $3::text[], $4::bytea[]) WITH ORDINALITY \
             AS t (id, job, topic, payload, n) ORDER BY n ON CONFLICT (id) DO NOTHING",
        )
        .execute(tx)
        .await?;
    Ok(())
}

async fn append_lineage(
    tx: &mut PgConnection,
    job: JobId,
    lineage: &[Lineage],
) -> Result<(), Failure> {
    for row in lineage {
        args()
            .job(job)
            .hash(&row.child.0)
            .hashes(row.parents.iter().map(|parent| &parent.0))
            .number(u64::from(row.iteration))
            .opt_text(row.level.as_ref().map(sql::serde_name).transpose()?)
            .opt_text(row.technique.as_ref().map(sql::serde_name).transpose()?)
            .words(row.hypothesis.as_str())
            .number(u64::from(row.diff.files))
            .number(u64::from(row.diff.added))
            .number(u64::from(row.diff.removed))
            .query(
                "INSERT INTO lineage (job, seq, child, parents, iteration, level, technique, hypothesis, files, added, \
                 removed) VALUES ($1, (SELECT coalesce(max(seq) + 1, 0) FROM lineage WHERE job = $1), $2, $3, $4, $5, \
                 $6, $7, $8, $9, $10)",
            )
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert_decisions(
    tx: &mut PgConnection,
    job: JobId,
    decisions: &[Decision],
) -> Result<(), Failure> {
    for decision in decisions {
        let inserted = args()
            .job(job)
            .number(u64::from(decision.seq))
            .number(u64::from(decision.iteration))
            .text(to_text(&decision.what)?)
            .words(decision.reason.as_str())
            .text(to_text(&decision.evidence)?)
            .query(
                "INSERT INTO decisions (job, seq, iteration, what, reason, evidence) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT DO NOTHING",
            )
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if inserted == 0 {
            return Err(Failure::exists(
                "decision",
                format_args!("{} of job {job}", decision.seq),
            ));
        }
    }
    Ok(())
}
