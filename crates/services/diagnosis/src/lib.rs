//! Diagnosis: from failures to the next change.
//!
//! * [`attribution`] turns an evaluation's scores and runs into findings, clusters and ceilings (`Topic::Diagnose`).
//! * [`proposers`] turns an attribution and train evidence into one changed variant (`Topic::Propose`).
//! * [`agent`] runs coding agents in a sandbox; [`agentic`] reads failures, proposes and reviews with them, over the tools of
//!   [`mcp`].
//! * [`lints`] turns a changed variant into a report of what is wrong with it (`Topic::Review`), [`review`] asks a reviewer
//!   about what passes.
//! * [`prompts`] are what the models among them are told, as files that a project can replace.
//!
//! Invariants: only train is looked at case by case; the lints read the held-out splits but never repeat them; nothing
//! here decides what is accepted. Equal inputs give equal results, so a repeated task is harmless.

pub mod agent;
pub mod agentic;
mod asking;
pub mod attribution;
pub mod enclosure;
pub mod lints;
pub mod mcp;
mod observe;
mod pages;
pub mod prompts;
pub mod proposers;
pub mod review;
pub mod text;

#[cfg(test)]
mod handlers_tests;
#[cfg(test)]
mod testing;

pub use agentic::{AgentHouse, AgentProposer, AgentReaders, AgentReviewer};
pub use attribution::DiagnosisService;
pub use lints::ReviewService;
pub use proposers::{Backends, Catalogue, ProposeService, Reflect, Replay};
pub use review::{ModelReviewer, Reviewers, Reviewing};
