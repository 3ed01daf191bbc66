//! Two processes at one Postgres: whatever the interleaving, each epoch is given once, nothing of a stale one is kept, caps hold
//! and sums are exact.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fapo_domain::clock::Clock;
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::task::{Fence, NewTask, TaskState};
use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::{Jobs, Proposals, Tick};
use fapo_domain::ports::ledger::{Amount, Caps, Charge, Ledger, LedgerError, ReservationId, Room};
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::{JobId, MicroUsd, Spend, TaskId};
use fapo_store::PgStore;
use fapo_testkit::clock::ManualClock;
use fapo_testkit::postgres::TestDatabase;
use fapo_testkit::sample;
use futures::future::join_all;
use serde_json::json;
use sqlx::Row;

use crate::postgres::{open, open_two};

const LEASE: Duration = Duration::from_secs(60);

/// Numbers that look random and are the same each time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn tick(job: JobId, expected_version: u64, status: JobStatus, tasks: Vec<NewTask>) -> Tick {
    Tick {
        job,
        expected_version,
        state: json!({}),
        status,
        events: Vec::new(),
        tasks,
        consumed: Vec::new(),
        lineage: Vec::new(),
        decisions: Vec::new(),
        open_test: None,
        trace: None,
    }
}

/// A job with so many queued tasks, and an account.
async fn job_with_tasks(store: &PgStore, tasks: u32, caps: Caps) -> JobId {
    let job = sample::job_id(1);
    let now = ManualClock::START;
    store
        .create_job(job, sample::job_spec("p"), json!({}), now, None)
        .await
        .unwrap();
    let tasks = (0..tasks).map(|n| sample::new_task(job, n)).collect();
    store
        .commit_tick(tick(job, 0, JobStatus::Running, tasks))
        .await
        .unwrap();
    store.open_account(job, caps).await.unwrap();
    job
}

async fn claim(store: &PgStore, task: TaskId, lease: Duration) -> Option<Fence> {
    match store.claim_task(task, "w", lease).await.unwrap() {
        Claim::Claimed(task) => Some(task.fence()),
        Claim::Held(_) => None,
        other => panic!("{other:?}"),
    }
}

/// Waits until so many of the database's transactions wait for a lock.
async fn wait_for_waiters(database: &TestDatabase, waiters: i64) {
    let mut connection = database.connect().await.unwrap();
    let waiting = async {
        loop {
            let row = sqlx::query(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap();
            if row.get::<i64, _>(0) >= waiters {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .expect("it waits for the lock");
}

/// Leases of no length, so that every attempt may succeed. What an epoch reserved is reserved at the end where it is the last
/// one, and lost where it is not: so nothing was reserved under an epoch after the next one was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_epoch_is_given_once_and_what_stale_ones_reserved_is_lost() {
    const TASKS: u32 = 3;
    let (stores, _database) = open_two().await;
    let job = job_with_tasks(&stores[0], TASKS, Caps::default()).await;
    let workers = (0..8u64).map(|number| {
        let store = stores[number as usize % 2].clone();
        tokio::spawn(async move {
            let mut numbers = Numbers(number);
            let mut given = Vec::new();
            for _ in 0..12 {
                let task = sample::task_id(job, numbers.below(u64::from(TASKS)) as u32);
                let Some(fence) = claim(&store, task, Duration::ZERO).await else {
                    continue;
                };
                let amount = Amount {
                    cost: MicroUsd(1 + numbers.below(100)),
                    model_calls: 1,
                };
                let reserved = match store.reserve(job, fence.into(), amount).await {
                    Ok(()) => amount.cost.0,
                    Err(LedgerError::Store(StoreError::StaleLease { .. })) => 0,
                    Err(error) => panic!("{error:?}"),
                };
                given.push((fence, reserved));
            }
            given
        })
    });
    let mut epochs: BTreeMap<TaskId, BTreeMap<u64, u64>> = BTreeMap::new();
    for given in join_all(workers).await {
        for (fence, reserved) in given.unwrap() {
            let twice = epochs
                .entry(fence.task)
                .or_default()
                .insert(fence.epoch, reserved);
            assert!(twice.is_none(), "epoch {} was given twice", fence.epoch);
        }
    }
    let (mut reserved, mut lost) = (0, 0);
    for given in epochs.values() {
        let last = given.len() as u64;
        assert!(given.keys().copied().eq(1..=last), "{given:?}");
        reserved += given[&last];
        lost += given.values().sum::<u64>() - given[&last];
    }
    assert!(lost > 0, "the claimers must get in each other's way");
    let balance = stores[1].balance(job).await.unwrap();
    assert_eq!(
        (balance.reserved.cost.0, balance.lost.cost.0),
        (reserved, lost)
    );
}

/// Several jobs, so that one group of writes locks several accounts, in both processes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn caps_hold_and_sums_are_exact_over_two_stores_and_several_jobs() {
    const CAP: u64 = 2_000;
    let (stores, _database) = open_two().await;
    let jobs: Vec<JobId> = (1..=3).map(|n| JobId::at(n, [3; 10])).collect();
    let caps = Caps {
        cost: Some(MicroUsd(CAP)),
        model_calls: None,
    };
    for job in &jobs {
        stores[0].open_account(*job, caps).await.unwrap();
    }
    let over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let (store, over, jobs) = (stores[1].clone(), Arc::clone(&over), jobs.clone());
        async move {
            while !over.load(Ordering::SeqCst) {
                for job in &jobs {
                    let balance = store.balance(*job).await.unwrap();
                    let sum = balance.total().cost.0 + balance.reserved.cost.0;
                    assert!(sum <= CAP, "{balance:?}");
                }
            }
        }
    });
    let workers = (0..8u64).map(|number| {
        let (store, jobs) = (stores[number as usize % 2].clone(), jobs.clone());
        tokio::spawn(async move { spend(&store, &jobs, number).await })
    });
    let mut expected: BTreeMap<JobId, (u64, u64)> = BTreeMap::new();
    for sums in join_all(workers).await {
        for (job, (spent, lost)) in sums.unwrap() {
            let sum = expected.entry(job).or_default();
            *sum = (sum.0 + spent, sum.1 + lost);
        }
    }
    over.store(true, Ordering::SeqCst);
    watcher.await.unwrap();
    for job in jobs {
        let balance = stores[0].balance(job).await.unwrap();
        assert_eq!(balance.reserved, Amount::default());
        let spent: Spend = balance.spent.iter().map(|(_, spend)| *spend).sum();
        let (expected_spent, expected_lost) = expected[&job];
        assert_eq!(
            (spent.cost.0, balance.lost.cost.0),
            (expected_spent, expected_lost)
        );
    }
}

/// One worker: reserves, and then settles, keeps and settles, closes, or closes and settles late. Returns what it spent and lost.
async fn spend(store: &PgStore, jobs: &[JobId], number: u64) -> BTreeMap<JobId, (u64, u64)> {
    let mut numbers = Numbers(1_000 + number);
    let mut sums: BTreeMap<JobId, (u64, u64)> = jobs.iter().map(|job| (*job, (0, 0))).collect();
    for round in 0..15 {
        let job = jobs[numbers.below(jobs.len() as u64) as usize];
        let id = ReservationId {
            task: sample::task_id(job, number as u32 * 100 + round),
            epoch: 1,
        };
        let worst = Amount {
            cost: MicroUsd(1 + numbers.below(100)),
            model_calls: 1,
        };
        match store.reserve(job, id, worst).await {
            Ok(()) => {}
            Err(LedgerError::Exhausted { .. }) => continue,
            Err(error) => panic!("{error:?}"),
        }
        let charge = Charge {
            job,
            reservation: id,
            role: SpendRole::Task,
            release: worst,
            spent: Spend {
                cost: MicroUsd(numbers.below(1 + worst.cost.0)),
                model_calls: 1,
                ..Spend::default()
            },
            lost: Amount::default(),
            keep: false,
        };
        let sum = sums.get_mut(&job).unwrap();
        match numbers.below(4) {
            0 => drop(store.settle(charge).await.unwrap()),
            1 => {
                let keep = Charge {
                    keep: true,
                    ..charge
                };
                if store.settle(keep).await.unwrap() == Room::Kept {
                    store.settle(charge).await.unwrap();
                    sum.0 += charge.spent.cost.0;
                }
            }
            2 => {
                assert_eq!(store.close(job, id).await.unwrap(), worst);
                sum.1 += worst.cost.0;
                continue;
            }
            _ => {
                assert_eq!(store.close(job, id).await.unwrap(), worst);
                store.settle(charge).await.unwrap();
            }
        }
        sum.0 += charge.spent.cost.0;
    }
    sums
}

/// Both ways round: a write waits for a claim that is under way, and a claim for a write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_and_the_next_claim_wait_for_each_other() {
    let (store, clock, database) = open().await.unwrap();
    let job = job_with_tasks(&store, 1, Caps::default()).await;
    let task = sample::task_id(job, 0);
    let old = claim(&store, task, LEASE).await.unwrap();

    // another process's claim, not yet committed
    let mut other = database.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE tasks SET epoch = epoch + 1")
        .execute(&mut other)
        .await
        .unwrap();
    let write = tokio::spawn({
        let store = store.clone();
        async move { store.record_proposal(old, json!("late")).await }
    });
    wait_for_waiters(&database, 1).await;
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let refused = write.await.unwrap();
    assert!(
        matches!(refused, Err(StoreError::StaleLease { .. })),
        "{refused:?}"
    );
    assert!(store.proposal(task).await.unwrap().is_none());

    // another process's write under the live claim, not yet committed
    sqlx::raw_sql("BEGIN; SELECT 1 FROM tasks FOR SHARE")
        .execute(&mut other)
        .await
        .unwrap();
    clock.advance(LEASE);
    let next = tokio::spawn({
        let store = store.clone();
        async move { claim(&store, task, LEASE).await }
    });
    wait_for_waiters(&database, 1).await;
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(
        next.await.unwrap().map(|fence| fence.epoch),
        Some(old.epoch + 2)
    );
}

/// The account's row is what claims and reservations wait at, in either order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_and_the_next_claim_wait_for_each_other() {
    let (store, clock, database) = open().await.unwrap();
    let job = job_with_tasks(&store, 1, Caps::default()).await;
    let task = sample::task_id(job, 0);
    let old = claim(&store, task, LEASE).await.unwrap();
    let mut other = database.connect().await.unwrap();

    // another process reserves under the live claim, and has not committed
    let reserves = "BEGIN; SELECT 1 FROM accounts FOR UPDATE; \
                    INSERT INTO reservations SELECT job, id, epoch, 5, 1, 0, 0 FROM tasks; \
                    UPDATE accounts SET reserved_cost = 5, reserved_calls = 1";
    sqlx::raw_sql(reserves).execute(&mut other).await.unwrap();
    clock.advance(LEASE);
    let next = tokio::spawn({
        let store = store.clone();
        async move { claim(&store, task, LEASE).await }
    });
    wait_for_waiters(&database, 1).await;
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let live = next.await.unwrap().unwrap();
    assert_eq!(live.epoch, old.epoch + 1);
    let balance = store.balance(job).await.unwrap();
    assert_eq!(
        (balance.reserved.cost, balance.lost.cost),
        (MicroUsd(0), MicroUsd(5))
    );

    // another process claims, and has not committed
    let claims = "BEGIN; UPDATE tasks SET epoch = epoch + 1; SELECT 1 FROM accounts FOR UPDATE";
    sqlx::raw_sql(claims).execute(&mut other).await.unwrap();
    let reservation = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .reserve(
                    job,
                    live.into(),
                    Amount {
                        cost: MicroUsd(7),
                        model_calls: 1,
                    },
                )
                .await
        }
    });
    wait_for_waiters(&database, 1).await;
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let refused = reservation.await.unwrap();
    assert!(
        matches!(
            refused,
            Err(LedgerError::Store(StoreError::StaleLease { .. }))
        ),
        "{refused:?}"
    );
}

/// A tick and a failing task at once, in both orders: nothing stays queued in a job that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_task_that_fails_while_its_job_ends_is_cancelled() {
    let (stores, database) = open_two().await;
    let job = job_with_tasks(&stores[0], 8, Caps::default()).await;
    let mut fences = Vec::new();
    for number in 0..8 {
        fences.push(
            claim(&stores[0], sample::task_id(job, number), LEASE)
                .await
                .unwrap(),
        );
    }
    let failing = fences.into_iter().map(|fence| {
        let store = stores[1].clone();
        async move {
            store
                .fail_task(fence, "no luck", ManualClock::START, 9)
                .await
        }
    });
    let last = stores[0].commit_tick(tick(job, 1, JobStatus::Cancelled, Vec::new()));
    let (states, version) = futures::join!(join_all(failing), last);
    version.unwrap();
    for state in states {
        let state = state.unwrap();
        assert!(
            matches!(state, TaskState::Queued | TaskState::Cancelled),
            "{state:?}"
        );
    }
    let mut connection = database.connect().await.unwrap();
    let rows = sqlx::query("SELECT DISTINCT state FROM tasks")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let states: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(states, HashSet::from(["cancelled".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_others_may_hold_are_not_released() {
    let (store, clock, _database) = open().await.unwrap();
    let job = job_with_tasks(&store, 1, Caps::default()).await;
    let task = sample::task_id(job, 0);
    let fence = claim(&store, task, LEASE).await.unwrap();
    let refused = store.release_leases().await;
    assert!(
        matches!(refused, Err(StoreError::Invalid { .. })),
        "{refused:?}"
    );
    assert!(
        claim(&store, task, LEASE).await.is_none(),
        "it is still held"
    );
    assert!(store.renew_task(fence, LEASE).await.unwrap() > clock.now());
}

/// Postgres's texts cannot hold one; a reason that a program gave must not keep its task from ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_with_a_nul_character_is_kept_with_its_picture() {
    let (store, _, _database) = open().await.unwrap();
    let job = job_with_tasks(&store, 1, Caps::default()).await;
    let fence = claim(&store, sample::task_id(job, 0), LEASE).await.unwrap();
    store.kill_task(fence, "it said \0 and died").await.unwrap();
    let dead = store.dead_tasks(job).await.unwrap();
    assert_eq!(dead[0].reason, "it said \u{2400} and died");
    let refused = store
        .create_job(
            sample::job_id(2),
            sample::job_spec("a\0b"),
            json!({}),
            ManualClock::START,
            None,
        )
        .await;
    assert!(
        matches!(refused, Err(StoreError::Invalid { .. })),
        "{refused:?}"
    );
}
