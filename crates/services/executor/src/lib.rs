//! Runs pipelines over cases.
//!
//! [`ExecutorService`] takes blocks of an evaluation from the queue (`Topic::Execute`), runs the cases that have no final
//! result yet, and stores each run with every step: what went in, what came out, what it cost. It also runs single cases
//! on request ([`fapo_domain::ports::pipelines::PipelineRunner`]).
//!
//! * Independent steps of a case run at the same time, cases of a job within one bound over all its blocks.
//! * A case's result never depends on whether a reply came from the step cache: caps count a hit as the call it stands
//!   for, and what is made of a reply is worked out again.
//! * What is not the pipeline's fault is never a zero: such runs are `missing`, and may be run again.
//! * Everything may be repeated: finished runs are skipped, writes carry the task's fence, paid replies are met again.
//!
//! [`retrieval`] is the built-in retriever, usable by itself.

mod block;
mod config;
mod duration;
mod job;
mod json;
mod key;
mod observe;
mod outcome;
mod plan;
mod recent;
pub mod retrieval;
mod run;
mod sample;
mod service;
mod steps;
#[cfg(test)]
mod tests;
mod trace;

pub use config::ExecutorConfig;
pub use service::{ExecutorService, Ports};
