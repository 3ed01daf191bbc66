//! The whole gateway over loopback: the real router and the real Optimizer service over SQLite.

mod access;
mod answers;
mod bodies;
mod client;
mod document;
mod events;
mod faults;
mod input;
mod limits;
mod observed;
mod requests;
mod serving;
mod shelf;
mod tokens;
mod world;
