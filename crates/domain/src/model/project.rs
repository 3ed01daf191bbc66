//! `fapo.yaml`, typed: the fixed part of a project, which no proposal can change. The JSON Schema that editors use is
//! generated from these types; they are the only place where the keys are named.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod budget;
mod data;
mod execution;
mod models;
mod objective;
mod optimizer;
mod scorer;

pub use budget::*;
pub use data::*;
pub use execution::*;
pub use models::*;
pub use objective::*;
pub use optimizer::*;
pub use scorer::*;

/// The whole of `fapo.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// The project's name: letters, digits, `-` and `_`.
    pub name: String,
    /// What it is for; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The models that may be used, by role. `task` is what `llm` steps use unless they name another.
    pub models: BTreeMap<String, ModelSpec>,
    /// Where the cases and documents are.
    pub data: DataSpec,
    /// How an output is scored.
    pub scorer: ScorerSpec,
    /// What is maximized, and under which conditions.
    #[serde(default)]
    pub objective: ObjectiveSpec,
    /// What a proposal may change.
    #[serde(default)]
    pub scope: ScopeSpec,
    /// Caps on one case's run.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Caps on a whole job.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// Who writes proposals.
    #[serde(default)]
    pub proposer: ProposerSpec,
    /// Who reviews proposals that the lints let pass.
    #[serde(default)]
    pub reviewer: ReviewerSpec,
    /// When a candidate is accepted.
    #[serde(default)]
    pub acceptance: AcceptanceSpec,
    /// When a level is left and the next one opened.
    #[serde(default)]
    pub escalation: EscalationSpec,
    /// Thresholds of the attribution rules.
    #[serde(default)]
    pub diagnosis: DiagnosisSpec,
    /// How work is spread.
    #[serde(default)]
    pub execution: ExecutionSpec,
    /// Stop as soon as each metric named here is reached on validation, such as `exact_match: 0.75`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<String, f64>,
    /// Seed of every random choice.
    #[serde(default)]
    pub seed: u64,
}

impl ProjectSpec {
    /// The entry of `models:` that writes proposals for `reflect`: `proposer.model`, else `proposer`, else `task`.
    pub fn proposing_model(&self) -> &str {
        match &self.proposer.model {
            Some(entry) => entry,
            None if self.models.contains_key("proposer") => "proposer",
            None => "task",
        }
    }

    /// The model of a coding agent: the entry of `models:` that `named` is, else the model of that name; without a name the
    /// entry `proposer` where its provider fits, else the agent's usual model. With it, what messages call it.
    pub fn agent_model(
        &self,
        backend: ProposerBackend,
        named: Option<&str>,
    ) -> (String, ModelSpec) {
        let provider = backend.provider();
        if let Some(name) = named {
            let entry = self.models.get(name).cloned();
            return (
                name.to_owned(),
                entry.unwrap_or_else(|| ModelSpec::named(provider, name)),
            );
        }
        match self.models.get("proposer") {
            Some(entry) if entry.provider == provider => ("proposer".to_owned(), entry.clone()),
            _ => {
                let name = backend.usual_model();
                (name.to_owned(), ModelSpec::named(provider, name))
            }
        }
    }

    /// The entry of `models:` that reviews: `reviewer.model`, else `reviewer`, else the one that proposes.
    pub fn reviewing_model(&self) -> &str {
        match &self.reviewer.model {
            Some(entry) => entry,
            None if self.models.contains_key("reviewer") => "reviewer",
            None => self.proposing_model(),
        }
    }

    /// The entry of `models:` that reads unclear failures: `diagnosis.reader.model`, else `reader`, else the one that
    /// proposes.
    pub fn reading_model(&self) -> &str {
        match &self.diagnosis.reader.model {
            Some(entry) => entry,
            None if self.models.contains_key("reader") => "reader",
            None => self.proposing_model(),
        }
    }

    /// What a coding agent that reviews is asked to use: `reviewer.model`, else the entry `reviewer`, else the proposer's,
    /// where that agent can use it.
    pub fn reviewing_agent_model(&self, backend: ProposerBackend) -> Option<&str> {
        self.agents_model(self.reviewer.model.as_deref(), "reviewer", backend)
    }

    /// What a coding agent that reads failures is asked to use: `diagnosis.reader.model`, else the entry `reader`, else the
    /// proposer's, where that agent can use it.
    pub fn reading_agent_model(&self, backend: ProposerBackend) -> Option<&str> {
        self.agents_model(self.diagnosis.reader.model.as_deref(), "reader", backend)
    }

    /// The model named, else the entry of this name, else the proposer's, where the agent can use it.
    fn agents_model<'a>(
        &'a self,
        named: Option<&'a str>,
        entry: &'static str,
        backend: ProposerBackend,
    ) -> Option<&'a str> {
        if named.is_some() {
            return named;
        }
        if self.models.contains_key(entry) {
            return Some(entry);
        }
        let named = self.proposer.model.as_deref()?;
        let fits = match self.models.get(named) {
            Some(entry) => entry.provider == backend.provider(),
            // a name that is known only to the agent that proposes
            None => self.proposer.backend == backend,
        };
        fits.then_some(named)
    }

    /// The reviewer that the project has.
    pub const fn reviewer_backend(&self) -> ReviewerBackend {
        self.reviewer.resolved(self.proposer.backend)
    }

    /// The name of the maximized metric.
    pub fn maximized(&self) -> String {
        if let Some(name) = &self.objective.maximize {
            return name.clone();
        }
        self.scorer
            .metric
            .map_or("weighted", Metric::as_str)
            .to_owned()
    }
}
