//! The messages of one topic: what waits, what is delayed, what is under way. Plain data; time comes in as arguments.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use fapo_domain::model::task::Topic;
use fapo_domain::ports::queue::{Delivery, Message, TopicDepth};
use tokio::time::Instant;

use crate::turns::Turns;

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In its job's line.
    Ready,
    /// Not before then.
    Delayed(Instant),
    /// With a consumer until then.
    Delivered(Instant),
}

#[derive(Debug)]
struct Entry {
    message: Message,
    place: Place,
    /// When it last became ready.
    since: Instant,
    deliveries: u64,
    /// A tick was pushed while this one was under way: it is due again once this delivery ends.
    again: bool,
}

/// One topic's messages. Each message is in at most once.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    entries: HashMap<u64, Entry>,
    by_message: HashMap<Message, u64>,
    /// Ready messages.
    turns: Turns,
    /// When delayed messages become ready and delivered ones are taken back.
    timers: BTreeSet<(Instant, u64)>,
    next_id: u64,
}

impl TopicState {
    /// Puts a message in. One that is in already stays as it is, but never later than asked for; a tick that is under
    /// way is noted to be due again.
    pub fn push(&mut self, message: Message, delay: Duration, now: Instant) {
        if let Some(id) = self.by_message.get(&message).copied() {
            let Some(entry) = self.entries.get_mut(&id) else {
                return;
            };
            match entry.place {
                Place::Ready => {}
                Place::Delayed(due) if now + delay < due => self.place(id, now, delay),
                Place::Delayed(_) => {}
                Place::Delivered(_) => {
                    if matches!(entry.message, Message::Tick { .. }) {
                        entry.again = true;
                    }
                }
            }
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.by_message.insert(message, id);
        self.entries.insert(
            id,
            Entry {
                message,
                place: Place::Delayed(now),
                since: now,
                deliveries: 0,
                again: false,
            },
        );
        self.place(id, now, delay);
    }

    /// Takes up to `max` messages, in turn.
    pub fn take(
        &mut self,
        topic: Topic,
        max: usize,
        visibility: Duration,
        now: Instant,
    ) -> Vec<Delivery> {
        self.wake(now);
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(id) = self.turns.next()
        {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let until = now + visibility;
            entry.deliveries += 1;
            entry.place = Place::Delivered(until);
            self.timers.insert((until, id));
            taken.push(Delivery {
                token: format!("{id}.{}", entry.deliveries),
                topic,
                message: entry.message,
                deliveries: entry.deliveries,
                waited: now.saturating_duration_since(entry.since),
            });
        }
        taken
    }

    /// What it holds. What is due is ready, though nobody asked yet.
    pub fn depth(&mut self, topic: Topic, now: Instant) -> TopicDepth {
        self.wake(now);
        let mut depth = TopicDepth {
            topic,
            waiting: 0,
            delayed: 0,
            delivered: 0,
            oldest_ms: 0,
        };
        for entry in self.entries.values() {
            match entry.place {
                Place::Ready => {
                    depth.waiting += 1;
                    let age = now.saturating_duration_since(entry.since).as_millis();
                    depth.oldest_ms = depth.oldest_ms.max(u64::try_from(age).unwrap_or(u64::MAX));
                }
                Place::Delayed(_) => depth.delayed += 1,
                Place::Delivered(_) => depth.delivered += 1,
            }
        }
        depth
    }

    /// When something changes by itself.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Extends a delivery; false where it is another's by now, or gone.
    pub fn renew(&mut self, token: &str, visibility: Duration, now: Instant) -> bool {
        let Some(id) = self.held(token) else {
            return false;
        };
        let until = now + visibility;
        if let Some(entry) = self.entries.get_mut(&id) {
            if let Place::Delivered(before) = entry.place {
                self.timers.remove(&(before, id));
            }
            entry.place = Place::Delivered(until);
        }
        self.timers.insert((until, id));
        true
    }

    /// Ends a delivery: for good, or, where it was pushed again meanwhile, to be delivered again. Returns whether
    /// something became ready.
    pub fn acknowledge(&mut self, token: &str, now: Instant) -> bool {
        let Some(id) = self.held_or_returned(token) else {
            return false;
        };
        let again = self.entries.get(&id).is_some_and(|entry| entry.again);
        self.remove(id, again, now);
        again
    }

    /// Ends a delivery, to be delivered again after `delay`.
    pub fn retry_later(&mut self, token: &str, delay: Duration, now: Instant) -> bool {
        let Some(id) = self.held(token) else {
            return false;
        };
        let again = self.entries.get(&id).is_some_and(|entry| entry.again);
        // what was pushed meanwhile was pushed to be looked at now
        let delay = if again { Duration::ZERO } else { delay };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.again = false;
        }
        self.place(id, now, delay);
        true
    }

    fn remove(&mut self, id: u64, again: bool, now: Instant) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        self.unplace(id, &entry);
        self.by_message.remove(&entry.message);
        if again {
            self.push(entry.message, Duration::ZERO, now);
        }
    }

    /// The message a token's holder still has.
    fn held(&self, token: &str) -> Option<u64> {
        let id = self.held_or_returned(token)?;
        matches!(self.entries.get(&id)?.place, Place::Delivered(_)).then_some(id)
    }

    /// The message whose last delivery had this token, though its time may be over.
    fn held_or_returned(&self, token: &str) -> Option<u64> {
        let (id, delivery) = token.split_once('.')?;
        let id: u64 = id.parse().ok()?;
        let delivery: u64 = delivery.parse().ok()?;
        (self.entries.get(&id)?.deliveries == delivery).then_some(id)
    }

    /// Makes ready what is due, and takes back what was not acknowledged in time.
    fn wake(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            // ready since it was due, not since somebody looked
            self.place(id, at, Duration::ZERO);
        }
    }

    fn place(&mut self, id: u64, now: Instant, delay: Duration) {
        let Some(mut entry) = self.entries.remove(&id) else {
            return;
        };
        self.unplace(id, &entry);
        if delay.is_zero() {
            entry.place = Place::Ready;
            entry.since = now;
            self.turns.join(&entry.message, id);
        } else {
            entry.place = Place::Delayed(now + delay);
            self.timers.insert((now + delay, id));
        }
        self.entries.insert(id, entry);
    }

    fn unplace(&mut self, id: u64, entry: &Entry) {
        match entry.place {
            Place::Delayed(at) | Place::Delivered(at) => {
                self.timers.remove(&(at, id));
            }
            Place::Ready => self.turns.leave(&entry.message, id),
        }
    }
}
