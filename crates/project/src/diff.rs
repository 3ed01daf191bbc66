//! What differs between two variants, and how deep it goes. The level of a proposal is decided here, from the trees, and
//! never from what the proposer says.
//!
//! Compared is what a pipeline *means*: how `pipeline.yaml` is laid out, the order of its steps, a default that is written
//! out, or white space around a prompt's sections make no difference.

mod lines;
mod steps;

use std::collections::BTreeSet;

use fapo_domain::ids::StepId;
use fapo_domain::model::level::Level;
use fapo_domain::model::pipeline::{Combine, PipelineSpec, PythonStep, StepSpec};
use fapo_domain::model::variant::{DiffStats, VariantTree};
use fapo_domain::problem::Problems;
use serde::{Deserialize, Serialize};

use crate::pipeline::{PIPELINE_FILE, read_spec};
use crate::template::PromptTemplate;

pub use lines::unified_diff;

/// The difference of two variants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemanticDiff {
    /// The deepest level among the changes; `None` where nothing that runs differs.
    pub level: Option<Level>,
    /// The changes, by path.
    pub changes: Vec<Change>,
    /// The size of the difference in lines, layout included.
    pub stats: DiffStats,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// How deep it goes.
    pub level: Level,
    /// What changed: a file (`prompts/answer.md`) or a key (`steps.answer.temperature`, `output`).
    pub path: String,
    /// How, in a few words: `0 → 0.7`, `added`.
    pub what: String,
    /// The step that it is in, also inside samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
}

/// Compares two variants.
///
/// # Errors
/// The problems of a `pipeline.yaml` that cannot be read: the child's, or else the parent's. Files that it names, and the
/// graph, are not looked at.
pub fn semantic_diff(parent: &VariantTree, child: &VariantTree) -> Result<SemanticDiff, Problems> {
    let new = spec(child)?;
    let old = spec(parent)?;
    let mut changes = BTreeSet::new();
    steps::compare(&old, &new, &mut changes);
    let mut prompts = prompt_files(&old);
    prompts.extend(prompt_files(&new));
    for (path, old, new) in files(parent, child) {
        if path == PIPELINE_FILE || same_prompt(path, old, new, &prompts) {
            continue;
        }
        let text = !is_code(path) && (is_text_of_the_task(path) || prompts.contains(path));
        changes.insert(Change {
            level: if text {
                Level::Prompt
            } else {
                Level::Structure
            },
            path: path.to_owned(),
            what: match (old, new) {
                (None, _) => "added".to_owned(),
                (_, None) => "removed".to_owned(),
                (Some(old), Some(new)) => {
                    let (added, removed) = lines::count(old, new);
                    format!("edited: {added} lines added, {removed} removed")
                }
            },
            step: None,
        });
    }
    let changes: Vec<Change> = sorted(changes);
    Ok(SemanticDiff {
        level: changes.iter().map(|change| change.level).max(),
        changes,
        stats: stats(parent, child),
    })
}

fn sorted(changes: BTreeSet<Change>) -> Vec<Change> {
    let mut changes: Vec<Change> = changes.into_iter().collect();
    changes.sort_by(|a, b| (&a.path, a.level).cmp(&(&b.path, b.level)));
    changes
}

fn spec(tree: &VariantTree) -> Result<PipelineSpec, Problems> {
    let mut problems = Problems::new();
    let spec = read_spec(tree, &mut problems);
    problems.sort();
    match spec {
        Some(spec) if !problems.has_errors() => Ok(spec),
        _ => Err(problems),
    }
}

/// Lines added and removed over all files.
fn stats(parent: &VariantTree, child: &VariantTree) -> DiffStats {
    let mut stats = DiffStats::default();
    for (_, old, new) in files(parent, child) {
        let (added, removed) = lines::count(old.unwrap_or_default(), new.unwrap_or_default());
        stats.files += 1;
        stats.added = stats.added.saturating_add(added);
        stats.removed = stats.removed.saturating_add(removed);
    }
    stats
}

/// A differing file: path, old content, new content.
type FilePair<'a> = (&'a str, Option<&'a [u8]>, Option<&'a [u8]>);

/// All files that differ in a byte, in path order.
pub(crate) fn files<'a>(parent: &'a VariantTree, child: &'a VariantTree) -> Vec<FilePair<'a>> {
    let paths: BTreeSet<&str> = parent
        .iter()
        .chain(child.iter())
        .map(|(path, _)| path)
        .collect();
    paths
        .into_iter()
        .map(|path| {
            let content = |tree: &'a VariantTree| tree.get(path).map(|bytes| &**bytes);
            (path, content(parent), content(child))
        })
        .filter(|(_, old, new)| old != new)
        .collect()
}

/// Folders whose files are texts that models read.
fn is_text_of_the_task(path: &str) -> bool {
    path.starts_with("prompts/") || path.starts_with("skills/")
}

/// Whether a file is code, whatever else names it: a step that takes it for its prompt does not make it a text.
fn is_code(path: &str) -> bool {
    path.starts_with(PythonStep::FOLDER) || path.ends_with(".py")
}

/// The prompt files that steps name.
fn prompt_files(spec: &PipelineSpec) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each_step(&spec.steps, &mut |step| {
        if let StepSpec::Llm(step) = step {
            found.insert(step.prompt.clone());
        }
    });
    found
}

/// Whether a prompt differs only in white space around its sections.
fn same_prompt(
    path: &str,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
    prompts: &BTreeSet<String>,
) -> bool {
    if is_code(path) || !prompts.contains(path) {
        return false;
    }
    let read = |bytes: Option<&[u8]>| {
        let text = std::str::from_utf8(bytes?).ok()?;
        PromptTemplate::compile(path, text).ok()
    };
    let (Some(old), Some(new)) = (read(old), read(new)) else {
        return false;
    };
    let parts = |prompt: &PromptTemplate| {
        prompt
            .sections()
            .iter()
            .map(|(role, text)| (*role, text.source().to_owned()))
            .collect::<Vec<_>>()
    };
    parts(&old) == parts(&new)
}

/// Visits all steps, those inside samples included.
pub(crate) fn each_step<'a>(steps: &'a [StepSpec], visit: &mut impl FnMut(&'a StepSpec)) {
    for step in steps {
        visit_step(step, visit);
    }
}

fn visit_step<'a>(step: &'a StepSpec, visit: &mut dyn FnMut(&'a StepSpec)) {
    visit(step);
    if let StepSpec::Sample(sample) = step {
        for inner in &sample.steps {
            visit_step(inner, visit);
        }
        match &sample.combine {
            Combine::Vote(_) => {}
            Combine::BestBy(best) => visit_step(&best.check, visit),
            Combine::Merge(merge) => visit_step(&merge.step, visit),
        }
    }
}
