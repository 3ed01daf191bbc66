//! Rules about how the run went: cut off, failed, capped, empty, refused.

use fapo_domain::StepId;
use fapo_domain::model::level::Level;
use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::trace::{FinishReason, RunStatus, StepRecord, StepStatus};
use fapo_project::allowed_range;

use super::flow::base;
use super::rules::{CaseView, Hit};
use crate::text::quote;

/// Records of steps that feed the output, in the pipeline's order (then in order of start).
fn feeding_records<'a>(view: &CaseView<'a>) -> Vec<&'a StepRecord> {
    let mut records: Vec<(usize, u32, &StepRecord)> = view
        .run
        .steps
        .iter()
        .filter(|record| view.flow.feeds(&record.step))
        .filter_map(|record| Some((view.flow.position(&record.step)?, record.position, record)))
        .collect();
    records.sort_by_key(|(position, started, _)| (*position, *started));
    records.into_iter().map(|(_, _, record)| record).collect()
}

fn outer(record: &StepRecord) -> StepId {
    StepId::new(base(&record.step))
}

fn text_of(record: &StepRecord) -> &str {
    record.output.as_ref().map_or("", |output| &output.text)
}

/// A reply met its token limit. Raising the limit mends it, unless the allowed range is used up: then the prompt must
/// ask for less.
pub fn cut_off_output(view: &CaseView<'_>) -> Option<Hit> {
    let record = feeding_records(view)
        .into_iter()
        .find(|record| record.finish == Some(FinishReason::Length))?;
    let step = outer(record);
    let limit = view
        .flow
        .step(step.as_str())
        .and_then(|step| max_tokens(view, &step.spec));
    let at_range_end = limit.is_some_and(|limit| {
        allowed_range(
            &view.project.scope.ranges,
            "llm",
            step.as_str(),
            "max_tokens",
        )
        .is_some_and(|(_, high)| f64::from(limit) >= high)
    });
    let tail: String = {
        let text = text_of(record);
        let start = text.char_indices().rev().nth(40).map_or(0, |(at, _)| at);
        text[start..].to_owned()
    };
    Some(Hit {
        level: if at_range_end {
            Level::Prompt
        } else {
            Level::Parameter
        },
        doubtful: false,
        detail: format!(
            "the output was cut off{}; it ends in {}",
            limit
                .map(|limit| format!(" at {limit} tokens"))
                .unwrap_or_default(),
            quote(&tail)
        ),
        step,
    })
}

/// The longest reply a step may write, from the step or its model's entry.
fn max_tokens(view: &CaseView<'_>, spec: &StepSpec) -> Option<u32> {
    match spec {
        StepSpec::Llm(step) => step.max_tokens.or_else(|| {
            let entry = step.model.as_deref().unwrap_or("task");
            view.project.models.get(entry).map(|model| model.max_tokens)
        }),
        StepSpec::Sample(sample) => sample
            .steps
            .iter()
            .filter_map(|inner| max_tokens(view, inner))
            .min(),
        StepSpec::Retrieve(_) | StepSpec::Template(_) | StepSpec::Python(_) => None,
    }
}

/// Whether an error class names a per-case cap.
fn is_cap(kind: &str) -> bool {
    kind == "cap" || kind.starts_with("cap_")
}

/// Whether an error class is not the candidate's fault. A request that the provider rejects is its fault: it would be
/// rejected again.
fn is_infrastructure(kind: &str) -> bool {
    (kind.starts_with("provider_") && kind != "provider_rejected")
        || matches!(kind, "budget" | "cancelled" | "code_unavailable")
}

/// A step failed by its own fault: JSON that cannot be read, a template that cannot be rendered.
pub fn step_failed(view: &CaseView<'_>) -> Option<Hit> {
    let record = feeding_records(view).into_iter().find(|record| {
        record.status == StepStatus::Failed
            && record.finish != Some(FinishReason::Refusal)
            && record.error_kind.as_deref().is_none_or(|kind| {
                !is_cap(kind) && !is_infrastructure(kind) && kind != "refused" && kind != "refusal"
            })
    })?;
    let step = outer(record);
    let kind = record.error_kind.as_deref().unwrap_or("failed");
    let by_model = view
        .flow
        .step(step.as_str())
        .is_some_and(|step| step.writes_text_by_model());
    let seen = if text_of(record).is_empty() {
        record.error.as_deref().map(quote).unwrap_or_default()
    } else {
        quote(text_of(record))
    };
    Some(Hit {
        // what a model wrote is mended by its prompt; a template, query or code that fails is a matter of the structure
        level: if by_model {
            Level::Prompt
        } else {
            Level::Structure
        },
        doubtful: false,
        detail: format!("failed with {kind}: {seen}"),
        step,
    })
}

/// A case limit stopped the run. Tokens, documents and seconds hang on parameters; the number of calls on the structure.
pub fn cap_hit(view: &CaseView<'_>) -> Option<Hit> {
    let records = feeding_records(view);
    let capped = records
        .iter()
        .find(|record| record.error_kind.as_deref().is_some_and(is_cap));
    let run_cap = view.run.reason.as_deref().filter(|reason| is_cap(reason));
    let timed_out = view.run.status == RunStatus::TimedOut;
    if capped.is_none() && run_cap.is_none() && !timed_out {
        return None;
    }
    let kind = capped
        .and_then(|record| record.error_kind.as_deref())
        .or(run_cap)
        .unwrap_or("cap_seconds");
    // without a record that says so, the step that took most of the run is the one to blame
    let step = capped
        .map(|record| outer(record))
        .or_else(|| {
            records
                .iter()
                .max_by_key(|record| (record.duration_ms, std::cmp::Reverse(record.position)))
                .map(|record| outer(record))
        })
        .unwrap_or_else(|| view.flow.output().spec.id().clone());
    Some(Hit {
        level: if kind.contains("calls") {
            Level::Structure
        } else {
            Level::Parameter
        },
        doubtful: false,
        detail: format!("the case's limit stopped it: {kind}"),
        step,
    })
}

/// A step gave nothing: the output itself, or a step that others needed. What retrieval did not find is the matter of
/// the retrieval rules.
pub fn empty_step(view: &CaseView<'_>) -> Option<Hit> {
    for (position, step) in view.flow.feeding() {
        if step.retrieves() {
            continue;
        }
        let Some(record) = view.run.step(step.spec.id().as_str()) else {
            continue;
        };
        let empty = record.status == StepStatus::Ok
            && record.finish != Some(FinishReason::Refusal)
            && record.output.as_ref().is_none_or(|output| {
                output.text.trim().is_empty() && output.json.is_none() && output.docs.is_none()
            });
        if !empty {
            continue;
        }
        if !view.flow.is_scored(position) && !view.flow.is_needed(position) {
            continue;
        }
        let starved: Vec<&str> = view
            .flow
            .feeding()
            .filter(|(_, later)| later.needs.contains(&position))
            .map(|(_, later)| later.spec.id().as_str())
            .collect();
        return Some(Hit {
            step: step.spec.id().clone(),
            level: if step.writes_text_by_model() {
                Level::Prompt
            } else {
                Level::Structure
            },
            doubtful: false,
            detail: if starved.is_empty() {
                "the output is empty".to_owned()
            } else {
                format!("gave nothing, and {} worked without it", starved.join(", "))
            },
        });
    }
    None
}

/// The model declined.
pub fn refusal(view: &CaseView<'_>) -> Option<Hit> {
    let record = feeding_records(view)
        .into_iter()
        .find(|record| record.finish == Some(FinishReason::Refusal));
    if record.is_none() && view.run.status != RunStatus::Refused {
        return None;
    }
    let step = record.map_or_else(|| view.answer().spec.id().clone(), outer);
    Some(Hit {
        step,
        level: Level::Prompt,
        doubtful: false,
        detail: match record.map(text_of).filter(|text| !text.trim().is_empty()) {
            Some(text) => format!("the model declined: {}", quote(text)),
            None => "the model declined".to_owned(),
        },
    })
}
