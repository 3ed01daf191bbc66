//! Comparing two evaluations: both are read in pages by ordinal and joined, so that memory holds a page of each and a few
//! bytes per pair.

use std::sync::Arc;

use fapo_domain::error::{ErrorCode, Retry};
use fapo_domain::ids::EvaluationId;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::score::Comparison;
use fapo_domain::ports::scores::{ScoredCase, Scores};
use fapo_domain::ports::work::WorkError;
use tokio_util::sync::CancellationToken;

use super::{Context, ScoringService};
use crate::compare::Pairing;

/// Scores read at a time.
const PAGE: u32 = 1_000;
/// Scores read at a time where fewer than one in a thousand is wanted.
const SPARSE_PAGE: u32 = 8;

/// What is asked.
pub(super) struct Question<'t> {
    pub(super) a: &'t EvaluationSpec,
    pub(super) b: &'t EvaluationSpec,
    pub(super) upto: u64,
    pub(super) confidence: f64,
    pub(super) seed: u64,
}

impl ScoringService {
    /// Compares the first positions of two evaluations of the same cases.
    pub(super) async fn compare(
        &self,
        context: &Context,
        question: Question<'_>,
        stop: &CancellationToken,
    ) -> Result<Comparison, WorkError> {
        let Question { a, b, .. } = question;
        if (a.dataset, a.split, a.order_seed) != (b.dataset, b.split, b.order_seed) {
            return Err(WorkError::permanent(
                "COMPARISON_UNPAIRED",
                "the two evaluations are not over the same cases in the same order",
            ));
        }
        let wanted = Wanted::new(a, context.split_len(a)?, question.upto.min(b.cases));
        let mut pairs = Pairing::new(Arc::clone(&context.protect));
        let mut left = Pages::new(&*self.scores, a.id(), wanted.page());
        let mut right = Pages::new(&*self.scores, b.id(), wanted.page());
        let mut at = 0;
        while let Some(ordinal) = wanted.next(at) {
            if stop.is_cancelled() {
                return Err(WorkError::interrupted());
            }
            let Some(one) = left.seek(ordinal).await? else {
                break;
            };
            if one.score.ordinal > ordinal {
                // the incumbent has nothing before that place
                at = one.score.ordinal;
                continue;
            }
            match right.seek(ordinal).await? {
                Some(other) if other.score.ordinal == ordinal => {
                    pairs.add(one, other).map_err(|mismatch| {
                        WorkError::permanent("SCORER_VERSION_MISMATCH", mismatch.to_string())
                    })?;
                }
                Some(_) | None => pairs.lacks(&one.score.case_id),
            }
            at = ordinal + 1;
        }
        let (expected, confidence, seed) = (wanted.count, question.confidence, question.seed);
        // the bootstrap may take seconds of computing
        let bootstrap =
            tokio::task::spawn_blocking(move || pairs.finish(expected, confidence, seed));
        tokio::select! {
            () = stop.cancelled() => Err(WorkError::interrupted()),
            done = bootstrap => done.map_err(|error| WorkError {
                message: "the bootstrap did not end".to_owned(),
                code: ErrorCode::Internal,
                retry: Retry::Now,
                reason: "BOOTSTRAP_FAILED",
                source: Some(Box::new(error)),
            }),
        }
    }
}

/// The ordinals at the first positions of an evaluation's order, one bit per case of the split.
struct Wanted {
    bits: Vec<u64>,
    count: u64,
    split_len: u64,
}

impl Wanted {
    fn new(evaluation: &EvaluationSpec, split_len: u64, upto: u64) -> Self {
        const STEP: u64 = 4_096;
        let mut bits = vec![0u64; usize::try_from(split_len.div_ceil(64)).unwrap_or(usize::MAX)];
        let (mut start, mut count) = (0, 0);
        while start < upto {
            let end = upto.min(start + STEP);
            let ordinals = evaluation.ordinals(split_len, start..end);
            if ordinals.is_empty() {
                break;
            }
            for ordinal in &ordinals {
                bits[(ordinal / 64) as usize] |= 1 << (ordinal % 64);
            }
            count += ordinals.len() as u64;
            start = end;
        }
        Self {
            bits,
            count,
            split_len,
        }
    }

    /// The first wanted ordinal at or after `from`.
    fn next(&self, from: u64) -> Option<u64> {
        let mut word = usize::try_from(from / 64).ok()?;
        let mut rest = self.bits.get(word)? & (u64::MAX << (from % 64));
        while rest == 0 {
            word += 1;
            rest = *self.bits.get(word)?;
        }
        Some(word as u64 * 64 + u64::from(rest.trailing_zeros()))
    }

    /// How many scores to read at a time: few where those in between are not wanted.
    const fn page(&self) -> u32 {
        if self.count.saturating_mul(1_000) < self.split_len {
            SPARSE_PAGE
        } else {
            PAGE
        }
    }
}

/// An evaluation's scores by ordinal, a page at a time.
struct Pages<'s> {
    scores: &'s dyn Scores,
    evaluation: EvaluationId,
    size: u32,
    page: Vec<ScoredCase>,
    at: usize,
    ended: bool,
}

impl<'s> Pages<'s> {
    fn new(scores: &'s dyn Scores, evaluation: EvaluationId, size: u32) -> Self {
        Self {
            scores,
            evaluation,
            size,
            page: Vec::new(),
            at: 0,
            ended: false,
        }
    }

    /// The first score at or after `ordinal`, which may not be smaller than in an earlier call.
    async fn seek(&mut self, ordinal: u64) -> Result<Option<&ScoredCase>, WorkError> {
        loop {
            let rest = &self.page[self.at..];
            self.at += rest.partition_point(|scored| scored.score.ordinal < ordinal);
            if self.at < self.page.len() {
                return Ok(self.page.get(self.at));
            }
            if self.ended {
                return Ok(None);
            }
            self.page = self
                .scores
                .scores(self.evaluation, ordinal, self.size)
                .await
                .map_err(|error| WorkError::from_port("the scores cannot be read", error))?;
            self.at = 0;
            self.ended = self.page.is_empty();
        }
    }
}
