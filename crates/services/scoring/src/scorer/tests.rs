use fapo_domain::clock::Timestamp;
use fapo_domain::ids::{EvaluationId, StepId};
use fapo_domain::model::case::Document;
use fapo_domain::model::trace::{RetrievedDocument, StepOutput, StepRecord};
use fapo_domain::money::Spend;
use serde_json::{Value, json};

use super::*;

mod code;

fn scorer(spec: Value) -> Result<Scorer, Vec<String>> {
    scorer_for(spec, None)
}

fn scorer_for(spec: Value, maximize: Option<&str>) -> Result<Scorer, Vec<String>> {
    let spec: ScorerSpec = serde_json::from_value(spec).unwrap();
    let objective = ObjectiveSpec {
        maximize: maximize.map(str::to_owned),
        ..ObjectiveSpec::default()
    };
    Scorer::compile(&spec, &objective, &Code::new())
}

fn case(expected: Value) -> Case {
    serde_json::from_value(json!({"case_id": "c1", "input": {}, "expected": expected})).unwrap()
}

fn step(id: &str, kind: &str, output: Option<StepOutput>) -> StepRecord {
    StepRecord {
        step: StepId::new(id),
        position: 0,
        kind: kind.to_owned(),
        status: StepStatus::Ok,
        key: None,
        cache_hit: false,
        input: None,
        output,
        finish: None,
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

fn found(step_id: &str, titles: &[&str]) -> StepRecord {
    let docs = titles
        .iter()
        .map(|title| RetrievedDocument {
            document: Document {
                doc_id: format!("id-{title}"),
                title: (*title).to_owned(),
                text: "x".to_owned(),
            },
            score: 1.0,
        })
        .collect();
    let output = StepOutput {
        docs: Some(docs),
        ..StepOutput::default()
    };
    step(step_id, "retrieve", Some(output))
}

fn run(text: &str) -> RunRecord {
    RunRecord {
        evaluation: EvaluationId(ContentHash::of(b"e")),
        ordinal: 3,
        case_id: CaseId::new("c1"),
        status: RunStatus::Completed,
        reason: None,
        output_text: Some(text.to_owned()),
        output_json: None,
        spend: Spend::default(),
        full_spend: Spend::default(),
        started_at: Timestamp(0),
        duration_ms: 1,
        full_duration_ms: 1,
        steps: Vec::new(),
    }
}

fn value(spec: Value, expected: Value, run: &RunRecord) -> CaseScore {
    scorer(spec)
        .unwrap()
        .judge(&case(expected), run, &Answers::new())
        .unwrap()
}

#[test]
fn every_metric_scores_by_its_name() {
    let table = [
        (json!({"metric": "exact_match"}), json!("B"), "B"),
        (
            json!({"metric": "exact_match", "ignore_case": true}),
            json!("B"),
            "b",
        ),
        (
            json!({"metric": "normalized_exact_match"}),
            json!("B"),
            "the b.",
        ),
        (json!({"metric": "f1"}), json!("B c"), "c b"),
        (json!({"metric": "contains"}), json!("B"), "aBc"),
        (
            json!({"metric": "regex", "pattern": "^\\w$"}),
            json!("?"),
            "B",
        ),
        (
            json!({"metric": "numeric", "tolerance": 0.5}),
            json!(2),
            "it is 2.4",
        ),
        (
            json!({"metric": "choice", "choices": ["A", "B"]}),
            json!("B"),
            "Answer: B",
        ),
        (
            json!({"metric": "json_field", "field": "a.b"}),
            json!(2),
            "{\"a\": {\"b\": 2.0}}",
        ),
        (
            json!({"metric": "json_schema", "schema": {"type": "object"}}),
            json!("?"),
            "{}",
        ),
        (json!({"metric": "set_precision"}), json!(["x", "y"]), "x"),
        (json!({"metric": "set_recall"}), json!(["x"]), "x, y"),
        (
            json!({"metric": "set_f1"}),
            json!(["x", "y"]),
            "[\"y\", \"x\"]",
        ),
        (json!({"metric": "all_gold"}), json!(["x"]), "- x\n- y"),
        (
            json!({"metric": "exact_match", "pattern": "A: (.*)"}),
            json!("B"),
            "so\nA: B",
        ),
    ];
    for (mut spec, expected, text) in table {
        spec["expected"] = json!("answer");
        let score = value(spec.clone(), json!({"answer": expected}), &run(text));
        let name = spec["metric"].as_str().unwrap();
        assert_eq!(
            (
                score.score,
                score.breakdown.get(name),
                score.feedback.as_str()
            ),
            (1.0, Some(&1.0), ""),
            "{spec}"
        );
        let wrong = value(spec.clone(), json!({"answer": expected}), &run(""));
        assert_eq!(wrong.score, 0.0, "{spec}");
        assert!(!wrong.feedback.is_empty(), "{spec}");
    }
}

#[test]
fn a_composite_is_the_weighted_mean_with_its_parts() {
    let spec = json!({
        "expected": "answer",
        "weighted": [
            {"weight": 3, "metric": "exact_match"},
            {"weight": 1, "metric": "contains"},
            {"weight": 0, "metric": "json_schema", "schema": false}
        ],
        "also": ["f1"]
    });
    let score = value(spec.clone(), json!({"answer": "B"}), &run("B!"));
    assert_eq!(score.score, 0.25);
    assert_eq!(score.breakdown["weighted"], 0.25);
    assert_eq!(score.breakdown["contains"], 1.0);
    assert_eq!(score.breakdown["f1"], 1.0);
    assert!(
        score.feedback.starts_with("exact_match: expected `B`"),
        "{}",
        score.feedback
    );
    let right = value(spec, json!({"answer": "B"}), &run("B"));
    assert_eq!((right.score, right.feedback.as_str()), (1.0, ""));
}

#[test]
fn what_is_maximized_gives_score_and_feedback() {
    let spec = json!({"metric": "exact_match", "expected": "answer", "also": ["f1", "contains"]});
    let by_f1 = scorer_for(spec.clone(), Some("f1")).unwrap();
    assert_eq!(by_f1.names(), ["f1", "exact_match", "contains"]);
    let score = by_f1
        .judge(
            &case(json!({"answer": "a b c"})),
            &run("b"),
            &Answers::new(),
        )
        .unwrap();
    assert!((score.score - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(score.breakdown["exact_match"], 0.0);
    assert!(
        score.feedback.contains("missing words: `c`"),
        "{}",
        score.feedback
    );
    assert!(scorer_for(spec, Some("bleu")).unwrap_err()[0].contains("exact_match, f1, contains"));
}

#[test]
fn documents_of_one_or_of_all_retrieval_steps_are_scored() {
    let mut record = run("x");
    record.steps = vec![found("hop1", &["Rome", "Oslo"]), found("hop2", &["Paris"])];
    let ask = |from: &str, expected: Value| {
        let spec = json!({"metric": "all_gold", "expected": "titles", "from": from});
        value(spec, json!({"titles": expected}), &record)
    };
    assert_eq!(ask("hop1.docs.title", json!(["rome", "OSLO"])).score, 1.0);
    let partly = ask("hop1.docs.title", json!(["Rome", "Paris"]));
    assert_eq!(partly.feedback, "expected 2, missing: `Paris`");
    assert_eq!(ask("*.docs.title", json!(["Rome", "Paris"])).score, 1.0);
    assert_eq!(ask("*.docs.doc_id", json!(["id-Paris"])).score, 1.0);
    let absent = ask("hop3.docs.title", json!(["Rome"]));
    assert_eq!(
        (absent.score, absent.feedback.as_str()),
        (0.0, "there is no step `hop3` in this run")
    );
}

#[test]
fn a_steps_text_or_json_can_be_scored_instead_of_the_output() {
    let mut record = run("x");
    let output = StepOutput {
        text: "{..}".to_owned(),
        json: Some(json!({"label": {"name": "B"}, "all": ["p", "q"]})),
        ..StepOutput::default()
    };
    record.steps = vec![
        step("judge", "llm", Some(output)),
        step("none", "llm", None),
    ];
    record.steps[1].status = StepStatus::Skipped;
    let ask = |metric: &str, from: &str, expected: Value| {
        let spec = json!({"metric": metric, "expected": "answer", "from": from});
        value(spec, json!({"answer": expected}), &record)
    };
    assert_eq!(ask("exact_match", "judge.text", json!("{..}")).score, 1.0);
    assert_eq!(
        ask("exact_match", "judge.json.label.name", json!("B")).score,
        1.0
    );
    assert_eq!(
        ask("set_f1", "judge.json.all", json!(["q", "p"])).score,
        1.0
    );
    assert!(
        ask("exact_match", "judge.json.z", json!("B"))
            .feedback
            .contains("no `z`")
    );
    assert!(
        ask("exact_match", "none", json!("B"))
            .feedback
            .contains("was skipped")
    );
    assert!(
        ask("all_gold", "judge.docs.title", json!("B"))
            .feedback
            .contains("no documents")
    );
}

#[test]
fn a_run_that_did_not_complete_is_zero_and_a_missing_one_is_nothing() {
    let compiled =
        scorer(json!({"metric": "exact_match", "expected": "answer", "also": ["f1"]})).unwrap();
    for (from, to) in [
        (RunStatus::Failed, ScoreStatus::Failed),
        (RunStatus::Refused, ScoreStatus::Refused),
        (RunStatus::TimedOut, ScoreStatus::TimedOut),
        (RunStatus::Missing, ScoreStatus::Missing),
    ] {
        let mut record = run("B");
        record.status = from;
        record.reason = Some("invalid_json".to_owned());
        let mut broken = step("parse", "llm", None);
        broken.status = StepStatus::Failed;
        broken.error = Some("no JSON in the reply".to_owned());
        record.steps = vec![broken];
        let score = compiled
            .judge(&case(json!({"answer": "B"})), &record, &Answers::new())
            .unwrap();
        assert_eq!((score.status, score.score), (to, 0.0));
        assert_eq!(
            score.breakdown.len(),
            if to == ScoreStatus::Missing { 0 } else { 2 }
        );
        for part in ["`parse`", "invalid_json", "no JSON in the reply"] {
            assert!(score.feedback.contains(part), "{}", score.feedback);
        }
    }
}

#[test]
fn a_case_without_a_usable_answer_is_an_error_that_names_it() {
    let compiled = scorer(json!({"metric": "numeric", "expected": "answer"})).unwrap();
    let missing = compiled
        .judge(&case(json!({"label": 1})), &run("1"), &Answers::new())
        .unwrap_err();
    assert_eq!(missing.reason(), "EXPECTED_MISSING");
    assert_eq!(
        missing.to_string(),
        "case c1 has no `expected.answer`, which numeric compares with"
    );
    let unusable = compiled
        .judge(&case(json!({"answer": "none"})), &run("1"), &Answers::new())
        .unwrap_err();
    assert_eq!(unusable.reason(), "EXPECTED_UNUSABLE");
    // what cannot be scored is refused up front, and the other way round
    for (spec, expected) in [
        (json!({"metric": "exact_match"}), json!({"answer": []})),
        (json!({"metric": "exact_match"}), json!({"answer": null})),
        (json!({"metric": "contains"}), json!({"answer": " "})),
        (
            json!({"metric": "choice", "choices": ["A", "B"]}),
            json!({"answer": "C"}),
        ),
        (json!({"metric": "all_gold"}), json!({"answer": {"a": 1}})),
        (json!({"metric": "f1"}), json!({})),
    ] {
        let mut spec = spec;
        spec["expected"] = json!("answer");
        let compiled = scorer(spec.clone()).unwrap();
        let case = case(expected);
        let early = compiled.check_case(&case);
        assert_eq!(
            early,
            [compiled
                .judge(&case, &run("B"), &Answers::new())
                .unwrap_err()],
            "{spec}"
        );
        let early = early[0].to_string();
        assert!(
            early.contains("case c1") && early.contains("answer"),
            "{early}"
        );
    }
    assert!(
        scorer(json!({"metric": "regex", "pattern": "x"}))
            .unwrap()
            .check_case(&case(json!({})))
            .is_empty()
    );
}

#[test]
fn everything_that_a_case_lacks_is_told_and_each_key_once() {
    let compiled = scorer(json!({
        "metric": "exact_match", "expected": "answer",
        "also": ["f1", {"metric": "numeric", "expected": "count"}, {"metric": "set_f1", "expected": "titles"}]
    }))
    .unwrap();
    let lacks: Vec<String> = compiled
        .check_case(&case(json!({"count": "none"})))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lacks.len(), 3, "{lacks:?}");
    for (lack, key) in lacks.iter().zip(["answer", "count", "titles"]) {
        assert!(lack.contains(&format!("`expected.{key}`")), "{lack}");
    }
}

#[test]
fn all_mistakes_of_a_specification_are_told_at_once() {
    let problems = scorer(json!({
        "metric": "exact_match",
        "from": "a.docs",
        "also": [
            "regex",
            {"metric": "json_field", "expected": "x", "from": "a.text"},
            {"metric": "numeric", "expected": "x", "from": "a", "tolerance": -1},
            {"metric": "choice", "expected": "x", "from": "a"},
            {"metric": "f1", "expected": "x", "from": "a", "pattern": "("}
        ]
    }))
    .unwrap_err();
    for (part, times) in [
        ("`scorer`", 1),
        ("`also[0]`", 1),
        ("`also[1]`", 1),
        ("`also[2]`", 1),
        ("`also[3]`", 1),
        ("`also[4]`", 1),
    ] {
        assert_eq!(
            problems.iter().filter(|p| p.contains(part)).count(),
            times,
            "{problems:?}"
        );
    }
    assert!(scorer(json!({})).unwrap_err()[0].contains("`metric` is missing"));
    let both =
        json!({"metric": "f1", "expected": "x", "weighted": [{"weight": 0, "metric": "f1"}]});
    assert_eq!(scorer(both).unwrap_err().len(), 2);
    let clash =
        json!({"metric": "f1", "expected": "x", "also": [{"metric": "f1", "expected": "y"}]});
    assert!(scorer(clash).unwrap_err()[0].contains("give it a `name`"));
    let repeat = json!({"metric": "f1", "expected": "x", "also": ["f1"]});
    assert_eq!(scorer(repeat).unwrap().names(), ["f1"]);
}

#[test]
fn a_pattern_is_handed_down_only_between_metrics_that_use_it_alike() {
    let spec = json!({
        "metric": "regex", "pattern": "^Answer: ", "expected": "answer",
        "also": ["contains", {"metric": "exact_match", "pattern": "Answer: (.*)"}]
    });
    let score = value(spec, json!({"answer": "B"}), &run("Answer: B"));
    assert_eq!((score.score, score.breakdown["exact_match"]), (1.0, 1.0));
    assert_eq!(score.breakdown["contains"], 1.0);
    let taken = json!({"metric": "exact_match", "pattern": "Answer: (.*)", "expected": "answer", "also": ["f1"]});
    let score = value(taken, json!({"answer": "B"}), &run("Answer: B"));
    assert_eq!(score.breakdown["f1"], 1.0);
}

#[test]
fn the_version_follows_what_decides_a_score() {
    let version = |spec: Value, maximize| scorer_for(spec, maximize).unwrap().version();
    let base = json!({"metric": "f1", "expected": "x", "also": ["contains"]});
    let reordered = json!({"also": ["contains"], "expected": "x", "metric": "f1"});
    assert_eq!(version(base.clone(), None), version(reordered, None));
    assert_ne!(version(base.clone(), None), version(base, Some("contains")));
    let other = json!({"metric": "f1", "expected": "y", "also": ["contains"]});
    assert_ne!(
        version(other, None),
        version(
            json!({"metric": "f1", "expected": "x", "also": ["contains"]}),
            None
        )
    );
}
