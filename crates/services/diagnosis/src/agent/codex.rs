//! Codex: how it is called without a person, and the lines of `codex exec --json`. Facts as tried with 0.169.0.
//!
//! Everything it is to know stands in a `config.toml` of the session's HOME, which is its `CODEX_HOME`, too: own instructions
//! in place of its own, no instructions from files of the project, no plugins, apps, hooks, skills or sub-agents, no search of
//! the web, nothing sent anywhere but to the relay. It has no tool to read a file with but its shell, so it keeps the shell;
//! the session's sandbox is the wall, and its own is off (it would need namespaces inside of namespaces).
//!
//! The address of its model comes from `CODEX_OSS_BASE_URL`, which only its built-in entries for local models read; of these
//! `lmstudio` is used. It speaks the Responses protocol like any other entry.

mod config;

use serde::Deserialize;
use serde_json::Value;

use super::cli::{Asked, Call, Cli, Outcome, Reader, Report};
use super::program::Installed;
use crate::text::one_line;

/// The tools' server, as the model sees it.
const SERVER: &str = "fapo";

/// The program.
pub struct Codex {
    installed: Installed,
    version: Option<String>,
}

impl Codex {
    /// Over an installed program. Its version is read from the file that its package has beside it; its lines do not tell it.
    pub fn new(installed: Installed) -> Self {
        #[derive(Deserialize)]
        struct Package {
            version: String,
        }
        let version = installed
            .program
            .parent()
            .and_then(|folder| folder.parent())
            .and_then(|package| std::fs::read(package.join("codex-package.json")).ok())
            .and_then(|text| serde_json::from_slice::<Package>(&text).ok())
            .map(|package| one_line(&package.version, 80));
        Self { installed, version }
    }
}

impl Cli for Codex {
    fn name(&self) -> &'static str {
        "codex"
    }

    fn installed(&self) -> &Installed {
        &self.installed
    }

    fn endpoint(&self) -> (&'static str, &'static str) {
        ("CODEX_OSS_BASE_URL", "http://127.0.0.1:{port}/v1")
    }

    fn counts_turns(&self) -> bool {
        false
    }

    fn call(&self, asked: &Asked<'_>) -> Call {
        let inside = |name: &str| asked.home.join(name).display().to_string();
        let mut args: Vec<String> = [
            "exec",
            "--json",
            "--skip-git-repo-check",
            "--ignore-rules",
            "--color",
            "never",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        option("--model", asked.request.model.model.clone());
        option("--output-schema", inside("answer.json"));
        if let Some(conversation) = asked.conversation {
            option("resume", conversation.to_owned());
        }
        // the prompt comes from standard input
        args.push("-".to_owned());
        let home = vec![
            ("config.toml".to_owned(), config::config(asked)),
            ("instructions.md".to_owned(), asked.request.system.clone()),
            (
                "answer.json".to_owned(),
                config::strict(&asked.request.schema).to_string(),
            ),
        ];
        Call {
            args,
            env: vec![("CODEX_HOME".to_owned(), asked.home.display().to_string())],
            stdin: asked.text.to_owned(),
            home,
        }
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(StreamReader::new(self.version.clone()))
    }
}

/// One event of the stream. Everything the program writes is kept in the transcript as it is; here is only what is acted on,
/// and any other event, however new, is `Other`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Event {
    #[serde(rename = "thread.started")]
    ThreadStarted { thread_id: String },
    #[serde(rename = "item.started")]
    ItemStarted { item: Item },
    #[serde(rename = "item.completed")]
    ItemCompleted { item: Item },
    #[serde(rename = "turn.completed")]
    TurnCompleted,
    #[serde(rename = "turn.failed")]
    TurnFailed { error: Failure },
    /// Of a request: it is tried again, or was given up (then `turn.failed` follows).
    #[serde(rename = "error")]
    Error(Failure),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    id: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum What {
    AgentMessage {
        text: String,
    },
    CommandExecution {
        #[serde(default)]
        status: String,
    },
    FileChange {
        #[serde(default)]
        status: String,
        #[serde(default)]
        changes: Vec<Change>,
    },
    McpToolCall {
        #[serde(default)]
        server: String,
        #[serde(default)]
        tool: String,
        #[serde(default)]
        status: String,
        result: Option<Value>,
        error: Option<Value>,
    },
    WebSearch,
    /// A warning: the session goes on.
    Error {
        message: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Change {
    #[serde(default)]
    path: String,
}

struct StreamReader {
    report: Report,
    /// Items that were begun and are not done: each is counted once.
    open: Vec<String>,
    /// The newest message: the last one is the answer.
    message: Option<String>,
}

impl StreamReader {
    fn new(version: Option<String>) -> Self {
        Self {
            report: Report {
                version,
                ..Report::default()
            },
            open: Vec::new(),
            message: None,
        }
    }
}

impl Reader for StreamReader {
    fn read(&mut self, line: &[u8]) -> bool {
        // a line that is no event, or one of a form not known here, stays in the transcript and changes nothing
        let Ok(event) = serde_json::from_slice::<Event>(line) else {
            return false;
        };
        match event {
            Event::ThreadStarted { thread_id } => self.report.conversation = Some(thread_id),
            Event::ItemStarted { item } => {
                self.count(&item.what);
                self.open.push(item.id);
            }
            Event::ItemCompleted { item } => self.completed(item),
            Event::TurnCompleted => {
                let message = self.message.take();
                self.report.answer = message.as_deref().and_then(answer);
                self.report.outcome = Outcome::Done;
            }
            Event::TurnFailed { error } => self.report.outcome = outcome(&error.message),
            // it tries everything again that is not a 400, for seconds or minutes; nothing comes of that where a person must
            // change something first
            Event::Error(error) => {
                let failed = outcome(&error.message);
                if let Outcome::Provider {
                    status: Some(401..=404),
                    ..
                } = failed
                {
                    self.report.outcome = failed;
                    return true;
                }
            }
            Event::Other => {}
        }
        false
    }

    fn finish(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }
}

impl StreamReader {
    fn count(&mut self, what: &What) {
        match what {
            What::CommandExecution { .. } => self.report.count_tool("exec_command"),
            What::FileChange { .. } => self.report.count_tool("apply_patch"),
            What::McpToolCall { server, tool, .. } => {
                let name = format!("mcp__{server}__{tool}");
                self.report.count_tool(&one_line(&name, 80));
            }
            What::WebSearch => self.report.count_tool("web_search"),
            What::AgentMessage { .. } | What::Error { .. } | What::Other => {}
        }
    }

    fn completed(&mut self, item: Item) {
        match self.open.iter().position(|open| *open == item.id) {
            Some(at) => {
                self.open.swap_remove(at);
            }
            None => self.count(&item.what),
        }
        match item.what {
            What::AgentMessage { text } => self.message = Some(text),
            What::FileChange { status, changes } if status != "completed" => {
                let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
                let what = format!("a patch was not applied: {}", paths.join(", "));
                self.report.note_refusal(one_line(&what, 200));
            }
            // any exit code but 0 is `failed`, as of a search that finds nothing: no refusal
            What::CommandExecution { status } if status == "declined" => {
                self.report
                    .note_refusal("a command was declined".to_owned());
            }
            What::McpToolCall {
                status,
                result,
                error,
                ..
            } if status == "failed" => {
                let said = error
                    .or(result)
                    .map(|said| texts(&said))
                    .unwrap_or_default();
                self.report.note_refusal(one_line(&said, 200));
            }
            What::Error { message } => self.report.note_refusal(one_line(&message, 200)),
            What::FileChange { .. }
            | What::CommandExecution { .. }
            | What::McpToolCall { .. }
            | What::WebSearch
            | What::Other => {}
        }
    }
}

/// What a tool said: its texts, or its message; all of it where it has neither.
fn texts(said: &Value) -> String {
    if let Some(message) = said["message"].as_str() {
        return message.to_owned();
    }
    let parts = said["content"].as_array().map(Vec::as_slice);
    let texts: Vec<&str> = parts
        .unwrap_or_default()
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    if texts.is_empty() {
        said.to_string()
    } else {
        texts.join(" ")
    }
}

/// The answer in the last message: an object. Fields that are null were left out ([`config::strict`] asks for all of them).
fn answer(message: &str) -> Option<Value> {
    let mut answer: Value = serde_json::from_str(message.trim()).ok()?;
    config::without_nulls(&mut answer);
    answer.is_object().then_some(answer)
}

/// What a failure's message means. There are no codes: the words are those of 0.169.0, and any other is the program's own.
fn outcome(message: &str) -> Outcome {
    let provider = |status| Outcome::Provider {
        status,
        message: one_line(message, 300),
    };
    let status = ["unexpected status ", "last status: "]
        .iter()
        .find_map(|before| {
            let (_, after) = message.split_once(before)?;
            let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u16>().ok()
        });
    if status.is_some() {
        return provider(status);
    }
    // of a 400 it shows the body and nothing else
    if message.trim_start().starts_with('{') {
        return provider(Some(400));
    }
    if message.contains("Quota exceeded") {
        return provider(Some(402));
    }
    if message.contains("rate limit exceeded") {
        return provider(Some(429));
    }
    let passing = [
        "high demand",
        "stream disconnected",
        "Connection failed",
        "at capacity",
        "timed out",
        "timeout",
    ];
    if passing.iter().any(|words| message.contains(words)) {
        return provider(None);
    }
    Outcome::Failed {
        message: one_line(message, 300),
    }
}

#[cfg(test)]
mod tests;
