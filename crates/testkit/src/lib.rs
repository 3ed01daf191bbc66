//! Dev only: conformance suites for the ports, scripted doubles, helpers.
//!
//! * [`suites`] holds one suite per port: the same tests, by the same names, run against every implementation.
//! * [`sample`] builds small domain values, so that a test names only what it is about.
//! * [`messages`] plays Claude from a script, for the real Claude Code CLI, which [`claude()`] finds.
//! * [`observed`] catches what work says to traces and metrics.
//! * [`codex`] finds the real Codex CLI, and [`responses`] plays its model.
//! * [`optimizing`] is what an `Optimizer` needs besides a store.
//! * [`postgres`] makes a database for each test.
//! * [`clock`] is a clock that moves when it is told to, [`code`] are workers that answer as they are told to.

mod claude;
pub mod clock;
pub mod code;
pub mod codex;
pub mod messages;
pub mod observed;
pub mod optimizing;
pub mod postgres;
pub mod responses;
pub mod sample;
pub mod suites;

pub use claude::{claude, claude_or_skip};
