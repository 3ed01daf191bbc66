//! Drives jobs: applies the policy to a job's state, and turns what it says into rows and messages.
//!
//! A *tick* reads the job, its finished tasks and its account, calls [`fapo_policy::advance`], and commits everything that
//! comes of it at once, on the version that was read. Two orchestrators that tick one job at the same time do no harm:
//! one of them commits, the other reads again. Killed anywhere, the next tick does the same work from the same rows.
//!
//! The queue only says which job to look at. Whatever it loses, [`OrchestratorService::reconcile`] puts back: it is done
//! at start and every few seconds after.
//!
//! What clients may ask for (submit, watch, pause, cancel, ...) is [`OptimizerService`], over the same rows.

mod error;
mod observe;
mod optimizer;
mod service;
mod submit;
mod summary;
mod tick;

pub use error::OrchestratorError;
pub use optimizer::{OptimizerPorts, OptimizerService};
pub use service::{OrchestratorConfig, OrchestratorService};
pub use summary::{UNKNOWN_PHASE, read_summary, summarize};
pub use tick::Ticked;
