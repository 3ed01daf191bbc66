//! Provider faults: what can succeed is retried, what cannot is said, and nothing of it becomes a score of zero.

use std::path::Path;

use fapo_e2e::Project;
use serde_json::{Value, json};

const INCOMPLETE: i32 = 4;

/// The classifier with one prompt that works, over a world with faults.
fn project(faults: Value) -> Project {
    let project = Project::example("answer-form").unwrap();
    let mut world: Value = serde_json::from_str(&project.read("sim.json").unwrap()).unwrap();
    world["style"] = json!("{answer}");
    world["faults"] = faults;
    project.write("sim.json", world.to_string()).unwrap();
    project
}

/// The text of a case's ticket, for a fault that meets only this case.
fn ticket(project: &Project, split: &str, number: usize) -> (String, String) {
    let text = project.read(&format!("data/{split}.jsonl")).unwrap();
    let case: Value = serde_json::from_str(text.lines().nth(number).unwrap()).unwrap();
    let text_of = |value: &Value| value.as_str().unwrap().to_owned();
    (text_of(&case["case_id"]), text_of(&case["input"]["ticket"]))
}

/// A project whose fault meets one val case alone, and that case's id.
fn one_case(fault: Value) -> (Project, String) {
    let plain = Project::example("answer-form").unwrap();
    let (id, text) = ticket(&plain, "val", 0);
    (project(json!([{ "when": text, "fault": fault }])), id)
}

fn limit_to_a_second(project: &Project) {
    project
        .edit("fapo.yaml", "seed: 7", "seed: 7\nlimits: { seconds: 1 }")
        .unwrap();
}

fn run(project: &Project, case: &str) -> Value {
    project
        .fapo("run", &["--case", case, "--json"])
        .unwrap()
        .json()
        .unwrap()
}

/// A command whose results are incomplete, and its data.
fn incomplete(project: &Project, command: &str, args: &[&str]) -> (Value, String) {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let ran = project.fapo(command, &args).unwrap();
    assert_eq!(ran.code(), INCOMPLETE, "{}\n{}", ran.stdout(), ran.stderr());
    (serde_json::from_str(&ran.stdout()).unwrap(), ran.stderr())
}

fn eval(project: &Project) -> Value {
    project
        .fapo("eval", &["--split", "val", "--json"])
        .unwrap()
        .json()
        .unwrap()
}

#[test]
fn rate_limits_and_server_errors_pass() {
    let project = project(json!([
        { "every": 7, "fault": { "kind": "status", "status": 429, "retry_after_s": 0 } },
        { "every": 11, "fault": { "kind": "status", "status": 500 } },
        { "every": 13, "fault": { "kind": "disconnect" } },
        { "every": 17, "fault": { "kind": "malformed" } },
    ]));
    let result = eval(&project);
    assert_eq!(result["mean"], 1.0, "{result:#}");
    assert_eq!(result["counted"], 60, "{result:#}");
}

#[test]
fn a_refusal_counts_as_refused_and_not_as_missing() {
    let project = project(json!([{ "share": 0.2, "tries": 0, "fault": { "kind": "refusal" } }]));
    let result = eval(&project);
    let statuses = &result["statuses"];
    assert!(statuses["refused"].as_u64().unwrap() > 0, "{result:#}");
    assert!(
        statuses.get("missing").is_none_or(|missing| missing == 0),
        "{result:#}"
    );
    assert_eq!(result["counted"], 60, "{result:#}");
}

#[test]
fn a_case_that_takes_longer_than_its_cap_is_timed_out_and_said_so() {
    let (project, case) = one_case(json!({ "kind": "slow", "ms": 20_000 }));
    limit_to_a_second(&project);
    let result = eval(&project);
    assert_eq!(
        result["statuses"],
        json!({ "scored": 59, "timed_out": 1 }),
        "{result:#}"
    );
    assert_eq!(
        result["counted"], 60,
        "a slow pipeline is the candidate's fault"
    );
    assert_eq!(result["failures"][0]["case_id"], case.as_str());
    assert_eq!(result["failures"][0]["status"], "timed_out");
    // in words, too
    let ran = project
        .fapo("eval", &["--split", "val", "--sample", "1"])
        .unwrap();
    assert!(ran.stdout().contains("timed_out 1"), "{}", ran.stdout());
    assert!(ran.stdout().contains("time limit"), "{}", ran.stdout());
    let shown = run(&project, &case);
    assert_eq!(shown["run"]["status"], "timed_out", "{shown:#}");
    assert_eq!(shown["run"]["reason"], "cap_seconds", "{shown:#}");
}

#[test]
fn a_slow_case_under_its_cap_counts_like_any_other() {
    let (project, case) = one_case(json!({ "kind": "slow", "ms": 400 }));
    limit_to_a_second(&project);
    let shown = run(&project, &case);
    assert_eq!(shown["run"]["status"], "completed", "{shown:#}");
    assert_eq!(shown["score"]["score"], 1.0, "{shown:#}");
    assert!(shown["run"]["duration_ms"].as_u64().unwrap() >= 400);
    assert_eq!(eval(&project)["mean"], 1.0);
}

#[test]
fn a_call_that_the_endpoint_never_answers_is_given_up_and_missing() {
    let (project, case) = one_case(json!({ "kind": "slow", "ms": 20_000 }));
    project
        .edit(
            "fapo.yaml",
            "world: sim.json,",
            "world: sim.json, timeout_s: 1, attempts: 1,",
        )
        .unwrap();
    let (shown, _) = incomplete(&project, "run", &["--case", &case]);
    assert_eq!(shown["run"]["status"], "missing", "{shown:#}");
    assert_eq!(shown["run"]["reason"], "provider_timeout", "{shown:#}");
}

/// What diagnosis found, from the report of a job: its clusters, before anything was changed.
fn report(project: &Project) -> String {
    let summary = project
        .fapo("optimize", &["--json", "--max-proposals", "1"])
        .unwrap()
        .json()
        .unwrap();
    let page = Path::new(summary["report"].as_str().unwrap()).with_extension("md");
    std::fs::read_to_string(page).unwrap()
}

#[test]
fn a_reply_that_is_cut_off_is_seen_in_the_run_and_blamed_by_diagnosis() {
    let project = project(json!([]));
    let mut world: Value = serde_json::from_str(&project.read("sim.json").unwrap()).unwrap();
    world["style"] = json!({ "style": "{answer}", "reasoning": 15 });
    world["directives"] = json!([]);
    project.write("sim.json", world.to_string()).unwrap();
    project
        .edit(
            "fapo.yaml",
            "world: sim.json,",
            "world: sim.json, max_tokens: 8,",
        )
        .unwrap();
    project
        .edit("fapo.yaml", "metric: exact_match", "metric: contains")
        .unwrap();
    project
        .edit("fapo.yaml", "target: { exact_match", "target: { contains")
        .unwrap();
    let (case, _) = ticket(&project, "train", 0);
    let shown = run(&project, &case);
    assert_eq!(shown["run"]["steps"][0]["finish"], "length", "{shown:#}");
    assert_eq!(
        shown["run"]["status"], "completed",
        "it is an answer, if a poor one"
    );
    let words = project.fapo("run", &["--case", &case]).unwrap().stdout();
    assert!(words.contains("cut off at its limit"), "{words}");
    let report = report(&project);
    assert!(report.contains("output cut off at classify"), "{report}");
    assert!(report.contains("raise max_tokens of classify"), "{report}");
    // room for the whole reply is a parameter, and that mends it
    let summary = project
        .fapo("optimize", &["--json"])
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(summary["test"]["best"]["mean"], 1.0, "{summary:#}");
}

#[test]
fn a_refusal_is_seen_in_the_run_and_blamed_by_diagnosis() {
    let project = project(json!([{ "when": "invoice|charged", "fault": { "kind": "refusal" } }]));
    let train = project.read("data/train.jsonl").unwrap();
    let refused = train
        .lines()
        .position(|line| line.contains("invoice"))
        .unwrap();
    let (case, _) = ticket(&project, "train", refused);
    let shown = run(&project, &case);
    assert_eq!(shown["run"]["status"], "refused", "{shown:#}");
    assert_eq!(shown["run"]["steps"][0]["finish"], "refusal", "{shown:#}");
    assert_eq!(shown["score"]["score"], 0.0, "{shown:#}");
    let words = project.fapo("run", &["--case", &case]).unwrap().stdout();
    assert!(words.contains("declined"), "{words}");
    let report = report(&project);
    assert!(report.contains("refusal"), "{report}");
}

#[test]
fn a_wait_that_the_provider_asks_for_is_kept() {
    let (project, case) = one_case(json!({ "kind": "status", "status": 429, "retry_after_s": 1 }));
    let mut world: Value = serde_json::from_str(&project.read("sim.json").unwrap()).unwrap();
    world["faults"][0]["tries"] = json!(1);
    project.write("sim.json", world.to_string()).unwrap();
    let shown = run(&project, &case);
    assert_eq!(shown["run"]["status"], "completed", "{shown:#}");
    assert_eq!(shown["run"]["steps"][0]["attempts"], 2, "{shown:#}");
    assert!(
        shown["run"]["duration_ms"].as_u64().unwrap() >= 1000,
        "{shown:#}"
    );
}

#[test]
fn what_never_passes_is_missing_with_its_cause_and_never_a_zero() {
    let table = [
        (
            json!({ "kind": "status", "status": 429, "retry_after_s": 0 }),
            "provider_overloaded",
            "429",
        ),
        (
            json!({ "kind": "status", "status": 500 }),
            "provider_unavailable",
            "500",
        ),
        (json!({ "kind": "disconnect" }), "provider_unavailable", ""),
        (json!({ "kind": "cut_body" }), "provider_", ""),
        (json!({ "kind": "malformed" }), "provider_malformed", ""),
        (json!({ "kind": "empty_choices" }), "provider_malformed", ""),
    ];
    for (fault, reason, said) in table {
        let (project, case) = one_case(fault.clone());
        project
            .edit(
                "fapo.yaml",
                "world: sim.json,",
                "world: sim.json, attempts: 2,",
            )
            .unwrap();
        let (shown, _) = incomplete(&project, "run", &["--case", &case]);
        assert_eq!(shown["run"]["status"], "missing", "{fault}: {shown:#}");
        let why = shown["run"]["reason"].as_str().unwrap();
        assert!(why.starts_with(reason), "{fault}: {why}");
        let error = shown["run"]["steps"][0]["error"].as_str().unwrap();
        assert!(error.contains(said), "{fault}: {error}");
        assert_eq!(shown["score"]["status"], "missing", "{fault}: {shown:#}");
        assert_eq!(shown["score"]["score"], json!(null), "{fault}: no zero");
        assert_eq!(shown["score"]["breakdown"], json!({}), "{fault}: no zero");
    }
}

#[test]
fn a_request_that_the_provider_rejects_is_the_candidates_fault() {
    let (project, case) =
        one_case(json!({ "kind": "status", "status": 400, "message": "prompt too long" }));
    let shown = run(&project, &case);
    assert_eq!(shown["run"]["status"], "failed", "{shown:#}");
    assert_eq!(shown["run"]["reason"], "provider_rejected", "{shown:#}");
    assert!(
        shown["run"]["steps"][0]["error"]
            .as_str()
            .unwrap()
            .contains("prompt too long")
    );
}
