//! What becomes of messages when somebody changes the keys by hand, or the server has no memory left: nothing hides work for ever.

use anyhow::{Context, Result, bail, ensure};
use fapo_domain::ports::queue::{Delivery, QueueError, TaskQueue};
use fapo_queue::RedisQueue;
use fapo_testkit::suites::queue::task;
use tokio::time::Instant;

use crate::lost::{BRIEF, LONG, NOW, SHORT, TOPIC, queue_on, take};
use crate::server::Private;

/// Pushes a message until it comes, as the reconciler does while it is not done.
async fn refilled(queue: &RedisQueue) -> Result<Delivery> {
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        queue.push(TOPIC, &[task(1, 1)], NOW).await?;
        if let Some(delivery) = take(queue, 1, BRIEF).await?.pop() {
            return Ok(delivery);
        }
    }
    bail!("the message is hidden")
}

#[tokio::test]
async fn hands_in_the_keys_hide_no_work() -> Result<()> {
    let server = Private::start().await?;
    let key = |name: &str| format!("fapo:{{lost}}:1:execute:{name}");
    for tamper in [
        vec!["DEL".to_owned(), key("leases")],
        vec!["DEL".to_owned(), key("entries")],
        vec!["DEL".to_owned(), key("stream")],
        vec![
            "XGROUP".to_owned(),
            "DESTROY".to_owned(),
            key("stream"),
            "workers".to_owned(),
        ],
    ] {
        server.command(&["FLUSHALL"])?;
        let queue = queue_on(&server).await?;
        queue.push(TOPIC, &[task(1, 1)], NOW).await?;
        let held = queue.receive(TOPIC, "a", 1, LONG, SHORT).await?;
        ensure!(held.len() == 1);
        let words: Vec<&str> = tamper.iter().map(String::as_str).collect();
        server.command(&words)?;
        // another process, and the reconciler
        let queue = queue_on(&server).await?;
        let again = refilled(&queue)
            .await
            .with_context(|| format!("after {words:?}"))?;
        queue.acknowledge(&again).await?;
        // at most what the tampering doubled is left, and goes
        for delivery in take(&queue, 10, SHORT * 2).await? {
            queue.acknowledge(&delivery).await?;
        }
        queue.push(TOPIC, &[task(1, 1)], NOW).await?;
        ensure!(take(&queue, 1, LONG).await?.len() == 1, "after {words:?}");
    }
    // an acknowledged entry that stayed
    server.command(&["FLUSHALL"])?;
    let queue = queue_on(&server).await?;
    queue.push(TOPIC, &[task(1, 1)], NOW).await?;
    let held = take(&queue, 1, LONG).await?.remove(0);
    let entry = held.token.split('/').next().unwrap_or_default().to_owned();
    server.command(&["XACK", &key("stream"), "workers", &entry])?;
    server.command(&["DEL", &key("leases")])?;
    queue.push(TOPIC, &[task(1, 1)], NOW).await?;
    ensure!(take(&queue, 1, LONG).await?.len() == 1);
    // lines that lost their turns
    queue.push(TOPIC, &[task(3, 1)], NOW).await?;
    server.command(&["DEL", &key("lanes")])?;
    queue.push(TOPIC, &[task(3, 2)], NOW).await?;
    ensure!(take(&queue, 10, LONG).await?.len() == 2);
    Ok(())
}

#[tokio::test]
async fn a_message_that_nobody_can_read_is_removed() -> Result<()> {
    let server = Private::start().await?;
    let queue = queue_on(&server).await?;
    ensure!(take(&queue, 1, BRIEF).await?.is_empty());
    let stream = "fapo:{lost}:1:execute:stream";
    server.command(&["XADD", stream, "*", "m", "nonsense", "n", "0", "s", "0"])?;
    queue.push(TOPIC, &[task(1, 1)], NOW).await?;
    let taken = take(&queue, 10, LONG).await?;
    ensure!(taken.iter().all(|one| one.message == task(1, 1)));
    queue.acknowledge(&taken[0]).await?;
    ensure!(take(&queue, 10, BRIEF).await?.is_empty());
    let left = format!("{:?}", server.command(&["XLEN", stream])?);
    ensure!(left == "int(0)", "{left} entries are left");
    Ok(())
}

#[tokio::test]
async fn a_count_that_drifted_turns_no_work_away() -> Result<()> {
    let server = Private::start().await?;
    let queue = queue_on(&server).await?;
    server.command(&[
        "HSET",
        "fapo:{lost}:1:execute:numbers",
        "waiting",
        "1000000",
    ])?;
    queue.push(TOPIC, &[task(1, 1)], NOW).await?;
    ensure!(take(&queue, 1, LONG).await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn a_full_server_is_an_error_and_no_loss() -> Result<()> {
    let server = Private::start().await?;
    let queue = queue_on(&server).await?;
    queue.push(TOPIC, &[task(1, 1), task(1, 2)], NOW).await?;
    let held = take(&queue, 1, LONG).await?.remove(0);
    server.command(&["CONFIG", "SET", "maxmemory", "1"])?;
    let error = queue.push(TOPIC, &[task(1, 3)], NOW).await.err();
    ensure!(
        matches!(error, Some(QueueError::Unavailable { .. })),
        "{error:?}"
    );
    server.command(&["CONFIG", "SET", "maxmemory", "0"])?;
    queue.push(TOPIC, &[task(1, 3)], NOW).await?;
    queue.acknowledge(&held).await?;
    ensure!(take(&queue, 10, LONG).await?.len() == 2);
    Ok(())
}
