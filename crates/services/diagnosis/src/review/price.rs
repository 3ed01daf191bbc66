//! What a case costs under a variant, read off its files: the most, with every condition met.
//!
//! Coarse on purpose, like the lints' prediction that it uses for money ([`crate::lints::cost`]). It is there so that a reviewer
//! sees at a glance when points are bought.

use fapo_domain::model::pipeline::{Combine, PipelineSpec, StepSpec};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::Footprint;
use fapo_domain::model::variant::VariantTree;
use fapo_project::SemanticDiff;

use crate::lints::cost::cost;
use crate::proposers::edit::llm_steps;

/// Dollars are stated per million tokens.
const MILLION: f64 = 1e6;

/// The footprint of a pipeline.
pub fn footprint(project: &ProjectSpec, tree: &VariantTree, pipeline: &PipelineSpec) -> Footprint {
    let (mut model_calls, mut documents) = (0.0, 0.0);
    for step in &pipeline.steps {
        let (calls, found) = of_step(step);
        model_calls += calls;
        documents += found;
    }
    let is_priced = |entry: &str| {
        project
            .models
            .get(entry)
            .is_some_and(|model| model.price.is_some())
    };
    let all_priced = llm_steps(pipeline)
        .iter()
        .all(|(_, llm)| is_priced(llm.model.as_deref().unwrap_or("task")));
    Footprint {
        model_calls,
        documents,
        usd: all_priced.then(|| cost(project, tree, pipeline) / MILLION),
    }
}

/// Model calls and documents of one step.
fn of_step(step: &StepSpec) -> (f64, f64) {
    match step {
        StepSpec::Llm(_) => (1.0, 0.0),
        StepSpec::Retrieve(retrieve) => (0.0, f64::from(retrieve.k)),
        StepSpec::Template(_) | StepSpec::Python(_) => (0.0, 0.0),
        StepSpec::Sample(sample) => {
            let n = f64::from(sample.n);
            let inner = sample.steps.iter().map(of_step);
            let once = inner.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let combine = match &sample.combine {
                Combine::Vote(_) => 0.0,
                Combine::BestBy(best) => n * of_step(&best.check).0,
                Combine::Merge(merge) => of_step(&merge.step).0,
            };
            (n * once.0 + combine, n * once.1)
        }
    }
}

/// The changes of a diff to how replies are drawn.
pub fn sampling(diff: &SemanticDiff) -> Vec<String> {
    const KEYS: [&str; 5] = ["temperature", "top_p", "n", "model", "max_tokens"];
    diff.changes
        .iter()
        .filter(|change| {
            let key = change.path.rsplit('.').next().unwrap_or_default();
            change.path.starts_with("steps.") && KEYS.contains(&key)
        })
        .map(|change| format!("{}: {}", change.path, change.what))
        .collect()
}

/// The table of what a case costs, before and after.
pub fn table(parent: Footprint, candidate: Footprint, ratio: Option<f64>) -> String {
    let mut out = String::from("| a case takes, at most | before | after |\n|---|---|---|\n");
    let mut row = |what: &str, before: String, after: String| {
        out.push_str(&format!("| {what} | {before} | {after} |\n"));
    };
    row(
        "model calls",
        format!("{}", parent.model_calls),
        format!("{}", candidate.model_calls),
    );
    row(
        "documents retrieved",
        format!("{}", parent.documents),
        format!("{}", candidate.documents),
    );
    if let (Some(before), Some(after)) = (parent.usd, candidate.usd) {
        row(
            "money (estimate)",
            format!("${before:.6}"),
            format!("${after:.6}"),
        );
    }
    if let Some(ratio) = ratio {
        out.push_str(&format!(
            "\nPredicted cost of a case: {ratio:.2} times the parent's.\n"
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use fapo_domain::money::Price;
    use fapo_project::{PipelineContext, read_pipeline, semantic_diff};

    use super::*;
    use crate::testing::{samples, tree};

    fn of(project: &ProjectSpec, tree: &VariantTree) -> Footprint {
        let context = PipelineContext {
            project,
            input_keys: None,
        };
        let (pipeline, problems) = read_pipeline(tree, &context);
        let pipeline = pipeline.unwrap_or_else(|| panic!("{problems}"));
        footprint(project, tree, pipeline.spec())
    }

    /// Retrieval of `k` documents, then `n` answers and a vote.
    fn voting(k: u32, n: u32, temperature: f64) -> VariantTree {
        let (single, _) = samples::single_hop();
        let yaml = format!(
            "steps:\n  - {{id: hop, kind: retrieve, corpus: wiki, query: '{{{{ question }}}}', k: {k}}}\n  - id: answer\n    kind: sample\n    n: {n}\n    steps:\n      - {{id: one, kind: llm, prompt: prompts/answer.md, temperature: {temperature}}}\n    combine: {{method: vote}}\noutput: answer\n"
        );
        tree(&[
            ("pipeline.yaml", &yaml),
            (
                "prompts/answer.md",
                single.text("prompts/answer.md").unwrap(),
            ),
        ])
    }

    #[test]
    fn calls_documents_and_money_of_a_case_are_read_off_the_pipeline() {
        let (single, mut project) = samples::single_hop();
        let one = of(&project, &single);
        assert_eq!((one.model_calls, one.documents, one.usd), (1.0, 3.0, None));
        project.models.get_mut("task").unwrap().price = Some(Price {
            input: 1.0,
            output: 4.0,
            cached_input: None,
        });
        let (before, after) = (of(&project, &single), of(&project, &voting(30, 5, 0.7)));
        assert_eq!((after.model_calls, after.documents), (5.0, 30.0));
        assert!(after.usd.unwrap() > 5.0 * before.usd.unwrap());
        let text = table(before, after, Some(11.5));
        for part in ["| 1 | 5 |", "| 3 | 30 |", "11.50 times"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn changes_of_sampling_are_named_and_others_are_not() {
        let diff = semantic_diff(&voting(3, 3, 0.7), &voting(9, 5, 0.2)).unwrap();
        let named = sampling(&diff);
        assert_eq!(named.len(), 2, "{named:?}");
        assert!(named.iter().any(|line| line.contains("temperature")));
        assert!(
            named
                .iter()
                .any(|line| line.starts_with("steps.answer.n: "))
        );
    }
}
