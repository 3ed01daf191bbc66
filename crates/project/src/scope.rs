//! Whether a difference stays within what a proposal may change. Decided from the trees, on this side.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::model::level::Level;
use fapo_domain::model::pipeline::{PipelineSpec, StepSpec};
use fapo_domain::model::project::ScopeSpec;
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::problem::Problems;
use globset::{GlobBuilder, GlobMatcher};

use crate::diff::{SemanticDiff, each_step, files};
use crate::pipeline::{PIPELINE_FILE, read_spec};

/// Everything in the change from `parent` to `child` that the scope, or the level `open` at the moment, does not allow:
/// * `scope_level`: a change deeper than what is open, or at a level that `allow` leaves out;
/// * `scope_file`: a file outside `files`. `pipeline.yaml` is not counted: its changes have levels, steps and ranges;
/// * `scope_step`: an existing step outside `steps` that is changed or removed, also by an edit of its prompt;
/// * `scope_range`: a new or changed value outside `ranges`, or a move to a model outside `models`;
/// * `no_change`: nothing that runs differs.
///
/// `diff` is [`crate::semantic_diff`] of the same trees. Empty means that the change is allowed.
pub fn check_scope(
    scope: &ScopeSpec,
    open: Level,
    parent: &VariantTree,
    child: &VariantTree,
    diff: &SemanticDiff,
) -> Vec<LintFinding> {
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
    changed_steps(scope, diff, &old, &mut findings);
    values(scope, &old, &new, &mut findings);
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
    let spec: Option<PipelineSpec> =
        read_spec(tree, &mut Problems::new()).and_then(|(_, spec, _)| spec);
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

fn values(scope: &ScopeSpec, old: &Steps, new: &Steps, findings: &mut Vec<LintFinding>) {
    let models = |step: &StepSpec| match step {
        StepSpec::Llm(step) => Some(step.model.clone().unwrap_or_else(|| "task".to_owned())),
        StepSpec::Retrieve(_) | StepSpec::Template(_) | StepSpec::Sample(_) => None,
    };
    let in_use: BTreeSet<String> = old.values().filter_map(models).collect();
    for (id, step) in new {
        let before = old.get(id).filter(|before| before.kind() == step.kind());
        if let Some(model) = models(step) {
            let free = match before {
                Some(before) => models(before).as_ref() == Some(&model),
                // a new step may use what the pipeline uses already
                None => model == "task" || in_use.contains(&model),
            };
            if !free && !scope.models.contains(&model) {
                let allowed = if scope.models.is_empty() {
                    "`scope.models` allows no move".to_owned()
                } else {
                    format!("`scope.models` allows {}", scope.models.join(", "))
                };
                let message = format!("model `{model}`: {allowed}");
                findings.push(finding(
                    Lint::ScopeRange,
                    format!("steps.{id}.model"),
                    message,
                ));
            }
        }
        for (name, value) in parameters(step) {
            let unchanged = before.is_some_and(|before| {
                parameters(before)
                    .iter()
                    .any(|(other, old)| *other == name && *old == value)
            });
            if unchanged {
                continue;
            }
            for (key, (least, most)) in &scope.ranges {
                if applies(key, step.kind(), id, name) && !(*least..=*most).contains(&value) {
                    let message = format!("{value} is outside {least} to {most} (`{key}`)");
                    let place = format!("steps.{id}.{name}");
                    findings.push(finding(Lint::ScopeRange, place, message));
                }
            }
        }
    }
}

/// The parameters that are numbers and that the step sets.
fn parameters(step: &StepSpec) -> Vec<(&'static str, f64)> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a seed beyond 2^53 is compared with a range a person wrote"
    )]
    let all = match step {
        StepSpec::Llm(step) => vec![
            ("temperature", step.temperature),
            ("top_p", step.top_p),
            ("max_tokens", step.max_tokens.map(f64::from)),
            ("seed", step.seed.map(|seed| seed as f64)),
        ],
        StepSpec::Retrieve(step) => vec![("k", Some(f64::from(step.k)))],
        StepSpec::Template(_) => Vec::new(),
        StepSpec::Sample(step) => vec![("n", Some(f64::from(step.n)))],
    };
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// The parameters that `scope.ranges` can name, by kind.
pub(crate) const RANGED: [(&str, &[&str]); 3] = [
    ("llm", &["temperature", "top_p", "max_tokens", "seed"]),
    ("retrieve", &["k"]),
    ("sample", &["n"]),
];

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
