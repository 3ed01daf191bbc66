use fapo_domain::CaseId;

use super::*;
use crate::cost::CostBasis;

fn compared(gain: f64, p_value: f64) -> Comparison {
    Comparison {
        pairs: 100,
        expected_pairs: 100,
        mean_a: 0.5,
        mean_b: 0.5 + gain,
        gain,
        interval: (gain - 0.05, gain + 0.05),
        confidence: 0.9,
        p_value,
        wins: 10,
        losses: 5,
        resamples: 1000,
        protected_regressions: Vec::new(),
        protected_missing: Vec::new(),
        cost_ratio: None,
        latency_p95_s: None,
    }
}

const EARLY: Look = Look {
    cases: 200,
    full: false,
};
const FULL: Look = Look {
    cases: 100,
    full: true,
};

fn at_val(comparison: &Comparison, rule: AcceptanceRule) -> Verdict {
    let acceptance = AcceptanceSpec {
        rule,
        ..AcceptanceSpec::default()
    };
    validate(
        &acceptance,
        &ConstraintSpec::default(),
        comparison,
        FULL,
        None,
    )
}

#[test]
fn the_screen_drops_likely_losers_early_and_everything_without_gain_at_the_end() {
    let acceptance = AcceptanceSpec::default();
    let early = screen(&acceptance, &compared(-0.08, 0.97), EARLY);
    assert_eq!(early.outcome, Some(GateOutcome::Reject));
    assert_eq!(
        early.reason,
        "train screen: 100 of 200 pairs seen, mean gain -0.080, chance of no gain 0.97 >= 0.9"
    );
    assert_eq!(
        screen(&acceptance, &compared(-0.01, 0.6), EARLY).outcome,
        None
    );
    assert_eq!(
        screen(&acceptance, &compared(0.0, 0.6), FULL).outcome,
        Some(GateOutcome::Reject)
    );
    assert_eq!(
        screen(&acceptance, &compared(0.01, 0.6), FULL).outcome,
        Some(GateOutcome::Pass)
    );
}

#[test]
fn pairs_without_a_difference_are_no_evidence_until_they_rule_the_smallest_gain_out() {
    let acceptance = AcceptanceSpec::default();
    let mut equal = compared(0.0, 1.0);
    (equal.wins, equal.losses) = (0, 0);
    assert_eq!(screen(&acceptance, &equal, EARLY).outcome, None);
    (equal.pairs, equal.expected_pairs) = (301, 301);
    let look = Look {
        cases: 1000,
        full: false,
    };
    let dropped = screen(&acceptance, &equal, look);
    assert_eq!(dropped.outcome, Some(GateOutcome::Reject));
    assert!(
        dropped.reason.contains("no pair differs"),
        "{}",
        dropped.reason
    );
}

#[test]
fn too_few_pairs_decide_nothing() {
    let acceptance = AcceptanceSpec::default();
    let mut few = compared(-0.5, 1.0);
    few.pairs = 89;
    assert_eq!(screen(&acceptance, &few, EARLY).outcome, None);
    let full = screen(&acceptance, &few, FULL);
    assert_eq!(full.outcome, Some(GateOutcome::Undecided));
    assert!(
        full.reason.contains("only 89% of the pairs"),
        "{}",
        full.reason
    );
    assert_eq!(
        at_val(&few, AcceptanceRule::Mean).outcome,
        Some(GateOutcome::Undecided)
    );
    few.pairs = 0;
    few.expected_pairs = 0;
    assert_eq!(
        at_val(&few, AcceptanceRule::PairedBootstrap).outcome,
        Some(GateOutcome::Undecided)
    );
}

#[test]
fn paired_bootstrap_promotes_branches_or_rejects() {
    let rule = AcceptanceRule::PairedBootstrap;
    let outcome = |gain, p| at_val(&compared(gain, p), rule).outcome;
    assert_eq!(outcome(0.05, 0.05), Some(GateOutcome::Promote));
    assert_eq!(outcome(0.05, 0.051), Some(GateOutcome::Branch));
    assert_eq!(outcome(0.009, 0.001), Some(GateOutcome::Reject));
    assert_eq!(outcome(-0.02, 0.8), Some(GateOutcome::Reject));
}

#[test]
fn the_mean_rule_ignores_the_noise_but_not_min_gain() {
    let outcome = |gain, p| at_val(&compared(gain, p), AcceptanceRule::Mean).outcome;
    assert_eq!(outcome(0.01, 0.45), Some(GateOutcome::Promote));
    assert_eq!(outcome(0.009, 0.2), Some(GateOutcome::Reject));
    let anything = AcceptanceSpec {
        rule: AcceptanceRule::Mean,
        min_gain: 0.0,
        ..AcceptanceSpec::default()
    };
    let none = validate(
        &anything,
        &ConstraintSpec::default(),
        &compared(0.0, 0.5),
        FULL,
        None,
    );
    assert_eq!(none.outcome, Some(GateOutcome::Reject));
}

#[test]
fn the_mean_rule_is_not_ended_early_by_the_noise_of_a_part() {
    let mean = AcceptanceSpec {
        rule: AcceptanceRule::Mean,
        ..AcceptanceSpec::default()
    };
    let free = ConstraintSpec::default();
    let early = validate(&mean, &free, &compared(-0.1, 0.95), EARLY, None);
    assert_eq!(early.outcome, None);
}

#[test]
fn early_looks_at_val_never_promote() {
    let acceptance = AcceptanceSpec::default();
    let free = ConstraintSpec::default();
    let good = validate(&acceptance, &free, &compared(0.4, 0.0001), EARLY, None);
    assert_eq!(good.outcome, None);
    let bad = validate(&acceptance, &free, &compared(-0.1, 0.95), EARLY, None);
    assert_eq!(bad.outcome, Some(GateOutcome::Reject));
}

#[test]
fn a_winner_that_breaks_a_condition_is_rejected_by_its_name() {
    let acceptance = AcceptanceSpec::default();
    let limits = ConstraintSpec {
        cost_ratio: Some(1.5),
        latency_p95_s: Some(2.0),
    };
    let mut winner = compared(0.1, 0.001);
    winner.latency_p95_s = Some(2.0);
    let at = |comparison: &Comparison, ratio| {
        let cost = CostRatio {
            ratio,
            basis: CostBasis::Tokens,
        };
        validate(&acceptance, &limits, comparison, FULL, Some(cost))
    };
    assert_eq!(at(&winner, 1.5).outcome, Some(GateOutcome::Promote));
    assert_eq!(at(&winner, 1.5).evidence["cost_basis"], "tokens");

    let free = at(&winner, f64::INFINITY);
    assert_eq!(free.outcome, Some(GateOutcome::Reject));

    let dear = at(&winner, 1.6);
    assert!(
        dear.reason.contains("1.60 times the baseline's tokens"),
        "{}",
        dear.reason
    );
    assert_eq!(dear.outcome, Some(GateOutcome::Reject));
    assert!(dear.reason.contains("cost_ratio"), "{}", dear.reason);

    let mut slow = winner.clone();
    slow.latency_p95_s = Some(2.1);
    let slow = at(&slow, 1.0);
    assert_eq!(slow.outcome, Some(GateOutcome::Reject));
    assert!(slow.reason.contains("latency_p95_s"), "{}", slow.reason);

    winner.protected_regressions = vec![CaseId::new("keep-1"), CaseId::new("keep-2")];
    let worse = at(&winner, 1.0);
    assert_eq!(worse.outcome, Some(GateOutcome::Reject));
    assert!(
        worse
            .reason
            .contains("protected case keep-1 and 1 more got worse"),
        "{}",
        worse.reason
    );
}

#[test]
fn a_condition_of_which_nothing_is_known_is_not_kept() {
    let acceptance = AcceptanceSpec::default();
    let at = |limits: &ConstraintSpec, comparison: &Comparison| {
        let verdict = validate(&acceptance, limits, comparison, FULL, None);
        assert!(!verdict.breaks_condition);
        (verdict.outcome, verdict.reason)
    };
    let winner = compared(0.1, 0.001);
    let free = ConstraintSpec::default();
    assert_eq!(at(&free, &winner).0, Some(GateOutcome::Promote));

    let dear = ConstraintSpec {
        cost_ratio: Some(1.5),
        ..ConstraintSpec::default()
    };
    let (outcome, reason) = at(&dear, &winner);
    assert_eq!(outcome, Some(GateOutcome::Undecided));
    assert!(reason.contains("cost_ratio"), "{reason}");

    let slow = ConstraintSpec {
        latency_p95_s: Some(2.0),
        ..ConstraintSpec::default()
    };
    let (outcome, reason) = at(&slow, &winner);
    assert_eq!(outcome, Some(GateOutcome::Undecided));
    assert!(reason.contains("latency_p95_s"), "{reason}");
    assert_eq!(
        at(&slow, &compared(0.001, 0.001)).0,
        Some(GateOutcome::Reject),
        "a loser is one whatever else is unknown"
    );

    let mut gone = winner;
    gone.protected_missing = vec![CaseId::new("keep-1")];
    let (outcome, reason) = at(&free, &gone);
    assert_eq!(outcome, Some(GateOutcome::Undecided));
    assert!(
        reason.ends_with("the protected case keep-1 has no result"),
        "{reason}"
    );
    let on_train = screen(&acceptance, &gone, FULL);
    assert_eq!(on_train.outcome, Some(GateOutcome::Undecided));
}

#[test]
fn a_protected_case_that_gets_worse_on_train_drops_the_candidate() {
    let mut winner = compared(0.1, 0.001);
    winner.protected_regressions = vec![CaseId::new("keep-1")];
    let verdict = screen(&AcceptanceSpec::default(), &winner, FULL);
    assert_eq!(verdict.outcome, Some(GateOutcome::Reject));
    assert!(
        verdict
            .reason
            .ends_with("the protected case keep-1 got worse")
    );
}
