//! The three handlers on one small job: attribute, propose, review.

mod lints;
mod models;

use std::collections::BTreeMap;
use std::sync::Arc;

use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::{CacheUse, EvaluationSpec};
use fapo_domain::model::finding::{Attribution, Rule};
use fapo_domain::model::job::{JobGoal, JobSpec, Proposed, Reviewed};
use fapo_domain::model::level::{Level, Strategy, Technique};
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::model::proposal::Lint;
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::task::{ClaimedTask, ProposeTask, ReviewTask, TaskPayload};
use fapo_domain::model::trace::StepOutput;
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::{DatasetId, ErrorCode, JobId, TaskId, VariantId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::proposers::evidence::compile;
use crate::testing::model::{Says, Scripted};
use crate::testing::store::Store;
use crate::testing::{case_with, record, run, said, samples, score, tree};
use crate::{
    AgentReaders, Backends, DiagnosisService, ProposeService, ReviewService, Reviewers, Reviewing,
};

struct Setting {
    store: Arc<Store>,
    parent: VariantId,
    /// What proposers, reviewer and reader ask; without a key, where a test does not say otherwise.
    model: Arc<Scripted>,
    /// The coding agents that read; none, where a test does not say otherwise.
    agents: AgentReaders,
}

/// Twenty train cases: twelve right, six with the answer buried, one wrong, one missing; and five of val and test each.
fn setting(change: impl FnOnce(&mut JobSpec)) -> Setting {
    let (tree, project) = samples::single_hop();
    let mut spec = JobSpec {
        goal: JobGoal::Optimize,
        project,
        baseline: tree.id(),
        dataset: DatasetId(ContentHash::of(b"d")),
        cases: BTreeMap::from([(Split::Train, 20), (Split::Val, 5), (Split::Test, 5)]),
        corpora: BTreeMap::new(),
        seal: ContentHash::of(b"s"),
        protect: Vec::new(),
        scorer_code: BTreeMap::new(),
        playbook: None,
        prompts: BTreeMap::new(),
    };
    change(&mut spec);
    let store = Store::new(spec);
    let parent = store.add_tree(&tree);
    for ordinal in 0..20u64 {
        let answer = format!("Person{ordinal} Quill");
        let (text, status, value) = match ordinal {
            0..12 => (answer.clone(), ScoreStatus::Scored, 1.0),
            12..18 => (
                format!("The passages say that it was {answer}."),
                ScoreStatus::Scored,
                0.0,
            ),
            18 => ("Bo Vane".to_owned(), ScoreStatus::Scored, 0.0),
            _ => (String::new(), ScoreStatus::Missing, 0.0),
        };
        let question = format!("Who built mill number {ordinal} by the lake?");
        store.add_case(
            Split::Train,
            case_with(
                &format!("c{ordinal}"),
                json!({"question": question}),
                json!({"answer": answer}),
            ),
        );
        let mut found = record(
            "hop",
            "retrieve",
            StepOutput {
                docs: Some(Vec::new()),
                ..StepOutput::default()
            },
        );
        found.input = Some(json!({"queries": []}));
        store.add_run(
            run(
                ordinal,
                &text,
                vec![found, record("answer", "llm", said(&text))],
            ),
            CaseScore {
                feedback: format!("scored number {ordinal}"),
                ..score(ordinal, status, value)
            },
        );
    }
    for (split, word) in [(Split::Val, "tower"), (Split::Test, "harbour")] {
        for number in 0..5 {
            let question =
                format!("Which mason raised the {word} of the hidden valley in year {number}?");
            store.add_case(
                split,
                case_with(
                    &format!("{split}-{number}"),
                    json!({"question": question}),
                    json!({"answer": "Old Tom"}),
                ),
            );
        }
    }
    Setting {
        agents: AgentReaders::new(store.clone()),
        store,
        parent,
        model: Scripted::new([Says::NoKey]),
    }
}

fn claimed(payload: TaskPayload) -> ClaimedTask {
    let job = JobId::at(0, [7; 10]);
    ClaimedTask {
        id: TaskId::derive(job, "t", &format!("{:?}", payload.topic())),
        job,
        payload,
        epoch: 1,
        lease_until: Timestamp(0),
        trace: None,
    }
}

impl Setting {
    fn evaluation(&self, split: Split) -> EvaluationSpec {
        EvaluationSpec {
            job: JobId::at(0, [7; 10]),
            variant: self.parent,
            dataset: DatasetId(ContentHash::of(b"d")),
            split,
            sample: 0,
            cases: 20,
            order_seed: None,
            cache: CacheUse::Shared,
            attempt: 0,
        }
    }

    fn diagnosis(&self) -> DiagnosisService {
        let store = &self.store;
        DiagnosisService {
            jobs: store.clone(),
            variants: store.clone(),
            scores: store.clone(),
            traces: store.clone(),
            datasets: store.clone(),
            findings: store.clone(),
            models: self.model.clone(),
            agents: self.agents.clone(),
        }
    }

    fn propose(&self, recording: Option<&str>) -> ProposeService {
        let store = &self.store;
        ProposeService {
            jobs: store.clone(),
            variants: store.clone(),
            scores: store.clone(),
            traces: store.clone(),
            datasets: store.clone(),
            findings: store.clone(),
            proposals: store.clone(),
            backends: Backends::new(self.model.clone(), recording).unwrap(),
        }
    }

    fn review(&self) -> ReviewService {
        let store = &self.store;
        ReviewService {
            jobs: store.clone(),
            variants: store.clone(),
            datasets: store.clone(),
            reviewing: Reviewing {
                scores: store.clone(),
                traces: store.clone(),
                findings: store.clone(),
                proposals: store.clone(),
                reviewers: Reviewers::new(self.model.clone()),
            },
        }
    }

    async fn try_attribute(&self) -> Result<Attribution, WorkError> {
        let task = claimed(TaskPayload::Attribute {
            evaluation: self.evaluation(Split::Train),
        });
        let value = self
            .diagnosis()
            .handle(&task, &CancellationToken::new())
            .await?;
        Ok(serde_json::from_value(value).unwrap())
    }

    async fn attribute(&self) -> Attribution {
        self.try_attribute().await.unwrap()
    }

    fn propose_task(&self, attribution: &Attribution) -> ProposeTask {
        ProposeTask {
            iteration: 1,
            slot: 0,
            parent: self.parent,
            evaluation: self.evaluation(Split::Train),
            level: Level::Prompt,
            cluster: attribution.clusters.first().cloned(),
            history: Vec::new(),
            strategy: Strategy::Free,
            revise: None,
            val: None,
            seed: 1,
        }
    }

    fn review_task(&self, candidate: VariantId) -> ReviewTask {
        ReviewTask {
            iteration: 1,
            slot: 0,
            parent: self.parent,
            candidate,
            level: Level::Prompt,
            earlier: vec![self.parent],
            revision: 0,
            evaluation: Some(self.evaluation(Split::Train)),
            technique: Some(Technique::OutputConstraint),
            idea: "output_constraint/answer/only".to_owned(),
            hypothesis: "It explains itself.".to_owned(),
            cluster: Some("answer_buried@answer".to_owned()),
            expected_gain: Some(0.2),
            history: Vec::new(),
        }
    }

    async fn try_review(&self, candidate: VariantId) -> Result<Reviewed, WorkError> {
        let mut task = claimed(TaskPayload::Review(Box::new(self.review_task(candidate))));
        task.id = TaskId::derive(task.job, "review", &candidate.to_string());
        self.review()
            .handle(&task, &CancellationToken::new())
            .await
            .map(|value| serde_json::from_value(value).unwrap())
    }

    async fn reviewed(&self, candidate: VariantId) -> Reviewed {
        self.try_review(candidate).await.unwrap()
    }

    /// A child whose prompt says this too.
    fn child(&self, added: &str) -> VariantId {
        let (parent, _) = samples::single_hop();
        let prompt = parent.text("prompts/answer.md").unwrap();
        let mut child = parent.clone();
        let edited = prompt.replace("from passages.", &format!("from passages.\n{added}"));
        child.insert("prompts/answer.md", edited.into_bytes());
        self.store.add_tree(&child)
    }
}

#[tokio::test]
async fn failures_become_clusters_and_missing_results_do_not() {
    let setting = setting(|_| {});
    let attribution = setting.attribute().await;
    assert_eq!(
        (attribution.cases, attribution.failures, attribution.missing),
        (19, 7, 1)
    );
    let first = &attribution.clusters[0];
    assert_eq!(
        (first.rule, first.step.as_str(), first.count),
        (Rule::AnswerBuried, "answer", 6)
    );
    assert!((first.recoverable.estimate - 6.0 / 19.0).abs() < 1e-9);
    assert_eq!(attribution, setting.attribute().await);
    assert!(
        setting
            .store
            .splits_read()
            .iter()
            .all(|split| *split == Split::Train)
    );
}

#[tokio::test]
async fn other_splits_than_train_are_refused_before_anything_is_read() {
    let setting = setting(|_| {});
    let attribution = setting.attribute().await;
    let before = setting.store.splits_read().len();
    for split in [Split::Val, Split::Test] {
        let evaluation = setting.evaluation(split);
        let mut propose = setting.propose_task(&attribution);
        propose.evaluation = evaluation.clone();
        let stop = CancellationToken::new();
        let attribute = claimed(TaskPayload::Attribute { evaluation });
        let error = setting
            .diagnosis()
            .handle(&attribute, &stop)
            .await
            .unwrap_err();
        assert_eq!(
            (error.reason, error.code),
            ("NOT_TRAIN", ErrorCode::FailedPrecondition)
        );
        let propose = claimed(TaskPayload::Propose(Box::new(propose)));
        let error = setting
            .propose(None)
            .handle(&propose, &stop)
            .await
            .unwrap_err();
        assert_eq!(error.reason, "NOT_TRAIN");
    }
    assert_eq!(setting.store.splits_read().len(), before);
}

#[tokio::test]
async fn a_proposal_is_stored_reviewed_and_remembered() {
    let setting = setting(|_| {});
    let attribution = setting.attribute().await;
    let task = claimed(TaskPayload::Propose(Box::new(
        setting.propose_task(&attribution),
    )));
    let stop = CancellationToken::new();
    let value = setting.propose(None).handle(&task, &stop).await.unwrap();
    let Proposed::Variant {
        variant,
        idea,
        cluster,
        ..
    } = serde_json::from_value(value.clone()).unwrap()
    else {
        panic!("{value}");
    };
    assert_eq!(idea, "output_constraint/answer/only");
    assert_eq!(cluster.as_deref(), Some("answer_buried@answer"));
    let tree = setting.store.get_variant(variant).await.unwrap();
    assert!(
        tree.text("prompts/answer.md")
            .unwrap()
            .contains("only the final answer")
    );
    assert!(
        setting
            .store
            .splits_read()
            .iter()
            .all(|split| *split == Split::Train)
    );
    // the same task again gives what was recorded
    assert_eq!(
        setting.propose(None).handle(&task, &stop).await.unwrap(),
        value
    );

    let reviewed = setting.reviewed(variant).await;
    assert!(reviewed.lints.passed(), "{:?}", reviewed.lints.refusals);
    assert_eq!(reviewed.level, Some(Level::Prompt));
    assert_eq!((reviewed.diff.files, reviewed.diff.removed), (1, 0));
}

#[tokio::test]
async fn a_request_holds_train_evidence_that_covers_the_clusters() {
    let setting = setting(|_| {});
    let attribution = setting.attribute().await;
    let propose = setting.propose_task(&attribution);
    let task = claimed(TaskPayload::Propose(Box::new(propose.clone())));
    let spec = fapo_domain::ports::jobs::Jobs::get_job(&*setting.store, task.job)
        .await
        .unwrap()
        .spec;
    let request = setting
        .propose(None)
        .request(&task, &spec, &propose, &CancellationToken::new())
        .await
        .unwrap();
    let count = |cluster: Option<&str>| {
        request
            .evidence
            .iter()
            .filter(|evidence| evidence.cluster.as_deref() == cluster)
            .count()
    };
    assert_eq!(count(Some("answer_buried@answer")), 6);
    assert_eq!(count(Some("wrong_answer@answer")), 1);
    assert_eq!(count(None), 4);
    assert!(request.labels.is_empty());
    for evidence in &request.evidence {
        assert_eq!(evidence.case.case_id, evidence.run.case_id);
        if evidence.cluster.is_some() {
            let feedback = format!("scored number {}", evidence.run.ordinal);
            assert_eq!(evidence.feedback, feedback);
        }
    }
    // nothing of validation and test reaches a proposer, neither in what it is given nor in what a model is told
    let told = compile(&spec.project, &request, None, 20_000).text;
    for text in [format!("{request:?}"), told] {
        for canary in ["mason", "hidden valley", "Old Tom", "val-", "test-"] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
}

#[tokio::test]
async fn canaries_of_held_out_splits_are_found_and_not_repeated() {
    let setting = setting(|_| {});
    let (parent, _) = samples::single_hop();
    let prompt = parent.text("prompts/answer.md").unwrap();
    for text in [
        "Which mason raised the tower of the hidden valley in year 3?",
        "It was a mason raised the harbour of the hidden valley in year 2.",
    ] {
        let mut child = parent.clone();
        let edited = prompt.replace("from passages.", &format!("from passages.\n{text}"));
        child.insert("prompts/answer.md", edited.into_bytes());
        let reviewed = setting.reviewed(setting.store.add_tree(&child)).await;
        let leak = reviewed
            .lints
            .refusals
            .iter()
            .find(|finding| finding.lint == Lint::HeldOutLeak);
        assert!(
            leak.is_some_and(|leak| !leak.message.contains("mason")),
            "{:?}",
            reviewed.lints.refusals
        );
    }
}

#[tokio::test]
async fn an_input_key_that_only_later_cases_have_is_known() {
    let setting = setting(|_| {});
    for number in 20..300 {
        let input = match number {
            299 => json!({"question": "q", "hint": "h"}),
            _ => json!({"question": "q"}),
        };
        let case = case_with(&format!("c{number}"), input, json!({"answer": "x"}));
        setting.store.add_case(Split::Train, case);
    }
    let (parent, _) = samples::single_hop();
    let prompt = parent.text("prompts/answer.md").unwrap();
    let mut unknown = Vec::new();
    for name in ["hint", "hnit"] {
        let mut child = parent.clone();
        let text = prompt.replace(
            "{{ question }}",
            &format!("{{{{ question }}}} {{{{ {name} }}}}"),
        );
        child.insert("prompts/answer.md", text.into_bytes());
        let reviewed = setting.reviewed(setting.store.add_tree(&child)).await;
        let lints = reviewed.lints.refusals.iter().map(|finding| finding.lint);
        unknown.push(lints.filter(|lint| *lint == Lint::VariableUnknown).count());
    }
    assert_eq!(unknown, [0, 1]);
}

#[tokio::test]
async fn an_unreadable_candidate_is_a_report_and_no_error() {
    let setting = setting(|_| {});
    let child = tree(&[("pipeline.yaml", "steps: ["), ("prompts/answer.md", "x")]);
    let reviewed = setting.reviewed(setting.store.add_tree(&child)).await;
    assert_eq!(reviewed.level, None);
    assert!(
        reviewed
            .lints
            .refusals
            .iter()
            .any(|finding| finding.lint == Lint::InvalidPipeline)
    );
}

#[tokio::test]
async fn a_recording_answers_its_own_iterations() {
    let setting = setting(|spec| spec.project.proposer.backend = ProposerBackend::Replay);
    let attribution = setting.attribute().await;
    let line = json!({
        "iteration": 1, "technique": "role", "idea": "a role",
        "edits": [{"path": "prompts/answer.md", "content": "{{ question }} {{ steps.hop.docs }}"}],
    });
    let recording = format!("\n{line}\n");
    let ask = async |task: ProposeTask, recording: Option<&str>| -> Result<Value, _> {
        let mut claimed = claimed(TaskPayload::Propose(Box::new(task.clone())));
        claimed.id = TaskId::derive(
            claimed.job,
            "propose",
            &format!("{}{}", task.iteration, recording.is_some()),
        );
        setting
            .propose(recording)
            .handle(&claimed, &CancellationToken::new())
            .await
    };
    let mut task = setting.propose_task(&attribution);
    assert_eq!(
        ask(task.clone(), Some(&recording)).await.unwrap()["idea"],
        "a role"
    );
    task.iteration = 2;
    assert_eq!(
        ask(task.clone(), Some(&recording)).await.unwrap()["outcome"],
        "no_idea"
    );
    assert_eq!(ask(task, None).await.unwrap_err().reason, "PROPOSER_CONFIG");
    assert!(Backends::new(setting.model.clone(), Some("{\"iteration\": 1}")).is_err());
}

#[tokio::test]
async fn a_cancelled_task_is_interrupted() {
    let setting = setting(|_| {});
    let stop = CancellationToken::new();
    stop.cancel();
    let task = claimed(TaskPayload::Attribute {
        evaluation: setting.evaluation(Split::Train),
    });
    let error = setting.diagnosis().handle(&task, &stop).await.unwrap_err();
    assert_eq!(error.reason, "INTERRUPTED");
    let error = setting.review().handle(&task, &stop).await.unwrap_err();
    assert_eq!(error.reason, "WRONG_TASK");
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_is_its_own_error() {
    let setting = setting(|spec| spec.project.proposer.backend = ProposerBackend::Reflect);
    let attribution = setting.attribute().await;
    let task = claimed(TaskPayload::Propose(Box::new(
        setting.propose_task(&attribution),
    )));
    let error = setting
        .propose(None)
        .handle(&task, &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason, error.code),
        ("MODEL_NO_KEY", ErrorCode::Unauthenticated)
    );
}
