//! Small domain values for tests. Equal arguments give equal values; whatever a test does not care about is filled in.

use std::collections::BTreeMap;

use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::evaluation::{Block, CacheUse, EvaluationSpec};
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::task::{NewTask, TaskPayload};
use fapo_domain::model::trace::{
    CacheEntry, CachedStep, FinishReason, RunRecord, RunStatus, StepOutput, StepRecord, StepStatus,
};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::datasets::IncomingCase;
use fapo_domain::{
    CaseId, DatasetId, EvaluationId, JobId, MicroUsd, Spend, StepFingerprint, StepId, StepKey,
    TaskId, Usage, VariantId,
};
use serde_json::{Map, Value, json};

use crate::clock::ManualClock;

/// A job id by number; higher ones are younger.
pub fn job_id(number: u8) -> JobId {
    JobId::at(1_800_000_000_000 + u64::from(number), [number; 10])
}

/// A task id by number.
pub fn task_id(job: JobId, number: u32) -> TaskId {
    TaskId::derive(job, "sample", &number.to_string())
}

/// A hash by name.
pub fn hash(name: &str) -> ContentHash {
    ContentHash::of(name.as_bytes())
}

/// An evaluation id by name.
pub fn evaluation_id(name: &str) -> EvaluationId {
    EvaluationId(hash(name))
}

/// A one-step pipeline whose prompt is `prompt`.
pub fn variant_tree(prompt: &str) -> VariantTree {
    let mut tree = VariantTree::new();
    tree.insert(
        "pipeline.yaml",
        b"steps:\n  - id: answer\n    kind: llm\n    prompt: answer.md\noutput: answer.text\n"
            .as_slice(),
    );
    tree.insert("answer.md", prompt.as_bytes());
    tree
}

/// The smallest project.
pub fn project(name: &str) -> ProjectSpec {
    serde_json::from_value(json!({
        "name": name,
        "models": { "task": { "provider": "sim", "model": "sim-1" } },
        "data": { "train": "data/train.jsonl" },
        "scorer": { "metric": "exact_match", "expected": "answer" },
    }))
    .expect("the smallest project is a project")
}

/// A job of the project called `name`.
pub fn job_spec(name: &str) -> JobSpec {
    JobSpec {
        goal: JobGoal::Optimize,
        project: project(name),
        baseline: variant_tree("Answer.").id(),
        dataset: DatasetId(hash("dataset")),
        cases: BTreeMap::from([(Split::Train, 100), (Split::Val, 100)]),
        corpora: BTreeMap::new(),
        seal: hash("seal"),
        protect: Vec::new(),
        scorer_code: BTreeMap::new(),
        playbook: None,
        prompts: BTreeMap::new(),
    }
}

/// An evaluation of `variant` on the first 64 train cases.
pub fn evaluation_spec(job: JobId, variant: VariantId) -> EvaluationSpec {
    EvaluationSpec {
        job,
        variant,
        dataset: DatasetId(hash("dataset")),
        split: Split::Train,
        sample: 0,
        cases: 64,
        order_seed: None,
        cache: CacheUse::Shared,
        attempt: 0,
    }
}

/// An execute task by number.
pub fn new_task(job: JobId, number: u32) -> NewTask {
    NewTask {
        id: task_id(job, number),
        job,
        payload: TaskPayload::Execute {
            evaluation: evaluation_spec(job, VariantId(hash("variant"))),
            block: Block { start: 0, end: 64 },
            round: number,
        },
    }
}

/// An object with one key.
pub fn object(key: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), value.into())])
}

/// A question and its answer.
pub fn case(id: &str, question: &str, answer: &str) -> Case {
    Case {
        case_id: CaseId::new(id),
        input: object("question", question),
        expected: object("answer", answer),
        metadata: Map::new(),
    }
}

/// A case on its way in, from line `line` of `<split>.jsonl`.
pub fn incoming(split: Split, line: u64, case: Case) -> IncomingCase {
    IncomingCase {
        split,
        case,
        file: format!("{split}.jsonl"),
        line,
    }
}

/// What one model call cost.
pub fn spend(micro_usd: u64) -> Spend {
    Spend {
        cost: MicroUsd(micro_usd),
        model_calls: 1,
        usage: Usage {
            input_tokens: 100,
            output_tokens: 10,
            cached_input_tokens: 20,
            reasoning_tokens: 3,
        },
    }
}

/// A model's reply.
pub fn output(text: &str) -> StepOutput {
    StepOutput {
        text: text.to_owned(),
        ..StepOutput::default()
    }
}

/// An executed `llm` step that cost 40 micro-dollars.
pub fn step_record(id: &str, position: u32, text: &str) -> StepRecord {
    StepRecord {
        step: StepId::new(id),
        position,
        kind: "llm".to_owned(),
        status: StepStatus::Ok,
        key: Some(StepKey(hash(&format!("{id}/{text}")))),
        cache_hit: false,
        input: Some(json!([{ "role": "user", "content": format!("Say {text}.") }])),
        output: Some(output(text)),
        finish: Some(FinishReason::Stop),
        error_kind: None,
        error: None,
        spend: spend(40),
        full_spend: spend(40),
        attempts: 1,
        started_ms: position * 10,
        duration_ms: 7,
        full_duration_ms: 7,
    }
}

/// A completed run of case `c<ordinal>` with two steps.
pub fn run_record(evaluation: EvaluationId, ordinal: u64) -> RunRecord {
    let steps = vec![
        step_record("think", 0, &format!("thought {ordinal}")),
        step_record("answer", 1, &format!("answer {ordinal}")),
    ];
    RunRecord {
        evaluation,
        ordinal,
        case_id: CaseId::new(format!("c{ordinal}")),
        status: RunStatus::Completed,
        reason: None,
        output_text: Some(format!("answer {ordinal}")),
        output_json: None,
        spend: steps.iter().map(|step| step.spend).sum(),
        full_spend: steps.iter().map(|step| step.full_spend).sum(),
        started_at: ManualClock::START,
        duration_ms: 17,
        full_duration_ms: 17,
        steps,
    }
}

/// A run without a result.
pub fn missing_run(evaluation: EvaluationId, ordinal: u64) -> RunRecord {
    RunRecord {
        status: RunStatus::Missing,
        reason: Some("provider_unavailable".to_owned()),
        output_text: None,
        spend: Spend::default(),
        full_spend: Spend::default(),
        started_at: Timestamp(ManualClock::START.0 - 1),
        steps: vec![StepRecord {
            status: StepStatus::Failed,
            output: None,
            finish: None,
            error_kind: Some("provider_unavailable".to_owned()),
            error: Some("the provider answered 503".to_owned()),
            spend: Spend::default(),
            full_spend: Spend::default(),
            ..step_record("think", 0, "nothing")
        }],
        ..run_record(evaluation, ordinal)
    }
}

/// A score of case `c<ordinal>` by the scorer `scorer`.
pub fn case_score(evaluation: EvaluationId, ordinal: u64, score: f64) -> CaseScore {
    CaseScore {
        evaluation,
        ordinal,
        case_id: CaseId::new(format!("c{ordinal}")),
        status: ScoreStatus::Scored,
        score,
        breakdown: BTreeMap::from([("exact_match".to_owned(), score), ("f1".to_owned(), 0.5)]),
        feedback: "expected another answer".to_owned(),
        scorer: hash("scorer"),
    }
}

/// A cache entry by number; all of them share a fingerprint.
pub fn cache_entry(number: u32) -> CacheEntry {
    CacheEntry {
        key: StepKey(hash(&format!("step {number}"))),
        fingerprint: StepFingerprint(hash("fingerprint")),
        step: CachedStep {
            output: output(&format!("reply {number}")),
            finish: Some(FinishReason::Stop),
            spend: spend(40),
            duration_ms: 7,
        },
    }
}
