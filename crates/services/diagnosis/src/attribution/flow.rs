//! The pipeline as attribution sees it: which step needs which, and which steps feed what is scored.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::StepId;
use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::project::ProjectSpec;
use fapo_project::Pipeline;

use super::scored::parts;

/// A step and what it needs.
#[derive(Debug, Clone)]
pub struct FlowStep {
    /// The step as it is written.
    pub spec: StepSpec,
    /// Indices of the steps it needs, all smaller than its own.
    pub needs: Vec<usize>,
}

impl FlowStep {
    /// Whether it calls a model itself or through its sub-steps.
    pub fn writes_text_by_model(&self) -> bool {
        match &self.spec {
            StepSpec::Llm(_) => true,
            StepSpec::Sample(sample) => sample
                .steps
                .iter()
                .any(|step| matches!(step, StepSpec::Llm(_))),
            StepSpec::Retrieve(_) | StepSpec::Template(_) | StepSpec::Python(_) => false,
        }
    }

    /// Whether it retrieves documents.
    pub const fn retrieves(&self) -> bool {
        matches!(self.spec, StepSpec::Retrieve(_))
    }
}

/// The steps in an order in which each comes after what it needs.
#[derive(Debug, Clone)]
pub struct Flow {
    steps: Vec<FlowStep>,
    index: BTreeMap<StepId, usize>,
    feeding: Vec<bool>,
    scored: BTreeSet<usize>,
    output: usize,
    answer: usize,
}

impl Flow {
    /// The flow of a validated pipeline. What the maximized metric reads directly (`from: <step>...`) counts as output too.
    pub fn of(pipeline: &Pipeline, project: &ProjectSpec) -> Option<Self> {
        let steps = pipeline
            .steps()
            .iter()
            .map(|step| FlowStep {
                spec: step.spec.clone(),
                needs: step.needs.clone(),
            })
            .collect();
        let parts = parts(project);
        let sources: Vec<Option<&str>> = parts.iter().map(|part| part.from).collect();
        Self::new(steps, &pipeline.spec().output, &sources)
    }

    /// A flow over steps in topological order. `output` starts with a step's id. `sources` say where the parts of what is
    /// maximized take what they score from, the heaviest first; `None` is the output. `None` when the output names no step.
    pub fn new(steps: Vec<FlowStep>, output: &str, sources: &[Option<&str>]) -> Option<Self> {
        let index: BTreeMap<StepId, usize> = steps
            .iter()
            .enumerate()
            .map(|(position, step)| (step.spec.id().clone(), position))
            .collect();
        let output = read_by(&steps, &index, output).last().copied()?;
        let scored: BTreeSet<usize> = sources
            .iter()
            .flat_map(|source| match source {
                Some(path) => read_by(&steps, &index, path),
                None => vec![output],
            })
            .collect();
        let mut feeding = vec![false; steps.len()];
        // where the output is not scored, a case is still lost with it when it fails
        let mut open: Vec<usize> = scored.iter().copied().chain([output]).collect();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut feeding[at], true) {
                open.extend(&steps[at].needs);
            }
        }
        let mut flow = Self {
            steps,
            index,
            feeding,
            scored,
            output,
            answer: output,
        };
        let text = sources
            .iter()
            .find(|source| source.is_none_or(|path| !path.contains(".docs")));
        flow.answer = flow.writer(text.copied().flatten());
        Some(flow)
    }

    /// The step that writes what is scored at `source` (the output where absent): the step itself, or, where that only
    /// reshapes text, the nearest step before it that calls a model.
    fn writer(&self, source: Option<&str>) -> usize {
        let read = source.map(|path| read_by(&self.steps, &self.index, path));
        let at = read.and_then(|read| read.last().copied());
        nearest_writer(&self.steps, at.unwrap_or(self.output))
    }

    /// All steps in order.
    pub fn steps(&self) -> &[FlowStep] {
        &self.steps
    }

    /// Steps that feed the output, the output included, in order.
    pub fn feeding(&self) -> impl Iterator<Item = (usize, &FlowStep)> {
        self.steps
            .iter()
            .enumerate()
            .filter(|(position, _)| self.feeding[*position])
    }

    /// Whether the step of a record feeds the output. Sub-steps of a sample (`outer[2].inner`) count as their outer step.
    pub fn feeds(&self, record: &StepId) -> bool {
        self.position(record)
            .is_some_and(|position| self.feeding[position])
    }

    /// The position of a record's (outer) step.
    pub fn position(&self, record: &StepId) -> Option<usize> {
        self.index.get(base(record)).copied()
    }

    /// A step by its id.
    pub fn step(&self, id: &str) -> Option<&FlowStep> {
        self.index.get(id).map(|position| &self.steps[*position])
    }

    /// The step that gives the pipeline's output.
    pub fn output(&self) -> &FlowStep {
        &self.steps[self.output]
    }

    /// Whether what is maximized is read from `position` itself.
    pub fn is_scored(&self, position: usize) -> bool {
        self.scored.contains(&position)
    }

    /// The step that writes the text that is scored, that of the heaviest part where there are several.
    pub fn answer(&self) -> &FlowStep {
        &self.steps[self.answer]
    }

    /// The step that writes what is scored at `source`; at the output where absent.
    pub fn answer_at(&self, source: Option<&str>) -> &FlowStep {
        &self.steps[self.writer(source)]
    }

    /// Steps that call a model to write the queries of retrieval step `position`.
    pub fn query_writers(&self, position: usize) -> Vec<&FlowStep> {
        let StepSpec::Retrieve(retrieve) = &self.steps[position].spec else {
            return Vec::new();
        };
        self.steps[position]
            .needs
            .iter()
            .map(|need| &self.steps[*need])
            .filter(|step| step.writes_text_by_model())
            .filter(|step| {
                let mention = format!("steps.{}", step.spec.id());
                retrieve
                    .query
                    .iter()
                    .chain(&retrieve.queries)
                    .any(|query| query.contains(&mention))
            })
            .collect()
    }

    /// Whether any step needs `position`.
    pub fn is_needed(&self, position: usize) -> bool {
        self.steps.iter().any(|step| step.needs.contains(&position))
    }
}

/// The outer step of a record: `outer` for `outer[2].inner`.
pub fn base(record: &StepId) -> &str {
    let text = record.as_str();
    text.split('[').next().unwrap_or(text)
}

/// The steps that a path such as `<step>.text` reads; `*` stands for all retrieval steps.
fn read_by(steps: &[FlowStep], index: &BTreeMap<StepId, usize>, path: &str) -> Vec<usize> {
    match path.split('.').next().unwrap_or(path) {
        "*" => (0..steps.len())
            .filter(|position| steps[*position].retrieves())
            .collect(),
        id => index.get(id).copied().into_iter().collect(),
    }
}

fn nearest_writer(steps: &[FlowStep], output: usize) -> usize {
    let mut at = output;
    loop {
        if steps[at].writes_text_by_model() {
            return at;
        }
        // the latest of the needed steps stands nearest to the output
        match steps[at]
            .needs
            .iter()
            .filter(|need| !steps[**need].retrieves())
            .max()
        {
            Some(need) if !steps[at].retrieves() => at = *need,
            _ => return output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flow;

    #[test]
    fn only_ancestors_of_what_is_scored_feed_it() {
        let flow = flow::two_hop();
        let ids: Vec<&str> = flow
            .feeding()
            .map(|(_, step)| step.spec.id().as_str())
            .collect();
        assert_eq!(ids, ["hop1", "query", "hop2", "answer"]);
        assert!(!flow.feeds(&StepId::new("aside")));
        assert!(flow.feeds(&StepId::new("answer[1].draft")));
    }

    #[test]
    fn the_answer_is_written_by_the_nearest_model_step() {
        assert_eq!(flow::two_hop().answer().spec.id().as_str(), "answer");
        assert_eq!(flow::with_form().output().spec.id().as_str(), "form");
        assert_eq!(flow::with_form().answer().spec.id().as_str(), "answer");
    }

    #[test]
    fn query_writers_are_the_models_a_query_mentions() {
        let flow = flow::two_hop();
        let hop2 = flow.position(&StepId::new("hop2")).unwrap();
        let writers = flow.query_writers(hop2);
        assert_eq!(writers.len(), 1);
        assert_eq!(writers[0].spec.id().as_str(), "query");
        assert!(flow.query_writers(0).is_empty());
    }
}
