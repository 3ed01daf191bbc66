//! Prompts, reviewer and reader through the real binary.

use fapo_e2e::{Project, fapo};

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

#[test]
fn under_a_reviewer_out_of_order_nothing_is_promoted_and_the_job_ends_well() {
    let project = small();
    // the simulated model sorts tickets, whatever it is asked: it gives no verdict, and reads nothing
    project
        .edit(
            "fapo.yaml",
            "proposer: { backend: catalogue }",
            "proposer: { backend: catalogue }\nreviewer: { backend: model }\ndiagnosis: { reader: { backend: model } }",
        )
        .unwrap();
    let ran = project.fapo("optimize", &["--max-proposals", "3"]).unwrap();
    assert_eq!(ran.code(), DONE, "{}{}", ran.stdout(), ran.stderr());
    let rows = json(&project, "lineage", &[]);
    let outcomes: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["outcome"].as_str())
        .collect();
    assert!(!outcomes.contains(&"promoted"), "{rows}");
    let said = format!("{}{}", ran.stdout(), ran.stderr());
    assert!(said.contains("no usable verdict"), "{said}");
}
