//! From the receive script to the receiver, with nothing lost where the receiver goes away meanwhile.

use std::time::Duration;

use fapo_domain::error::chain;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::queue::{Delivery, QueueError};

use super::text::{self, Token};
use super::{RedisQueue, millis};

/// Messages on their way to a receiver. Dropped on the way, they are given back.
pub(super) struct Taken {
    queue: RedisQueue,
    pub deliveries: Vec<Delivery>,
    /// When something changes by itself, where nothing was taken.
    pub change: Option<Duration>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let deliveries = std::mem::take(&mut self.deliveries);
        if deliveries.is_empty() {
            return;
        }
        // without a runtime the process ends, and their leases with it
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let queue = self.queue.clone();
            runtime.spawn(async move {
                for delivery in deliveries {
                    // nobody saw it, so it does not count as delivered
                    let seen = delivery.deliveries - 1;
                    if let Err(error) = queue.give_back(&delivery, Duration::ZERO, seen).await {
                        tracing::debug!(error = %chain(&error), "a message comes again when its delivery ends");
                    }
                }
            });
        }
    }
}

impl RedisQueue {
    /// Takes what there is now. What it takes is given back where the caller is gone by then.
    pub(super) async fn take(
        &self,
        topic: Topic,
        consumer: &str,
        max: usize,
        visibility: Duration,
    ) -> Result<Taken, QueueError> {
        let (queue, consumer) = (self.clone(), consumer.to_owned());
        // its own task: a script that was sent is answered, whoever still waits for it
        let taking = tokio::spawn(async move {
            let mut receive = queue.on(topic, &queue.0.scripts.receive);
            receive.arg(&consumer).arg(max).arg(millis(visibility));
            let (change, rows): (i64, Vec<Vec<String>>) =
                queue.run("receive messages", &receive).await?;
            let mut taken = Taken {
                queue,
                deliveries: Vec::with_capacity(rows.len()),
                change: u64::try_from(change).ok().map(Duration::from_millis),
            };
            for row in &rows {
                match read(topic, &consumer, row) {
                    Some(delivery) => taken.deliveries.push(delivery),
                    None => taken.queue.discard(topic, &consumer, row).await?,
                }
            }
            Ok(taken)
        });
        taking.await.unwrap_or_else(|stopped| {
            Err(QueueError::Unavailable {
                operation: "receive messages",
                source: Box::new(stopped),
            })
        })
    }

    /// Removes a message that cannot be read, and would come again for ever. Nobody but fapo writes here, and the number in
    /// the keys changes with the texts, so it came by somebody's hand.
    async fn discard(
        &self,
        topic: Topic,
        consumer: &str,
        row: &[String],
    ) -> Result<(), QueueError> {
        tracing::warn!(
            topic = topic.as_str(),
            ?row,
            "a message in the queue cannot be read and is removed"
        );
        let [entry, message, count, ..] = row else {
            return Ok(());
        };
        let mut acknowledge = self.on(topic, &self.0.scripts.acknowledge);
        acknowledge.arg(entry).arg(consumer).arg(count).arg(message);
        let _done: u32 = self.run("remove a message", &acknowledge).await?;
        Ok(())
    }
}

/// A delivery as the script tells it: entry, message, the entry's deliveries, the message's deliveries, ms it was ready.
fn read(topic: Topic, consumer: &str, row: &[String]) -> Option<Delivery> {
    let [entry, message, count, deliveries, waited] = row else {
        return None;
    };
    let token = Token {
        entry,
        count,
        consumer,
    };
    Some(Delivery {
        token: token.to_string(),
        topic,
        message: text::to_message(message)?,
        deliveries: deliveries.parse().ok()?,
        waited: Duration::from_millis(waited.parse().ok()?),
    })
}
