//! Figures that several commands show alike.

use fapo_domain::ports::ledger::Balance;
use serde::Serialize;

use crate::output::format;
use crate::report::data::{Score, Versus};

/// A mean for JSON.
#[derive(Debug, Serialize)]
pub struct Mean {
    mean: f64,
    low: f64,
    high: f64,
    cases: u64,
    counted: u64,
    /// Model calls per case, as without a cache.
    calls_per_case: Option<f64>,
    /// Dollars per case, as without a cache.
    usd_per_case: Option<f64>,
}

impl Mean {
    fn new(score: &Score) -> Self {
        Self {
            mean: score.mean,
            low: score.low,
            high: score.high,
            cases: score.cases,
            counted: score.counted,
            calls_per_case: score.calls_per_case(),
            usd_per_case: score.usd_per_case(),
        }
    }
}

/// Baseline against best on one split, for JSON.
#[derive(Debug, Serialize)]
pub struct Side {
    baseline: Mean,
    best: Mean,
    gain: Option<f64>,
    interval: Option<(f64, f64)>,
    confidence: Option<f64>,
    p_value: Option<f64>,
    cost_ratio: Option<f64>,
}

impl Side {
    /// The figures of one split.
    pub fn new(versus: &Versus) -> Self {
        let comparison = versus.comparison.as_ref();
        Self {
            baseline: Mean::new(&versus.baseline),
            best: Mean::new(&versus.best),
            gain: comparison.map(|c| c.gain),
            interval: comparison.map(|c| c.interval),
            confidence: comparison.map(|c| c.confidence),
            p_value: comparison.map(|c| c.p_value),
            cost_ratio: comparison.and_then(|c| c.cost_ratio),
        }
    }
}

/// What a case takes, as without a cache: the baseline's, then the best's where it is another. `None` where no case
/// counts.
pub fn per_case(versus: &Versus, improved: bool) -> Option<String> {
    let (calls, usd) = (Score::calls_per_case, Score::usd_per_case);
    let (base, best) = (&versus.baseline, &versus.best);
    let (base_calls, base_usd) = (format::per_case(calls(base)?), format::usd(usd(base)?));
    if !improved {
        return Some(format!(
            "per case: model calls {base_calls}, cost {base_usd}"
        ));
    }
    let ratio = versus
        .comparison
        .as_ref()
        .and_then(|comparison| comparison.cost_ratio)
        .map_or_else(String::new, |ratio| format!(" ({})", format::ratio(ratio)));
    Some(format!(
        "per case: model calls {base_calls} → {}, cost {base_usd} → {}{ratio}",
        format::per_case(calls(best)?),
        format::usd(usd(best)?)
    ))
}

/// What was spent, by role.
#[derive(Debug, Serialize)]
pub struct Spending {
    usd: f64,
    model_calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    by_role: Vec<RoleSpending>,
}

/// What one role spent.
#[derive(Debug, Serialize)]
pub struct RoleSpending {
    role: &'static str,
    usd: f64,
    model_calls: u64,
}

/// A job's account in figures.
pub fn spending(balance: &Balance) -> Spending {
    let total = balance.total();
    let mut by_role: Vec<RoleSpending> = balance
        .spent
        .iter()
        .filter(|(_, spend)| spend.model_calls > 0 || spend.cost.0 > 0)
        .map(|(role, spend)| RoleSpending {
            role: role.as_str(),
            usd: spend.cost.usd(),
            model_calls: spend.model_calls,
        })
        .collect();
    if balance.lost.model_calls > 0 || balance.lost.cost.0 > 0 {
        by_role.push(RoleSpending {
            role: "lost replies",
            usd: balance.lost.cost.usd(),
            model_calls: balance.lost.model_calls,
        });
    }
    Spending {
        usd: total.cost.usd(),
        model_calls: total.model_calls,
        input_tokens: total.usage.input_tokens,
        output_tokens: total.usage.output_tokens,
        by_role,
    }
}

impl Spending {
    /// Dollars in all.
    pub const fn usd(&self) -> f64 {
        self.usd
    }

    /// Calls in all.
    pub const fn model_calls(&self) -> u64 {
        self.model_calls
    }

    /// In one line.
    pub fn line(&self) -> String {
        let money = |usd: f64| fapo_domain::MicroUsd::from_usd(usd).to_string();
        let roles = self
            .by_role
            .iter()
            .map(|role| {
                format!(
                    "{} {} ({})",
                    role.role,
                    money(role.usd),
                    format::counted(role.model_calls, "call")
                )
            })
            .collect::<Vec<_>>();
        format!(
            "spent   {} in {}{}",
            money(self.usd),
            format::counted(self.model_calls, "model call"),
            if roles.len() > 1 {
                format!(": {}", roles.join(", "))
            } else {
                String::new()
            }
        )
    }
}
