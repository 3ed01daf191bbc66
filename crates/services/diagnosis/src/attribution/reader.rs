//! Reads failures that the rules leave unclear: a model names what is missing, and proves it with a quote from the trace.
//!
//! Which failures are read is drawn by the project's seed, so that those read stand for the others. [`brief`] says what is told
//! of a failure and which readings count; who is asked is [`model`], one call for each, or a coding agent
//! ([`AgentReaders`](crate::agentic::AgentReaders)), one session for all. A kept reading decides the finding's level:
//!
//! | kind | level | confidence |
//! |---|---|---|
//! | reasoning | prompt | 0.7 |
//! | format | prompt | 0.8 |
//! | knowledge | structure | 0.7 |
//! | content | prompt | 0.3 |
//!
//! Readings are a help and no condition: where the budget does not allow one, or the model cannot be reached, attribution
//! goes on without, and says so. A reader that is set up wrong is an error, because somebody wants it and would wait for it.

pub mod brief;
pub mod model;

use std::collections::BTreeMap;

use async_trait::async_trait;
use fapo_domain::ContentHash;
use fapo_domain::model::case::Case;
use fapo_domain::model::finding::{FailureKind, Finding, Reading};
use fapo_domain::model::level::Level;
use fapo_domain::model::session::SessionRecord;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::work::WorkError;
use fapo_domain::seed::Seed;
use fapo_domain::{Spend, VariantId};
use tokio_util::sync::CancellationToken;

use crate::text::one_line;

pub use brief::Briefs;
pub use model::ModelReader;

/// Longest quote that is kept, in characters.
const QUOTE_KEPT: usize = 200;

/// Which unclear findings are read: those with the smallest draws.
#[derive(Debug)]
pub struct Choice {
    most: usize,
    root: u64,
    variant: VariantId,
    kept: BTreeMap<(u64, u64), Finding>,
    /// Unclear findings seen.
    pub seen: u64,
}

impl Choice {
    /// At most so many, for a variant.
    pub const fn new(most: usize, root: u64, variant: VariantId) -> Self {
        Self {
            most,
            root,
            variant,
            kept: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Takes one in, and gives back the one that is not read: itself, or one that was taken in before.
    pub fn offer(&mut self, finding: Finding) -> Option<Finding> {
        self.seen += 1;
        let about = [
            self.variant.0.as_bytes().as_slice(),
            &finding.ordinal.to_le_bytes(),
        ];
        let draw = Seed::derive(self.root, "reader", &about).as_u64();
        self.kept.insert((draw, finding.ordinal), finding);
        if self.kept.len() > self.most {
            return self.kept.pop_last().map(|(_, finding)| finding);
        }
        None
    }

    /// Those to be read, in the split's order.
    pub fn finish(self) -> Vec<Finding> {
        let mut chosen: Vec<Finding> = self.kept.into_values().collect();
        chosen.sort_by_key(|finding| finding.ordinal);
        chosen
    }
}

/// One failure to be read, with what it is read from.
#[derive(Debug, Clone)]
pub struct Unread {
    /// What the rules made of it.
    pub finding: Finding,
    /// Its case.
    pub case: Case,
    /// Its run.
    pub run: RunRecord,
}

/// What came of one failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A reading whose quote is there.
    Kept(Reading),
    /// A reading whose quote is not there.
    Discarded,
    /// No reading.
    Unusable,
}

/// What came of some failures.
#[derive(Debug, Default)]
pub struct Batch {
    /// One for each failure, in their order; `None` for one that could not be asked about.
    pub reads: Vec<Option<Read>>,
    /// What asking cost.
    pub spend: Spend,
    /// What hindered reading, in words for people. Nothing more is then asked.
    pub note: Option<String>,
}

/// Reads the failures of one attribution, some at a time.
#[async_trait]
pub trait FailureReader: Send {
    /// How many it wants at a time.
    fn at_once(&self) -> usize;

    /// The hash over what it is told.
    fn prompt_hash(&self) -> ContentHash;

    /// Reads some failures. What merely hinders reading is a note. Returns soon after `stop` is cancelled.
    ///
    /// # Errors
    /// Interrupted; permanent for a reader that is set up wrong; else the ports' errors.
    async fn read(
        &mut self,
        failures: &[Unread],
        stop: &CancellationToken,
    ) -> Result<Batch, WorkError>;

    /// Ends it, whatever became of the failures; what a session paid is then settled and the session recorded.
    ///
    /// # Errors
    /// The ports' errors.
    async fn close(self: Box<Self>) -> Result<Option<SessionRecord>, WorkError>;
}

/// Puts a kept reading into its finding: it decides the level.
pub fn apply(finding: &mut Finding, reading: Reading) {
    let (level, confidence) = match reading.kind {
        FailureKind::Reasoning => (Level::Prompt, 0.7),
        FailureKind::Format => (Level::Prompt, 0.8),
        FailureKind::Knowledge => (Level::Structure, 0.7),
        FailureKind::Content => (Level::Prompt, 0.3),
    };
    finding.level = level;
    finding.confidence = confidence;
    finding.reading = Some(Reading {
        quote: one_line(&reading.quote, QUOTE_KEPT),
        ..reading
    });
}

#[cfg(test)]
mod tests;
