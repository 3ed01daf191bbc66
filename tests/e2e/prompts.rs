//! Prompts, reviewer and reader through the real binary.

use fapo_e2e::{Project, fapo};
use serde_json::Value;

use super::commands::{DONE, FAILED, json, small};

fn prompts(project: &Project, args: &[&str]) -> fapo_e2e::Ran {
    let dir = project.path().to_str().unwrap();
    let args: Vec<&str> = ["prompts", "--dir", dir]
        .iter()
        .chain(args)
        .copied()
        .collect();
    fapo(&args).unwrap()
}

#[test]
fn prompts_are_listed_printed_and_replaced_by_a_projects_own() {
    let project = small();
    let listed = prompts(&project, &[]);
    assert_eq!(listed.code(), DONE, "{}", listed.stderr());
    for name in ["proposer_system", "reviewer_user", "reader_system"] {
        assert!(listed.stdout().contains(name), "{}", listed.stdout());
    }
    let text = prompts(&project, &["reviewer_system"]).stdout();
    assert!(text.contains("leakage"), "{text}");

    project
        .write("agents/reviewer_system.md", "Be strict.\n")
        .unwrap();
    let own = prompts(&project, &["reviewer_system"]).stdout();
    assert_eq!(own, "Be strict.\n");
    assert_eq!(
        prompts(&project, &["reviewer_system", "--default"]).stdout(),
        text
    );
    let rows = prompts(&project, &["--json"]).json().unwrap();
    let rows = rows.as_array().unwrap();
    let own: Vec<&str> = rows
        .iter()
        .filter(|row| row["from"] == "project")
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(own, ["reviewer_system"]);
    let unknown = prompts(&project, &["reviewer"]);
    assert_eq!(unknown.code(), FAILED);
    assert!(
        unknown.stderr().contains("reviewer_system"),
        "{}",
        unknown.stderr()
    );
}

#[test]
fn a_file_that_is_no_prompt_is_a_problem_of_the_project() {
    let project = small();
    project.write("agents/reviewer.md", "x").unwrap();
    let checked = project.fapo("check", &[]).unwrap();
    assert_ne!(checked.code(), DONE);
    let said = format!("{}{}", checked.stdout(), checked.stderr());
    for part in ["agents/reviewer.md", "reviewer_system"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

/// A small project whose reviewer is a simulated model of this world.
fn reviewed(world: &Value) -> Project {
    let project = small();
    project.write("reviewer.json", world.to_string()).unwrap();
    project
        .edit(
            "fapo.yaml",
            "models:\n",
            "models:\n  reviewer: { provider: sim, model: strict, world: reviewer.json }\n",
        )
        .unwrap();
    project
        .edit(
            "fapo.yaml",
            "proposer: { backend: catalogue }",
            "proposer: { backend: catalogue }\nreviewer: { backend: model }",
        )
        .unwrap();
    project
}

/// Optimizes, and gives what was said and the outcomes of all proposals.
fn optimized(project: &Project) -> (String, Vec<String>) {
    let ran = project.fapo("optimize", &["--max-proposals", "2"]).unwrap();
    let said = format!("{}{}", ran.stdout(), ran.stderr());
    let rows = json(project, "lineage", &[]);
    let outcomes = rows
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["outcome"].as_str().map(str::to_owned))
        .collect();
    (said, outcomes)
}

fn scripted(reply: &Value) -> Value {
    serde_json::json!({"scripted": [{"when": ".", "reply": reply.to_string()}]})
}

#[test]
fn a_reviewers_warning_is_told_and_the_change_is_promoted_all_the_same() {
    let finding = serde_json::json!({
        "check": "regression", "severity": "warn", "place": "prompts/classify.md",
        "message": "tickets about two things",
    });
    let project = reviewed(&scripted(
        &serde_json::json!({"verdict": "pass", "findings": [finding], "summary": "fine"}),
    ));
    let (said, outcomes) = optimized(&project);
    assert!(outcomes.contains(&"promoted".to_owned()), "{said}");
    let words = "the reviewer warns – regression at prompts/classify.md: tickets about two things";
    assert!(said.contains(words), "{said}");
}

#[test]
fn what_the_reviewer_fails_is_sent_back_once_and_then_refused() {
    let project = reviewed(&scripted(
        &serde_json::json!({"verdict": "fail", "findings": [], "summary": "it names a town"}),
    ));
    let (said, outcomes) = optimized(&project);
    assert!(!outcomes.contains(&"promoted".to_owned()), "{said}");
    assert!(said.contains("sent back by the reviewer"), "{said}");
    // the catalogue revises nothing
    let words =
        "refused by the reviewer, after one revision: other: it names a town; it was not revised";
    assert!(said.contains(words), "{said}");
}

#[test]
fn under_a_reviewer_out_of_order_nothing_is_promoted_and_the_job_ends_well() {
    let project = reviewed(&serde_json::json!({
        "faults": [{"when": ".", "fault": {"kind": "refusal"}}],
    }));
    let (said, outcomes) = optimized(&project);
    assert!(!outcomes.contains(&"promoted".to_owned()), "{said}");
    assert!(said.contains("no usable verdict"), "{said}");
    assert!(!said.contains("sent back"), "{said}");
}
