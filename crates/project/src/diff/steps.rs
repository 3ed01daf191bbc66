//! Compares what two pipelines say, step by step.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::ids::StepId;
use fapo_domain::model::level::Level;
use fapo_domain::model::pipeline::{
    Combine, LlmStep, PipelineSpec, PythonStep, RetrieveStep, SampleStep, StepSpec, TemplateStep,
};
use serde::Serialize;

use super::Change;

/// Where a step stands: at the top, or in a part of a sample.
type Owner<'a> = Option<(&'a str, &'static str)>;

pub(super) fn compare(old: &PipelineSpec, new: &PipelineSpec, changes: &mut BTreeSet<Change>) {
    let (before, after) = (index(old), index(new));
    for (id, (owner, step)) in &before {
        match after.get(id) {
            None => structure(changes, id, None, format!("`{}` step removed", step.kind())),
            Some((new_owner, _)) if owner != new_owner => {
                let what = format!("moved from {} to {}", place(*owner), place(*new_owner));
                structure(changes, id, None, what);
            }
            Some(_) => {}
        }
    }
    for (id, (_, step)) in &after {
        match before.get(id) {
            None => structure(changes, id, None, format!("`{}` step added", step.kind())),
            Some((_, old)) => Comparison { id, changes }.steps(old, step),
        }
    }
    let normal = |output: &str| output.trim().trim_end_matches(".text").to_owned();
    if normal(&old.output) != normal(&new.output) {
        changes.insert(Change {
            level: Level::Structure,
            path: "output".to_owned(),
            what: format!("`{}` → `{}`", old.output.trim(), new.output.trim()),
            step: None,
        });
    }
}

/// All steps by id, each with where it stands.
fn index(spec: &PipelineSpec) -> BTreeMap<&str, (Owner<'_>, &StepSpec)> {
    fn add<'a>(
        step: &'a StepSpec,
        owner: Owner<'a>,
        all: &mut BTreeMap<&'a str, (Owner<'a>, &'a StepSpec)>,
    ) {
        all.insert(step.id().as_str(), (owner, step));
        if let StepSpec::Sample(sample) = step {
            let id = sample.id.as_str();
            for inner in &sample.steps {
                add(inner, Some((id, "steps")), all);
            }
            match &sample.combine {
                Combine::Vote(_) => {}
                Combine::BestBy(best) => add(&best.check, Some((id, "check")), all),
                Combine::Merge(merge) => add(&merge.step, Some((id, "merge")), all),
            }
        }
    }
    let mut all = BTreeMap::new();
    for step in &spec.steps {
        add(step, None, &mut all);
    }
    all
}

fn place(owner: Owner<'_>) -> String {
    owner.map_or_else(
        || "the top".to_owned(),
        |(id, part)| format!("{part} of `{id}`"),
    )
}

fn structure(changes: &mut BTreeSet<Change>, id: &str, key: Option<&str>, what: String) {
    changes.insert(Change {
        level: Level::Structure,
        path: key.map_or_else(|| format!("steps.{id}"), |key| format!("steps.{id}.{key}")),
        what,
        step: Some(StepId::new(id)),
    });
}

/// Collects what differs between two versions of one step.
struct Comparison<'a> {
    id: &'a str,
    changes: &'a mut BTreeSet<Change>,
}

impl Comparison<'_> {
    fn differ<T: PartialEq + Serialize>(&mut self, level: Level, key: &str, old: &T, new: &T) {
        if old != new {
            self.changes.insert(Change {
                level,
                path: format!("steps.{}.{key}", self.id),
                what: format!("{} → {}", shown(old), shown(new)),
                step: Some(StepId::new(self.id)),
            });
        }
    }

    fn steps(&mut self, old: &StepSpec, new: &StepSpec) {
        match (old, new) {
            (StepSpec::Llm(old), StepSpec::Llm(new)) => self.llm(old, new),
            (StepSpec::Retrieve(old), StepSpec::Retrieve(new)) => self.retrieve(old, new),
            (StepSpec::Template(old), StepSpec::Template(new)) => self.template(old, new),
            (StepSpec::Python(old), StepSpec::Python(new)) => self.python(old, new),
            (StepSpec::Sample(old), StepSpec::Sample(new)) => self.sample(old, new),
            _ => {
                let what = format!("`{}` → `{}`", old.kind(), new.kind());
                structure(self.changes, self.id, Some("kind"), what);
                return;
            }
        }
        let needs = |step: &StepSpec| step.needs().iter().cloned().collect::<BTreeSet<_>>();
        self.differ(Level::Structure, "needs", &needs(old), &needs(new));
        let when = |step: &StepSpec| step.when().map(|when| when.trim().to_owned());
        self.differ(Level::Structure, "when", &when(old), &when(new));
    }

    fn llm(&mut self, old: &LlmStep, new: &LlmStep) {
        self.differ(Level::Prompt, "prompt", &old.prompt, &new.prompt);
        let model = |step: &LlmStep| step.model.clone().unwrap_or_else(|| "task".to_owned());
        self.differ(Level::Parameter, "model", &model(old), &model(new));
        self.differ(
            Level::Parameter,
            "temperature",
            &old.temperature,
            &new.temperature,
        );
        self.differ(Level::Parameter, "top_p", &old.top_p, &new.top_p);
        self.differ(
            Level::Parameter,
            "max_tokens",
            &old.max_tokens,
            &new.max_tokens,
        );
        self.differ(Level::Parameter, "stop", &old.stop, &new.stop);
        self.differ(Level::Parameter, "seed", &old.seed, &new.seed);
        self.differ(Level::Structure, "output", &old.output, &new.output);
        self.differ(Level::Structure, "schema", &old.schema, &new.schema);
    }

    fn retrieve(&mut self, old: &RetrieveStep, new: &RetrieveStep) {
        self.differ(Level::Parameter, "k", &old.k, &new.k);
        let fields = |step: &RetrieveStep| {
            let mut names: Vec<String> = step.fields.iter().map(shown).collect();
            names.sort();
            names
        };
        self.differ(Level::Parameter, "fields", &fields(old), &fields(new));
        self.differ(Level::Structure, "corpus", &old.corpus, &new.corpus);
        let queries = |step: &RetrieveStep| {
            step.query
                .iter()
                .chain(&step.queries)
                .cloned()
                .collect::<Vec<_>>()
        };
        self.differ(Level::Structure, "queries", &queries(old), &queries(new));
        self.differ(Level::Structure, "include", &old.include, &new.include);
    }

    fn template(&mut self, old: &TemplateStep, new: &TemplateStep) {
        self.differ(Level::Structure, "template", &old.template, &new.template);
        self.differ(Level::Structure, "extract", &old.extract, &new.extract);
        self.differ(Level::Structure, "pointer", &old.pointer, &new.pointer);
    }

    fn python(&mut self, old: &PythonStep, new: &PythonStep) {
        self.differ(Level::Structure, "file", &old.file, &new.file);
        self.differ(Level::Structure, "function", &old.function, &new.function);
        self.differ(
            Level::Parameter,
            "timeout_s",
            &old.timeout_s,
            &new.timeout_s,
        );
        self.differ(
            Level::Parameter,
            "memory_mb",
            &old.memory_mb,
            &new.memory_mb,
        );
    }

    fn sample(&mut self, old: &SampleStep, new: &SampleStep) {
        self.differ(Level::Parameter, "n", &old.n, &new.n);
        // the steps inside are compared by their own ids; here only what the sample makes of them
        let output = |step: &SampleStep| {
            let last = || step.steps.last().map(|inner| inner.id().clone());
            step.output.clone().or_else(last)
        };
        self.differ(Level::Structure, "output", &output(old), &output(new));
        match (&old.combine, &new.combine) {
            (Combine::Vote(old), Combine::Vote(new)) => {
                self.differ(
                    Level::Structure,
                    "combine.extract",
                    &old.extract,
                    &new.extract,
                );
            }
            (Combine::BestBy(_), Combine::BestBy(_)) | (Combine::Merge(_), Combine::Merge(_)) => {}
            (old, new) => {
                self.differ(
                    Level::Structure,
                    "combine.method",
                    &method(old),
                    &method(new),
                );
            }
        }
    }
}

const fn method(combine: &Combine) -> &'static str {
    match combine {
        Combine::Vote(_) => "vote",
        Combine::BestBy(_) => "best_by",
        Combine::Merge(_) => "merge",
    }
}

/// A value as it would be written, on one short line.
fn shown<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    let text = match &json {
        serde_json::Value::Null => return "none".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 60 {
        let start: String = line.chars().take(59).collect();
        format!("{start}…")
    } else {
        line
    }
}
