//! Attribution: which step lost a case's points, why, and at which level that can be mended.
//!
//! Input: one failed train case with its run and score, and the pipeline's flow. Output: at most one
//! [`Finding`](fapo_domain::model::finding::Finding), the first rule that fires in the order of
//! [`Rule`](fapo_domain::model::finding::Rule). The rules are pure functions over a [`CaseView`]. [`table`] lists
//! them with their thresholds, which stand under `diagnosis:` in fapo.yaml, and their confidences: they are hints, not proof.
//!
//! What the rules leave unclear a model may read ([`reader`]), if the project wants it: a reading counts only with a quote that
//! stands in the trace.
//!
//! Invariants: a run that is `missing` is never a failure; equal inputs give an equal finding.

pub mod answers;
pub mod clusters;
pub mod execution;
pub mod flow;
pub mod gold;
pub mod reader;
pub mod retrieval;
pub mod rules;
pub mod scored;
pub mod service;
pub mod table;
mod words;

#[cfg(test)]
mod tests;

pub use clusters::Attributor;
pub use flow::Flow;
pub use rules::{CaseView, Hit, attribute};
pub use service::DiagnosisService;
