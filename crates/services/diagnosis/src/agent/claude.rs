//! Claude Code: how it is called without a person, and its `stream-json` lines. Facts as tried with 2.1.330.
//!
//! It runs in its `--bare` mode: no hooks, plugins, memory or `CLAUDE.md`, the key from the environment only, a first
//! request of about 3 KB instead of 23. It is offered Read and Edit (which makes new files, too) and this session's tools;
//! nobody can be asked for a permission, so anything else is denied.

use serde::Deserialize;
use serde_json::{Value, json};

use super::cli::{Asked, Call, Cli, Outcome, Reader, Report};
use super::program::Installed;
use crate::text::one_line;

/// How often the program tries a request again that failed in a way that may pass.
const RETRIES: u32 = 4;
/// Longest reply in tokens: each request reserves as much.
const REPLY_TOKENS: u32 = 16_000;
/// How long a tool may take, in milliseconds: `try` runs cases.
const TOOL_TIMEOUT_MS: u32 = 900_000;
/// The tools' server, as the model sees it.
const SERVER: &str = "fapo";

/// The program.
pub struct ClaudeCode {
    installed: Installed,
}

impl ClaudeCode {
    /// Over an installed program.
    pub const fn new(installed: Installed) -> Self {
        Self { installed }
    }
}

impl Cli for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude-code"
    }

    fn installed(&self) -> &Installed {
        &self.installed
    }

    fn endpoint(&self) -> (&'static str, &'static str) {
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:{port}")
    }

    fn call(&self, asked: &Asked<'_>) -> Call {
        let tools = if asked.request.writable {
            "Read,Edit"
        } else {
            "Read"
        };
        let mut args: Vec<String> = [
            "-p",
            "--bare",
            "--output-format",
            "stream-json",
            "--verbose",
            "--strict-mcp-config",
            "--permission-prompts",
            "none",
            "--tools",
            tools,
        ]
        .map(str::to_owned)
        .to_vec();
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        let mode = if asked.request.writable {
            "acceptEdits"
        } else {
            "default"
        };
        option("--permission-mode", mode.to_owned());
        option("--model", asked.request.model.model.clone());
        option("--max-turns", asked.turns.to_string());
        option("--system-prompt", asked.request.system.clone());
        option("--json-schema", asked.request.schema.to_string());
        if let Some(conversation) = asked.conversation {
            option("--resume", conversation.to_owned());
        }
        let mut home = vec![("tmp/.keep".to_owned(), String::new())];
        if let Some(tools) = asked.tools {
            let names: Vec<String> = tools
                .names
                .iter()
                .map(|name| format!("mcp__{SERVER}__{name}"))
                .collect();
            option("--allowedTools", names.join(","));
            option(
                "--mcp-config",
                asked.home.join("tools.json").display().to_string(),
            );
            let (command, arguments) = asked
                .bridge
                .split_first()
                .map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
            // in a file and not on the command line, which others on the machine can read
            let servers = json!({ "mcpServers": { SERVER: {
                "type": "stdio",
                "command": command,
                "args": arguments,
                "env": { "FAPO_SESSION_TOKEN": tools.token },
            } } });
            home.push(("tools.json".to_owned(), servers.to_string()));
        }
        let env = [
            // the relay puts the real key in its place
            ("ANTHROPIC_API_KEY", "held-by-the-relay".to_owned()),
            // not in the host's /tmp, where no namespace gives the session its own
            (
                "CLAUDE_CODE_TMPDIR",
                asked.home.join("tmp").display().to_string(),
            ),
            ("DISABLE_TELEMETRY", "1".to_owned()),
            ("DISABLE_ERROR_REPORTING", "1".to_owned()),
            ("DISABLE_AUTOUPDATER", "1".to_owned()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
            ("CLAUDE_CODE_MAX_RETRIES", RETRIES.to_string()),
            ("CLAUDE_CODE_MAX_OUTPUT_TOKENS", REPLY_TOKENS.to_string()),
            ("MCP_TOOL_TIMEOUT", TOOL_TIMEOUT_MS.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        Call {
            args,
            env,
            stdin: asked.text.to_owned(),
            home,
        }
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(StreamReader::default())
    }
}

/// One event of the stream. Everything the program writes is kept in the transcript as it is; here is only what is acted on,
/// and any other event, however new, is `Other`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    System(System),
    Assistant {
        message: Message,
    },
    User {
        message: Message,
    },
    Result(Box<ResultEvent>),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct System {
    #[serde(default)]
    subtype: String,
    session_id: Option<String>,
    claude_code_version: Option<String>,
    #[serde(default)]
    mcp_servers: Vec<McpServer>,
    error_status: Option<u16>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct McpServer {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    id: Option<String>,
    #[serde(default)]
    content: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Content {
    Blocks(Vec<Block>),
    #[default]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    ToolUse {
        #[serde(default)]
        name: String,
    },
    ToolResult {
        #[serde(default)]
        is_error: Option<bool>,
        #[serde(default)]
        content: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct ResultEvent {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    is_error: bool,
    session_id: Option<String>,
    structured_output: Option<Value>,
    api_error_status: Option<u16>,
    terminal_reason: Option<String>,
    result: Option<Value>,
    #[serde(default)]
    errors: Vec<Value>,
    #[serde(default)]
    permission_denials: Vec<Value>,
}

#[derive(Default)]
struct StreamReader {
    report: Report,
    last_message: Option<String>,
}

impl Reader for StreamReader {
    fn read(&mut self, line: &[u8]) -> bool {
        // a line that is no event, or one of a form not known here, stays in the transcript and changes nothing
        let Ok(event) = serde_json::from_slice::<Event>(line) else {
            return false;
        };
        match event {
            Event::System(system) => return self.system(system),
            Event::Assistant { message } => self.assistant(&message),
            Event::User { message } => self.user(&message),
            Event::Result(result) => self.result(*result),
            Event::Other => {}
        }
        false
    }

    fn finish(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }
}

impl StreamReader {
    fn system(&mut self, system: System) -> bool {
        match system.subtype.as_str() {
            "init" => {
                self.report.conversation = system.session_id;
                self.report.version = system.claude_code_version;
                for server in system.mcp_servers {
                    if matches!(server.status.as_str(), "failed" | "needs-auth") {
                        self.report.note_refusal(format!(
                            "tool server {}: {}",
                            server.name, server.status
                        ));
                    }
                }
                false
            }
            // a wrong key is tried again for minutes; nothing comes of that
            "api_retry" if matches!(system.error_status, Some(401 | 403)) => {
                self.report.outcome = Outcome::Provider {
                    status: system.error_status,
                    message: format!(
                        "status {}: {}",
                        system.error_status.unwrap_or_default(),
                        system.error.as_deref().unwrap_or("refused")
                    ),
                };
                true
            }
            _ => false,
        }
    }

    fn assistant(&mut self, message: &Message) {
        // one message comes in several events, one for each of its blocks
        if message.id.is_none() || message.id != self.last_message {
            self.report.turns += 1;
            self.last_message.clone_from(&message.id);
        }
        let Content::Blocks(blocks) = &message.content else {
            return;
        };
        for block in blocks {
            if let Block::ToolUse { name } = block {
                self.report.count_tool(&one_line(name, 80));
            }
        }
    }

    fn user(&mut self, message: &Message) {
        let Content::Blocks(blocks) = &message.content else {
            return;
        };
        for block in blocks {
            if let Block::ToolResult {
                is_error: Some(true),
                content,
            } = block
            {
                let said = content
                    .as_str()
                    .map_or_else(|| content.to_string(), str::to_owned);
                self.report.note_refusal(one_line(&said, 200));
            }
        }
    }

    fn result(&mut self, result: ResultEvent) {
        if result.session_id.is_some() {
            self.report.conversation = result.session_id;
        }
        self.report.answer = result.structured_output.filter(|answer| !answer.is_null());
        for denial in &result.permission_denials {
            let tool = denial["tool_name"].as_str().unwrap_or("a tool");
            self.report
                .note_refusal(format!("permission denied: {}", one_line(tool, 80)));
        }
        let said = || {
            let text = result.result.as_ref().and_then(Value::as_str);
            let error = result.errors.first().and_then(Value::as_str);
            one_line(text.or(error).unwrap_or(&result.subtype), 300)
        };
        self.report.outcome = match result.subtype.as_str() {
            "error_max_turns" => Outcome::OutOfTurns,
            "error_max_budget_usd" => Outcome::OutOfMoney,
            _ if result.api_error_status.is_some()
                || result.terminal_reason.as_deref() == Some("api_error") =>
            {
                Outcome::Provider {
                    status: result.api_error_status,
                    message: said(),
                }
            }
            "success" if !result.is_error => Outcome::Done,
            _ => Outcome::Failed { message: said() },
        };
    }
}

#[cfg(test)]
mod tests;
