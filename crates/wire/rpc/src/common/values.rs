//! Money, cases, claims, files, problems, evaluations.

use std::sync::Arc;

use fapo_domain::model::case::Case;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::task::Fence;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::problem::Problem;
use fapo_domain::{CaseId, DatasetId, EvaluationId, Spend, TaskId, Usage, VariantId};
use fapo_proto::common::v1 as pb;

use super::{Enumerated, one_of};
use crate::read::{self, Invalid, Read};

pub(crate) fn wire_spend(spend: Spend) -> pb::Spend {
    pb::Spend {
        micro_usd: read::micro_usd(spend.cost),
        model_calls: spend.model_calls,
        usage: Some(pb::Usage {
            input_tokens: spend.usage.input_tokens,
            output_tokens: spend.usage.output_tokens,
            cached_input_tokens: spend.usage.cached_input_tokens,
            reasoning_tokens: spend.usage.reasoning_tokens,
        }),
    }
}

/// An absent message is no spend.
pub(crate) fn spend(message: Option<pb::Spend>, field: &str) -> Read<Spend> {
    let Some(message) = message else {
        return Ok(Spend::default());
    };
    let usage = message.usage.unwrap_or_default();
    Ok(Spend {
        cost: read::money(message.micro_usd, "micro_usd")
            .map_err(|invalid| invalid.within(field))?,
        model_calls: message.model_calls,
        usage: Usage {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_input_tokens: usage.cached_input_tokens,
            reasoning_tokens: usage.reasoning_tokens,
        },
    })
}

pub(crate) fn wire_case(case: &Case) -> pb::Case {
    pb::Case {
        case_id: case.case_id.to_string(),
        input_json: read::wire_json(&case.input),
        expected_json: read::wire_json(&case.expected),
        metadata_json: read::wire_json(&case.metadata),
    }
}

pub(crate) fn case(message: pb::Case) -> Read<Case> {
    Ok(Case {
        case_id: CaseId::new(read::named(message.case_id, "case_id")?),
        input: read::object(&message.input_json, "input_json")?,
        expected: read::object(&message.expected_json, "expected_json")?,
        metadata: read::object(&message.metadata_json, "metadata_json")?,
    })
}

pub(crate) fn wire_fence(fence: Fence) -> pb::Fence {
    pb::Fence {
        task_id: fence.task.to_string(),
        epoch: fence.epoch,
    }
}

pub(crate) fn fence(message: pb::Fence) -> Read<Fence> {
    Ok(Fence {
        task: TaskId(read::hash(&message.task_id, "task_id")?),
        epoch: message.epoch,
    })
}

pub(crate) fn wire_files(tree: &VariantTree) -> pb::VariantFiles {
    pb::VariantFiles {
        files: tree
            .iter()
            .map(|(path, content)| pb::VariantFile {
                path: path.to_owned(),
                content: content.to_vec(),
            })
            .collect(),
    }
}

/// Paths stay inside: they are relative, and no part of one is empty, `.` or `..`.
pub(crate) fn files(message: pb::VariantFiles) -> Read<VariantTree> {
    let mut tree = VariantTree::new();
    for (position, file) in message.files.into_iter().enumerate() {
        let field = format!("files[{position}].path");
        let outside = |part: &str| part.is_empty() || part == "." || part == "..";
        if file.path.split('/').any(outside) || file.path.contains(['\\', '\0']) {
            let message =
                "has to be a relative path with `/` between its parts, without `.` or `..`";
            return Err(Invalid::new(field, message));
        }
        if tree.get(&file.path).is_some() {
            return Err(Invalid::new(field, "is there twice"));
        }
        tree.insert(file.path, Arc::<[u8]>::from(file.content));
    }
    Ok(tree)
}

pub(crate) fn wire_problem(problem: &Problem) -> pb::Problem {
    pb::Problem {
        severity: problem.severity.wire(),
        rule: problem.rule.to_string(),
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        path: problem.path.clone(),
        message: problem.message.clone(),
        help: problem.help.clone(),
    }
}

pub(crate) fn problem(message: pb::Problem) -> Read<Problem> {
    Ok(Problem {
        severity: one_of(message.severity, "severity")?,
        rule: message.rule.into(),
        file: message.file,
        line: message.line,
        column: message.column,
        path: message.path,
        message: message.message,
        help: message.help,
    })
}

pub(crate) fn wire_evaluation(spec: &EvaluationSpec) -> pb::Evaluation {
    pb::Evaluation {
        evaluation_id: spec.id().to_string(),
        job_id: spec.job.to_string(),
        variant_id: spec.variant.to_string(),
        dataset_id: spec.dataset.to_string(),
        split: spec.split.wire(),
        sample: spec.sample,
        cases: spec.cases,
        order_seed: spec.order_seed,
        cache_use: spec.cache.wire(),
        attempt: spec.attempt,
    }
}

/// The id is not read: it follows from the rest.
pub(crate) fn evaluation(message: pb::Evaluation) -> Read<EvaluationSpec> {
    Ok(EvaluationSpec {
        job: read::job_id(&message.job_id, "job_id")?,
        variant: VariantId(read::hash(&message.variant_id, "variant_id")?),
        dataset: DatasetId(read::hash(&message.dataset_id, "dataset_id")?),
        split: one_of(message.split, "split")?,
        sample: message.sample,
        cases: message.cases,
        order_seed: message.order_seed,
        cache: one_of(message.cache_use, "cache_use")?,
        attempt: message.attempt,
    })
}

pub(crate) fn evaluation_id(text: &str, field: &str) -> Read<EvaluationId> {
    read::hash(text, field).map(EvaluationId)
}

/// A frozen specification, as it travels where its job is not named.
pub(crate) fn job_spec(json: &[u8]) -> Read<JobSpec> {
    read::typed(json, "job_spec_json")
}
