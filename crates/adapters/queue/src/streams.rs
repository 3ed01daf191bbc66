//! The queue of a team: Redis Streams.
//!
//! What waits stands in lines, one a job, with turns for projects and jobs ([`TaskQueue`] promises both). A receive is one
//! script: it takes back deliveries whose time is over, moves what is due, feeds exactly as many messages as are wanted, in
//! turn, into the topic's stream, and reads them from there for its consumer together with a lease. So the stream holds what
//! is under way and nothing else, and however much one job puts in, another's first message is at most one turn away.
//!
//! Nothing here is the truth about work. Losing it all costs the time until the reconciler comes by; see
//! `docs/adr/0013-redis-streams.md` for the keys, and for what was decided against.

mod bell;
mod script;
mod taken;
mod text;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::queue::{Delivery, Message, QueueDepth, QueueError, TaskQueue, TopicDepth};
use redis::{Script, ScriptInvocation};
use tokio::time::Instant;

use self::bell::Bells;
use self::script::Scripts;
use self::text::Token;
use crate::server::RedisServer;

/// Messages in one push script: some milliseconds of the server's time.
const CHUNK: usize = 500;
/// The longest that a waiting receiver does not ask: what a ring that was not heard can cost.
const RECHECK: Duration = Duration::from_secs(1);
/// How often a topic is mended by each process that receives from it.
const MEND: Duration = Duration::from_secs(30);
/// How long a consumer holds nothing and does not ask before its name is forgotten.
const GONE: Duration = Duration::from_secs(3600);

/// How a [`RedisQueue`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisQueueConfig {
    /// Messages that may wait in one topic, delayed ones included. What is pushed beyond it is dropped and counted
    /// (`fapo_queue_dropped_total`): the rows still have it, and the reconciler brings it back when there is room.
    pub max_waiting: u64,
}

impl Default for RedisQueueConfig {
    fn default() -> Self {
        Self {
            max_waiting: 50_000,
        }
    }
}

/// A [`TaskQueue`] on Redis Streams. Clones are the same queue.
///
/// Consumer names must be unique among all processes: a delivery is told from others by them.
#[derive(Clone)]
pub struct RedisQueue(Arc<Inner>);

struct Inner {
    server: RedisServer,
    config: RedisQueueConfig,
    scripts: Scripts,
    bells: Bells,
    /// The topics' names in keys, by topic.
    topics: [String; Topic::ALL.len()],
    mended: Mutex<[Option<Instant>; Topic::ALL.len()]>,
    /// Who received here, to be taken off the group at the end.
    consumers: Mutex<HashSet<(Topic, String)>>,
}

impl std::fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisQueue")
            .field("server", &self.0.server)
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl RedisQueue {
    /// The queue of the deployment that `server` was connected for. Must be called within a runtime: it listens there.
    pub fn new(server: &RedisServer, config: RedisQueueConfig) -> Self {
        let topics = Topic::ALL.map(|topic| format!("{}:{}", server.prefix(), topic.as_str()));
        let bells = Bells::listen(server.clone(), |topic| {
            format!("{}:bell", topics[topic as usize])
        });
        Self(Arc::new(Inner {
            server: server.clone(),
            config,
            scripts: Scripts::new(),
            bells,
            topics,
            mended: Mutex::default(),
            consumers: Mutex::default(),
        }))
    }

    /// Takes the names of this process's consumers off the groups. One that still holds messages is left: they come again
    /// when their time is over, and the name goes an hour later. To be called when the workers have ended; repeating is
    /// harmless.
    ///
    /// # Errors
    /// When Redis cannot be reached; the names then go an hour later.
    pub async fn leave(&self) -> Result<(), QueueError> {
        let consumers = std::mem::take(&mut *lock(&self.0.consumers));
        for (topic, consumer) in consumers {
            let mut leave = self.on(topic, &self.0.scripts.leave);
            let _left: u32 = self.run("leave a topic", leave.arg(consumer)).await?;
        }
        Ok(())
    }

    fn on<'a>(&self, topic: Topic, script: &'a Script) -> ScriptInvocation<'a> {
        script.key(&self.0.topics[topic as usize])
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, QueueError> {
        self.0.server.run(operation, script).await
    }

    async fn give_back(
        &self,
        delivery: &Delivery,
        delay: Duration,
        seen: u64,
    ) -> Result<(), QueueError> {
        let Some(token) = Token::read(&delivery.token) else {
            return Ok(());
        };
        let mut retry = self.on(delivery.topic, &self.0.scripts.retry_later);
        retry
            .arg(token.entry)
            .arg(token.consumer)
            .arg(token.count)
            .arg(text::of_message(&delivery.message))
            .arg(millis(delay))
            .arg(seen);
        let _done: u32 = self.run("give a message back", &retry).await?;
        Ok(())
    }

    /// Mends a topic now and then. What it finds nobody else can have caused but a hand in the keys.
    async fn mend(&self, topic: Topic) -> Result<(), QueueError> {
        {
            let mut mended = lock(&self.0.mended);
            let last = &mut mended[topic as usize];
            if last.is_some_and(|last| last.elapsed() < MEND) {
                return Ok(());
            }
            *last = Some(Instant::now());
        }
        let mut mend = self.on(topic, &self.0.scripts.mend);
        mend.arg(millis(GONE));
        let (entries, consumers): (u64, u64) = self.run("mend a topic", &mend).await?;
        if entries > 0 {
            tracing::warn!(
                topic = topic.as_str(),
                entries,
                "messages in the queue had lost their lease, and are delivered again"
            );
        }
        if consumers > 0 {
            tracing::info!(
                topic = topic.as_str(),
                consumers,
                "consumers that are gone were forgotten"
            );
        }
        Ok(())
    }
}

#[async_trait]
impl TaskQueue for RedisQueue {
    async fn push(
        &self,
        topic: Topic,
        messages: &[Message],
        delay: Duration,
    ) -> Result<(), QueueError> {
        for chunk in messages.chunks(CHUNK) {
            let mut push = self.on(topic, &self.0.scripts.push);
            push.arg(millis(delay)).arg(self.0.config.max_waiting);
            for message in chunk {
                push.arg(text::of_message(message));
            }
            let dropped: u64 = self.run("push messages", &push).await?;
            if dropped > 0 {
                tracing::debug!(
                    topic = topic.as_str(),
                    dropped,
                    "the topic is full; the reconciler brings these messages back"
                );
                tracing::event!(
                    target: "fapo::metrics",
                    tracing::Level::INFO,
                    monotonic_counter.fapo_queue_dropped_total = dropped,
                    topic = topic.as_str()
                );
            }
        }
        Ok(())
    }

    async fn receive(
        &self,
        topic: Topic,
        consumer: &str,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + wait;
        lock(&self.0.consumers).insert((topic, consumer.to_owned()));
        self.mend(topic).await?;
        loop {
            let bell = self.0.bells.rung(topic);
            tokio::pin!(bell);
            // from here on no ring is missed
            bell.as_mut().enable();
            let mut taken = self.take(topic, consumer, max, visibility).await?;
            let now = Instant::now();
            if !taken.deliveries.is_empty() || now >= deadline {
                return Ok(std::mem::take(&mut taken.deliveries));
            }
            // the server rounds down to a millisecond
            let change = taken.change.unwrap_or(RECHECK) + Duration::from_millis(1);
            let wake_at = (now + change.min(RECHECK)).min(deadline);
            tokio::select! {
                () = bell => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    async fn renew(&self, delivery: &Delivery, visibility: Duration) -> Result<(), QueueError> {
        let lost = || QueueError::Lost {
            token: delivery.token.clone(),
        };
        let token = Token::read(&delivery.token).ok_or_else(lost)?;
        let mut renew = self.on(delivery.topic, &self.0.scripts.renew);
        renew
            .arg(token.entry)
            .arg(token.consumer)
            .arg(token.count)
            .arg(millis(visibility));
        let renewed: u32 = self.run("renew a delivery", &renew).await?;
        if renewed == 1 { Ok(()) } else { Err(lost()) }
    }

    async fn acknowledge(&self, delivery: &Delivery) -> Result<(), QueueError> {
        let Some(token) = Token::read(&delivery.token) else {
            return Ok(());
        };
        let mut acknowledge = self.on(delivery.topic, &self.0.scripts.acknowledge);
        acknowledge
            .arg(token.entry)
            .arg(token.consumer)
            .arg(token.count)
            .arg(text::of_message(&delivery.message));
        let _done: u32 = self.run("acknowledge a message", &acknowledge).await?;
        Ok(())
    }

    async fn retry_later(&self, delivery: &Delivery, delay: Duration) -> Result<(), QueueError> {
        self.give_back(delivery, delay, delivery.deliveries).await
    }
}

#[async_trait]
impl QueueDepth for RedisQueue {
    async fn depth(&self) -> Result<Vec<TopicDepth>, QueueError> {
        let mut all = Vec::with_capacity(Topic::ALL.len());
        for topic in Topic::ALL {
            let depth = self.on(topic, &self.0.scripts.depth);
            let (waiting, delayed, delivered, oldest_ms): (u64, u64, u64, u64) =
                self.run("read a topic's depth", &depth).await?;
            all.push(TopicDepth {
                topic,
                waiting,
                delayed,
                delivered,
                oldest_ms,
            });
        }
        Ok(all)
    }
}

fn millis(duration: Duration) -> u64 {
    // beyond what a number in Lua holds exactly nobody waits
    u64::try_from(duration.as_millis()).map_or(MAX_MILLIS, |millis| millis.min(MAX_MILLIS))
}

/// Some thirty thousand years.
const MAX_MILLIS: u64 = 1_000_000_000_000_000;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // what is behind it is whole after every call
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
