//! What the catalogue's edits work on.

use fapo_domain::StepId;
use fapo_domain::model::finding::Rule;
use fapo_domain::model::level::Technique;
use fapo_domain::model::pipeline::{LlmStep, PipelineSpec, StepSpec};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::ProposalRequest;
use fapo_domain::model::variant::VariantTree;
use fapo_project::{PipelineContext, read_pipeline};

use super::Idea;
use crate::attribution::Flow;
use crate::attribution::scored::parts;
use crate::proposers::edit::{llm_steps, put_pipeline, put_text};

/// A request with its pipeline read.
pub struct Context<'a> {
    /// The project.
    pub project: &'a ProjectSpec,
    /// The request.
    pub request: &'a ProposalRequest,
    /// The parent's pipeline.
    pub spec: PipelineSpec,
    /// How its steps connect.
    pub flow: Flow,
}

/// What an `llm` step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It writes the answer that is scored.
    Answer,
    /// It writes queries for a retrieval step.
    Query,
    /// It works for other steps.
    Inner,
}

impl<'a> Context<'a> {
    /// Reads the parent's pipeline; `None` when it is not valid.
    pub fn new(project: &'a ProjectSpec, request: &'a ProposalRequest) -> Option<Self> {
        let context = PipelineContext {
            project,
            input_keys: None,
        };
        let pipeline = read_pipeline(&request.tree, &context).0?;
        let flow = Flow::of(&pipeline, project)?;
        Some(Self {
            project,
            request,
            spec: pipeline.spec().clone(),
            flow,
        })
    }

    /// The rule of the target cluster.
    pub fn rule(&self) -> Option<Rule> {
        self.request.cluster.as_ref().map(|cluster| cluster.rule)
    }

    /// The step of the target cluster.
    pub fn target(&self) -> Option<&StepId> {
        self.request.cluster.as_ref().map(|cluster| &cluster.step)
    }

    /// What an `llm` step is for; `top` is the top-level step it stands in.
    pub fn purpose(&self, top: &StepId) -> Purpose {
        let writes_queries = self.flow.feeding().any(|(position, step)| {
            step.retrieves()
                && self
                    .flow
                    .query_writers(position)
                    .iter()
                    .any(|writer| writer.spec.id() == top)
        });
        if writes_queries {
            Purpose::Query
        } else if self.flow.answer().spec.id() == top {
            Purpose::Answer
        } else {
            Purpose::Inner
        }
    }

    /// The `llm` steps that feed the output, those to work on first: of the target step, else those that write its
    /// queries, else those that write the answer; then all others.
    pub fn llm_targets(&self) -> Vec<(StepId, LlmStep)> {
        let mut first: Vec<StepId> = Vec::new();
        if let Some(target) = self.target() {
            first.push(target.clone());
            if let Some(position) = self.flow.position(target) {
                first.extend(
                    self.flow
                        .query_writers(position)
                        .iter()
                        .map(|step| step.spec.id().clone()),
                );
            }
        }
        first.push(self.flow.answer().spec.id().clone());
        let mut all: Vec<(usize, StepId, LlmStep)> = llm_steps(&self.spec)
            .into_iter()
            .filter(|(top, _)| self.flow.feeds(top))
            .map(|(top, llm)| {
                let rank = first.iter().position(|id| id == top).unwrap_or(first.len());
                (rank, top.clone(), llm.clone())
            })
            .collect();
        all.sort_by_key(|(rank, _, _)| *rank);
        all.into_iter().map(|(_, top, llm)| (top, llm)).collect()
    }

    /// Retrieval steps that feed the output, the target first, then the later ones before the earlier ones.
    pub fn retrieval_targets(&self) -> Vec<StepId> {
        let mut ids: Vec<StepId> = self
            .flow
            .feeding()
            .filter(|(_, step)| step.retrieves())
            .map(|(_, step)| step.spec.id().clone())
            .collect();
        ids.reverse();
        if let Some(target) = self.target() {
            ids.sort_by_key(|id| id != target);
        }
        ids
    }

    /// A top-level step by its id.
    pub fn step(&self, id: &str) -> Option<&StepSpec> {
        self.spec.steps.iter().find(|step| step.id().as_str() == id)
    }

    /// Whether what is maximized names this step: then moving its work to another step would not be seen.
    pub fn scored_directly(&self, id: &str) -> bool {
        parts(self.project)
            .iter()
            .any(|part| part.from.and_then(|from| from.split('.').next()) == Some(id))
    }

    /// An idea that changes one text file.
    pub fn text_idea(
        &self,
        technique: Technique,
        name: String,
        why: &str,
        path: &str,
        text: &str,
    ) -> Idea {
        let mut tree = self.request.tree.clone();
        put_text(&mut tree, path, text);
        Idea {
            technique,
            name,
            why: why.to_owned(),
            tree,
        }
    }

    /// An idea that changes the pipeline, and adds prompts.
    pub fn pipeline_idea(
        &self,
        technique: Technique,
        name: String,
        why: impl Into<String>,
        spec: &PipelineSpec,
        mut tree: VariantTree,
    ) -> Idea {
        put_pipeline(&mut tree, spec);
        Idea {
            technique,
            name,
            why: why.into(),
            tree,
        }
    }
}
