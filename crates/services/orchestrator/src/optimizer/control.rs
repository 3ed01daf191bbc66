//! Cancel, pause, resume, retry.

use fapo_domain::error::chain;
use fapo_domain::ids::JobId;
use fapo_domain::model::job::{Job, JobStatus};
use fapo_domain::ports::optimizer::OptimizerError;

use super::OptimizerService;

impl OptimizerService {
    /// Ends a job for good, paused or not.
    pub(super) async fn end(&self, id: JobId) -> Result<(), OptimizerError> {
        self.orchestrator.cancel(id).await?;
        Ok(())
    }

    /// Pauses a job or lets it go on.
    pub(super) async fn pause(&self, job: &Job, paused: bool) -> Result<(), OptimizerError> {
        if job.status.is_final() {
            return Err(over(job, if paused { "paused" } else { "resumed" }));
        }
        let is_paused = self.orchestrator.jobs.set_paused(job.id, paused).await?;
        if !is_paused {
            self.go_on(job.id).await;
        }
        Ok(())
    }

    /// Puts a failed job's dead tasks back; returns how many there were.
    pub(super) async fn revive(&self, job: &Job) -> Result<u64, OptimizerError> {
        let dead = self.orchestrator.tasks.dead_tasks(job.id).await?.len();
        match job.status {
            JobStatus::Failed => {}
            // repeated after its answer was lost
            JobStatus::Running if dead == 0 => return Ok(0),
            JobStatus::Running => {
                return Err(OptimizerError::State {
                    message: format!(
                        "job {} still ends what is under way; try again once it has failed",
                        job.id.short()
                    ),
                });
            }
            JobStatus::Done | JobStatus::Cancelled => return Err(over(job, "retried")),
        }
        let revived = self.orchestrator.tasks.retry_dead_tasks(job.id).await?;
        if revived > 0 {
            self.go_on(job.id).await;
        }
        Ok(revived)
    }

    /// Has a job ticked and its tasks queued again at once. What fails here the reconciler does a little later.
    async fn go_on(&self, id: JobId) {
        self.orchestrator.wake(id).await;
        if let Err(error) = self.orchestrator.reconcile().await {
            tracing::warn!(job.id = %id, error = %chain(&error), "cannot fill the queue from the rows");
        }
    }
}

fn over(job: &Job, verb: &str) -> OptimizerError {
    let status = match job.status {
        JobStatus::Running => "running",
        JobStatus::Done => "done",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "cancelled",
    };
    OptimizerError::State {
        message: format!(
            "job {} is {status} and cannot be {verb}; submit the project again for another job",
            job.id.short()
        ),
    }
}
