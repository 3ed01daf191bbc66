//! The optimizer's judgement as pure functions.
//!
//! [`start`] makes a job's first [`JobState`]; [`advance`] takes a state and the tasks that finished since, and returns
//! the next state with everything that is to be written in the same commit: events, tasks, lineage, decisions.
//!
//! There is no I/O here, no clock, and no randomness but seeds derived from the project's own. From that follow the
//! guarantees that the rest relies on, and that the simulation in this crate's tests checks on thousands of jobs:
//!
//! * **Same results, same decisions.** Tasks may finish in any order and be handed over in any batches. Decisions are
//!   made only at barriers (a complete look, a complete stage, a complete iteration), and which tasks exist before a
//!   barrier does not depend on the order in which they finish. So two runs of one project over the same task results
//!   have one [`lineage_hash`].
//! * **Any state can be stored.** A state survives the way through JSON unchanged, and holds nothing per case: a job
//!   over a million cases has a state as small as one over a hundred.
//! * **Repeats are harmless.** The same finished task handed over twice counts once.
//! * **It ends.** Every iteration uses up proposals, of which a job has a fixed number; a proposal is revised once at most.
//!
//! What a candidate must do to be kept stands in [`gate`], when a level is left and opened in [`levels`], how
//! evaluations are cut into tasks in [`stage`], what may still be spent in [`budget`], and
//! what a candidate costs in [`cost`]. How proposers are told to go about it stands in `strategy`, what the reviewer's word
//! does in `reviewing`.

mod advance;
pub mod budget;
pub mod cost;
mod engine;
mod event;
mod finish;
pub mod gate;
mod gating;
mod intake;
mod iterate;
pub mod keys;
pub mod levels;
mod lineage;
mod plan;
mod reviewing;
pub mod stage;
mod state;
mod strategy;

pub use advance::{Advance, advance, start};
pub use event::{ClusterLine, Event, ProposalAnswer};
pub use lineage::lineage_hash;
pub use state::{
    Candidate, JobState, MeasuredVariant, Measurement, Phase, Slot, SlotIdea, SlotProgress, Stop,
    TestResult, TestRun,
};
