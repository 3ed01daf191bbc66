//! The task queue: carries ids, and may forget them. The rows behind [`super::tasks::Tasks`] are the truth; a
//! reconciler refills a queue that was lost.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Classified, ErrorCode, Retry};
use crate::ids::{JobId, TaskId};
use crate::model::task::{Lane, Topic};

/// What a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// A task to claim.
    Task {
        /// The task.
        task: TaskId,
        /// Its job, for fairness.
        job: JobId,
        /// Its project, for fairness.
        lane: Lane,
    },
    /// A job to tick.
    Tick {
        /// The job.
        job: JobId,
    },
}

impl Message {
    /// The job it belongs to.
    pub const fn job(&self) -> JobId {
        match self {
            Self::Task { job, .. } | Self::Tick { job } => *job,
        }
    }

    /// The project's lane; ticks have none, and share one turn.
    pub const fn lane(&self) -> Option<Lane> {
        match self {
            Self::Task { lane, .. } => Some(*lane),
            Self::Tick { .. } => None,
        }
    }
}

/// A message handed to a consumer, until it is acknowledged or its visibility ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The queue's own name for this delivery.
    pub token: String,
    /// The queue it came from.
    pub topic: Topic,
    /// The message.
    pub message: Message,
    /// How often it has been delivered, this time included.
    pub deliveries: u64,
    /// How long ago it became ready: a delay that was asked for does not count, a delivery that ran out does.
    pub waited: Duration,
}

/// An error of the queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue cannot be reached.
    #[error("the queue is unavailable while trying to {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another consumer has the delivery by now.
    #[error("the delivery {token} belongs to another consumer by now")]
    Lost {
        /// The delivery.
        token: String,
    },
}

impl Classified for QueueError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::Lost { .. } => ErrorCode::Conflict,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } => Retry::After(Duration::from_millis(500)),
            Self::Lost { .. } => Retry::Never,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "QUEUE_UNAVAILABLE",
            Self::Lost { .. } => "DELIVERY_LOST",
        }
    }
}

/// Delivers messages at least once, in no promised order. A topic is shared fairly: the projects that have messages are served
/// in turn, and within a project its jobs.
#[async_trait]
pub trait TaskQueue: Send + Sync {
    /// Puts messages in, to be delivered after `delay`. A message that is in the topic already (waiting, delayed or
    /// delivered) may be dropped, except a tick, which is delivered once more if it is under way.
    async fn push(
        &self,
        topic: Topic,
        messages: &[Message],
        delay: Duration,
    ) -> Result<(), QueueError>;

    /// Takes up to `max` messages for `consumer`, waiting up to `wait` for the first. Each stays invisible to others for
    /// `visibility`, then is delivered again unless renewed or acknowledged. Dropping the future loses no message.
    async fn receive(
        &self,
        topic: Topic,
        consumer: &str,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Delivery>, QueueError>;

    /// Extends a delivery's visibility. `Lost` when another consumer has it by now.
    async fn renew(&self, delivery: &Delivery, visibility: Duration) -> Result<(), QueueError>;

    /// Removes a delivered message for good. Repeating is harmless.
    async fn acknowledge(&self, delivery: &Delivery) -> Result<(), QueueError>;

    /// Gives a delivered message back, to be delivered again after `delay`. Repeating is harmless.
    async fn retry_later(&self, delivery: &Delivery, delay: Duration) -> Result<(), QueueError>;
}

/// One topic at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicDepth {
    /// The topic.
    pub topic: Topic,
    /// Messages that are ready, with nobody to take them yet.
    pub waiting: u64,
    /// Messages that are not due yet.
    pub delayed: u64,
    /// Messages that are with a consumer.
    pub delivered: u64,
    /// How long the oldest of the waiting ones waits, in milliseconds; zero where none waits.
    pub oldest_ms: u64,
}

/// How much a queue holds, for metrics and for scaling.
#[async_trait]
pub trait QueueDepth: Send + Sync {
    /// All topics, in the order of [`Topic::ALL`]. The numbers of a topic belong to one moment.
    async fn depth(&self) -> Result<Vec<TopicDepth>, QueueError>;
}
