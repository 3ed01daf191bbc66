//! The tools of a session: what a coding agent may ask while it works, over MCP on a Unix socket.
//!
//! ```text
//! agent ─ stdio ─ bridge ─ Unix socket ─> first line: the token ─> MCP ─> one of the tools ─> ports
//! ```
//!
//! One server per session ([`SessionTools::open`] to [`Tools::close`]). Its [`SessionGrant`] is the whole authority: no tool
//! takes the name of a job, a variant or an evaluation on trust.
//!
//! Guarantees:
//! * Train is answered case by case; validation with a rounded aggregate; test with a refusal. A case of a held-out split
//!   and one that does not exist get the same answer. The lints read held-out cases and never quote them.
//! * Whatever is asked, an answer is at most [`answer::MOST_BYTES`] long, and what is asked for in all is bounded: connections,
//!   messages, the size of a message, calls, checks, analyses, cases run.
//! * A failure is told in a plain sentence. The cause, which may name places of the host, goes to the log.
//! * What was asked and what was refused is returned by [`Tools::close`], after which nothing of the session is served or
//!   runs.
//!
//! A case's text is data: it stands in answers as JSON strings, cut to a bound, and nothing here reads it as an instruction.

pub mod answer;
mod compare;
mod files;
mod grant;
mod page;
mod read;
mod server;
mod session;
mod socket;
mod table;
mod trials;
mod used;

#[cfg(test)]
mod tests;

pub use grant::{SessionGrant, SessionRole, ToolPorts};
pub use server::INSTRUCTIONS;
pub use socket::{SessionTools, Tools};
pub use used::{Answered, ToolsUse};
