//! Variants and decisions of a job.

use fapo_domain::VariantId;
use fapo_domain::model::decision::{Decision, DecisionKind};
use fapo_domain::model::level::Level;
use fapo_domain::model::variant::{DiffStats, Lineage};
use fapo_domain::ports::optimizer::JobLineage;
use fapo_proto::optimizer::v1 as pb;
use fapo_proto::optimizer::v1::decision::What;

use crate::common::{
    Enumerated, comparison, maybe_one_of, maybe_wire, one_of, spelled, unspelled, wire_comparison,
};
use crate::read::{self, Read};

pub(super) fn wire_lineage(lineage: JobLineage) -> pb::GetLineageResponse {
    pb::GetLineageResponse {
        variants: lineage.variants.into_iter().map(wire_variant).collect(),
        decisions: lineage.decisions.into_iter().map(wire_decision).collect(),
    }
}

pub(super) fn lineage(message: pb::GetLineageResponse) -> Read<JobLineage> {
    Ok(JobLineage {
        variants: read::each(message.variants, "variants", variant)?,
        decisions: read::each(message.decisions, "decisions", decision)?,
    })
}

fn wire_variant(row: Lineage) -> pb::Lineage {
    pb::Lineage {
        variant_id: row.child.to_string(),
        parent_ids: row.parents.iter().map(VariantId::to_string).collect(),
        iteration: row.iteration,
        level: maybe_wire::<Level>(row.level),
        technique: row.technique.as_ref().map(spelled),
        hypothesis: row.hypothesis,
        diff: Some(pb::DiffStats {
            files: row.diff.files,
            added: row.diff.added,
            removed: row.diff.removed,
        }),
    }
}

fn variant(message: pb::Lineage) -> Read<Lineage> {
    let diff = message.diff.unwrap_or_default();
    let technique = message
        .technique
        .map(|name| unspelled(&name, "technique"))
        .transpose()?;
    Ok(Lineage {
        child: id(&message.variant_id, "variant_id")?,
        parents: read::each(message.parent_ids, "parent_ids", |parent| id(&parent, "id"))?,
        iteration: message.iteration,
        level: maybe_one_of(message.level, "level")?,
        technique,
        hypothesis: message.hypothesis,
        diff: DiffStats {
            files: diff.files,
            added: diff.added,
            removed: diff.removed,
        },
    })
}

fn id(text: &str, field: &str) -> Read<VariantId> {
    read::hash(text, field).map(VariantId)
}

fn wire_decision(decision: Decision) -> pb::Decision {
    let what = match decision.what {
        DecisionKind::Gate {
            candidate,
            parent,
            split,
            outcome,
            comparison,
        } => What::Gate(pb::GateDecision {
            candidate_id: candidate.to_string(),
            parent_id: parent.to_string(),
            split: split.wire(),
            outcome: outcome.wire(),
            comparison: comparison.map(wire_comparison),
        }),
        DecisionKind::Refusal { candidate, by } => What::Refusal(pb::RefusalDecision {
            candidate_id: candidate.map(|id| id.to_string()),
            by: by.wire(),
        }),
        DecisionKind::SentBack { candidate } => What::SentBack(pb::SentBackDecision {
            candidate_id: candidate.to_string(),
        }),
        DecisionKind::LevelLeft { level, why } => What::LevelLeft(pb::LevelLeftDecision {
            level: level.wire(),
            why: why.wire(),
        }),
        DecisionKind::LevelOpened { level } => What::LevelOpened(pb::LevelOpenedDecision {
            level: level.wire(),
        }),
        DecisionKind::LevelSkipped { level } => What::LevelSkipped(pb::LevelSkippedDecision {
            level: level.wire(),
        }),
        DecisionKind::Stopped { why } => What::Stopped(pb::StoppedDecision { why: why.wire() }),
        DecisionKind::TestSkipped => What::TestSkipped(pb::TestSkippedDecision {}),
    };
    pb::Decision {
        seq: decision.seq,
        iteration: decision.iteration,
        what: Some(what),
        reason: decision.reason,
        evidence_json: read::wire_json(&decision.evidence),
    }
}

fn decision(message: pb::Decision) -> Read<Decision> {
    let what = match read::given(message.what, "what")? {
        What::Gate(gate) => DecisionKind::Gate {
            candidate: id(&gate.candidate_id, "gate.candidate_id")?,
            parent: id(&gate.parent_id, "gate.parent_id")?,
            split: one_of(gate.split, "gate.split")?,
            outcome: one_of(gate.outcome, "gate.outcome")?,
            comparison: gate.comparison.map(comparison),
        },
        What::Refusal(refusal) => DecisionKind::Refusal {
            candidate: refusal
                .candidate_id
                .map(|text| id(&text, "refusal.candidate_id"))
                .transpose()?,
            by: one_of(refusal.by, "refusal.by")?,
        },
        What::SentBack(sent) => DecisionKind::SentBack {
            candidate: id(&sent.candidate_id, "sent_back.candidate_id")?,
        },
        What::LevelLeft(left) => DecisionKind::LevelLeft {
            level: one_of(left.level, "level_left.level")?,
            why: one_of(left.why, "level_left.why")?,
        },
        What::LevelOpened(opened) => DecisionKind::LevelOpened {
            level: one_of(opened.level, "level_opened.level")?,
        },
        What::LevelSkipped(skipped) => DecisionKind::LevelSkipped {
            level: one_of(skipped.level, "level_skipped.level")?,
        },
        What::Stopped(stopped) => DecisionKind::Stopped {
            why: one_of(stopped.why, "stopped.why")?,
        },
        What::TestSkipped(pb::TestSkippedDecision {}) => DecisionKind::TestSkipped,
    };
    Ok(Decision {
        seq: message.seq,
        iteration: message.iteration,
        what,
        reason: message.reason,
        evidence: read::json(&message.evidence_json, "evidence_json")?,
    })
}
