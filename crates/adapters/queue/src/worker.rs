//! The worker loop: receive an id, claim its row, keep the lease alive while the handler works, record the outcome.
//!
//! The order of the last steps carries the guarantee: the outcome is committed to the task's row first, then the job's tick
//! is pushed, then the message is acknowledged. A crash between any two of them repeats a message and no effect.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::clock::Clock;
use fapo_domain::error::chain;
use fapo_domain::model::task::{ClaimedTask, TaskState, Topic};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::queue::{Delivery, Message, TaskQueue};
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::{Classified, Retry};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a worker behaves.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name, unique among all workers.
    pub consumer: String,
    /// Tasks under way at once.
    pub concurrency: usize,
    /// How long a claim lasts without a heartbeat; heartbeats come three times as often.
    pub lease: Duration,
    /// Claims after which a failing task is dead.
    pub max_attempts: u64,
    /// How long one receive waits.
    pub poll: Duration,
    /// How long running handlers may take to stop.
    pub grace: Duration,
    /// Wait before the second attempt; doubles with each further one, up to a minute.
    pub backoff: Duration,
}

impl WorkerConfig {
    /// The usual values for a worker of this name.
    pub fn new(consumer: impl Into<String>, concurrency: usize) -> Self {
        Self {
            consumer: consumer.into(),
            concurrency,
            lease: Duration::from_secs(30),
            max_attempts: 5,
            poll: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            backoff: Duration::from_millis(500),
        }
    }
}

/// Runs the tasks of one topic.
pub struct Worker {
    queue: Arc<dyn TaskQueue>,
    tasks: Arc<dyn Tasks>,
    handler: Arc<dyn TaskHandler>,
    clock: Arc<dyn Clock>,
    config: WorkerConfig,
}

const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// After a failure of the store or the queue itself.
const INFRASTRUCTURE_PAUSE: Duration = Duration::from_secs(1);

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
            config,
        }
    }

    /// Works until `stop` is cancelled, then lets the handlers under way stop, and returns after at most
    /// [`WorkerConfig::grace`]. Dropping the future aborts them.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(self.config.concurrency.max(1)));
        let mut running = JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            let first = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&permits).acquire_owned() => match permit {
                    Ok(permit) => permit,
                    Err(_) => break,
                },
            };
            let mut held = vec![first];
            while let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                held.push(permit);
            }
            let received = tokio::select! {
                () = stop.cancelled() => break,
                received = self.queue.receive(
                    self.handler.topic(),
                    &self.config.consumer,
                    held.len(),
                    self.config.poll,
                    self.config.lease,
                ) => received,
            };
            match received {
                Ok(deliveries) => {
                    for (delivery, permit) in deliveries.into_iter().zip(held) {
                        let worker = Arc::clone(&self);
                        let stop = stop.child_token();
                        running.spawn(async move { worker.process(delivery, permit, stop).await });
                    }
                }
                Err(error) => {
                    tracing::warn!(topic = self.handler.topic().as_str(), error = %chain(&error), "cannot receive");
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(INFRASTRUCTURE_PAUSE) => {}
                    }
                }
            }
        }
        let drained = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(self.config.grace, drained)
            .await
            .is_err()
        {
            tracing::warn!(
                topic = self.handler.topic().as_str(),
                "handlers did not stop in time"
            );
        }
    }

    async fn process(
        &self,
        delivery: Delivery,
        _permit: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) {
        let Message::Task { task, .. } = delivery.message else {
            self.acknowledge(&delivery).await;
            return;
        };
        let claim = self
            .tasks
            .claim_task(task, &self.config.consumer, self.config.lease)
            .await;
        match claim {
            Ok(Claim::Claimed(task)) => self.work(&delivery, *task, stop).await,
            Ok(Claim::Held(until) | Claim::NotBefore(until)) => {
                self.retry_later(&delivery, until.since(self.clock.now()))
                    .await;
            }
            Ok(Claim::Over) => self.acknowledge(&delivery).await,
            Err(error) => {
                tracing::warn!(task = %task, error = %chain(&error), "cannot claim");
                self.retry_later(&delivery, INFRASTRUCTURE_PAUSE).await;
            }
        }
    }

    async fn work(&self, delivery: &Delivery, task: ClaimedTask, stop: CancellationToken) {
        let fence = task.fence();
        let (job, epoch) = (task.job, task.epoch);
        let Some(outcome) = self.handle(delivery, task, stop).await else {
            tracing::info!(task = %fence.task, epoch, "the lease was lost; another worker has the task");
            self.acknowledge(delivery).await;
            return;
        };
        let (recorded, delay) = match outcome {
            Ok(result) => (self.tasks.complete_task(fence, result).await, None),
            Err(error) if error.reason == "INTERRUPTED" => {
                // going back as it came is no failed attempt
                let given_back = self
                    .tasks
                    .fail_task(fence, &error.message, self.clock.now(), u64::MAX)
                    .await;
                (given_back.map(|_| ()), Some(Duration::ZERO))
            }
            Err(error) => match error.retry() {
                Retry::Never => (self.tasks.kill_task(fence, &chain(&error)).await, None),
                Retry::Now | Retry::After(_) => self.fail(fence, epoch, &error).await,
            },
        };
        match recorded {
            Ok(()) => {}
            Err(StoreError::StaleLease { .. }) => {
                tracing::info!(task = %fence.task, epoch, "the lease was lost; the result is dropped");
            }
            Err(error) => {
                // the row still says leased: once the lease runs out the task is claimed anew
                tracing::warn!(task = %fence.task, error = %chain(&error), "cannot record the outcome");
                self.retry_later(delivery, self.config.lease).await;
                return;
            }
        }
        match delay {
            Some(delay) => self.retry_later(delivery, delay).await,
            None => {
                let tick = [Message::Tick { job }];
                if let Err(error) = self.queue.push(Topic::Job, &tick, Duration::ZERO).await {
                    // the reconciler finds the finished task
                    tracing::warn!(job = %job, error = %chain(&error), "cannot push a tick");
                }
                self.acknowledge(delivery).await;
            }
        }
    }

    async fn fail(
        &self,
        fence: fapo_domain::model::task::Fence,
        epoch: u64,
        error: &WorkError,
    ) -> (Result<(), StoreError>, Option<Duration>) {
        let doublings = u32::try_from(epoch.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(16);
        let mut delay = self
            .config
            .backoff
            .saturating_mul(1 << doublings)
            .min(MAX_BACKOFF);
        if let Retry::After(asked) = error.retry() {
            delay = delay.max(asked);
        }
        let not_before = self.clock.now().plus(delay);
        let state = self
            .tasks
            .fail_task(fence, &chain(error), not_before, self.config.max_attempts)
            .await;
        match state {
            Ok(TaskState::Dead) => (Ok(()), None),
            Ok(_) => (Ok(()), Some(delay)),
            Err(error) => (Err(error), None),
        }
    }

    /// Runs the handler with heartbeats. `None` when the lease was lost meanwhile.
    async fn handle(
        &self,
        delivery: &Delivery,
        task: ClaimedTask,
        stop: CancellationToken,
    ) -> Option<Result<Value, WorkError>> {
        let fence = task.fence();
        let handler = Arc::clone(&self.handler);
        let token = stop.clone();
        // a task of its own: a panic becomes a failed attempt, and dropping this future stops it
        let mut running = JoinSet::new();
        running.spawn(async move { handler.handle(&task, &token).await });
        let mut heartbeat = tokio::time::interval(self.config.lease / 3);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.tick().await;
        loop {
            tokio::select! {
                biased;
                joined = running.join_next() => {
                    return Some(match joined {
                        Some(Ok(outcome)) => outcome,
                        Some(Err(error)) => Err(panicked(error)),
                        None => Err(WorkError::interrupted()),
                    });
                }
                _ = heartbeat.tick() => {
                    match self.tasks.renew_task(fence, self.config.lease).await {
                        Ok(_) => {}
                        Err(StoreError::StaleLease { .. }) => {
                            stop.cancel();
                            running.shutdown().await;
                            return None;
                        }
                        Err(error) => {
                            tracing::warn!(task = %fence.task, error = %chain(&error), "cannot renew the lease");
                        }
                    }
                    if let Err(error) = self.queue.renew(delivery, self.config.lease).await {
                        // the row decides; a second delivery finds it held
                        tracing::debug!(task = %fence.task, error = %chain(&error), "cannot renew the delivery");
                    }
                }
            }
        }
    }

    async fn acknowledge(&self, delivery: &Delivery) {
        if let Err(error) = self.queue.acknowledge(delivery).await {
            tracing::warn!(error = %chain(&error), "cannot acknowledge; the message will come again");
        }
    }

    async fn retry_later(&self, delivery: &Delivery, delay: Duration) {
        if let Err(error) = self.queue.retry_later(delivery, delay).await {
            tracing::warn!(error = %chain(&error), "cannot give a message back; it will come again");
        }
    }
}

fn panicked(error: tokio::task::JoinError) -> WorkError {
    let what = match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_owned()),
        Err(_) => return WorkError::interrupted(),
    };
    WorkError {
        message: format!("the handler panicked: {what}"),
        code: fapo_domain::ErrorCode::Internal,
        retry: Retry::Now,
        reason: "HANDLER_PANICKED",
        source: None,
    }
}
