//! Run records as rows.

use std::collections::{BTreeMap, HashMap};

use fapo_domain::hash::ContentHash;
use fapo_domain::model::trace::{RunRecord, RunStatus, StepRecord};
use fapo_domain::{EvaluationId, Spend};
use sqlx::sqlite::SqliteConnection;

use crate::codec::{SMALL, blob_cell, pack, to_json};
use crate::error::Failure;
use crate::sqlite::sql::{self, Args, Insert};

/// Runs ready to be inserted, and what they refer to.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) evaluations: BTreeMap<EvaluationId, Vec<PreparedRun>>,
    /// Long values by hash, not packed yet: most of a repeated evaluation's are stored already.
    pub(super) contents: HashMap<ContentHash, Vec<u8>>,
}

pub(super) struct PreparedRun {
    pub(super) ordinal: u64,
    case_id: String,
    status: RunStatus,
    reason: Option<String>,
    output_text: Option<Vec<u8>>,
    output_json: Option<Vec<u8>>,
    spend: Spend,
    full_spend: Option<String>,
    full_cost: u64,
    cached: bool,
    started_at: i64,
    duration_ms: u32,
    full_duration_ms: u32,
    steps: Vec<PreparedStep>,
}

struct PreparedStep {
    full_spend: Option<String>,
    record: StepRecord,
    input: Option<Vec<u8>>,
    output: Option<Vec<u8>>,
}

/// Serializes runs. Of two with one identity the first final one stays.
pub(super) fn prepare(runs: &[RunRecord]) -> Result<Prepared, Failure> {
    let mut prepared = Prepared::default();
    let mut chosen: BTreeMap<(EvaluationId, u64), &RunRecord> = BTreeMap::new();
    for run in runs {
        let place = chosen.entry((run.evaluation, run.ordinal)).or_insert(run);
        if place.status == RunStatus::Missing {
            *place = run;
        }
    }
    for ((evaluation, _), run) in chosen {
        let row = prepared.run(run)?;
        prepared
            .evaluations
            .entry(evaluation)
            .or_default()
            .push(row);
    }
    Ok(prepared)
}

impl Prepared {
    fn run(&mut self, run: &RunRecord) -> Result<PreparedRun, Failure> {
        Ok(PreparedRun {
            ordinal: run.ordinal,
            case_id: run.case_id.as_str().to_owned(),
            status: run.status,
            reason: run.reason.clone(),
            output_text: run
                .output_text
                .as_ref()
                .map(|text| self.cell(text.as_bytes().to_vec())),
            output_json: self.json_cell(run.output_json.as_ref())?,
            spend: run.spend,
            full_spend: sql::full_spend(&run.full_spend, &run.spend)?,
            full_cost: run.full_spend.cost.0,
            cached: run.steps.iter().any(|step| step.cache_hit),
            started_at: run.started_at.0,
            duration_ms: run.duration_ms,
            full_duration_ms: run.full_duration_ms,
            steps: run
                .steps
                .iter()
                .map(|step| self.step(step))
                .collect::<Result<_, _>>()?,
        })
    }

    fn step(&mut self, step: &StepRecord) -> Result<PreparedStep, Failure> {
        Ok(PreparedStep {
            full_spend: sql::full_spend(&step.full_spend, &step.spend)?,
            input: self.json_cell(step.input.as_ref())?,
            output: self.json_cell(step.output.as_ref())?,
            record: StepRecord {
                input: None,
                output: None,
                step: step.step.clone(),
                kind: step.kind.clone(),
                error_kind: step.error_kind.clone(),
                error: step.error.clone(),
                ..*step
            },
        })
    }

    fn json_cell<T: serde::Serialize>(
        &mut self,
        value: Option<&T>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        value
            .map(|value| Ok(self.cell(to_json(value)?)))
            .transpose()
    }

    fn cell(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() <= SMALL {
            return pack(&bytes);
        }
        let hash = ContentHash::of(&bytes);
        self.contents.entry(hash).or_insert(bytes);
        blob_cell(&hash)
    }
}

static RUNS: Insert = Insert::new(
    "INSERT INTO runs (evaluation, ordinal, case_id, status, reason, output_text, output_json, cost, model_calls, \
     input_tokens, output_tokens, cached_tokens, reasoning_tokens, full_spend, full_cost, cached, started_at, duration_ms, \
     full_duration_ms) VALUES",
    19,
    "",
);

static STEPS: Insert = Insert::new(
    "INSERT INTO steps (evaluation, ordinal, n, position, step, kind, status, key, cache_hit, input, output, finish, \
     error_kind, error, cost, model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens, full_spend, \
     attempts, started_ms, duration_ms, full_duration_ms) VALUES",
    25,
    "",
);

/// Inserts runs that are not stored.
pub(super) async fn insert(
    tx: &mut SqliteConnection,
    evaluation: i64,
    mut runs: Vec<PreparedRun>,
) -> Result<(), Failure> {
    let mut steps = Vec::new();
    for run in &mut runs {
        let of_run = std::mem::take(&mut run.steps).into_iter();
        steps.extend(
            (0u32..)
                .zip(of_run)
                .map(|(n, step)| (evaluation, run.ordinal, n, step)),
        );
    }
    let runs = runs.into_iter().map(|run| (evaluation, run)).collect();
    RUNS.run(tx, runs, bind_run).await?;
    STEPS.run(tx, steps, bind_step).await
}

fn bind_run((evaluation, run): (i64, PreparedRun), arguments: &mut Args) {
    arguments
        .int(evaluation)
        .number(run.ordinal)
        .text(run.case_id)
        .text(sql::run_status(run.status))
        .opt_text(run.reason)
        .opt_bytes(run.output_text)
        .opt_bytes(run.output_json)
        .spend(&run.spend)
        .opt_text(run.full_spend)
        .number(run.full_cost)
        .flag(run.cached)
        .int(run.started_at)
        .number(u64::from(run.duration_ms))
        .number(u64::from(run.full_duration_ms));
}

fn bind_step((evaluation, ordinal, n, step): (i64, u64, u32, PreparedStep), arguments: &mut Args) {
    let record = step.record;
    arguments
        .int(evaluation)
        .number(ordinal)
        .number(u64::from(n))
        .number(u64::from(record.position))
        .text(record.step.as_str())
        .text(record.kind)
        .text(sql::step_status(record.status))
        .opt_bytes(record.key.map(|key| key.0.as_bytes().to_vec()))
        .flag(record.cache_hit)
        .opt_bytes(step.input)
        .opt_bytes(step.output)
        .opt_text(record.finish.map(sql::finish_reason))
        .opt_text(record.error_kind)
        .opt_text(record.error)
        .spend(&record.spend)
        .opt_text(step.full_spend)
        .number(u64::from(record.attempts))
        .number(u64::from(record.started_ms))
        .number(u64::from(record.duration_ms))
        .number(u64::from(record.full_duration_ms));
}
