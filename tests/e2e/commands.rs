//! Each command through the real binary: what it prints, what it leaves behind, and how it ends.

use std::process::{Command, Stdio};

use fapo_e2e::{Project, Ran, fapo};
use serde_json::Value;

pub const DONE: i32 = 0;
pub const FAILED: i32 = 1;
pub const USAGE: i32 = 2;
const PROBLEMS: i32 = 3;
const INCOMPLETE: i32 = 4;

/// The classifier over a few cases.
pub fn small() -> Project {
    let project = Project::example("answer-form").unwrap();
    for (split, cases) in [("train", 8), ("val", 12), ("test", 6)] {
        let file = format!("data/{split}.jsonl");
        let text = project.read(&file).unwrap();
        let lines: Vec<&str> = text.lines().take(cases).collect();
        project.write(&file, lines.join("\n")).unwrap();
    }
    project
}

pub fn json(project: &Project, command: &str, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    project.fapo(command, &args).unwrap().json().unwrap()
}

/// Ends with `code`, says every text on standard error, prints no data, and says the same as one JSON object.
pub fn fails(project: &Project, command: &str, args: &[&str], code: i32, texts: &[&str]) {
    let ran = project.fapo(command, args).unwrap();
    assert_eq!(ran.code(), code, "{command} {args:?}: {}", ran.stderr());
    assert_eq!(ran.stdout(), "", "{command} {args:?}");
    for text in texts {
        assert!(ran.stderr().contains(text), "{text}: {}", ran.stderr());
    }
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let said = project.fapo(command, &args).unwrap().stderr();
    let error: Option<Value> = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    assert!(error.is_some(), "{command} {args:?}: no JSON: {said}");
    let error = error.unwrap();
    assert_eq!(error["exit"], code, "{error:#}");
    assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()));
}

pub fn prints(ran: &Ran, texts: &[&str]) {
    assert_eq!(ran.code(), DONE, "{}", ran.stderr());
    for text in texts {
        assert!(ran.stdout().contains(text), "{text:?}: {}", ran.stdout());
    }
}

#[test]
fn init_makes_projects_that_check_passes() {
    for (template, provider) in [
        ("qa", "sim"),
        ("classify", "sim"),
        ("qa", "openai"),
        ("classify", "openai"),
    ] {
        let project = Project::empty().unwrap();
        let args = ["--template", template, "--provider", provider];
        let made = json(&project, "init", &args);
        for file in made["files"].as_array().unwrap() {
            assert!(project.path().join(file.as_str().unwrap()).is_file());
        }
        let checked = project.fapo("check", &[]).unwrap();
        prints(&checked, &["no problems"]);
        assert_eq!(checked.stderr(), "", "no warnings either");
    }
}

#[test]
fn what_init_makes_names_schemas_that_are_there_and_belong_to_this_program() {
    for template in ["qa", "classify"] {
        let project = Project::empty().unwrap();
        let made = json(&project, "init", &["--template", template]);
        for (file, schema) in [
            ("fapo.yaml", "fapo"),
            ("pipeline/pipeline.yaml", "pipeline"),
        ] {
            let text = project.read(file).unwrap();
            let named = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
            assert!(named.is_some(), "{file}: {text}");
            let path = project.path().join(file);
            let path = path.parent().unwrap().join(named.unwrap());
            let found = std::fs::read_to_string(path).unwrap();
            assert_eq!(found, fapo(&["schema", schema]).unwrap().stdout(), "{file}");
        }
        let in_pipeline: Vec<&str> = made["files"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|file| file.as_str()?.strip_prefix("pipeline/"))
            .collect();
        assert_eq!(in_pipeline.len(), 2, "steps and a prompt: {in_pipeline:?}");
    }
}

#[test]
fn the_winner_of_a_new_project_still_names_its_schema() {
    let project = Project::empty().unwrap();
    json(&project, "init", &["--template", "qa"]);
    let text = project.read("pipeline/pipeline.yaml").unwrap();
    let head = text.lines().next().unwrap();
    let summary = json(&project, "optimize", &[]);
    assert_eq!(summary["improved"], true, "{summary:#}");
    let out = project.path().join("out");
    json(&project, "export", &["--to", out.to_str().unwrap()]);
    let exported = project.read("out/pipeline.yaml").unwrap();
    assert_ne!(exported, text, "the second hop is in it");
    assert_eq!(exported.lines().next(), Some(head), "{exported}");
}

#[test]
fn what_init_makes_can_be_evaluated_at_once() {
    let project = Project::empty().unwrap();
    prints(&project.fapo("init", &[]).unwrap(), &["fapo check"]);
    let result = json(&project, "eval", &["--cases", "5"]);
    assert_eq!(result["counted"], 5, "{result:#}");
    assert!(project.read(".gitignore").unwrap().contains(".fapo"));
}

#[test]
fn init_touches_nothing_in_a_folder_that_is_in_use() {
    for file in ["fapo.yaml", "notes.txt"] {
        let project = Project::empty().unwrap();
        project.write(file, "mine").unwrap();
        fails(&project, "init", &[], FAILED, &["is not empty"]);
        assert_eq!(project.read(file).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(project.path()).unwrap().count(), 1);
    }
}

#[test]
fn doctor_names_what_is_missing_with_what_mends_it() {
    let project = small();
    let ran = project.fapo("doctor", &[]).unwrap();
    prints(&ran, &["folder", "simulated"]);
    assert!(!ran.stdout().contains("missing"), "{}", ran.stdout());
    project
        .edit(
            "fapo.yaml",
            "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }",
            "{ provider: openai, model: m, api_key_env: NO_SUCH_KEY, base_url: \"http://127.0.0.1:9/v1\" }",
        )
        .unwrap();
    project
        .edit("fapo.yaml", "proposals: 20", "proposals: 20, usd: 1")
        .unwrap();
    let ran = project.fapo("doctor", &["--json"]).unwrap();
    assert_eq!(ran.code(), PROBLEMS, "{}", ran.stderr());
    let findings: Vec<Value> = serde_json::from_str(&ran.stdout()).unwrap();
    let mends: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["level"] == "missing")
        .map(|finding| finding["mend"].as_str().unwrap())
        .collect();
    assert_eq!(mends.len(), 3, "{findings:#?}");
    for mend in [
        "export NO_SUCH_KEY=",
        "http://127.0.0.1:9/v1",
        "models.task.price",
    ] {
        assert!(mends.iter().any(|text| text.contains(mend)), "{mends:?}");
    }
    let ran = project
        .fapo_with_env("doctor", &[], &[("NO_SUCH_KEY", "sk-secret-value")])
        .unwrap();
    assert!(ran.stdout().contains("NO_SUCH_KEY is set"));
    assert!(!ran.stdout().contains("sk-secret-value"));

    project.edit("fapo.yaml", "seed: 7", "sede: 7").unwrap();
    let ran = project.fapo("doctor", &[]).unwrap();
    assert_eq!(ran.code(), PROBLEMS);
    assert!(ran.stdout().contains("fapo check"), "{}", ran.stdout());
}

#[test]
fn run_shows_every_step_of_one_case() {
    let project = Project::example("missing-hop").unwrap();
    let ran = project.fapo("run", &["--case", "hop-000"]).unwrap();
    prints(
        &ran,
        &[
            "retrieve",
            "docs",
            "answer llm",
            "[user]",
            "score",
            "hop-000 completed",
        ],
    );
    let shown = json(&project, "run", &["--case", "hop-000"]);
    let steps = shown["run"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "{shown:#}");
    assert_eq!(steps[1]["cache_hit"], true, "asked once: {shown:#}");
    assert!(shown["score"]["score"].is_number());
    let fresh = json(&project, "run", &["--case", "hop-000", "--fresh"]);
    assert_eq!(fresh["run"]["steps"][1]["cache_hit"], false);

    let own = json(&project, "run", &["--input", "{\"question\": \"Who?\"}"]);
    assert!(own["score"].is_null(), "{own:#}");
    assert!(own["run"]["output_text"].is_string());
}

#[test]
fn run_refuses_what_it_cannot_run() {
    let project = small();
    fails(
        &project,
        "run",
        &["--case", "nobody"],
        FAILED,
        &["there is no case nobody", "case_id"],
    );
    for input in ["not JSON", "[1]"] {
        fails(&project, "run", &["--input", input], FAILED, &["--input"]);
    }
    fails(&project, "run", &[], USAGE, &["--case"]);
}

#[test]
fn status_is_an_answer_before_and_after_a_job() {
    let project = small();
    let before = project.fapo("status", &[]).unwrap();
    assert_eq!((before.code(), before.stdout().as_str()), (DONE, ""));
    assert!(before.stderr().contains("nothing was run"));
    assert_eq!(json(&project, "status", &[]), serde_json::json!([]));
    fails(&project, "status", &["--job", "ab"], FAILED, &["nothing"]);
    assert!(!project.path().join(".fapo").exists(), "only looked at");

    json(&project, "eval", &[]);
    let summary = json(&project, "optimize", &[]);
    let rows = json(&project, "status", &[]);
    let goals: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["goal"].as_str().unwrap())
        .collect();
    assert_eq!(goals, ["optimize", "eval val"], "newest first");
    assert_eq!(rows[0]["status"], "done");
    assert_eq!(rows[0]["job"], summary["job"]);
    assert_eq!(rows[0]["best"], summary["val"]["best"]["mean"]);
    let short = rows[0]["short"].as_str().unwrap();
    let one = project.fapo("status", &["--job", short]).unwrap();
    prints(&one, &[short, "optimize", "done", "promoted"]);
    // the beginning of what the table shows
    let begun = project.fapo("status", &["--job", &short[..8]]).unwrap();
    prints(&begun, &[short, "optimize"]);
    fails(&project, "status", &["--job", "zz"], FAILED, &["no job zz"]);
}

#[test]
fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let project = small();
    let ran = project.fapo("optimize", &["--dry-run"]).unwrap();
    prints(
        &ran,
        &[
            "an optimization would",
            "catalogue",
            "sealed test",
            "estimate",
        ],
    );
    let figures = json(&project, "optimize", &["--dry-run", "--max-proposals", "3"]);
    assert!(figures["estimate"]["optimize"]["calls"].as_f64().unwrap() > 0.0);
    let plan = &figures["plan"];
    assert_eq!(plan["levels"][0], "prompt", "{plan:#}");
    assert_eq!(plan["proposer"], "catalogue", "{plan:#}");
    assert!(
        plan["sealed_test"]["cases"].as_u64().unwrap() > 0,
        "{plan:#}"
    );
    assert!(!project.path().join(".fapo").exists(), "nothing is written");
}

#[test]
fn completions_are_scripts_that_shells_accept() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = fapo(&["completions", shell]).unwrap();
        prints(&ran, &["optimize", "doctor"]);
    }
    let script = fapo(&["completions", "bash"]).unwrap().stdout();
    let project = Project::empty().unwrap();
    project.write("fapo.bash", script).unwrap();
    let accepted = Command::new("bash")
        .args(["-n", "fapo.bash"])
        .current_dir(project.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        accepted.status.success(),
        "{}",
        String::from_utf8_lossy(&accepted.stderr)
    );
    assert_eq!(fapo(&["completions", "nosuchshell"]).unwrap().code(), USAGE);
}

#[test]
fn every_command_explains_itself() {
    const COMMANDS: [&str; 14] = [
        "init",
        "doctor",
        "check",
        "run",
        "eval",
        "optimize",
        "status",
        "lineage",
        "diff",
        "report",
        "export",
        "sim",
        "schema",
        "completions",
    ];
    let overview = fapo(&["--help"]).unwrap();
    prints(&overview, &COMMANDS);
    prints(&overview, &["Exit codes:", "130"]);
    for command in COMMANDS {
        for args in [[command, "--help"], ["help", command]] {
            prints(&fapo(&args).unwrap(), &["Usage: fapo", command, "--json"]);
        }
    }
    assert_eq!(fapo(&["--version"]).unwrap().code(), DONE);
}

#[test]
fn exit_codes_are_those_of_the_document() {
    assert_eq!(fapo(&[]).unwrap().code(), USAGE);
    assert_eq!(fapo(&["nosuchcommand"]).unwrap().code(), USAGE);
    let empty = Project::empty().unwrap();
    for command in [
        "check", "eval", "optimize", "status", "lineage", "diff", "report",
    ] {
        fails(&empty, command, &["--nosuchflag"], USAGE, &["--nosuchflag"]);
        fails(
            &empty,
            command,
            &[],
            FAILED,
            &["not a project", "fapo init"],
        );
    }
    let project = small();
    for command in ["lineage", "diff", "report"] {
        fails(
            &project,
            command,
            &[],
            FAILED,
            &["nothing was run", "fapo optimize"],
        );
    }
    json(&project, "eval", &["--cases", "1"]);
    for command in ["lineage", "diff", "report"] {
        fails(&project, command, &[], FAILED, &["no optimization yet"]);
    }
    project.edit("fapo.yaml", "seed: 7", "sede: 7").unwrap();
    for command in ["check", "eval", "optimize"] {
        fails(&project, command, &[], PROBLEMS, &["sede"]);
    }
}

#[test]
fn results_that_are_missing_are_code_four_and_the_same_command_asks_for_them_again() {
    let project = small();
    let world = project.read("sim.json").unwrap();
    let mut broken: Value = serde_json::from_str(&world).unwrap();
    // the provider is down for some tickets: enough to miss the coverage that a comparison needs
    broken["faults"] = serde_json::json!([
        { "when": "sign in|lid", "fault": { "kind": "status", "status": 500 } }
    ]);
    project.write("sim.json", broken.to_string()).unwrap();
    project
        .edit(
            "fapo.yaml",
            "world: sim.json,",
            "world: sim.json, attempts: 1,",
        )
        .unwrap();
    let args = ["--split", "train", "--json"];
    let ran = project.fapo("eval", &args).unwrap();
    assert_eq!(ran.code(), INCOMPLETE, "{}\n{}", ran.stdout(), ran.stderr());
    let result: Value = serde_json::from_str(&ran.stdout()).unwrap();
    assert!(
        result["statuses"]["missing"].as_u64().unwrap() > 0,
        "{result:#}"
    );
    assert!(result["missing_because"].as_str().unwrap().contains("500"));
    project.write("sim.json", world).unwrap();
    let whole = json(&project, "eval", &["--split", "train"]);
    assert_eq!(whole["counted"], 8, "{whole:#}");
}
