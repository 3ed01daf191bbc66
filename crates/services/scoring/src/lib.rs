//! Scores runs and compares two variants over the same cases.
//!
//! * [`metrics`]: pure functions from an output and a right answer to a value in `[0, 1]` and a line of feedback.
//! * [`scorer`]: a project's `scorer:` section, compiled; from a case and its run to a [`CaseScore`].
//! * [`statistics`] and [`compare`]: means, intervals, the paired bootstrap; from paired scores to a [`Comparison`].
//! * [`service`]: the worker for queue `score` and the [`RunScorer`], over the persistence ports.
//! * [`questions`]: comparisons on request ([`Comparer`]), and the list of metrics.
//!
//! What holds throughout:
//! * Scoring is pure: equal case, run and specification give an equal score, on every machine. What a `python` metric says is
//!   asked of the project's own code, which runs elsewhere ([`CodeRunner`]) and is a part of the scorer's version.
//! * Code that fails on an output fails the case, with the reason; code that cannot be run leaves it `missing`.
//! * A `missing` result is never a zero: it has no score, counts in no mean, and takes its partner out of a comparison.
//! * A case that cannot be scored (no right answer, or one of the wrong kind) is an error of the data, never a zero of the
//!   candidate; [`Scorer::check_case`] finds it before anything is run.
//! * Patterns and schemas are compiled once for a job, so a million cases cost what their texts cost.
//! * Scores of two scorer versions are never compared.
//!
//! [`CodeRunner`]: fapo_domain::ports::code::CodeRunner
//! [`Comparer`]: fapo_domain::ports::questions::Comparer
//! [`CaseScore`]: fapo_domain::model::score::CaseScore
//! [`Comparison`]: fapo_domain::model::score::Comparison
//! [`RunScorer`]: fapo_domain::ports::pipelines::RunScorer

pub mod compare;
pub mod metrics;
pub mod questions;
pub mod scorer;
pub mod service;
pub mod statistics;
mod subject;
mod text;

pub use questions::{ComparisonService, scorers};
pub use scorer::{ScoreError, Scorer};
pub use service::ScoringService;
