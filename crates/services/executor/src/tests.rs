//! Tests of the whole crate: pipelines as they are written, a scripted model, and the real store where one is needed.

mod blocks;
mod caching;
mod checking;
mod code;
mod faults;
mod house;
mod keys;
mod observed;
mod pipelines;
mod property;
mod sampling;
mod script;
mod stage;
