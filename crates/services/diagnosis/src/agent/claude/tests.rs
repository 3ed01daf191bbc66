use fapo_domain::model::project::ModelSpec;
use fapo_domain::model::session::SessionId;
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::agents::{AgentLimits, AgentRequest, AgentTools};
use fapo_domain::{JobId, TaskId};
use proptest::prelude::*;

use super::*;
use crate::testing::tree;

fn read(lines: &[&str]) -> (Report, Option<usize>) {
    let mut reader = StreamReader::default();
    let stopped = lines.iter().position(|line| reader.read(line.as_bytes()));
    (reader.finish(), stopped)
}

#[test]
fn a_session_is_read_from_its_lines() {
    let (report, stopped) = read(&[
        r#"{"type":"system","subtype":"ui_invalidate","event":"ui.render"}"#,
        r#"{"type":"system","subtype":"init","session_id":"s-1","claude_code_version":"2.1.330","mcp_servers":[{"name":"fapo","status":"connected"}]}"#,
        r#"{"type":"assistant","message":{"id":"m1","content":[{"type":"text","text":"let me look"}]}}"#,
        r#"{"type":"assistant","message":{"id":"m1","content":[{"type":"tool_use","id":"t","name":"Edit","input":{}}]}}"#,
        r#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","is_error":true,"content":"Error: EROFS: read-only file system"}]}}"#,
        r#"{"type":"assistant","message":{"id":"m2","content":[{"type":"tool_use","name":"Edit","input":{}},{"type":"tool_use","name":"mcp__fapo__check","input":{}}]}}"#,
        r#"{"type":"invented_tomorrow","message":17}"#,
        r#"{"type":"result","subtype":"success","is_error":false,"session_id":"s-1","structured_output":{"hypothesis":"h"},"permission_denials":[{"tool_name":"Bash"}]}"#,
    ]);
    assert_eq!(stopped, None);
    assert_eq!(report.conversation.as_deref(), Some("s-1"));
    assert_eq!(report.version.as_deref(), Some("2.1.330"));
    assert_eq!(report.turns, 2);
    assert_eq!(
        report.tool_calls,
        vec![("Edit".to_owned(), 2), ("mcp__fapo__check".to_owned(), 1)]
    );
    assert_eq!(
        report.refused,
        vec![
            "Error: EROFS: read-only file system".to_owned(),
            "permission denied: Bash".to_owned()
        ]
    );
    assert_eq!(report.answer, Some(json!({"hypothesis": "h"})));
    assert_eq!(report.outcome, Outcome::Done);
}

#[test]
fn each_end_is_told_apart() {
    let end = |line: &str| read(&[line]).0.outcome;
    assert_eq!(
        end(
            r#"{"type":"result","subtype":"error_max_turns","is_error":true,"errors":["Reached maximum number of turns (2)"]}"#
        ),
        Outcome::OutOfTurns
    );
    assert_eq!(
        end(r#"{"type":"result","subtype":"error_max_budget_usd","is_error":true}"#),
        Outcome::OutOfMoney
    );
    assert_eq!(
        end(
            r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":529,"result":"API Error: 529 overloaded","terminal_reason":"api_error"}"#
        ),
        Outcome::Provider {
            status: Some(529),
            message: "API Error: 529 overloaded".to_owned()
        }
    );
    assert_eq!(
        end(
            r#"{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["boom"]}"#
        ),
        Outcome::Failed {
            message: "boom".to_owned()
        }
    );
    assert_eq!(read(&[]).0.outcome, Outcome::BrokenOff);
}

#[test]
fn a_wrong_key_ends_the_program_at_once_and_an_overload_does_not() {
    let (_, stopped) = read(&[
        r#"{"type":"system","subtype":"api_retry","attempt":1,"error_status":529,"error":"overloaded"}"#,
    ]);
    assert_eq!(stopped, None);
    let (report, stopped) = read(&[
        r#"{"type":"system","subtype":"api_retry","attempt":1,"error_status":401,"error":"authentication_failed"}"#,
    ]);
    assert_eq!(stopped, Some(0));
    assert_eq!(
        report.outcome,
        Outcome::Provider {
            status: Some(401),
            message: "status 401: authentication_failed".to_owned()
        }
    );
}

proptest! {
    #[test]
    fn no_line_is_too_strange_to_be_read(line in proptest::collection::vec(any::<u8>(), 0..200), known in "[a-z_]{0,12}", value in ".{0,40}") {
        let mut reader = StreamReader::default();
        reader.read(&line);
        reader.read(json!({"type": known, "message": value, "subtype": value}).to_string().as_bytes());
        for kind in ["system", "assistant", "user", "result"] {
            reader.read(json!({"type": kind, "message": {"id": 7, "content": value}, "subtype": line}).to_string().as_bytes());
            reader.read(json!({"type": kind, "message": {"content": [{"type": known}, {"type": "tool_use"}, value]}}).to_string().as_bytes());
        }
        reader.finish();
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
            json!({"provider": "anthropic", "model": "claude-opus-4-5"}),
        )
        .unwrap(),
        system: "Instructions.".to_owned(),
        tree: tree(&[]),
        writable,
        schema: json!({"type": "object"}),
        limits: AgentLimits {
            wall: std::time::Duration::from_secs(60),
            cost: None,
        },
    }
}

fn call(asked: &Asked<'_>) -> Call {
    ClaudeCode::new(Installed {
        program: "/opt/claude".into(),
        mounts: vec![],
        interpreter: None,
    })
    .call(asked)
}

fn value<'a>(call: &'a Call, option: &str) -> Option<&'a str> {
    let at = call.args.iter().position(|arg| arg == option)?;
    call.args.get(at + 1).map(String::as_str)
}

#[test]
fn the_token_and_the_prompt_are_in_files_and_pipes_and_never_on_the_command_line() {
    let request = request(true);
    let tools = AgentTools {
        socket: "/tmp/s/run/tools.sock".into(),
        token: "t0ken".to_owned(),
        names: vec!["clusters".to_owned(), "check".to_owned()],
    };
    let asked = Asked {
        request: &request,
        text: "the evidence",
        turns: 7,
        conversation: None,
        tools: Some(&tools),
        bridge: ["/run/fapo/init", "bridge", "/session/run/tools.sock"]
            .map(str::to_owned)
            .to_vec(),
        home: std::path::Path::new("/session/home"),
    };
    let call = call(&asked);
    let line = call.args.join(" ");
    assert!(
        !line.contains("t0ken") && !line.contains("evidence"),
        "{line}"
    );
    assert_eq!(call.stdin, "the evidence");
    let servers = call.home.iter().find(|(name, _)| name == "tools.json");
    let servers: Value = serde_json::from_str(&servers.unwrap().1).unwrap();
    let server = &servers["mcpServers"]["fapo"];
    assert_eq!(server["command"], "/run/fapo/init");
    assert_eq!(server["args"], json!(["bridge", "/session/run/tools.sock"]));
    assert_eq!(server["env"]["FAPO_SESSION_TOKEN"], "t0ken");
    assert_eq!(
        value(&call, "--mcp-config"),
        Some("/session/home/tools.json")
    );
    assert_eq!(
        value(&call, "--allowedTools"),
        Some("mcp__fapo__clusters,mcp__fapo__check")
    );
    assert_eq!(value(&call, "--max-turns"), Some("7"));
    assert_eq!(value(&call, "--tools"), Some("Read,Edit"));
    assert_eq!(value(&call, "--resume"), None);
}

#[test]
fn a_session_that_may_only_read_is_offered_no_edits() {
    let request = request(false);
    let asked = Asked {
        request: &request,
        text: "look",
        turns: 3,
        conversation: Some("s-1"),
        tools: None,
        bridge: vec![],
        home: std::path::Path::new("/session/home"),
    };
    let call = call(&asked);
    assert_eq!(value(&call, "--tools"), Some("Read"));
    assert_eq!(value(&call, "--permission-mode"), Some("default"));
    assert_eq!(value(&call, "--resume"), Some("s-1"));
    assert_eq!(value(&call, "--mcp-config"), None);
    assert!(call.home.iter().all(|(name, _)| name != "tools.json"));
}
