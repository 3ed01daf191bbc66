//! Review: what an independent reader thinks of a change that the lints let pass.
//!
//! * [`service`] asks the reviewer that the project names, once the lints have passed; records what it said.
//! * [`evidence`] compiles what a reviewer sees: the change, what it costs, how the parent fails, train cases. The same state
//!   gives the same bytes.
//! * [`price`] reads off a pipeline what a case costs, so that points that are bought are seen as bought.
//! * [`model`] is the reviewer that is one structured call to a model; an agent is another, over the same prompts.
//! * [`reply`] reads what a reviewer answers.
//!
//! Invariants: a change that a lint refuses never comes here, so no reviewer can approve it. A verdict is never milder than its
//! findings ([`fapo_domain::model::proposal::Review`]). A reviewer that is out of order fails closed: without a usable verdict,
//! asked for twice, the change is refused. A reviewer that cannot be reached is no verdict at all; its task is tried again.

pub mod evidence;
pub mod model;
pub mod price;
pub mod reply;
pub mod service;

pub use evidence::{Brief, brief};
pub use model::ModelReviewer;
pub use service::{Reviewers, Reviewing};
