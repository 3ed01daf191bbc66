//! An evaluation: one variant over one split with one sample index, cut into blocks of cases.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::hash::Hasher;
use crate::ids::{DatasetId, EvaluationId, JobId, VariantId};
use crate::model::case::Split;
use crate::order::Permutation;
use crate::seed::Seed;

/// What is evaluated. The id is derived from these values, so asking twice is one evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationSpec {
    /// The job it belongs to.
    pub job: JobId,
    /// The variant.
    pub variant: VariantId,
    /// The data.
    pub dataset: DatasetId,
    /// The split.
    pub split: Split,
    /// 0 for the first look; another index draws new samples from the model instead of reading the cache.
    pub sample: u32,
    /// Cases in the evaluation: the first so many of the order below.
    pub cases: u64,
    /// Seed of the case order (see [`crate::order::Permutation`]); `None` is the order of the file.
    pub order_seed: Option<u64>,
    /// How the step cache is used.
    pub cache: CacheUse,
    /// 0 for the first time; one more each time it is begun anew because too many results were missing to decide
    /// anything.
    #[serde(default)]
    pub attempt: u32,
}

/// How an evaluation uses the step cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// Reads results of any earlier evaluation and adds its own.
    Shared,
    /// Reads only what this very evaluation wrote before (so that a resumed one repeats no call): the sealed test.
    Own,
}

/// What is told of a held-out split to whoever proposes: one number, coarse, because each answer gives a little of the split
/// away (the Ladder, Blum & Hardt 2015).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldOutMean {
    /// Cases that count.
    pub cases: u64,
    /// Their mean score, rounded to a hundredth.
    pub mean: f64,
}

impl HeldOutMean {
    /// The mean over so many cases, rounded.
    pub fn rounded(cases: u64, mean: f64) -> Self {
        Self {
            cases,
            mean: (mean * 100.0).round() / 100.0,
        }
    }
}

impl EvaluationSpec {
    /// The evaluation's id.
    pub fn id(&self) -> EvaluationId {
        let mut hasher = Hasher::new("evaluation/v1");
        hasher
            .part(self.job.0.as_bytes())
            .hash(&self.variant.0)
            .hash(&self.dataset.0)
            .part(self.split.as_str().as_bytes())
            .number(u64::from(self.sample))
            .number(self.cases)
            .number(self.order_seed.map_or(0, |seed| seed.wrapping_add(1)))
            .number(u64::from(self.cache == CacheUse::Own))
            .number(u64::from(self.attempt));
        EvaluationId(hasher.finish())
    }

    /// How many blocks of `size` cases it has.
    pub fn blocks(&self, size: u64) -> u64 {
        self.cases.div_ceil(size.max(1))
    }

    /// The ordinals (positions in the split, as the dataset keeps it) of the cases at positions `range` of this
    /// evaluation's order, in that order. `split_len` is the number of cases of the split in the *dataset*: the order
    /// is a permutation of the whole split, of which the evaluation takes the first [`Self::cases`], so evaluations of
    /// different size share their beginnings. Positions past the evaluation's end are left out.
    pub fn ordinals(&self, split_len: u64, range: Range<u64>) -> Vec<u64> {
        let range = range.start..range.end.min(self.cases).min(split_len);
        match self.order_seed {
            None => range.collect(),
            Some(seed) => {
                let order = Permutation::new(split_len, Seed::derive(seed, "case-order", &[]));
                range.filter_map(|position| order.at(position)).collect()
            }
        }
    }
}

/// A contiguous range of positions in an evaluation's case order: the unit of queued work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// First position.
    pub start: u64,
    /// One past the last position.
    pub end: u64,
}

impl Block {
    /// Block number `index` of blocks of `size` over `cases` cases.
    pub fn nth(index: u64, size: u64, cases: u64) -> Self {
        let start = index.saturating_mul(size).min(cases);
        Self {
            start,
            end: start.saturating_add(size).min(cases),
        }
    }

    /// How many cases.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::ContentHash;

    fn spec(cases: u64, order_seed: Option<u64>) -> EvaluationSpec {
        EvaluationSpec {
            job: JobId::at(1, [0; 10]),
            variant: VariantId(ContentHash::of(b"v")),
            dataset: DatasetId(ContentHash::of(b"d")),
            split: Split::Val,
            sample: 0,
            cases,
            order_seed,
            cache: CacheUse::Shared,
            attempt: 0,
        }
    }

    #[test]
    fn without_a_seed_positions_are_ordinals() {
        assert_eq!(spec(10, None).ordinals(10, 3..6), vec![3, 4, 5]);
    }

    #[test]
    fn with_a_seed_the_order_is_a_permutation_of_the_split_and_blocks_join_up() {
        let whole = spec(50, Some(7)).ordinals(50, 0..50);
        let mut sorted = whole.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_ne!(whole, sorted);
        let blocks: Vec<u64> = [0..20, 20..40, 40..60]
            .into_iter()
            .flat_map(|range| spec(50, Some(7)).ordinals(50, range))
            .collect();
        assert_eq!(blocks, whole);
        assert_ne!(spec(50, Some(8)).ordinals(50, 0..50), whole);
    }

    #[test]
    fn a_smaller_evaluation_is_the_beginning_of_a_larger_one() {
        let large = spec(50, Some(7)).ordinals(50, 0..50);
        assert_eq!(spec(12, Some(7)).ordinals(50, 0..50), large[..12]);
    }

    #[test]
    fn positions_past_the_end_are_left_out() {
        assert_eq!(spec(5, None).ordinals(4, 3..9), vec![3]);
        assert!(spec(5, Some(1)).ordinals(5, 5..9).is_empty());
        assert!(spec(5, Some(1)).ordinals(0, 0..9).is_empty());
    }
}
