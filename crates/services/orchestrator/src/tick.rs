//! One tick of a job.

use std::collections::BTreeMap;
use std::time::Duration;

use fapo_domain::error::chain;
use fapo_domain::model::job::{Job, JobStatus};
use fapo_domain::model::task::{FinishedTask, Lane, NewTask, Topic};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Tick;
use fapo_domain::ports::queue::Message;
use fapo_domain::{JobId, TaskId};
use fapo_policy::{Advance, JobState};
use serde_json::Value;
use tracing::Instrument as _;

use crate::error::OrchestratorError;
use crate::observe::Changes;
use crate::service::OrchestratorService;

/// What came of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    /// The job's status after it.
    pub status: JobStatus,
    /// The job's version after it.
    pub version: u64,
}

impl OrchestratorService {
    /// Takes in what finished since the last tick, and begins what comes next. Harmless to repeat.
    pub async fn tick(&self, job: JobId) -> Result<Ticked, OrchestratorError> {
        self.step(job, false).await
    }

    /// Ticks until no finished task is left over.
    pub(crate) async fn step(&self, job: JobId, cancel: bool) -> Result<Ticked, OrchestratorError> {
        let mut conflicts = 0;
        loop {
            match self.step_once(job, cancel).await {
                Ok((ticked, more)) => {
                    if !more || ticked.status.is_final() {
                        return Ok(ticked);
                    }
                }
                Err(OrchestratorError::Store(StoreError::VersionConflict { .. })) => {
                    conflicts += 1;
                    if conflicts >= self.config.tries {
                        return Err(OrchestratorError::Contended {
                            job,
                            tries: conflicts,
                        });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One tick, and whether there may be more to take in.
    async fn step_once(
        &self,
        id: JobId,
        cancel: bool,
    ) -> Result<(Ticked, bool), OrchestratorError> {
        // the row first: tasks that finish after it was read are seen by this tick or by the next, and never lost
        let job = self.jobs.get_job(id).await?;
        let ticked = Ticked {
            status: job.status,
            version: job.version,
        };
        if job.status.is_final() || (job.paused && !cancel) {
            return Ok((ticked, false));
        }
        let span = tracing::info_span!("tick", job.id = %id, job.version = job.version);
        if let Some(parent) = &job.trace {
            self.traces.adopt(&span, parent);
        }
        self.take_in(&job, cancel).instrument(span).await
    }

    /// The part of a tick that may change something.
    async fn take_in(&self, job: &Job, cancel: bool) -> Result<(Ticked, bool), OrchestratorError> {
        let id = job.id;
        let finished = self.tasks.finished_tasks(id, self.config.batch).await?;
        let more = finished.len() as u64 >= u64::from(self.config.batch);
        let advance = self.advance(job, &finished, cancel).await?;
        let consumed: Vec<TaskId> = finished.iter().map(|task| task.id).collect();
        if consumed.is_empty() && advance.events.is_empty() && advance.tasks.is_empty() {
            let unchanged = Ticked {
                status: job.status,
                version: job.version,
            };
            return Ok((unchanged, false));
        }
        let (mut tick, tasks) = commit(job, advance, consumed)?;
        tick.trace = self.traces.current();
        let status = tick.status;
        let changes = Changes::of(job, &tick);
        let version = self.jobs.commit_tick(tick).await?;
        // an error says that nobody listens
        let _ = self.ticked.send(id);
        changes.count();
        self.push(&tasks).await;
        Ok((Ticked { status, version }, more))
    }

    async fn advance(
        &self,
        job: &Job,
        finished: &[FinishedTask],
        cancel: bool,
    ) -> Result<Advance, OrchestratorError> {
        let state =
            <JobState as serde::Deserialize>::deserialize(&job.state).map_err(|source| {
                OrchestratorError::State {
                    job: job.id,
                    source,
                }
            })?;
        let balance = self.ledger.balance(job.id).await?;
        let elapsed_ms = self.elapsed_ms(job, &state);
        Ok(fapo_policy::advance(
            job.id, &job.spec, state, finished, &balance, cancel, elapsed_ms,
        ))
    }

    /// How long the job has been running: what was counted at its last change, and the time since, as far as this service
    /// was there. So a night between two runs of the program does not count, and a block that takes an hour does.
    fn elapsed_ms(&self, job: &Job, state: &JobState) -> u64 {
        let since = job.updated_at.max(self.started_at);
        let gap = self.clock.now().since(since).as_millis();
        state
            .elapsed_ms
            .saturating_add(u64::try_from(gap).unwrap_or(u64::MAX))
    }

    /// Tells the workers about new tasks. If this fails the reconciler does it a little later.
    async fn push(&self, tasks: &[(Topic, Message)]) {
        let mut by_topic: BTreeMap<Topic, Vec<Message>> = BTreeMap::new();
        for (topic, message) in tasks {
            by_topic.entry(*topic).or_default().push(*message);
        }
        for (topic, messages) in by_topic {
            if let Err(error) = self.queue.push(topic, &messages, Duration::ZERO).await {
                tracing::warn!(error = %chain(&error), "cannot queue new tasks");
            }
        }
    }
}

/// What is to be written, and the messages for its tasks.
fn commit(
    row: &Job,
    advance: Advance,
    consumed: Vec<TaskId>,
) -> Result<(Tick, Vec<(Topic, Message)>), OrchestratorError> {
    let (job, lane) = (row.id, Lane::of(&row.project));
    let unwritable = |source| OrchestratorError::Unwritable { job, source };
    let state = serde_json::to_value(&advance.state).map_err(unwritable)?;
    let events: Vec<Value> = advance
        .events
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .map_err(unwritable)?;
    let messages = advance
        .tasks
        .iter()
        .map(|task: &NewTask| {
            let message = Message::Task {
                task: task.id,
                job,
                lane,
            };
            (task.payload.topic(), message)
        })
        .collect();
    let tick = Tick {
        job,
        expected_version: row.version,
        state,
        status: advance.status,
        events,
        tasks: advance.tasks,
        consumed,
        lineage: advance.lineage,
        decisions: advance.decisions,
        open_test: advance.open_test,
        trace: None,
    };
    Ok((tick, messages))
}
