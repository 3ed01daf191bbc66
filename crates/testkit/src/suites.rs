//! One suite per port: the same tests, by the same names, run against every implementation.

pub mod queue;
