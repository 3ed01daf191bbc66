//! Each planted example is solved at its own level, and the rows say why.

use fapo_e2e::Project;
use serde_json::Value;

/// Optimizes an example; returns the summary and the lineage.
fn optimize(project: &Project) -> (Value, Vec<Value>) {
    let summary = project
        .fapo("optimize", &["--json"])
        .unwrap()
        .json()
        .unwrap();
    let lineage = project
        .fapo("lineage", &["--json"])
        .unwrap()
        .json()
        .unwrap();
    (summary, lineage.as_array().unwrap().clone())
}

fn mean(summary: &Value, split: &str, which: &str) -> f64 {
    summary[split][which]["mean"].as_f64().unwrap()
}

fn levels(lineage: &[Value], only_promoted: bool) -> Vec<&str> {
    lineage
        .iter()
        .filter(|row| !only_promoted || row["outcome"] == "promoted")
        .filter_map(|row| row["level"].as_str())
        .collect()
}

/// The rows of the report's table of decisions.
fn decisions(summary: &Value) -> Vec<String> {
    let page = std::path::Path::new(summary["report"].as_str().unwrap()).with_extension("md");
    let report = std::fs::read_to_string(page).unwrap();
    let (_, after) = report.split_once("## Decisions").unwrap();
    let table = after.split("\n## ").next().unwrap();
    table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(str::to_owned)
        .collect()
}

/// Each of `wanted` has a row that holds all its texts, and these rows come in this order.
fn say_why(summary: &Value, wanted: &[&[&str]]) {
    let rows = decisions(summary);
    let mut left = rows.iter();
    for texts in wanted {
        let found = left.any(|row| texts.iter().all(|text| row.contains(text)));
        assert!(found, "{texts:?} in {rows:#?}");
    }
}

#[test]
fn the_prompt_fault_is_mended_by_a_prompt_and_nothing_deeper_is_tried() {
    let project = Project::example("answer-form").unwrap();
    let (summary, lineage) = optimize(&project);
    assert!(mean(&summary, "test", "baseline") < 0.05, "{summary:#}");
    assert!(mean(&summary, "test", "best") > 0.95, "{summary:#}");
    let tried = levels(&lineage, false);
    assert!(
        !tried.is_empty() && tried.iter().all(|level| *level == "prompt"),
        "{tried:?}"
    );
    say_why(
        &summary,
        &[
            &[
                "level prompt",
                "opened",
                "attribution gives it 1.000 points",
            ],
            &["gate on train", "passed", "goes on to val"],
            &[
                "gate on val",
                "promoted",
                "60 of 60 pairs",
                "chance of no gain 0.000",
            ],
            &["search", "target met", "exact_match 1.000"],
        ],
    );
}

#[test]
fn the_parameter_fault_is_mended_by_a_parameter_after_prompts_were_tried() {
    let project = Project::example("shallow-retrieval").unwrap();
    let (summary, lineage) = optimize(&project);
    assert!(mean(&summary, "test", "best") > 0.95, "{summary:#}");
    assert!(mean(&summary, "test", "baseline") < 0.6, "{summary:#}");
    let promoted = levels(&lineage, true);
    assert!(
        !promoted.is_empty() && promoted.iter().all(|level| *level == "parameter"),
        "{promoted:?}"
    );
    let tried = levels(&lineage, false);
    assert!(
        tried.iter().filter(|level| **level == "prompt").count() >= 3,
        "{tried:?}"
    );
    assert!(!tried.contains(&"structure"), "{tried:?}");
    say_why(
        &summary,
        &[
            &["gate on train", "rejected", "no gain"],
            &["level prompt", "left", "attribution gives it"],
            &[
                "level parameter",
                "opened",
                "retrieval_too_shallow@retrieve",
            ],
            &["gate on val", "promoted", "chance of no gain"],
            &["search", "target met", "the target is met on val"],
        ],
    );
}

#[test]
fn the_structure_fault_is_mended_by_a_second_hop_once_prompts_are_used_up() {
    let project = Project::example("missing-hop").unwrap();
    let (summary, lineage) = optimize(&project);
    assert!(mean(&summary, "test", "baseline") < 0.6, "{summary:#}");
    assert!(mean(&summary, "test", "best") > 0.95, "{summary:#}");
    let promoted: Vec<&Value> = lineage
        .iter()
        .filter(|row| row["outcome"] == "promoted")
        .collect();
    assert_eq!(promoted[0]["level"], "structure");
    assert_eq!(promoted[0]["technique"], "extra_hop");
    let tried = levels(&lineage, false);
    assert!(
        tried.iter().filter(|level| **level == "prompt").count() >= 3,
        "{tried:?}"
    );

    say_why(
        &summary,
        &[
            &["gate on train", "rejected", "no gain"],
            &["level prompt", "left", "attribution gives it"],
            &["level structure", "opened", "retrieval_"],
            &["gate on val", "promoted", "chance of no gain"],
        ],
    );
}

#[test]
fn the_winner_can_be_exported_as_a_folder_and_as_a_patch() {
    let project = Project::example("answer-form").unwrap();
    optimize(&project);
    let out = project.path().join("winner");
    let ran = project
        .fapo("export", &["--to", out.to_str().unwrap()])
        .unwrap();
    assert_eq!(ran.code(), 0, "{}", ran.stderr());
    let exported = std::fs::read_to_string(out.join("prompts/classify.md")).unwrap();
    assert_ne!(
        exported,
        project.read("pipeline/prompts/classify.md").unwrap()
    );

    let patch = project.path().join("winner.patch");
    let ran = project
        .fapo("export", &["--patch", patch.to_str().unwrap()])
        .unwrap();
    assert_eq!(ran.code(), 0, "{}", ran.stderr());
    let applied = std::process::Command::new("git")
        .args(["apply", "winner.patch"])
        .current_dir(project.path())
        .output()
        .unwrap();
    assert!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    assert_eq!(
        exported,
        project.read("pipeline/prompts/classify.md").unwrap()
    );
}

#[test]
fn an_export_of_the_best_says_when_that_is_the_baseline() {
    let project = Project::example("missing-hop").unwrap();
    let ran = project
        .fapo("optimize", &["--json", "--max-proposals", "1"])
        .unwrap();
    assert_eq!(ran.json().unwrap()["promoted"], false);
    let patch = project.path().join("nothing.patch");
    let ran = project
        .fapo("export", &["--patch", patch.to_str().unwrap()])
        .unwrap();
    assert_eq!(ran.code(), 0, "{}", ran.stderr());
    let said = ran.stderr();
    assert!(said.contains("the patch is empty"), "{said}");
    assert_eq!(std::fs::read_to_string(&patch).unwrap(), "");
}

#[test]
fn the_same_command_after_the_end_shows_the_same_job_and_pays_nothing() {
    let project = Project::example("answer-form").unwrap();
    let (first, _) = optimize(&project);
    let again = project
        .fapo("optimize", &["--json"])
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(first, again);
}

#[test]
fn optimizing_anew_starts_a_job_of_its_own_and_pays_for_nothing_but_the_sealed_test() {
    let project = Project::example("answer-form").unwrap();
    let (first, _) = optimize(&project);
    let second = project
        .fapo("optimize", &["--json", "--new"])
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(first["best"], second["best"]);
    assert_eq!(first["lineage_hash"], second["lineage_hash"]);
    let calls = second["spending"]["model_calls"].as_u64().unwrap();
    // baseline and best over 60 test cases; everything else is in the step cache
    assert_eq!(calls, 120, "{second:#}");
}
