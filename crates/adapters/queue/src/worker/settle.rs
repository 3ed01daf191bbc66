//! Writes down what came of a task.

use std::sync::PoisonError;
use std::time::Duration;

use fapo_domain::model::task::{ClaimedTask, TaskState};
use fapo_domain::ports::StoreError;
use fapo_domain::{Classified, Retry};
use tokio_util::sync::CancellationToken;

use super::{Ending, Worker};
use crate::outcome::{Outcome, backoff};

impl Worker {
    /// Warns of a failure. A provider that is down fails every task alike, again and again: that is warned of once, until
    /// another reason comes between.
    fn say_failed(&self, task: &ClaimedTask, reason: &str, for_good: bool) {
        let (task, attempt) = (task.id.short(), task.epoch);
        let what = if for_good {
            "a task failed for good"
        } else {
            "a task failed and will be tried again"
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said == reason {
            tracing::info!(%task, attempt, reason, "{what}");
        } else {
            reason.clone_into(&mut said);
            tracing::warn!(%task, attempt, reason, "{what}");
        }
    }

    /// Writes down what came of a task.
    pub(super) async fn settle(
        &self,
        task: &ClaimedTask,
        outcome: Outcome,
        stop: &CancellationToken,
    ) -> Result<Ending, StoreError> {
        let config = &self.config;
        match outcome {
            Outcome::Done(result) => {
                self.complete(task, result).await?;
                Ok(Ending::Finished)
            }
            Outcome::Interrupted => {
                // no failure of the task: it never dies of it
                let delay = if stop.is_cancelled() {
                    Duration::ZERO
                } else {
                    config.backoff
                };
                let reason = "INTERRUPTED: the work was interrupted";
                let at = self.clock.now().plus(delay);
                self.tasks
                    .fail_task(task.fence(), reason, at, u64::MAX)
                    .await?;
                Ok(Ending::Later(delay))
            }
            Outcome::Failed(reason, at_least) => {
                let delay = backoff(
                    task.id,
                    task.epoch,
                    config.backoff,
                    config.max_backoff,
                    at_least,
                );
                let at = self.clock.now().plus(delay);
                let state = self
                    .tasks
                    .fail_task(task.fence(), &reason, at, config.max_attempts)
                    .await?;
                self.say_failed(task, &reason, state == TaskState::Dead);
                Ok(match state {
                    TaskState::Queued | TaskState::Leased => Ending::Later(delay),
                    TaskState::Done | TaskState::Dead | TaskState::Cancelled => Ending::Finished,
                })
            }
            Outcome::Hopeless(reason) => {
                self.say_failed(task, &reason, true);
                self.tasks.kill_task(task.fence(), &reason).await?;
                Ok(Ending::Finished)
            }
        }
    }

    /// Stores a result, trying again for one lease while the store is unavailable: the work is done and paid for.
    async fn complete(
        &self,
        task: &ClaimedTask,
        result: serde_json::Value,
    ) -> Result<(), StoreError> {
        let deadline = tokio::time::Instant::now() + self.config.lease;
        loop {
            let stored = self.tasks.complete_task(task.fence(), result.clone());
            let Err(error) = stored.await else {
                return Ok(());
            };
            let wait = match error.retry() {
                Retry::Never => return Err(error),
                Retry::Now => Duration::from_millis(10),
                Retry::After(wait) => wait,
            };
            if tokio::time::Instant::now() + wait > deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }
}
