//! The worker loop: receive, claim, handle under a heartbeat, write down the outcome, acknowledge.
//!
//! ```text
//! permit ─▶ receive ─▶ claim ─┬─ Claimed ─▶ handler ──▶ complete | fail | kill ─▶ tick ─▶ acknowledge
//!                             ├─ Held, NotBefore ─▶ retry later
//!                             └─ Over ─▶ tick ─▶ acknowledge
//! ```
//!
//! A permit is taken before a message, so a worker never holds messages that it cannot work on. While the handler works,
//! lease and delivery are renewed at every heartbeat; a stale lease stops the handler, and its result is dropped.
//! What is written is written under the claim's fence, so nothing here can undo what another worker did since. The
//! outcome is committed first, then the job's tick is pushed, then the message is acknowledged: a crash in between
//! repeats a message, and no effect.
//!
//! A task is worked on in a span `task`, a child of the tick that made the task wherever that ran.
//!
//! A store that cannot be written (a full disk, damage) ends the worker with that error: nothing it would go on to do
//! could be written down, and work that leaves no trace is paid for again.

mod settle;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fapo_domain::clock::Clock;
use fapo_domain::error::chain;
use fapo_domain::model::task::{ClaimedTask, Topic};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::queue::{Delivery, Message, TaskQueue};
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::ports::trace_context::{NoTraces, TraceContext};
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::{Classified, JobId, Retry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::observe;
use crate::outcome::Outcome;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name in leases and queues; unique among all workers.
    pub consumer: String,
    /// Tasks under way at once.
    pub concurrency: usize,
    /// How long a claim lasts without a heartbeat.
    pub lease: Duration,
    /// How often a claim is renewed: at most a third of the lease, so that two heartbeats may be lost.
    pub heartbeat: Duration,
    /// How long one receive waits for messages.
    pub poll: Duration,
    /// Claims after which a failing task is dead.
    pub max_attempts: u64,
    /// The wait after a first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest wait after a failure, unless the failure asks for more.
    pub max_backoff: Duration,
    /// How long handlers may take to end once the worker is stopped.
    pub grace: Duration,
}

impl WorkerConfig {
    /// The usual values for a worker of this name: a lease of 30 s, 5 attempts.
    pub fn new(consumer: impl Into<String>, concurrency: usize) -> Self {
        Self {
            consumer: consumer.into(),
            concurrency,
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(5),
            max_attempts: 5,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            grace: Duration::from_secs(10),
        }
    }
}

/// Runs the tasks of one topic in this process.
pub struct Worker {
    queue: Arc<dyn TaskQueue>,
    tasks: Arc<dyn Tasks>,
    handler: Arc<dyn TaskHandler>,
    clock: Arc<dyn Clock>,
    traces: Arc<dyn TraceContext>,
    config: WorkerConfig,
    /// Why the last task failed that was warned of.
    said: Mutex<String>,
}

/// What is left to do with a message.
enum Ending {
    /// Nothing: forget it, and have the job looked at.
    Finished,
    /// It comes again later.
    Later(Duration),
}

impl Worker {
    /// A worker around `handler`.
    pub fn new(
        queue: Arc<dyn TaskQueue>,
        tasks: Arc<dyn Tasks>,
        handler: Arc<dyn TaskHandler>,
        clock: Arc<dyn Clock>,
        config: WorkerConfig,
    ) -> Self {
        Self {
            queue,
            tasks,
            handler,
            clock,
            traces: Arc::new(NoTraces),
            config,
            said: Mutex::new(String::new()),
        }
    }

    /// Continues in its span the distributed trace that a task belongs to.
    #[must_use]
    pub fn with_traces(mut self, traces: Arc<dyn TraceContext>) -> Self {
        self.traces = traces;
        self
    }

    /// Works until `stop` is cancelled, and returns once every handler ended or the grace period passed; handlers that
    /// are still at work then are aborted, and their tasks are claimed again once their leases have run out. Dropping
    /// the future aborts all handlers.
    ///
    /// # Errors
    /// When what comes of tasks cannot be written down, and no retry helps; the other handlers are stopped first. The
    /// tasks stay as the store has them.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), WorkError> {
        let stop = stop.child_token();
        let broken = Arc::new(OnceLock::new());
        let permits = Arc::new(Semaphore::new(self.config.concurrency.max(1)));
        let mut under_way = JoinSet::new();
        while !stop.is_cancelled() {
            while under_way.try_join_next().is_some() {}
            for (delivery, permit) in self.receive(&permits, &stop).await {
                let (worker, stop, broken) = (Arc::clone(&self), stop.clone(), Arc::clone(&broken));
                under_way.spawn(async move {
                    if let Err(error) = worker.process(&delivery, &stop).await {
                        tracing::error!(error = %chain(&error), "the worker ends");
                        // the first says why; those after it only follow from it
                        let _ = broken.set(error);
                        stop.cancel();
                    }
                    drop(permit);
                });
            }
        }
        let all_ended = async { while under_way.join_next().await.is_some() {} };
        if tokio::time::timeout(self.config.grace, all_ended)
            .await
            .is_err()
        {
            tracing::warn!(
                topic = self.topic().as_str(),
                "handlers did not end within the grace period and are dropped"
            );
            under_way.shutdown().await;
        }
        // every handler is gone, so this is the last owner
        Arc::into_inner(broken)
            .and_then(OnceLock::into_inner)
            .map_or(Ok(()), Err)
    }

    fn topic(&self) -> Topic {
        self.handler.topic()
    }

    /// Messages with a permit for each; none where there are none now.
    async fn receive(
        &self,
        semaphore: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Vec<(Delivery, OwnedSemaphorePermit)> {
        let first = tokio::select! {
            () = stop.cancelled() => return Vec::new(),
            permit = Arc::clone(semaphore).acquire_owned() => permit,
        };
        let mut permits: Vec<OwnedSemaphorePermit> = first.into_iter().collect();
        while let Ok(permit) = Arc::clone(semaphore).try_acquire_owned() {
            permits.push(permit);
        }
        let config = &self.config;
        let received = tokio::select! {
            () = stop.cancelled() => return Vec::new(),
            received = self.queue.receive(
                self.topic(),
                &config.consumer,
                permits.len(),
                config.poll,
                config.lease,
            ) => received,
        };
        match received {
            Ok(deliveries) => deliveries.into_iter().zip(permits).collect(),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot receive tasks");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(config.backoff) => {}
                }
                Vec::new()
            }
        }
    }

    async fn process(
        &self,
        delivery: &Delivery,
        stop: &CancellationToken,
    ) -> Result<(), WorkError> {
        let Message::Task { task, job, .. } = delivery.message else {
            // ticks are no tasks; they have no business in this topic
            self.acknowledge(delivery).await;
            return Ok(());
        };
        let config = &self.config;
        let claim = self
            .tasks
            .claim_task(task, &config.consumer, config.lease)
            .await;
        let ending = match claim {
            Ok(Claim::Claimed(task)) => {
                let span = observe::span(&task, delivery);
                if let Some(parent) = &task.trace {
                    self.traces.adopt(&span, parent);
                }
                self.work(*task, delivery, stop).instrument(span).await?
            }
            Ok(Claim::Held(at) | Claim::NotBefore(at)) => {
                // never at once: two clocks may differ a little
                Ending::Later(at.since(self.clock.now()).max(Duration::from_millis(10)))
            }
            Ok(Claim::Over) | Err(StoreError::NotFound { .. }) => Ending::Finished,
            Err(error) if error.retry() == Retry::Never => {
                return Err(WorkError::from_port(
                    format!("task {} cannot be claimed", task.short()),
                    error,
                ));
            }
            Err(error) => {
                tracing::warn!(task = %task.short(), error = %chain(&error), "cannot claim a task");
                Ending::Later(config.backoff)
            }
        };
        match ending {
            Ending::Finished => {
                self.tick(job).await;
                self.acknowledge(delivery).await;
            }
            Ending::Later(delay) => {
                if let Err(error) = self.queue.retry_later(delivery, delay).await {
                    tracing::debug!(error = %chain(&error), "cannot give a message back");
                }
            }
        }
        Ok(())
    }

    /// Handles a claimed task and writes down what came of it.
    async fn work(
        &self,
        task: ClaimedTask,
        delivery: &Delivery,
        stop: &CancellationToken,
    ) -> Result<Ending, WorkError> {
        let task = Arc::new(task);
        let observed = observe::Observed::begin(delivery);
        let Some(outcome) = self.handle(&task, delivery, stop).await else {
            tracing::warn!(task = %task.id.short(), "another worker has the task by now; the work here is dropped");
            observed.end("lost");
            return Ok(Ending::Later(self.config.lease));
        };
        let outcome = outcome?;
        let word = outcome.word();
        match self.settle(&task, outcome, stop).await {
            Ok(ending) => {
                observed.end(word);
                Ok(ending)
            }
            Err(StoreError::StaleLease { .. }) => {
                observed.end("lost");
                tracing::warn!(task = %task.id.short(), "another worker has the task by now; the result here is dropped");
                Ok(Ending::Later(self.config.lease))
            }
            Err(error) if error.retry() == Retry::Never => Err(WorkError::from_port(
                format!("what came of task {} cannot be written", task.id.short()),
                error,
            )),
            Err(error) => {
                tracing::error!(task = %task.id.short(), error = %chain(&error), "cannot write what came of a task");
                Ok(Ending::Later(self.config.backoff))
            }
        }
    }

    /// Runs the handler under a heartbeat. `None` where the lease went stale meanwhile; an error where the handler met a
    /// store that cannot be written.
    async fn handle(
        &self,
        task: &Arc<ClaimedTask>,
        delivery: &Delivery,
        stop: &CancellationToken,
    ) -> Option<Result<Outcome, WorkError>> {
        let stop_handler = stop.child_token();
        let mut running = {
            let (handler, task) = (Arc::clone(&self.handler), Arc::clone(task));
            let stop = stop_handler.clone();
            // its own task, so that a panic ends the handler and not the worker
            let work = async move { handler.handle(&task, &stop).await };
            AbortOnDropHandle::new(tokio::spawn(work.in_current_span()))
        };
        let beat = self.config.heartbeat;
        loop {
            tokio::select! {
                biased;
                ended = &mut running => return Some(Outcome::of(ended)),
                () = tokio::time::sleep(beat) => {}
            }
            if let Err(error) = self.queue.renew(delivery, self.config.lease).await {
                // the row's lease is what counts; somebody who gets the message finds it held
                tracing::debug!(task = %task.id.short(), error = %chain(&error), "cannot renew a delivery");
            }
            match self.tasks.renew_task(task.fence(), self.config.lease).await {
                Ok(_) => {}
                Err(StoreError::StaleLease { .. } | StoreError::NotFound { .. }) => {
                    stop_handler.cancel();
                    // nothing it does counts any more; its time to tidy up is bounded all the same
                    let _ended = tokio::time::timeout(self.config.grace, running).await;
                    return None;
                }
                Err(error) => {
                    tracing::warn!(task = %task.id.short(), error = %chain(&error), "cannot renew a lease; trying again");
                }
            }
        }
    }

    /// Has the job looked at. If this fails the reconciler does it a little later.
    async fn tick(&self, job: JobId) {
        let tick = [Message::Tick { job }];
        if let Err(error) = self.queue.push(Topic::Job, &tick, Duration::ZERO).await {
            tracing::warn!(%job, error = %chain(&error), "cannot queue a tick");
        }
    }

    async fn acknowledge(&self, delivery: &Delivery) {
        if let Err(error) = self.queue.acknowledge(delivery).await {
            tracing::debug!(error = %chain(&error), "cannot acknowledge a message");
        }
    }
}
