//! The gates a candidate passes: the screen on train, then the gate on val.
//!
//! Both see paired comparisons at looks after 1, 2, 4... blocks and at the end. Before the end a look can only drop a
//! candidate (futility), never promote it, so looking early costs nothing of the promotion's error rate.

use fapo_domain::model::decision::GateOutcome;
use fapo_domain::model::project::{AcceptanceRule, AcceptanceSpec, ConstraintSpec};
use fapo_domain::model::score::Comparison;
use serde_json::{Value, json};

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
    let seen = seen("train screen", comparison, look);
    let evidence = json!({
        "rule": "screen",
        "threshold": acceptance.screen,
        "coverage": comparison.coverage(),
        "min_coverage": acceptance.coverage,
        "pairs": comparison.pairs,
        "of": look.cases,
        "gain": comparison.gain,
        "p_value": comparison.p_value,
        "protected_regressions": comparison.protected_regressions,
    });
    let verdict = |outcome: Option<GateOutcome>, reason: String| Verdict {
        outcome,
        reason,
        evidence: evidence.clone(),
        breaks_condition: false,
    };
    if comparison.coverage() < acceptance.coverage {
        return if look.full {
            verdict(
                Some(GateOutcome::Undecided),
                too_few(&seen, comparison, acceptance),
            )
        } else {
            verdict(None, format!("{seen}; too few for a decision, goes on"))
        };
    }
    if let Some(reason) = futile(&seen, acceptance, comparison) {
        return verdict(Some(GateOutcome::Reject), reason);
    }
    if !look.full {
        return verdict(
            None,
            format!(
                "{seen}, chance of no gain {:.2} < {}: goes on",
                comparison.p_value, acceptance.screen
            ),
        );
    }
    if comparison.gain <= 0.0 {
        return verdict(Some(GateOutcome::Reject), format!("{seen}: no gain"));
    }
    if let Some(reason) = protected(&seen, comparison) {
        return verdict(Some(GateOutcome::Reject), reason);
    }
    verdict(
        Some(GateOutcome::Pass),
        format!(
            "{seen}, chance of no gain {:.2} < {}: goes on to val",
            comparison.p_value, acceptance.screen
        ),
    )
}

/// The gate on val, which decides about a promotion. `cost_ratio` is the candidate's cost per case over the *baseline's*,
/// `None` where the baseline is free.
pub fn validate(
    acceptance: &AcceptanceSpec,
    constraints: &ConstraintSpec,
    comparison: &Comparison,
    look: Look,
    cost_ratio: Option<f64>,
) -> Verdict {
    let seen = seen("val gate", comparison, look);
    let rule = match acceptance.rule {
        AcceptanceRule::PairedBootstrap => "paired_bootstrap",
        AcceptanceRule::Mean => "mean",
    };
    let evidence = json!({
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
        "cost_ratio_to_baseline": cost_ratio,
        "max_cost_ratio": constraints.cost_ratio,
        "latency_p95_s": comparison.latency_p95_s,
        "max_latency_p95_s": constraints.latency_p95_s,
        "protected_regressions": comparison.protected_regressions,
    });
    let verdict = |outcome: Option<GateOutcome>, reason: String| Verdict {
        outcome,
        reason,
        evidence: evidence.clone(),
        breaks_condition: false,
    };
    if comparison.coverage() < acceptance.coverage {
        return if look.full {
            verdict(
                Some(GateOutcome::Undecided),
                too_few(&seen, comparison, acceptance),
            )
        } else {
            verdict(None, format!("{seen}; too few for a decision, goes on"))
        };
    }
    if !look.full {
        return match futile(&seen, acceptance, comparison) {
            Some(reason) => verdict(Some(GateOutcome::Reject), reason),
            None => verdict(
                None,
                format!(
                    "{seen}, chance of no gain {:.2} < {}: goes on",
                    comparison.p_value, acceptance.screen
                ),
            ),
        };
    }
    if comparison.gain <= 0.0 || comparison.gain < acceptance.min_gain {
        return verdict(
            Some(GateOutcome::Reject),
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
            return verdict(
                Some(GateOutcome::Branch),
                format!(
                    "{seen}, but chance of no gain {:.3} > {}: promising, no claim",
                    comparison.p_value, acceptance.alpha
                ),
            );
        }
    };
    if let Some(reason) = broken_condition(&seen, constraints, comparison, cost_ratio) {
        return Verdict {
            breaks_condition: true,
            ..verdict(Some(GateOutcome::Reject), reason)
        };
    }
    verdict(Some(GateOutcome::Promote), won)
}

/// The first condition that a winner breaks, in words.
fn broken_condition(
    seen: &str,
    constraints: &ConstraintSpec,
    comparison: &Comparison,
    cost_ratio: Option<f64>,
) -> Option<String> {
    if let (Some(limit), Some(ratio)) = (constraints.cost_ratio, cost_ratio)
        && ratio > limit
    {
        return Some(format!(
            "{seen}, but it costs {ratio:.2} times the baseline, at most {limit} is allowed (cost_ratio)"
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

fn protected(seen: &str, comparison: &Comparison) -> Option<String> {
    let first = comparison.protected_regressions.first()?;
    let others = comparison.protected_regressions.len() - 1;
    let more = if others == 0 {
        String::new()
    } else {
        format!(" and {others} more")
    };
    Some(format!(
        "{seen}, but the protected case {first}{more} got worse"
    ))
}

/// Why a look drops a candidate before all pairs are seen.
///
/// While no pair differs the bootstrap has nothing to draw from and says 1; that is no evidence against a rare mend. Then
/// the rule of three decides (Hanley & Lippman-Hand 1983): after `n` pairs without a difference, differences are rarer
/// than `3 / n` with 95 % confidence, and the candidate is dropped once that cannot reach the smallest gain that counts.
fn futile(seen: &str, acceptance: &AcceptanceSpec, comparison: &Comparison) -> Option<String> {
    if comparison.wins + comparison.losses == 0 {
        let largest_gain = 3.0 / comparison.pairs.max(1) as f64;
        return (largest_gain < acceptance.min_gain).then(|| {
            format!(
                "{seen}, no pair differs: a gain of {} can be ruled out",
                acceptance.min_gain
            )
        });
    }
    (comparison.p_value >= acceptance.screen).then(|| {
        format!(
            "{seen}, chance of no gain {:.2} >= {}",
            comparison.p_value, acceptance.screen
        )
    })
}

fn seen(gate: &str, comparison: &Comparison, look: Look) -> String {
    format!(
        "{gate}: {} of {} pairs seen, mean gain {:+.3}",
        comparison.pairs, look.cases, comparison.gain
    )
}

fn too_few(seen: &str, comparison: &Comparison, acceptance: &AcceptanceSpec) -> String {
    format!(
        "{seen}; only {:.0}% of the pairs have a result, {:.0}% are needed",
        comparison.coverage() * 100.0,
        acceptance.coverage * 100.0
    )
}

#[cfg(test)]
mod tests;
