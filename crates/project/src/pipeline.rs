//! Reads a variant's `pipeline.yaml` and everything it names, checks it whole, and lays it out for execution.
//!
//! All problems are collected; a [`Pipeline`] exists only where none of them is an error. What one step sees of the others:
//!
//! * a step sees every other step of its own list (which must then come first: the graph may not have a cycle);
//! * a step inside a `sample` also sees what the sample itself could see, and nobody outside sees it;
//! * the `check` of `best_by` sees what the sample sees, and `candidate`; the `step` of `merge` sees `samples` instead.

mod absent;
mod caps;
mod code;
mod files;
mod names;
mod order;
mod output;
mod placeholders;
mod plan;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use fapo_domain::ids::StepId;
use fapo_domain::model::pipeline::{PipelineSpec, StepSpec};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::code::CodeUnit;
use fapo_domain::problem::Problems;

use crate::template::{Condition, PromptTemplate, TextTemplate};

pub use absent::{AbsentKey, InputProbe};
pub(crate) use code::{is_step_code, reached};
pub use output::{OutputPart, OutputPath};
pub(crate) use plan::read_spec;
pub(crate) use steps::last_line;

/// The pipeline's file in a variant.
pub const PIPELINE_FILE: &str = "pipeline.yaml";

/// What a pipeline is checked against.
#[derive(Debug, Clone, Copy)]
pub struct PipelineContext<'a> {
    /// The project: its models, corpora and limits.
    pub project: &'a ProjectSpec,
    /// The input keys seen in the data; `None` where they are not known, and then not checked.
    pub input_keys: Option<&'a BTreeSet<String>>,
}

/// A pipeline without errors, ready to run. Immutable; compiled templates are shared by clones.
#[derive(Debug, Clone)]
pub struct Pipeline {
    spec: PipelineSpec,
    steps: Vec<PlannedStep>,
    output: OutputPath,
    calls: u64,
    documents: u64,
}

impl Pipeline {
    /// The file's content, typed.
    pub const fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    /// The steps, each after all that it needs; otherwise in the order of the file.
    pub fn steps(&self) -> &[PlannedStep] {
        &self.steps
    }

    /// What is scored.
    pub const fn output(&self) -> &OutputPath {
        &self.output
    }

    /// The most model calls that one case can make, with no condition false and no cache hit.
    pub const fn calls_per_case(&self) -> u64 {
        self.calls
    }

    /// The most documents that one case can retrieve, over all steps; those joined in by `include` count once, where they
    /// were found.
    pub const fn documents_per_case(&self) -> u64 {
        self.documents
    }

    /// The entries of `models:` that its steps call.
    pub fn models(&self) -> BTreeSet<&str> {
        fn add<'p>(
            steps: impl IntoIterator<Item = &'p PlannedStep>,
            models: &mut BTreeSet<&'p str>,
        ) {
            for step in steps {
                if let StepSpec::Llm(llm) = &step.spec {
                    models.insert(llm.model.as_deref().unwrap_or("task"));
                }
                if let Some(sample) = &step.sample {
                    let around = [sample.check.as_deref(), sample.merge.as_deref()];
                    let inner: Vec<_> = sample
                        .steps
                        .iter()
                        .chain(around.into_iter().flatten())
                        .collect();
                    add(inner, models);
                }
            }
        }
        let mut models = BTreeSet::new();
        add(&self.steps, &mut models);
        models
    }

    /// Whether any of its steps runs code of the variant.
    pub fn runs_code(&self) -> bool {
        let mut found = false;
        crate::diff::each_step(&self.spec.steps, &mut |step| {
            found |= matches!(step, StepSpec::Python(_));
        });
        found
    }

    /// A top-level step by its id.
    pub fn step(&self, id: &str) -> Option<&PlannedStep> {
        self.steps.iter().find(|step| step.id().as_str() == id)
    }
}

/// One step with everything compiled that it needs.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    /// As it was written.
    pub spec: StepSpec,
    /// Positions, in the list that this step is in, of the steps it needs: named by `needs`, by `include`, by a template or
    /// by its condition. All are smaller than its own. A sample also has here what its sub-steps need from around it.
    pub needs: Vec<usize>,
    /// The prompt of an `llm` step.
    pub prompt: Option<PromptTemplate>,
    /// The queries of a `retrieve` step, at least one.
    pub queries: Vec<TextTemplate>,
    /// The corpus of a `retrieve` step: an entry of `data.corpora`, also where the file leaves it out.
    pub corpus: Option<String>,
    /// The text of a `template` step.
    pub template: Option<TextTemplate>,
    /// The code of a `python` step.
    pub code: Option<Arc<CodeUnit>>,
    /// The condition.
    pub when: Option<Condition>,
    /// What a `sample` step runs.
    pub sample: Option<Box<PlannedSample>>,
}

impl PlannedStep {
    /// The step's name.
    pub fn id(&self) -> &StepId {
        self.spec.id()
    }
}

/// The inside of a `sample` step.
#[derive(Debug, Clone)]
pub struct PlannedSample {
    /// The steps of one sample, in order; their `needs` are positions in this list.
    pub steps: Vec<PlannedStep>,
    /// Position of the step whose value is the sample.
    pub output: usize,
    /// The step of `best_by` that judges one `candidate`.
    pub check: Option<Box<PlannedStep>>,
    /// The step of `merge` that sees all `samples`.
    pub merge: Option<Box<PlannedStep>>,
}

/// Reads and checks a variant. The pipeline is there exactly where no problem is an error. Files are named as the user
/// sees them, below `pipeline/`.
pub fn read_pipeline(
    tree: &VariantTree,
    ctx: &PipelineContext<'_>,
) -> (Option<Pipeline>, Problems) {
    let mut problems = Problems::new();
    let pipeline = plan::read(tree, ctx, &mut problems);
    problems.sort();
    (pipeline.filter(|_| !problems.has_errors()), problems)
}

/// What is wrong with a variant as far as that can be judged without a project: where `fapo.yaml` cannot be read.
pub fn check_without_project(tree: &VariantTree) -> Problems {
    let ctx = PipelineContext {
        project: &crate::project::unread(),
        input_keys: None,
    };
    let of_project = |rule: &str| {
        matches!(
            rule,
            "unknown-model" | "unknown-corpus" | "cap-model-calls" | "cap-documents"
        )
    };
    let mut problems = Problems::new();
    for problem in read_pipeline(tree, &ctx).1 {
        if !of_project(&problem.rule) {
            problems.push(problem);
        }
    }
    problems
}

/// A path below `pipeline/` as the user sees it.
pub(crate) fn shown(path: &str) -> String {
    format!("pipeline/{path}")
}
