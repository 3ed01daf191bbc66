//! What the levels' decisions say: their words and their evidence.

use fapo_domain::model::finding::{Attribution, Points};
use fapo_domain::model::level::Level;
use serde_json::{Value, json};

use super::{LevelStatus, Rules, Step};

pub(super) fn ceiling(attribution: &Attribution, level: Level) -> Points {
    attribution
        .ceilings
        .get(&level)
        .copied()
        .unwrap_or_default()
}

pub(super) fn not_allowed(level: Level, attribution: &Attribution) -> Step {
    Step {
        level,
        to: LevelStatus::Skipped,
        reason: format!(
            "{level} skipped: scope.allow does not have it; attribution gives it {}",
            points(ceiling(attribution, level))
        ),
        evidence: json!({ "allowed": false, "ceiling": ceiling(attribution, level) }),
    }
}

pub(super) fn evidence(level: Level, rules: Rules<'_>, attribution: &Attribution) -> Value {
    let clusters: Vec<Value> = attribution
        .clusters
        .iter()
        .filter(|cluster| cluster.level == level)
        .take(8)
        .map(|cluster| {
            json!({
                "id": cluster.id,
                "label": cluster.label,
                "count": cluster.count,
                "recoverable": cluster.recoverable,
            })
        })
        .collect();
    json!({
        "allowed": true,
        "ceiling": ceiling(attribution, level),
        "min_recoverable": rules.escalation.min_recoverable,
        "clusters": clusters,
        "ceilings": attribution.ceilings,
        "failures": attribution.failures,
        "cases": attribution.cases,
    })
}

pub(super) fn cluster_names(attribution: &Attribution, level: Level) -> String {
    let names: Vec<String> = attribution
        .clusters
        .iter()
        .filter(|cluster| cluster.level == level)
        .take(3)
        .map(|cluster| {
            format!(
                "{} ({} cases, {:.3})",
                cluster.id, cluster.count, cluster.recoverable.estimate
            )
        })
        .collect();
    names.join(", ")
}

pub(super) fn points(points: Points) -> String {
    format!(
        "{:.3} points ({:.3} to {:.3})",
        points.estimate, points.low, points.high
    )
}

pub(super) fn techniques(count: usize) -> String {
    match count {
        1 => "1 technique".to_owned(),
        count => format!("{count} techniques"),
    }
}
