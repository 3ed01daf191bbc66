//! Variables: what each step reads, and whether a proposal lost any of it.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::model::pipeline::{Combine, PipelineSpec, StepSpec};
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use fapo_project::python::Source;
use fapo_project::template::{Condition, PromptTemplate, TextTemplate};

use super::finding;

/// What a step reads, by its plain name: `question` for `input.question`, `steps.hop` for anything of step `hop`.
pub fn reads(tree: &VariantTree, step: &StepSpec) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add =
        |paths: BTreeSet<Vec<String>>| names.extend(paths.iter().filter_map(|path| plain(path)));
    if let Some(when) = step.when()
        && let Ok(condition) = Condition::compile(when)
    {
        add(condition.variables());
    }
    match step {
        StepSpec::Llm(llm) => {
            if let Some(Ok(prompt)) = tree
                .text(&llm.prompt)
                .map(|text| PromptTemplate::compile(&llm.prompt, text))
            {
                add(prompt.variables());
            }
        }
        StepSpec::Retrieve(retrieve) => {
            for query in retrieve.query.iter().chain(&retrieve.queries) {
                if let Ok(query) = TextTemplate::compile("query", query) {
                    add(query.variables());
                }
            }
            names.extend(retrieve.include.iter().map(|id| format!("steps.{id}")));
        }
        StepSpec::Template(template) => {
            if let Ok(text) = TextTemplate::compile("template", &template.template) {
                add(text.variables());
            }
        }
        StepSpec::Python(python) => {
            names.extend(python.needs.iter().map(|id| format!("steps.{id}")));
            // a key of the input that it reads stands somewhere in the code, as a text
            if let Some(text) = tree.text(&python.file) {
                names.extend(Source::read(text).texts().map(str::to_owned));
            }
        }
        StepSpec::Sample(sample) => {
            for inner in &sample.steps {
                names.extend(reads(tree, inner));
            }
            match &sample.combine {
                Combine::Vote(_) => {}
                Combine::BestBy(best) => names.extend(reads(tree, &best.check)),
                Combine::Merge(merge) => names.extend(reads(tree, &merge.step)),
            }
            for inner in &sample.steps {
                names.remove(&format!("steps.{}", inner.id()));
            }
        }
    }
    names
}

fn plain(path: &[String]) -> Option<String> {
    match path {
        [first]
            if matches!(
                first.as_str(),
                "case_id" | "candidate" | "samples" | "input" | "steps"
            ) =>
        {
            None
        }
        [first, second, ..] if first == "input" => Some(second.clone()),
        [first, second, ..] if first == "steps" => Some(format!("steps.{second}")),
        [first, ..] => Some(first.clone()),
        [] => None,
    }
}

/// Variables that a parent's prompt used and that no longer reach its step.
///
/// A variable counts as kept when the step still reads it, or reads a step that the proposal added and that reads it,
/// directly or through other added steps: rewiring is no loss. Of a step that is gone only the case's own inputs are
/// asked for, anywhere in the pipeline.
pub fn dropped(
    (parent_tree, parent): (&VariantTree, &PipelineSpec),
    (child_tree, child): (&VariantTree, &PipelineSpec),
) -> Vec<LintFinding> {
    let child_reads: BTreeMap<&str, BTreeSet<String>> = child
        .steps
        .iter()
        .map(|step| (step.id().as_str(), reads(child_tree, step)))
        .collect();
    let old: BTreeSet<&str> = parent.steps.iter().map(|step| step.id().as_str()).collect();
    let everywhere: BTreeSet<&str> = child_reads.values().flatten().map(String::as_str).collect();
    let mut found = Vec::new();
    for step in &parent.steps {
        let Some(prompt) = prompt_of(step) else {
            continue;
        };
        let id = step.id().as_str();
        for name in reads(parent_tree, step) {
            let kept = match child_reads.get(id) {
                Some(_) => reaches(&child_reads, &old, id, &name),
                None => name.starts_with("steps.") || everywhere.contains(name.as_str()),
            };
            if !kept {
                found.push(finding(
                    Lint::VariableDropped,
                    prompt,
                    format!("step `{id}` no longer gets `{name}`"),
                ));
            }
        }
    }
    found
}

/// The prompt file of a step that calls a model.
fn prompt_of(step: &StepSpec) -> Option<&str> {
    match step {
        StepSpec::Llm(llm) => Some(&llm.prompt),
        StepSpec::Sample(sample) => sample.steps.iter().find_map(prompt_of),
        StepSpec::Retrieve(_) | StepSpec::Template(_) | StepSpec::Python(_) => None,
    }
}

fn reaches(
    reads: &BTreeMap<&str, BTreeSet<String>>,
    old: &BTreeSet<&str>,
    step: &str,
    name: &str,
) -> bool {
    let mut open = vec![step];
    let mut seen = BTreeSet::new();
    while let Some(at) = open.pop() {
        if !seen.insert(at) {
            continue;
        }
        let Some(names) = reads.get(at) else { continue };
        if names.contains(name) {
            return true;
        }
        open.extend(
            names
                .iter()
                .filter_map(|read| read.strip_prefix("steps."))
                .filter(|id| !old.contains(id)),
        );
    }
    false
}
