//! Variants, decisions, files.

use fapo_domain::ids::{JobId, VariantId};
use fapo_domain::model::job::Job;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::{JobLineage, OptimizerError};
use fapo_policy::JobState;

use super::OptimizerService;
use super::access::not_found;

impl OptimizerService {
    pub(super) async fn family(&self, id: JobId) -> Result<JobLineage, OptimizerError> {
        let (variants, decisions) = tokio::try_join!(
            self.orchestrator.jobs.lineage(id),
            self.orchestrator.jobs.decisions(id),
        )?;
        Ok(JobLineage {
            variants,
            decisions,
        })
    }

    /// A variant's files, where it is one of the job's: variants are stored by content for all projects alike, so an id alone
    /// is no right to read one.
    pub(super) async fn tree(
        &self,
        job: &Job,
        variant: VariantId,
    ) -> Result<VariantTree, OptimizerError> {
        if !self.is_of(job, variant).await? {
            return Err(not_found("variant", variant));
        }
        match self.ports.variants.get_variant(variant).await {
            Ok(tree) => Ok(tree),
            Err(StoreError::NotFound { .. }) => Err(not_found("variant", variant)),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_of(&self, job: &Job, variant: VariantId) -> Result<bool, OptimizerError> {
        if job.spec.baseline == variant {
            return Ok(true);
        }
        let made = self.orchestrator.jobs.lineage(job.id).await?;
        if made.iter().any(|row| row.child == variant) {
            return Ok(true);
        }
        // refused before it came into the lineage
        let state = <JobState as serde::Deserialize>::deserialize(&job.state);
        Ok(state.is_ok_and(|state| {
            state
                .candidates
                .iter()
                .any(|candidate| candidate.attempt.variant == Some(variant))
        }))
    }
}
