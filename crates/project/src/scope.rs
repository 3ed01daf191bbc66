//! Whether a difference stays within what a proposal may change. Decided from the trees, on this side.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::model::level::Level;
use fapo_domain::model::pipeline::{PipelineSpec, StepSpec};
use fapo_domain::model::project::{ModelSpec, ProjectSpec, ScopeSpec};
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::problem::Problems;
use globset::{GlobBuilder, GlobMatcher};

use crate::diff::{SemanticDiff, each_step, files};
use crate::pipeline::{PIPELINE_FILE, is_step_code, reached, read_spec};

/// Everything in the change from `parent` to `child` that the scope, or the level `open` at the moment, does not allow:
/// * `scope_level`: a change deeper than what is open, or at a level that `allow` leaves out;
/// * `scope_file`: a file outside `files`. `pipeline.yaml` is not counted: its changes have levels, steps and ranges;
/// * `scope_step`: an existing step outside `steps` that is changed or removed, also by an edit of its prompt or code;
/// * `scope_range`: a new or changed value outside `ranges`, or a move to a model outside `models`. What counts is the
///   value a step runs with, so leaving a parameter out is setting it to its model entry's;
/// * `no_change`: nothing that runs differs.
///
/// `diff` is [`crate::semantic_diff`] of the same trees. Empty means that the change is allowed.
pub fn check_scope(
    project: &ProjectSpec,
    open: Level,
    parent: &VariantTree,
    child: &VariantTree,
    diff: &SemanticDiff,
) -> Vec<LintFinding> {
    let scope = &project.scope;
    let mut findings = Vec::new();
    if diff.level.is_none() {
        findings.push(finding(
            Lint::NoChange,
            "pipeline/",
            "nothing that runs differs from the parent",
        ));
    }
    let (old, new) = (steps_of(parent), steps_of(child));
    levels(scope, open, diff, &mut findings);
    changed_files(scope, parent, child, &mut findings);
    changed_steps(scope, diff, (parent, child), &old, &mut findings);
    values(project, &old, &new, &mut findings);
    findings
}

fn finding(lint: Lint, place: impl Into<String>, message: impl Into<String>) -> LintFinding {
    LintFinding {
        lint,
        place: place.into(),
        message: message.into(),
    }
}

/// A pipeline's steps by id, those inside samples included. None where the file cannot be read, which is another's matter.
type Steps = BTreeMap<String, StepSpec>;

fn steps_of(tree: &VariantTree) -> Steps {
    let spec: Option<PipelineSpec> = read_spec(tree, &mut Problems::new());
    let mut all = BTreeMap::new();
    if let Some(spec) = &spec {
        each_step(&spec.steps, &mut |step| {
            all.insert(step.id().as_str().to_owned(), step.clone());
        });
    }
    all
}

fn levels(scope: &ScopeSpec, open: Level, diff: &SemanticDiff, findings: &mut Vec<LintFinding>) {
    for change in &diff.changes {
        let level = change.level;
        let reason = if !scope.allow.contains(&level) {
            format!("level `{level}` is not in `scope.allow`")
        } else if level > open {
            format!("level `{level}` is not open yet: the deepest open level is `{open}`")
        } else {
            continue;
        };
        let message = format!("{}: {reason}", change.what);
        findings.push(finding(Lint::ScopeLevel, &change.path, message));
    }
}

fn changed_files(
    scope: &ScopeSpec,
    parent: &VariantTree,
    child: &VariantTree,
    findings: &mut Vec<LintFinding>,
) {
    let allowed = globs(&scope.files, true);
    for (path, _, _) in files(parent, child) {
        if path != PIPELINE_FILE
            && !scope.files.is_empty()
            && !allowed.iter().any(|glob| glob.is_match(path))
        {
            let message = format!("not in `scope.files` ({})", scope.files.join(", "));
            findings.push(finding(Lint::ScopeFile, path, message));
        }
    }
}

fn changed_steps(
    scope: &ScopeSpec,
    diff: &SemanticDiff,
    (parent, child): (&VariantTree, &VariantTree),
    old: &Steps,
    findings: &mut Vec<LintFinding>,
) {
    if scope.steps.is_empty() {
        return;
    }
    let allowed = globs(&scope.steps, false);
    let mut told = BTreeSet::new();
    for change in &diff.changes {
        let touched: Vec<&str> = match &change.step {
            Some(step) => vec![step.as_str()],
            // code belongs to the steps that run it, or import it before or after the change
            None if is_step_code(&change.path) => old
                .iter()
                .filter(|(_, step)| {
                    matches!(step, StepSpec::Python(step)
                    if [parent, child].iter().any(|tree| {
                        reached(tree, &step.file).contains(&*change.path)
                    }))
                })
                .map(|(id, _)| id.as_str())
                .collect(),
            // a prompt belongs to the steps that used it
            None => old
                .iter()
                .filter(
                    |(_, step)| matches!(step, StepSpec::Llm(step) if step.prompt == change.path),
                )
                .map(|(id, _)| id.as_str())
                .collect(),
        };
        for id in touched {
            let free = !old.contains_key(id) || allowed.iter().any(|glob| glob.is_match(id));
            if !free && told.insert((id.to_owned(), change.path.clone())) {
                let message = format!(
                    "{}: step `{id}` is not in `scope.steps` ({})",
                    change.what,
                    scope.steps.join(", ")
                );
                findings.push(finding(Lint::ScopeStep, &change.path, message));
            }
        }
    }
}

fn values(project: &ProjectSpec, old: &Steps, new: &Steps, findings: &mut Vec<LintFinding>) {
    let (scope, entries) = (&project.scope, &project.models);
    let in_use: BTreeSet<&str> = old.values().filter_map(model).collect();
    for (id, step) in new {
        let before = old.get(id).filter(|before| before.kind() == step.kind());
        if let Some(name) = model(step) {
            let free = match before {
                Some(before) => model(before) == Some(name),
                // a new step may use what the pipeline uses already
                None => name == DEFAULT_MODEL || in_use.contains(name),
            };
            if !free && !scope.models.iter().any(|allowed| allowed == name) {
                let allowed = if scope.models.is_empty() {
                    "`scope.models` allows no move".to_owned()
                } else {
                    format!("`scope.models` allows {}", scope.models.join(", "))
                };
                let message = format!("model `{name}`: {allowed}");
                findings.push(finding(
                    Lint::ScopeRange,
                    format!("steps.{id}.model"),
                    message,
                ));
            }
        }
        for parameter in parameters(step, entries) {
            let had = |other: &StepSpec| parameters(other, entries).contains(&parameter);
            let (name, value) = parameter;
            let free = match before {
                Some(before) => had(before),
                // a new step may leave to the provider what the others on its model leave to it
                None => {
                    value.is_none()
                        && old
                            .values()
                            .any(|other| model(other) == model(step) && had(other))
                }
            };
            if free {
                continue;
            }
            for (key, (least, most)) in &scope.ranges {
                if !applies(key, step.kind(), id, name) {
                    continue;
                }
                let message = match value {
                    Some(value) if (*least..=*most).contains(&value) => continue,
                    Some(value) => format!("{value} is outside {least} to {most} (`{key}`)"),
                    None => format!(
                        "without a value it is the provider's: set it, within {least} to {most} (`{key}`)"
                    ),
                };
                findings.push(finding(
                    Lint::ScopeRange,
                    format!("steps.{id}.{name}"),
                    message,
                ));
            }
        }
    }
}

/// The entry of `models:` for steps that name none.
const DEFAULT_MODEL: &str = "task";

/// The entry of `models:` that a step calls.
fn model(step: &StepSpec) -> Option<&str> {
    match step {
        StepSpec::Llm(step) => Some(step.model.as_deref().unwrap_or(DEFAULT_MODEL)),
        StepSpec::Retrieve(_)
        | StepSpec::Template(_)
        | StepSpec::Python(_)
        | StepSpec::Sample(_) => None,
    }
}

/// The parameters that are numbers, with the values the step runs with: its own, else its model entry's. `None` is left to
/// the provider.
fn parameters(
    step: &StepSpec,
    entries: &BTreeMap<String, ModelSpec>,
) -> Vec<(&'static str, Option<f64>)> {
    let entry = model(step).and_then(|name| entries.get(name));
    #[expect(
        clippy::cast_precision_loss,
        reason = "a seed beyond 2^53 is compared with a range a person wrote"
    )]
    match step {
        StepSpec::Llm(step) => vec![
            (
                "temperature",
                step.temperature.or_else(|| entry?.temperature),
            ),
            ("top_p", step.top_p.or_else(|| entry?.top_p)),
            (
                "max_tokens",
                step.max_tokens
                    .or_else(|| Some(entry?.max_tokens))
                    .map(f64::from),
            ),
            ("seed", step.seed.map(|seed| seed as f64)),
        ],
        StepSpec::Retrieve(step) => vec![("k", Some(f64::from(step.k)))],
        StepSpec::Template(_) => Vec::new(),
        StepSpec::Python(step) => vec![
            ("timeout_s", Some(f64::from(step.timeout_s))),
            ("memory_mb", Some(f64::from(step.memory_mb))),
        ],
        StepSpec::Sample(step) => vec![("n", Some(f64::from(step.n)))],
    }
}

/// The parameters that `scope.ranges` can name, by kind.
pub(crate) const RANGED: [(&str, &[&str]); 4] = [
    ("llm", &["temperature", "top_p", "max_tokens", "seed"]),
    ("retrieve", &["k"]),
    ("python", &["timeout_s", "memory_mb"]),
    ("sample", &["n"]),
];

/// What `ranges` allow for a parameter of a step: the values that every matching entry allows. `None` where no entry
/// matches. Entries that exclude each other give a smallest value above the largest.
pub fn allowed_range(
    ranges: &BTreeMap<String, (f64, f64)>,
    kind: &str,
    step: &str,
    parameter: &str,
) -> Option<(f64, f64)> {
    ranges
        .iter()
        .filter(|(key, _)| applies(key, kind, step, parameter))
        .map(|(_, range)| *range)
        .reduce(|(least, most), (other_least, other_most)| {
            (least.max(other_least), most.min(other_most))
        })
}

/// Whether a key of `ranges` is about this parameter.
fn applies(key: &str, kind: &str, id: &str, parameter: &str) -> bool {
    let parts: Vec<&str> = key.split('.').collect();
    let [kinds, steps, parameters] = parts.as_slice() else {
        return false;
    };
    [(*kinds, kind), (*steps, id), (*parameters, parameter)]
        .into_iter()
        .all(|(pattern, word)| glob(pattern, false).is_some_and(|glob| glob.is_match(word)))
}

fn globs(patterns: &[String], paths: bool) -> Vec<GlobMatcher> {
    patterns
        .iter()
        .filter_map(|pattern| glob(pattern, paths))
        .collect()
}

/// A compiled glob. In paths `*` stays within a folder and `**` does not.
pub(crate) fn glob(pattern: &str, paths: bool) -> Option<GlobMatcher> {
    GlobBuilder::new(pattern)
        .literal_separator(paths)
        .build()
        .ok()
        .map(|glob| glob.compile_matcher())
}
