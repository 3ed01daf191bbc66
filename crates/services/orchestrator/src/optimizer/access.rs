//! Who may, and whose it is.

use fapo_domain::ids::JobId;
use fapo_domain::model::access::{Caller, Role};
use fapo_domain::model::job::Job;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::OptimizerError;

use super::OptimizerService;
use crate::error::OrchestratorError;

impl OptimizerService {
    /// The job, where the caller has at least the role `needed` and the job's project is theirs. What a caller may do is said
    /// before whether there is such a job, and another project's job is told like one that does not exist.
    pub(super) async fn theirs(
        &self,
        caller: &Caller,
        needed: Role,
        id: JobId,
    ) -> Result<Job, OptimizerError> {
        caller.need(needed)?;
        match self.orchestrator.jobs.get_job(id).await {
            Ok(job) if caller.sees(&job.project) => Ok(job),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(not_found("job", id)),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn not_found(kind: &'static str, id: impl ToString) -> OptimizerError {
    OptimizerError::NotFound {
        kind,
        id: id.to_string(),
    }
}

pub(super) fn invalid(field: &str, message: impl Into<String>) -> OptimizerError {
    OptimizerError::Invalid {
        field: field.to_owned(),
        message: message.into(),
    }
}

impl From<OrchestratorError> for OptimizerError {
    fn from(error: OrchestratorError) -> Self {
        match error {
            OrchestratorError::Store(error) => Self::Store(error),
            OrchestratorError::Queue(error) => Self::Queue(error),
            OrchestratorError::Invalid { message } => invalid("files", message),
            OrchestratorError::State { .. }
            | OrchestratorError::Unwritable { .. }
            | OrchestratorError::Contended { .. } => Self::Internal {
                message: "the job cannot be driven".to_owned(),
                source: Some(Box::new(error)),
            },
        }
    }
}
