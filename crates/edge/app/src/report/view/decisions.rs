//! Decisions in words.

use fapo_domain::model::decision::{
    Decision, DecisionKind, GateOutcome, LevelLeft, Refuser, StopReason,
};
use fapo_domain::model::proposal::{ReviewFinding, ReviewSeverity};
use fapo_domain::model::session::SessionId;
use serde::Deserialize as _;

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
        DecisionKind::SentBack { .. } => first == "the reviewer sends it back",
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
        | DecisionKind::SentBack { .. }
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
        DecisionKind::Refusal { candidate, by } => {
            let who = match by {
                Refuser::Lints => "lint",
                Refuser::Reviewer => "review",
            };
            (
                candidate.map_or_else(
                    || who.to_owned(),
                    |candidate| format!("{who} · {}", candidate.short()),
                ),
                "refused",
                "refused",
                String::new(),
            )
        }
        DecisionKind::SentBack { candidate } => (
            format!("review · {}", candidate.short()),
            "sent back",
            "maybe",
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
        reason: format!("{}{}", bare_reason(decision), caution(decision)),
        figures: [figures, held(decision)]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        evidence: pretty(&decision.evidence),
    }
}

/// The agents' sessions behind a decision; empty where none had one.
fn held(decision: &Decision) -> String {
    let session = |role: &str| SessionId::deserialize(&decision.evidence[role]["session"]).ok();
    sessions(session("proposer"), session("review"))
}

/// Sessions in words: what `fapo session` takes, and whose they are.
pub fn sessions(proposer: Option<SessionId>, reviewer: Option<SessionId>) -> String {
    let words =
        |who: &str, id: Option<SessionId>| Some(format!("{who} in session {}", id?.short()));
    let parts = [words("written", proposer), words("reviewed", reviewer)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What the reviewer warned of, for a gate that decided all the same.
fn caution(decision: &Decision) -> String {
    let review = &decision.evidence["review"];
    if review["verdict"] != "warn" || !matches!(decision.what, DecisionKind::Gate { .. }) {
        return String::new();
    }
    let words: Vec<String> = review["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|finding| serde_json::from_value::<ReviewFinding>(finding.clone()).ok())
        .filter(|finding| finding.severity >= ReviewSeverity::Warn)
        .map(|finding| finding.words())
        .collect();
    format!("; the reviewer warned: {}", words.join("; "))
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

#[cfg(test)]
mod tests {
    use fapo_domain::ContentHash;
    use serde_json::json;

    use super::*;
    use crate::report::fixture::{report, variant};

    fn decision(what: DecisionKind, reason: &str, evidence: serde_json::Value) -> Decision {
        Decision {
            seq: 0,
            iteration: 1,
            what,
            reason: reason.to_owned(),
            evidence,
        }
    }

    #[test]
    fn a_gate_says_what_the_reviewer_warned_of() {
        let mut gate = report().decisions.remove(0);
        let plain = decision_row(&gate).reason;
        gate.evidence = json!({"review": {"verdict": "warn", "findings": [
            {"check": "regression", "severity": "warn", "place": "", "message": "long questions"},
            {"check": "other", "severity": "note", "place": "", "message": "nothing"},
        ]}});
        assert_eq!(
            decision_row(&gate).reason,
            format!("{plain}; the reviewer warned: regression: long questions")
        );
    }

    #[test]
    fn a_decision_names_the_sessions_behind_it() {
        let id = |number: u64| SessionId(ContentHash::of(&number.to_le_bytes()));
        let (wrote, read) = (id(1), id(2));
        let mut gate = report().decisions.remove(0);
        let figures = decision_row(&gate).figures;
        gate.evidence =
            json!({"proposer": {"session": wrote}, "review": {"verdict": "pass", "session": read}});
        let wanted = format!(
            "{figures}; written in session {}, reviewed in session {}",
            wrote.short(),
            read.short()
        );
        assert_eq!(decision_row(&gate).figures, wanted.trim_start_matches("; "));
        gate.evidence = json!({"proposer": {"session": null}});
        assert_eq!(decision_row(&gate).figures, figures);
    }

    #[test]
    fn who_refused_a_proposal_is_told() {
        let candidate = variant(3);
        let refused = DecisionKind::Refusal {
            candidate: Some(candidate),
            by: Refuser::Reviewer,
        };
        let row = decision_row(&decision(refused, "refused by the reviewer: x", json!({})));
        assert_eq!(row.what, format!("review · {}", candidate.short()));
        let back = DecisionKind::SentBack { candidate };
        let row = decision_row(&decision(back, "the reviewer sends it back: x", json!({})));
        assert_eq!((row.outcome, row.reason.as_str()), ("sent back", "x"));
    }
}
