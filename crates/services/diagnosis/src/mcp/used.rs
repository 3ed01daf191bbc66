//! What a session did with its tools.

use std::sync::{Mutex, PoisonError};

use fapo_domain::text::one_line;
use fapo_domain::{ContentHash, Spend};
use serde::{Deserialize, Serialize};

/// Answers kept one by one.
const ANSWERS: usize = 1000;
/// Refusals kept in words.
const REFUSALS: usize = 50;
/// Characters of a refusal: it quotes what was asked for.
const REFUSAL: usize = 200;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The tool.
    pub tool: String,
    /// Hash of its arguments.
    pub arguments: ContentHash,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Whether it was an error: a refusal, a wrong argument, a failure.
    pub error: bool,
}

/// What a session did with its tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolsUse {
    /// Calls by tool, in order of first use.
    pub calls: Vec<(String, u32)>,
    /// What was answered, in order; the first 1,000.
    pub answers: Vec<Answered>,
    /// What was asked for and refused, in words, oldest first; the first 50.
    pub refusals: Vec<String>,
    /// How often something was refused.
    pub refused: u64,
    /// What `try` spent, of the runs whose end was seen.
    pub spend: Spend,
    /// Cases that `try` ran.
    pub tried: u32,
    /// Scripts that `analyze` ran.
    pub analyses: u32,
}

/// Collects a [`ToolsUse`].
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<ToolsUse>);

impl Log {
    fn with<T>(&self, change: impl FnOnce(&mut ToolsUse) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was asked for and refused.
    pub(super) fn refused(&self, what: &str) {
        self.with(|used| {
            used.refused += 1;
            if used.refusals.len() < REFUSALS {
                used.refusals.push(one_line(what, REFUSAL));
            }
        });
    }

    /// A call, before it is answered. Returns how many there were with it.
    pub(super) fn called(&self, tool: &str) -> u32 {
        self.with(|used| {
            match used.calls.iter_mut().find(|(name, _)| name == tool) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => used.calls.push((tool.to_owned(), 1)),
            }
            used.calls
                .iter()
                .map(|(_, count)| *count)
                .fold(0, u32::saturating_add)
        })
    }

    /// An answer.
    pub(super) fn answered(&self, answer: Answered) {
        self.with(|used| {
            if used.answers.len() < ANSWERS {
                used.answers.push(answer);
            }
        });
    }

    /// A case that `try` ran.
    pub(super) fn tried(&self, spend: Spend) {
        self.with(|used| {
            used.spend += spend;
            used.tried = used.tried.saturating_add(1);
        });
    }

    /// A script that `analyze` ran.
    pub(super) fn analysed(&self) {
        self.with(|used| used.analyses = used.analyses.saturating_add(1));
    }

    /// All of it.
    pub(super) fn used(&self) -> ToolsUse {
        self.with(|used| used.clone())
    }
}
