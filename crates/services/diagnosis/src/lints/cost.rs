//! Predicted cost per case, from what can be read off a pipeline: calls, prompt sizes, retrieved documents, reply limits.
//!
//! The tokens of one call are taken as: a quarter of the prompt file's bytes, [`DOCUMENT_TOKENS`] for each document the
//! prompt shows, [`VALUE_TOKENS`] for each other value it shows, and [`REPLY_TOKENS`] (or the step's limit, if lower) for
//! the reply, which counts four times as providers price it so. A model's price is applied where the project states one.
//! The prediction is coarse, so a proposal is refused only when it passes the allowed ratio by [`SLACK`]; what it really
//! costs is measured at the gate.

use std::collections::BTreeMap;

use fapo_domain::model::pipeline::{Combine, LlmStep, PipelineSpec, StepSpec};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;

use super::finding;
use super::variables::reads;

/// Tokens of one retrieved document.
pub const DOCUMENT_TOKENS: f64 = 120.0;
/// Tokens of one input value or earlier step's text.
pub const VALUE_TOKENS: f64 = 60.0;
/// Tokens of one reply.
pub const REPLY_TOKENS: f64 = 120.0;
/// How far a prediction must pass the allowed ratio before it refuses.
pub const SLACK: f64 = 1.25;

/// Refuses a proposal whose predicted cost, as a multiple of the baseline's, passes
/// `objective.subject_to.cost_ratio` by more than the slack.
pub fn predicted(project: &ProjectSpec, ratio: Option<f64>) -> Option<LintFinding> {
    let allowed = project.objective.subject_to.cost_ratio?;
    let ratio = ratio?;
    (ratio > allowed * SLACK).then(|| {
        finding(
            Lint::PredictedCost,
            "objective.subject_to.cost_ratio",
            format!(
                "would cost about {ratio:.1} times the baseline per case; {allowed} is allowed"
            ),
        )
    })
}

/// `b` over `a`; `None` where `a` costs nothing.
pub fn ratio(a: f64, b: f64) -> Option<f64> {
    (a > 0.0).then(|| b / a)
}

/// Predicted cost of one case, in a unit of its own: only ratios mean anything.
pub fn cost(project: &ProjectSpec, tree: &VariantTree, pipeline: &PipelineSpec) -> f64 {
    let mut documents: BTreeMap<String, f64> = BTreeMap::new();
    // includes refer to earlier steps, in any order of the list: settle by repeating
    for _ in 0..pipeline.steps.len() {
        for step in &pipeline.steps {
            if let StepSpec::Retrieve(retrieve) = step {
                let included: f64 = retrieve
                    .include
                    .iter()
                    .filter_map(|id| documents.get(&format!("steps.{id}")))
                    .sum();
                documents.insert(
                    format!("steps.{}", retrieve.id),
                    f64::from(retrieve.k) + included,
                );
            }
        }
    }
    pipeline
        .steps
        .iter()
        .map(|step| step_cost(project, tree, &documents, step))
        .sum()
}

fn step_cost(
    project: &ProjectSpec,
    tree: &VariantTree,
    documents: &BTreeMap<String, f64>,
    step: &StepSpec,
) -> f64 {
    match step {
        StepSpec::Llm(llm) => call_cost(project, tree, documents, llm, step),
        StepSpec::Retrieve(_) | StepSpec::Template(_) | StepSpec::Python(_) => 0.0,
        StepSpec::Sample(sample) => {
            let once: f64 = sample
                .steps
                .iter()
                .map(|inner| step_cost(project, tree, documents, inner))
                .sum();
            let n = f64::from(sample.n);
            let combine = match &sample.combine {
                Combine::Vote(_) => 0.0,
                Combine::BestBy(best) => n * step_cost(project, tree, documents, &best.check),
                Combine::Merge(merge) => step_cost(project, tree, documents, &merge.step),
            };
            n * once + combine
        }
    }
}

fn call_cost(
    project: &ProjectSpec,
    tree: &VariantTree,
    documents: &BTreeMap<String, f64>,
    llm: &LlmStep,
    step: &StepSpec,
) -> f64 {
    let entry = llm.model.as_deref().unwrap_or("task");
    let model = project.models.get(entry);
    let shown: f64 = reads(tree, step)
        .iter()
        .map(|name| {
            documents
                .get(name)
                .map_or(VALUE_TOKENS, |count| count * DOCUMENT_TOKENS)
        })
        .sum();
    let prompt = tree.get(&llm.prompt).map_or(0, |content| content.len()) as f64 / 4.0;
    let limit = llm
        .max_tokens
        .or_else(|| model.map(|model| model.max_tokens))
        .map_or(REPLY_TOKENS, f64::from);
    let reply = REPLY_TOKENS.min(limit);
    let (price_in, price_out) = model
        .and_then(|model| model.price)
        .filter(|price| price.input > 0.0 || price.output > 0.0)
        .map_or((1.0, 4.0), |price| (price.input, price.output));
    (prompt + shown) * price_in + reply * price_out
}
