//! The tools that only tell what is known: `scope`, `clusters`, `history`.

use fapo_domain::model::finding::{Cluster, Points};
use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::Attempt;
use rmcp::schemars;
use rmcp::schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{list, object, rounded};
use super::session::{Session, ToolError};
use crate::text::{cut, one_line};

/// No arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Where a list goes on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    /// Number of the first item, from 0.
    #[serde(default)]
    pub(super) from: u32,
}

/// What may be changed, and what is left to find out with.
pub(super) fn scope(session: &Session) -> Value {
    let grant = &session.grant;
    let project = &grant.spec.project;
    let scope = &project.scope;
    let allowed: Vec<Level> = scope
        .allow
        .iter()
        .copied()
        .filter(|level| *level <= grant.level)
        .collect();
    let any = |globs: &[String]| match globs {
        [] => json!("any"),
        _ => json!(globs),
    };
    json!({
        "levels": allowed,
        "deepest_level": grant.level,
        "levels_that_may_open_later": scope.allow.iter().filter(|level| **level > grant.level).collect::<Vec<_>>(),
        "files": any(&scope.files),
        "steps_that_may_change": any(&scope.steps),
        "ranges": scope.ranges,
        "models_a_step_may_use": scope.models,
        "most_bytes_of_a_file": scope.max_file_bytes,
        "most_bytes_in_all": scope.max_tree_bytes,
        "most_cost_per_case_over_the_baseline": project.objective.subject_to.cost_ratio,
        "most_seconds_per_case_p95": project.objective.subject_to.latency_p95_s,
        "caps_of_a_case": project.limits,
        "maximize": project.objective.maximize,
        "scorer": project.scorer,
        "protected_cases": grant.spec.protect.len(),
        "cluster_to_work_on": grant.cluster.as_ref().map(|cluster| &cluster.id),
        "tries_left": session.tries.left(),
        "analyses_left": session.analyses.left(),
    })
}

/// Where the points are lost.
pub(super) async fn clusters(session: &Session, asked: From) -> Result<Value, ToolError> {
    let attribution = session.attribution().await?;
    let ceilings: serde_json::Map<String, Value> = attribution
        .ceilings
        .iter()
        .map(|(level, ceiling)| (level.to_string(), points(ceiling)))
        .collect();
    let head = json!({
        "train_cases": attribution.cases,
        "failures": attribution.failures,
        "missing": attribution.missing,
        "mean": rounded(attribution.mean),
        "points_to_be_won_by_level": ceilings,
        "your_cluster": session.grant.cluster.as_ref().map(|cluster| &cluster.id),
    });
    let rows = attribution.clusters.iter().map(cluster_row);
    Ok(list(object(head), "clusters", rows, asked.from as usize))
}

fn points(points: &Points) -> Value {
    json!({
        "points": rounded(points.estimate),
        "interval": [rounded(points.low), rounded(points.high)],
    })
}

fn cluster_row(cluster: &Cluster) -> Value {
    json!({
        "id": cluster.id,
        "label": one_line(&cluster.label, 300),
        "step": cluster.step,
        "rule": cluster.rule,
        "level": cluster.level,
        "count": cluster.count,
        "cases": cluster.cases.iter().take(5).collect::<Vec<_>>(),
        "confidence": rounded(cluster.confidence),
        "recoverable": points(&cluster.recoverable),
        "direction": one_line(&cluster.direction, 300),
    })
}

/// What was tried, most recent first.
pub(super) fn history(session: &Session, asked: From) -> Value {
    let head = json!({
        "attempts": session.grant.history.len(),
        "parent": session.grant.parent.short(),
        "now": format!("iteration {}, slot {}", session.grant.iteration, session.grant.slot),
    });
    let rows = session.grant.history.iter().rev().map(attempt_row);
    list(object(head), "history", rows, asked.from as usize)
}

pub(super) fn attempt_row(attempt: &Attempt) -> Value {
    json!({
        "iteration": attempt.iteration,
        "parent": attempt.parent.short(),
        "variant": attempt.variant.map(|variant| variant.short()),
        "level": attempt.level,
        "technique": attempt.technique,
        "idea": one_line(&attempt.idea, 200),
        "hypothesis": cut(&attempt.hypothesis, 600),
        "outcome": attempt.outcome,
        "reason": one_line(&attempt.reason, 400),
    })
}
