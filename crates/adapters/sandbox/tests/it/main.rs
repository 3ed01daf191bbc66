//! The sandbox and what runs in it, with real processes. Needs bubblewrap and python3.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails right there"
)]

mod files;
mod held;
mod lifetime;
mod limits;
mod network;
mod python;
mod scripts;
mod support;
mod without;
