//! `fapo doctor`, `check` and `optimize` where coding agents are wanted: with the real program, without it, with a bad one, and
//! with every kind of sandbox.

use fapo_e2e::{Project, Ran, binary};
use serde_json::Value;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const PROBLEMS: i32 = 3;

/// An endpoint that refuses every connection: nothing listens on the discard port.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The structure-fault example with Claude Code, its model at an endpoint of its own.
fn project() -> Project {
    let project = Project::example("missing-hop").unwrap();
    project
        .edit(
            "fapo.yaml",
            "proposer: { backend: catalogue }",
            "proposer: { backend: claude-code }",
        )
        .unwrap();
    let entry = format!(
        "models:\n  proposer: {{ provider: anthropic, model: claude-opus-4-5, api_key_env: THE_KEY, base_url: \"{NOWHERE}\" }}\n"
    );
    project.edit("fapo.yaml", "models:\n", &entry).unwrap();
    project
}

/// What the doctor says of each thing.
struct Findings(Vec<Value>);

impl Findings {
    fn of(ran: &Ran) -> Self {
        Self(serde_json::from_str(&ran.stdout()).unwrap())
    }

    #[track_caller]
    fn find(&self, what: &str) -> &Value {
        let found = self.0.iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("nothing of {what}: {:#?}", self.0))
    }

    #[track_caller]
    fn says(&self, what: &str, level: &str, text: &str) {
        let finding = self.find(what);
        assert_eq!(finding["level"], level, "{finding:#}");
        let all = finding.to_string();
        assert!(all.contains(text), "{text:?} is not in {finding:#}");
    }

    fn has(&self, what: &str) -> bool {
        self.0.iter().any(|finding| finding["what"] == what)
    }
}

fn doctor(project: &Project, env: &[(&str, &str)]) -> (Ran, Findings) {
    let ran = project.fapo_with_env("doctor", &["--json"], env).unwrap();
    let findings = Findings::of(&ran);
    (ran, findings)
}

/// What the doctor says where this shell script is in the place of Claude Code. A script is run by Node, for which the shell
/// stands in.
fn with_script(project: &Project, script: &str) -> Findings {
    use std::os::unix::fs::PermissionsExt as _;
    project
        .write("bin/claude", format!("#!/usr/bin/env node\n{script}\n"))
        .unwrap();
    let bin = project.path().join("bin");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bin.join("claude"), executable).unwrap();
    if !bin.join("node").exists() {
        std::os::unix::fs::symlink("/bin/sh", bin.join("node")).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    doctor(project, &[("PATH", &path)]).1
}

#[test]
fn the_real_program_is_found_with_its_version_and_reaches_its_tools() {
    let Some(claude) = fapo_testkit::claude_or_skip("the_real_program_is_found") else {
        return;
    };
    let project = project();
    let env = [
        ("FAPO_CLAUDE", claude.to_str().unwrap()),
        ("THE_KEY", "sk-secret-value"),
    ];
    let (ran, findings) = doctor(&project, &env);
    findings.says("claude-code", "ok", "Claude Code 2.");
    findings.says("claude-code key", "ok", "THE_KEY is set");
    findings.says("sandbox", "ok", "bubblewrap");
    findings.says("session tools", "ok", "from inside the sandbox");
    findings.says("a session may write", "ok", "pipeline");
    findings.says("a session never sees", "ok", "validation");
    // all that is left is the endpoint, which nobody serves
    findings.says("model proposer", "ok", "THE_KEY");
    assert_eq!(ran.code(), PROBLEMS);
    let missing: Vec<&Value> = findings
        .0
        .iter()
        .filter(|finding| finding["level"] == "missing")
        .collect();
    assert_eq!(missing.len(), 1, "{missing:#?}");
    assert!(!ran.stdout().contains("sk-secret-value"));
    assert!(!project.path().join(".fapo").exists(), "only looked at");
}

#[test]
fn an_agent_that_is_not_there_is_missing_with_what_does_without() {
    let project = project();
    let (ran, findings) = doctor(&project, &[]);
    assert_eq!(ran.code(), PROBLEMS);
    findings.says(
        "claude-code",
        "missing",
        "npm install -g @anthropic-ai/claude-code",
    );
    findings.says("claude-code", "missing", "backend: catalogue");
    findings.says("claude-code key", "missing", "THE_KEY is not set");
    findings.says("claude-code key", "missing", "relay holds it");

    // the same by the commands that would want it, before anything is paid
    let checked = project.fapo("check", &[]).unwrap();
    assert_eq!(checked.code(), DONE, "{}", checked.stderr());
    let said = checked.stderr();
    assert_eq!(said.matches("warning[no-agent]").count(), 1, "{said}");
    assert!(said.contains("backend: catalogue"), "{said}");
    let ran = project.fapo("optimize", &["--json"]).unwrap();
    assert_eq!(ran.code(), FAILED, "{}", ran.stderr());
    let error: Value = serde_json::from_str(ran.stderr().lines().last().unwrap()).unwrap();
    assert_eq!(error["reason"], "AGENT_CONFIG", "{error:#}");
    let jobs = project.fapo("status", &["--json"]).unwrap().json().unwrap();
    assert_eq!(jobs, serde_json::json!([]), "nothing was begun");
    // an evaluation needs no agent
    let evaluated = project.fapo("eval", &["--cases", "2"]).unwrap();
    assert_eq!(evaluated.code(), DONE, "{}", evaluated.stderr());
}

#[test]
fn a_program_that_is_old_or_does_not_run_or_is_something_else_is_told() {
    let project = project();
    for (script, level, text) in [
        ("echo '2.1.330 (Claude Code)'", "ok", "Claude Code 2.1.330"),
        ("echo '2.2.0 (Claude Code)'", "ok", "Claude Code 2.2.0"),
        ("echo '2.1.99 (Claude Code)'", "note", "older than 2.1.330"),
        ("echo hello", "note", "and no version"),
        ("echo broken >&2; exit 7", "missing", "code 7: broken"),
        ("kill -9 $$", "missing", "signal 9"),
        // asked as a session would be: with no way out
        ("cat /etc/shadow", "missing", "does not run in the sandbox"),
    ] {
        with_script(&project, script).says("claude-code", level, text);
    }
}

#[test]
fn how_a_session_is_held_follows_the_operators_wish() {
    let project = project();
    let (_, off) = doctor(&project, &[("FAPO_SANDBOX", "off")]);
    off.says("sandbox", "note", "the operator turned it off");
    off.says("session tools", "ok", "from inside the sandbox");
    off.says("a session is not kept from", "note", "Without namespaces");
    assert!(!off.has("a session never sees"));

    for env in [[("FAPO_SANDBOX", "maybe")], [("PATH", "/nowhere")]] {
        let (ran, refused) = doctor(&project, &env);
        assert_eq!(ran.code(), PROBLEMS);
        refused.says("sandbox", "missing", "docs/sandbox.md");
        assert!(!refused.has("session tools"), "nothing is started");
        assert!(!refused.has("a session may write"), "nothing is claimed");
    }
    // also where no agent is wanted: no command would start
    let plain = Project::example("missing-hop").unwrap();
    let (ran, findings) = doctor(&plain, &[("FAPO_SANDBOX", "maybe")]);
    assert_eq!(ran.code(), PROBLEMS);
    findings.says("sandbox", "missing", "required, preferred or off");
}

#[test]
fn without_a_project_the_usual_agent_is_a_note_and_a_project_without_agents_hears_nothing() {
    let empty = Project::empty().unwrap();
    let mut command = std::process::Command::new(binary().unwrap());
    command
        .args(["doctor", "--json"])
        .current_dir(empty.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    let ran = Ran(command.output().unwrap());
    assert_eq!(ran.code(), DONE, "{}", ran.stdout());
    let findings = Findings::of(&ran);
    findings.says("claude-code", "note", "npm install");
    findings.says("claude-code key", "note", "ANTHROPIC_API_KEY");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);

    let (ran, findings) = doctor(&Project::example("missing-hop").unwrap(), &[]);
    assert_eq!(ran.code(), DONE);
    assert!(!findings.has("claude-code") && !findings.has("session tools"));
}

#[test]
fn a_dry_run_tells_how_many_sessions_and_what_bounds_them() {
    let project = project();
    let said = |project: &Project| project.fapo("optimize", &["--dry-run"]).unwrap().stdout();
    let open = said(&project);
    assert!(open.contains("nothing bounds their dollars"), "{open}");
    project
        .edit(
            "fapo.yaml",
            "proposer: { backend: claude-code }",
            "proposer: { backend: claude-code, usd: 2, turns: 10 }\nreviewer: { usd: 0.5 }",
        )
        .unwrap();
    let bounded = said(&project);
    for text in [
        "20 to 40 sessions",
        "at most 15 turns",
        "$2.00 each",
        "at worst $100.00",
    ] {
        assert!(bounded.contains(text), "{text:?} is not in {bounded}");
    }
    let figures = project
        .fapo("optimize", &["--dry-run", "--json"])
        .unwrap()
        .json()
        .unwrap();
    let sessions = figures["estimate"]["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{figures:#}");
    assert_eq!(sessions[0]["usd_high"], 80.0, "{figures:#}");
}

#[test]
fn claude_code_proposes_where_a_project_names_nobody() {
    let project = Project::example("missing-hop").unwrap();
    project
        .edit("fapo.yaml", "proposer: { backend: catalogue }\n", "")
        .unwrap();
    let ran = project.fapo("optimize", &["--dry-run", "--json"]).unwrap();
    let plan = ran.json().unwrap()["plan"].clone();
    assert_eq!(plan["proposer"], "claude-code", "{plan:#}");
    assert_eq!(plan["reviewer"], "claude-code", "{plan:#}");
}

#[test]
fn a_model_without_a_price_is_told_before_anything_is_paid_where_dollars_are_capped() {
    let project = Project::example("missing-hop").unwrap();
    project
        .edit("fapo.yaml", "backend: catalogue", "backend: codex, usd: 1")
        .unwrap();
    let env = [("FAPO_CODEX", "/bin/sh"), ("OPENAI_API_KEY", "sk-none")];
    let ran = project
        .fapo_with_env("optimize", &["--json"], &env)
        .unwrap();
    assert_eq!(ran.code(), FAILED, "{}", ran.stderr());
    let said = ran.stderr();
    assert!(said.contains("no price is known for gpt-5-codex"), "{said}");
    let jobs = project.fapo("status", &["--json"]).unwrap().json().unwrap();
    assert_eq!(jobs, serde_json::json!([]), "nothing was begun");
}
