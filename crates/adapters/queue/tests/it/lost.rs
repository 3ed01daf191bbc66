//! What becomes of messages when Redis is stopped, killed or flushed, and when its connections are cut. Each test
//! that does such a thing has a server of its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use fapo_domain::model::task::Topic;
use fapo_domain::ports::queue::{Delivery, Message, QueueDepth, QueueError, TaskQueue};
use fapo_domain::{Classified, JobId};
use fapo_queue::{RedisQueue, RedisQueueConfig, RedisServer, RedisServerError};
use fapo_testkit::suites::queue::{job, task};
use tokio::time::Instant;

use crate::server::{Deployment, Private};

pub const NOW: Duration = Duration::ZERO;
pub const BRIEF: Duration = Duration::from_millis(50);
pub const SHORT: Duration = Duration::from_millis(300);
pub const LONG: Duration = Duration::from_secs(20);
pub const TOPIC: Topic = Topic::Execute;

pub async fn queue_on(server: &Private) -> Result<RedisQueue> {
    let server = RedisServer::connect(&server.url(), "lost").await?;
    Ok(RedisQueue::new(&server, RedisQueueConfig::default()))
}

pub async fn take(queue: &RedisQueue, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
    Ok(queue.receive(TOPIC, "a", max, wait, LONG).await?)
}

/// Pushes until the server answers again, as a reconciler does.
async fn push_until_taken(queue: &RedisQueue, messages: &[Message]) -> Result<()> {
    let deadline = Instant::now() + LONG;
    loop {
        match queue.push(TOPIC, messages, NOW).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(error) => ensure!(matches!(error, QueueError::Unavailable { .. }), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_lost<T>(result: Result<T, QueueError>) -> bool {
    matches!(result, Err(QueueError::Lost { .. }))
}

#[tokio::test]
async fn a_restart_without_a_disk_costs_no_more_than_a_refill() -> Result<()> {
    let mut server = Private::start().await?;
    let queue = queue_on(&server).await?;
    let messages = [task(1, 1), task(1, 2), task(2, 1)];
    queue.push(TOPIC, &messages, NOW).await?;
    let old = take(&queue, 1, LONG).await?.remove(0);
    server.kill()?;
    let asked = Instant::now();
    for result in [
        queue.push(TOPIC, &messages, NOW).await,
        queue.receive(TOPIC, "a", 1, LONG, LONG).await.map(drop),
        queue.renew(&old, LONG).await,
        queue.acknowledge(&old).await,
        queue.retry_later(&old, NOW).await,
        queue.depth().await.map(drop),
    ] {
        let error = result.err().unwrap();
        ensure!(matches!(error, QueueError::Unavailable { .. }), "{error:?}");
    }
    ensure!(
        asked.elapsed() < LONG,
        "six calls to nobody took {:?}",
        asked.elapsed()
    );
    server.run().await?;
    push_until_taken(&queue, &messages).await?;
    ensure!(take(&queue, 10, LONG).await?.len() == 3);
    // what was held before is nobody's any more, and saying so again is harmless
    ensure!(is_lost(queue.renew(&old, LONG).await));
    queue.acknowledge(&old).await?;
    queue.retry_later(&old, NOW).await?;
    ensure!(take(&queue, 10, BRIEF).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_kill_with_a_disk_keeps_what_waits_and_what_is_under_way() -> Result<()> {
    let mut server = Private::with_options(&[
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ])
    .await?;
    let queue = queue_on(&server).await?;
    queue
        .push(TOPIC, &[task(1, 1), task(1, 2), task(1, 3)], NOW)
        .await?;
    queue.push(TOPIC, &[task(2, 1)], SHORT).await?;
    let held = take(&queue, 1, LONG).await?.remove(0);
    server.kill()?;
    server.run().await?;
    let deadline = Instant::now() + LONG;
    while queue.renew(&held, LONG).await.is_err() {
        ensure!(Instant::now() < deadline, "the delivery was lost");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut others = Vec::new();
    while others.len() < 3 {
        let taken = take(&queue, 10, LONG).await?;
        ensure!(!taken.is_empty(), "{} of 3 came", others.len());
        others.extend(taken.iter().map(|delivery| delivery.message));
    }
    ensure!(!others.contains(&held.message));
    Ok(())
}

#[tokio::test]
async fn a_receive_that_waits_while_the_server_dies_ends_and_the_next_one_works() -> Result<()> {
    let mut server = Private::start().await?;
    let queue = queue_on(&server).await?;
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move { queue.receive(TOPIC, "a", 1, LONG, LONG).await })
    };
    // it has asked once
    let deadline = Instant::now() + LONG;
    while format!(
        "{:?}",
        server.command(&["EXISTS", "fapo:{lost}:1:execute:stream"])?
    ) != "int(1)"
    {
        ensure!(Instant::now() < deadline, "nobody asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill()?;
    let ended = tokio::time::timeout(LONG, waiting).await??;
    ensure!(
        matches!(ended, Err(QueueError::Unavailable { .. })),
        "{ended:?}"
    );
    server.run().await?;
    push_until_taken(&queue, &[task(1, 1)]).await?;
    ensure!(take(&queue, 1, LONG).await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn a_flush_forgets_all_and_breaks_nothing() -> Result<()> {
    let server = Private::start().await?;
    let queue = queue_on(&server).await?;
    let messages = [task(1, 1), task(1, 2)];
    queue.push(TOPIC, &messages, NOW).await?;
    let held = take(&queue, 1, LONG).await?.remove(0);
    server.command(&["FLUSHALL"])?;
    ensure!(is_lost(queue.renew(&held, LONG).await));
    queue.acknowledge(&held).await?;
    queue.retry_later(&held, NOW).await?;
    ensure!(take(&queue, 10, BRIEF).await?.is_empty());
    let depth = queue.depth().await?;
    ensure!(
        depth
            .iter()
            .all(|one| one.waiting + one.delayed + one.delivered == 0),
        "{depth:?}"
    );
    queue.push(TOPIC, &messages, NOW).await?;
    ensure!(take(&queue, 10, LONG).await?.len() == 2);
    Ok(())
}

#[tokio::test]
async fn a_receiver_gets_what_comes_after_its_connections_were_cut() -> Result<()> {
    let server = Private::start().await?;
    let queue = queue_on(&server).await?;
    let other = queue_on(&server).await?;
    // as a worker does: one cut is made good inside, one right after it is told
    let waiting = tokio::spawn(async move {
        loop {
            match queue.receive(TOPIC, "a", 1, LONG, LONG).await {
                Err(QueueError::Unavailable { .. }) => {}
                ended => return ended,
            }
        }
    });
    for _ in 0..3 {
        let deadline = Instant::now() + LONG;
        while !format!("{:?}", server.command(&["CLIENT", "LIST"])?).contains("cmd=subscribe") {
            ensure!(Instant::now() < deadline, "nobody listens any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
    }
    push_until_taken(&other, &[task(1, 1)]).await?;
    let taken = tokio::time::timeout(LONG, waiting).await???;
    ensure!(taken.len() == 1);
    Ok(())
}

#[tokio::test]
async fn more_than_may_wait_is_dropped_and_comes_when_it_is_pushed_again() -> Result<()> {
    let deployment = Deployment::new().await?;
    let queue = RedisQueue::new(&deployment.server, RedisQueueConfig { max_waiting: 10 });
    let messages: Vec<Message> = (0..25).map(|number| task(1, number)).collect();
    let mut seen = std::collections::HashSet::new();
    for round in 1..=3 {
        // what the reconciler does: push whatever is not done
        let due: Vec<Message> = messages
            .iter()
            .filter(|message| !seen.contains(*message))
            .copied()
            .collect();
        queue.push(TOPIC, &due, NOW).await?;
        let depth = queue.depth().await?[TOPIC as usize];
        ensure!(depth.waiting <= 10, "round {round}: {depth:?}");
        for delivery in take(&queue, 100, LONG).await? {
            seen.insert(delivery.message);
            queue.acknowledge(&delivery).await?;
        }
    }
    ensure!(seen.len() == 25, "{} of 25 came", seen.len());
    Ok(())
}

#[tokio::test]
async fn deployments_on_one_server_are_apart() -> Result<()> {
    let (one, two) = (Deployment::new().await?, Deployment::new().await?);
    one.queue().push(TOPIC, &[task(1, 1)], NOW).await?;
    ensure!(take(&two.queue(), 1, BRIEF).await?.is_empty());
    ensure!(take(&one.queue(), 1, LONG).await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn messages_of_a_receiver_that_is_gone_come_to_the_next_at_once() -> Result<()> {
    let deployment = Deployment::new().await?;
    let queue = deployment.queue();
    for round in 0..50 {
        queue.push(TOPIC, &[task(1, round)], NOW).await?;
        // dropped while the script is on its way, or a little later
        let early = queue.receive(TOPIC, "gone", 1, LONG, LONG);
        let patience = Duration::from_micros(u64::from(round) * 20);
        let taken = match tokio::time::timeout(patience, early).await {
            Ok(taken) => taken?,
            // far sooner than its delivery would end
            Err(_) => take(&queue, 1, LONG / 2).await?,
        };
        ensure!(taken.len() == 1, "round {round}: the message is gone");
        queue.acknowledge(&taken[0]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_consumer_that_leaves_takes_its_name_unless_it_holds_something() -> Result<()> {
    let server = Private::start().await?;
    let queue = queue_on(&server).await?;
    queue.push(TOPIC, &[task(1, 1)], NOW).await?;
    let names = || {
        let stream = "fapo:{lost}:1:execute:stream";
        let told = server.command(&["XINFO", "CONSUMERS", stream, "workers"]);
        told.map(|value| format!("{value:?}"))
    };
    let held = take(&queue, 1, LONG).await?.remove(0);
    queue.leave().await?;
    ensure!(names()?.contains("pending"), "it still holds a message");
    queue.renew(&held, LONG).await?;
    queue.acknowledge(&held).await?;
    ensure!(take(&queue, 1, BRIEF).await?.is_empty());
    queue.leave().await?;
    queue.leave().await?;
    ensure!(!names()?.contains("pending"), "{}", names()?);
    Ok(())
}

#[tokio::test]
async fn a_server_that_may_throw_keys_away_is_refused() -> Result<()> {
    let limit = ["--save", "", "--maxmemory", "64mb", "--maxmemory-policy"];
    let refused = Private::with_options(&[&limit[..], &["allkeys-lru"]].concat()).await?;
    let error = RedisServer::connect(&refused.url(), "p").await.unwrap_err();
    ensure!(
        matches!(&error, RedisServerError::Eviction { policy } if policy == "allkeys-lru"),
        "{error:?}"
    );
    ensure!(error.to_string().contains("noeviction"), "{error}");
    let taken = Private::with_options(&[&limit[..], &["volatile-lru"]].concat()).await?;
    RedisServer::connect(&taken.url(), "p").await?;
    Ok(())
}

#[tokio::test]
async fn an_address_or_a_name_that_cannot_be_used_is_told_without_the_password() -> Result<()> {
    for (url, name, reason) in [
        ("http://user:hunter2@x", "p", "REDIS_CONFIG"),
        ("redis://user:hunter2@127.0.0.1:1", "p", "QUEUE_UNAVAILABLE"),
        ("redis://127.0.0.1", "{p}", "REDIS_CONFIG"),
        ("redis://127.0.0.1", "", "REDIS_CONFIG"),
    ] {
        let error = RedisServer::connect(url, name).await.unwrap_err();
        ensure!(error.reason() == reason, "{error:?}");
        let told = format!("{error:?} {error}");
        ensure!(!told.contains("hunter2"), "{told}");
    }
    Ok(())
}

/// A tick of a job whose id is made of one number.
fn tick(of: u8) -> Message {
    Message::Tick { job: job(of) }
}

#[tokio::test]
async fn ticks_of_many_jobs_take_turns() -> Result<()> {
    let deployment = Deployment::new().await?;
    let queue = deployment.queue();
    let ticks: Vec<Message> = (1..=9).map(tick).collect();
    queue.push(Topic::Job, &ticks, NOW).await?;
    let mut jobs: Vec<JobId> = Vec::new();
    while jobs.len() < 9 {
        for delivery in queue.receive(Topic::Job, "a", 4, LONG, LONG).await? {
            jobs.push(delivery.message.job());
            queue.acknowledge(&delivery).await?;
        }
    }
    ensure!(jobs == (1..=9).map(job).collect::<Vec<_>>(), "{jobs:?}");
    Ok(())
}
