//! Metrics that are the project's own code.

use fapo_testkit::code::ScriptedCode;

use super::*;

fn compile(spec: Value, code: &[(&str, &str)]) -> Result<Scorer, Vec<String>> {
    let spec: ScorerSpec = serde_json::from_value(spec).unwrap();
    let code = code
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    Scorer::compile(&spec, &ObjectiveSpec::default(), &code)
}

const OWN: [(&str, &str); 2] = [("scorers/own.py", "1"), ("scorers/words.py", "2")];

fn own(spec: Value) -> Scorer {
    compile(spec, &OWN).unwrap()
}

fn says(answer: Result<Value, &'static str>) -> ScriptedCode {
    ScriptedCode::new(move |unit, _| {
        answer.clone().map_err(|message| CodeError::Failed {
            file: unit.file.clone(),
            message: message.to_owned(),
        })
    })
}

#[tokio::test]
async fn code_is_given_the_case_the_output_and_the_steps() {
    let workers = says(Ok(
        json!({"score": 0.5, "feedback": "half", "breakdown": {"form": 1}}),
    ));
    let scorer = own(json!({"metric": "python", "file": "scorers/own.py"}));
    let mut record = run("B");
    record.steps = vec![found("hop", &["Rome"])];
    let score = scorer
        .score(&case(json!({"answer": "b"})), &record, &workers)
        .await
        .unwrap();
    assert_eq!((score.status, score.score), (ScoreStatus::Scored, 0.5));
    assert_eq!(score.feedback, "half");
    assert_eq!(score.breakdown["python"], 0.5);
    assert_eq!(score.breakdown["python.form"], 1.0);
    let asked = &workers.asked()[0];
    assert_eq!(asked["case"]["case_id"], "c1");
    assert_eq!(asked["case"]["expected"]["answer"], "b");
    assert_eq!(asked["output"], "B");
    assert_eq!(asked["json"], Value::Null);
    assert_eq!(asked["steps"]["hop"]["docs"][0]["title"], "Rome");
    assert!(matches!(scorer.reads_steps_of(), StepsOf::All));
}

#[tokio::test]
async fn code_that_fails_fails_the_case_and_names_the_scorer() {
    let spec =
        json!({"metric": "python", "file": "scorers/own.py", "expected": "answer", "also": ["f1"]});
    let scorer = own(spec);
    for (workers, said) in [
        (says(Err("ValueError: no year")), "ValueError: no year"),
        (says(Ok(json!(7))), "not between 0 and 1"),
    ] {
        let score = scorer
            .score(&case(json!({"answer": "B"})), &run("B"), &workers)
            .await
            .unwrap();
        assert_eq!((score.status, score.score), (ScoreStatus::Failed, 0.0));
        assert!(score.breakdown.values().all(|value| *value == 0.0));
        let why = &score.feedback;
        assert!(
            why.contains(said) && why.contains("`python`") && why.contains("scorers/own.py"),
            "{why}"
        );
    }
}

#[tokio::test]
async fn code_beside_what_is_maximized_costs_only_its_own_points() {
    let also = json!([{"metric": "python", "file": "scorers/own.py", "name": "style"}]);
    let scorer = own(json!({"metric": "exact_match", "expected": "answer", "also": also}));
    let answer = case(json!({"answer": "B"}));
    let broken = scorer
        .score(&answer, &run("B"), &says(Err("x")))
        .await
        .unwrap();
    assert_eq!((broken.status, broken.score), (ScoreStatus::Scored, 1.0));
    assert_eq!(broken.breakdown["style"], 0.0);
    let whole = scorer
        .score(&answer, &run("B"), &says(Ok(json!(0.25))))
        .await
        .unwrap();
    assert_eq!((whole.score, whole.breakdown["style"]), (1.0, 0.25));
}

#[tokio::test]
async fn code_is_a_part_of_a_composite() {
    let scorer = own(json!({"expected": "answer", "weighted": [
        {"weight": 3, "metric": "exact_match"},
        {"weight": 1, "metric": "python", "file": "scorers/own.py", "name": "style"},
    ]}));
    let answer = case(json!({"answer": "B"}));
    let score = scorer
        .score(&answer, &run("B"), &says(Ok(json!(0.5))))
        .await
        .unwrap();
    assert_eq!(score.score, 0.875);
    assert_eq!(score.feedback, "style: style gave 0.5");
    let broken = scorer
        .score(&answer, &run("B"), &says(Err("x")))
        .await
        .unwrap();
    assert_eq!((broken.status, broken.score), (ScoreStatus::Failed, 0.0));
}

#[tokio::test]
async fn a_run_that_did_not_complete_is_not_asked_about() {
    let scorer = own(json!({"metric": "python", "file": "scorers/own.py"}));
    let mut failed = run("B");
    failed.status = RunStatus::Failed;
    let score = scorer
        .score(&case(json!({})), &failed, &ScriptedCode::none())
        .await
        .unwrap();
    assert_eq!(score.status, ScoreStatus::Failed);
    let from = json!({"metric": "python", "file": "scorers/own.py", "from": "gone.text"});
    let score = own(from)
        .score(&case(json!({})), &run("B"), &ScriptedCode::none())
        .await
        .unwrap();
    assert!(score.feedback.contains("gone"), "{}", score.feedback);
}

#[tokio::test]
async fn without_workers_there_is_no_score_at_all() {
    let scorer = own(json!({"metric": "python", "file": "scorers/own.py"}));
    let error = scorer
        .score(&case(json!({})), &run("B"), &ScriptedCode::none())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "CODE_UNAVAILABLE");
}

#[test]
fn a_version_covers_the_code_and_what_it_imports() {
    let spec = json!({"metric": "python", "file": "scorers/own.py"});
    let version = |code: &[(&str, &str)]| compile(spec.clone(), code).unwrap().version();
    let first = version(&OWN);
    assert_eq!(first, version(&OWN));
    assert_ne!(first, version(&[OWN[0], ("scorers/words.py", "3")]));
    assert_ne!(first, version(&[OWN[0]]));
    let absent = compile(json!({"metric": "python", "file": "scorers/gone.py"}), &OWN);
    assert!(absent.unwrap_err()[0].contains("no file scorers/gone.py"));
}
