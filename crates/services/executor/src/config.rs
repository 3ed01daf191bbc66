//! What of the executor can be set, apart from what a project sets for itself.

use std::time::Duration;

/// Settings of an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutorConfig {
    /// How long model calls under way may go on once a stop is asked for: a reply that still comes in is stored and need
    /// not be paid for again.
    pub drain: Duration,
    /// Runs written at once; more than so many are not kept waiting in memory.
    pub flush_runs: usize,
    /// A block is given up when its first so many cases all fail for infrastructure reasons.
    pub give_up_after: u32,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(2),
            flush_runs: 256,
            give_up_after: 8,
        }
    }
}
