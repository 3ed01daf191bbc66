//! Variants: as rows, as a tree, and what each changed.

use fapo_domain::model::variant::DiffStats;

use super::decisions::sessions;
use super::{CandidateRow, DiffLine, DiffView, TreeNode, name};
use crate::output::format;
use crate::report::data::{Candidate, Outcome, ReportData, Score};
use crate::report::tree::branches;

pub fn row(candidate: &Candidate, data: &ReportData) -> CandidateRow {
    let score = |score: &Option<Score>| score.as_ref().map_or_else(|| "–".to_owned(), Score::shown);
    CandidateRow {
        iteration: candidate.iteration,
        variant: candidate.variant.short(),
        parent: candidate.parent.map(|id| id.short()).unwrap_or_default(),
        level: candidate
            .level
            .map(|level| level.to_string())
            .unwrap_or_default(),
        technique: name(candidate),
        train: score(&candidate.train),
        val: score(&candidate.val),
        outcome: candidate.outcome.label(),
        class: candidate.outcome.class(),
        reason: candidate.reason.clone(),
        hypothesis: candidate.hypothesis.clone(),
        diff: stats(candidate.diff),
        best: candidate.variant == data.best,
    }
}

pub fn tree(data: &ReportData) -> Vec<TreeNode> {
    branches(data)
        .into_iter()
        .map(|branch| TreeNode {
            row: row(branch.candidate, data),
            rails: branch.rails,
            depth: branch.depth,
            bar: branch
                .candidate
                .val
                .as_ref()
                .or(branch.candidate.train.as_ref())
                .map_or(0, |score| (score.mean * 100.0).round() as u32),
        })
        .collect()
}

pub fn diffs(data: &ReportData) -> Vec<DiffView> {
    let path: Vec<_> = data
        .path_to(data.best)
        .iter()
        .map(|step| step.variant)
        .collect();
    let mut shown: Vec<&Candidate> = data
        .candidates
        .iter()
        .filter(|candidate| candidate.parent.is_some() && !candidate.patch.is_empty())
        .collect();
    // the way to the best first, in its order; then the rest in order of creation
    shown.sort_by_key(|candidate| (!path.contains(&candidate.variant), candidate.iteration));
    shown
        .into_iter()
        .map(|candidate| DiffView {
            title: format!(
                "{} · {} · {}",
                candidate.iteration,
                name(candidate),
                candidate.variant.short()
            ),
            outcome: candidate.outcome.label(),
            class: candidate.outcome.class(),
            hypothesis: candidate.hypothesis.clone(),
            sessions: sessions(candidate.session, candidate.reviewed_in),
            stats: stats(candidate.diff),
            open: candidate.outcome == Outcome::Promoted && path.contains(&candidate.variant),
            lines: candidate.patch.lines().map(diff_line).collect(),
            patch: candidate.patch.clone(),
        })
        .collect()
}

/// Tells apart the lines of a patch.
fn diff_line(line: &str) -> DiffLine {
    let class = if line.starts_with("+++")
        || line.starts_with("---")
        || line.starts_with("diff ")
        || line.starts_with("index ")
        || line.starts_with("new file")
        || line.starts_with("deleted file")
    {
        "file"
    } else if line.starts_with("@@") {
        "hunk"
    } else if line.starts_with('+') {
        "add"
    } else if line.starts_with('-') {
        "del"
    } else {
        "same"
    };
    DiffLine {
        class,
        text: line.to_owned(),
    }
}

/// The size of a difference for people.
fn stats(diff: DiffStats) -> String {
    if diff.files == 0 {
        return String::new();
    }
    format!(
        "{}, +{} −{}",
        format::counted(u64::from(diff.files), "file"),
        diff.added,
        diff.removed
    )
}
