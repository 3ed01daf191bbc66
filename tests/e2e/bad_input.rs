//! Whatever a person or a machine gets wrong ends in a clear message, the documented exit code, and nothing half-done.

use std::os::unix::fs::PermissionsExt;

use fapo_e2e::{Project, Ran};

const PROBLEMS: i32 = 3;
const FAILED: i32 = 1;
const INCOMPLETE: i32 = 4;

fn example() -> Project {
    Project::example("missing-hop").unwrap()
}

/// Every text is in what was said on standard error, and nothing was printed as data.
fn says(ran: &Ran, code: i32, texts: &[&str]) {
    let said = ran.stderr();
    assert_eq!(ran.code(), code, "{said}");
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(ran.stdout(), "", "{said}");
}

/// The error as JSON: the last thing that is said.
fn error(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(ran.stderr().lines().last().unwrap()).unwrap()
}

#[test]
fn broken_yaml_is_named_with_file_and_line() {
    let project = example();
    project
        .edit("fapo.yaml", "models:\n", "models: [\n")
        .unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &["fapo.yaml:"],
    );
}

#[test]
fn all_problems_of_all_files_come_at_once() {
    let project = example();
    project.edit("fapo.yaml", "seed: 7", "sede: 7").unwrap();
    project
        .edit("fapo.yaml", "expected: answer", "expeted: answer")
        .unwrap();
    project
        .edit("pipeline/pipeline.yaml", "k: 3", "k: three")
        .unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &[
            "sede",
            "seed",
            "expeted",
            "expected",
            "pipeline.yaml",
            "three",
        ],
    );
}

#[test]
fn an_unknown_step_is_named() {
    let project = example();
    project
        .edit(
            "pipeline/prompts/answer.md",
            "steps.retrieve.docs",
            "steps.retreive.docs",
        )
        .unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &["retreive", "answer.md"],
    );
}

#[test]
fn a_cyclic_graph_is_refused_with_its_cycle() {
    let project = example();
    project
        .edit(
            "pipeline/pipeline.yaml",
            "k: 3",
            "k: 3\n    needs: [answer]",
        )
        .unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &["cycl", "retrieve", "answer"],
    );
}

#[test]
fn a_missing_variable_is_named_with_the_prompt_file() {
    let project = example();
    project
        .edit(
            "pipeline/prompts/answer.md",
            "{{ question }}",
            "{{ qestion }}",
        )
        .unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &["qestion", "answer.md"],
    );
}

#[test]
fn duplicate_case_ids_are_named_with_both_places() {
    let project = example();
    let line = project
        .read("data/train.jsonl")
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let val = project.read("data/val.jsonl").unwrap();
    project
        .write("data/val.jsonl", format!("{val}{line}\n"))
        .unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &["hop-000", "data/train.jsonl:1", "data/val.jsonl:61"],
    );
}

#[test]
fn a_ten_megabyte_line_is_refused_by_its_number() {
    let project = example();
    let val = project.read("data/val.jsonl").unwrap();
    let huge = format!(
        "{{\"case_id\": \"huge\", \"input\": {{\"question\": \"{}\"}}}}\n",
        "x".repeat(10 << 20)
    );
    project
        .write("data/val.jsonl", format!("{val}{huge}"))
        .unwrap();
    let ran = project.fapo("eval", &[]).unwrap();
    says(&ran, PROBLEMS, &["data/val.jsonl:61"]);
    assert!(ran.stderr().len() < 4096, "the line itself is not printed");
}

#[test]
fn invalid_utf8_is_refused_by_its_line() {
    let project = example();
    let mut val = project.read("data/val.jsonl").unwrap().into_bytes();
    val.extend_from_slice(b"{\"case_id\": \"bad\xff\", \"input\": {\"question\": \"x\"}}\n");
    project.write("data/val.jsonl", val).unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &["data/val.jsonl:61", "UTF-8"],
    );
}

#[test]
fn a_missing_key_names_its_variable_before_anything_runs() {
    let project = example();
    project
        .edit(
            "fapo.yaml",
            "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }",
            "{ provider: openai, model: gpt-4.1-mini, temperature: 0.0 }",
        )
        .unwrap();
    let ran = project.fapo("eval", &["--json"]).unwrap();
    says(&ran, FAILED, &["OPENAI_API_KEY", "MODEL_NO_KEY"]);
    assert_eq!(error(&ran)["reason"], "MODEL_NO_KEY");
    let jobs = project.fapo("status", &["--json"]).unwrap();
    assert_eq!(jobs.json().unwrap(), serde_json::json!([]));
}

#[test]
fn the_proposers_key_is_asked_for_before_the_baseline_is_paid() {
    let project = example();
    project
        .edit(
            "fapo.yaml",
            "proposer: { backend: catalogue }",
            "proposer: { backend: reflect }",
        )
        .unwrap();
    project
        .edit(
            "fapo.yaml",
            "models:\n",
            "models:\n  proposer: { provider: openai, model: gpt-4.1-mini }\n",
        )
        .unwrap();
    // the steps' own model needs no key
    assert_eq!(project.fapo("eval", &["--cases", "2"]).unwrap().code(), 0);
    let ran = project.fapo("optimize", &["--json"]).unwrap();
    says(&ran, FAILED, &["OPENAI_API_KEY", "MODEL_NO_KEY"]);
    let jobs = project.fapo("status", &["--json"]).unwrap();
    assert_eq!(jobs.json().unwrap().as_array().unwrap().len(), 1);
}

#[test]
fn an_unreachable_endpoint_is_named_and_no_case_counts_as_wrong() {
    let project = example();
    // nothing listens on the discard port
    project
        .edit("fapo.yaml", "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }",
            "{ provider: openai, model: m, base_url: \"http://127.0.0.1:9/v1\", attempts: 2, price: { input: 0, output: 0 } }")
        .unwrap();
    let ran = project.fapo("eval", &["--cases", "5", "--json"]).unwrap();
    says(&ran, INCOMPLETE, &["127.0.0.1:9"]);
    assert_eq!(error(&ran)["reason"], "MODEL_UNAVAILABLE");
    // the block is tried several times, and fails alike
    let warnings = ran.stderr().matches("WARN").count();
    assert_eq!(warnings, 1, "{}", ran.stderr());
}

#[test]
fn a_folder_without_a_project_says_how_to_make_one() {
    let project = Project::empty().unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        FAILED,
        &["fapo.yaml", "fapo init"],
    );
}

#[test]
fn a_project_without_data_files_names_them() {
    let project = example();
    std::fs::remove_file(project.path().join("data/val.jsonl")).unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        PROBLEMS,
        &["data/val.jsonl"],
    );
}

#[test]
fn a_split_without_cases_is_refused_with_its_reason() {
    let project = example();
    project
        .edit("fapo.yaml", "  test: data/test.jsonl\n", "")
        .unwrap();
    let ran = project
        .fapo("eval", &["--split", "test", "--json"])
        .unwrap();
    says(&ran, FAILED, &["no test cases", "`data:`"]);
    assert_eq!(error(&ran)["reason"], "JOB_INVALID");
}

#[test]
fn a_read_only_folder_is_said_so() {
    let project = example();
    let folder = std::fs::metadata(project.path()).unwrap().permissions();
    std::fs::set_permissions(project.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    // root may write anywhere: a file in the way of the store's folder stands in for a read-only disk
    let root = std::fs::write(project.path().join("probe"), "x").is_ok();
    if root {
        std::fs::set_permissions(project.path(), folder.clone()).unwrap();
        project.write(".fapo", "not a folder").unwrap();
    }
    let ran = project.fapo("eval", &[]).unwrap();
    std::fs::set_permissions(project.path(), folder).unwrap();
    says(&ran, FAILED, &[".fapo"]);
}

#[test]
fn a_damaged_store_is_named_and_left_alone() {
    let project = example();
    project
        .write(
            ".fapo/fapo.db",
            "this is no database, and longer than a header would be ".repeat(40),
        )
        .unwrap();
    let before = project.read(".fapo/fapo.db").unwrap();
    says(&project.fapo("eval", &[]).unwrap(), FAILED, &["fapo.db"]);
    assert_eq!(project.read(".fapo/fapo.db").unwrap(), before);
}

#[test]
fn two_processes_do_not_work_in_one_folder() {
    let project = example();
    std::fs::create_dir_all(project.path().join(".fapo")).unwrap();
    let lock = std::fs::File::create(project.path().join(".fapo/lock")).unwrap();
    lock.lock().unwrap();
    says(
        &project.fapo("eval", &[]).unwrap(),
        FAILED,
        &["another fapo"],
    );
}

#[test]
fn a_full_disk_ends_the_command_at_whatever_moment_and_what_was_stored_stays() {
    let project = example();
    let before = project.fapo("eval", &["--json"]).unwrap().json().unwrap();
    let fapo = project.command("optimize", &["--json"], &[]).unwrap();
    let size = |name: &str| {
        let file = project.path().join(".fapo").join(name);
        std::fs::metadata(file).map_or(0, |file| file.len())
    };
    let mut moments = std::collections::BTreeSet::new();
    for try_number in 0..40 {
        // A limit on the size of any file this process writes is what a full disk looks like to it. Each try gets a
        // little further than the one before, so that the disk is full at many different moments.
        let room = 100 + 97 * try_number % 400;
        let limit = (size("fapo.db") + size("fapo.db-wal")).div_ceil(1024) + room;
        let limited = std::process::Command::new("/bin/bash")
            .arg("-c")
            .arg(format!(
                "trap '' XFSZ; ulimit -f {limit}; exec timeout 60 \"$0\" \"$@\""
            ))
            .arg(fapo.get_program())
            .args(fapo.get_args())
            .env_clear()
            .env("HOME", project.path())
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&limited.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        if limited.status.code() == Some(0) {
            break;
        }
        assert_eq!(limited.status.code(), Some(FAILED), "{limit}: {said}");
        for text in ["fapo.db", "STORE_UNWRITABLE"] {
            assert!(said.contains(text), "{limit}: no {text} in {said}");
        }
        let error = said.lines().last().unwrap_or_default();
        moments.insert(error.split(": ").take(2).collect::<String>());
    }
    assert!(moments.len() > 1, "the disk was full only at {moments:?}");
    // with room again, the same command goes on to the end, and the old figures are still there
    let summary = project
        .fapo("optimize", &["--json"])
        .unwrap()
        .json()
        .unwrap();
    assert!(summary["improved"].as_bool().unwrap(), "{summary:#}");
    let after = project.fapo("eval", &["--json"]).unwrap().json().unwrap();
    assert_eq!(before["mean"], after["mean"]);
    assert!(before["mean"].is_number(), "{before:#}");
}
