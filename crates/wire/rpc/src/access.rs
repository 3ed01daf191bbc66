//! Whose things are whose: what a caller asks for is held against the project it belongs to. Whatever is another project's does
//! not exist, in the same words as what is not there at all.

use std::sync::Arc;

use fapo_domain::model::access::{Caller, Role};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::job::Job;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::traces::TraceQueries;
use fapo_domain::{EvaluationId, JobId};
use tonic::Status;

use crate::fault::status;

/// Looks up whose a thing is.
#[derive(Clone)]
pub(crate) struct Owners {
    pub(crate) jobs: Arc<dyn Jobs>,
    pub(crate) queries: Arc<dyn TraceQueries>,
}

impl Owners {
    /// The job, for a caller who may see it.
    pub(crate) async fn job(&self, caller: &Caller, id: JobId) -> Result<Job, Status> {
        match self.jobs.get_job(id).await {
            Ok(job) if caller.sees(&job.project) => Ok(job),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(absent("job", id.to_string())),
            Err(error) => Err(status(&error)),
        }
    }

    /// The same, where only the answer counts. Who sees every project needs no look-up, and may ask for what is not there yet.
    pub(crate) async fn may_see_job(&self, caller: &Caller, id: JobId) -> Result<(), Status> {
        if caller.project.is_some() {
            self.job(caller, id).await?;
        }
        Ok(())
    }

    /// The evaluation, for a caller who may see its job.
    pub(crate) async fn evaluation(
        &self,
        caller: &Caller,
        id: EvaluationId,
    ) -> Result<EvaluationSpec, Status> {
        let gone = || absent("evaluation", id.to_string());
        let found = self.queries.evaluation(id).await.map_err(|e| status(&e))?;
        let spec = found.ok_or_else(gone)?;
        if caller.project.is_some() {
            match self.jobs.get_job(spec.job).await {
                Ok(job) if caller.sees(&job.project) => {}
                Ok(_) | Err(StoreError::NotFound { .. }) => return Err(gone()),
                Err(error) => return Err(status(&error)),
            }
        }
        Ok(spec)
    }

    /// The same, where only the answer counts. Who sees every project needs no look-up, and may ask for what is not there yet.
    pub(crate) async fn may_see(&self, caller: &Caller, id: EvaluationId) -> Result<(), Status> {
        if caller.project.is_some() {
            self.evaluation(caller, id).await?;
        }
        Ok(())
    }
}

/// What is not there, or not the caller's.
pub(crate) fn absent(kind: &'static str, id: String) -> Status {
    status(&StoreError::NotFound { kind, id })
}

/// Holds the caller against what a call needs.
pub(crate) fn need(caller: &Caller, role: Role) -> Result<(), Status> {
    caller.need(role).map_err(|error| status(&error))
}
