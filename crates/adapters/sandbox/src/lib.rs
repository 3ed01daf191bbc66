//! Untrusted processes: coding agents, a user's code, scripts that a session writes. Nothing here trusts what it starts.
//!
//! ```text
//! fapo ── bwrap ── sandbox-init (PID 1 of its own namespaces) ── sandbox-init exec ══> the program ── its children
//! ```
//!
//! * [`ProcessSandbox`] starts a process behind namespaces (bubblewrap), with Landlock and limits behind those, and
//!   follows it. It sees what the spec shows and the system's programs, reaches what the spec forwards, and nothing else.
//! * [`init`] is the small program inside: the product calls itself for it. As PID 1 of the session it is what the kernel
//!   ends all others with, so a session is gone as a whole: when its program ends, when its time is over, when it is
//!   killed, and when fapo dies, by whatever means.
//! * [`PythonPool`] and [`PythonScripts`] run Python in such processes: the functions of steps and scorers in workers
//!   that are asked many times, analyses once.
//!
//! What all this stops, and what it does not, stands in `docs/sandbox.md`.

mod advice;
mod bubblewrap;
mod config;
mod control;
mod hidden;
pub mod init;
mod order;
mod process;
mod python;
mod removal;
mod sandbox;
mod spawner;
mod wire;

pub use config::{SandboxConfig, SandboxMode, find_program};
pub use python::{Interpreter, PythonConfig, PythonPool, PythonScripts};
pub use sandbox::ProcessSandbox;
