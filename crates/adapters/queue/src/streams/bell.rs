//! Wakes receivers when something came into their topic: one connection that listens for all topics of the process.
//!
//! A blocking read would need a connection for each receiver, and would deliver to one that may be dropped meanwhile. A bell
//! carries nothing, so nothing can be lost with it: who hears it asks, and who does not asks a little later.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::task::Topic;
use futures::StreamExt;
use redis::RedisResult;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::task::AbortOnDropHandle;

use crate::server::RedisServer;

/// The first wait before a lost connection is made anew; it doubles with each failure.
const BACKOFF: Duration = Duration::from_millis(50);
/// The longest such wait.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The bells of all topics, and the task that listens.
pub(super) struct Bells {
    topics: Arc<[Notify; Topic::ALL.len()]>,
    _listening: AbortOnDropHandle<()>,
}

impl Bells {
    /// Listens until dropped. `channel` names a topic's bell.
    pub fn listen(server: RedisServer, channel: impl Fn(Topic) -> String) -> Self {
        let topics: Arc<[Notify; Topic::ALL.len()]> = Arc::default();
        let channels = Topic::ALL.map(channel);
        let listening = tokio::spawn(listen_for_ever(server, channels, Arc::clone(&topics)));
        Self {
            topics,
            _listening: AbortOnDropHandle::new(listening),
        }
    }

    /// Ends with the topic's next ring.
    pub fn rung(&self, topic: Topic) -> Notified<'_> {
        self.topics[topic as usize].notified()
    }
}

async fn listen_for_ever(
    server: RedisServer,
    channels: [String; Topic::ALL.len()],
    topics: Arc<[Notify; Topic::ALL.len()]>,
) {
    let mut backoff = BACKOFF;
    loop {
        match listen(&server, &channels, &topics).await {
            Ok(()) => backoff = BACKOFF,
            Err(error) => {
                tracing::debug!(%error, "cannot listen for new messages; receivers ask by themselves meanwhile");
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// Listens until the connection ends.
async fn listen(
    server: &RedisServer,
    channels: &[String],
    topics: &[Notify; Topic::ALL.len()],
) -> RedisResult<()> {
    let mut subscription = server.subscription().await?;
    for channel in channels {
        subscription.subscribe(channel).await?;
    }
    // what rang before now was not heard
    topics.iter().for_each(Notify::notify_waiters);
    let mut rings = subscription.on_message();
    while let Some(ring) = rings.next().await {
        let rung = channels
            .iter()
            .position(|one| one == ring.get_channel_name());
        if let Some(topic) = rung.and_then(|index| topics.get(index)) {
            topic.notify_waiters();
        }
    }
    Ok(())
}
