//! `fapo check` names every problem of every file at once, and what it passes is not refused later for its scorer or data.

use fapo_e2e::{Project, Ran};
use serde_json::Value;

const PROBLEMS: i32 = 3;

fn append(project: &Project, file: &str, lines: &str) {
    let text = project.read(file).unwrap();
    let text = text.trim_end();
    project.write(file, format!("{text}\n{lines}\n")).unwrap();
}

/// Every text is in what was said; the command ended with "problems".
fn names(ran: &Ran, texts: &[&str]) {
    let said = ran.stderr();
    assert_eq!(ran.code(), PROBLEMS, "{said}");
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
    assert_eq!(ran.stdout(), "", "{said}");
}

/// A project with something wrong in each of its files.
fn all_wrong() -> Project {
    let project = Project::example("missing-hop").unwrap();
    project.edit("fapo.yaml", "seed: 7", "sede: 7").unwrap();
    project
        .edit("pipeline/pipeline.yaml", "k: 3", "k: three")
        .unwrap();
    project.edit("sim.json", "\"style\"", "\"stile\"").unwrap();
    project
        .write("prices.toml", "this is no price table")
        .unwrap();
    append(&project, "data/train.jsonl", "not JSON");
    append(
        &project,
        "data/val.jsonl",
        "{\"case_id\": \"hop-000\", \"input\": {\"question\": \"?\"}, \"expected\": {\"answer\": \"x\"}}",
    );
    append(
        &project,
        "data/test.jsonl",
        "{\"case_id\": \"no-answer\", \"input\": {\"question\": \"?\"}, \"expected\": {}}",
    );
    let first: Value = serde_json::from_str(
        project
            .read("data/corpus.jsonl")
            .unwrap()
            .lines()
            .next()
            .unwrap(),
    )
    .unwrap();
    append(&project, "data/corpus.jsonl", &first.to_string());
    append(&project, "data/corpus.jsonl", "{\"doc_id\": \"no-text\"}");
    project
}

/// The places that `all_wrong` spoilt.
const EVERYWHERE: &[&str] = &[
    "fapo.yaml:",
    "sede",
    "pipeline/pipeline.yaml:",
    "three",
    "sim.json",
    "stile",
    "prices.toml",
    "data/train.jsonl:41",
    "data/val.jsonl:61",
    "used before, at data/train.jsonl:1",
    "data/test.jsonl:61",
    "no-answer",
    "data/corpus.jsonl:321",
    "used before, at data/corpus.jsonl:1",
    "data/corpus.jsonl:322",
];

#[test]
fn problems_of_the_data_come_with_those_of_the_settings_and_the_pipeline() {
    let project = all_wrong();
    for command in ["check", "eval", "optimize"] {
        names(&project.fapo(command, &[]).unwrap(), EVERYWHERE);
    }
    names(
        &project.fapo("optimize", &["--dry-run"]).unwrap(),
        EVERYWHERE,
    );
    assert!(
        !project.path().join(".fapo").exists(),
        "nothing is begun over a project with problems"
    );
}

#[test]
fn problems_are_listed_as_json_too() {
    let ran = all_wrong().fapo("check", &["--json"]).unwrap();
    names(&ran, &[]);
    let listed: Value = serde_json::from_str(&ran.stderr()).unwrap();
    assert_eq!(listed["exit"], PROBLEMS);
    let files: Vec<&str> = listed["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["file"].as_str().unwrap())
        .collect();
    for file in [
        "fapo.yaml",
        "pipeline/pipeline.yaml",
        "sim.json",
        "prices.toml",
        "data/train.jsonl",
        "data/val.jsonl",
        "data/test.jsonl",
        "data/corpus.jsonl",
    ] {
        assert!(files.contains(&file), "{file} is not in {files:?}");
    }
}

#[test]
fn a_step_of_no_known_kind_hides_no_other_problem_of_the_pipeline() {
    let project = Project::example("missing-hop").unwrap();
    for (from, to) in [
        ("kind: retrieve", "kind: retreive"),
        ("prompts/answer.md", "prompts/anwser.md"),
        ("output: answer", "output: answr"),
    ] {
        project.edit("pipeline/pipeline.yaml", from, to).unwrap();
    }
    names(
        &project.fapo("check", &[]).unwrap(),
        &["`retreive`", "prompts/anwser.md", "`answr`", "3 problems"],
    );
}

#[test]
fn a_bad_scorer_and_bad_data_hide_no_problem_of_a_prompt() {
    let project = Project::example("missing-hop").unwrap();
    project
        .edit("fapo.yaml", "metric: exact_match", "metric: exct_match")
        .unwrap();
    project
        .edit("fapo.yaml", "data/train.jsonl", "data/train.csv")
        .unwrap();
    project
        .write(
            "data/train.csv",
            "id,question,expected.answer\nc1,Why?,So.\n",
        )
        .unwrap();
    project
        .edit(
            "pipeline/prompts/answer.md",
            "{{ question }}",
            "{{ questoin }}",
        )
        .unwrap();
    let places = &[
        "exct_match",
        "no column `case_id`",
        "`questoin`",
        "3 problems",
    ];
    names(&project.fapo("check", &[]).unwrap(), places);
    // what needs no data is told even where nothing of the settings can be read
    project.write("fapo.yaml", "name: [").unwrap();
    append(
        &project,
        "pipeline/prompts/answer.md",
        "{{ steps.retrive.text }}",
    );
    names(
        &project.fapo("check", &[]).unwrap(),
        &["fapo.yaml", "`retrive`", "2 problems"],
    );
}

#[test]
fn a_key_that_is_missing_in_the_settings_hides_no_other_file() {
    for gone in [
        "name: missing-hop\n",
        "scorer: { metric: exact_match, expected: answer, also: [f1] }\n",
        "  train: data/train.jsonl\n",
        "models:\n  task: { provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }\n",
    ] {
        let project = all_wrong();
        project.edit("fapo.yaml", gone, "").unwrap();
        let ran = project.fapo("check", &[]).unwrap();
        names(
            &ran,
            &[
                "is missing",
                "sede",
                "three",
                "data/val.jsonl:61",
                "data/corpus.jsonl:321",
            ]
            .map(|text| {
                // without train, its first case is not a repetition
                if gone.contains("train") && text.starts_with("data/val") {
                    "data/corpus.jsonl:322"
                } else {
                    text
                }
            }),
        );
        assert!(!ran.stderr().contains("is empty"), "{}", ran.stderr());
    }
}

#[test]
fn a_file_is_told_of_once() {
    let project = Project::example("missing-hop").unwrap();
    project
        .edit("fapo.yaml", "val: data/val.jsonl", "val: data/train.jsonl")
        .unwrap();
    project
        .edit(
            "fapo.yaml",
            "test: data/test.jsonl",
            "test: data/none.jsonl",
        )
        .unwrap();
    let ran = project.fapo("check", &[]).unwrap();
    names(&ran, &["data-leak", "data/none.jsonl", "2 problems"]);
}

#[test]
fn a_hopeless_file_is_listed_up_to_a_bound_and_that_is_said() {
    let project = Project::example("missing-hop").unwrap();
    append(&project, "data/train.jsonl", &"not JSON\n".repeat(500));
    for command in ["check", "eval"] {
        let ran = project.fapo(command, &[]).unwrap();
        names(&ran, &["100 problems", "only the first 100"]);
        assert!(ran.stderr().lines().count() < 250, "{}", ran.stderr());
    }
}

#[test]
fn each_empty_split_is_named() {
    let project = Project::example("missing-hop").unwrap();
    project.write("data/train.jsonl", "").unwrap();
    project.write("data/test.jsonl", "\n\n").unwrap();
    project.write("data/corpus.jsonl", "").unwrap();
    for command in ["check", "eval"] {
        names(
            &project.fapo(command, &[]).unwrap(),
            &[
                "data/train.jsonl: error[data]: holds no cases",
                "data/test.jsonl: error[data]: holds no cases",
                "data/corpus.jsonl: error[data]: holds no documents",
                "3 problems",
            ],
        );
    }
}

#[test]
fn what_the_scorer_cannot_use_is_refused_by_check_and_before_eval_pays_for_anything() {
    let table = [
        // a choice of another case cannot be told apart
        (
            "{ metric: choice, expected: answer, choices: [Yes, \"no\", \"yes\"] }",
            "scorer.choices[2]",
        ),
        // a name that breakdowns use for the composite
        (
            "{ metric: exact_match, expected: answer, also: [{ metric: f1, name: weighted }] }",
            "weighted",
        ),
        // the pattern from which another metric takes its answer is not what `regex` must match
        (
            "{ metric: exact_match, expected: answer, pattern: \"(.*)\", also: [regex] }",
            "scorer.also[0]",
        ),
        (
            "{ metric: numeric, expected: answer }",
            "data/train.jsonl:1",
        ),
        (
            "{ metric: exact_match, expected: anser }",
            "data/train.jsonl:1",
        ),
    ];
    for (scorer, place) in table {
        let project = Project::example("missing-hop").unwrap();
        project
            .edit(
                "fapo.yaml",
                "{ metric: exact_match, expected: answer, also: [f1] }",
                scorer,
            )
            .unwrap();
        project
            .edit("fapo.yaml", "target: { exact_match: 0.95 }\n", "")
            .unwrap();
        for command in ["check", "eval"] {
            names(&project.fapo(command, &[]).unwrap(), &[place]);
        }
    }
}

#[test]
fn a_case_without_an_answer_is_found_wherever_it_stands() {
    let project = Project::example("missing-hop").unwrap();
    project
        .edit(
            "fapo.yaml",
            "also: [f1]",
            "also: [{ metric: f1, expected: alias }]",
        )
        .unwrap();
    append(
        &project,
        "data/test.jsonl",
        "{\"case_id\": \"last\", \"input\": {\"question\": \"?\"}, \"expected\": {}}",
    );
    let ran = project.fapo("check", &[]).unwrap();
    // 160 cases lack the alias: the bound is met before the last one
    names(&ran, &["expected.alias", "100 problems"]);
    project
        .edit(
            "fapo.yaml",
            "also: [{ metric: f1, expected: alias }]",
            "also: [f1]",
        )
        .unwrap();
    for command in ["check", "eval"] {
        let ran = project.fapo(command, &[]).unwrap();
        names(&ran, &["data/test.jsonl:61", "case last", "1 problem"]);
    }
}

#[test]
fn one_case_cannot_be_both_train_and_val() {
    let project = Project::example("missing-hop").unwrap();
    let first = project.read("data/train.jsonl").unwrap();
    let first = first.lines().next().unwrap();
    project.write("data/train.jsonl", first).unwrap();
    project
        .edit("fapo.yaml", "  val: data/val.jsonl\n", "")
        .unwrap();
    names(&project.fapo("check", &[]).unwrap(), &["data.val"]);
}

#[test]
fn where_val_is_cut_from_train_check_says_about_how_much_and_both_have_cases() {
    let project = Project::example("answer-form").unwrap();
    let instruction: Vec<String> = (0..200).map(|n| format!("word{n}")).collect();
    let instruction = instruction.join(" ");
    let lines: Vec<String> = (0..40)
        .map(|n| {
            serde_json::json!({
                "case_id": format!("ticket-{n}"),
                "input": {"ticket": format!("{instruction} {n}")},
                "expected": {"label": "account"},
            })
            .to_string()
        })
        .collect();
    project.write("data/train.jsonl", lines.join("\n")).unwrap();
    project
        .edit("fapo.yaml", "  val: data/val.jsonl\n", "")
        .unwrap();
    let ran = project.fapo("check", &[]).unwrap();
    let said = ran.stdout();
    assert!(said.contains("train about 20, val about 20"), "{said}");
    let checked = project.fapo("check", &["--json"]).unwrap().json().unwrap();
    assert_eq!(checked["cases"]["val"], 20);
    assert_eq!(checked["val_is_cut_from_train"], true);
    for split in ["train", "val"] {
        let ran = project.fapo("eval", &["--split", split]).unwrap();
        assert_eq!(ran.code(), 0, "{}", ran.stderr());
    }
}

#[test]
fn a_sound_project_is_passed_by_check_and_leaves_nothing_behind() {
    for example in ["missing-hop", "answer-form", "shallow-retrieval"] {
        let project = Project::example(example).unwrap();
        let ran = project.fapo("check", &["--json"]).unwrap();
        let checked = ran.json().unwrap();
        assert_eq!(checked["cases"]["val"], 60, "{checked:#}");
        assert!(checked["estimate"]["val"]["calls"].as_f64().unwrap() >= 60.0);
        assert!(!project.path().join(".fapo").exists());
    }
}

#[test]
fn cases_that_a_template_cannot_be_rendered_for_are_a_warning_before_they_fail() {
    let project = Project::example("answer-form").unwrap();
    for number in 0..2 {
        append(
            &project,
            "data/val.jsonl",
            &format!(
                "{{\"case_id\": \"odd-{number}\", \"input\": {{\"text\": \"?\"}}, \"expected\": {{\"label\": \"billing\"}}}}"
            ),
        );
    }
    let ran = project.fapo("check", &["--json"]).unwrap();
    assert_eq!(ran.code(), 0, "{}", ran.stderr());
    let warning = &ran.json().unwrap()["warnings"][0];
    assert_eq!(warning["rule"], "absent-key", "{warning:#}");
    assert_eq!(warning["file"], "data/val.jsonl", "{warning:#}");
    assert_eq!(warning["line"], 61, "{warning:#}");
    let said = warning["message"].as_str().unwrap();
    assert!(said.starts_with("2 cases from here on have no "), "{said}");
    assert!(said.contains("pipeline/prompts/classify.md:"), "{said}");

    let result = project.fapo("eval", &["--json"]).unwrap().json().unwrap();
    assert_eq!(result["statuses"]["failed"], 2, "{result:#}");
}

#[test]
fn a_right_answer_in_the_wrong_place_is_told_with_the_right_one() {
    let project = Project::example("answer-form").unwrap();
    project
        .edit("fapo.yaml", "data/val.jsonl", "data/val.csv")
        .unwrap();
    project
        .write("data/val.csv", "case_id,ticket,label\n1,b,billing\n")
        .unwrap();
    append(
        &project,
        "data/test.jsonl",
        "{\"case_id\": \"odd\", \"input\": {\"ticket\": \"?\", \"label\": \"billing\"}, \"expected\": {}}",
    );
    let ran = project.fapo("check", &[]).unwrap();
    names(
        &ran,
        &[
            "data/val.csv:2",
            "a column named `expected.label` holds it",
            "data/test.jsonl:61",
            "it belongs in `expected`",
        ],
    );
}
