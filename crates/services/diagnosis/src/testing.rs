//! What this crate's tests share: small projects, trees, cases, runs.

pub mod agent;
pub mod flow;
pub mod model;
pub mod samples;
pub mod store;

use std::collections::BTreeMap;

use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Case;
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::{CacheUse, EvaluationSpec};
use fapo_domain::model::finding::{Attribution, Cluster, Points, Rule};
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::level::{Level, Strategy, Technique};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{
    Attempt, AttemptOutcome, Evidence, Footprint, ProposalRequest, ReviewRequest,
};
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::trace::{
    FinishReason, RunRecord, RunStatus, StepOutput, StepRecord, StepStatus,
};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::{CaseId, DatasetId, EvaluationId, JobId, Spend, StepId, VariantId};
use fapo_project::{semantic_diff, unified_diff};
use serde_json::{Value, json};

/// A project with one model, one corpus, and every level open.
pub fn project() -> ProjectSpec {
    serde_json::from_value(json!({
        "name": "test",
        "models": {"task": {"provider": "openai", "model": "small", "temperature": 0.5}},
        "data": {"train": "data/train.jsonl", "corpora": {"wiki": "data/corpus.jsonl"}},
        "scorer": {"metric": "exact_match", "expected": "answer"},
        "scope": {"allow": ["prompt", "parameter", "structure"]},
        "proposer": {"backend": "catalogue"},
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
        full_duration_ms: 1,
    }
}

/// A text as a step's output.
pub fn said(text: &str) -> StepOutput {
    StepOutput {
        text: text.to_owned(),
        ..StepOutput::default()
    }
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
        full_duration_ms: 1,
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

/// A request for a change of `tree`, aimed at `rule` at `step`.
pub fn request(tree: &VariantTree, level: Level, target: Option<(Rule, &str)>) -> ProposalRequest {
    let cluster = target.map(|(rule, step)| Cluster {
        id: format!("{}@{step}", rule.name()),
        label: "some failures".to_owned(),
        step: StepId::new(step),
        rule,
        level,
        count: 6,
        cases: Vec::new(),
        confidence: 0.8,
        recoverable: Points {
            estimate: 0.3,
            low: 0.2,
            high: 0.4,
        },
        direction: "try something".to_owned(),
        readings: Vec::new(),
    });
    let job = JobId::at(0, [7; 10]);
    ProposalRequest {
        job,
        evaluation: EvaluationSpec {
            job,
            variant: tree.id(),
            dataset: DatasetId(ContentHash::of(b"d")),
            split: Split::Train,
            sample: 0,
            cases: 20,
            order_seed: None,
            cache: CacheUse::Shared,
            attempt: 0,
        },
        earlier: vec![tree.id()],
        val: None,
        iteration: 1,
        slot: 0,
        parent: tree.id(),
        tree: tree.clone(),
        level,
        attribution: Attribution {
            cases: 20,
            failures: 6,
            missing: 0,
            mean: 0.7,
            clusters: cluster.iter().cloned().collect(),
            ceilings: BTreeMap::new(),
            reader: None,
        },
        cluster,
        evidence: Vec::new(),
        history: Vec::new(),
        labels: Vec::new(),
        playbook: None,
        strategy: Strategy::Free,
        revise: None,
        seed: 1,
    }
}

/// That `idea` was tried on the request's parent, and lost.
pub fn tried(request: &ProposalRequest, idea: &str) -> Attempt {
    Attempt {
        iteration: request.iteration,
        parent: request.parent,
        variant: None,
        level: request.level,
        technique: None,
        hypothesis: String::new(),
        idea: idea.to_owned(),
        outcome: AttemptOutcome::RejectedOnTrain,
        reason: String::new(),
    }
}

/// A failing case as evidence.
pub fn evidence(ordinal: u64, cluster: Option<&str>, case: Case, run: RunRecord) -> Evidence {
    Evidence {
        cluster: cluster.map(str::to_owned),
        detail: format!("seen at {ordinal}"),
        feedback: String::new(),
        score: if cluster.is_some() { 0.0 } else { 1.0 },
        case,
        run,
    }
}

/// A job over a project.
pub fn job_spec(project: ProjectSpec, baseline: VariantId) -> JobSpec {
    JobSpec {
        goal: JobGoal::Optimize,
        project,
        baseline,
        dataset: DatasetId(ContentHash::of(b"d")),
        cases: BTreeMap::new(),
        corpora: BTreeMap::new(),
        seal: ContentHash::of(b"s"),
        protect: Vec::new(),
        playbook: None,
        prompts: BTreeMap::new(),
        scorer_code: BTreeMap::new(),
    }
}

/// A request to review a change of the single-hop sample whose prompt says `added` too.
pub fn review_request(added: &str) -> ReviewRequest {
    let (parent, _) = samples::single_hop();
    let mut child = parent.clone();
    let prompt = parent.text("prompts/answer.md").unwrap();
    let edited = prompt.replace("from passages.", &format!("from passages. {added}"));
    child.insert("prompts/answer.md", edited.into_bytes());
    let from = request(&parent, Level::Prompt, Some((Rule::AnswerBuried, "answer")));
    let diff = semantic_diff(&parent, &child).unwrap();
    let question = json!({"question": "Who built the mill?"});
    let asked = |ordinal: u64, cluster, output: &str| {
        let case = case_with("c", question.clone(), json!({"answer": "Ada Quill"}));
        let steps = vec![record("answer", "llm", said(output))];
        evidence(ordinal, cluster, case, run(ordinal, output, steps))
    };
    let same = Footprint {
        model_calls: 1.0,
        documents: 3.0,
        usd: None,
    };
    ReviewRequest {
        job: from.job,
        evaluation: from.evaluation.clone(),
        iteration: 1,
        slot: 0,
        revision: 0,
        parent: parent.id(),
        candidate: child.id(),
        level: diff.level,
        technique: Some(Technique::OutputConstraint),
        idea: "output_constraint/one word".to_owned(),
        hypothesis: "The answer is buried because nothing says how long it may be.".to_owned(),
        expected_gain: Some(0.2),
        cluster: from.cluster.clone(),
        changes: diff
            .changes
            .iter()
            .map(|change| format!("{}: {}", change.path, change.what))
            .collect(),
        sampling: Vec::new(),
        patch: unified_diff(&parent, &child),
        parent_tree: parent,
        candidate_tree: child,
        parent_footprint: same,
        candidate_footprint: same,
        predicted_cost_ratio: Some(1.05),
        attribution: from.attribution.clone(),
        evidence: vec![
            asked(
                0,
                Some("answer_buried@answer"),
                "It was Ada Quill, I think.",
            ),
            asked(1, None, "Ada Quill"),
        ],
        history: vec![tried(&from, "role/expert")],
        labels: Vec::new(),
        playbook: Some("Answers are names of people.".to_owned()),
    }
}
