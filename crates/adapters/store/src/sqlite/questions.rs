//! Questions about stored runs: which evaluations a job has, which runs fit a description, figures.

use async_trait::async_trait;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::model::trace::RunStatus;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{
    EvaluationAggregate, RunFilter, RunSummary, StepAggregate, TraceQueries,
};
use fapo_domain::{CaseId, EvaluationId, JobId, Spend, StepId};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::unpack_json;
use crate::error::Failure;
use crate::questions::{Listed, Needle, SEARCHED_AT_ONCE, blobs_of, show};
use crate::runs::Bodies;
use crate::sqlite::blobs;
use crate::sqlite::sql::{self, Columns, args};
use crate::sqlite::store::SqliteStore;
use crate::sqlite::traces;

#[async_trait]
impl TraceQueries for SqliteStore {
    async fn evaluations(&self, job: JobId) -> Result<Vec<EvaluationSpec>, StoreError> {
        self.run("list a job's evaluations", async {
            let rows = args()
                .job(job)
                .query("SELECT spec FROM job_evaluations WHERE job = ? ORDER BY seq")
                .fetch_all(&mut *self.reader().await)
                .await?;
            rows.iter().map(|row| unpack_json(row.column(0)?)).collect()
        })
        .await
    }

    async fn evaluation(&self, id: EvaluationId) -> Result<Option<EvaluationSpec>, StoreError> {
        self.run("find an evaluation", async {
            let row = args()
                .hash(&id.0)
                .query("SELECT spec FROM job_evaluations WHERE hash = ?")
                .fetch_optional(&mut *self.reader().await)
                .await?;
            row.map(|row| unpack_json(row.column(0)?)).transpose()
        })
        .await
    }

    async fn search(
        &self,
        evaluation: EvaluationId,
        filter: &RunFilter,
        from: u64,
        limit: u32,
    ) -> Result<Vec<RunSummary>, StoreError> {
        self.run("search runs", async {
            let needle = filter.output_contains.as_deref().map(Needle::new);
            let at_once = match needle {
                Some(_) => SEARCHED_AT_ONCE,
                None => limit,
            };
            let wanted = limit as usize;
            let mut found = Vec::new();
            let mut next = from;
            while found.len() < wanted {
                let mut connection = self.reader().await;
                let mut tx = connection.begin().await?;
                let listed = list(&mut tx, evaluation, filter, next, at_once).await?;
                let bodies = Bodies(blobs::load(&mut tx, &blobs_of(&listed)?).await?);
                tx.commit().await?;
                drop(connection);
                let Some(last) = listed.last() else { break };
                next = last.summary.ordinal + 1;
                let all = listed.len() < at_once as usize;
                found.extend(show(listed, &bodies, needle.as_ref())?);
                if all {
                    break;
                }
            }
            found.truncate(wanted);
            Ok(found)
        })
        .await
    }

    async fn aggregate(&self, evaluation: EvaluationId) -> Result<EvaluationAggregate, StoreError> {
        self.run("add up an evaluation", async {
            let mut connection = self.reader().await;
            // all figures are of one state
            let mut tx = connection.begin().await?;
            let Some(id) = traces::find(&mut tx, evaluation).await? else {
                return Ok(EvaluationAggregate::default());
            };
            let (runs, spend) = count_runs(&mut tx, id).await?;
            let row = args()
                .int(id)
                .text(sql::score_status(ScoreStatus::Missing))
                .query(
                    "SELECT count(*), avg(score) FROM scores WHERE evaluation = ? AND status <> ?",
                )
                .fetch_one(&mut *tx)
                .await?;
            let aggregate = EvaluationAggregate {
                runs,
                scored: row.number(0)?,
                mean: row.column(1)?,
                spend,
                steps: add_up_steps(&mut tx, id).await?,
            };
            tx.commit().await?;
            Ok(aggregate)
        })
        .await
    }
}

/// A page of runs that fit everything of `filter` that columns can tell.
async fn list(
    connection: &mut SqliteConnection,
    evaluation: EvaluationId,
    filter: &RunFilter,
    from: u64,
    limit: u32,
) -> Result<Vec<Listed>, Failure> {
    let rows = args()
        .hash(&evaluation.0)
        .number(from)
        .opt_text(filter.status.map(sql::run_status))
        .opt_real(filter.failed_below)
        .opt_text(filter.case_id.as_ref().map(CaseId::as_str))
        .opt_text(filter.failed_step.as_ref().map(StepId::as_str))
        .int(i64::from(limit))
        .query(
            "SELECT r.ordinal, r.case_id, r.status, r.reason, \
             CASE WHEN s.status <> 'missing' THEN s.score END, CASE WHEN s.status <> 'missing' THEN s.feedback END, \
             (SELECT step FROM steps AS t WHERE t.evaluation = r.evaluation AND t.ordinal = r.ordinal \
             AND t.status = 'failed' ORDER BY n LIMIT 1), \
             r.cost, r.model_calls, r.input_tokens, r.output_tokens, r.cached_tokens, r.reasoning_tokens, \
             r.duration_ms, coalesce(r.output_text, r.output_json) \
             FROM runs AS r LEFT JOIN scores AS s ON s.evaluation = r.evaluation AND s.ordinal = r.ordinal \
             WHERE r.evaluation = (SELECT id FROM evaluations WHERE hash = ?1) AND r.ordinal >= ?2 \
             AND (?3 IS NULL OR r.status = ?3) \
             AND (?4 IS NULL OR r.status <> 'completed' OR (s.status <> 'missing' AND s.score < ?4)) \
             AND (?5 IS NULL OR r.case_id = ?5) \
             AND (?6 IS NULL OR EXISTS (SELECT 1 FROM steps AS t WHERE t.evaluation = r.evaluation \
             AND t.ordinal = r.ordinal AND t.status = 'failed' AND t.step = ?6)) \
             ORDER BY r.ordinal LIMIT ?7",
        )
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| listed(evaluation, row)).collect()
}

fn listed(evaluation: EvaluationId, row: &SqliteRow) -> Result<Listed, Failure> {
    let failed_step: Option<&str> = row.column(6)?;
    Ok(Listed {
        summary: RunSummary {
            evaluation,
            ordinal: row.number(0)?,
            case_id: CaseId::new(row.column::<&str>(1)?),
            status: sql::to_run_status(row.column(2)?)?,
            reason: row.column(3)?,
            output: None,
            score: row.column(4)?,
            feedback: row.column(5)?,
            failed_step: failed_step.map(StepId::new),
            spend: sql::to_spend(row, 7)?,
            duration_ms: row.number32(13)?,
        },
        output: row.column(14)?,
    })
}

/// Runs by how they ended, and what all of them spent.
async fn count_runs(
    connection: &mut SqliteConnection,
    evaluation: i64,
) -> Result<(Vec<(RunStatus, u64)>, Spend), Failure> {
    let rows = args()
        .int(evaluation)
        .query(
            "SELECT status, count(*), sum(cost), sum(model_calls), sum(input_tokens), sum(output_tokens), \
             sum(cached_tokens), sum(reasoning_tokens) FROM runs WHERE evaluation = ? GROUP BY status ORDER BY status",
        )
        .fetch_all(connection)
        .await?;
    let mut spend = Spend::default();
    let mut runs = Vec::with_capacity(rows.len());
    for row in &rows {
        runs.push((sql::to_run_status(row.column(0)?)?, row.number(1)?));
        spend += sql::to_spend(row, 2)?;
    }
    Ok((runs, spend))
}

async fn add_up_steps(
    connection: &mut SqliteConnection,
    evaluation: i64,
) -> Result<Vec<StepAggregate>, Failure> {
    // the nearest rank, over the steps that were not skipped: the sort puts those last
    let rows = args()
        .int(evaluation)
        .query(
            "WITH ranked AS (SELECT *, row_number() OVER (PARTITION BY step ORDER BY status = 'skipped', \
             full_duration_ms) AS place, count(*) FILTER (WHERE status <> 'skipped') OVER (PARTITION BY step) AS timed \
             FROM steps WHERE evaluation = ?1) \
             SELECT step, max(kind), count(*), count(*) FILTER (WHERE status = 'failed'), \
             count(*) FILTER (WHERE status = 'skipped'), sum(cache_hit), \
             sum(cost), sum(model_calls), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(reasoning_tokens), \
             sum(coalesce(full_spend ->> 0, cost)), sum(coalesce(full_spend ->> 1, model_calls)), \
             sum(coalesce(full_spend ->> 2, input_tokens)), sum(coalesce(full_spend ->> 3, output_tokens)), \
             sum(coalesce(full_spend ->> 4, cached_tokens)), sum(coalesce(full_spend ->> 5, reasoning_tokens)), \
             coalesce(max(full_duration_ms) FILTER (WHERE place = (timed + 1) / 2), 0), \
             coalesce(max(full_duration_ms) FILTER (WHERE place = (timed * 95 + 99) / 100), 0) \
             FROM ranked GROUP BY step ORDER BY step",
        )
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(StepAggregate {
                step: StepId::new(row.column::<&str>(0)?),
                kind: row.column(1)?,
                count: row.number(2)?,
                failed: row.number(3)?,
                skipped: row.number(4)?,
                cache_hits: row.number(5)?,
                spend: sql::to_spend(row, 6)?,
                full_spend: sql::to_spend(row, 12)?,
                p50_ms: row.number32(18)?,
                p95_ms: row.number32(19)?,
            })
        })
        .collect()
}
