//! Money, tokens and their sums. Money is counted in whole micro-dollars, rounded up per call, so sums are exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Millionths of a US dollar. Never negative; addition saturates.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From dollars, rounded up; negative or non-finite amounts become zero.
    pub fn from_usd(usd: f64) -> Self {
        if usd.is_finite() && usd > 0.0 {
            Self((usd * 1e6).ceil() as u64)
        } else {
            Self::ZERO
        }
    }

    /// In dollars.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// What is left after `other`, never below zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.usd();
        if self.0 != 0 && usd < 0.01 {
            write!(f, "${usd:.6}")
        } else {
            write!(f, "${usd:.2}")
        }
    }
}

/// Tokens of one or several model calls, as the provider counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the request, including those read from the provider's cache.
    pub input_tokens: u64,
    /// Tokens of the reply, including hidden reasoning.
    pub output_tokens: u64,
    /// Those of `input_tokens` that the provider served from its prompt cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// Those of `output_tokens` that are hidden reasoning.
    #[serde(default)]
    pub reasoning_tokens: u64,
}

impl Add for Usage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cached_input_tokens: self.cached_input_tokens + other.cached_input_tokens,
            reasoning_tokens: self.reasoning_tokens + other.reasoning_tokens,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What some work cost: real model calls only; a cache hit spends nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Money.
    pub cost: MicroUsd,
    /// Model calls that reached a provider and were answered.
    pub model_calls: u64,
    /// Their tokens.
    pub usage: Usage,
}

impl Add for Spend {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cost: self.cost + other.cost,
            model_calls: self.model_calls + other.model_calls,
            usage: self.usage + other.usage,
        }
    }
}

impl AddAssign for Spend {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Spend {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}

/// Who spends: each role's share is reported apart.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SpendRole {
    /// The pipeline's own model calls.
    Task,
    /// Model judges in scorers.
    Judge,
    /// Reading failures.
    Diagnosis,
    /// Writing proposals.
    Proposer,
    /// Reviewing proposals.
    Reviewer,
}

impl SpendRole {
    /// The name in rows and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Judge => "judge",
            Self::Diagnosis => "diagnosis",
            Self::Proposer => "proposer",
            Self::Reviewer => "reviewer",
        }
    }
}

/// What a model's tokens cost, in US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Dollars per million input tokens.
    pub input: f64,
    /// Dollars per million output tokens.
    pub output: f64,
    /// Dollars per million input tokens read from the provider's cache; `input` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
}

impl Price {
    /// A model that costs nothing, such as one on the user's own machine.
    pub const FREE: Self = Self {
        input: 0.0,
        output: 0.0,
        cached_input: None,
    };

    /// The price of `usage`, rounded up to a whole micro-dollar.
    pub fn cost(&self, usage: &Usage) -> MicroUsd {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        // dollars per million tokens are micro-dollars per token
        let micro = fresh as f64 * self.input
            + cached as f64 * self.cached_input.unwrap_or(self.input)
            + usage.output_tokens as f64 * self.output;
        MicroUsd((micro - 1e-9).ceil().max(0.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_what_the_table_says_rounded_up() {
        let price = Price {
            input: 0.4,
            output: 1.6,
            cached_input: Some(0.1),
        };
        let usage = Usage {
            input_tokens: 1000,
            cached_input_tokens: 500,
            output_tokens: 10,
            reasoning_tokens: 0,
        };
        assert_eq!(price.cost(&usage), MicroUsd(266)); // 500*0.4 + 500*0.1 + 10*1.6
        let one = Usage {
            input_tokens: 1,
            ..Usage::default()
        };
        assert_eq!(price.cost(&one), MicroUsd(1));
        assert_eq!(Price::FREE.cost(&usage), MicroUsd::ZERO);
    }
}
