//! Submitting and cancelling jobs.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use fapo_domain::JobId;
use fapo_domain::error::chain;
use fapo_domain::model::case::Split;
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::task::Topic;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::queue::Message;
use fapo_policy::budget;

use crate::error::OrchestratorError;
use crate::service::OrchestratorService;
use crate::tick::Ticked;

impl OrchestratorService {
    /// Submits a job under a new id: its row, its account, its first tick.
    pub async fn submit(&self, spec: JobSpec) -> Result<JobId, OrchestratorError> {
        let id = self.new_id();
        self.submit_as(id, spec, self.traces.current()).await?;
        Ok(id)
    }

    /// An id that no job has.
    pub(crate) fn new_id(&self) -> JobId {
        let unix_ms = u64::try_from(self.clock.now().0).unwrap_or(0);
        JobId::at(unix_ms, random())
    }

    /// Submits a job under a given id, as a part of `trace`. Repeating it with an equal spec is harmless.
    pub async fn submit_as(
        &self,
        id: JobId,
        spec: JobSpec,
        trace: Option<TraceParent>,
    ) -> Result<(), OrchestratorError> {
        check(&spec)?;
        let state = serde_json::to_value(fapo_policy::start(id, &spec))
            .map_err(|source| OrchestratorError::Unwritable { job: id, source })?;
        let caps = budget::caps(&spec.project.budget);
        // the account first: a job that can be seen can also pay
        self.ledger.open_account(id, caps).await?;
        self.jobs
            .create_job(id, spec, state, self.clock.now(), trace)
            .await?;
        self.wake(id).await;
        Ok(())
    }

    /// Has a job ticked soon. If the queue cannot be used the reconciler does it a little later: the row is there, and that is
    /// what counts.
    pub(crate) async fn wake(&self, job: JobId) {
        let tick = [Message::Tick { job }];
        if let Err(error) = self.queue.push(Topic::Job, &tick, Duration::ZERO).await {
            tracing::warn!(job.id = %job, error = %chain(&error), "cannot queue a tick");
        }
    }

    /// Ends a job now: its queued tasks are cancelled, and what its running ones bring is not looked at any more. A job
    /// that is final already stays as it is.
    pub async fn cancel(&self, job: JobId) -> Result<Ticked, OrchestratorError> {
        self.step(job, true).await
    }
}

/// Refuses what could only fail later.
fn check(spec: &JobSpec) -> Result<(), OrchestratorError> {
    let cases = |split| spec.cases.get(&split).copied().unwrap_or(0);
    let needed: &[Split] = match &spec.goal {
        JobGoal::Optimize => &[Split::Train, Split::Val],
        JobGoal::Evaluate { split, .. } => std::slice::from_ref(split),
    };
    match needed.iter().find(|split| cases(**split) == 0) {
        None => Ok(()),
        Some(split) => Err(OrchestratorError::Invalid {
            message: format!("the dataset has no {split} cases; add some under `data:`"),
        }),
    }
}

/// Random bytes for a new id. An id only has to be new: everything that is decided is seeded from the project.
fn random() -> [u8; 10] {
    // the standard library seeds each RandomState from the system's randomness and a counter
    let high = RandomState::new().hash_one(0u8).to_le_bytes();
    let low = RandomState::new().hash_one(1u8).to_le_bytes();
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&high);
    bytes[8..].copy_from_slice(&low[..2]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_differ() {
        let ids: std::collections::BTreeSet<[u8; 10]> = (0..1000).map(|_| random()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
