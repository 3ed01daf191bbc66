//! An evaluation: one variant over one split with one sample index, cut into blocks of cases.

use serde::{Deserialize, Serialize};

use crate::hash::Hasher;
use crate::ids::{DatasetId, EvaluationId, JobId, VariantId};
use crate::model::case::Split;

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
}

/// How an evaluation uses the step cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// Reads results of any earlier evaluation and adds its own.
    Shared,
    /// Reads only what this very evaluation wrote before (so that a resumed one repeats no call): the sealed test.
    Own,
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
            .number(u64::from(self.cache == CacheUse::Own));
        EvaluationId(hasher.finish())
    }

    /// How many blocks of `size` cases it has.
    pub fn blocks(&self, size: u64) -> u64 {
        self.cases.div_ceil(size.max(1))
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
