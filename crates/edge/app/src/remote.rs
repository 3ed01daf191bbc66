//! A fapo server, as the commands with `--server` use it: jobs there behave like jobs here.
//!
//! Everything goes through the port [`Optimizer`]; who stands behind it is decided where it is made.

mod upload;

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::JobId;
use fapo_domain::error::{Classified as _, ErrorCode, chain};
use fapo_domain::model::access::Caller;
use fapo_domain::model::job::JobEvent;
use fapo_domain::ports::optimizer::{
    JobFilter, JobSummary, Optimizer, OptimizerError, ReportFormat,
};

pub use self::upload::{Upload, request_id};
use crate::output::Output;
use crate::report::data::ReportData;

/// Jobs asked for at once.
const PAGE: u32 = 100;
/// Jobs looked through for a name.
const MOST_JOBS: usize = 1_000;
/// Events asked for at once.
const EVENTS: u32 = 1_000;
/// Pauses between the tries of a call that may be repeated: half a minute in all.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// A server, and who asks it.
#[derive(Clone)]
pub struct Remote {
    /// Its address, for people.
    pub server: String,
    /// Its jobs.
    pub optimizer: Arc<dyn Optimizer>,
    /// Who asks.
    pub caller: Caller,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// The newest jobs that the caller may see, at most `most`.
    ///
    /// # Errors
    /// The server's.
    pub async fn jobs(&self, most: usize) -> Result<Vec<JobSummary>, OptimizerError> {
        let mut jobs: Vec<JobSummary> = Vec::new();
        while jobs.len() < most {
            let filter = JobFilter {
                project: None,
                before: jobs.last().map(|job| job.id),
                limit: PAGE.min(u32::try_from(most - jobs.len()).unwrap_or(PAGE)),
            };
            let page = self.optimizer.jobs(&self.caller, &filter).await?;
            let done = page.is_empty();
            jobs.extend(page);
            if done {
                break;
            }
        }
        Ok(jobs)
    }

    /// The jobs among which a name is looked for.
    ///
    /// # Errors
    /// The server's.
    pub async fn named(&self) -> Result<Vec<JobSummary>, OptimizerError> {
        self.jobs(MOST_JOBS).await
    }

    /// All events of a job so far.
    ///
    /// # Errors
    /// The server's.
    pub async fn history(&self, job: JobId) -> Result<Vec<JobEvent>, OptimizerError> {
        let mut events: Vec<JobEvent> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let (optimizer, caller) = (&self.optimizer, &self.caller);
            let page = optimizer
                .events(caller, job, after, EVENTS, Duration::ZERO)
                .await?;
            if page.is_empty() {
                return Ok(events);
            }
            events.extend(page);
        }
    }

    /// What a job's report is made from.
    ///
    /// # Errors
    /// The server's; a report of a server that is newer than this program.
    pub async fn report(&self, job: JobId) -> Result<ReportData, OptimizerError> {
        let report = self
            .optimizer
            .report(&self.caller, job, ReportFormat::Json)
            .await?;
        serde_json::from_slice(&report).map_err(|error| OptimizerError::Internal {
            message: format!(
                "the report of {} cannot be read: the server may be of another version",
                self.server
            ),
            source: Some(Box::new(error)),
        })
    }

    /// Makes a call that may be repeated, again and again for a while where the server does not answer. The person is told once.
    ///
    /// # Errors
    /// The last one, once trying again has not helped; at once, where it could not.
    pub async fn patiently<T>(
        &self,
        output: &Output,
        call: impl AsyncFn() -> Result<T, OptimizerError>,
    ) -> Result<T, OptimizerError> {
        for (at, pause) in PAUSES.into_iter().enumerate() {
            match call().await {
                Err(error) if may_pass(&error) => {
                    if at == 0 {
                        output.note(&format!("{}; trying again", self.silent(&error)));
                    }
                    tokio::time::sleep(pause).await;
                }
                other => return other,
            }
        }
        call().await
    }

    /// That the server does not answer.
    pub fn silent(&self, error: &OptimizerError) -> String {
        match error {
            // its words name the server already
            OptimizerError::Unreachable { .. } => chain(error),
            _ => format!("{} does not answer: {}", self.server, chain(error)),
        }
    }
}

/// Whether the same call may succeed later.
pub fn may_pass(error: &OptimizerError) -> bool {
    matches!(error.code(), ErrorCode::Unavailable | ErrorCode::Timeout)
}

#[cfg(test)]
pub mod testing;
