//! Events in one line each, for those worth a line.

use fapo_domain::model::decision::{Decision, DecisionKind, GateOutcome, Refuser, StopReason};
use fapo_domain::model::proposal::ReviewVerdict;
use fapo_domain::model::session::SessionId;
use fapo_policy::stage::StagePurpose;
use fapo_policy::{Event, ProposalAnswer};
use serde::Deserialize as _;

use crate::output::format;
use crate::output::style::{Style, printable};
use crate::report::bare_reason;

/// The line of an event; `None` where it is not worth one. Texts from models are made harmless for a terminal.
pub fn event_line(event: &Event, style: Style) -> Option<String> {
    let line = match event {
        Event::StageDone {
            purpose: StagePurpose::Baseline,
            split,
            summary,
            ..
        } => format!(
            "baseline on {split}: {} over {}",
            mean(summary.mean()),
            format::counted(summary.counted(), "case")
        ),
        Event::Attributed {
            failures,
            cases,
            clusters,
            ..
        } => {
            let top = clusters
                .iter()
                .take(3)
                .map(|cluster| {
                    format!(
                        "{} ({:.1} points, {})",
                        cluster.id,
                        cluster.recoverable.estimate * 100.0,
                        cluster.level
                    )
                })
                .collect::<Vec<_>>();
            let what = if top.is_empty() {
                String::new()
            } else {
                format!(": {}", top.join("; "))
            };
            format!("{failures} of {cases} train cases lose points{what}")
        }
        Event::Proposed {
            iteration,
            session,
            answer,
            ..
        } => format!(
            "{iteration}: {}{}",
            proposed(answer, style),
            in_session(*session, style)
        ),
        Event::Reviewed {
            iteration,
            verdict: ReviewVerdict::Warn,
            findings,
            summary,
            session,
            ..
        } => {
            let words = match findings.first() {
                Some(finding) => finding.words(),
                None => summary.clone(),
            };
            format!(
                "{iteration}: {} – {}{}",
                style.warn("the reviewer warns"),
                clean(&words, 160),
                in_session(*session, style)
            )
        }
        // what passes is no news, but what it cost to know can be looked at
        Event::Reviewed {
            iteration,
            verdict: ReviewVerdict::Pass,
            session: Some(session),
            ..
        } => format!(
            "{iteration}: the reviewer lets it pass{}",
            in_session(Some(*session), style)
        ),
        Event::Decided { decision } => return decided(decision, style),
        Event::TestOpened { cases, repeats, .. } => format!(
            "the sealed test is opened: {}, {}",
            format::counted(*cases, "case"),
            format::counted(u64::from(*repeats), "run")
        ),
        Event::TaskDied { topic, reason, .. } => style.bad(&format!(
            "a task of the queue `{}` died: {}",
            topic.as_str(),
            clean(reason, 300)
        )),
        Event::Revived { tasks } => format!("{} revived", format::counted(*tasks, "task")),
        Event::Submitted { .. }
        | Event::StageStarted { .. }
        | Event::BlockScored { .. }
        | Event::StageDone { .. }
        | Event::ProposalAsked { .. }
        | Event::Linted { .. }
        // what fails has a decision
        | Event::Reviewed { .. }
        | Event::Compared { .. }
        | Event::TestSkipped { .. }
        | Event::TestDone { .. }
        // the decision, the task or the command's own last word says the same
        | Event::Stopped { .. }
        | Event::Finished { .. } => return None,
    };
    Some(line)
}

fn decided(decision: &Decision, style: Style) -> Option<String> {
    let reason = clean(bare_reason(decision), 200);
    let iteration = decision.iteration;
    Some(match &decision.what {
        DecisionKind::Gate { split, outcome, .. } => {
            let outcome = match outcome {
                // what goes on to the next gate is not news yet
                GateOutcome::Pass => return None,
                GateOutcome::Promote => style.good("promoted"),
                GateOutcome::Branch => style.warn("kept, no claim"),
                GateOutcome::Reject => style.dim("rejected"),
                GateOutcome::Undecided => style.warn("undecided"),
            };
            format!("{iteration}: {outcome} on {split} – {reason}")
        }
        DecisionKind::Refusal { by, .. } => {
            let session = match by {
                Refuser::Reviewer => reviewed_in(decision),
                // the proposal's own line names its session
                Refuser::Lints => None,
            };
            format!(
                "{iteration}: {} – {reason}{}",
                style.dim("refused"),
                in_session(session, style)
            )
        }
        DecisionKind::SentBack { .. } => {
            format!(
                "{iteration}: {} – {reason}{}",
                style.warn("sent back by the reviewer"),
                in_session(reviewed_in(decision), style)
            )
        }
        DecisionKind::LevelLeft { level, .. } => format!("level {level} is left – {reason}"),
        DecisionKind::LevelOpened { level } => {
            format!(
                "{} – {reason}",
                style.accent(&format!("level {level} opens"))
            )
        }
        DecisionKind::LevelSkipped { level } => format!("level {level} is passed over – {reason}"),
        // the task that died has its line
        DecisionKind::Stopped {
            why: StopReason::TaskDead,
        } => return None,
        DecisionKind::Stopped { .. } => format!("the search ends – {reason}"),
        DecisionKind::TestSkipped => format!("no sealed test – {reason}"),
    })
}

fn proposed(answer: &ProposalAnswer, style: Style) -> String {
    match answer {
        ProposalAnswer::Variant {
            technique,
            hypothesis,
            ..
        } => format!(
            "tries {} – {}",
            style.bold(&technique.to_string().replace('_', " ")),
            clean(hypothesis, 110)
        ),
        ProposalAnswer::NoIdea { reason } => format!("no further idea – {}", clean(reason, 120)),
        ProposalAnswer::Unusable { reason } => {
            format!("unusable proposal – {}", clean(reason, 120))
        }
    }
}

/// What `fapo session` takes, at the end of a line; nothing where no agent had a session.
fn in_session(session: Option<SessionId>, style: Style) -> String {
    session.map_or_else(String::new, |id| {
        format!(" {}", style.dim(&format!("(session {})", id.short())))
    })
}

fn reviewed_in(decision: &Decision) -> Option<SessionId> {
    SessionId::deserialize(&decision.evidence["review"]["session"]).ok()
}

/// An untrusted text on one line, without anything that steers a terminal.
fn clean(text: &str, limit: usize) -> String {
    printable(&format::one_line(text, limit))
}

fn mean(mean: Option<f64>) -> String {
    mean.map_or_else(|| "no result".to_owned(), format::percent)
}

#[cfg(test)]
mod tests {
    use fapo_domain::model::level::Technique;

    use super::*;
    use crate::report::fixture::{report, untested, variant};

    #[test]
    fn decisions_read_as_sentences() {
        let lines: Vec<String> = report()
            .decisions
            .into_iter()
            .filter_map(|decision| event_line(&Event::Decided { decision }, Style::new(false)))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_sealed_test_that_was_not_run_has_a_line_with_its_reason() {
        let decision = untested().decisions.pop().unwrap();
        let line = event_line(&Event::Decided { decision }, Style::new(false));
        let wanted = "no sealed test – the dataset has no test cases";
        assert_eq!(line.as_deref(), Some(wanted));
    }

    #[test]
    fn a_reviewers_warning_is_told_with_its_first_finding_and_a_pass_is_not() {
        use fapo_domain::model::proposal::{ReviewCheck, ReviewFinding, ReviewSeverity};
        let line = |verdict| {
            let event = Event::Reviewed {
                iteration: 3,
                slot: 0,
                candidate: variant(1),
                revision: 0,
                verdict,
                summary: "dear".to_owned(),
                findings: vec![ReviewFinding {
                    check: ReviewCheck::MetricGaming,
                    severity: ReviewSeverity::Warn,
                    place: "steps.hop.k".to_owned(),
                    message: "ten times the documents\u{1b}[2J".to_owned(),
                }],
                session: None,
            };
            event_line(&event, Style::new(false))
        };
        let warned = line(ReviewVerdict::Warn).unwrap();
        assert!(
            warned.starts_with(
                "3: the reviewer warns – metric_gaming at steps.hop.k: ten times the documents"
            ),
            "{warned}"
        );
        assert!(!warned.contains('\u{1b}'));
        assert_eq!(line(ReviewVerdict::Pass), None);
    }

    #[test]
    fn a_session_is_named_wherever_an_agent_had_one() {
        let id = SessionId(fapo_domain::ContentHash::of(b"session"));
        let plain = Style::new(false);
        let named = format!(" (session {})", id.short());
        let answers = [
            ProposalAnswer::NoIdea {
                reason: "none".to_owned(),
            },
            ProposalAnswer::Unusable {
                reason: "cut off".to_owned(),
            },
        ];
        for answer in answers {
            let line = |session| {
                let answer = answer.clone();
                let event = Event::Proposed {
                    iteration: 1,
                    slot: 0,
                    session,
                    answer,
                };
                // as it is stored and read again
                let stored = serde_json::to_value(&event).unwrap();
                event_line(&serde_json::from_value(stored).unwrap(), plain).unwrap()
            };
            assert_eq!(line(Some(id)), line(None) + &named);
        }
        let decided = |evidence: serde_json::Value| {
            let decision = Decision {
                seq: 0,
                iteration: 2,
                what: DecisionKind::SentBack {
                    candidate: variant(1),
                },
                reason: "the reviewer sends it back: too broad".to_owned(),
                evidence,
            };
            event_line(&Event::Decided { decision }, plain).unwrap()
        };
        let without = decided(serde_json::json!({"review": {"session": null}}));
        let with = decided(serde_json::json!({"review": {"session": id}}));
        assert_eq!(with, without + &named);
    }

    #[test]
    fn a_models_text_cannot_steer_the_terminal() {
        let event = Event::Proposed {
            iteration: 1,
            slot: 0,
            session: None,
            answer: ProposalAnswer::Variant {
                variant: variant(1),
                technique: Technique::Role,
                idea: "role".to_owned(),
                hypothesis: "clear \u{1b}[2J the screen".to_owned(),
            },
        };
        let line = event_line(&event, Style::new(false)).unwrap();
        assert!(!line.contains('\u{1b}'), "{line:?}");
        assert!(line.contains('␛'), "{line:?}");
    }
}
