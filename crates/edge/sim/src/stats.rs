//! Counts of what the server was asked and what it answered.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What the server was asked and what it answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests for a reply, faults included.
    pub requests: u64,
    /// Replies given (refusals and late answers too): what a real provider would bill.
    pub answered: u64,
    /// Faults played.
    pub faults: u64,
    /// Different requests among those answered. Not counted in bench mode.
    pub distinct: u64,
    /// Replies to a request that had been answered before, byte for byte the same: 0 where nothing is paid for twice.
    pub repeated: u64,
    /// How often the most repeated request was answered.
    pub most_repeated: u64,
    /// Tokens of the answered requests.
    pub input_tokens: u64,
    /// Tokens of the replies.
    pub output_tokens: u64,
}

/// Tries and answers of one request.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    asked: u64,
    answered: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    answered: AtomicU64,
    faults: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    seen: Mutex<HashMap<u64, Seen>>,
}

impl Counters {
    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Seen>> {
        self.seen
            .lock()
            .expect("no panic can happen while the counts are held")
    }

    /// Counts a request; returns its number from 1.
    pub(crate) fn request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a try of the request with this hash; returns which try it is, from 1.
    pub(crate) fn attempt(&self, hash: u64) -> u64 {
        let mut seen = self.seen();
        let entry = seen.entry(hash).or_default();
        entry.asked += 1;
        entry.asked
    }

    pub(crate) fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, hash: Option<u64>, input_tokens: u64, output_tokens: u64) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.input_tokens.fetch_add(input_tokens, Ordering::Relaxed);
        self.output_tokens
            .fetch_add(output_tokens, Ordering::Relaxed);
        if let Some(hash) = hash {
            self.seen().entry(hash).or_default().answered += 1;
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let seen = self.seen();
        let answered = || seen.values().map(|seen| seen.answered).filter(|n| *n > 0);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            requests: load(&self.requests),
            answered: load(&self.answered),
            faults: load(&self.faults),
            distinct: answered().count() as u64,
            repeated: answered().map(|n| n - 1).sum(),
            most_repeated: answered().max().unwrap_or(0),
            input_tokens: load(&self.input_tokens),
            output_tokens: load(&self.output_tokens),
        }
    }
}
