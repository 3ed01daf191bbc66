//! A variant compiled for a job: templates, models, schemas, patterns and fingerprints, made once and used for every case.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::job::{CorpusRef, JobSpec};
use fapo_domain::model::pipeline::{
    Combine, LlmStep, OutputFormat, PythonStep, RetrieveStep, SampleStep, StepSpec, TemplateStep,
};
use fapo_domain::model::project::ModelSpec;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::code::CodeUnit;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{StepFingerprint, StepId};
use fapo_project::template::{Condition, PromptTemplate, TextTemplate};
use fapo_project::{OutputPath, PipelineContext, PlannedStep, read_pipeline};
use jsonschema::Validator;
use regex::Regex;
use serde_json::Value;

use crate::key::{LlmParameters, llm_fingerprint, retrieve_fingerprint};
use crate::retrieval::FieldSet;

/// A pipeline ready to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) output: OutputPath,
    /// The fingerprints of the `llm` steps, by [`Llm::slot`].
    pub(crate) fingerprints: Vec<StepFingerprint>,
    /// What the `retrieve` steps search, by [`Retrieve::slot`].
    pub(crate) searches: Vec<(CorpusRef, FieldSet)>,
}

/// One step. `needs` are positions in its own list.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: StepId,
    pub(crate) kind: &'static str,
    pub(crate) needs: Vec<usize>,
    pub(crate) when: Option<Condition>,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    Llm(Box<Llm>),
    Retrieve(Box<Retrieve>),
    Template(Box<Template>),
    Python(Box<Python>),
    Sample(Box<Sample>),
}

#[derive(Debug)]
pub(crate) struct Llm {
    pub(crate) slot: usize,
    pub(crate) prompt: PromptTemplate,
    pub(crate) entry: Arc<str>,
    pub(crate) model: Arc<ModelSpec>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) max_tokens: u32,
    pub(crate) stop: Vec<String>,
    pub(crate) seed: Option<u64>,
    /// What is sent: the schema, `true` for any JSON, nothing for text.
    pub(crate) schema: Option<Value>,
    pub(crate) validator: Option<Validator>,
}

#[derive(Debug)]
pub(crate) struct Retrieve {
    pub(crate) slot: usize,
    pub(crate) fingerprint: StepFingerprint,
    pub(crate) queries: Vec<TextTemplate>,
    pub(crate) k: usize,
    pub(crate) include: Vec<StepId>,
}

#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) text: TextTemplate,
    pub(crate) extract: Option<Regex>,
    pub(crate) pointer: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Python {
    pub(crate) unit: Arc<CodeUnit>,
    /// The steps that the code is given.
    pub(crate) needs: Vec<StepId>,
    pub(crate) time: Duration,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) n: u32,
    pub(crate) steps: Vec<Step>,
    pub(crate) output: usize,
    pub(crate) combine: CombinePlan,
}

#[derive(Debug)]
pub(crate) enum CombinePlan {
    Vote { extract: Option<Regex> },
    BestBy { check: Step },
    Merge { step: Step },
}

impl Plan {
    /// Reads and compiles a variant. A variant that cannot run is a permanent error that holds every problem.
    pub(crate) fn compile(tree: &VariantTree, spec: &JobSpec) -> Result<Self, WorkError> {
        let context = PipelineContext {
            project: &spec.project,
            input_keys: None,
        };
        let (pipeline, problems) = read_pipeline(tree, &context);
        let Some(pipeline) = pipeline else {
            let message = format!("variant {} cannot be run:\n{problems}", tree.id().short());
            return Err(WorkError::permanent("VARIANT_INVALID", message));
        };
        let mut planner = Planner {
            spec,
            fingerprints: Vec::new(),
            searches: Vec::new(),
        };
        let steps = planner.list(pipeline.steps())?;
        Ok(Self {
            steps,
            output: pipeline.output().clone(),
            fingerprints: planner.fingerprints,
            searches: planner.searches,
        })
    }
}

struct Planner<'a> {
    spec: &'a JobSpec,
    fingerprints: Vec<StepFingerprint>,
    searches: Vec<(CorpusRef, FieldSet)>,
}

impl Planner<'_> {
    fn list(&mut self, steps: &[PlannedStep]) -> Result<Vec<Step>, WorkError> {
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn step(&mut self, planned: &PlannedStep) -> Result<Step, WorkError> {
        let action = match &planned.spec {
            StepSpec::Llm(step) => Action::Llm(Box::new(self.llm(planned, step)?)),
            StepSpec::Retrieve(step) => Action::Retrieve(Box::new(self.retrieve(planned, step)?)),
            StepSpec::Template(step) => Action::Template(Box::new(template(planned, step)?)),
            StepSpec::Python(step) => Action::Python(Box::new(python(planned, step)?)),
            StepSpec::Sample(step) => Action::Sample(Box::new(self.sample(planned, step)?)),
        };
        Ok(Step {
            id: planned.id().clone(),
            kind: planned.spec.kind(),
            needs: planned.needs.clone(),
            when: planned.when.clone(),
            action,
        })
    }

    fn llm(&mut self, planned: &PlannedStep, step: &LlmStep) -> Result<Llm, WorkError> {
        let prompt = planned
            .prompt
            .clone()
            .ok_or_else(|| broken(&step.id, "no prompt"))?;
        let name = step.model.as_deref().unwrap_or("task");
        let model = self.spec.project.models.get(name).ok_or_else(|| {
            let message = format!(
                "fapo.yaml has no model `{name}`, which step `{}` uses",
                step.id
            );
            WorkError::permanent("MODEL_CONFIG", message)
        })?;
        let schema = match step.output {
            OutputFormat::Text => None,
            OutputFormat::Json => Some(step.schema.clone().unwrap_or(Value::Bool(true))),
        };
        let validator = match &step.schema {
            Some(schema) if step.output == OutputFormat::Json => Some(
                jsonschema::validator_for(schema)
                    .map_err(|error| broken(&step.id, &format!("bad schema: {error}")))?,
            ),
            _ => None,
        };
        let temperature = step.temperature.or(model.temperature);
        let top_p = step.top_p.or(model.top_p);
        let max_tokens = step.max_tokens.unwrap_or(model.max_tokens);
        let slot = self.fingerprints.len();
        self.fingerprints.push(llm_fingerprint(&LlmParameters {
            model,
            temperature,
            top_p,
            max_tokens,
            stop: &step.stop,
            seed: step.seed,
            schema: schema.as_ref(),
        }));
        Ok(Llm {
            slot,
            prompt,
            entry: Arc::from(name),
            model: Arc::new(model.clone()),
            temperature,
            top_p,
            max_tokens,
            stop: step.stop.clone(),
            seed: step.seed,
            schema,
            validator,
        })
    }

    fn retrieve(
        &mut self,
        planned: &PlannedStep,
        step: &RetrieveStep,
    ) -> Result<Retrieve, WorkError> {
        let name = planned.corpus.as_deref().unwrap_or_default();
        let corpus = self.spec.corpora.get(name).ok_or_else(|| {
            let message = format!(
                "the job has no corpus `{name}`, which step `{}` searches",
                step.id
            );
            WorkError::permanent("CORPUS_UNKNOWN", message)
        })?;
        let fields = FieldSet::of(&step.fields);
        let slot = self.searches.len();
        self.searches.push((corpus.clone(), fields));
        Ok(Retrieve {
            slot,
            fingerprint: retrieve_fingerprint(&corpus.hash, fields, step.k),
            queries: planned.queries.clone(),
            k: step.k as usize,
            include: step.include.clone(),
        })
    }

    fn sample(&mut self, planned: &PlannedStep, step: &SampleStep) -> Result<Sample, WorkError> {
        let inside = planned
            .sample
            .as_deref()
            .ok_or_else(|| broken(&step.id, "no sub-steps"))?;
        let combine = match &step.combine {
            Combine::Vote(vote) => CombinePlan::Vote {
                extract: pattern(&step.id, vote.extract.as_deref())?,
            },
            Combine::BestBy(_) => CombinePlan::BestBy {
                check: self.judge(&step.id, inside.check.as_deref())?,
            },
            Combine::Merge(_) => CombinePlan::Merge {
                step: self.judge(&step.id, inside.merge.as_deref())?,
            },
        };
        Ok(Sample {
            n: step.n,
            steps: self.list(&inside.steps)?,
            output: inside.output,
            combine,
        })
    }

    /// The step of `best_by` or `merge`: alone in its list, so it needs nothing there.
    fn judge(&mut self, id: &StepId, planned: Option<&PlannedStep>) -> Result<Step, WorkError> {
        let planned = planned.ok_or_else(|| broken(id, "no step to combine with"))?;
        let mut step = self.step(planned)?;
        step.needs.clear();
        Ok(step)
    }
}

fn template(planned: &PlannedStep, step: &TemplateStep) -> Result<Template, WorkError> {
    Ok(Template {
        text: planned
            .template
            .clone()
            .ok_or_else(|| broken(&step.id, "no template"))?,
        extract: pattern(&step.id, step.extract.as_deref())?,
        pointer: step.pointer.clone(),
    })
}

fn python(planned: &PlannedStep, step: &PythonStep) -> Result<Python, WorkError> {
    Ok(Python {
        unit: planned
            .code
            .clone()
            .ok_or_else(|| broken(&step.id, "no code"))?,
        needs: step.needs.clone(),
        time: Duration::from_secs(u64::from(step.timeout_s)),
    })
}

fn pattern(id: &StepId, source: Option<&str>) -> Result<Option<Regex>, WorkError> {
    source
        .map(Regex::new)
        .transpose()
        .map_err(|error| broken(id, &error.to_string()))
}

/// Reading the pipeline lets none of these through.
fn broken(id: &StepId, what: &str) -> WorkError {
    WorkError::permanent(
        "VARIANT_INVALID",
        format!("step `{id}` cannot be run: {what}"),
    )
}
