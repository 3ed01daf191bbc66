//! The gates a candidate passes: the screen on train, then the gate on val.
//!
//! Both see paired comparisons at looks after 1, 2, 4... blocks and at the end. Before the end a look can only drop a
//! candidate (futility), never promote it, so looking early costs nothing of the promotion's error rate.

use fapo_domain::CaseId;
use fapo_domain::model::decision::GateOutcome;
use fapo_domain::model::project::{AcceptanceRule, AcceptanceSpec, ConstraintSpec};
use fapo_domain::model::score::Comparison;
use serde_json::{Value, json};

use crate::cost::CostRatio;

/// Where in the case order a comparison was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Cases of the evaluation.
    pub cases: u64,
    /// Whether every case was to be seen.
    pub full: bool,
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The candidate's fate; `None` where it goes on to the next look.
    pub outcome: Option<GateOutcome>,
    /// One line for people.
    pub reason: String,
    /// The numbers the rule looked at.
    pub evidence: Value,
    /// Whether it won, and breaks a condition.
    pub breaks_condition: bool,
}

/// The screen on train: drops a candidate that is most likely no better than its parent, as early as that shows.
pub fn screen(acceptance: &AcceptanceSpec, comparison: &Comparison, look: Look) -> Verdict {
    let gate = Gate {
        acceptance,
        comparison,
        look,
        seen: seen("train screen", comparison, look),
        evidence: json!({
            "rule": "screen",
            "threshold": acceptance.screen,
            "coverage": comparison.coverage(),
            "min_coverage": acceptance.coverage,
            "pairs": comparison.pairs,
            "of": look.cases,
            "gain": comparison.gain,
            "p_value": comparison.p_value,
            "protected_regressions": comparison.protected_regressions,
            "protected_missing": comparison.protected_missing,
        }),
    };
    if let Some(verdict) = gate.too_few().or_else(|| gate.futile()) {
        return verdict;
    }
    if !look.full {
        return gate.goes_on();
    }
    let seen = &gate.seen;
    if comparison.gain <= 0.0 {
        return gate.says(GateOutcome::Reject, format!("{seen}: no gain"));
    }
    if let Some(reason) = protected(seen, comparison) {
        return gate.says(GateOutcome::Reject, reason);
    }
    if let Some(reason) = unverified(seen, comparison) {
        return gate.says(GateOutcome::Undecided, reason);
    }
    gate.says(
        GateOutcome::Pass,
        format!(
            "{seen}, chance of no gain {:.2} < {}: goes on to val",
            comparison.p_value, acceptance.screen
        ),
    )
}

/// The gate on val, which decides about a promotion. `cost` is the candidate's cost over the *baseline's*, `None` where it
/// is not known (yet).
pub fn validate(
    acceptance: &AcceptanceSpec,
    constraints: &ConstraintSpec,
    comparison: &Comparison,
    look: Look,
    cost: Option<CostRatio>,
) -> Verdict {
    let rule = match acceptance.rule {
        AcceptanceRule::PairedBootstrap => "paired_bootstrap",
        AcceptanceRule::Mean => "mean",
    };
    let gate = Gate {
        acceptance,
        comparison,
        look,
        seen: seen("val gate", comparison, look),
        evidence: json!({
            "rule": rule,
            "alpha": acceptance.alpha,
            "min_gain": acceptance.min_gain,
            "screen": acceptance.screen,
            "coverage": comparison.coverage(),
            "min_coverage": acceptance.coverage,
            "pairs": comparison.pairs,
            "of": look.cases,
            "mean_a": comparison.mean_a,
            "mean_b": comparison.mean_b,
            "gain": comparison.gain,
            "interval": [comparison.interval.0, comparison.interval.1],
            "confidence": comparison.confidence,
            "p_value": comparison.p_value,
            "cost_ratio_to_baseline": cost.map(|cost| cost.ratio),
            "cost_basis": cost.map(|cost| cost.basis),
            "max_cost_ratio": constraints.cost_ratio,
            "latency_p95_s": comparison.latency_p95_s,
            "max_latency_p95_s": constraints.latency_p95_s,
            "protected_regressions": comparison.protected_regressions,
            "protected_missing": comparison.protected_missing,
        }),
    };
    if let Some(verdict) = gate.too_few() {
        return verdict;
    }
    if !look.full {
        let dropped = match acceptance.rule {
            AcceptanceRule::PairedBootstrap => gate.futile(),
            // goes by the mean over all cases, whatever the noise
            AcceptanceRule::Mean => None,
        };
        return dropped.unwrap_or_else(|| gate.goes_on());
    }
    let seen = &gate.seen;
    if comparison.gain <= 0.0 || comparison.gain < acceptance.min_gain {
        return gate.says(
            GateOutcome::Reject,
            format!("{seen}, at least {} is needed", acceptance.min_gain),
        );
    }
    let won = match acceptance.rule {
        AcceptanceRule::Mean => format!("{seen}, at least {} is needed", acceptance.min_gain),
        AcceptanceRule::PairedBootstrap if comparison.p_value <= acceptance.alpha => format!(
            "{seen}, chance of no gain {:.3} <= {}",
            comparison.p_value, acceptance.alpha
        ),
        AcceptanceRule::PairedBootstrap => {
            return gate.says(
                GateOutcome::Branch,
                format!(
                    "{seen}, but chance of no gain {:.3} > {}: promising, no claim",
                    comparison.p_value, acceptance.alpha
                ),
            );
        }
    };
    if let Some(reason) = broken_condition(seen, constraints, comparison, cost) {
        return Verdict {
            breaks_condition: true,
            ..gate.says(GateOutcome::Reject, reason)
        };
    }
    if let Some(reason) = unknown_condition(seen, constraints, comparison, cost) {
        return gate.says(GateOutcome::Undecided, reason);
    }
    gate.says(GateOutcome::Promote, won)
}

/// What both gates look at, and what they say alike.
struct Gate<'a> {
    acceptance: &'a AcceptanceSpec,
    comparison: &'a Comparison,
    look: Look,
    /// What was seen, in words: the beginning of every reason.
    seen: String,
    evidence: Value,
}

impl Gate<'_> {
    fn verdict(&self, outcome: Option<GateOutcome>, reason: String) -> Verdict {
        Verdict {
            outcome,
            reason,
            evidence: self.evidence.clone(),
            breaks_condition: false,
        }
    }

    fn says(&self, outcome: GateOutcome, reason: String) -> Verdict {
        self.verdict(Some(outcome), reason)
    }

    fn goes_on(&self) -> Verdict {
        let (seen, p_value, screen) = (&self.seen, self.comparison.p_value, self.acceptance.screen);
        let reason = if p_value < screen {
            format!("{seen}, chance of no gain {p_value:.2} < {screen}: goes on")
        } else {
            format!("{seen}: goes on")
        };
        self.verdict(None, reason)
    }

    /// Too many pairs are missing for any decision.
    fn too_few(&self) -> Option<Verdict> {
        let (seen, coverage) = (&self.seen, self.comparison.coverage());
        if coverage >= self.acceptance.coverage {
            return None;
        }
        Some(if self.look.full {
            let reason = format!(
                "{seen}; only {:.0}% of the pairs have a result, {:.0}% are needed",
                coverage * 100.0,
                self.acceptance.coverage * 100.0
            );
            self.says(GateOutcome::Undecided, reason)
        } else {
            self.verdict(None, format!("{seen}; too few for a decision, goes on"))
        })
    }

    /// Drops a candidate before all pairs are seen.
    ///
    /// While no pair differs the bootstrap has nothing to draw from and says 1; that is no evidence against a rare mend.
    /// Then the rule of three decides (Hanley & Lippman-Hand 1983): after `n` pairs without a difference, differences are
    /// rarer than `3 / n` with 95 % confidence, and the candidate is dropped once that cannot reach the smallest gain that
    /// counts.
    fn futile(&self) -> Option<Verdict> {
        let (seen, comparison, acceptance) = (&self.seen, self.comparison, self.acceptance);
        let reason = if comparison.wins + comparison.losses == 0 {
            let largest_gain = 3.0 / comparison.pairs.max(1) as f64;
            (largest_gain < acceptance.min_gain).then(|| {
                format!(
                    "{seen}, no pair differs: a gain of {} can be ruled out",
                    acceptance.min_gain
                )
            })
        } else {
            (comparison.p_value >= acceptance.screen).then(|| {
                format!(
                    "{seen}, chance of no gain {:.2} >= {}",
                    comparison.p_value, acceptance.screen
                )
            })
        };
        reason.map(|reason| self.says(GateOutcome::Reject, reason))
    }
}

/// The first condition that a winner breaks, in words.
fn broken_condition(
    seen: &str,
    constraints: &ConstraintSpec,
    comparison: &Comparison,
    cost: Option<CostRatio>,
) -> Option<String> {
    if let (Some(limit), Some(cost)) = (constraints.cost_ratio, cost)
        && cost.ratio > limit
    {
        return Some(format!(
            "{seen}, but {cost}, at most {limit} is allowed (cost_ratio)"
        ));
    }
    if let (Some(limit), Some(p95)) = (constraints.latency_p95_s, comparison.latency_p95_s)
        && p95 > limit
    {
        return Some(format!(
            "{seen}, but 95% of cases take up to {p95:.1} s, at most {limit} s is allowed (latency_p95_s)"
        ));
    }
    protected(seen, comparison)
}

/// The first condition of which nobody knows whether a winner keeps it, in words: it must not pass for kept.
fn unknown_condition(
    seen: &str,
    constraints: &ConstraintSpec,
    comparison: &Comparison,
    cost: Option<CostRatio>,
) -> Option<String> {
    if constraints.cost_ratio.is_some() && cost.is_none() {
        return Some(format!(
            "{seen}, but its cost is not known, and cost_ratio limits it"
        ));
    }
    if constraints.latency_p95_s.is_some() && comparison.latency_p95_s.is_none() {
        return Some(format!(
            "{seen}, but it is not known how long all of its cases take, and latency_p95_s limits it"
        ));
    }
    unverified(seen, comparison)
}

fn protected(seen: &str, comparison: &Comparison) -> Option<String> {
    let cases = first_of(&comparison.protected_regressions)?;
    Some(format!("{seen}, but the protected case {cases} got worse"))
}

fn unverified(seen: &str, comparison: &Comparison) -> Option<String> {
    let cases = first_of(&comparison.protected_missing)?;
    Some(format!(
        "{seen}, but the protected case {cases} has no result"
    ))
}

/// `keep-1 and 2 more`.
fn first_of(cases: &[CaseId]) -> Option<String> {
    let (first, others) = cases.split_first()?;
    Some(match others.len() {
        0 => first.to_string(),
        more => format!("{first} and {more} more"),
    })
}

fn seen(gate: &str, comparison: &Comparison, look: Look) -> String {
    format!(
        "{gate}: {} of {} pairs seen, mean gain {:+.3}",
        comparison.pairs, look.cases, comparison.gain
    )
}

#[cfg(test)]
mod tests;
