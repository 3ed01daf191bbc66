//! Prepared runs as rows.

use sqlx::sqlite::SqliteConnection;

use crate::error::Failure;
use crate::runs::{PreparedRun, PreparedStep};
use crate::sqlite::sql::{self, Args, Insert};

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
