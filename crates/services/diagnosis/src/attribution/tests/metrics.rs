//! Attribution follows the maximized metric: its source, its right answer, its steps.

use fapo_domain::model::case::Case;
use fapo_domain::model::finding::{Finding, Rule};
use fapo_domain::model::level::Level;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::model::trace::{FinishReason, RunRecord};
use fapo_project::{PipelineContext, read_pipeline};
use serde_json::{Value, json};

use super::super::{CaseView, Flow, attribute};
use super::{expect, found, retrieve};
use crate::testing::{case_with, project, record, run, said, score, tree};

/// hop -> answer, and hop -> notes, which the output does not need.
fn flow(project: &ProjectSpec) -> Flow {
    let tree = tree(&[
        (
            "pipeline.yaml",
            "steps:\n  - {id: hop, kind: retrieve, query: '{{ question }}', k: 2}\n  - {id: notes, kind: llm, prompt: p.md}\n  - {id: answer, kind: llm, prompt: p.md}\noutput: answer\n",
        ),
        ("p.md", "{{ steps.hop.docs }}\n{{ question }}\n"),
    ]);
    let context = PipelineContext {
        project,
        input_keys: None,
    };
    let (pipeline, problems) = read_pipeline(&tree, &context);
    Flow::of(&pipeline.unwrap_or_else(|| panic!("{problems}")), project).unwrap()
}

fn with_scorer(scorer: Value, maximize: Option<&str>) -> ProjectSpec {
    let mut project = project();
    project.scorer = serde_json::from_value(scorer).unwrap();
    project.objective.maximize = maximize.map(str::to_owned);
    project
}

fn case() -> Case {
    case_with(
        "c0",
        json!({"question": "Who designed the mill by Lake Tarn?"}),
        json!({"answer": "Ada Quill", "note": "mill", "supporting_titles": ["Lake Tarn", "Old Mill"]}),
    )
}

fn said_of(notes: &str, answer: &str) -> RunRecord {
    run(
        0,
        answer,
        vec![
            retrieve("hop", "q", found(&["Lake Tarn", "Old Mill"], &[])),
            record("notes", "llm", said(notes)),
            record("answer", "llm", said(answer)),
        ],
    )
}

fn ask(project: &ProjectSpec, run: &RunRecord, breakdown: &[(&str, f64)]) -> Option<Finding> {
    let mut score = score(0, ScoreStatus::Scored, 0.5);
    score.breakdown = breakdown
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    attribute(&CaseView {
        case: &case(),
        run,
        score: &score,
        flow: &flow(project),
        project,
    })
}

#[test]
fn the_maximized_metrics_source_and_answer_count() {
    let scorer = json!({
        "metric": "exact_match",
        "expected": "answer",
        "also": [{"metric": "exact_match", "name": "noted", "from": "notes.text", "expected": "note"}],
    });
    let project = with_scorer(scorer.clone(), Some("noted"));
    let scores = [("exact_match", 1.0), ("noted", 0.0)];
    let mut cut = said_of("mi", "Ada Quill");
    cut.steps[1].finish = Some(FinishReason::Length);
    expect(
        ask(&project, &cut, &scores),
        Rule::CutOffOutput,
        "notes",
        Level::Parameter,
    );
    expect(
        ask(&project, &said_of("", "Ada Quill"), &scores),
        Rule::EmptyStep,
        "notes",
        Level::Prompt,
    );
    let buried = said_of("I noted that there is a mill by the lake", "Ada Quill");
    expect(
        ask(&project, &buried, &scores),
        Rule::AnswerBuried,
        "notes",
        Level::Prompt,
    );
    let wrong = expect(
        ask(&project, &said_of("lake", "Ada Quill"), &scores),
        Rule::WrongAnswer,
        "notes",
        Level::Prompt,
    );
    assert!(
        wrong.detail.contains("lake") && wrong.detail.contains("mill"),
        "{}",
        wrong.detail
    );
    // a metric that is only reported decides nothing
    let project = with_scorer(scorer, None);
    expect(
        ask(
            &project,
            &said_of("", "Bo Vane"),
            &[("exact_match", 0.0), ("noted", 0.0)],
        ),
        Rule::WrongAnswer,
        "answer",
        Level::Prompt,
    );
}

#[test]
fn of_a_composite_the_part_that_lost_most_counts() {
    let project = with_scorer(
        json!({"weighted": [
            {"weight": 2, "metric": "exact_match", "expected": "answer"},
            {"weight": 1, "metric": "exact_match", "name": "noted", "from": "notes.text", "expected": "note"},
            {"weight": 1, "metric": "all_gold", "from": "*.docs.title", "expected": "supporting_titles"},
        ]}),
        None,
    );
    let scores = |answer: f64, noted: f64, gold: f64| {
        [
            ("exact_match", answer),
            ("noted", noted),
            ("all_gold", gold),
        ]
    };
    expect(
        ask(
            &project,
            &said_of("lake", "Bo Vane"),
            &scores(0.0, 0.0, 1.0),
        ),
        Rule::WrongAnswer,
        "answer",
        Level::Prompt,
    );
    expect(
        ask(
            &project,
            &said_of("lake", "Ada Quill"),
            &scores(1.0, 0.0, 1.0),
        ),
        Rule::WrongAnswer,
        "notes",
        Level::Prompt,
    );
    // a right answer is no excuse where the documents themselves are scored
    let mut half = said_of("mill", "Ada Quill");
    half.steps[0] = retrieve("hop", "q", found(&["Lake Tarn"], &[]));
    expect(
        ask(&project, &half, &scores(1.0, 1.0, 0.0)),
        Rule::RetrievalPartial,
        "hop",
        Level::Structure,
    );
}
