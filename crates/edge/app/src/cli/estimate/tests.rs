use std::collections::BTreeSet;

use fapo_domain::model::variant::VariantTree;
use fapo_project::{PipelineContext, read_pipeline};

use super::*;
use crate::report::fixture::job;

fn planned(text: &str) -> (Pipeline, ProjectSpec) {
    let mut project = job().spec.project;
    project
        .data
        .corpora
        .insert("pages".to_owned(), "c.jsonl".to_owned());
    project.budget.proposals = 6;
    project.proposer.backend = ProposerBackend::Catalogue;
    let mut tree = VariantTree::new();
    tree.insert("pipeline.yaml", text.as_bytes());
    // 100 bytes
    let prompt = format!("user:\n{:<93}\n", "{{ question }} {{ steps.r.docs }}");
    tree.insert("p.md", prompt.as_bytes());
    let keys = BTreeSet::from(["question".to_owned()]);
    let context = PipelineContext {
        project: &project,
        input_keys: Some(&keys),
    };
    let (pipeline, problems) = read_pipeline(&tree, &context);
    (pipeline.unwrap_or_else(|| panic!("{problems}")), project)
}

const PIPELINE: &str = "steps:
  - { id: r, kind: retrieve, query: '{{ question }}', k: 3 }
  - { id: a, kind: llm, prompt: p.md, max_tokens: 100 }
output: a
";

const SIZES: Sizes = Sizes {
    train: 10,
    val: 20,
    test: 30,
    input_bytes: 100,
    document_bytes: 200,
};

#[test]
fn a_case_costs_its_prompt_documents_and_reply() {
    let (pipeline, project) = planned(PIPELINE);
    let price = |_: &ModelSpec| {
        Some(Price {
            input: 1.0,
            output: 10.0,
            cached_input: None,
        })
    };
    let estimate = estimate(&pipeline, &project, SIZES, &price);
    // 100 of the prompt + 100 of the input + 3 documents of 200
    let bytes = 800.0;
    assert!((estimate.case.usd_high - (bytes + 1000.0) / 1e6).abs() < 1e-12);
    assert!((estimate.case.usd - (bytes / 4.0 + 1000.0) / 1e6).abs() < 1e-12);
    assert_eq!(estimate.val.calls_high, 20);
    // train + val, 6 proposals on both, test twice
    assert_eq!(estimate.optimize.calls_high, 10 + 20 + 6 * 30 + 60);
    // half of train and a third of val for each
    assert!((estimate.optimize.calls - (30.0 + 6.0 * 5.0 + 6.0 * 20.0 / 3.0 + 60.0)).abs() < 1e-9);
}

#[test]
fn what_an_agent_tries_its_changes_on_is_counted_with_its_sessions_beside() {
    let (pipeline, mut project) = planned(PIPELINE);
    let figures =
        |project: &ProjectSpec| estimate(&pipeline, project, SIZES, &|_| Some(Price::FREE));
    let before = figures(&project);
    assert_eq!(before.sessions, Vec::new());
    project.proposer.backend = ProposerBackend::ClaudeCode;
    project.proposer.tries = 7;
    let after = figures(&project);
    // each of 6 proposals may be written twice, because an agent reviews, too
    assert_eq!(
        after.optimize.calls_high,
        before.optimize.calls_high + 2 * 6 * 7
    );
    assert!(after.optimize.calls > before.optimize.calls);
    assert_eq!(after.sessions.len(), 2);
}

#[test]
fn a_model_without_a_price_is_named_once() {
    let (pipeline, project) = planned(PIPELINE);
    let estimate = estimate(&pipeline, &project, SIZES, &|_| None);
    assert_eq!(estimate.unpriced, vec!["task".to_owned()]);
    assert_eq!(estimate.case.usd_high, 0.0);
}

#[test]
fn samples_multiply() {
    let (pipeline, project) = planned(
        "steps:
  - { id: r, kind: retrieve, query: '{{ question }}', k: 3 }
  - id: s
    kind: sample
    n: 4
    steps: [ { id: a, kind: llm, prompt: p.md } ]
    combine: { method: vote }
output: s
",
    );
    let estimate = estimate(&pipeline, &project, SIZES, &|_| Some(Price::FREE));
    assert_eq!(estimate.case.calls_high, 4);
    assert_eq!(estimate.case.calls_high, pipeline.calls_per_case());
}
