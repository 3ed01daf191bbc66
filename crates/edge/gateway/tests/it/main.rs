//! The whole gateway over loopback: the real router and the real Optimizer service over SQLite.

mod access;
mod answers;
mod document;
mod events;
mod input;
mod limits;
mod serving;
mod shelf;
mod world;
