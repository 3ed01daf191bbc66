//! A scripted Anthropic Messages endpoint: it plays Claude for the real Claude Code CLI, or for anything else that speaks the
//! protocol, from a script, and keeps every request that it received.
//!
//! ```no_run
//! # use fapo_testkit::messages::{Conversation, Move, Script, ScriptedMessages};
//! # use serde_json::json;
//! # async fn play() -> anyhow::Result<()> {
//! let script = Script::new().conversation(
//!     Conversation::new("proposer")
//!         .system_contains("You improve pipelines")
//!         .then(Move::call("mcp__fapo__clusters", json!({})))
//!         .then(Move::react(|request| {
//!             let clusters = request.last_tool_result().unwrap_or_default().text;
//!             Move::call("Read", json!({"file_path": "pipeline/answer.md"})).saying(clusters)
//!         }))
//!         .then(Move::answer(json!({"hypothesis": "..."}))),
//! );
//! let claude = ScriptedMessages::start(script)?;
//! // ANTHROPIC_BASE_URL=claude.url() ...
//! claude.wait_for(|requests| requests.len() == 3).await?;
//! assert!(!claude.all_text().contains("canary"));
//! # Ok(())
//! # }
//! ```
//!
//! **Conversations.** A conversation of the script is played by one session of the client: the first request that fits it, and
//! that no conversation before it in the script takes, binds it to its session (see [`Request::session`]); the next session plays the next
//! conversation that fits. [`Conversation::each`] lifts this: every session plays it from its start. Each request of the session that fits takes the
//! next move, so a retry after a fault takes one, too. After the last move the session gets a clear text and the end of its turn,
//! and the request is marked as an overrun. A request that fits no conversation (the CLI asks for titles and the like) gets a short
//! text. Both are kept like all others.
//!
//! **Time.** Nothing sleeps. What is to be slow waits for a [`Gate`], which the test opens.
//!
//! The endpoint runs on a thread of its own, so tests without a runtime can use it, and a test that blocks does not block it. Dropping
//! [`ScriptedMessages`] ends it.

mod gate;
mod request;
mod script;
mod server;
mod wire;

pub use gate::Gate;
pub use request::{Outcome, Request, ToolResult};
pub use script::{Conversation, Move, Script};
pub use server::ScriptedMessages;
