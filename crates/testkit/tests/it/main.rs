//! The testkit's own tools, tried: what plays Claude must be right, or the tests that rest on it prove nothing.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up must fail, in helpers too"
)]

mod cli;
mod protocol;
