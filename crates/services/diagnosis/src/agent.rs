//! Coding agents in a sandbox: the port [`CodingAgent`](fapo_domain::ports::agents::CodingAgent) over command-line programs.
//!
//! * [`folder`]: a session's place on disk, and what is read back from it: the files are the truth, not what the agent says.
//! * [`removal`]: how a folder that a session could write to is removed.
//! * [`lines`]: a program's output, line by line, whatever it writes.
//! * [`claude`], [`codex`]: how each program is called, and what its lines mean.
//! * [`session`]: what both have in common: one process group per prompt, its bounds, its relay, its transcript.
//!
//! The agent never holds the provider's key (the relay does), sees no file but the variant's and its own home, and is dead
//! when a prompt returns.

pub mod claude;
mod cli;
pub mod codex;
mod folder;
mod follow;
mod lines;
mod program;
mod removal;
mod session;
mod transcript;

pub use claude::ClaudeCode;
pub use codex::Codex;
pub use program::{Installed, MissingProgram, find_claude, find_codex};
pub use removal::remove_all;
pub use session::{AgentParts, CliAgent};
