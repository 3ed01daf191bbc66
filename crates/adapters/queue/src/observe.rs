//! How traces and metrics see a task. Metrics are events of the target `fapo::metrics`, which the telemetry adapter reads.

use fapo_domain::model::task::{ClaimedTask, Topic};
use fapo_domain::ports::queue::Delivery;
use tokio::time::Instant;
use tracing::{Level, Span};

/// The span of the work on a claimed task.
pub(crate) fn span(task: &ClaimedTask, delivery: &Delivery) -> Span {
    tracing::info_span!(
        "task",
        job.id = %task.job,
        task.id = %task.id,
        topic = delivery.topic.as_str(),
        attempt = task.epoch,
        queue.wait_ms = u64::try_from(delivery.waited.as_millis()).unwrap_or(u64::MAX),
        outcome = tracing::field::Empty,
    )
}

/// Work that has begun.
pub(crate) struct Observed {
    topic: Topic,
    began: Instant,
}

impl Observed {
    /// Work begins; counts how long its message was ready.
    pub fn begin(delivery: &Delivery) -> Self {
        let topic = delivery.topic;
        tracing::event!(
            target: "fapo::metrics",
            Level::INFO,
            histogram.fapo_task_wait_seconds = delivery.waited.as_secs_f64(),
            topic = topic.as_str()
        );
        Self {
            topic,
            began: Instant::now(),
        }
    }

    /// Work ended, in one word: `done`, `interrupted`, `failed` (to be tried again, or dead after its last try), `hopeless`, or
    /// `lost` to another worker.
    pub fn end(self, outcome: &'static str) {
        Span::current().record("outcome", outcome);
        let topic = self.topic.as_str();
        tracing::event!(
            target: "fapo::metrics",
            Level::INFO,
            monotonic_counter.fapo_tasks_total = 1_u64,
            topic = topic,
            outcome = outcome
        );
        tracing::event!(
            target: "fapo::metrics",
            Level::INFO,
            histogram.fapo_task_seconds = self.began.elapsed().as_secs_f64(),
            topic = topic,
            outcome = outcome
        );
    }
}
