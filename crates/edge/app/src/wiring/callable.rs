//! Whether what a job is to call can be called here: its models, and its coding agents.

use std::sync::Arc;

use anyhow::Context as _;
use fapo_domain::model::job::JobGoal;
use fapo_domain::model::project::{
    ModelSpec, ProjectSpec, ProposerBackend, ReaderBackend, ReviewerBackend,
};
use fapo_domain::money::Price;
use fapo_domain::ports::models::ModelError;
use fapo_domain::ports::sandbox::Sandbox;
use fapo_llm::ProviderModels;
use fapo_project::Pipeline;

use super::agents;
use crate::config::Env;

/// What this process can call. Asking costs nothing: no model is called.
pub struct Callable {
    providers: Arc<ProviderModels>,
    sandbox: Arc<dyn Sandbox>,
    env: Env,
}

impl Callable {
    /// Over these models, and the agents' programs that are in `env`.
    pub fn new(providers: Arc<ProviderModels>, sandbox: Arc<dyn Sandbox>, env: Env) -> Self {
        Self {
            providers,
            sandbox,
            env,
        }
    }

    /// Checks what a job over `project` and `pipeline` is to call, before anything is paid: the key of the model that proposes
    /// would be missed only after the whole baseline.
    ///
    /// # Errors
    /// Where a key, an address or a program is missing, or dollars are bounded and a model has no price.
    pub async fn check(
        &self,
        project: &ProjectSpec,
        goal: &JobGoal,
        pipeline: &Pipeline,
    ) -> anyhow::Result<()> {
        self.check_models(project, goal, pipeline)?;
        if *goal == JobGoal::Optimize {
            self.check_agents(project).await?;
        }
        Ok(())
    }

    /// The models of the steps, and those that propose, review and read.
    fn check_models(
        &self,
        project: &ProjectSpec,
        goal: &JobGoal,
        pipeline: &Pipeline,
    ) -> Result<(), ModelError> {
        let mut entries = pipeline.models();
        if *goal == JobGoal::Optimize {
            if project.proposer.backend == ProposerBackend::Reflect {
                entries.insert(project.proposing_model());
            }
            if project.reviewer_backend() == ReviewerBackend::Model {
                entries.insert(project.reviewing_model());
            }
            if project.diagnosis.reader.backend == ReaderBackend::Model {
                entries.insert(project.reading_model());
            }
        }
        for entry in entries {
            // an entry that is not there was told when the project was read
            let Some(model) = project.models.get(entry) else {
                continue;
            };
            self.providers.check(entry, model)?;
            if project.budget.usd.is_some() && self.price(model).is_none() {
                return Err(fapo_llm::unpriced(entry, model));
            }
        }
        Ok(())
    }

    /// The coding agents: their programs are here, a sandbox can be had, and their models can be called and paid.
    async fn check_agents(&self, project: &ProjectSpec) -> anyhow::Result<()> {
        for agent in agents::wanted(project) {
            if let Some(missing) = agent.missing(&self.env) {
                return Err(missing.into());
            }
            self.sandbox.confinement().await?;
            match self.providers.check(&agent.entry, &agent.model) {
                Ok(()) => {}
                Err(error @ ModelError::NoKey { .. }) => {
                    return Err(error).with_context(|| {
                        format!(
                            "{} and needs a key, which fapo's relay holds (a login is not used)",
                            agent.words()
                        )
                    });
                }
                Err(error) => return Err(error.into()),
            }
            if agent.is_unpriced(project, &|model| self.price(model)) {
                return Err(fapo_llm::unpriced(&agent.entry, &agent.model).into());
            }
        }
        Ok(())
    }

    /// What a model costs: as fapo.yaml says, else as the price table says.
    fn price(&self, model: &ModelSpec) -> Option<Price> {
        self.providers.price(model)
    }
}

impl std::fmt::Debug for Callable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callable").finish_non_exhaustive()
    }
}
