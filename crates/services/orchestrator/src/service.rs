//! The service: its loop over messages, and the reconciler.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fapo_domain::clock::{Clock, Timestamp};
use fapo_domain::error::chain;
use fapo_domain::ids::JobId;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::ledger::Ledger;
use fapo_domain::ports::queue::{Delivery, Message, TaskQueue};
use fapo_domain::ports::tasks::Tasks;
use fapo_domain::ports::trace_context::{NoTraces, TraceContext};
use fapo_domain::{Classified, Retry};
use futures::TryStreamExt;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::error::OrchestratorError;
use crate::observe;

/// Ticks that a slow listener may fall behind by; it then looks once for all that it missed.
const TICKS_KEPT: usize = 256;

/// How the orchestrator works.
#[derive(Debug, Clone)]
pub struct OrchestratorConfig {
    /// Its name in queues; unique among orchestrators.
    pub owner: String,
    /// How long one call waits for messages.
    pub poll: Duration,
    /// How long a tick may take before its message goes to another orchestrator.
    pub visibility: Duration,
    /// How often the queue is filled again from the rows.
    pub reconcile_every: Duration,
    /// Jobs ticked at the same time.
    pub concurrency: usize,
    /// Finished tasks that one tick takes in.
    pub batch: u32,
    /// Rows that one reconciliation looks at, of each kind.
    pub reconcile_limit: u32,
    /// Tries of a tick when others change the job meanwhile.
    pub tries: u32,
}

impl OrchestratorConfig {
    /// The defaults under a name.
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            poll: Duration::from_secs(5),
            visibility: Duration::from_secs(60),
            reconcile_every: Duration::from_secs(5),
            concurrency: 8,
            batch: 256,
            reconcile_limit: 10_000,
            tries: 10,
        }
    }
}

/// Drives jobs; see the head of this crate.
#[derive(Clone)]
pub struct OrchestratorService {
    pub(crate) jobs: Arc<dyn Jobs>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) queue: Arc<dyn TaskQueue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<OrchestratorConfig>,
    /// When this service was made: the time before it does not count as a job's running time.
    pub(crate) started_at: Timestamp,
    pub(crate) traces: Arc<dyn TraceContext>,
    /// Jobs that this service ticked, for whoever waits for their events in this process.
    pub(crate) ticked: broadcast::Sender<JobId>,
}

impl OrchestratorService {
    /// A service over the given ports.
    pub fn new(
        jobs: Arc<dyn Jobs>,
        tasks: Arc<dyn Tasks>,
        ledger: Arc<dyn Ledger>,
        queue: Arc<dyn TaskQueue>,
        clock: Arc<dyn Clock>,
        config: OrchestratorConfig,
    ) -> Self {
        let started_at = clock.now();
        Self {
            jobs,
            tasks,
            ledger,
            queue,
            clock,
            config: Arc::new(config),
            started_at,
            traces: Arc::new(NoTraces),
            ticked: broadcast::Sender::new(TICKS_KEPT),
        }
    }

    /// Puts what it does for a job under that job's distributed trace.
    pub fn with_traces(mut self, traces: Arc<dyn TraceContext>) -> Self {
        self.traces = traces;
        self
    }

    /// The jobs that this service and its clones tick from now on.
    pub(crate) fn ticks(&self) -> broadcast::Receiver<JobId> {
        self.ticked.subscribe()
    }

    /// Ticks jobs until `stop` is cancelled; a tick under way is finished first. Other errors are logged, and what they
    /// left undone is done by a later tick.
    ///
    /// # Errors
    /// When the store cannot be written: no later tick would do better before a person mends it.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), OrchestratorError> {
        tokio::try_join!(self.reconcile_loop(&stop), self.tick_loop(&stop))?;
        Ok(())
    }

    async fn reconcile_loop(&self, stop: &CancellationToken) -> Result<(), OrchestratorError> {
        let mut interval = tokio::time::interval(self.config.reconcile_every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = interval.tick() => {}
            }
            match self.reconcile().await {
                Ok(_) => {}
                Err(error) if is_broken(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot fill the queue from the rows");
                }
            }
        }
    }

    async fn tick_loop(&self, stop: &CancellationToken) -> Result<(), OrchestratorError> {
        let config = &self.config;
        while !stop.is_cancelled() {
            let received = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = self.queue.receive(
                    Topic::Job,
                    &config.owner,
                    config.concurrency,
                    config.poll,
                    config.visibility,
                ) => received,
            };
            match received {
                Ok(deliveries) => {
                    futures::stream::iter(deliveries.into_iter().map(Ok))
                        .try_for_each_concurrent(config.concurrency, |delivery| async move {
                            self.handle(&delivery).await
                        })
                        .await?;
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot receive ticks");
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    }
                }
            }
        }
        Ok(())
    }

    async fn handle(&self, delivery: &Delivery) -> Result<(), OrchestratorError> {
        let job = delivery.message.job();
        let began = Instant::now();
        let ticked = self.tick(job).await;
        observe::ticked(ticked.is_ok(), began.elapsed());
        let done = match ticked {
            Ok(_) => self.queue.acknowledge(delivery).await,
            Err(error) => {
                tracing::error!(%job, error = %chain(&error), "a tick failed");
                if is_broken(&error) {
                    return Err(error);
                }
                match error.retry() {
                    // the reconciler comes back to it, in case a person mends what is wrong
                    Retry::Never => self.queue.acknowledge(delivery).await,
                    Retry::Now => self.queue.retry_later(delivery, Duration::ZERO).await,
                    Retry::After(wait) => self.queue.retry_later(delivery, wait).await,
                }
            }
        };
        if let Err(error) = done {
            tracing::debug!(%job, error = %chain(&error), "cannot give a tick's message back");
        }
        Ok(())
    }

    /// Puts back into the queue whatever the rows say should be there: tasks that wait for a worker, and jobs that wait
    /// for a tick. Harmless to repeat. Returns how many messages were pushed.
    pub async fn reconcile(&self) -> Result<usize, OrchestratorError> {
        let limit = self.config.reconcile_limit;
        let now = self.clock.now();
        let mut by_topic: BTreeMap<(Topic, Duration), Vec<Message>> = BTreeMap::new();
        let due_tasks = self.tasks.due_tasks(limit).await?;
        let due_jobs = self.jobs.jobs_to_tick(limit).await?;
        observe::due(&due_tasks, due_jobs.len());
        for due in due_tasks {
            let message = Message::Task {
                task: due.id,
                job: due.job,
                lane: due.lane,
            };
            by_topic
                .entry((due.topic, due.not_before.since(now)))
                .or_default()
                .push(message);
        }
        let ticks: Vec<Message> = due_jobs
            .into_iter()
            .map(|job| Message::Tick { job })
            .collect();
        if !ticks.is_empty() {
            by_topic.insert((Topic::Job, Duration::ZERO), ticks);
        }
        let mut pushed = 0;
        for ((topic, delay), messages) in by_topic {
            self.queue.push(topic, &messages, delay).await?;
            pushed += messages.len();
        }
        Ok(pushed)
    }
}

/// Whether the store takes nothing any more.
fn is_broken(error: &OrchestratorError) -> bool {
    error.reason() == StoreError::UNWRITABLE
}
