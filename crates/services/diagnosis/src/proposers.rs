//! Proposers: who writes the next variant.
//!
//! * [`catalogue`]: no model; tries techniques in a fixed, sensible order led by the target cluster's rule.
//! * [`reflect`]: one structured call to a model, given compiled train evidence.
//! * [`replay`]: recorded proposals.
//!
//! [`service`] is the handler of `Topic::Propose`: it gathers train evidence, asks the backend that the project names,
//! and stores what came back. What a proposer says about its change is recorded and believed in nothing.

pub mod agent;
pub mod catalogue;
pub mod edit;
pub mod evidence;
pub(crate) mod gather;
pub mod labels;
pub mod reflect;
pub mod replay;
pub mod service;
pub mod yaml;

pub use catalogue::Catalogue;
pub use reflect::Reflect;
pub use replay::Replay;
pub use service::{Backends, ProposeService};
