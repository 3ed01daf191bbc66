//! Filters, summaries and figures.

use fapo_domain::model::trace::RunStatus;
use fapo_domain::ports::traces::{
    EvaluationAggregate, RunFilter, RunSummary, StepAggregate, StepsOf,
};
use fapo_domain::{CaseId, StepId};
use fapo_proto::traces::v1 as pb;

use crate::common::{
    Enumerated, evaluation_id, maybe_one_of, maybe_wire, one_of, spend, wire_spend,
};
use crate::read::{self, Invalid, Read};

/// The longest text that is searched for, in characters.
const LONGEST_TEXT: usize = 1000;

pub(super) fn wire_filter(filter: &RunFilter) -> pb::RunFilter {
    pb::RunFilter {
        status: maybe_wire::<RunStatus>(filter.status),
        failed_below: filter.failed_below,
        case_id: filter.case_id.as_ref().map(CaseId::to_string),
        failed_step: filter.failed_step.as_ref().map(StepId::to_string),
        output_contains: filter.output_contains.clone(),
    }
}

pub(super) fn filter(message: pb::RunFilter) -> Read<RunFilter> {
    if message.failed_below.is_some_and(f64::is_nan) {
        return Err(Invalid::new("failed_below", "has to be a number"));
    }
    if let Some(text) = &message.output_contains {
        searchable(text, "output_contains")?;
    }
    Ok(RunFilter {
        status: maybe_one_of(message.status, "status")?,
        failed_below: message.failed_below,
        case_id: message.case_id.map(CaseId::new),
        failed_step: message.failed_step.map(StepId::new),
        output_contains: message.output_contains,
    })
}

/// A text that can be searched for.
pub(super) fn searchable(text: &str, field: &str) -> Read<()> {
    if text.is_empty() {
        return Err(Invalid::missing(field));
    }
    if text.chars().nth(LONGEST_TEXT).is_some() {
        let message = format!("cannot be longer than {LONGEST_TEXT} characters");
        return Err(Invalid::new(field, message));
    }
    Ok(())
}

pub(super) const fn wire_steps_of(steps: StepsOf) -> pb::RunSteps {
    match steps {
        StepsOf::All => pb::RunSteps::All,
        StepsOf::Incomplete => pb::RunSteps::Incomplete,
    }
}

pub(super) fn steps_of(value: i32) -> Read<StepsOf> {
    match pb::RunSteps::try_from(value) {
        Ok(pb::RunSteps::Unspecified | pb::RunSteps::All) => Ok(StepsOf::All),
        Ok(pb::RunSteps::Incomplete) => Ok(StepsOf::Incomplete),
        Err(_) => Err(Invalid::new(
            "steps",
            format!("{value} is no value of it that is known here"),
        )),
    }
}

pub(super) fn wire_summary(run: RunSummary) -> pb::RunSummary {
    pb::RunSummary {
        evaluation_id: run.evaluation.to_string(),
        ordinal: run.ordinal,
        case_id: run.case_id.to_string(),
        status: run.status.wire(),
        reason: run.reason,
        output: run.output,
        score: run.score,
        feedback: run.feedback,
        failed_step: run.failed_step.map(|step| step.to_string()),
        spend: Some(wire_spend(run.spend)),
        duration: read::wire_millis(run.duration_ms),
    }
}

pub(super) fn summary(message: pb::RunSummary) -> Read<RunSummary> {
    Ok(RunSummary {
        evaluation: evaluation_id(&message.evaluation_id, "evaluation_id")?,
        ordinal: message.ordinal,
        case_id: CaseId::new(message.case_id),
        status: one_of(message.status, "status")?,
        reason: message.reason,
        output: message.output,
        score: message.score,
        feedback: message.feedback,
        failed_step: message.failed_step.map(StepId::new),
        spend: spend(message.spend, "spend")?,
        duration_ms: read::millis(message.duration, "duration")?,
    })
}

pub(super) fn wire_aggregate(figures: EvaluationAggregate) -> pb::GetAggregatesResponse {
    pb::GetAggregatesResponse {
        runs: figures
            .runs
            .into_iter()
            .map(|(status, count)| pb::StatusCount {
                status: status.wire(),
                count,
            })
            .collect(),
        scored: figures.scored,
        mean: figures.mean,
        spend: Some(wire_spend(figures.spend)),
        steps: figures
            .steps
            .into_iter()
            .map(|step| pb::StepAggregate {
                step_id: step.step.to_string(),
                kind: step.kind,
                count: step.count,
                failed: step.failed,
                skipped: step.skipped,
                cache_hits: step.cache_hits,
                spend: Some(wire_spend(step.spend)),
                full_spend: Some(wire_spend(step.full_spend)),
                p50: read::wire_millis(step.p50_ms),
                p95: read::wire_millis(step.p95_ms),
            })
            .collect(),
    }
}

pub(super) fn aggregate(message: pb::GetAggregatesResponse) -> Read<EvaluationAggregate> {
    Ok(EvaluationAggregate {
        runs: read::each(message.runs, "runs", |entry| {
            Ok((one_of(entry.status, "status")?, entry.count))
        })?,
        scored: message.scored,
        mean: message.mean,
        spend: spend(message.spend, "spend")?,
        steps: read::each(message.steps, "steps", |step| {
            Ok(StepAggregate {
                step: StepId::new(step.step_id),
                kind: step.kind,
                count: step.count,
                failed: step.failed,
                skipped: step.skipped,
                cache_hits: step.cache_hits,
                spend: spend(step.spend, "spend")?,
                full_spend: spend(step.full_spend, "full_spend")?,
                p50_ms: read::millis(step.p50, "p50")?,
                p95_ms: read::millis(step.p95, "p95")?,
            })
        })?,
    })
}
