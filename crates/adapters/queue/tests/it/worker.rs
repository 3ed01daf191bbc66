//! The worker loop, under paused time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::model::task::{ClaimedTask, Lane, TaskState, Topic};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::queue::{Message, TaskQueue};
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::{ErrorCode, Retry, TaskId};
use fapo_queue::{MemoryQueue, Worker, WorkerConfig};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rows::{Rows, TokioClock, job};

const LEASE: Duration = Duration::from_secs(30);

/// What a scripted handler does with its next task.
#[derive(Debug)]
enum Act {
    /// Answers after that long.
    Answer(Duration),
    Fail(Retry),
    /// Fails because the store is full.
    Full,
    Panic,
    /// Ends soon after it is told to, and not before.
    UntilStopped,
    /// Does not listen.
    Deaf,
}

#[derive(Default)]
struct Scripted {
    acts: Mutex<VecDeque<Act>>,
    /// Epochs of the tasks that were begun.
    begun: Mutex<Vec<u64>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

#[async_trait]
impl TaskHandler for Scripted {
    fn topic(&self) -> Topic {
        Topic::Score
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        self.begun.lock().unwrap().push(task.epoch);
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(now, Ordering::SeqCst);
        let act = self.acts.lock().unwrap().pop_front();
        let result = match act.unwrap_or(Act::Answer(Duration::ZERO)) {
            Act::Answer(after) => {
                tokio::time::sleep(after).await;
                Ok(json!({ "epoch": task.epoch }))
            }
            Act::Fail(retry) => Err(WorkError {
                message: "it failed".to_owned(),
                code: ErrorCode::Unavailable,
                retry,
                reason: "SCRIPTED",
                source: Some("because of the script".into()),
            }),
            Act::Full => Err(WorkError::from_port(
                "a case cannot be written",
                StoreError::Unwritable {
                    place: "test".to_owned(),
                    source: "full".into(),
                },
            )),
            Act::Panic => panic!("scripted panic"),
            Act::UntilStopped => {
                stop.cancelled().await;
                Err(WorkError::interrupted())
            }
            Act::Deaf => std::future::pending().await,
        };
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

struct Bench {
    handler: Arc<Scripted>,
    rows: Arc<Rows>,
    queue: Arc<MemoryQueue>,
    stop: CancellationToken,
    config: WorkerConfig,
}

impl Bench {
    fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        let handler = Scripted {
            acts: Mutex::new(acts.into_iter().collect()),
            ..Scripted::default()
        };
        let mut config = WorkerConfig::new("w1", 1);
        config.lease = LEASE;
        config.heartbeat = LEASE / 3;
        Self {
            handler: Arc::new(handler),
            rows: Arc::new(Rows::new()),
            queue: Arc::new(MemoryQueue::new()),
            stop: CancellationToken::new(),
            config,
        }
    }

    fn start(&self) -> JoinHandle<Result<(), WorkError>> {
        let worker = Worker::new(
            Arc::clone(&self.queue) as _,
            Arc::clone(&self.rows) as _,
            Arc::clone(&self.handler) as _,
            Arc::new(TokioClock::new()),
            self.config.clone(),
        );
        tokio::spawn(Arc::new(worker).run(self.stop.clone()))
    }

    async fn queue_task(&self, name: &str) -> TaskId {
        let task = self.rows.add(name);
        let message = Message::Task {
            task,
            job: job(),
            lane: Lane::of("p"),
        };
        self.queue
            .push(Topic::Score, &[message], Duration::ZERO)
            .await
            .unwrap();
        task
    }

    /// Waits for the tick that a finished or dead task causes.
    async fn tick_comes(&self) {
        let ticks = self
            .queue
            .receive(Topic::Job, "test", 1, Duration::from_secs(3600), LEASE)
            .await
            .unwrap();
        assert_eq!(ticks.len(), 1, "no tick came");
        assert_eq!(ticks[0].message, Message::Tick { job: job() });
        self.queue.acknowledge(&ticks[0]).await.unwrap();
    }

    async fn no_message_is_left(&self) {
        let left = self
            .queue
            .receive(Topic::Score, "test", 1, Duration::from_secs(7200), LEASE)
            .await
            .unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    async fn end(&self, running: JoinHandle<Result<(), WorkError>>) {
        self.stop.cancel();
        running.await.unwrap().unwrap();
    }

    fn begun(&self) -> Vec<u64> {
        self.handler.begun.lock().unwrap().clone()
    }
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test(start_paused = true)]
async fn a_result_is_stored_the_job_ticked_and_the_message_acknowledged() {
    let bench = Bench::new([]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    bench.tick_comes().await;
    assert_eq!(bench.rows.row(task).state, TaskState::Done);
    assert_eq!(bench.rows.row(task).result, Some(json!({ "epoch": 1 })));
    bench.end(running).await;
    bench.no_message_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_long_task_and_its_message() {
    let bench = Bench::new([Act::Answer(LEASE * 10)]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    wait_for("the task to begin", || !bench.begun().is_empty()).await;
    let stolen = bench
        .queue
        .receive(Topic::Score, "other", 1, LEASE * 9, LEASE)
        .await
        .unwrap();
    assert!(stolen.is_empty(), "the message became visible: {stolen:?}");
    bench.tick_comes().await;
    assert_eq!(bench.rows.row(task).state, TaskState::Done);
    assert_eq!(bench.begun(), vec![1]);
    let renewals = bench.rows.renewals.load(Ordering::SeqCst);
    assert!((28..=30).contains(&renewals), "{renewals} renewals");
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_lease_stops_the_handler_and_drops_its_result() {
    let bench = Bench::new([Act::UntilStopped]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    wait_for("the task to begin", || !bench.begun().is_empty()).await;
    bench.rows.steal(task);
    wait_for("the handler to end", || {
        bench.handler.under_way.load(Ordering::SeqCst) == 0
    })
    .await;
    let row = bench.rows.row(task);
    assert_eq!((row.state, row.epoch), (TaskState::Leased, 2));
    assert_eq!((row.result, row.reason), (None, None));
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_result_under_a_stale_lease_is_not_stored() {
    let bench = Bench::new([Act::Answer(Duration::from_secs(5))]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    wait_for("the task to begin", || !bench.begun().is_empty()).await;
    bench.rows.steal(task); // before the first heartbeat
    wait_for("the handler to end", || {
        bench.handler.under_way.load(Ordering::SeqCst) == 0
    })
    .await;
    bench.end(running).await;
    assert_eq!(bench.rows.row(task).result, None);
    assert_eq!(bench.rows.row(task).epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_worker_vanished_is_claimed_again_with_a_higher_epoch() {
    let bench = Bench::new([]);
    let task = bench.queue_task("a").await;
    // a worker receives and claims it, and is never heard of again
    let lost = bench
        .queue
        .receive(Topic::Score, "w0", 1, LEASE, LEASE)
        .await
        .unwrap();
    assert_eq!(lost.len(), 1);
    let claim = bench.rows.claim_task(task, "w0", LEASE).await.unwrap();
    let Claim::Claimed(first) = claim else {
        panic!("not claimed: {claim:?}")
    };
    let running = bench.start();
    bench.tick_comes().await;
    let row = bench.rows.row(task);
    assert_eq!(row.state, TaskState::Done);
    assert!(row.epoch > first.epoch);
    assert_eq!(row.result, Some(json!({ "epoch": 2 })));
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_held_task_is_tried_again_once_the_lease_is_over() {
    let bench = Bench::new([]);
    let task = bench.queue_task("a").await;
    bench.rows.claim_task(task, "w0", LEASE * 3).await.unwrap();
    let running = bench.start();
    let started = tokio::time::Instant::now();
    bench.tick_comes().await;
    assert!(started.elapsed() >= LEASE * 3);
    assert_eq!(bench.begun(), vec![2]);
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_is_tried_again_with_growing_waits_then_dead() {
    let bench = Bench::new((0..5).map(|_| Act::Fail(Retry::Now)));
    let task = bench.queue_task("a").await;
    let running = bench.start();
    let started = tokio::time::Instant::now();
    bench.tick_comes().await;
    let row = bench.rows.row(task);
    assert_eq!(row.state, TaskState::Dead);
    assert_eq!(
        row.reason.as_deref(),
        Some("SCRIPTED: it failed: because of the script")
    );
    assert_eq!(bench.begun(), vec![1, 2, 3, 4, 5]);
    assert!(started.elapsed() >= Duration::from_secs(1 + 2 + 4 + 8));
    bench.end(running).await;
    bench.no_message_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_asks_for_a_wait_gets_it() {
    let wait = Duration::from_secs(600);
    let bench = Bench::new([Act::Fail(Retry::After(wait))]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    let started = tokio::time::Instant::now();
    bench.tick_comes().await;
    assert!(started.elapsed() >= wait);
    assert_eq!(bench.rows.row(task).state, TaskState::Done);
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_pass_kills_the_task_at_once() {
    let bench = Bench::new([Act::Fail(Retry::Never)]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    bench.tick_comes().await;
    assert_eq!(bench.rows.row(task).state, TaskState::Dead);
    assert_eq!(bench.begun(), vec![1]);
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_and_the_worker_lives_on() {
    let bench = Bench::new([Act::Panic, Act::Answer(Duration::ZERO)]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    wait_for("the panic to be noted", || {
        bench.rows.row(task).reason.as_deref() == Some("PANIC: scripted panic")
    })
    .await;
    bench.tick_comes().await;
    assert_eq!(bench.rows.row(task).state, TaskState::Done);
    assert_eq!(bench.begun(), vec![1, 2]);
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_over_is_forgotten_and_its_job_ticked() {
    let bench = Bench::new([]);
    let task = bench.queue_task("a").await;
    // done, but its worker died before it could say so
    let claim = bench.rows.claim_task(task, "w0", LEASE).await.unwrap();
    let Claim::Claimed(claimed) = claim else {
        panic!("not claimed: {claim:?}")
    };
    bench
        .rows
        .complete_task(claimed.fence(), json!("earlier"))
        .await
        .unwrap();
    let running = bench.start();
    bench.tick_comes().await;
    assert!(bench.begun().is_empty());
    assert_eq!(bench.rows.row(task).result, Some(json!("earlier")));
    bench.end(running).await;
    bench.no_message_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_result_waits_for_a_store_that_is_down_for_a_moment() {
    let bench = Bench::new([Act::Answer(Duration::from_secs(1))]);
    let task = bench.queue_task("a").await;
    let running = bench.start();
    wait_for("the task to begin", || !bench.begun().is_empty()).await;
    bench.rows.down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.rows.down.store(false, Ordering::SeqCst);
    bench.tick_comes().await;
    assert_eq!(bench.rows.row(task).state, TaskState::Done);
    assert_eq!(bench.begun(), vec![1], "it was done once");
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_tasks_back_at_once_and_never_kills_them() {
    let mut bench = Bench::new([Act::UntilStopped]);
    bench.config.max_attempts = 1;
    let task = bench.queue_task("a").await;
    let running = bench.start();
    wait_for("the task to begin", || !bench.begun().is_empty()).await;
    let stopped = tokio::time::Instant::now();
    bench.end(running).await;
    assert!(stopped.elapsed() < bench.config.grace);
    assert_eq!(bench.rows.row(task).state, TaskState::Queued);
    let again = bench.rows.claim_task(task, "w2", LEASE).await.unwrap();
    assert!(
        matches!(again, Claim::Claimed(_)),
        "claimable at once: {again:?}"
    );
    let message = bench
        .queue
        .receive(Topic::Score, "w2", 1, Duration::ZERO, LEASE)
        .await
        .unwrap();
    assert_eq!(message.len(), 1, "and its message is there at once");
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_handlers_that_finish_and_drops_those_that_do_not() {
    let mut bench = Bench::new([Act::Answer(Duration::from_secs(3)), Act::Deaf]);
    bench.config.concurrency = 2;
    let first = bench.queue_task("a").await;
    let second = bench.queue_task("b").await;
    let running = bench.start();
    wait_for("both to begin", || bench.begun().len() == 2).await;
    let stopped = tokio::time::Instant::now();
    bench.end(running).await;
    let took = stopped.elapsed();
    assert!(
        took >= bench.config.grace && took < bench.config.grace * 2,
        "{took:?}"
    );
    let mut states = [bench.rows.row(first).state, bench.rows.row(second).state];
    states.sort_by_key(|state| *state != TaskState::Done);
    assert_eq!(states, [TaskState::Done, TaskState::Leased]);
    assert_eq!(
        bench.handler.under_way.load(Ordering::SeqCst),
        1,
        "the deaf one was dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_tasks_than_permits_are_under_way() {
    let mut bench = Bench::new((0..12).map(|_| Act::Answer(Duration::from_secs(2))));
    bench.config.concurrency = 3;
    for number in 0..12 {
        bench.queue_task(&number.to_string()).await;
    }
    let running = bench.start();
    wait_for("all to end", || {
        bench.begun().len() == 12 && bench.handler.under_way.load(Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(bench.handler.most_under_way.load(Ordering::SeqCst), 3);
    bench.end(running).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_result_ends_the_worker_and_stops_what_else_is_under_way() {
    let mut bench = Bench::new([Act::UntilStopped, Act::Answer(Duration::from_secs(1))]);
    bench.config.concurrency = 2;
    let tasks = [bench.queue_task("a").await, bench.queue_task("b").await];
    let running = bench.start();
    wait_for("both to begin", || bench.begun().len() == 2).await;
    bench.rows.full.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(LEASE, running).await;
    let error = ended.expect("it ends at once").unwrap().unwrap_err();
    assert_eq!(error.reason, StoreError::UNWRITABLE);
    assert_eq!(bench.handler.under_way.load(Ordering::SeqCst), 0);
    for task in tasks {
        let row = bench.rows.row(task);
        assert_eq!((row.state, row.reason), (TaskState::Leased, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_claim_ends_the_worker() {
    let bench = Bench::new([]);
    bench.queue_task("a").await;
    bench.rows.full.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(LEASE, bench.start()).await;
    let error = ended.expect("it ends at once").unwrap().unwrap_err();
    assert_eq!(error.reason, StoreError::UNWRITABLE);
    assert!(bench.begun().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_meets_a_full_store_ends_the_worker_and_its_task_does_not_die_of_it() {
    let bench = Bench::new([Act::Full]);
    let task = bench.queue_task("a").await;
    let ended = tokio::time::timeout(LEASE, bench.start()).await;
    let error = ended.expect("it ends at once").unwrap().unwrap_err();
    assert_eq!(error.reason, StoreError::UNWRITABLE);
    assert_eq!(bench.rows.row(task).state, TaskState::Leased);
}
