//! Scores. A case's result is scored, or it says why it has no score; `missing` is never a zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::ids::{CaseId, EvaluationId};

/// How a case's result counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreStatus {
    /// The scorer gave a score.
    Scored,
    /// The candidate's own fault; counts 0.
    Failed,
    /// Infrastructure; does not count at all.
    Missing,
    /// The model declined; counts 0.
    Refused,
    /// The case's time limit passed; counts 0.
    TimedOut,
}

impl ScoreStatus {
    /// Whether the case counts in means and comparisons.
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Missing)
    }

    /// The name in rows and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
        }
    }
}

/// One case's score under one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseScore {
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// The case's ordinal in its split.
    pub ordinal: u64,
    /// The case's name.
    pub case_id: CaseId,
    /// How the result counts.
    pub status: ScoreStatus,
    /// In `[0, 1]`; 0 for every status but `Scored` (and not counted at all for `Missing`).
    pub score: f64,
    /// Every metric by name, each in `[0, 1]`, the maximized one included.
    pub breakdown: BTreeMap<String, f64>,
    /// One line: what was wrong, or empty when nothing was.
    pub feedback: String,
    /// Hash of the scorer that gave it. Scores of two versions are never compared.
    pub scorer: ContentHash,
}

/// Sums over an evaluation, exact and independent of order: scores are counted in millionths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreSummary {
    /// Cases per status.
    pub counts: BTreeMap<ScoreStatus, u64>,
    /// Sum of the maximized metric over counting cases, in millionths.
    pub sum_micro: u64,
    /// The same for each metric of the breakdown.
    pub metrics_micro: BTreeMap<String, u64>,
    /// What the runs cost (cache hits cost nothing).
    pub spend: crate::money::Spend,
    /// What the runs that count would have cost without a cache: the basis of cost ratios and of predictions. Unlike
    /// `spend` it does not depend on what happened to be in the cache.
    pub full_spend: crate::money::Spend,
}

impl ScoreSummary {
    /// Counts one score in.
    pub fn add(&mut self, score: &CaseScore) {
        *self.counts.entry(score.status).or_default() += 1;
        if score.status.counts() {
            self.sum_micro += micro(score.score);
            for (name, value) in &score.breakdown {
                *self.metrics_micro.entry(name.clone()).or_default() += micro(*value);
            }
        }
    }

    /// Joins two disjoint parts of one evaluation.
    pub fn merge(&mut self, other: &Self) {
        for (status, count) in &other.counts {
            *self.counts.entry(*status).or_default() += count;
        }
        self.sum_micro += other.sum_micro;
        for (name, value) in &other.metrics_micro {
            *self.metrics_micro.entry(name.clone()).or_default() += value;
        }
        self.spend += other.spend;
        self.full_spend += other.full_spend;
    }

    /// Cases of any status.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Cases that count.
    pub fn counted(&self) -> u64 {
        self.counts
            .iter()
            .filter(|(status, _)| status.counts())
            .map(|(_, count)| count)
            .sum()
    }

    /// Cases of one status.
    pub fn count(&self, status: ScoreStatus) -> u64 {
        self.counts.get(&status).copied().unwrap_or(0)
    }

    /// Mean of the maximized metric over counting cases; `None` when none counts.
    pub fn mean(&self) -> Option<f64> {
        let counted = self.counted();
        (counted > 0).then(|| self.sum_micro as f64 / 1e6 / counted as f64)
    }

    /// Mean of one metric over counting cases; `None` when none counts or the metric is unknown.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let counted = self.counted();
        let sum = self.metrics_micro.get(name)?;
        (counted > 0).then(|| *sum as f64 / 1e6 / counted as f64)
    }
}

fn micro(value: f64) -> u64 {
    (value.clamp(0.0, 1.0) * 1e6).round() as u64
}

/// A paired comparison of two evaluations over the same cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Cases in both evaluations that count in both.
    pub pairs: u64,
    /// Cases that should have been in both.
    pub expected_pairs: u64,
    /// Mean of the first (the incumbent) over the pairs.
    pub mean_a: f64,
    /// Mean of the second (the candidate) over the pairs.
    pub mean_b: f64,
    /// Mean of the differences, second minus first.
    pub gain: f64,
    /// Bootstrap percentile interval of the gain at `confidence`.
    pub interval: (f64, f64),
    /// Its two-sided confidence, such as 0.9.
    pub confidence: f64,
    /// Share of bootstrap resamples whose mean difference is at or below zero (with the add-one correction of Davison
    /// & Hinkley 1997, 4.2): a one-sided p-value for "no gain".
    pub p_value: f64,
    /// Pairs the second wins.
    pub wins: u64,
    /// Pairs the first wins.
    pub losses: u64,
    /// Bootstrap resamples drawn.
    pub resamples: u32,
    /// Protected cases on which the second is worse.
    pub protected_regressions: Vec<CaseId>,
    /// Protected cases of which the second has no result, so that nobody knows whether it is worse.
    #[serde(default)]
    pub protected_missing: Vec<CaseId>,
    /// Cost of the second over cost of the first, both counted without a cache; `None` where the first is free.
    pub cost_ratio: Option<f64>,
    /// 95th percentile of the second's case latency in seconds, as it would be without a cache; `None` where it is not
    /// known of every pair, or there are none.
    pub latency_p95_s: Option<f64>,
}

impl Comparison {
    /// The share of expected pairs that are there.
    pub fn coverage(&self) -> f64 {
        if self.expected_pairs == 0 {
            0.0
        } else {
            self.pairs as f64 / self.expected_pairs as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::ContentHash;

    fn score(status: ScoreStatus, value: f64) -> CaseScore {
        CaseScore {
            evaluation: EvaluationId(ContentHash::of(b"e")),
            ordinal: 0,
            case_id: CaseId::new("c"),
            status,
            score: value,
            breakdown: BTreeMap::from([("exact_match".to_owned(), value)]),
            feedback: String::new(),
            scorer: ContentHash::of(b"s"),
        }
    }

    #[test]
    fn missing_is_never_a_zero_and_failed_is() {
        let mut summary = ScoreSummary::default();
        assert_eq!(summary.mean(), None);
        summary.add(&score(ScoreStatus::Missing, 0.0));
        assert_eq!(summary.mean(), None);
        summary.add(&score(ScoreStatus::Scored, 1.0));
        assert_eq!(summary.mean(), Some(1.0));
        summary.add(&score(ScoreStatus::Failed, 0.0));
        assert_eq!(summary.mean(), Some(0.5));
        assert_eq!(summary.metric("exact_match"), Some(0.5));
        assert_eq!((summary.total(), summary.counted()), (3, 2));
    }
}
