//! What running a project costs, before anything is run: from the pipeline, the sizes of the data, and prices.
//!
//! Two figures are given for each, and neither is a bound; the caps of `budget:` are. *About* is a rule of thumb: four bytes
//! a token, replies of up to 150 tokens, a third of the candidates getting to validation. *High* counts every byte of a
//! usual input as a token, every reply at its limit, and every candidate on all of train and val. Candidates are taken to
//! cost what the baseline costs: one that adds a step costs more.

pub mod sessions;

use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::project::{
    ModelSpec, ProjectSpec, ProposerBackend, ReaderBackend, ReviewerBackend,
};
use fapo_domain::money::Price;
use fapo_project::{Pipeline, PlannedStep};
use serde::Serialize;

/// Bytes of a token of ordinary English text.
const BYTES_PER_TOKEN: f64 = 4.0;
/// Tokens of an ordinary reply.
const REPLY: f64 = 150.0;
/// Share of the candidates that get to validation.
const VALIDATED: f64 = 1.0 / 3.0;
/// Reviews of a proposal: most lints and one revision taken together.
const REVIEWED: f64 = 1.0;
/// Attributions of a job: the baseline's, and one for each promotion.
const ATTRIBUTIONS: u64 = 3;
/// Tokens of a failure with its trace, usually and at most.
const TRACE: f64 = 2000.0;
const TRACE_HIGH: f64 = 24_000.0;
/// Share of train that an average candidate is run on before it is dropped or passes.
const SCREENED: f64 = 0.5;

/// Sizes that the estimate is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// Train cases.
    pub train: u64,
    /// Validation cases.
    pub val: u64,
    /// Test cases.
    pub test: u64,
    /// Mean bytes of a case's input.
    pub input_bytes: u64,
    /// Mean bytes of a document.
    pub document_bytes: u64,
}

/// Calls and dollars, about and high.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Model calls, about.
    pub calls: f64,
    /// Model calls, high.
    pub calls_high: u64,
    /// Dollars, about.
    pub usd: f64,
    /// Dollars, high.
    pub usd_high: f64,
}

impl Cost {
    fn times(self, about: f64, high: u64) -> Self {
        Self {
            calls: self.calls * about,
            calls_high: self.calls_high.saturating_mul(high),
            usd: self.usd * about,
            usd_high: self.usd_high * high as f64,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            calls_high: self.calls_high.saturating_add(other.calls_high),
            usd: self.usd + other.usd,
            usd_high: self.usd_high + other.usd_high,
        }
    }
}

/// A project's estimate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// One case.
    pub case: Cost,
    /// The pipeline on train.
    pub train: Cost,
    /// The pipeline on validation.
    pub val: Cost,
    /// The whole optimization, before the budget's caps.
    pub optimize: Cost,
    /// The agents' sessions, where there are agents; what they cost is not in `optimize`.
    pub sessions: Vec<sessions::Sessions>,
    /// Entries of `models:` whose price nobody knows; their calls count as free.
    pub unpriced: Vec<String>,
}

/// Estimates a project. `price` says what a model costs.
pub fn estimate(
    pipeline: &Pipeline,
    project: &ProjectSpec,
    sizes: Sizes,
    price: &dyn Fn(&ModelSpec) -> Option<Price>,
) -> Estimate {
    let mut counter = Counter {
        project,
        sizes,
        price,
        unpriced: Vec::new(),
    };
    let case = counter.steps(pipeline.steps(), 1);
    let train = case.times(sizes.train as f64, sizes.train);
    let val = case.times(sizes.val as f64, sizes.val);
    let proposals = u64::from(project.budget.proposals);
    let screens = train.times(proposals as f64 * SCREENED, proposals);
    let validations = val.times(proposals as f64 * VALIDATED, proposals);
    let repeats = u64::from(project.acceptance.test_repeats);
    let test_runs = sizes.test * 2 * repeats;
    let sessions = sessions::sessions(project);
    let tried = sessions::tried(project, &sessions);
    let optimize = train
        .plus(val)
        .plus(screens)
        .plus(validations)
        .plus(case.times(test_runs as f64, test_runs))
        .plus(counter.proposal().times(proposals as f64, proposals))
        .plus(
            counter
                .review()
                .times(proposals as f64 * REVIEWED, proposals * 2),
        )
        .plus(case.times(tried.0, tried.1))
        .plus(counter.readings().times(ATTRIBUTIONS as f64, proposals + 1));
    Estimate {
        case,
        train,
        val,
        optimize,
        sessions,
        unpriced: counter.unpriced,
    }
}

struct Counter<'a> {
    project: &'a ProjectSpec,
    sizes: Sizes,
    price: &'a dyn Fn(&ModelSpec) -> Option<Price>,
    unpriced: Vec<String>,
}

impl Counter<'_> {
    fn steps(&mut self, steps: &[PlannedStep], times: u64) -> Cost {
        steps.iter().fold(Cost::default(), |sum, step| {
            sum.plus(self.step(step, steps, times))
        })
    }

    fn step(&mut self, step: &PlannedStep, around: &[PlannedStep], times: u64) -> Cost {
        match &step.spec {
            StepSpec::Llm(llm) => {
                let entry = llm.model.as_deref().unwrap_or("task");
                let Some(model) = self.project.models.get(entry) else {
                    return Cost::default();
                };
                let limit = f64::from(llm.max_tokens.unwrap_or(model.max_tokens));
                let bytes = self.prompt_bytes(step, around);
                self.call(entry, model, bytes / BYTES_PER_TOKEN, bytes, limit)
                    .times(times as f64, times)
            }
            StepSpec::Sample(sample) => {
                let Some(planned) = &step.sample else {
                    return Cost::default();
                };
                let times = times * u64::from(sample.n);
                let mut sum = self.steps(&planned.steps, times);
                if let Some(check) = &planned.check {
                    sum = sum.plus(self.step(check, &planned.steps, times));
                }
                if let Some(merge) = &planned.merge {
                    sum = sum.plus(self.step(merge, around, times / u64::from(sample.n.max(1))));
                }
                sum
            }
            StepSpec::Retrieve(_) | StepSpec::Template(_) | StepSpec::Python(_) => Cost::default(),
        }
    }

    /// One review: nothing where no model writes it.
    fn review(&mut self) -> Cost {
        let project = self.project;
        let entry = project.reviewing_model();
        let is_model = project.reviewer_backend() == ReviewerBackend::Model;
        match project.models.get(entry).filter(|_| is_model) {
            None => Cost::default(),
            Some(model) => {
                let evidence = f64::from(project.proposer.evidence_tokens);
                self.call(
                    entry,
                    model,
                    evidence,
                    evidence,
                    f64::from(model.max_tokens),
                )
            }
        }
    }

    /// Reading the unclear failures of one attribution: nothing where no model does.
    fn readings(&mut self) -> Cost {
        let project = self.project;
        let reader = &project.diagnosis.reader;
        let entry = project.reading_model();
        let is_model = reader.backend == ReaderBackend::Model;
        match project.models.get(entry).filter(|_| is_model) {
            None => Cost::default(),
            Some(model) => {
                let cases = u64::from(reader.cases);
                self.call(entry, model, TRACE, TRACE_HIGH, f64::from(model.max_tokens))
                    .times(cases as f64, cases)
            }
        }
    }

    /// One proposal: nothing where no model writes it.
    fn proposal(&mut self) -> Cost {
        let project = self.project;
        let entry = project.proposing_model();
        let model = match project.proposer.backend {
            ProposerBackend::Reflect => project.models.get(entry),
            // what an agent's session costs is told beside
            ProposerBackend::Catalogue
            | ProposerBackend::Replay
            | ProposerBackend::ClaudeCode
            | ProposerBackend::Codex => None,
        };
        let Some(model) = model else {
            return Cost::default();
        };
        let evidence = f64::from(project.proposer.evidence_tokens);
        self.call(
            entry,
            model,
            evidence,
            evidence,
            f64::from(model.max_tokens),
        )
    }

    /// One call with so many tokens in, about and high, and at most so many out.
    fn call(&mut self, entry: &str, model: &ModelSpec, about: f64, high: f64, limit: f64) -> Cost {
        let price = (self.price)(model).unwrap_or_else(|| {
            if !self.unpriced.iter().any(|known| known == entry) {
                self.unpriced.push(entry.to_owned());
            }
            Price::FREE
        });
        let usd = |input: f64, output: f64| (input * price.input + output * price.output) / 1e6;
        Cost {
            calls: 1.0,
            calls_high: 1,
            usd: usd(about, limit.min(REPLY)),
            usd_high: usd(high, limit),
        }
    }

    /// Bytes of a rendered prompt: its own text, the input, the documents and replies that it mentions.
    fn prompt_bytes(&self, step: &PlannedStep, around: &[PlannedStep]) -> f64 {
        let Some(prompt) = &step.prompt else {
            return 0.0;
        };
        let mut bytes = prompt.source().len() as u64 + self.sizes.input_bytes;
        for need in &step.needs {
            bytes += match around.get(*need).map(|earlier| &earlier.spec) {
                Some(StepSpec::Retrieve(retrieve)) => {
                    u64::from(retrieve.k) * self.sizes.document_bytes
                }
                Some(
                    StepSpec::Llm(_)
                    | StepSpec::Sample(_)
                    | StepSpec::Template(_)
                    | StepSpec::Python(_),
                ) => (REPLY * BYTES_PER_TOKEN) as u64,
                None => 0,
            };
        }
        bytes as f64
    }
}

#[cfg(test)]
mod tests;
