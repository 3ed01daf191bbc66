//! The project format: reads, checks, diffs and describes what a user writes. No I/O.

pub mod data;
pub mod diff;
pub mod pipeline;
mod problems;
pub mod project;
pub mod schema;
pub mod scope;
pub mod template;
mod validate;
mod yaml;

pub use diff::{Change, SemanticDiff, semantic_diff, unified_diff};
pub use pipeline::{
    OutputPart, OutputPath, PIPELINE_FILE, Pipeline, PipelineContext, PlannedSample, PlannedStep,
    read_pipeline,
};
pub use project::read_project;
pub use scope::check_scope;
pub use template::{CaseInput, render_context};
