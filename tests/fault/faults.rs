//! Provider faults: what can succeed is retried, what cannot is said, and nothing of it becomes a score of zero.

use fapo_e2e::Project;
use serde_json::{Value, json};

/// The classifier with one prompt that works, over a world with faults.
fn project(faults: Value) -> Project {
    let project = Project::example("answer-form").unwrap();
    let mut world: Value = serde_json::from_str(&project.read("sim.json").unwrap()).unwrap();
    world["style"] = json!("{answer}");
    world["faults"] = faults;
    project.write("sim.json", world.to_string()).unwrap();
    project
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
