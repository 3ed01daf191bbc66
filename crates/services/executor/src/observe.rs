//! What traces and metrics say about cases and their steps.

use fapo_domain::measure;
use fapo_domain::model::case::Case;
use fapo_domain::model::trace::{RunRecord, RunStatus, StepStatus};
use fapo_domain::telemetry as names;
use fapo_domain::{EvaluationId, JobId};
use tracing::Span;
use tracing::field::Empty;

use crate::outcome::StepError;
use crate::plan::Step;

/// The span of one case.
pub(crate) fn case(job: JobId, evaluation: EvaluationId, ordinal: u64, case: &Case) -> Span {
    tracing::debug_span!(
        "case",
        case.id = %case.case_id,
        ordinal,
        { names::JOB_ID } = %job,
        { names::EVALUATION_ID } = %evaluation,
        { names::STATUS } = Empty,
        { names::ERROR_TYPE } = Empty,
        { names::COST_USD } = Empty,
        { names::OPENINFERENCE_KIND } = names::KIND_CHAIN,
    )
}

/// Notes how a case ended, on its span and in metrics.
pub(crate) fn case_ended(span: &Span, record: &RunRecord) {
    let status = run_status(record.status);
    span.record(names::STATUS, status);
    if let Some(reason) = &record.reason {
        span.record(names::ERROR_TYPE, reason.as_str());
    }
    span.record(names::COST_USD, record.spend.cost.usd());
    measure!(monotonic_counter.fapo_cases_total = 1_u64, status);
    measure!(histogram.fapo_case_seconds = f64::from(record.duration_ms) / 1e3);
    for step in &record.steps {
        measure!(
            monotonic_counter.fapo_steps_total = 1_u64,
            kind = step.kind.as_str(),
            status = step_status(step.status),
            cache_hit = step.cache_hit
        );
    }
}

/// The span of one step; it lasts from the step's start to its value.
pub(crate) fn step(step: &Step) -> Span {
    tracing::debug_span!(
        "step",
        otel.name = %format_args!("step {}", step.id),
        step.id = %step.id,
        step.kind = step.kind,
        { names::STATUS } = Empty,
        { names::CACHE_HIT } = Empty,
        { names::ERROR_TYPE } = Empty,
        { names::OPENINFERENCE_KIND } = names::KIND_CHAIN,
    )
}

/// Notes how a step ended: with a value, without one because it was skipped, or not well.
pub(crate) fn step_ended(span: &Span, end: Result<bool, &StepError>, cache_hit: bool) {
    if span.is_disabled() {
        return;
    }
    match end {
        Ok(true) => span.record(names::STATUS, step_status(StepStatus::Ok)),
        Ok(false) => span.record(names::STATUS, step_status(StepStatus::Skipped)),
        Err(error) => {
            span.record(names::ERROR_TYPE, error.kind());
            span.record(names::STATUS, step_status(StepStatus::Failed))
        }
    };
    span.record(names::CACHE_HIT, cache_hit);
}

const fn run_status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Missing => "missing",
        RunStatus::Refused => "refused",
        RunStatus::TimedOut => "timed_out",
    }
}

const fn step_status(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Ok => "ok",
        StepStatus::Skipped => "skipped",
        StepStatus::Failed => "failed",
    }
}
