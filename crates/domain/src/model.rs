//! The nouns of the system, as plain values.

pub mod access;
pub mod case;
pub mod decision;
pub mod evaluation;
pub mod finding;
pub mod job;
pub mod level;
pub mod pipeline;
pub mod project;
pub mod proposal;
pub mod score;
pub mod session;
pub mod task;
pub mod trace;
pub mod trace_context;
pub mod variant;
