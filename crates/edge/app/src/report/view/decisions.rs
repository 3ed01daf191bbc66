//! Decisions in words.

use fapo_domain::model::decision::{Decision, DecisionKind, GateOutcome, LevelLeft, StopReason};

use super::{DecisionRow, LevelRow};
use crate::report::verdict::evidence;

/// A stop reason for people.
pub const fn stop(why: StopReason) -> &'static str {
    match why {
        StopReason::TargetMet => "target met",
        StopReason::BudgetSpent => "budget spent",
        StopReason::LevelsExhausted => "levels exhausted",
        StopReason::NothingToFix => "nothing to fix",
        StopReason::Cancelled => "cancelled",
        StopReason::TaskDead => "a task died",
        StopReason::NotMeasured => "too many results are missing",
    }
}

/// Why a level was left, for people.
const fn left(why: LevelLeft) -> &'static str {
    match why {
        LevelLeft::Resolved => "left: resolved",
        LevelLeft::Plateau => "left: plateau",
        LevelLeft::Ceiling => "left: ceiling",
        LevelLeft::Exhausted => "left: exhausted",
    }
}

/// A decision's reason without its first words where they only repeat what was decided.
pub fn bare_reason(decision: &Decision) -> &str {
    let (first, rest) = decision
        .reason
        .split_once(": ")
        .unwrap_or(("", &decision.reason));
    let repeats = match &decision.what {
        DecisionKind::LevelLeft { level, .. }
        | DecisionKind::LevelOpened { level }
        | DecisionKind::LevelSkipped { level } => first
            .strip_prefix(level.as_str())
            .is_some_and(|word| matches!(word, " left" | " opened" | " skipped")),
        DecisionKind::Gate { split, .. } => first
            .strip_prefix(split.as_str())
            .is_some_and(|word| matches!(word, " screen" | " gate")),
        DecisionKind::TestSkipped => first == "no sealed test",
        DecisionKind::Refusal { .. } | DecisionKind::Stopped { .. } => false,
    };
    if repeats { rest } else { &decision.reason }
}

pub fn level_row(decision: &Decision) -> Option<LevelRow> {
    let (level, verb) = match decision.what {
        DecisionKind::LevelLeft { level, why } => (level, left(why).to_owned()),
        DecisionKind::LevelOpened { level } => (level, "opened".to_owned()),
        DecisionKind::LevelSkipped { level } => (level, "passed over".to_owned()),
        DecisionKind::Gate { .. }
        | DecisionKind::Refusal { .. }
        | DecisionKind::Stopped { .. }
        | DecisionKind::TestSkipped => return None,
    };
    Some(LevelRow {
        when: match decision.iteration {
            0 => "at the start".to_owned(),
            iteration => format!("after iteration {iteration}"),
        },
        level: level.as_str(),
        verb,
        reason: bare_reason(decision).to_owned(),
        evidence: pretty(&decision.evidence),
    })
}

pub fn decision_row(decision: &Decision) -> DecisionRow {
    let (what, outcome, class, figures) = match &decision.what {
        DecisionKind::Gate {
            candidate,
            split,
            outcome,
            comparison,
            ..
        } => {
            let (label, class) = gate(*outcome);
            (
                format!("gate on {split} · {}", candidate.short()),
                label,
                class,
                comparison.as_ref().map(evidence).unwrap_or_default(),
            )
        }
        DecisionKind::Refusal { candidate } => (
            candidate.map_or_else(
                || "lint".to_owned(),
                |candidate| format!("lint · {}", candidate.short()),
            ),
            "refused",
            "refused",
            String::new(),
        ),
        DecisionKind::LevelLeft { level, why } => {
            (format!("level {level}"), left(*why), "level", String::new())
        }
        DecisionKind::LevelOpened { level } => {
            (format!("level {level}"), "opened", "level", String::new())
        }
        DecisionKind::LevelSkipped { level } => (
            format!("level {level}"),
            "passed over",
            "level",
            String::new(),
        ),
        DecisionKind::Stopped { why } => ("search".to_owned(), stop(*why), "stop", String::new()),
        DecisionKind::TestSkipped => ("sealed test".to_owned(), "skipped", "stop", String::new()),
    };
    DecisionRow {
        seq: decision.seq,
        iteration: decision.iteration,
        what,
        outcome,
        class,
        reason: bare_reason(decision).to_owned(),
        figures,
        evidence: pretty(&decision.evidence),
    }
}

/// A gate's outcome for people and for style sheets.
const fn gate(outcome: GateOutcome) -> (&'static str, &'static str) {
    match outcome {
        GateOutcome::Pass => ("passed", "open"),
        GateOutcome::Reject => ("rejected", "out"),
        GateOutcome::Branch => ("kept, no claim", "maybe"),
        GateOutcome::Promote => ("promoted", "good"),
        GateOutcome::Undecided => ("undecided", "open"),
    }
}

fn pretty(value: &serde_json::Value) -> String {
    if value.is_null() {
        return String::new();
    }
    serde_json::to_string_pretty(value).unwrap_or_default()
}
