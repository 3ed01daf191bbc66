//! Dev only: conformance suites for the ports, scripted doubles, helpers.
//!
//! * [`suites`] holds one suite per port: the same tests, by the same names, run against every implementation.
//! * [`sample`] builds small domain values, so that a test names only what it is about.
//! * [`clock`] is a clock that moves when it is told to, [`code`] are workers that answer as they are told to.

pub mod clock;
pub mod code;
pub mod sample;
pub mod suites;
