//! What things are, and the ports through which they are reached.
//!
//! * [`model`] holds the nouns: project, pipeline, variant, case, trace, score, finding, proposal, decision, task, job.
//! * [`ports`] holds one trait per outside capability, each with its error type and its guarantees. A port has a
//!   conformance suite in `fapo-testkit`, run against every implementation.
//! * [`ids`] holds identifiers. Wherever a thing is determined by its content its id is a hash of that content, so
//!   that writing it twice is harmless and a resumed job meets its own earlier work.
//! * [`clock`] is the only source of time, [`seed`] the only source of randomness.
//! * [`telemetry`] holds the names that traces and metrics use.
//! * [`text`] and [`wilson`] are what several crates need alike: texts cut for a line, and the interval of a share.
//!
//! Nothing here performs I/O, and nothing here depends on another crate of the workspace.

pub mod clock;
pub mod error;
pub mod hash;
pub mod ids;
pub mod model;
pub mod money;
pub mod order;
pub mod ports;
pub mod problem;
pub mod seed;
pub mod telemetry;
pub mod text;
pub mod wilson;

pub use error::{Classified, ErrorCode, Retry};
pub use hash::ContentHash;
pub use ids::*;
pub use money::{MicroUsd, Spend, Usage};
