//! One hash over what a job did, the same for every run that decided alike.

use fapo_domain::hash::{ContentHash, Hasher, canonical_json};
use fapo_domain::model::decision::{Decision, DecisionKind, StopReason};
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::variant::Lineage;
use serde_json::{Value, json};

/// The hash over a job's variants (with parents, levels and techniques, in order of creation) and its decisions (kinds,
/// variants, outcomes). Two runs of one project over the same task results have one hash, whatever the order in which
/// their tasks finished and however often they were interrupted: job ids, times, money, tasks that died and were revived,
/// and the numbers behind a decision stay out, and the decisions of one iteration count as a set, because parallel candidates are decided as they come.
pub fn lineage_hash(lineage: &[Lineage], decisions: &[Decision]) -> ContentHash {
    let mut hasher = Hasher::new("lineage/v1");
    hasher.number(lineage.len() as u64);
    for row in lineage {
        hasher
            .hash(&row.child.0)
            .number(row.parents.len() as u64)
            .number(u64::from(row.iteration))
            .part(row.level.map_or("", Level::as_str).as_bytes())
            .part(
                row.technique
                    .map(|technique: Technique| technique.to_string())
                    .unwrap_or_default()
                    .as_bytes(),
            );
        for parent in &row.parents {
            hasher.hash(&parent.0);
        }
    }
    let mut outcomes: Vec<(u32, String)> = decisions
        .iter()
        .filter(|decision| !is_left_out(&decision.what))
        .map(|decision| (decision.iteration, canonical_json(&outcome(&decision.what))))
        .collect();
    outcomes.sort_unstable();
    hasher.number(outcomes.len() as u64);
    for (iteration, what) in &outcomes {
        hasher.number(u64::from(*iteration)).part(what.as_bytes());
    }
    hasher.finish()
}

/// A task that died interrupts a job, which goes on once the task was revived; and whether the sealed test can still be
/// paid is a matter of money.
const fn is_left_out(what: &DecisionKind) -> bool {
    matches!(
        what,
        DecisionKind::TestSkipped
            | DecisionKind::Stopped {
                why: StopReason::TaskDead
            }
    )
}

/// What was decided, without the statistic.
fn outcome(what: &DecisionKind) -> Value {
    match what {
        DecisionKind::Gate {
            candidate,
            parent,
            split,
            outcome,
            comparison: _,
        } => json!(["gate", candidate, parent, split, outcome]),
        // by whom is a matter of words: the same candidate is dropped
        DecisionKind::Refusal { candidate, by: _ } => json!(["refusal", candidate]),
        DecisionKind::SentBack { candidate } => json!(["sent_back", candidate]),
        DecisionKind::LevelLeft { level, why } => json!(["level_left", level, why]),
        DecisionKind::LevelOpened { level } => json!(["level_opened", level]),
        DecisionKind::LevelSkipped { level } => json!(["level_skipped", level]),
        DecisionKind::Stopped { why } => json!(["stopped", why]),
        DecisionKind::TestSkipped => json!(["test_skipped"]),
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::VariantId;
    use fapo_domain::model::variant::DiffStats;

    use super::*;

    fn row(level: Level) -> Lineage {
        Lineage {
            child: VariantId(ContentHash::of(b"child")),
            parents: vec![VariantId(ContentHash::of(b"parent"))],
            iteration: 1,
            level: Some(level),
            technique: Some(Technique::Role),
            hypothesis: String::new(),
            diff: DiffStats::default(),
        }
    }

    fn decision(seq: u32, what: DecisionKind) -> Decision {
        Decision {
            seq,
            iteration: 1,
            what,
            reason: format!("reason {seq}"),
            evidence: json!({"n": seq}),
        }
    }

    #[test]
    fn only_what_was_made_and_decided_counts() {
        let left = decision(
            0,
            DecisionKind::LevelOpened {
                level: Level::Prompt,
            },
        );
        let stop = decision(
            1,
            DecisionKind::Stopped {
                why: StopReason::TargetMet,
            },
        );
        let hash = lineage_hash(&[row(Level::Prompt)], &[left.clone(), stop.clone()]);

        let mut told = row(Level::Prompt);
        told.hypothesis = "other words".to_owned();
        let mut reworded = stop.clone();
        reworded.reason = "other words".to_owned();
        reworded.seq = 0;
        assert_eq!(hash, lineage_hash(&[told], &[reworded, left.clone()]));

        assert_ne!(
            hash,
            lineage_hash(&[row(Level::Parameter)], &[left.clone(), stop])
        );
        let other = decision(
            1,
            DecisionKind::Stopped {
                why: StopReason::BudgetSpent,
            },
        );
        assert_ne!(hash, lineage_hash(&[row(Level::Prompt)], &[left, other]));
    }
}
