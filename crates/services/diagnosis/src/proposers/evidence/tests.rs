//! The compiler keeps its budget and its word.

use fapo_domain::StepId;
use fapo_domain::model::case::Document;
use fapo_domain::model::finding::{Cluster, Points, Rule};
use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::ProposalRequest;
use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use proptest::prelude::*;
use serde_json::json;

use super::{compile, estimated_tokens};
use crate::testing::{case_with, evidence, record, request, run, said, samples};

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
        let run = run(
            ordinal,
            &long,
            vec![
                record("hop", "retrieve", docs),
                record("answer", "llm", said(&long)),
            ],
        );
        request
            .evidence
            .push(evidence(ordinal, cluster.as_deref(), case, run));
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
        let one = compile(&request, None, tokens);
        prop_assert!(estimated_tokens(&one.text) <= tokens as usize, "{} > {tokens}", estimated_tokens(&one.text));
        prop_assert_eq!(&one, &compile(&request, None, tokens));
    }
}

#[test]
fn every_cluster_is_shown_before_any_is_shown_twice() {
    let request = huge(30, 5, 3000, "word ");
    let text = compile(&request, None, 6000).text;
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
    let text = compile(&request, None, 4000).text;
    assert_eq!(
        text.matches("which of our departments").count(),
        1,
        "{text}"
    );
    assert!(text.contains("[shared start] the bill is wrong"), "{text}");
}
