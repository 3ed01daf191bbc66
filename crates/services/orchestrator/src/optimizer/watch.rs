//! Summaries, and events as they come.

use std::time::Duration;

use fapo_domain::ids::JobId;
use fapo_domain::model::access::Caller;
use fapo_domain::model::job::{Job, JobEvent};
use fapo_domain::ports::optimizer::{JobFilter, JobSummary, OptimizerError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::OptimizerService;
use crate::summary::read_summary;

/// Jobs on a page.
const JOBS: u32 = 100;
/// Events in an answer.
const EVENTS: u32 = 1_000;
/// The longest wait of one call: a client that wants to wait on asks again, and a lost one is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The first and the longest pause between two looks at a job that another process ticks.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl OptimizerService {
    pub(super) async fn summary(&self, id: JobId) -> Result<JobSummary, OptimizerError> {
        let job = self.orchestrator.jobs.get_job(id).await?;
        self.summary_of(&job).await
    }

    pub(super) async fn summary_of(&self, job: &Job) -> Result<JobSummary, OptimizerError> {
        let (jobs, ledger) = (&*self.orchestrator.jobs, &*self.orchestrator.ledger);
        Ok(read_summary(jobs, ledger, job).await?)
    }

    /// A page of the jobs that the caller may see.
    pub(super) async fn page(
        &self,
        caller: &Caller,
        filter: &JobFilter,
    ) -> Result<Vec<JobSummary>, OptimizerError> {
        let project = caller.project.as_deref().or(filter.project.as_deref());
        let limit = filter.limit.clamp(1, JOBS);
        let jobs = &self.orchestrator.jobs;
        let mut page = Vec::new();
        for job in jobs.list_jobs(project, filter.before, limit).await? {
            page.push(self.summary_of(&job).await?);
        }
        Ok(page)
    }

    /// Reads a job's events, waiting for the first where there are none yet. A job that this process ticks wakes the wait; one
    /// that another ticks is looked at ever more seldom.
    pub(super) async fn await_events(
        &self,
        job: &Job,
        after_seq: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<JobEvent>, OptimizerError> {
        let limit = limit.clamp(1, EVENTS);
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        // before the first look, so that no tick falls in between
        let mut ticks = self.orchestrator.ticks();
        let mut pause = LOOK.0;
        loop {
            let events = self
                .orchestrator
                .jobs
                .events(job.id, after_seq, limit)
                .await?;
            // a job's end writes an event itself, so only one that was over before has nothing more to come
            let over = job.status.is_final() || Instant::now() >= deadline;
            if !events.is_empty() || over {
                return Ok(events);
            }
            let next = deadline.min(Instant::now() + pause);
            tokio::select! {
                () = tokio::time::sleep_until(next) => pause = LOOK.1.min(pause * 2),
                () = ticked(&mut ticks, job.id) => {}
            }
        }
    }
}

/// Waits for a tick of `job`. One that was missed in a burst counts as one of it.
async fn ticked(ticks: &mut Receiver<JobId>, job: JobId) {
    loop {
        match ticks.recv().await {
            Ok(id) if id != job => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // nobody ticks here any more
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::broadcast;

    use super::*;

    fn id(number: u8) -> JobId {
        JobId::at(1, [number; 10])
    }

    #[test]
    fn a_wait_ends_with_a_tick_of_its_own_job_or_a_burst_of_others() {
        let sender = broadcast::Sender::new(2);
        let mut ticks = sender.subscribe();
        sender.send(id(2)).unwrap();
        assert_eq!(ticked(&mut ticks, id(1)).now_or_never(), None);
        sender.send(id(1)).unwrap();
        assert_eq!(ticked(&mut ticks, id(1)).now_or_never(), Some(()));
        for _ in 0..5 {
            sender.send(id(2)).unwrap();
        }
        let lagged = ticked(&mut ticks, id(1)).now_or_never();
        assert_eq!(
            lagged,
            Some(()),
            "its own may be among those that were missed"
        );
        drop(sender);
        assert_eq!(ticked(&mut ticks, id(1)).now_or_never(), None);
    }
}
