//! A simulated model behind an OpenAI-compatible (and Anthropic-compatible) HTTP server.
//!
//! A *world file* (`sim.json`, see the crate's README) says what the model knows, how it words its answers, which
//! instructions in a prompt change its behaviour, and which faults it plays. From the same world and the same request
//! the reply is always the same, so whole optimizations can be tested offline, to the byte.
//!
//! The model has limits on purpose. A fact is known only when its evidence stands in the prompt (so a missing retrieval
//! hop is a fault that only structure can repair); an answer is wrapped in a sentence until the prompt asks for the
//! bare answer (a fault of the prompt); a long answer is cut at `max_tokens`, and sampling noise flips answers at a
//! temperature above zero (faults of parameters).
//!
//! * [`World::load`] reads a world file and reports all of its problems at once.
//! * [`SimServer::start`] serves it on an address; port 0 picks a free one.
//! * [`SimHandle::stats`] tells what was asked and answered, and how often the same request was answered twice.

mod behave;
mod faults;
mod file;
mod line;
mod protocol;
mod server;
mod stats;
mod text;
mod world;

pub use file::{
    Case, DirectiveFile, FactFile, FaultFile, FaultKind, FormFile, LabelClassFile, LabelsFile,
    NoiseFile, QueriesFile, ScriptedFile, StyleFile, SummariesFile, WorldFile,
};
pub use server::{SimHandle, SimServer};
pub use stats::Stats;
pub use text::{count_tokens, normalize};
pub use world::{World, WorldError};
