//! Rows as run records.

use std::collections::{HashMap, HashSet};

use fapo_domain::clock::Timestamp;
use fapo_domain::model::trace::{RunRecord, StepRecord};
use fapo_domain::ports::traces::StepsOf;
use fapo_domain::{CaseId, EvaluationId, StepId, StepKey};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::Failure;
use crate::runs::{Bodies, in_order, note_blob};
use crate::sqlite::blobs;
use crate::sqlite::sql::{self, Columns, args, number_list};

/// Rows as they came.
pub(super) struct Raw {
    runs: Vec<SqliteRow>,
    steps: Vec<SqliteRow>,
    bodies: Bodies,
}

/// Reads everything about some runs from one snapshot.
pub(super) async fn fetch(
    connection: &mut SqliteConnection,
    evaluation: EvaluationId,
    ordinals: &[u64],
    steps: StepsOf,
) -> Result<Raw, Failure> {
    let list = number_list(ordinals.iter().copied());
    let mut tx = connection.begin().await?;
    let Some(id) = super::find(&mut tx, evaluation).await? else {
        return Ok(Raw {
            runs: Vec::new(),
            steps: Vec::new(),
            bodies: Bodies(HashMap::new()),
        });
    };
    let runs = args()
        .int(id)
        .text(list.clone())
        .query(
            "SELECT ordinal, case_id, status, reason, output_text, output_json, cost, model_calls, input_tokens, \
             output_tokens, cached_tokens, reasoning_tokens, started_at, duration_ms, full_spend, full_duration_ms FROM runs \
             WHERE evaluation = ? AND ordinal IN (SELECT value FROM json_each(?))",
        )
        .fetch_all(&mut *tx)
        .await?;
    let of = match steps {
        StepsOf::All => "all",
        StepsOf::Incomplete => "incomplete",
    };
    let steps = args()
        .int(id)
        .text(list)
        .text(of)
        .query(
            "SELECT ordinal, position, step, kind, status, key, cache_hit, input, output, finish, error_kind, error, \
             cost, model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens, attempts, started_ms, \
             duration_ms, full_spend, full_duration_ms FROM steps WHERE evaluation = ?1 \
             AND ordinal IN (SELECT value FROM json_each(?2) WHERE ?3 = 'all' \
             OR (SELECT status FROM runs WHERE evaluation = ?1 AND ordinal = value) <> 'completed') \
             ORDER BY ordinal, n",
        )
        .fetch_all(&mut *tx)
        .await?;
    let mut wanted = HashSet::new();
    for (rows, columns) in [(&runs, [4, 5]), (&steps, [7, 8])] {
        for row in rows {
            for column in columns {
                note_blob(row.column(column)?, &mut wanted)?;
            }
        }
    }
    let bodies = Bodies(blobs::load(&mut tx, &wanted).await?);
    tx.commit().await?;
    Ok(Raw {
        runs,
        steps,
        bodies,
    })
}

/// Puts records together, in the order asked for.
pub(super) fn assemble(
    evaluation: EvaluationId,
    raw: Raw,
    ordinals: &[u64],
) -> Result<Vec<RunRecord>, Failure> {
    let mut steps: HashMap<u64, Vec<StepRecord>> = HashMap::new();
    for row in &raw.steps {
        let step = raw.step(row)?;
        steps.entry(row.number(0)?).or_default().push(step);
    }
    let mut runs: HashMap<u64, RunRecord> = HashMap::new();
    for row in &raw.runs {
        let ordinal = row.number(0)?;
        let steps = steps.remove(&ordinal).unwrap_or_default();
        runs.insert(ordinal, raw.run(row, evaluation, steps)?);
    }
    Ok(in_order(runs, ordinals))
}

impl Raw {
    fn run(
        &self,
        row: &SqliteRow,
        evaluation: EvaluationId,
        steps: Vec<StepRecord>,
    ) -> Result<RunRecord, Failure> {
        let spend = sql::to_spend(row, 6)?;
        Ok(RunRecord {
            evaluation,
            ordinal: row.number(0)?,
            case_id: CaseId::new(row.column::<&str>(1)?),
            status: sql::to_run_status(row.column(2)?)?,
            reason: row.column(3)?,
            output_text: self.bodies.text(row.column(4)?)?,
            output_json: self.bodies.json(row.column(5)?)?,
            spend,
            full_spend: sql::to_full_spend(row.column(14)?, spend)?,
            started_at: Timestamp(row.column(12)?),
            duration_ms: row.number32(13)?,
            full_duration_ms: row.number32(15)?,
            steps,
        })
    }

    fn step(&self, row: &SqliteRow) -> Result<StepRecord, Failure> {
        let key: Option<&[u8]> = row.column(5)?;
        let finish: Option<&str> = row.column(9)?;
        let spend = sql::to_spend(row, 12)?;
        Ok(StepRecord {
            step: StepId::new(row.column::<&str>(2)?),
            position: row.number32(1)?,
            kind: row.column(3)?,
            status: sql::to_step_status(row.column(4)?)?,
            key: key
                .map(|key| crate::codec::to_hash(key).map(StepKey))
                .transpose()?,
            cache_hit: row.flag(6)?,
            input: self.bodies.json(row.column(7)?)?,
            output: self.bodies.json(row.column(8)?)?,
            finish: finish.map(sql::to_finish_reason).transpose()?,
            error_kind: row.column(10)?,
            error: row.column(11)?,
            spend,
            full_spend: sql::to_full_spend(row.column(21)?, spend)?,
            attempts: row.number32(18)?,
            started_ms: row.number32(19)?,
            duration_ms: row.number32(20)?,
            full_duration_ms: row.number32(22)?,
        })
    }
}
