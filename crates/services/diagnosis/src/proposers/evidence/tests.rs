//! The compiler keeps its budget and its word.

use fapo_domain::StepId;
use fapo_domain::model::case::Document;
use fapo_domain::model::finding::{Cluster, Points, Rule};
use fapo_domain::model::level::Level;
use fapo_domain::model::project::{Metric, ProjectSpec};
use fapo_domain::model::proposal::ProposalRequest;
use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use proptest::prelude::*;
use serde_json::json;

use super::{compile, estimated_tokens};
use crate::testing::{case_with, evidence, project, record, request, run, said, samples};

/// A request with `count` failing cases over `clusters` clusters, each with `size` characters of trace, and two passing.
fn huge(count: u64, clusters: u64, size: usize, filler: &str) -> ProposalRequest {
    let (tree, _) = samples::single_hop();
    let mut request = request(&tree, Level::Prompt, Some((Rule::AnswerBuried, "answer")));
    let long = filler.repeat(size / filler.len() + 1);
    for number in 0..clusters {
        request.attribution.clusters.push(Cluster {
            id: format!("wrong_answer@step{number}"),
            label: "wrong answer".to_owned(),
            step: StepId::new(format!("step{number}")),
            rule: Rule::WrongAnswer,
            level: Level::Prompt,
            count: 3,
            cases: Vec::new(),
            confidence: 0.3,
            recoverable: Points {
                estimate: 0.05,
                low: 0.0,
                high: 0.1,
            },
            direction: "make it clearer".to_owned(),
            readings: Vec::new(),
        });
    }
    for ordinal in 0..count + 2 {
        let cluster =
            (ordinal < count).then(|| format!("wrong_answer@step{}", ordinal % clusters.max(1)));
        let docs = StepOutput {
            docs: Some(vec![RetrievedDocument {
                document: Document {
                    doc_id: "d".to_owned(),
                    title: long.clone(),
                    text: long.clone(),
                },
                score: 1.0,
            }]),
            ..StepOutput::default()
        };
        let case = case_with(
            &format!("c{ordinal}"),
            json!({"question": format!("{long} {ordinal}"), "notes": [long.clone()]}),
            json!({"answer": long.clone()}),
        );
        let mut asked = record("step0", "llm", said(&long));
        asked.input = Some(json!([{"role": "user", "content": long.clone()}]));
        let run = run(
            ordinal,
            &long,
            vec![
                record("hop", "retrieve", docs),
                asked,
                record("answer", "llm", said(&long)),
            ],
        );
        let mut evidence = evidence(ordinal, cluster.as_deref(), case, run);
        evidence.feedback = long.clone();
        request.evidence.push(evidence);
    }
    request.playbook = Some(long);
    request
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_budget_is_never_exceeded_and_the_bytes_are_stable(
        tokens in 500u32..20_000,
        count in 0u64..24,
        clusters in 1u64..12,
        size in 1usize..8_000,
        filler in prop::sample::select(vec!["word ", "é漢字 ", "x", "line\n", "{{ a }} {% b %} "]),
    ) {
        let request = huge(count, clusters, size, filler);
        let one = compile(&project(), &request, None, tokens);
        prop_assert!(estimated_tokens(&one.text) <= tokens as usize, "{} > {tokens}", estimated_tokens(&one.text));
        prop_assert_eq!(&one, &compile(&project(), &request, None, tokens));
    }
}

#[test]
fn every_cluster_is_shown_before_any_is_shown_twice() {
    let request = huge(30, 5, 3000, "word ");
    let text = compile(&project(), &request, None, 6000).text;
    for number in 0..5 {
        assert!(
            text.contains(&format!("## Fails: wrong_answer@step{number} ")),
            "{number}"
        );
    }
    assert!(text.contains("## Passes"));
}

#[test]
fn what_all_inputs_share_is_written_once() {
    let shared = "Read the following ticket of our shop with care, and decide which of our departments should answer it: ";
    let (tree, _) = samples::classifier();
    let mut request = request(&tree, Level::Prompt, Some((Rule::WrongAnswer, "label")));
    for (ordinal, text) in [
        "my lamp is broken",
        "the bill is wrong",
        "where is my parcel",
    ]
    .iter()
    .enumerate()
    {
        let case = case_with(
            "c",
            json!({"ticket": format!("{shared}{text}")}),
            json!({"label": "x"}),
        );
        request.evidence.push(evidence(
            ordinal as u64,
            Some("wrong_answer@label"),
            case,
            run(ordinal as u64, "y", Vec::new()),
        ));
    }
    let text = compile(&project(), &request, None, 4000).text;
    assert_eq!(
        text.matches("which of our departments").count(),
        1,
        "{text}"
    );
    assert!(text.contains("[shared start] the bill is wrong"), "{text}");
}

fn contract(project: &ProjectSpec, level: Level) -> String {
    let (tree, _) = samples::single_hop();
    let text = compile(project, &request(&tree, level, None), None, 6000).text;
    let start = text.find("# What you may change").unwrap();
    let end = text[start + 2..].find("\n# ").unwrap();
    text[start..start + 2 + end].to_owned()
}

#[test]
fn the_contract_says_what_the_scope_allows_at_this_level() {
    let mut project = project();
    let plain = contract(&project, Level::Parameter);
    assert!(plain.contains("Any file"), "{plain}");
    assert!(plain.contains("`model` of a step must stay"), "{plain}");
    project.scope.files = vec!["prompts/*.md".to_owned()];
    project.scope.steps = vec!["ans*".to_owned()];
    project.scope.models = vec!["large".to_owned()];
    project.scope.ranges = [("retrieve.*.k".to_owned(), (1.0, 20.0))].into();
    project.objective.subject_to.cost_ratio = Some(1.5);
    let narrow = contract(&project, Level::Structure);
    for part in [
        "prompt, parameter, structure",
        "prompts/*.md",
        "ans*",
        "`retrieve.*.k`: 1 to 20",
        "large",
        "1.5 times",
    ] {
        assert!(narrow.contains(part), "{part} in {narrow}");
    }
    // what is not open is no invitation
    let prompt = contract(&project, Level::Prompt);
    assert!(
        !prompt.contains("parameter") && !prompt.contains("large") && !prompt.contains("retrieve"),
        "{prompt}"
    );
}

#[test]
fn the_labels_are_the_scorers_choices_or_those_that_were_seen() {
    let mut project = project();
    let (tree, _) = samples::classifier();
    let mut request = request(&tree, Level::Prompt, None);
    assert!(
        !compile(&project, &request, None, 4000)
            .text
            .contains("one of:")
    );
    request.labels = vec!["bill".to_owned(), "parcel".to_owned()];
    let seen = compile(&project, &request, None, 4000).text;
    assert!(seen.contains("one of: bill, parcel"), "{seen}");
    project.scorer.metric = Some(Metric::Choice);
    project.scorer.options.choices = vec!["A".to_owned(), "B".to_owned()];
    let named = compile(&project, &request, None, 4000).text;
    assert!(named.contains("one of: A, B"), "{named}");
}

#[test]
fn a_failing_case_shows_feedback_what_its_step_was_given_and_the_passages() {
    let (tree, _) = samples::single_hop();
    let mut request = request(&tree, Level::Prompt, Some((Rule::WrongAnswer, "answer")));
    for (ordinal, cluster) in [(0, Some("wrong_answer@answer")), (1, None)] {
        let docs = StepOutput {
            docs: Some(vec![RetrievedDocument {
                document: Document {
                    doc_id: "d".to_owned(),
                    title: "Lake Tarn".to_owned(),
                    text: "The mill was built by Ada Quill.".to_owned(),
                },
                score: 1.0,
            }]),
            ..StepOutput::default()
        };
        let mut asked = record("answer", "llm", said("Bo Vane"));
        asked.input = Some(json!([
            {"role": "system", "content": "You answer."},
            {"role": "user", "content": format!("Rendered for number {ordinal}.")},
        ]));
        let case = case_with(
            "c",
            json!({"question": "Who?"}),
            json!({"answer": "Ada Quill"}),
        );
        let run = run(
            ordinal,
            "Bo Vane",
            vec![record("hop", "retrieve", docs), asked],
        );
        let mut evidence = evidence(ordinal, cluster, case, run);
        evidence.feedback = format!("feedback of number {ordinal}");
        request.evidence.push(evidence);
    }
    let text = compile(&project(), &request, None, 4000).text;
    for part in [
        "feedback of number 0",
        "step answer was given: system: You answer. user: Rendered for number 0.",
        "Lake Tarn: The mill was built by Ada Quill.",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("Rendered for number 1"), "{text}");
}
