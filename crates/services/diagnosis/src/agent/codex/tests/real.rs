//! The real program against a scripted endpoint, without a sandbox: what is proved is how it is called and read.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use fapo_testkit::codex::codex_or_skip;
use fapo_testkit::responses::{Reply, ScriptedResponses};

use super::super::super::program::find_codex;
use super::*;

/// A server of one tool, `check`, that says its argument and the token.
const SERVER: &str = r#"
while IFS= read -r line; do
  id=${line#*\"id\":}; id=${id%%,*}; id=${id%%\}*}
  case $line in
    *'"method":"initialize"'*) result='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"t","version":"1"}}';;
    *'"method":"tools/list"'*) result='{"tools":[{"name":"check","description":"Check.","inputSchema":{"type":"object"}},{"name":"hidden","description":"Not offered.","inputSchema":{"type":"object"}}]}';;
    *'"method":"tools/call"'*) result='{"content":[{"type":"text","text":"checked with '$FAPO_SESSION_TOKEN'"}]}';;
    *) continue;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

/// A session's folder without its wall.
struct Place {
    folder: tempfile::TempDir,
    codex: Codex,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        let program = codex_or_skip(test)?.display().to_string();
        let installed =
            find_codex(&|name| (name == "FAPO_CODEX").then(|| program.clone())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("work/pipeline")).unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        std::fs::write(folder.path().join("work/pipeline/a.md"), "hello\nworld\n").unwrap();
        // none of it is to be taken for instructions
        std::fs::write(folder.path().join("work/AGENTS.md"), "CANARY").unwrap();
        Some(Self {
            folder,
            codex: Codex::new(installed),
        })
    }

    fn pipeline(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join("work/pipeline").join(name)).ok()
    }

    fn run(&self, endpoint: &ScriptedResponses, text: &str, conversation: Option<&str>) -> Report {
        let request = request(true);
        let home = self.folder.path().join("home");
        let tools = AgentTools {
            socket: "unused".into(),
            token: "t0ken".to_owned(),
            names: vec!["check".to_owned()],
        };
        let call = self.codex.call(&Asked {
            request: &request,
            text,
            turns: 5,
            conversation,
            tools: Some(&tools),
            bridge: ["/bin/sh", "-c", SERVER].map(str::to_owned).to_vec(),
            home: &home,
        });
        for (name, content) in &call.home {
            std::fs::write(home.join(name), content).unwrap();
        }
        let (variable, address) = self.codex.endpoint();
        let mut child = Command::new(&self.codex.installed.program)
            .args(&call.args[..1])
            // a key that the version does not know is no error for a user, and one here
            .arg("--strict-config")
            .args(&call.args[1..])
            .env_clear()
            .env("HOME", &home)
            .env("PATH", "/usr/bin:/bin")
            .env(
                variable,
                address.replace("{port}", &endpoint.port().to_string()),
            )
            .envs(call.env)
            .current_dir(self.folder.path().join("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(call.stdin.as_bytes()).unwrap();
        drop(stdin);
        let mut reader = self.codex.reader();
        for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
            if reader.read(&line.unwrap()) {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        reader.finish()
    }
}

#[test]
fn the_real_program_edits_asks_its_tools_answers_and_goes_on() {
    let Some(place) = Place::new("the_real_program_edits_asks_its_tools_answers_and_goes_on")
    else {
        return;
    };
    let endpoint = ScriptedResponses::start(vec![
        Reply::mcp("fapo", "check", &json!({})),
        Reply::mcp("fapo", "hidden", &json!({})),
        Reply::patch("*** Update File: pipeline/a.md\n@@\n-hello\n+HELLO\n world")
            .and(Reply::patch("*** Add File: pipeline/b.md\n+new")),
        Reply::call("exec_command", &json!({"cmd": "cat pipeline/a.md"})),
        Reply::answer(&json!({"hypothesis": "h", "cost": null})),
        Reply::text("no object"),
    ])
    .unwrap();
    let report = place.run(&endpoint, "the evidence", None);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!(report.answer, Some(json!({"hypothesis": "h"})));
    assert!(report.version.is_some());
    assert_eq!(
        report.tool_calls,
        vec![
            ("mcp__fapo__check".to_owned(), 1),
            ("apply_patch".to_owned(), 2),
            ("exec_command".to_owned(), 1),
        ]
    );
    assert_eq!(place.pipeline("a.md").as_deref(), Some("HELLO\nworld\n"));
    assert_eq!(place.pipeline("b.md").as_deref(), Some("new\n"));

    let requests = endpoint.requests();
    assert_eq!(requests.len(), 5);
    let first = &requests[0];
    assert_eq!(first.texts("developer")[0], "You are the proposer.");
    assert_eq!(first.texts("user").last(), Some(&"the evidence"));
    assert_eq!(
        first.body["text"]["format"]["schema"]["required"],
        json!(["hypothesis", "cost"])
    );
    for offered in first.tools() {
        assert!(
            ["exec_command", "write_stdin", "apply_patch", "tool_search"].contains(&offered)
                || offered.contains("mcp_resource"),
            "{offered} is offered"
        );
    }
    let checked = requests[1].last_output().unwrap();
    assert!(checked.contains("checked with t0ken"), "{checked}");
    let hidden = requests[2].last_output().unwrap();
    assert!(hidden.contains("unsupported call"), "{hidden}");
    assert!(requests[4].last_output().unwrap().contains("HELLO"));
    for request in &requests {
        assert_eq!(request.path, "/v1/responses");
        assert!(!request.body.to_string().contains("CANARY"));
    }

    let conversation = report.conversation.unwrap();
    let again = place.run(&endpoint, "go on", Some(&conversation));
    assert_eq!(again.conversation, Some(conversation));
    assert_eq!((again.outcome, again.answer), (Outcome::Done, None));
    let last = endpoint.requests().pop().unwrap();
    let said = last.texts("user");
    assert!(
        said.contains(&"the evidence") && said.last() == Some(&"go on"),
        "{said:?}"
    );
}

#[test]
fn the_real_program_is_ended_when_its_key_is_refused_and_says_what_was_wrong_with_a_request() {
    let name =
        "the_real_program_is_ended_when_its_key_is_refused_and_says_what_was_wrong_with_a_request";
    let Some(place) = Place::new(name) else {
        return;
    };
    let ends = |reply: Reply| {
        let endpoint = ScriptedResponses::start(vec![reply]).unwrap();
        let report = place.run(&endpoint, "x", None);
        let Outcome::Provider { status, message } = report.outcome else {
            panic!("{report:?}");
        };
        (status, message, endpoint.requests().len())
    };
    let (status, message, asked) = ends(Reply::status(401, "no such key"));
    assert_eq!((status, asked), (Some(401), 1), "{message}");
    assert!(message.contains("no such key"), "{message}");
    let (status, message, asked) = ends(Reply::status(400, "no such schema"));
    assert_eq!((status, asked), (Some(400), 1), "{message}");
    assert!(message.contains("no such schema"), "{message}");
}
