//! The project format: reads, checks, diffs and describes what a user writes.
//!
//! | from | to | by |
//! |---|---|---|
//! | text of `fapo.yaml` | `ProjectSpec` | [`read_project`] |
//! | a variant's files | [`Pipeline`], ready to run | [`read_pipeline`] |
//! | two variants | [`SemanticDiff`] with its level; a patch | [`semantic_diff`], [`unified_diff`] |
//! | a difference and the scope | what is not allowed about it | [`check_scope`] |
//! | data files | cases, documents, ids, as streams | [`data`] |
//! | the domain's types | JSON Schemas for editors | [`schema`] |
//!
//! Invariants:
//!
//! * No I/O, no clock, no randomness: equal input gives equal output.
//! * Reading never stops at the first problem. Each problem says where (file, line, column, key path), what, and what to do.
//! * A value is returned exactly where no problem is an error, so whoever holds one need not check again.
//! * Whatever is read may be hostile: nesting, aliases, lines, rows and the work of templates are all bounded.

pub mod data;
pub mod diff;
pub mod pipeline;
mod problems;
pub mod project;
pub mod python;
pub mod schema;
pub mod scope;
pub mod template;
mod validate;
mod yaml;

pub use diff::{Change, SemanticDiff, semantic_diff, unified_diff};
pub use pipeline::{
    AbsentKey, InputProbe, OutputPart, OutputPath, PIPELINE_FILE, Pipeline, PipelineContext,
    PlannedSample, PlannedStep, check_without_project, read_pipeline,
};
pub use project::{read_project, scorer_functions};
pub use scope::{allowed_range, check_scope};
pub use template::{CaseInput, render_context};
