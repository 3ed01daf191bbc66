//! The scripted endpoint against the real CLI.

use std::path::Path;
use std::process::Stdio;

use fapo_testkit::claude_or_skip;
use fapo_testkit::messages::{Conversation, Move, Script, ScriptedMessages};
use serde_json::{Value, json};
use tokio::process::Command;

/// A run of the CLI, its lines read.
struct Ran {
    lines: Vec<Value>,
}

impl Ran {
    fn result(&self) -> &Value {
        let last = self.lines.last().unwrap();
        assert_eq!(last["type"], "result");
        last
    }
}

async fn run(program: &Path, folder: &Path, url: &str, args: &[&str]) -> Ran {
    let home = folder.join("home");
    let work = folder.join("work");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::create_dir_all(&work).unwrap();
    let output = Command::new(program)
        .args(["--bare", "--output-format", "stream-json", "--verbose"])
        .args(["--strict-mcp-config", "--setting-sources", ""])
        .args(args)
        .current_dir(&work)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &home)
        .env("ANTHROPIC_BASE_URL", url)
        .env("ANTHROPIC_API_KEY", "a-key-of-the-test")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_MAX_RETRIES", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    Ran { lines }
}

const SCHEMA: &str =
    r#"{"type":"object","properties":{"done":{"type":"boolean"}},"required":["done"]}"#;

#[tokio::test]
async fn the_real_cli_edits_a_file_and_answers_as_the_script_says() {
    let Some(program) = claude_or_skip("an edit by the real CLI") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let prompt = folder.path().join("work/prompt.md");
    std::fs::create_dir_all(prompt.parent().unwrap()).unwrap();
    std::fs::write(&prompt, "Answer.\n").unwrap();
    let path = prompt.to_str().unwrap().to_owned();
    let edit = json!({"file_path": path, "old_string": "Answer.", "new_string": "Answer briefly."});
    let conversation = Conversation::new("edit")
        .first_user_contains("improve the prompt")
        .offers("StructuredOutput")
        .then(Move::call("Read", json!({"file_path": path})).saying("A look first."))
        .then(Move::react(move |request| {
            let read = request.last_tool_result().unwrap_or_default();
            assert_eq!(read.name, "Read");
            assert!(read.text.contains("Answer."), "{}", read.text);
            Move::call("Edit", edit.clone())
        }))
        .then(Move::answer(json!({"done": true})));
    let endpoint = ScriptedMessages::start(Script::new().conversation(conversation)).unwrap();
    let ran = run(
        &program,
        folder.path(),
        &endpoint.url(),
        &[
            "-p",
            "improve the prompt",
            "--tools",
            "Read,Edit",
            "--permission-mode",
            "acceptEdits",
            "--json-schema",
            SCHEMA,
            "--max-turns",
            "10",
        ],
    )
    .await;
    let result = ran.result();
    assert_eq!(result["subtype"], "success", "{result}");
    assert_eq!(result["structured_output"], json!({"done": true}));
    assert_eq!(
        std::fs::read_to_string(&prompt).unwrap(),
        "Answer briefly.\n"
    );
    assert_eq!(endpoint.requests_of("edit").len(), 3);
    assert!(endpoint.overruns().is_empty());
    assert!(endpoint.all_text().contains("a-key-of-the-test"));
}
