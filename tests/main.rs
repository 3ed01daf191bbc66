//! End to end, fault and architecture tests.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails right there"
)]

mod access;
mod architecture;
mod reasons;
mod e2e {
    mod addresses;
    mod agents;
    mod bad_input;
    mod check;
    mod cluster;
    mod commands;
    mod doctor;
    mod examples;
    mod parquet;
    mod prompts;
    mod python;
    mod results;
    mod schema;
    mod serve;
    mod sessions;
    mod stopping;
}
mod fault {
    mod crash;
    mod faults;
    mod sessions;
}
