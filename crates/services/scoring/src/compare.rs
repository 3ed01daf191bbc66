//! Paired comparison of two evaluations: cases go in one by one, a [`Comparison`] comes out.
//!
//! Only a case that counts on both sides is a pair: a result that is missing on one side takes the other side's along,
//! so that neither gains from the other's infrastructure. Scores are counted in millionths, so nothing depends on the
//! order in which pairs come in but the draws of the bootstrap, and those only where differences have many values.

use std::collections::HashSet;
use std::sync::Arc;

use fapo_domain::hash::ContentHash;
use fapo_domain::ids::CaseId;
use fapo_domain::model::score::Comparison;
use fapo_domain::money::MicroUsd;
use fapo_domain::ports::scores::ScoredCase;

use crate::statistics::bootstrap::paired_bootstrap;
use crate::statistics::nearest_rank;

/// Two scores that different scorers gave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "case {case} was scored by scorer {a:?} on one side and by {b:?} on the other; score both evaluations anew"
)]
pub struct ScorerMismatch {
    /// The case.
    pub case: CaseId,
    /// The scorer of the scores so far.
    pub a: ContentHash,
    /// The other one.
    pub b: ContentHash,
}

/// Pairs collected so far. Holds 4 bytes of difference and at most 4 bytes of latency for each pair.
#[derive(Debug)]
pub struct Pairing {
    protect: Arc<HashSet<CaseId>>,
    scorer: Option<ContentHash>,
    differences: Vec<i32>,
    latencies: Vec<u32>,
    sum_a: u64,
    sum_b: u64,
    cost_a: MicroUsd,
    cost_b: MicroUsd,
    wins: u64,
    losses: u64,
    regressions: Vec<CaseId>,
    unverified: Vec<CaseId>,
}

impl Pairing {
    /// No pairs yet. Cases in `protect` are named when the second side is worse on them or has no result.
    pub fn new(protect: Arc<HashSet<CaseId>>) -> Self {
        Self {
            protect,
            scorer: None,
            differences: Vec::new(),
            latencies: Vec::new(),
            sum_a: 0,
            sum_b: 0,
            cost_a: MicroUsd::ZERO,
            cost_b: MicroUsd::ZERO,
            wins: 0,
            losses: 0,
            regressions: Vec::new(),
            unverified: Vec::new(),
        }
    }

    /// Adds one case, scored on both sides: `a` by the incumbent, `b` by the candidate. It is left out where either does
    /// not count. Refused where the scorers differ, from each other or from those of earlier pairs.
    pub fn add(&mut self, a: &ScoredCase, b: &ScoredCase) -> Result<(), ScorerMismatch> {
        let known = *self.scorer.get_or_insert(a.score.scorer);
        if let Some(other) = [a.score.scorer, b.score.scorer]
            .into_iter()
            .find(|scorer| *scorer != known)
        {
            return Err(ScorerMismatch {
                case: a.score.case_id.clone(),
                a: known,
                b: other,
            });
        }
        if !b.score.status.counts() {
            self.lacks(&b.score.case_id);
            return Ok(());
        }
        if !a.score.status.counts() {
            return Ok(());
        }
        let (score_a, score_b) = (micro(a.score.score), micro(b.score.score));
        self.sum_a += u64::from(score_a);
        self.sum_b += u64::from(score_b);
        // both are at most a million, so the difference fits
        self.differences.push(score_b as i32 - score_a as i32);
        if score_b > score_a {
            self.wins += 1;
        }
        if score_b < score_a {
            self.losses += 1;
            if self.protect.contains(&b.score.case_id) {
                self.regressions.push(b.score.case_id.clone());
            }
        }
        self.cost_a += a.full_cost;
        self.cost_b += b.full_cost;
        self.latencies.extend(b.full_ms);
        Ok(())
    }

    /// Notes a case of which the candidate has no result.
    pub fn lacks(&mut self, case: &CaseId) {
        if self.protect.contains(case) {
            self.unverified.push(case.clone());
        }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.differences.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// The comparison, out of `expected_pairs` that should have been there. Deterministic in the pairs, their order and
    /// the seed. May take seconds for a million pairs with many different values.
    pub fn finish(mut self, expected_pairs: u64, confidence: f64, seed: u64) -> Comparison {
        let pairs = self.differences.len() as u64;
        let mean = |sum: f64| {
            if pairs == 0 {
                0.0
            } else {
                sum / 1e6 / pairs as f64
            }
        };
        let bootstrap = paired_bootstrap(&self.differences, confidence, seed);
        Comparison {
            pairs,
            expected_pairs,
            mean_a: mean(self.sum_a as f64),
            mean_b: mean(self.sum_b as f64),
            gain: mean(self.sum_b as f64 - self.sum_a as f64),
            interval: bootstrap.interval,
            confidence,
            p_value: bootstrap.p_value,
            wins: self.wins,
            losses: self.losses,
            resamples: bootstrap.resamples,
            protected_regressions: self.regressions,
            protected_missing: self.unverified,
            cost_ratio: (self.cost_a > MicroUsd::ZERO)
                .then(|| self.cost_b.0 as f64 / self.cost_a.0 as f64),
            latency_p95_s: (self.latencies.len() == self.differences.len())
                .then(|| nearest_rank(&mut self.latencies, 0.95))
                .flatten()
                .map(|milliseconds| f64::from(milliseconds) / 1e3),
        }
    }
}

fn micro(score: f64) -> u32 {
    (score.clamp(0.0, 1.0) * 1e6).round() as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fapo_domain::ids::EvaluationId;
    use fapo_domain::model::score::{CaseScore, ScoreStatus};
    use proptest::prelude::*;

    use super::*;

    fn scored(ordinal: u64, status: ScoreStatus, score: f64) -> ScoredCase {
        ScoredCase {
            score: CaseScore {
                evaluation: EvaluationId(ContentHash::of(b"e")),
                ordinal,
                case_id: CaseId::new(format!("c{ordinal}")),
                status,
                score,
                breakdown: BTreeMap::new(),
                feedback: String::new(),
                scorer: ContentHash::of(b"s"),
            },
            full_cost: MicroUsd(10),
            uncached_ms: None,
            full_ms: Some(100 * (ordinal as u32 + 1)),
        }
    }

    fn compare(pairs: &[(ScoredCase, ScoredCase)], protect: &[&str]) -> Comparison {
        let protect = protect.iter().map(CaseId::new).collect();
        let mut pairing = Pairing::new(Arc::new(protect));
        for (a, b) in pairs {
            pairing.add(a, b).unwrap();
        }
        pairing.finish(pairs.len() as u64, 0.9, 1)
    }

    #[test]
    fn everything_is_counted_over_the_pairs() {
        use ScoreStatus::{Failed, Missing, Scored};
        let mut pairs = vec![
            (scored(0, Scored, 0.0), scored(0, Scored, 1.0)),
            (scored(1, Scored, 1.0), scored(1, Failed, 0.0)),
            (scored(2, Scored, 0.5), scored(2, Scored, 0.5)),
            (scored(3, Missing, 0.0), scored(3, Scored, 1.0)),
            (scored(4, Scored, 1.0), scored(4, Missing, 0.0)),
            (scored(5, Failed, 0.0), scored(5, Scored, 0.75)),
        ];
        pairs[0].1.full_cost = MicroUsd(25);
        let result = compare(&pairs, &["c1", "c4", "c0"]);
        assert_eq!((result.pairs, result.expected_pairs), (4, 6));
        assert!((result.coverage() - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!((result.wins, result.losses), (2, 1));
        assert_eq!((result.mean_a, result.mean_b), (0.375, 0.5625));
        assert!((result.gain - 0.1875).abs() < 1e-12);
        assert_eq!(result.protected_regressions, [CaseId::new("c1")]);
        assert_eq!(result.protected_missing, [CaseId::new("c4")]);
        assert_eq!(result.cost_ratio, Some(55.0 / 40.0));
        // of 0.1, 0.2, 0.3 and 0.6 seconds (ordinals 0, 1, 2 and 5), though all were cache hits
        assert_eq!(result.latency_p95_s, Some(0.6));
        pairs[2].1.full_ms = None;
        let unknown = compare(&pairs, &[]);
        assert_eq!(
            unknown.latency_p95_s, None,
            "a part says nothing of the whole"
        );
        assert!(result.interval.0 <= result.gain && result.gain <= result.interval.1);
        assert_eq!(result.resamples, 5_000);
    }

    #[test]
    fn no_pairs_are_no_evidence() {
        let result = Pairing::new(Arc::default()).finish(10, 0.9, 1);
        assert_eq!((result.pairs, result.p_value, result.gain), (0, 1.0, 0.0));
        assert_eq!(
            (result.coverage(), result.cost_ratio, result.latency_p95_s),
            (0.0, None, None)
        );
    }

    #[test]
    fn a_free_incumbent_has_no_cost_ratio() {
        let (mut a, b) = (
            scored(0, ScoreStatus::Scored, 1.0),
            scored(0, ScoreStatus::Scored, 1.0),
        );
        a.full_cost = MicroUsd::ZERO;
        assert_eq!(compare(&[(a, b)], &[]).cost_ratio, None);
    }

    #[test]
    fn scores_of_two_scorers_are_refused() {
        let mut pairing = Pairing::new(Arc::default());
        let a = scored(0, ScoreStatus::Scored, 1.0);
        let mut b = a.clone();
        pairing.add(&a, &b).unwrap();
        b.score.scorer = ContentHash::of(b"other");
        assert_eq!(pairing.add(&a, &b).unwrap_err().case, CaseId::new("c0"));
        assert!(pairing.add(&b, &b).is_err());
        assert_eq!(pairing.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn counts_agree_with_the_pairs_and_swapping_sides_swaps_them(
            values in prop::collection::vec((0u32..=2, 0u32..=2, 0u32..10, 0u32..10), 0..40)
        ) {
            let status = |draw: u32| if draw == 0 { ScoreStatus::Missing } else { ScoreStatus::Scored };
            let pairs: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(at, (a, b, lost_a, lost_b))| (
                    scored(at as u64, status(*lost_a), f64::from(*a) / 2.0),
                    scored(at as u64, status(*lost_b), f64::from(*b) / 2.0),
                ))
                .collect();
            let swapped: Vec<_> = pairs.iter().cloned().map(|(a, b)| (b, a)).collect();
            let (here, there) = (compare(&pairs, &[]), compare(&swapped, &[]));
            let kept: Vec<_> = values.iter().filter(|(_, _, a, b)| *a > 0 && *b > 0).collect();
            prop_assert_eq!(here.pairs, kept.len() as u64);
            prop_assert_eq!(here.wins, kept.iter().filter(|(a, b, _, _)| b > a).count() as u64);
            prop_assert_eq!((here.wins, here.losses), (there.losses, there.wins));
            prop_assert_eq!((here.mean_a, here.mean_b), (there.mean_b, there.mean_a));
            prop_assert!((here.gain + there.gain).abs() < 1e-12);
            prop_assert!((here.gain - (here.mean_b - here.mean_a)).abs() < 1e-9);
            prop_assert!(here.wins > 0 || here.p_value == 1.0, "{:?}", here);
        }
    }
}
