//! Lints: deterministic checks of a proposal, made before anything is spent on it. Each refuses with a name and a reason.
//!
//! Two parts. [`check`] looks at the trees alone. [`Leaks`] is shown every case of every split, one at a time, and holds
//! only hashes of the proposal's added text, so a million cases pass through in bounded memory. What it says about
//! validation and test never quotes them.

pub mod added;
pub mod code;
pub mod cost;
pub mod hardcoded;
pub mod leaks;
pub mod pipeline;
pub mod secrets;
pub mod service;
pub mod tree;
pub mod unfinished;
pub mod variables;

#[cfg(test)]
mod table;

use std::collections::BTreeSet;

use fapo_domain::ContentHash;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Lint, LintFinding, LintReport};
use fapo_domain::model::variant::VariantTree;
use fapo_project::{Pipeline, PipelineContext, check_scope, read_pipeline, semantic_diff};

use crate::text::cut;

pub use added::Added;
pub use leaks::Leaks;
pub use service::{ReviewService, Trees, lint_trees};

/// What the lints look at.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The project: scope, limits, objective, models.
    pub project: &'a ProjectSpec,
    /// The deepest level that is open.
    pub open: Level,
    /// What the proposal started from.
    pub parent: &'a VariantTree,
    /// The proposal.
    pub child: &'a VariantTree,
    /// The job's baseline, against which cost is limited; the parent where absent.
    pub baseline: Option<&'a VariantTree>,
    /// [`tree::normal_hash`] of the job's earlier variants.
    pub earlier: &'a [ContentHash],
    /// Keys of the cases' inputs; unknown variables are not looked for where absent.
    pub input_keys: Option<&'a BTreeSet<String>>,
}

/// Findings of one report. A tree within its sizes can still hold a great many files, each with a fault.
const MOST_FINDINGS: usize = 200;
/// Characters of a finding's place.
const PLACE_CHARS: usize = 200;
/// Characters of a finding's message.
const MESSAGE_CHARS: usize = 400;

/// All checks that need no cases. Where a tree is too large or no text, only that is said: nothing else reads it.
pub fn check(candidate: &Candidate<'_>) -> LintReport {
    let Candidate {
        project,
        parent,
        child,
        ..
    } = *candidate;
    let mut report = LintReport::default();
    let refusals = &mut report.refusals;

    refusals.extend(gate(project, child));
    if !refusals.is_empty() {
        return report;
    }
    refusals.extend(code::forbidden_code(parent, child));
    if parent.id() != child.id() {
        refusals.extend(tree::duplicate(parent, child, candidate.earlier));
    }
    let added = Added::between(parent, child);
    refusals.extend(unfinished::unfinished(parent, child));
    refusals.extend(secrets::secrets(&added));

    let context = PipelineContext {
        project,
        input_keys: candidate.input_keys,
    };
    let (pipeline, problems) = read_pipeline(child, &context);
    refusals.extend(pipeline::problems(&problems));
    match semantic_diff(parent, child) {
        Ok(diff) => {
            report.level = diff.level;
            refusals.extend(check_scope(project, candidate.open, parent, child, &diff));
        }
        Err(problems) => refusals.extend(pipeline::problems(&problems)),
    }
    if let Some(child_pipeline) = &pipeline {
        let read = |tree: &VariantTree| {
            let context = PipelineContext {
                project,
                input_keys: None,
            };
            read_pipeline(tree, &context).0
        };
        let cost_of =
            |tree: &VariantTree, pipeline: &Pipeline| cost::cost(project, tree, pipeline.spec());
        let child_cost = cost_of(child, child_pipeline);
        if let Some(parent_pipeline) = read(parent) {
            refusals.extend(variables::dropped(
                (parent, parent_pipeline.spec()),
                (child, child_pipeline.spec()),
            ));
            report.predicted_cost_ratio =
                cost::ratio(cost_of(parent, &parent_pipeline), child_cost);
        }
        let against_baseline = match candidate.baseline {
            Some(baseline) if baseline != parent => read(baseline)
                .and_then(|pipeline| cost::ratio(cost_of(baseline, &pipeline), child_cost)),
            _ => report.predicted_cost_ratio,
        };
        refusals.extend(cost::predicted(project, against_baseline));
    }
    bounded(refusals);
    report
        .notes
        .insert("added_words".to_owned(), added.words().to_string());
    report
}

/// What a session hears of findings. Whoever may change the files and ask again could find out, word by word and id by id,
/// what stands in held-out cases; so all that is said of them is one sentence, without the file, and nothing of their ids.
pub(crate) fn heard(refusals: &[LintFinding]) -> Vec<LintFinding> {
    let mut heard: Vec<LintFinding> = refusals
        .iter()
        .filter(|finding| !finding.is_about_held_out())
        .cloned()
        .collect();
    let is_text = |finding: &LintFinding| {
        finding.is_about_held_out() && finding.message != LintFinding::HELD_OUT_ID
    };
    if refusals.iter().any(is_text) {
        heard.push(finding(
            Lint::HeldOutLeak,
            "pipeline/",
            "some text stands in validation or test cases",
        ));
    }
    heard
}

/// What must hold before anything else reads a tree: its sizes, and that it is text.
pub(crate) fn gate(project: &ProjectSpec, child: &VariantTree) -> Vec<LintFinding> {
    let mut refusals = tree::too_large(project, child);
    refusals.extend(tree::not_text(child));
    bounded(&mut refusals);
    refusals
}

/// Each (lint, place, message) once, in order of first appearance, and no more than [`MOST_FINDINGS`], each cut.
fn bounded(refusals: &mut Vec<LintFinding>) {
    let mut seen = BTreeSet::new();
    refusals.truncate(MOST_FINDINGS * 4);
    for one in &mut *refusals {
        // those of other crates were not made here
        *one = finding(one.lint, &*one.place, &*one.message);
    }
    refusals.retain(|finding| {
        seen.insert((finding.lint, finding.place.clone(), finding.message.clone()))
    });
    refusals.truncate(MOST_FINDINGS);
}

/// A finding. Whatever it is made of, it stays short: it is stored, and told to people and sessions.
pub(crate) fn finding(
    lint: Lint,
    place: impl Into<String>,
    message: impl Into<String>,
) -> LintFinding {
    LintFinding {
        lint,
        place: cut(&place.into(), PLACE_CHARS),
        message: cut(&message.into(), MESSAGE_CHARS),
    }
}
