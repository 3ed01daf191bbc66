//! What may still be spent. The ledger stops work at a cap whatever happens; this module stops the search before it
//! gets there, so that what was begun can be finished and the sealed test can still be paid.

use fapo_domain::model::project::BudgetSpec;
use fapo_domain::model::score::ScoreSummary;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::ledger::{Amount, Balance, Caps};
use fapo_domain::{MicroUsd, Spend};

/// How much more than its prediction is held back for the sealed test: what a case costs varies.
pub const MARGIN: f64 = 1.1;

/// The ledger's caps for a budget.
pub fn caps(budget: &BudgetSpec) -> Caps {
    Caps {
        cost: budget.usd.map(MicroUsd::from_usd),
        model_calls: budget.model_calls,
    }
}

/// What one case costs, as far as it was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PerCase {
    /// Micro-dollars, without a cache.
    pub cost: f64,
    /// Model calls, without a cache.
    pub model_calls: f64,
}

impl PerCase {
    /// The mean over an evaluation's cases that count.
    pub fn of(summary: &ScoreSummary) -> Self {
        let cases = summary.counted();
        if cases == 0 {
            return Self::default();
        }
        Self {
            cost: summary.full_spend.cost.0 as f64 / cases as f64,
            model_calls: summary.full_spend.model_calls as f64 / cases as f64,
        }
    }

    /// The larger of each part.
    pub fn max(self, other: Self) -> Self {
        Self {
            cost: self.cost.max(other.cost),
            model_calls: self.model_calls.max(other.model_calls),
        }
    }

    /// What `cases` cases cost.
    pub fn times(self, cases: f64) -> Amount {
        Amount {
            cost: MicroUsd((self.cost * cases).ceil() as u64),
            model_calls: (self.model_calls * cases).ceil() as u64,
        }
    }
}

/// What is left under the caps; `None` where there is no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Money.
    pub cost: Option<MicroUsd>,
    /// Model calls.
    pub model_calls: Option<u64>,
}

/// What an account has left: caps less what is spent, lost and reserved.
pub fn left(balance: &Balance) -> Left {
    let total = balance.total();
    Left {
        cost: balance.caps.cost.map(|cap| {
            cap.saturating_sub(total.cost)
                .saturating_sub(balance.reserved.cost)
        }),
        model_calls: balance.caps.model_calls.map(|cap| {
            cap.saturating_sub(total.model_calls)
                .saturating_sub(balance.reserved.model_calls)
        }),
    }
}

impl Left {
    /// How many times `one` fits after `held_back` was put aside; `None` where nothing limits it.
    pub fn fits(&self, held_back: Amount, one: Amount) -> Option<u64> {
        let times = |left: Option<u64>, held: u64, one: u64| {
            left.and_then(|left| left.saturating_sub(held).checked_div(one))
        };
        // an account at zero fits nothing, even where the prediction is zero
        let spent = self.cost == Some(MicroUsd::ZERO) && one.cost > MicroUsd::ZERO
            || self.model_calls == Some(0);
        let by_cost = times(self.cost.map(|left| left.0), held_back.cost.0, one.cost.0);
        let by_calls = times(self.model_calls, held_back.model_calls, one.model_calls);
        let fits = match (by_cost, by_calls) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        if spent { Some(0) } else { fits }
    }
}

/// What writing, reading and reviewing one proposal cost on average so far.
pub fn per_proposal(balance: &Balance, asked: u32) -> Amount {
    let spend: Spend = balance
        .spent
        .iter()
        .filter(|(role, _)| {
            matches!(
                role,
                SpendRole::Proposer | SpendRole::Reviewer | SpendRole::Diagnosis
            )
        })
        .map(|(_, spend)| *spend)
        .sum();
    let asked = u64::from(asked.max(1));
    Amount {
        cost: MicroUsd(spend.cost.0.div_ceil(asked)),
        model_calls: spend.model_calls.div_ceil(asked),
    }
}

/// Both amounts together.
pub fn plus(a: Amount, b: Amount) -> Amount {
    Amount {
        cost: a.cost + b.cost,
        model_calls: a.model_calls.saturating_add(b.model_calls),
    }
}

/// An amount in words: `$1.20 and 40 model calls`.
pub fn words(amount: Amount) -> String {
    format!("{} and {} model calls", amount.cost, amount.model_calls)
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.cost, self.model_calls) {
            (Some(cost), Some(calls)) => write!(f, "{cost} and {calls} model calls"),
            (Some(cost), None) => write!(f, "{cost}"),
            (None, Some(calls)) => write!(f, "{calls} model calls"),
            (None, None) => f.write_str("no limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fapo_domain::model::score::ScoreStatus;

    use super::*;

    fn account(cap_usd: Option<f64>, calls: Option<u64>, spent: Spend) -> Balance {
        Balance {
            caps: caps(&BudgetSpec {
                usd: cap_usd,
                model_calls: calls,
                ..BudgetSpec::default()
            }),
            spent: vec![(SpendRole::Task, spent)],
            ..Balance::default()
        }
    }

    fn amount(micro: u64, model_calls: u64) -> Amount {
        Amount {
            cost: MicroUsd(micro),
            model_calls,
        }
    }

    #[test]
    fn a_case_costs_what_it_costs_without_a_cache_and_missing_ones_do_not_make_it_cheap() {
        let summary = ScoreSummary {
            counts: BTreeMap::from([(ScoreStatus::Scored, 8), (ScoreStatus::Missing, 2)]),
            full_spend: Spend {
                cost: MicroUsd(800),
                model_calls: 16,
                ..Spend::default()
            },
            ..ScoreSummary::default()
        };
        let one = PerCase::of(&summary);
        assert_eq!((one.cost, one.model_calls), (100.0, 2.0));
    }

    #[test]
    fn the_tightest_cap_decides_how_often_something_fits() {
        let spent = Spend {
            cost: MicroUsd(400_000),
            model_calls: 40,
            ..Spend::default()
        };
        let left = left(&account(Some(1.0), Some(100), spent));
        assert_eq!(left.cost, Some(MicroUsd(600_000)));
        assert_eq!(left.model_calls, Some(60));
        assert_eq!(left.fits(amount(100_000, 10), amount(100_000, 20)), Some(2));
        assert_eq!(left.fits(amount(100_000, 10), amount(300_000, 1)), Some(1));
        assert_eq!(left.fits(amount(700_000, 0), amount(1, 0)), Some(0));
    }

    #[test]
    fn without_a_cap_or_for_free_nothing_limits() {
        let open = left(&account(None, None, Spend::default()));
        assert_eq!(open.fits(amount(9, 9), amount(9, 9)), None);
        let free_model = left(&account(Some(1.0), None, Spend::default()));
        assert_eq!(free_model.fits(amount(0, 0), amount(0, 5)), None);
    }

    #[test]
    fn an_account_without_calls_fits_nothing_though_the_prediction_is_nothing() {
        let spent = Spend {
            model_calls: 10,
            ..Spend::default()
        };
        let left = left(&account(None, Some(10), spent));
        assert_eq!(left.fits(amount(0, 0), amount(0, 0)), Some(0));
    }

    #[test]
    fn lost_and_reserved_amounts_are_gone() {
        let mut balance = account(Some(1.0), Some(10), Spend::default());
        balance.lost = amount(100_000, 1);
        balance.reserved = amount(200_000, 2);
        assert_eq!(left(&balance).cost, Some(MicroUsd(700_000)));
        assert_eq!(left(&balance).model_calls, Some(7));
    }
}
