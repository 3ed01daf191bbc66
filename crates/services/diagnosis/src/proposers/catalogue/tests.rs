//! What the catalogue proposes: valid, lint-clean, in order, and never twice.

use std::collections::BTreeSet;

use fapo_domain::model::finding::Rule;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Draft, ProposalRequest};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::diagnosis::Proposal;
use fapo_project::{Pipeline, PipelineContext, read_pipeline, semantic_diff};
use serde_json::json;

use super::Catalogue;
use crate::testing::{case_with, evidence, record, request, run, said, samples, tried};

fn draft(project: &ProjectSpec, request: &ProposalRequest) -> Option<Draft> {
    match Catalogue::choose(project, request) {
        Proposal::Draft(draft) => Some(*draft),
        Proposal::NoIdea { .. } => None,
        Proposal::Unusable { reason, .. } => panic!("{reason}"),
    }
}

/// Everything that is proposed until no idea is left, each checked.
fn all(project: &ProjectSpec, mut request: ProposalRequest) -> Vec<Draft> {
    let mut drafts = Vec::new();
    while let Some(draft) = draft(project, &request) {
        assert!(drafts.len() < 200, "the catalogue does not end");
        let keys = BTreeSet::from(["question".to_owned(), "ticket".to_owned()]);
        let context = PipelineContext {
            project,
            input_keys: Some(&keys),
        };
        let (read, problems) = read_pipeline(&draft.tree, &context);
        assert!(read.is_some(), "{}: {problems}", draft.idea);
        let level = semantic_diff(&request.tree, &draft.tree).unwrap().level;
        assert_eq!(level, Some(draft.technique.level()), "{}", draft.idea);
        assert!(!draft.hypothesis.is_empty());
        request.history.push(tried(&request, &draft.idea));
        drafts.push(draft);
    }
    drafts
}

fn pipeline(project: &ProjectSpec, tree: &VariantTree) -> Pipeline {
    let context = PipelineContext {
        project,
        input_keys: None,
    };
    let (pipeline, problems) = read_pipeline(tree, &context);
    pipeline.unwrap_or_else(|| panic!("{problems}"))
}

fn techniques(drafts: &[Draft]) -> BTreeSet<Technique> {
    drafts.iter().map(|draft| draft.technique).collect()
}

#[test]
fn every_idea_on_every_sample_is_valid_and_tried_once() {
    let rules = [Rule::AnswerBuried, Rule::RetrievalMiss];
    for (sample, step) in [
        (samples::single_hop(), "answer"),
        (samples::classifier(), "label"),
        (samples::two_step(), "notes"),
        (samples::two_hop(), "hop2"),
    ] {
        let (tree, project) = sample;
        for level in Level::ALL {
            for rule in rules {
                let drafts = all(&project, request(&tree, level, Some((rule, step))));
                let ideas: BTreeSet<&str> =
                    drafts.iter().map(|draft| draft.idea.as_str()).collect();
                assert_eq!(ideas.len(), drafts.len());
                let trees: BTreeSet<_> = drafts.iter().map(|draft| draft.tree.id()).collect();
                assert_eq!(trees.len(), drafts.len());
                if level != Level::Parameter {
                    assert!(
                        techniques(&drafts).len() >= 3,
                        "{rule:?} at {step}, {level}: {ideas:?}"
                    );
                    let early: BTreeSet<Technique> =
                        drafts.iter().take(6).map(|draft| draft.technique).collect();
                    assert!(early.len() >= 3, "{rule:?} at {step}, {level}: {ideas:?}");
                }
            }
            assert!(!all(&project, request(&tree, level, None)).is_empty());
        }
    }
}

#[test]
fn the_rule_leads_the_order() {
    let (tree, project) = samples::single_hop();
    let first =
        |level, rule, step| draft(&project, &request(&tree, level, Some((rule, step)))).unwrap();
    for (level, rule, step, idea) in [
        (
            Level::Prompt,
            Rule::AnswerBuried,
            "answer",
            "output_constraint/answer/only",
        ),
        (
            Level::Prompt,
            Rule::Abstained,
            "answer",
            "instruction_clarity/answer/commit",
        ),
        (
            Level::Parameter,
            Rule::CutOffOutput,
            "answer",
            "output_limit/answer/2048",
        ),
        (
            Level::Parameter,
            Rule::RetrievalTooShallow,
            "hop",
            "retrieval_depth/hop/6",
        ),
        (
            Level::Parameter,
            Rule::WrongAnswer,
            "answer",
            "temperature/answer/0",
        ),
        (
            Level::Structure,
            Rule::RetrievalPartial,
            "hop",
            "extra_hop/hop/written_query",
        ),
        (
            Level::Structure,
            Rule::RetrievalMiss,
            "hop",
            "multi_query/hop/three",
        ),
        (
            Level::Structure,
            Rule::WrongAnswer,
            "answer",
            "verify_repair/answer/second_look",
        ),
    ] {
        assert_eq!(first(level, rule, step).idea, idea);
    }
    let only = first(Level::Prompt, Rule::AnswerBuried, "answer");
    let text = only.tree.text("prompts/answer.md").unwrap();
    assert!(
        text.contains("Reply with only the final answer, without explanation."),
        "{text}"
    );
    assert_eq!(only.cluster.as_deref(), Some("answer_buried@answer"));
}

#[test]
fn queries_are_mended_where_they_are_written() {
    let (tree, project) = samples::two_hop();
    let draft = draft(
        &project,
        &request(&tree, Level::Prompt, Some((Rule::RetrievalPartial, "hop2"))),
    )
    .unwrap();
    assert_eq!(draft.idea, "instruction_clarity/query/next_fact");
}

#[test]
fn labels_are_listed_where_train_has_a_closed_set() {
    let (tree, project) = samples::classifier();
    let mut request = request(&tree, Level::Prompt, Some((Rule::WrongAnswer, "label")));
    assert!(
        all(&project, request.clone())
            .iter()
            .all(|draft| !draft.idea.ends_with("/labels"))
    );
    request.labels = vec!["billing".to_owned(), "delivery".to_owned()];
    let draft = draft(&project, &request).unwrap();
    let text = draft.tree.text("prompts/label.md").unwrap();
    assert_eq!(
        text,
        "Read the ticket and say what it is about.\n\nTicket: {{ ticket }}\n\nAnswer with exactly one of: billing, delivery.\n\nLabel:\n"
    );
}

#[test]
fn an_extra_hop_retrieves_twice_and_the_answer_reads_both() {
    let (tree, project) = samples::single_hop();
    let draft = draft(
        &project,
        &request(
            &tree,
            Level::Structure,
            Some((Rule::RetrievalPartial, "hop")),
        ),
    )
    .unwrap();
    assert_eq!(draft.technique, Technique::ExtraHop);
    let pipeline = pipeline(&project, &draft.tree);
    let order: Vec<&str> = pipeline
        .steps()
        .iter()
        .map(|step| step.id().as_str())
        .collect();
    assert_eq!(order, ["hop", "hop_2_query", "hop_2", "answer"]);
    assert_eq!(pipeline.calls_per_case(), 2);
    let Some(StepSpec::Retrieve(second)) = pipeline.step("hop_2").map(|step| &step.spec) else {
        panic!("hop_2 retrieves");
    };
    assert_eq!(second.include[0].as_str(), "hop");
    assert_eq!(second.corpus.as_deref(), Some("wiki"));
    assert!(
        draft
            .tree
            .text("prompts/answer.md")
            .unwrap()
            .contains("{{ steps.hop_2.docs }}")
    );
    insta::assert_snapshot!(draft.tree.text("pipeline.yaml").unwrap(), @r#"
    steps:
      - id: hop
        kind: retrieve
        corpus: wiki
        query: "{{ question }}"
        k: 3
      - id: hop_2_query
        kind: llm
        prompt: prompts/hop_2_query.md
        temperature: 0.0
      - id: hop_2
        kind: retrieve
        corpus: wiki
        query: "{{ steps.hop_2_query.text }}"
        k: 3
        include: [hop]
      - id: answer
        kind: llm
        prompt: prompts/answer.md
    output: answer
    "#);
    insta::assert_snapshot!(draft.tree.text("prompts/hop_2_query.md").unwrap(), @"
    system:
    You write search queries for a search that matches words.

    user:
    Question: {{ input.question }}

    Passages found so far:
    {{ steps.hop.docs }}

    Something that is needed to answer is not in these passages yet. Find the name in the passages that leads to it, and write one short search query for what is still missing. Do not repeat the question. Reply with the search query only, without quotation marks and without explanation.
    ");
    // and once more on top of it
    let again = request(
        &draft.tree,
        Level::Structure,
        Some((Rule::RetrievalPartial, "hop_2")),
    );
    let third = self::draft(&project, &again).unwrap();
    let order: Vec<String> = self::pipeline(&project, &third.tree)
        .steps()
        .iter()
        .map(|step| step.id().as_str().to_owned())
        .collect();
    assert_eq!(
        order,
        [
            "hop",
            "hop_2_query",
            "hop_2",
            "hop_3_query",
            "hop_3",
            "answer"
        ]
    );
}

#[test]
fn wrapping_keeps_what_the_step_was() {
    let (tree, project) = samples::two_step();
    let drafts = all(
        &project,
        request(&tree, Level::Structure, Some((Rule::WrongAnswer, "answer"))),
    );
    let vote = drafts
        .iter()
        .find(|draft| draft.technique == Technique::Vote)
        .unwrap();
    let pipeline = pipeline(&project, &vote.tree);
    assert_eq!(pipeline.calls_per_case(), 6);
    let Some(StepSpec::Sample(sample)) = pipeline.step("answer").map(|step| &step.spec) else {
        panic!("answer is a sample");
    };
    assert_eq!(sample.steps.len(), 1);
    assert_eq!(
        vote.tree.text("prompts/answer.md"),
        tree.text("prompts/answer.md")
    );
    for technique in [
        Technique::BestOfN,
        Technique::SplitStep,
        Technique::VerifyRepair,
        Technique::PostProcessor,
    ] {
        assert!(
            drafts.iter().any(|draft| draft.technique == technique),
            "{technique}"
        );
    }
}

#[test]
fn post_processors_are_tried_on_the_evidence_first() {
    let (tree, project) = samples::single_hop();
    let mut request = request(
        &tree,
        Level::Structure,
        Some((Rule::AnswerBuried, "answer")),
    );
    for (ordinal, name) in ["Ada Quill", "Bo Vane", "Cy Marsh"].into_iter().enumerate() {
        let text = format!("The passages name several people.\nSo the answer is: {name}.");
        let case = case_with("c", json!({"question": "q"}), json!({"answer": name}));
        let run = run(
            ordinal as u64,
            &text,
            vec![record("answer", "llm", said(&text))],
        );
        request.evidence.push(evidence(
            ordinal as u64,
            Some("answer_buried@answer"),
            case,
            run,
        ));
    }
    let draft = draft(&project, &request).unwrap();
    assert_eq!(draft.idea, "post_processor/answer/answer_mark");
    assert!(draft.hypothesis.contains("3 of 3"), "{}", draft.hypothesis);
    let ideas: Vec<String> = all(&project, request)
        .into_iter()
        .map(|draft| draft.idea)
        .collect();
    assert!(
        !ideas.contains(&"post_processor/answer/quoted".to_owned()),
        "{ideas:?}"
    );
}

#[test]
fn scope_and_ranges_leave_ideas_out() {
    let (tree, mut project) = samples::single_hop();
    project
        .scope
        .ranges
        .insert("retrieve.*.k".to_owned(), (1.0, 5.0));
    project.scope.steps = vec!["hop".to_owned()];
    let drafts = all(
        &project,
        request(
            &tree,
            Level::Parameter,
            Some((Rule::RetrievalTooShallow, "hop")),
        ),
    );
    let ideas: Vec<&str> = drafts.iter().map(|draft| draft.idea.as_str()).collect();
    assert_eq!(ideas, ["retrieval_depth/hop/5", "retrieval_depth/hop/1"]);
    assert!(draft(&project, &request(&tree, Level::Prompt, None)).is_none());
}

#[test]
fn parallel_slots_propose_different_things() {
    let (tree, project) = samples::single_hop();
    let mut request = request(&tree, Level::Prompt, Some((Rule::WrongAnswer, "answer")));
    let mut ids = BTreeSet::new();
    for slot in 0..4 {
        request.slot = slot;
        assert!(ids.insert(draft(&project, &request).unwrap().tree.id()));
    }
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let (tree, project) = samples::two_hop();
    for level in Level::ALL {
        let request = request(&tree, level, Some((Rule::RetrievalPartial, "hop2")));
        let (a, b) = (
            draft(&project, &request).unwrap(),
            draft(&project, &request).unwrap(),
        );
        assert_eq!(
            (a.tree.id(), a.idea, a.hypothesis),
            (b.tree.id(), b.idea, b.hypothesis)
        );
    }
}
