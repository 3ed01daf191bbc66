//! Evaluation stages: one evaluation on its way, cut into blocks, with a small window of tasks under way.
//!
//! A stage runs blocks in order up to [`Stage::until`], the next *look*, and goes on only once the look was decided. So
//! which tasks exist at a decision does not depend on the order in which they finish, and a candidate that is dropped
//! at its first look cost one block.

use fapo_domain::model::evaluation::{Block, EvaluationSpec};
use fapo_domain::model::score::{Comparison, ScoreSummary};
use fapo_domain::{EvaluationId, VariantId};
use serde::{Deserialize, Serialize};

/// Most execute and score tasks that one stage has under way.
pub const WINDOW: usize = 8;

/// What an evaluation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "snake_case")]
pub enum StagePurpose {
    /// The baseline on train or val.
    Baseline,
    /// A candidate on train: losers are dropped early.
    Screen {
        /// The iteration.
        iteration: u32,
        /// The slot among its parallel proposals.
        slot: u32,
    },
    /// A candidate on val: decides about its promotion.
    Validate {
        /// The iteration.
        iteration: u32,
        /// The slot among its parallel proposals.
        slot: u32,
    },
    /// The sealed test.
    Test,
    /// The one evaluation of an evaluate job.
    Evaluate,
}

/// What a block waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum BlockStep {
    /// Its execute task of this round.
    Executing {
        /// From 0; higher rounds run what is missing again.
        round: u32,
    },
    /// Its score task.
    Scoring,
}

/// A block with a task under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInFlight {
    /// Its number, from 0.
    pub index: u64,
    /// What it waits for.
    #[serde(flatten)]
    pub step: BlockStep,
}

/// A comparison that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingComparison {
    /// What the stage's variant is compared with.
    pub against: EvaluationSpec,
    /// How many positions of the case order.
    pub upto: u64,
}

/// An evaluation under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The evaluation's id.
    pub id: EvaluationId,
    /// The evaluation.
    pub evaluation: EvaluationSpec,
    /// What it is for.
    #[serde(flatten)]
    pub purpose: StagePurpose,
    /// Cases in a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks to be done before the next look; `blocks` where there is none.
    pub until: u64,
    /// The next block to be started.
    pub next: u64,
    /// Blocks scored.
    pub done: u64,
    /// Blocks with a task under way; at most [`WINDOW`].
    pub in_flight: Vec<BlockInFlight>,
    /// Sums over the blocks scored so far.
    pub summary: ScoreSummary,
    /// The comparison under way.
    pub comparing: Option<PendingComparison>,
    /// What the last comparison was made with.
    pub against: Option<VariantId>,
    /// The comparison that came back and is to be decided on.
    pub compared: Option<Comparison>,
    /// Whether a block stopped because the job's budget is used up, or none may begin because its time is. No further
    /// block is started then.
    pub budget_exhausted: bool,
}

impl Stage {
    /// A stage at its beginning. With `looks` its first stop is after one block, else it runs to its end.
    pub fn new(
        evaluation: EvaluationSpec,
        purpose: StagePurpose,
        block_size: u64,
        looks: bool,
    ) -> Self {
        let block_size = block_size.max(1);
        let blocks = evaluation.blocks(block_size);
        Self {
            id: evaluation.id(),
            evaluation,
            purpose,
            block_size,
            blocks,
            until: if looks { blocks.min(1) } else { blocks },
            next: 0,
            done: 0,
            in_flight: Vec::new(),
            summary: ScoreSummary::default(),
            comparing: None,
            against: None,
            compared: None,
            budget_exhausted: false,
        }
    }

    /// Block number `index`.
    pub fn block(&self, index: u64) -> Block {
        Block::nth(index, self.block_size, self.evaluation.cases)
    }

    /// Whether every block is scored, or the budget ended the stage; nothing is under way then.
    pub fn is_complete(&self) -> bool {
        self.in_flight.is_empty() && (self.done == self.blocks || self.budget_exhausted)
    }

    /// Whether every block up to the next look is scored, or the budget ended the stage.
    pub fn is_at_look(&self) -> bool {
        self.in_flight.is_empty() && (self.done == self.until || self.budget_exhausted)
    }

    /// Whether the next look sees every case.
    pub const fn is_full_look(&self) -> bool {
        self.until == self.blocks
    }

    /// Cases before the next look.
    pub fn cases_at_look(&self) -> u64 {
        self.until
            .saturating_mul(self.block_size)
            .min(self.evaluation.cases)
    }

    /// Moves the next look on: looks are after 1, 2, 4, 8... blocks, and at the end.
    pub fn next_look(&mut self) {
        self.until = self.until.saturating_mul(2).max(1).min(self.blocks);
    }

    /// The job's time is up: starts no further block. Where none is left before the next look, that look is still taken,
    /// because it costs nothing.
    pub const fn out_of_time(&mut self) {
        if self.next < self.until {
            self.budget_exhausted = true;
        }
    }

    /// Takes the next block that may start now, if the window has room.
    pub fn start_block(&mut self) -> Option<u64> {
        if self.next >= self.until || self.in_flight.len() >= WINDOW || self.budget_exhausted {
            return None;
        }
        let index = self.next;
        self.next += 1;
        self.in_flight.push(BlockInFlight {
            index,
            step: BlockStep::Executing { round: 0 },
        });
        Some(index)
    }

    /// The block under way that a finished task belongs to: `block` must be one of this stage's, at `step`.
    pub fn find(&mut self, block: Block, step: BlockStep) -> Option<&mut BlockInFlight> {
        if !block.start.is_multiple_of(self.block_size) {
            return None;
        }
        let index = block.start / self.block_size;
        if self.block(index) != block {
            return None;
        }
        self.in_flight
            .iter_mut()
            .find(|flight| flight.index == index && flight.step == step)
    }

    /// Counts a scored block in.
    pub fn finish_block(&mut self, index: u64, summary: &ScoreSummary) {
        self.in_flight.retain(|flight| flight.index != index);
        self.done += 1;
        self.summary.merge(summary);
    }

    /// Tasks under way: blocks, and the comparison.
    pub fn outstanding(&self) -> usize {
        self.in_flight.len() + usize::from(self.comparing.is_some())
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::hash::ContentHash;
    use fapo_domain::model::case::Split;
    use fapo_domain::model::evaluation::CacheUse;
    use fapo_domain::{DatasetId, JobId};

    use super::*;

    fn stage(cases: u64, looks: bool) -> Stage {
        let evaluation = EvaluationSpec {
            job: JobId::at(1, [0; 10]),
            variant: VariantId(ContentHash::of(b"v")),
            dataset: DatasetId(ContentHash::of(b"d")),
            split: Split::Val,
            sample: 0,
            cases,
            order_seed: Some(1),
            cache: CacheUse::Shared,
            attempt: 0,
        };
        Stage::new(evaluation, StagePurpose::Evaluate, 10, looks)
    }

    #[test]
    fn looks_come_after_one_two_four_blocks_and_at_the_end() {
        let mut stage = stage(65, true);
        let mut looks = vec![(stage.until, stage.cases_at_look())];
        while !stage.is_full_look() {
            stage.next_look();
            looks.push((stage.until, stage.cases_at_look()));
        }
        assert_eq!(looks, vec![(1, 10), (2, 20), (4, 40), (7, 65)]);
    }

    #[test]
    fn the_window_bounds_what_is_under_way_and_a_look_stops_it() {
        let mut whole = stage(1_000_000, false);
        let started: Vec<u64> = std::iter::from_fn(|| whole.start_block()).collect();
        assert_eq!(started, (0..WINDOW as u64).collect::<Vec<_>>());
        whole.finish_block(3, &ScoreSummary::default());
        assert_eq!(whole.start_block(), Some(8));
        assert_eq!(whole.start_block(), None);

        let mut looking = stage(1_000_000, true);
        assert_eq!(looking.start_block(), Some(0));
        assert_eq!(looking.start_block(), None);
        looking.finish_block(0, &ScoreSummary::default());
        assert!(looking.is_at_look() && !looking.is_complete());
    }

    #[test]
    fn a_block_that_is_not_this_stages_is_not_found() {
        let mut stage = stage(25, false);
        while stage.start_block().is_some() {}
        let at = BlockStep::Executing { round: 0 };
        assert!(stage.find(Block { start: 20, end: 25 }, at).is_some());
        assert!(stage.find(Block { start: 20, end: 30 }, at).is_none());
        assert!(stage.find(Block { start: 5, end: 15 }, at).is_none());
        assert!(
            stage
                .find(Block { start: 0, end: 10 }, BlockStep::Scoring)
                .is_none()
        );
    }

    #[test]
    fn a_stage_without_cases_is_complete_at_once() {
        assert!(stage(0, true).is_complete());
        assert!(stage(0, true).is_full_look());
    }
}
