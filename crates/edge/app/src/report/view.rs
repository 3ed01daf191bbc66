//! The report as its templates see it: every figure already a text, every drawing already SVG.

mod decisions;
mod failures;
mod lineage;
mod results;
mod spend;

use fapo_domain::model::job::JobStatus;
use serde::Serialize;

pub use self::decisions::{bare_reason, sessions};
use self::decisions::{decision_row, level_row, stop};
use self::failures::{ceilings, clusters, reader};
use self::lineage::{diffs, row, tree};
use self::results::{results, structure};
use self::spend::{spend, spend_total};
use super::data::{Candidate, ReportData};
use super::verdict::verdict;
use crate::output::format;

/// The whole page.
#[derive(Debug, Serialize)]
pub struct View {
    pub project: String,
    pub description: Option<String>,
    pub job: String,
    pub status: &'static str,
    pub final_: bool,
    pub created: String,
    pub took: String,
    pub metric: String,
    pub rule: String,
    pub verdict: String,
    pub stopped: Option<String>,
    pub test_skipped: Option<String>,
    pub improved: bool,
    pub results: Vec<ResultRow>,
    pub structure: Vec<StructureCard>,
    pub same_best: bool,
    pub candidates: Vec<CandidateRow>,
    pub tree: Vec<TreeNode>,
    pub clusters: Vec<ClusterRow>,
    /// How the reading of unclear failures went, where the project has a reader.
    pub reader: Option<String>,
    pub remaining: Vec<ClusterRow>,
    pub ceilings: Vec<CeilingRow>,
    pub levels: Vec<LevelRow>,
    pub decisions: Vec<DecisionRow>,
    pub diffs: Vec<DiffView>,
    pub spending_unit: &'static str,
    pub spend: Vec<SpendRow>,
    pub spend_total: SpendRow,
    pub facts: Vec<(String, String)>,
}

/// Baseline against best on one split.
#[derive(Debug, Serialize)]
pub struct ResultRow {
    pub split: &'static str,
    pub note: &'static str,
    pub baseline: String,
    pub baseline_interval: String,
    pub best: String,
    pub best_interval: String,
    pub gain: String,
    pub gain_interval: String,
    pub p: String,
    pub pairs: String,
    pub cost_ratio: String,
    /// The other metrics, then what a case takes.
    pub metrics: Vec<(String, String, String)>,
}

/// One of the two answers: with the structure kept, and free.
#[derive(Debug, Serialize)]
pub struct StructureCard {
    pub title: &'static str,
    pub note: &'static str,
    pub variant: String,
    pub name: String,
    pub val: String,
    pub val_interval: String,
    pub test: Option<String>,
    pub path: Vec<String>,
}

/// A row of the table of candidates.
#[derive(Debug, Serialize)]
pub struct CandidateRow {
    pub iteration: u32,
    pub variant: String,
    pub parent: String,
    pub level: String,
    pub technique: String,
    pub train: String,
    pub val: String,
    pub outcome: &'static str,
    pub class: &'static str,
    pub reason: String,
    pub hypothesis: String,
    pub diff: String,
    pub best: bool,
}

/// A line of the lineage.
#[derive(Debug, Serialize)]
pub struct TreeNode {
    pub row: CandidateRow,
    pub rails: String,
    pub depth: usize,
    pub bar: u32,
}

/// A failure pattern.
#[derive(Debug, Serialize)]
pub struct ClusterRow {
    pub label: String,
    pub step: String,
    pub rule: String,
    pub level: &'static str,
    pub before: String,
    pub after: String,
    pub count: u64,
    pub points: String,
    pub interval: String,
    pub direction: String,
    pub cases: String,
    /// What a model read in some of its failures.
    pub readings: Vec<String>,
}

/// What a level could bring, before and after.
#[derive(Debug, Serialize)]
pub struct CeilingRow {
    pub level: &'static str,
    pub before: String,
    pub after: String,
}

/// A step of the path through the levels.
#[derive(Debug, Serialize)]
pub struct LevelRow {
    pub when: String,
    pub level: &'static str,
    pub verb: String,
    pub reason: String,
    pub evidence: String,
}

/// A decision.
#[derive(Debug, Serialize)]
pub struct DecisionRow {
    pub seq: u32,
    pub iteration: u32,
    pub what: String,
    pub outcome: &'static str,
    pub class: &'static str,
    pub reason: String,
    pub figures: String,
    pub evidence: String,
}

/// A difference between two variants.
#[derive(Debug, Serialize)]
pub struct DiffView {
    pub title: String,
    pub outcome: &'static str,
    pub class: &'static str,
    pub hypothesis: String,
    /// The agents' sessions, in words; empty where none had one.
    pub sessions: String,
    pub stats: String,
    pub open: bool,
    pub lines: Vec<DiffLine>,
    pub patch: String,
}

/// A line of a difference.
#[derive(Debug, Serialize)]
pub struct DiffLine {
    pub class: &'static str,
    pub text: String,
}

/// One role's spending.
#[derive(Debug, Default, Serialize)]
pub struct SpendRow {
    pub role: String,
    pub cost: String,
    pub calls: String,
    pub input: String,
    pub output: String,
    pub share: u32,
}

impl View {
    /// The report's texts.
    pub fn new(data: &ReportData) -> Self {
        let fixed = data.fixed_structure_best();
        Self {
            project: data.project.clone(),
            description: data.description.clone(),
            job: data.job.short(),
            status: status(data.status),
            final_: data.status.is_final(),
            created: format::moment(data.created_at),
            took: format::duration(data.updated_at.since(data.created_at)),
            metric: data.metric.clone(),
            rule: data.rule.clone(),
            verdict: verdict(data),
            stopped: data
                .stopped()
                .map(|(why, reason)| format!("{}: {reason}", stop(why))),
            test_skipped: data.test_skipped().map(str::to_owned),
            improved: data.improved(),
            results: results(data),
            structure: structure(data, fixed),
            same_best: fixed.is_some_and(|candidate| candidate.variant == data.best),
            candidates: data.candidates.iter().map(|c| row(c, data)).collect(),
            tree: tree(data),
            clusters: clusters(data.before.as_ref(), data.after.as_ref()),
            reader: reader(data),
            remaining: data
                .after
                .as_ref()
                .or(data.before.as_ref())
                .map_or_else(Vec::new, |left| clusters(Some(left), None)),
            ceilings: ceilings(data),
            levels: data.decisions.iter().filter_map(level_row).collect(),
            decisions: data.decisions.iter().map(decision_row).collect(),
            diffs: diffs(data),
            spending_unit: if data.balance.total().cost.0 == 0 {
                "Model calls"
            } else {
                "Dollars"
            },
            spend: spend(data),
            spend_total: spend_total(data),
            facts: data.facts.clone(),
        }
    }
}

/// A job's status for people.
pub const fn status(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Running => "running",
        JobStatus::Done => "done",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "cancelled",
    }
}

fn name(candidate: &Candidate) -> String {
    candidate.technique.map_or_else(
        || candidate.outcome.label().to_owned(),
        |technique| technique.to_string().replace('_', " "),
    )
}
