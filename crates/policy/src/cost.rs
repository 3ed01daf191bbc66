//! What a candidate costs over the baseline.

use std::fmt;

use fapo_domain::Spend;
use fapo_domain::model::score::ScoreSummary;
use serde::Serialize;

/// What two variants are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostBasis {
    /// Money.
    Money,
    /// Tokens in and out: neither side costs money, because its models are free or have no price.
    Tokens,
    /// Model calls: neither side costs money, and at least one was not told its tokens.
    ModelCalls,
}

/// A candidate's cost over the baseline's: per case that counts, and without a cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostRatio {
    /// The ratio; infinite where only the candidate costs anything.
    pub ratio: f64,
    /// What it is a ratio of.
    pub basis: CostBasis,
}

impl CostRatio {
    /// The ratio of two evaluations; `None` where one of them has no case that counts.
    pub fn of(candidate: &ScoreSummary, baseline: &ScoreSummary) -> Option<Self> {
        let per_case = |value: fn(&Spend) -> u64| {
            let one = |summary: &ScoreSummary| {
                let counted = summary.counted();
                (counted > 0).then(|| value(&summary.full_spend) as f64 / counted as f64)
            };
            Some((one(candidate)?, one(baseline)?))
        };
        let money = per_case(|spend| spend.cost.0)?;
        let tokens = per_case(|spend| spend.usage.input_tokens + spend.usage.output_tokens)?;
        let calls = per_case(|spend| spend.model_calls)?;
        let ((candidate, baseline), basis) = if money != (0.0, 0.0) {
            (money, CostBasis::Money)
        } else if tokens.0 > 0.0 && tokens.1 > 0.0 {
            (tokens, CostBasis::Tokens)
        } else {
            (calls, CostBasis::ModelCalls)
        };
        let ratio = if candidate == baseline {
            1.0 // both may be zero
        } else {
            candidate / baseline
        };
        Some(Self { ratio, basis })
    }
}

impl fmt::Display for CostRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.ratio;
        match (self.basis, ratio.is_finite()) {
            (CostBasis::Money, true) => write!(f, "it costs {ratio:.2} times the baseline"),
            (CostBasis::Money, false) => f.write_str("it costs money, unlike the baseline"),
            (CostBasis::Tokens, _) => write!(f, "it takes {ratio:.2} times the baseline's tokens"),
            (CostBasis::ModelCalls, true) => {
                write!(f, "it makes {ratio:.2} times the baseline's model calls")
            }
            (CostBasis::ModelCalls, false) => {
                f.write_str("it makes model calls, unlike the baseline")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fapo_domain::model::score::ScoreStatus;
    use fapo_domain::{MicroUsd, Usage};

    use super::*;

    fn summary(cases: u64, cost: u64, tokens: u64, model_calls: u64) -> ScoreSummary {
        ScoreSummary {
            counts: BTreeMap::from([(ScoreStatus::Scored, cases), (ScoreStatus::Missing, 5)]),
            full_spend: Spend {
                cost: MicroUsd(cost),
                model_calls,
                usage: Usage {
                    input_tokens: tokens - tokens / 4,
                    output_tokens: tokens / 4,
                    ..Usage::default()
                },
            },
            ..ScoreSummary::default()
        }
    }

    #[test]
    fn a_free_baseline_is_compared_by_tokens_or_calls_and_never_passes_for_unlimited() {
        use CostBasis::{ModelCalls, Money, Tokens};
        let of = |candidate, baseline| {
            let found = CostRatio::of(&candidate, &baseline).unwrap();
            (found.ratio, found.basis)
        };
        let paid = summary(10, 1000, 400, 10);
        assert_eq!(of(summary(20, 3000, 400, 10), paid.clone()), (1.5, Money));
        let free = summary(10, 0, 400, 10);
        assert_eq!(of(paid.clone(), free.clone()), (f64::INFINITY, Money));
        assert_eq!(of(free.clone(), paid), (0.0, Money));
        assert_eq!(of(summary(10, 0, 1000, 20), free.clone()), (2.5, Tokens));
        assert_eq!(of(summary(10, 0, 0, 30), free), (3.0, ModelCalls));
        let callless = summary(10, 0, 0, 0);
        assert_eq!(of(callless.clone(), callless.clone()), (1.0, ModelCalls));
        let calls = of(summary(10, 0, 9, 10), callless.clone());
        assert_eq!(calls, (f64::INFINITY, ModelCalls));
        assert_eq!(CostRatio::of(&summary(0, 0, 0, 0), &callless), None);
    }
}
