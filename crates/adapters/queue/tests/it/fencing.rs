//! The worker loop over Redis: messages that come twice, leases that were lost, a queue that forgot everything.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use fapo_domain::TaskId;
use fapo_domain::model::task::{ClaimedTask, Fence, Lane, TaskState, Topic};
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::queue::{Message, QueueError, TaskQueue};
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::ports::trace_context::TraceContext;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_queue::{RedisQueue, RedisQueueConfig, RedisServer, Worker, WorkerConfig};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rows::{Rows, TokioClock, job};
use crate::server::{Deployment, Private};

const NOW: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

/// Works on a task until it is let go, and notes who began what.
struct Gated {
    gate: Semaphore,
    begun: Mutex<Vec<(TaskId, u64)>>,
}

#[async_trait]
impl TaskHandler for Gated {
    fn topic(&self) -> Topic {
        Topic::Score
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        _stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        self.begun.lock().unwrap().push((task.id, task.epoch));
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        Ok(json!({ "epoch": task.epoch }))
    }
}

struct Team {
    rows: Arc<Rows>,
    handler: Arc<Gated>,
    stop: CancellationToken,
    workers: Vec<JoinHandle<Result<(), WorkError>>>,
}

impl Team {
    fn new(permits: usize) -> Self {
        Self {
            rows: Arc::new(Rows::new()),
            handler: Arc::new(Gated {
                gate: Semaphore::new(permits),
                begun: Mutex::default(),
            }),
            stop: CancellationToken::new(),
            workers: Vec::new(),
        }
    }

    fn join(&mut self, queue: &RedisQueue, name: &str) {
        let mut config = WorkerConfig::new(name, 2);
        config.backoff = Duration::from_millis(50);
        config.poll = Duration::from_secs(1);
        let worker = Worker::new(
            Arc::new(queue.clone()),
            Arc::clone(&self.rows) as _,
            Arc::clone(&self.handler) as _,
            Arc::new(TokioClock::new()),
            config,
        );
        self.workers
            .push(tokio::spawn(Arc::new(worker).run(self.stop.clone())));
    }

    fn begun(&self) -> Vec<(TaskId, u64)> {
        self.handler.begun.lock().unwrap().clone()
    }

    async fn end(self) -> Result<()> {
        self.stop.cancel();
        for worker in self.workers {
            worker.await??;
        }
        Ok(())
    }
}

fn message(task: TaskId) -> Message {
    Message::Task {
        task,
        job: job(),
        lane: Lane::of("p"),
    }
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = tokio::time::Instant::now() + LONG;
    while !condition() {
        if tokio::time::Instant::now() > deadline {
            bail!("waited in vain for {what}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Waits until nothing is left of a topic.
async fn wait_until_empty(queue: &RedisQueue) -> Result<()> {
    use fapo_domain::ports::queue::QueueDepth;
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let depth = queue.depth().await?[Topic::Score as usize];
        if depth.waiting + depth.delayed + depth.delivered == 0 {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("messages are left: {depth:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_lost_a_lease_can_write_nothing_and_take_nothing_back() -> Result<()> {
    let deployment = Deployment::new().await?;
    let queue = deployment.queue();
    let mut team = Team::new(usize::from(u8::MAX));
    let task = team.rows.add("a");
    queue.push(Topic::Score, &[message(task)], NOW).await?;
    // a process that takes the task and then stands still: no heartbeat of message or row
    let stale = queue
        .receive(Topic::Score, "stopped", 1, LONG, SHORT)
        .await?
        .remove(0);
    let claim = team.rows.claim_task(task, "stopped", SHORT).await?;
    ensure!(matches!(&claim, Claim::Claimed(task) if task.epoch == 1));
    team.join(&queue, "next");
    wait_for("the next worker's result", || {
        team.rows.row(task).state == TaskState::Done
    })
    .await?;
    ensure!(team.begun() == [(task, 2)]);
    // it wakes up
    let fence = Fence { task, epoch: 1 };
    let written = team.rows.complete_task(fence, json!("stale")).await;
    ensure!(matches!(written, Err(StoreError::StaleLease { .. })));
    let renewed = queue.renew(&stale, LONG).await;
    ensure!(matches!(renewed, Err(QueueError::Lost { .. })));
    queue.acknowledge(&stale).await?;
    queue.retry_later(&stale, NOW).await?;
    ensure!(team.rows.row(task).result == Some(json!({ "epoch": 2 })));
    wait_until_empty(&queue).await?;
    team.end().await
}

#[tokio::test]
async fn a_message_delivered_twice_is_done_once() -> Result<()> {
    let server = Private::start().await?;
    let connected = RedisServer::connect(&server.url(), "twice").await?;
    let queue = RedisQueue::new(&connected, RedisQueueConfig::default());
    let mut team = Team::new(0);
    let task = team.rows.add("a");
    team.join(&queue, "one");
    team.join(&queue, "two");
    queue.push(Topic::Score, &[message(task)], NOW).await?;
    wait_for("the task to begin", || team.begun().len() == 1).await?;
    // the queue forgets, and is filled again while the task is under way: the other worker gets it, too
    server.command(&["FLUSHALL"])?;
    queue.push(Topic::Score, &[message(task)], NOW).await?;
    let told = || {
        format!(
            "{:?}",
            server.command(&["ZCARD", "fapo:{twice}:1:score:delayed"])
        )
    };
    wait_for("the other worker to find it held", || {
        told().contains("int(1)")
    })
    .await?;
    team.handler.gate.add_permits(2);
    wait_for("the result", || {
        team.rows.row(task).state == TaskState::Done
    })
    .await?;
    ensure!(team.begun() == [(task, 1)], "{:?}", team.begun());
    ensure!(team.rows.row(task).epoch == 1);
    team.end().await
}

#[tokio::test]
async fn all_tasks_are_done_once_though_redis_is_killed_again_and_again() -> Result<()> {
    const TASKS: usize = 40;
    let mut server = Private::start().await?;
    let connected = RedisServer::connect(&server.url(), "killed").await?;
    let queue = RedisQueue::new(&connected, RedisQueueConfig::default());
    let mut team = Team::new(0);
    let tasks: Vec<TaskId> = (0..TASKS)
        .map(|number| team.rows.add(&number.to_string()))
        .collect();
    for name in ["one", "two", "three"] {
        team.join(&queue, name);
    }
    let mut round = 0;
    loop {
        let due: Vec<Message> = tasks
            .iter()
            .filter(|task| team.rows.row(**task).state != TaskState::Done)
            .map(|task| message(*task))
            .collect();
        if due.is_empty() {
            break;
        }
        round += 1;
        ensure!(round < 100, "{} tasks are not done", due.len());
        // what the reconciler does; without a server it does so later
        let pushed = queue.push(Topic::Score, &due, NOW).await;
        ensure!(
            !matches!(pushed, Err(QueueError::Lost { .. })),
            "{pushed:?}"
        );
        team.handler.gate.add_permits(8);
        let before = team.begun().len();
        let progress = wait_for("more to begin", || team.begun().len() >= before + 8);
        // without a server there is none, and the next round comes all the same
        let _ = tokio::time::timeout(Duration::from_millis(200), progress).await;
        match round {
            2 | 4 => {
                server.kill()?;
                server.run().await?;
            }
            3 => {
                server.command(&["FLUSHALL"])?;
            }
            _ => {}
        }
    }
    let mut begun = team.begun();
    begun.sort_unstable();
    let mut wanted: Vec<(TaskId, u64)> = tasks.iter().map(|task| (*task, 1)).collect();
    wanted.sort_unstable();
    ensure!(begun == wanted, "{} tries for {TASKS} tasks", begun.len());
    team.end().await
}

/// Remembers which spans were made children of which trace.
#[derive(Debug, Default)]
struct Adopted(Mutex<Vec<(String, String)>>);

impl TraceContext for Adopted {
    fn current(&self) -> Option<TraceParent> {
        None
    }

    fn adopt(&self, span: &tracing::Span, parent: &TraceParent) {
        let name = span.metadata().map_or("", |metadata| metadata.name());
        let trace = parent.trace_id().to_owned();
        self.0.lock().unwrap().push((name.to_owned(), trace));
    }
}

#[tokio::test]
async fn a_tasks_span_is_a_child_of_the_tick_that_made_it() -> Result<()> {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let deployment = Deployment::new().await?;
    let queue = deployment.queue();
    let rows = Arc::new(Rows::new());
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    rows.trace(parent.parse().context("the test's own text")?);
    let handler = Gated {
        gate: Semaphore::new(9),
        begun: Mutex::default(),
    };
    let adopted = Arc::new(Adopted::default());
    let worker = Worker::new(
        Arc::new(queue.clone()),
        Arc::clone(&rows) as _,
        Arc::new(handler),
        Arc::new(TokioClock::new()),
        WorkerConfig::new("one", 1),
    )
    .with_traces(Arc::clone(&adopted) as _);
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::new(worker).run(stop.clone()));
    let task = rows.add("a");
    queue.push(Topic::Score, &[message(task)], NOW).await?;
    wait_for("the result", || rows.row(task).state == TaskState::Done).await?;
    let seen = adopted.0.lock().unwrap().clone();
    ensure!(seen.len() == 1 && seen[0].1 == TRACE, "{seen:?}");
    stop.cancel();
    running.await??;
    Ok(())
}
