//! The in-process queue.
//!
//! Each topic holds messages in one of three places: *ready* (one line per job, served in turn, so that a huge job does not
//! starve a small one), *delayed* (a heap by due time), and *delivered* (a map by token with the end of its visibility).
//! Messages move from delayed and delivered back to ready when their time comes, which is looked at on each receive; no
//! background task is needed. A message is moved to *delivered* in the same poll that returns it, so dropping a receive
//! future loses nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::JobId;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::queue::{Delivery, Message, QueueError, TaskQueue};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A [`TaskQueue`] in this process's memory. Time is tokio's, so tests can pause it.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    lines: [Line; Topic::ALL.len()],
}

/// One topic.
#[derive(Debug, Default)]
struct Line {
    state: Mutex<State>,
    /// Rung when a message may have become ready.
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Ready messages by job, and whose turn it is.
    ready: HashMap<JobId, VecDeque<Entry>>,
    turns: VecDeque<JobId>,
    /// Delayed messages by due time; the number keeps the order of equal times.
    delayed: BinaryHeap<Reverse<(Instant, u64, Entry)>>,
    delivered: HashMap<u64, Delivered>,
    /// Every message in the topic, and whether a tick came in while it was under way.
    present: HashMap<Message, bool>,
    next: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    message: Message,
    deliveries: u64,
}

// The heap orders by time and number; entries never decide.
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

#[derive(Debug)]
struct Delivered {
    entry: Entry,
    until: Instant,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn make_ready(&mut self, entry: Entry) {
        let job = entry.message.job();
        let line = self.ready.entry(job).or_default();
        if line.is_empty() {
            self.turns.push_back(job);
        }
        line.push_back(entry);
    }

    fn put(&mut self, entry: Entry, delay: Duration) {
        if delay.is_zero() {
            self.make_ready(entry);
        } else {
            let number = self.number();
            self.delayed
                .push(Reverse((Instant::now() + delay, number, entry)));
        }
    }

    /// Moves what is due to ready; returns when the next message will be due.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((due, _, entry))) = self.delayed.peek().copied() {
            if due > now {
                break;
            }
            self.delayed.pop();
            self.make_ready(entry);
        }
        let mut expired: Vec<u64> = self
            .delivered
            .iter()
            .filter(|(_, delivered)| delivered.until <= now)
            .map(|(token, _)| *token)
            .collect();
        expired.sort_unstable();
        for token in expired {
            if let Some(delivered) = self.delivered.remove(&token) {
                self.make_ready(delivered.entry);
            }
        }
        let next_delayed = self.delayed.peek().map(|Reverse((due, _, _))| *due);
        let next_expiry = self
            .delivered
            .values()
            .map(|delivered| delivered.until)
            .min();
        [next_delayed, next_expiry].into_iter().flatten().min()
    }

    /// Takes up to `max` messages, one job after the other.
    fn take(&mut self, topic: Topic, max: usize, until: Instant) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(job) = self.turns.pop_front() else {
                break;
            };
            let Some(line) = self.ready.get_mut(&job) else {
                continue;
            };
            let entry = line.pop_front();
            if line.is_empty() {
                self.ready.remove(&job);
            } else {
                self.turns.push_back(job);
            }
            let Some(mut entry) = entry else { continue };
            entry.deliveries += 1;
            let token = self.number();
            self.delivered.insert(token, Delivered { entry, until });
            taken.push(Delivery {
                token: token.to_string(),
                topic,
                message: entry.message,
                deliveries: entry.deliveries,
            });
        }
        taken
    }
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    fn line(&self, topic: Topic) -> &Line {
        &self.lines[topic as usize]
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        // no code panics while it holds the lock, and the state is consistent between its statements
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token(delivery: &Delivery) -> u64 {
    // a foreign token belongs to nobody here
    delivery.token.parse().unwrap_or(u64::MAX)
}

#[async_trait]
impl TaskQueue for MemoryQueue {
    async fn push(
        &self,
        topic: Topic,
        messages: &[Message],
        delay: Duration,
    ) -> Result<(), QueueError> {
        let line = self.line(topic);
        {
            let mut state = line.lock();
            for message in messages {
                match state.present.get_mut(message) {
                    Some(again) => {
                        if matches!(message, Message::Tick { .. }) {
                            *again = true;
                        }
                    }
                    None => {
                        state.present.insert(*message, false);
                        state.put(
                            Entry {
                                message: *message,
                                deliveries: 0,
                            },
                            delay,
                        );
                    }
                }
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
            // registered before the look, so that a push in between is not missed
            let rung = line.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let now = Instant::now();
            let next = {
                let mut state = line.lock();
                let next = state.advance(now);
                let taken = state.take(topic, max, now + visibility);
                if !taken.is_empty() {
                    for delivery in &taken {
                        // a tick asked for before this moment is answered by this very delivery
                        if let Some(again) = state.present.get_mut(&delivery.message) {
                            *again = false;
                        }
                    }
                    return Ok(taken);
                }
                next
            };
            if now >= deadline {
                return Ok(Vec::new());
            }
            let wake = next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                () = rung => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    async fn renew(&self, delivery: &Delivery, visibility: Duration) -> Result<(), QueueError> {
        let mut state = self.line(delivery.topic).lock();
        let now = Instant::now();
        match state.delivered.get_mut(&token(delivery)) {
            Some(delivered) if delivered.until > now => {
                delivered.until = now + visibility;
                Ok(())
            }
            _ => Err(QueueError::Lost {
                token: delivery.token.clone(),
            }),
        }
    }

    async fn acknowledge(&self, delivery: &Delivery) -> Result<(), QueueError> {
        let line = self.line(delivery.topic);
        let rings = {
            let mut state = line.lock();
            match state.delivered.remove(&token(delivery)) {
                None => false,
                Some(delivered) => {
                    let again = state
                        .present
                        .remove(&delivered.entry.message)
                        .unwrap_or(false);
                    if again {
                        let message = delivered.entry.message;
                        state.present.insert(message, false);
                        state.make_ready(Entry {
                            message,
                            deliveries: 0,
                        });
                    }
                    again
                }
            }
        };
        if rings {
            line.bell.notify_waiters();
        }
        Ok(())
    }

    async fn retry_later(&self, delivery: &Delivery, delay: Duration) -> Result<(), QueueError> {
        let line = self.line(delivery.topic);
        {
            let mut state = line.lock();
            if let Some(delivered) = state.delivered.remove(&token(delivery)) {
                state.put(delivered.entry, delay);
            }
        }
        line.bell.notify_waiters();
        Ok(())
    }
}
