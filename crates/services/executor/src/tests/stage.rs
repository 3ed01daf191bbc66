//! Runs a pipeline over a case with nothing but a scripted model: no store, no files.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fapo_domain::ContentHash;
use fapo_domain::clock::Clock;
use fapo_domain::model::case::{Case, Document};
use fapo_domain::model::job::{CorpusRef, JobSpec};
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::code::CodeRunner;
use fapo_testkit::clock::ManualClock;
use fapo_testkit::code::ScriptedCode;
use fapo_testkit::sample;

use super::script::Script;
use crate::outcome::Cause;
use crate::plan::Plan;
use crate::retrieval::Index;
use crate::run::{CallSite, Ended, Session, run_case};

/// A variant: `pipeline.yaml` and prompt files.
pub(super) fn tree(pipeline: &str, prompts: &[(&str, &str)]) -> VariantTree {
    let mut tree = VariantTree::new();
    tree.insert("pipeline.yaml", pipeline.as_bytes());
    for (name, text) in prompts {
        tree.insert(format!("prompts/{name}.md"), text.as_bytes());
    }
    tree
}

/// Documents about animals.
pub(super) fn animals() -> Vec<Document> {
    [
        ("owl", "Owl", "A bird that hunts by night."),
        ("cat", "Cat", "A small animal that hunts mice."),
        ("fox", "Fox", "It hunts hens by night."),
        ("hen", "Hen", "A bird that lays eggs."),
        ("oak", "Oak", "A tree."),
    ]
    .map(|(id, title, text)| Document {
        doc_id: id.to_owned(),
        title: title.to_owned(),
        text: text.to_owned(),
    })
    .to_vec()
}

/// A job spec with a corpus called `wiki`.
pub(super) fn spec() -> JobSpec {
    let mut spec = sample::job_spec("stage");
    let corpora = &mut spec.project.data.corpora;
    corpora.insert("wiki".to_owned(), "wiki.jsonl".to_owned());
    let text: String = animals()
        .iter()
        .map(|document| serde_json::to_string(document).unwrap() + "\n")
        .collect();
    spec.corpora.insert(
        "wiki".to_owned(),
        CorpusRef {
            hash: ContentHash::of(text.as_bytes()),
            chunks: vec![ContentHash::of(text.as_bytes())],
            documents: animals().len() as u64,
        },
    );
    spec
}

pub(super) fn question(text: &str) -> Case {
    sample::case("c0", text, "")
}

/// Runs one case.
pub(super) async fn play(
    spec: &JobSpec,
    tree: &VariantTree,
    script: &Script,
    case: Case,
) -> RunRecord {
    play_at(spec, tree, script, case, 0).await.record
}

/// Runs one case at a sample index.
pub(super) async fn play_at(
    spec: &JobSpec,
    tree: &VariantTree,
    script: &Script,
    case: Case,
    sample_index: u32,
) -> Ended {
    play_with(
        spec,
        tree,
        script,
        &ScriptedCode::none(),
        case,
        sample_index,
    )
    .await
}

/// Runs one case with workers for code.
pub(super) async fn play_with(
    spec: &JobSpec,
    tree: &VariantTree,
    script: &Script,
    code: &dyn CodeRunner,
    case: Case,
    sample_index: u32,
) -> Ended {
    let plan = Plan::compile(tree, spec).unwrap_or_else(|error| panic!("{error}"));
    let documents = Arc::new(animals());
    let clock: Arc<dyn Clock> = ManualClock::new();
    let job = sample::job_id(1);
    let session = Session {
        indices: plan
            .searches
            .iter()
            .map(|(_, fields)| Arc::new(Index::build(Arc::clone(&documents), *fields)))
            .collect(),
        plan: &plan,
        models: script,
        code,
        clock: &*clock,
        limits: &spec.project.limits,
        probe_depth: spec.project.diagnosis.probe_depth as usize,
        job,
        fence: Fence {
            task: sample::task_id(job, 1),
            epoch: 1,
        },
        waiting: None,
        evaluation: sample::evaluation_id("stage"),
        sample: sample_index,
        calls: plan
            .fingerprints
            .iter()
            .map(|fingerprint| CallSite {
                fingerprint: *fingerprint,
                look_up: true,
            })
            .collect(),
        asked: Some(std::sync::Mutex::default()),
        stopping: AtomicBool::new(false),
        observer: None,
    };
    let ended = run_case(&session, 0, case).await;
    if let Cause::Abort(error) = &ended.cause {
        assert_eq!(
            ended.record.reason.as_deref(),
            Some(if error.reason == "CODE_UNAVAILABLE" {
                "code_unavailable"
            } else {
                "configuration"
            }),
            "{error}"
        );
    }
    ended
}

/// The text of a step's output.
pub(super) fn text<'a>(run: &'a RunRecord, step: &str) -> &'a str {
    let record = run
        .step(step)
        .unwrap_or_else(|| panic!("no step {step} in {run:#?}"));
    &record
        .output
        .as_ref()
        .unwrap_or_else(|| panic!("{record:#?}"))
        .text
}
