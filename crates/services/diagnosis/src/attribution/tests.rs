//! Each rule on a small run, and the order in which they win.

mod every_rule;
mod metrics;

use fapo_domain::model::case::{Case, Document};
use fapo_domain::model::finding::{Finding, Rule};
use fapo_domain::model::level::Level;
use fapo_domain::model::project::{Metric, ProjectSpec};
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::model::trace::{
    FinishReason, RetrievedDocument, RunRecord, RunStatus, StepOutput, StepRecord, StepStatus,
};
use serde_json::json;

use super::{CaseView, Flow, attribute};
use crate::testing::{case_with, flow, project, record, run, said, score};

fn ask(flow: &Flow, project: &ProjectSpec, case: &Case, run: &RunRecord) -> Option<Finding> {
    let score = score(run.ordinal, ScoreStatus::Scored, 0.0);
    attribute(&CaseView {
        case,
        run,
        score: &score,
        flow,
        project,
    })
}

fn found(titles: &[&str], beyond: &[&str]) -> StepOutput {
    StepOutput {
        docs: Some(
            titles
                .iter()
                .map(|title| RetrievedDocument {
                    document: Document {
                        doc_id: format!("id-{title}"),
                        title: (*title).to_owned(),
                        text: format!("Text about {title}."),
                    },
                    score: 1.0,
                })
                .collect(),
        ),
        beyond: beyond
            .iter()
            .map(|title| (format!("id-{title}"), (*title).to_owned()))
            .collect(),
        ..StepOutput::default()
    }
}

fn retrieve(step: &str, query: &str, output: StepOutput) -> StepRecord {
    let mut record = record(step, "retrieve", output);
    record.input = Some(json!({"queries": [query]}));
    record
}

fn hop_case() -> Case {
    case_with(
        "c0",
        json!({"question": "Who designed the mill by Lake Tarn?"}),
        json!({"answer": "Ada Quill", "supporting_titles": ["Lake Tarn", "Old Mill"]}),
    )
}

/// The two-hop pipeline with these findings and this answer.
fn two_hop_run(first: StepOutput, second: StepOutput, answer: &str) -> RunRecord {
    run(
        0,
        answer,
        vec![
            retrieve("hop1", "Who designed the mill by Lake Tarn?", first),
            record("query", "llm", said("mill designer")),
            retrieve("hop2", "mill designer", second),
            record("answer", "llm", said(answer)),
        ],
    )
}

fn single_hop_run(first: StepOutput, answer: &str) -> RunRecord {
    run(
        0,
        answer,
        vec![
            retrieve("hop1", "Who designed the mill by Lake Tarn?", first),
            record("answer", "llm", said(answer)),
        ],
    )
}

#[track_caller]
fn expect(finding: Option<Finding>, rule: Rule, step: &str, level: Level) -> Finding {
    let finding = finding.expect("a finding");
    assert_eq!(
        (finding.rule, finding.step.as_str(), finding.level),
        (rule, step, level),
        "{}",
        finding.detail
    );
    assert!(!finding.detail.is_empty() && !finding.detail.contains('\n'));
    finding
}

#[test]
fn missing_results_and_full_scores_are_no_failures() {
    let (flow, project, case) = (flow::single_hop(), project(), hop_case());
    let mut lost = single_hop_run(found(&[], &[]), "");
    lost.status = RunStatus::Missing;
    assert_eq!(ask(&flow, &project, &case, &lost), None);
    let whole = score(0, ScoreStatus::Scored, 1.0);
    let run = single_hop_run(found(&[], &[]), "x");
    let view = CaseView {
        case: &case,
        run: &run,
        score: &whole,
        flow: &flow,
        project: &project,
    };
    assert_eq!(attribute(&view), None);
    let missing = score(0, ScoreStatus::Missing, 0.0);
    assert_eq!(
        attribute(&CaseView {
            score: &missing,
            ..view
        }),
        None
    );
}

#[test]
fn a_cut_off_reply_wants_a_higher_limit_until_the_range_ends() {
    let (flow, mut project, case) = (flow::two_hop(), project(), hop_case());
    let mut cut = two_hop_run(found(&[], &[]), found(&[], &[]), "Ada Qu");
    cut.steps[3].finish = Some(FinishReason::Length);
    let finding = expect(
        ask(&flow, &project, &case, &cut),
        Rule::CutOffOutput,
        "answer",
        Level::Parameter,
    );
    assert!(
        finding.detail.contains("64 tokens") && finding.detail.contains("Ada Qu"),
        "{}",
        finding.detail
    );
    project
        .scope
        .ranges
        .insert("llm.*.max_tokens".to_owned(), (16.0, 64.0));
    expect(
        ask(&flow, &project, &case, &cut),
        Rule::CutOffOutput,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn what_feeds_nothing_is_never_blamed() {
    let (flow, project, case) = (flow::two_hop(), project(), hop_case());
    let mut run = two_hop_run(
        found(&["Lake Tarn"], &[]),
        found(&["Old Mill"], &[]),
        "Bo Vane",
    );
    let mut aside = record("aside", "llm", said("half a sen"));
    aside.finish = Some(FinishReason::Length);
    run.steps.push(aside);
    expect(
        ask(&flow, &project, &case, &run),
        Rule::WrongAnswer,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn failed_capped_and_timed_out_runs_name_their_step() {
    let (flow, project, case) = (flow::two_hop(), project(), hop_case());
    let mut failed = two_hop_run(found(&[], &[]), found(&[], &[]), "");
    failed.status = RunStatus::Failed;
    failed.output_text = None;
    failed.steps[1].status = StepStatus::Failed;
    failed.steps[1].error_kind = Some("invalid_json".to_owned());
    expect(
        ask(&flow, &project, &case, &failed),
        Rule::StepFailed,
        "query",
        Level::Prompt,
    );

    failed.steps[1].error_kind = Some("cap_model_calls".to_owned());
    expect(
        ask(&flow, &project, &case, &failed),
        Rule::CapHit,
        "query",
        Level::Structure,
    );

    let mut slow = two_hop_run(found(&[], &[]), found(&[], &[]), "");
    slow.status = RunStatus::TimedOut;
    slow.steps[2].duration_ms = 900;
    expect(
        ask(&flow, &project, &case, &slow),
        Rule::CapHit,
        "hop2",
        Level::Parameter,
    );
}

#[test]
fn an_empty_step_is_blamed_before_those_it_starved() {
    let (flow, project, case) = (flow::two_hop(), project(), hop_case());
    let mut run = two_hop_run(found(&[], &[]), found(&[], &[]), "");
    run.steps[1].output = Some(said("  "));
    let finding = expect(
        ask(&flow, &project, &case, &run),
        Rule::EmptyStep,
        "query",
        Level::Prompt,
    );
    assert!(finding.detail.contains("hop2"), "{}", finding.detail);
    run.steps[1].output = Some(said("tarn"));
    expect(
        ask(&flow, &project, &case, &run),
        Rule::EmptyStep,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn a_refusal_is_a_matter_of_the_prompt() {
    let (flow, project, case) = (flow::single_hop(), project(), hop_case());
    let mut run = single_hop_run(found(&["Lake Tarn"], &[]), "");
    run.status = RunStatus::Refused;
    run.output_text = None;
    run.steps[1].finish = Some(FinishReason::Refusal);
    expect(
        ask(&flow, &project, &case, &run),
        Rule::Refusal,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn gold_ranked_just_below_wants_more_documents() {
    let (flow, mut project, case) = (flow::single_hop(), project(), hop_case());
    let run = single_hop_run(
        found(&["Lake Tarn"], &["Elm Road", "The Old Mill"]),
        "Bo Vane",
    );
    let finding = expect(
        ask(&flow, &project, &case, &run),
        Rule::RetrievalTooShallow,
        "hop1",
        Level::Parameter,
    );
    assert!(finding.detail.contains("Old Mill"), "{}", finding.detail);
    // out of the allowed range it is the structure's matter
    project
        .scope
        .ranges
        .insert("retrieve.*.k".to_owned(), (1.0, 3.0));
    expect(
        ask(&flow, &project, &case, &run),
        Rule::RetrievalPartial,
        "hop1",
        Level::Structure,
    );
}

#[test]
fn a_gap_is_blamed_on_the_step_that_added_nothing() {
    let (flow, project, case) = (flow::two_hop(), project(), hop_case());
    let second = two_hop_run(
        found(&["Lake Tarn"], &[]),
        found(&["Lake Tarn", "Elm Road"], &[]),
        "Bo Vane",
    );
    let finding = expect(
        ask(&flow, &project, &case, &second),
        Rule::RetrievalPartial,
        "hop2",
        Level::Prompt,
    );
    assert!(
        finding.detail.contains("1 of 2") && finding.detail.contains("mill designer"),
        "{}",
        finding.detail
    );
    let neither = two_hop_run(
        found(&["Elm Road"], &[]),
        found(&["Elm Road"], &[]),
        "Bo Vane",
    );
    expect(
        ask(&flow, &project, &case, &neither),
        Rule::RetrievalMiss,
        "hop1",
        Level::Structure,
    );
    // what one step did not find and another did is no gap
    let both = two_hop_run(
        found(&["Old Mill"], &[]),
        found(&["Lake Tarn"], &[]),
        "Bo Vane",
    );
    expect(
        ask(&flow, &project, &case, &both),
        Rule::WrongAnswer,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn a_right_answer_shows_that_retrieval_sufficed() {
    let (flow, project, case) = (flow::single_hop(), project(), hop_case());
    let run = single_hop_run(
        found(&["Elm Road"], &[]),
        "It was designed by Ada Quill in her youth.",
    );
    expect(
        ask(&flow, &project, &case, &run),
        Rule::AnswerBuried,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn without_gold_shared_words_are_counted() {
    let (flow, project) = (flow::single_hop(), project());
    let case = case_with(
        "c0",
        json!({"question": "Who designed the mill by Lake Tarn?"}),
        json!({"answer": "Ada Quill"}),
    );
    let far = single_hop_run(found(&["Elm Road"], &[]), "Bo Vane");
    expect(
        ask(&flow, &project, &case, &far),
        Rule::RetrievalLowOverlap,
        "hop1",
        Level::Structure,
    );
    let near = single_hop_run(found(&["Lake Tarn mill"], &[]), "Bo Vane");
    expect(
        ask(&flow, &project, &case, &near),
        Rule::WrongAnswer,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn right_answers_in_another_form_are_told_apart_from_buried_ones() {
    let (flow, project) = (flow::with_form(), project());
    let ask = |answer: serde_json::Value, said_text: &str| {
        let case = case_with("c0", json!({"question": "q"}), json!({ "answer": answer }));
        let run = run(
            0,
            said_text,
            vec![
                record("answer", "llm", said(said_text)),
                record("form", "template", said(said_text)),
            ],
        );
        ask(&flow, &project, &case, &run)
    };
    for (answer, output, rule) in [
        (json!("Ada Quill"), "ada quill.", Rule::AnswerForm),
        (json!("Ada Quill"), "The Ada Quill", Rule::AnswerForm),
        (
            json!("Ada Quill"),
            "{\"answer\": \"Ada Quill\"}",
            Rule::AnswerForm,
        ),
        (
            json!("Ada Quill"),
            "```json\n[\"Ada Quill\"]\n```",
            Rule::AnswerForm,
        ),
        (json!(1200), "1,200", Rule::AnswerForm),
        (
            json!("yes"),
            "Yes, because the mill stands there.",
            Rule::AnswerBuried,
        ),
        (
            json!(["Quill", "Ada Quill"]),
            "I think that it is Ada Quill",
            Rule::AnswerBuried,
        ),
        (json!("Ada Quill"), "I don't know.", Rule::Abstained),
        (
            json!("Ada Quill"),
            "There is not enough information to tell.",
            Rule::Abstained,
        ),
        (json!("unknown"), "I don't know.", Rule::WrongAnswer),
        (json!("yes"), "yesterday", Rule::WrongAnswer),
        (json!("Ada Quill"), "Bo Vane", Rule::WrongAnswer),
    ] {
        expect(ask(answer, output), rule, "answer", Level::Prompt);
    }
}

#[test]
fn json_metrics_want_json() {
    let (flow, mut project) = (flow::with_form(), project());
    project.scorer.metric = Some(Metric::JsonField);
    let case = case_with("c0", json!({"question": "q"}), json!({"answer": "x1"}));
    let run = run(
        0,
        "label: y",
        vec![record("answer", "llm", said("label: y"))],
    );
    let finding = expect(
        ask(&flow, &project, &case, &run),
        Rule::AnswerForm,
        "answer",
        Level::Prompt,
    );
    assert!(finding.detail.contains("not JSON"), "{}", finding.detail);
}

#[test]
fn scores_of_retrieved_documents_blame_retrieval() {
    let (flow, mut project) = (flow::single_hop(), project());
    project.scorer.metric = Some(Metric::AllGold);
    project.scorer.options.from = Some("hop1.docs.title".to_owned());
    project.scorer.options.expected = Some("titles".to_owned());
    let case = case_with(
        "c0",
        json!({"question": "q"}),
        json!({"titles": ["Lake Tarn", "Old Mill"]}),
    );
    let run = single_hop_run(found(&["Lake Tarn"], &[]), "anything with Lake Tarn");
    expect(
        ask(&flow, &project, &case, &run),
        Rule::RetrievalPartial,
        "hop1",
        Level::Structure,
    );
}

#[test]
fn the_same_case_gives_the_same_finding() {
    let (flow, project, case) = (flow::two_hop(), project(), hop_case());
    let run = two_hop_run(found(&["Lake Tarn"], &[]), found(&[], &[]), "Bo Vane");
    assert_eq!(
        ask(&flow, &project, &case, &run),
        ask(&flow, &project, &case, &run)
    );
}
