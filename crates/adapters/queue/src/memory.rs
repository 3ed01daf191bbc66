//! The queue of a single process. It forgets everything when the process ends; the reconciler fills it again from the
//! task rows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::queue::{Delivery, Message, QueueDepth, QueueError, TaskQueue, TopicDepth};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::topic::TopicState;

/// An in-process [`TaskQueue`].
///
/// Memory is bounded by the number of distinct messages: each is in a topic at most once. Projects with ready messages are
/// served in turn, one message each, and within a project its jobs. Time is tokio's, so tests can pause it.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    topics: [Line; Topic::ALL.len()],
}

#[derive(Debug, Default)]
struct Line {
    state: Mutex<TopicState>,
    /// Rung when something became ready, or will earlier than before.
    bell: Notify,
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    const fn line(&self, topic: Topic) -> &Line {
        &self.topics[topic as usize]
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, TopicState> {
        // the state is whole after every call, so a panic elsewhere does not spoil it
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TaskQueue for MemoryQueue {
    async fn push(
        &self,
        topic: Topic,
        messages: &[Message],
        delay: Duration,
    ) -> Result<(), QueueError> {
        if messages.is_empty() {
            return Ok(());
        }
        let line = self.line(topic);
        let now = Instant::now();
        {
            let mut state = line.lock();
            for message in messages {
                state.push(*message, delay, now);
            }
        }
        line.bell.notify_waiters();
        Ok(())
    }

    async fn receive(
        &self,
        topic: Topic,
        _consumer: &str,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let line = self.line(topic);
        let deadline = Instant::now() + wait;
        loop {
            let bell = line.bell.notified();
            tokio::pin!(bell);
            // from here on no ring is missed
            bell.as_mut().enable();
            let wake_at = {
                let mut state = line.lock();
                let now = Instant::now();
                // taken and returned without a point in between at which the future could be dropped
                let taken = state.take(topic, max, visibility, now);
                if !taken.is_empty() || max == 0 || now >= deadline {
                    return Ok(taken);
                }
                state.next_timer().map_or(deadline, |at| at.min(deadline))
            };
            tokio::select! {
                () = bell => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    async fn renew(&self, delivery: &Delivery, visibility: Duration) -> Result<(), QueueError> {
        let mut state = self.line(delivery.topic).lock();
        if state.renew(&delivery.token, visibility, Instant::now()) {
            Ok(())
        } else {
            Err(QueueError::Lost {
                token: delivery.token.clone(),
            })
        }
    }

    async fn acknowledge(&self, delivery: &Delivery) -> Result<(), QueueError> {
        let line = self.line(delivery.topic);
        let ready = line.lock().acknowledge(&delivery.token, Instant::now());
        if ready {
            line.bell.notify_waiters();
        }
        Ok(())
    }

    async fn retry_later(&self, delivery: &Delivery, delay: Duration) -> Result<(), QueueError> {
        let line = self.line(delivery.topic);
        let placed = line
            .lock()
            .retry_later(&delivery.token, delay, Instant::now());
        if placed {
            line.bell.notify_waiters();
        }
        Ok(())
    }
}

#[async_trait]
impl QueueDepth for MemoryQueue {
    async fn depth(&self) -> Result<Vec<TopicDepth>, QueueError> {
        let now = Instant::now();
        let of = |topic| self.line(topic).lock().depth(topic, now);
        Ok(Topic::ALL.map(of).into())
    }
}
