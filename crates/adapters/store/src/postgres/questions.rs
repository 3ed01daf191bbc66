//! Questions about stored runs: which evaluations a job has, which runs fit a description, figures.

use async_trait::async_trait;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::trace::RunStatus;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{
    EvaluationAggregate, RunFilter, RunSummary, StepAggregate, TraceQueries,
};
use fapo_domain::{CaseId, EvaluationId, JobId, Spend, StepId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection};

use crate::codec::unpack_json;
use crate::error::Failure;
use crate::postgres::blobs;
use crate::postgres::evaluations::{Place, find};
use crate::postgres::sql::{self, Columns, args};
use crate::postgres::store::{PgStore, SNAPSHOT};
use crate::questions::{Listed, Needle, SEARCHED_AT_ONCE, blobs_of, show};
use crate::runs::Bodies;

#[async_trait]
impl TraceQueries for PgStore {
    async fn evaluations(&self, job: JobId) -> Result<Vec<EvaluationSpec>, StoreError> {
        self.run("list a job's evaluations", || async {
            let rows = args()
                .job(job)
                .query("SELECT spec FROM job_evaluations WHERE job = $1 ORDER BY seq")
                .fetch_all(self.pool())
                .await?;
            rows.iter().map(|row| unpack_json(row.column(0)?)).collect()
        })
        .await
    }

    async fn evaluation(&self, id: EvaluationId) -> Result<Option<EvaluationSpec>, StoreError> {
        self.run("find an evaluation", || async {
            let row = args()
                .hash(&id.0)
                .query("SELECT spec FROM job_evaluations WHERE hash = $1")
                .fetch_optional(self.pool())
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
        let needle = filter.output_contains.as_deref().map(Needle::new);
        let at_once = match needle {
            Some(_) => SEARCHED_AT_ONCE,
            None => limit,
        };
        let wanted = limit as usize;
        let mut found = Vec::new();
        let mut next = from;
        while found.len() < wanted {
            let (listed, bodies) = self
                .run("search runs", || async {
                    let mut connection = self.connection().await?;
                    let mut tx = connection.begin_with(SNAPSHOT).await?;
                    let listed = match find(&mut tx, evaluation).await? {
                        Some(place) => {
                            list(&mut tx, evaluation, place, filter, next, at_once).await?
                        }
                        None => Vec::new(),
                    };
                    let bodies = Bodies(blobs::load(&mut tx, &blobs_of(&listed)?).await?);
                    tx.commit().await?;
                    Ok((listed, bodies))
                })
                .await?;
            let Some(last) = listed.last() else { break };
            next = last.summary.ordinal + 1;
            let all = listed.len() < at_once as usize;
            let shown = self
                .once("search runs", async {
                    show(listed, &bodies, needle.as_ref())
                })
                .await?;
            found.extend(shown);
            if all {
                break;
            }
        }
        found.truncate(wanted);
        Ok(found)
    }

    async fn aggregate(&self, evaluation: EvaluationId) -> Result<EvaluationAggregate, StoreError> {
        self.run("add up an evaluation", || async {
            let mut connection = self.connection().await?;
            // all figures are of one state
            let mut tx = connection.begin_with(SNAPSHOT).await?;
            let Some(place) = find(&mut tx, evaluation).await? else {
                return Ok(EvaluationAggregate::default());
            };
            let (runs, spend) = count_runs(&mut tx, place).await?;
            let row = args()
                .int(place.id)
                .query(
                    "SELECT count(*), avg(score) FROM scores WHERE evaluation = $1 AND status <> 'missing'",
                )
                .fetch_one(&mut *tx)
                .await?;
            let aggregate = EvaluationAggregate {
                runs,
                scored: row.number(0)?,
                mean: row.column(1)?,
                spend,
                steps: add_up_steps(&mut tx, place).await?,
            };
            tx.commit().await?;
            Ok(aggregate)
        })
        .await
    }
}

/// A page of runs that fit everything of `filter` that columns can tell. Only the conditions that are asked for stand in the
/// statement, and states by their names: so the planner sees which of the partial indexes fit.
async fn list(
    connection: &mut PgConnection,
    evaluation: EvaluationId,
    place: Place,
    filter: &RunFilter,
    from: u64,
    limit: u32,
) -> Result<Vec<Listed>, Failure> {
    let mut text = String::from(
        "SELECT r.ordinal, r.case_id, r.status, r.reason, \
         CASE WHEN s.status <> 'missing' THEN s.score END, CASE WHEN s.status <> 'missing' THEN s.feedback END, \
         (SELECT step FROM steps AS t WHERE t.part = $1 AND t.evaluation = $2 AND t.ordinal = r.ordinal \
         AND t.status = 'failed' ORDER BY n LIMIT 1), \
         r.cost, r.model_calls, r.input_tokens, r.output_tokens, r.cached_tokens, r.reasoning_tokens, \
         r.duration_ms, coalesce(r.output_text, r.output_json) \
         FROM runs AS r LEFT JOIN scores AS s ON s.evaluation = $2 AND s.ordinal = r.ordinal \
         WHERE r.part = $1 AND r.evaluation = $2 AND r.ordinal >= $3",
    );
    let mut arguments = args();
    arguments
        .int(place.part)
        .int(place.id)
        .number(from)
        .int(i64::from(limit));
    let mut number = 4;
    let mut next = || {
        number += 1;
        number
    };
    if let Some(status) = filter.status {
        text += &format!(" AND r.status = '{}'", sql::run_status(status));
    }
    if let Some(bound) = filter.failed_below {
        text += &format!(
            " AND (r.status <> 'completed' OR (s.status <> 'missing' AND s.score < ${}))",
            next()
        );
        arguments.real(bound);
    }
    if let Some(case) = &filter.case_id {
        text += &format!(" AND r.case_id = ${}", next());
        arguments.text(case.as_str());
    }
    if let Some(step) = &filter.failed_step {
        text += &format!(
            " AND r.ordinal IN (SELECT t.ordinal FROM steps AS t WHERE t.part = $1 AND t.evaluation = $2 \
             AND t.status = 'failed' AND t.step = ${})",
            next()
        );
        arguments.text(step.as_str());
    }
    text += " ORDER BY r.ordinal LIMIT $4";
    let rows = arguments
        .query(AssertSqlSafe(text))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| listed(evaluation, row)).collect()
}

fn listed(evaluation: EvaluationId, row: &PgRow) -> Result<Listed, Failure> {
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
            spend: row.spend(7)?,
            duration_ms: row.number32(13)?,
        },
        output: row.column(14)?,
    })
}

/// Runs by how they ended, and what all of them spent.
async fn count_runs(
    connection: &mut PgConnection,
    place: Place,
) -> Result<(Vec<(RunStatus, u64)>, Spend), Failure> {
    let rows = args()
        .int(place.part)
        .int(place.id)
        .query(
            "SELECT status, count(*), sum(cost)::bigint, sum(model_calls)::bigint, sum(input_tokens)::bigint, \
             sum(output_tokens)::bigint, sum(cached_tokens)::bigint, sum(reasoning_tokens)::bigint \
             FROM runs WHERE part = $1 AND evaluation = $2 GROUP BY status ORDER BY status COLLATE \"C\"",
        )
        .fetch_all(connection)
        .await?;
    let mut spend = Spend::default();
    let mut runs = Vec::with_capacity(rows.len());
    for row in &rows {
        runs.push((sql::to_run_status(row.column(0)?)?, row.number(1)?));
        spend += row.spend(2)?;
    }
    Ok((runs, spend))
}

async fn add_up_steps(
    connection: &mut PgConnection,
    place: Place,
) -> Result<Vec<StepAggregate>, Failure> {
    let rows = args()
        .int(place.part)
        .int(place.id)
        .query(
            "SELECT step, max(kind), count(*), count(*) FILTER (WHERE status = 'failed'), \
             count(*) FILTER (WHERE status = 'skipped'), count(*) FILTER (WHERE cache_hit), \
             sum(cost)::bigint, sum(model_calls)::bigint, sum(input_tokens)::bigint, \
             sum(output_tokens)::bigint, sum(cached_tokens)::bigint, sum(reasoning_tokens)::bigint, \
             sum(coalesce((full_spend::json ->> 0)::bigint, cost))::bigint, \
             sum(coalesce((full_spend::json ->> 1)::bigint, model_calls))::bigint, \
             sum(coalesce((full_spend::json ->> 2)::bigint, input_tokens))::bigint, \
             sum(coalesce((full_spend::json ->> 3)::bigint, output_tokens))::bigint, \
             sum(coalesce((full_spend::json ->> 4)::bigint, cached_tokens))::bigint, \
             sum(coalesce((full_spend::json ->> 5)::bigint, reasoning_tokens))::bigint, \
             coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY full_duration_ms) FILTER (WHERE status <> 'skipped'), 0), \
             coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY full_duration_ms) FILTER (WHERE status <> 'skipped'), 0) \
             FROM steps WHERE part = $1 AND evaluation = $2 GROUP BY step ORDER BY step",
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
                spend: row.spend(6)?,
                full_spend: row.spend(12)?,
                p50_ms: row.number32(18)?,
                p95_ms: row.number32(19)?,
            })
        })
        .collect()
}
