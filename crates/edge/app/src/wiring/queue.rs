//! The queue that a server's process works on, and the limits that go with it.

use std::sync::Arc;

use anyhow::Context as _;
use fapo_domain::ports::limits::SharedLimits;
use fapo_domain::ports::queue::{QueueDepth, TaskQueue};
use fapo_queue::{
    MemoryLimits, MemoryQueue, RedisLimits, RedisQueue, RedisQueueConfig, RedisServer,
};

use super::wait::until_up;
use crate::config::server::{Queue, ServerConfig};

/// The queue, opened.
pub struct OpenQueue {
    /// What carries work.
    pub queue: Arc<dyn TaskQueue>,
    /// How much it holds.
    pub depth: Arc<dyn QueueDepth>,
    /// What providers allow: to all processes together, or to this one where they are not held together.
    pub limits: Arc<dyn SharedLimits>,
    redis: Option<RedisQueue>,
}

impl OpenQueue {
    /// Opens what the configuration names, waiting for a server that is not up yet.
    ///
    /// # Errors
    /// When Redis does not answer in time, or cannot be used as it is set up.
    pub async fn open(config: &ServerConfig) -> anyhow::Result<Self> {
        let Queue::Redis {
            url,
            prefix,
            max_waiting,
            shared_limits,
        } = &config.queue
        else {
            let memory = Arc::new(MemoryQueue::new());
            return Ok(Self {
                queue: Arc::clone(&memory) as Arc<dyn TaskQueue>,
                depth: memory,
                limits: Arc::new(MemoryLimits::new()),
                redis: None,
            });
        };
        let connect = || RedisServer::connect(url.expose(), prefix);
        let server = until_up("Redis", config.node.start_timeout, connect).await?;
        let redis_config = RedisQueueConfig {
            max_waiting: *max_waiting,
        };
        let queue = RedisQueue::new(&server, redis_config);
        let limits: Arc<dyn SharedLimits> = if *shared_limits {
            Arc::new(RedisLimits::new(&server))
        } else {
            Arc::new(MemoryLimits::new())
        };
        Ok(Self {
            queue: Arc::new(queue.clone()),
            depth: Arc::new(queue.clone()),
            limits,
            redis: Some(queue),
        })
    }

    /// Takes this process's names off it, once its workers have ended.
    ///
    /// # Errors
    /// When it cannot be reached; the names go by themselves, later.
    pub async fn leave(&self) -> anyhow::Result<()> {
        match &self.redis {
            Some(redis) => redis.leave().await.context("cannot leave the queue"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for OpenQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenQueue")
            .field("redis", &self.redis.is_some())
            .finish_non_exhaustive()
    }
}
