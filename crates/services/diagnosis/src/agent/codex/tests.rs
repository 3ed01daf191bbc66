use std::path::Path;

use fapo_domain::model::project::ModelSpec;
use fapo_domain::model::session::SessionId;
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::agents::{AgentLimits, AgentRequest, AgentTools};
use fapo_domain::{JobId, TaskId};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::tree;

mod real;

fn read(lines: &[&str]) -> (Report, Option<usize>) {
    let mut reader = StreamReader::new(Some("0.169.0".to_owned()));
    let stopped = lines.iter().position(|line| reader.read(line.as_bytes()));
    (reader.finish(), stopped)
}

#[test]
fn a_session_is_read_from_its_lines() {
    let (report, stopped) = read(&[
        r#"{"type":"thread.started","thread_id":"t-1"}"#,
        r#"{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata for `x` not found."}}"#,
        r#"{"type":"turn.started"}"#,
        r#"{"type":"item.started","item":{"id":"item_1","type":"mcp_tool_call","server":"fapo","tool":"check","arguments":{},"result":null,"error":null,"status":"in_progress"}}"#,
        r#"{"type":"item.completed","item":{"id":"item_1","type":"mcp_tool_call","server":"fapo","tool":"check","arguments":{},"result":{"content":[{"type":"text","text":"no such split"}],"structured_content":null},"error":null,"status":"failed"}}"#,
        r#"{"type":"item.started","item":{"id":"item_2","type":"command_execution","command":"grep x","aggregated_output":"","exit_code":null,"status":"in_progress"}}"#,
        r#"{"type":"item.completed","item":{"id":"item_2","type":"command_execution","command":"grep x","aggregated_output":"","exit_code":1,"status":"failed"}}"#,
        r#"{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"let me see"}}"#,
        r#"{"type":"item.completed","item":{"id":"item_4","type":"file_change","changes":[{"path":"/session/work/outside.md","kind":"add"}],"status":"failed"}}"#,
        r#"{"type":"invented.tomorrow","item":17}"#,
        r#"{"type":"item.completed","item":{"id":"item_5","type":"agent_message","text":"{\"hypothesis\":\"h\",\"technique\":null}"}}"#,
        r#"{"type":"turn.completed","usage":{"input_tokens":100,"cached_input_tokens":40,"output_tokens":10}}"#,
    ]);
    assert_eq!(stopped, None);
    assert_eq!(report.conversation.as_deref(), Some("t-1"));
    assert_eq!(report.version.as_deref(), Some("0.169.0"));
    assert_eq!(
        report.tool_calls,
        vec![
            ("mcp__fapo__check".to_owned(), 1),
            ("exec_command".to_owned(), 1),
            ("apply_patch".to_owned(), 1),
        ]
    );
    assert_eq!(
        report.refused,
        vec![
            "Model metadata for `x` not found.".to_owned(),
            "no such split".to_owned(),
            "a patch was not applied: /session/work/outside.md".to_owned(),
        ]
    );
    assert_eq!(report.answer, Some(json!({"hypothesis": "h"})));
    assert_eq!(report.outcome, Outcome::Done);
}

#[test]
fn a_last_message_that_is_no_object_is_no_answer() {
    for text in ["I am done.", "[1]", "{\\\"a\\\":"] {
        let message = format!(
            r#"{{"type":"item.completed","item":{{"id":"i","type":"agent_message","text":"{text}"}}}}"#
        );
        let (report, _) = read(&[&message, r#"{"type":"turn.completed","usage":{}}"#]);
        assert_eq!((report.answer, report.outcome), (None, Outcome::Done));
    }
}

#[test]
fn each_end_is_told_apart() {
    let end = |message: &str| {
        let line = json!({"type": "turn.failed", "error": {"message": message}}).to_string();
        match read(&[&line]).0.outcome {
            Outcome::Provider { status, .. } => Ok(status),
            Outcome::Failed { message } => Err(message),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        end("unexpected status 401 Unauthorized: no, url: http://127.0.0.1:1/v1/responses"),
        Ok(Some(401))
    );
    assert_eq!(
        end("exceeded retry limit, last status: 429 Too Many Requests"),
        Ok(Some(429))
    );
    assert_eq!(
        end(r#"{"error": {"message": "the schema is wrong"}}"#),
        Ok(Some(400))
    );
    assert_eq!(
        end("Quota exceeded. Check your plan and billing details."),
        Ok(Some(402))
    );
    assert_eq!(
        end("We\u{2019}re currently experiencing high demand, which may cause temporary errors."),
        Ok(None)
    );
    assert_eq!(
        end("stream disconnected before completion: stream closed before response.completed"),
        Ok(None)
    );
    let room = "Codex ran out of room in the model's context window.";
    assert_eq!(end(room), Err(room.to_owned()));
    assert_eq!(read(&[]).0.outcome, Outcome::BrokenOff);
}

#[test]
fn a_wrong_key_ends_the_program_at_once_and_an_overload_does_not() {
    let again = |what: &str| {
        json!({"type": "error", "message": format!("Reconnecting... 1/5 ({what})")}).to_string()
    };
    let (report, stopped) = read(&[&again("exceeded retry limit, last status: 429 Too Many")]);
    assert_eq!((report.outcome, stopped), (Outcome::BrokenOff, None));
    let (report, stopped) = read(&[&again("unexpected status 401 Unauthorized: no")]);
    assert_eq!(stopped, Some(0));
    assert!(
        matches!(
            report.outcome,
            Outcome::Provider {
                status: Some(401),
                ..
            }
        ),
        "{report:?}"
    );
}

proptest! {
    #[test]
    fn no_line_is_too_strange_to_be_read(line in proptest::collection::vec(any::<u8>(), 0..200), known in "[a-z_]{0,12}", value in ".{0,40}") {
        let mut reader = StreamReader::new(None);
        reader.read(&line);
        for kind in ["thread.started", "item.started", "item.completed", "turn.completed", "turn.failed", "error", &known] {
            reader.read(json!({"type": kind, "message": value, "thread_id": value, "error": value}).to_string().as_bytes());
            for item in ["agent_message", "command_execution", "file_change", "mcp_tool_call", "web_search", "error", &known] {
                reader.read(json!({"type": kind, "item": {"id": value, "type": item, "text": value, "status": value, "message": value, "result": line}}).to_string().as_bytes());
                reader.read(json!({"type": kind, "item": {"id": 7, "type": item, "status": "failed", "error": value, "changes": [{"path": value}, value]}}).to_string().as_bytes());
                reader.read(json!({"type": kind, "error": {"message": value}, "item": {"type": item, "status": "failed", "result": {"content": value}}}).to_string().as_bytes());
            }
        }
        reader.finish();
    }

    /// What the strict schema lets through with nulls for what is missing is what the schema asked for.
    #[test]
    fn a_strict_schema_asks_for_every_field_and_loses_none(names in proptest::collection::btree_set("[a-z]{1,6}", 1..6), required in 0usize..6) {
        let properties: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), json!({"type": "string", "description": name}))).collect();
        let named: Vec<&String> = names.iter().take(required).collect();
        let strict = config::strict(&json!({"type": "array", "items": {"type": "object", "properties": properties, "required": named}}));
        let object = &strict["items"];
        prop_assert_eq!(&object["additionalProperties"], &json!(false));
        prop_assert_eq!(object["required"].as_array().unwrap().len(), names.len());
        for (index, name) in names.iter().enumerate() {
            let property = &object["properties"][name];
            let inner = if index < required { property } else { &property["anyOf"][0] };
            prop_assert_eq!(&inner["description"], &json!(name));
        }
    }
}

fn request(writable: bool) -> AgentRequest {
    let fence = Fence {
        task: TaskId::derive(JobId::at(1, [0; 10]), "propose", "1"),
        epoch: 1,
    };
    AgentRequest {
        id: SessionId::derive(fence, 0),
        job: JobId::at(1, [0; 10]),
        fence,
        role: SpendRole::Proposer,
        entry: "proposer".to_owned(),
        model: serde_json::from_value::<ModelSpec>(
            json!({"provider": "openai", "model": "gpt-5.5"}),
        )
        .unwrap(),
        system: "You are the proposer.".to_owned(),
        tree: tree(&[]),
        writable,
        schema: json!({
            "type": "object",
            "properties": {"hypothesis": {"type": "string"}, "cost": {"type": "number"}},
            "required": ["hypothesis"],
        }),
        limits: AgentLimits {
            wall: std::time::Duration::from_secs(60),
            cost: None,
        },
    }
}

fn file<'a>(call: &'a Call, name: &str) -> &'a str {
    let found = call.home.iter().find(|(known, _)| known == name);
    &found.unwrap().1
}

#[test]
fn the_token_and_the_prompt_are_in_files_and_pipes_and_never_on_the_command_line() {
    let request = request(true);
    let tools = AgentTools {
        socket: "/tmp/s/run/tools.sock".into(),
        token: "t0ken\"\x7f".to_owned(),
        names: vec!["clusters".to_owned(), "check".to_owned()],
    };
    let call = Codex::new(Installed {
        program: "/opt/codex".into(),
        mounts: vec![],
        interpreter: None,
    })
    .call(&Asked {
        request: &request,
        text: "the evidence",
        turns: 7,
        conversation: Some("t-1"),
        tools: Some(&tools),
        bridge: ["/run/fapo/init", "bridge", "/session/run/tools.sock"]
            .map(str::to_owned)
            .to_vec(),
        home: Path::new("/session/home"),
    });
    let line = call.args.join(" ");
    assert!(
        !line.contains("t0ken") && !line.contains("evidence"),
        "{line}"
    );
    assert!(line.ends_with("resume t-1 -"), "{line}");
    assert_eq!(call.stdin, "the evidence");
    assert_eq!(
        call.env,
        vec![("CODEX_HOME".to_owned(), "/session/home".to_owned())]
    );
    assert_eq!(file(&call, "instructions.md"), "You are the proposer.");
    let config = file(&call, "config.toml");
    for line in [
        r#"command = "/run/fapo/init""#,
        r#"args = ["bridge", "/session/run/tools.sock"]"#,
        r#"enabled_tools = ["clusters", "check"]"#,
        r#"env.FAPO_SESSION_TOKEN = "t0ken\"\u007f""#,
        r#"model_instructions_file = "/session/home/instructions.md""#,
    ] {
        assert!(config.lines().any(|known| known == line), "{config}");
    }
    let schema: Value = serde_json::from_str(file(&call, "answer.json")).unwrap();
    assert_eq!(schema["required"], json!(["hypothesis", "cost"]));
}
