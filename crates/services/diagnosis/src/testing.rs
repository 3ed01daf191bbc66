//! What this crate's tests share: small projects, trees, cases, runs.

pub mod flow;
pub mod samples;
pub mod store;

use std::collections::BTreeMap;

use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Case;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::trace::{FinishReason, RunRecord, RunStatus, StepOutput, StepRecord, StepStatus};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::clock::Timestamp;
use fapo_domain::{CaseId, EvaluationId, Spend, StepId};
use serde_json::{Value, json};

/// A project with one model, one corpus, and every level open.
pub fn project() -> ProjectSpec {
    serde_json::from_value(json!({
        "name": "test",
        "models": {"task": {"provider": "openai", "model": "small", "temperature": 0.5}},
        "data": {"train": "data/train.jsonl", "corpora": {"wiki": "data/corpus.jsonl"}},
        "scorer": {"metric": "exact_match", "expected": "answer"},
        "scope": {"allow": ["prompt", "parameter", "structure"]},
    }))
    .unwrap()
}

/// A tree of text files.
pub fn tree(files: &[(&str, &str)]) -> VariantTree {
    let mut tree = VariantTree::new();
    for (path, text) in files {
        tree.insert(*path, text.as_bytes().to_vec());
    }
    tree
}

/// A case.
pub fn case_with(id: &str, input: Value, expected: Value) -> Case {
    let map = |value: Value| value.as_object().cloned().unwrap();
    Case {
        case_id: CaseId::new(id),
        input: map(input),
        expected: map(expected),
        metadata: serde_json::Map::new(),
    }
}

/// A score.
pub fn score(ordinal: u64, status: ScoreStatus, value: f64) -> CaseScore {
    CaseScore {
        evaluation: EvaluationId(ContentHash::of(b"evaluation")),
        ordinal,
        case_id: CaseId::new(format!("c{ordinal}")),
        status,
        score: value,
        breakdown: BTreeMap::new(),
        feedback: String::new(),
        scorer: ContentHash::of(b"scorer"),
    }
}

/// A step that went well.
pub fn record(step: &str, kind: &str, output: StepOutput) -> StepRecord {
    StepRecord {
        step: StepId::new(step),
        position: 0,
        kind: kind.to_owned(),
        status: StepStatus::Ok,
        key: None,
        cache_hit: false,
        input: None,
        output: Some(output),
        finish: (kind == "llm").then_some(FinishReason::Stop),
        error_kind: None,
        error: None,
        spend: Spend::default(),
        full_spend: Spend::default(),
        attempts: 1,
        started_ms: 0,
        duration_ms: 1,
    }
}

/// A text as a step's output.
pub fn said(text: &str) -> StepOutput {
    StepOutput { text: text.to_owned(), ..StepOutput::default() }
}

/// A completed run with this output.
pub fn run(ordinal: u64, output: &str, steps: Vec<StepRecord>) -> RunRecord {
    RunRecord {
        evaluation: EvaluationId(ContentHash::of(b"evaluation")),
        ordinal,
        case_id: CaseId::new(format!("c{ordinal}")),
        status: RunStatus::Completed,
        reason: None,
        output_text: Some(output.to_owned()),
        output_json: None,
        spend: Spend::default(),
        full_spend: Spend::default(),
        started_at: Timestamp(0),
        duration_ms: 1,
        steps: steps
            .into_iter()
            .enumerate()
            .map(|(position, mut step)| {
                step.position = u32::try_from(position).unwrap();
                step
            })
            .collect(),
    }
}
