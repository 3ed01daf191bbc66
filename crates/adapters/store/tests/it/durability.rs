//! What was acknowledged is there after a crash, at whatever commit it comes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fapo_domain::model::job::JobStatus;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::jobs::{Jobs, Tick};
use fapo_domain::ports::ledger::{Amount, Caps, Charge, Ledger, ReservationId};
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::{MicroUsd, Spend};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::sample;
use futures::future::try_join_all;
use serde_json::json;

use crate::opening::open;

/// Copies what a process killed at this moment would leave: the file and its log.
fn snapshot(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn tick(job: fapo_domain::JobId, version: u64) -> Tick {
    Tick {
        job,
        expected_version: version,
        state: json!({}),
        status: JobStatus::Running,
        events: vec![json!(version)],
        tasks: vec![sample::new_task(job, u32::try_from(version).unwrap())],
        consumed: Vec::new(),
        lineage: Vec::new(),
        decisions: Vec::new(),
        open_test: None,
        trace: None,
    }
}

#[tokio::test]
async fn a_store_dropped_without_closing_holds_everything_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let evaluation = sample::evaluation_id("e");
    let runs: Vec<_> = (0..64).map(|n| sample::run_record(evaluation, n)).collect();
    {
        let store = open(&path).await.unwrap();
        store.record_runs(None, runs.clone()).await.unwrap();
        try_join_all((0..100).map(|n| store.put_step(sample::cache_entry(n), None)))
            .await
            .unwrap();
    }
    let store = open(&path).await.unwrap();
    let ordinals: Vec<u64> = (0..64).collect();
    assert_eq!(
        store
            .runs(evaluation, &ordinals, StepsOf::All)
            .await
            .unwrap(),
        runs
    );
    for n in 0..100 {
        let entry = sample::cache_entry(n);
        assert_eq!(
            store.get_step(entry.key, entry.fingerprint).await.unwrap(),
            Some(entry.step)
        );
    }
    let fingerprint = sample::cache_entry(0).fingerprint;
    assert!(store.has_any(fingerprint).await.unwrap());
}

/// The process dies right after each commit in turn, before anybody hears of it: whatever was acknowledged before is
/// there, nothing is half there, and the ledger's sums hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_commit_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    let job = sample::job_id(1);
    let acknowledged = Arc::new(AtomicU64::new(0));
    // (number of the commit, steps acknowledged before it, ticks acknowledged before it)
    let crashes: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let options = StoreOptions {
        on_commit: Some(Arc::new({
            let (live, folder) = (live.clone(), folder.path().to_owned());
            let (acknowledged, crashes) = (Arc::clone(&acknowledged), Arc::clone(&crashes));
            move |number| {
                let before = acknowledged.load(Ordering::SeqCst);
                snapshot(&live, &crash(&folder, number));
                crashes.lock().unwrap().push((number, before));
            }
        })),
        sole_writer: true,
    };
    let store = SqliteStore::open(&live.join("store.db"), ManualClock::new(), options)
        .await
        .unwrap();
    let now = ManualClock::START;
    store
        .create_job(job, sample::job_spec("p"), json!({}), now, None)
        .await
        .unwrap();
    store.open_account(job, Caps::default()).await.unwrap();
    let worst = Amount {
        cost: MicroUsd(100),
        model_calls: 1,
    };
    for number in 0..10u32 {
        let reservation = ReservationId {
            task: sample::task_id(job, 1_000 + number),
            epoch: 1,
        };
        store.reserve(job, reservation, worst).await.unwrap();
        let charge = Charge {
            job,
            reservation,
            role: SpendRole::Task,
            release: worst,
            lost: Amount::default(),
            keep: false,
            spent: Spend {
                cost: MicroUsd(40),
                model_calls: 1,
                ..Spend::default()
            },
        };
        store
            .put_step(sample::cache_entry(number), Some(charge))
            .await
            .unwrap();
        store
            .commit_tick(tick(job, u64::from(number)))
            .await
            .unwrap();
        acknowledged.store(u64::from(number) + 1, Ordering::SeqCst);
    }
    drop(store);

    let crashes = crashes.lock().unwrap().clone();
    assert!(crashes.len() >= 32, "{} commits", crashes.len());
    assert!(crashes.iter().zip(1..).all(|((number, _), n)| *number == n));
    for (number, acknowledged) in crashes {
        let path = crash(folder.path(), number).join("store.db");
        let store = open(&path).await.unwrap();
        for step in 0..acknowledged {
            let entry = sample::cache_entry(u32::try_from(step).unwrap());
            let found = store.get_step(entry.key, entry.fingerprint).await;
            assert!(found.unwrap().is_some());
        }
        if number < 2 {
            continue;
        }
        let version = store.get_job(job).await.unwrap().version;
        assert!(version == acknowledged || version == acknowledged + 1);
        let events = store.events(job, 0, 100).await.unwrap();
        assert_eq!(events.len() as u64, version);
        // a step and its charge are there together or not at all
        let balance = store.balance(job).await.unwrap();
        let mut stored = 0;
        for step in 0..10 {
            let entry = sample::cache_entry(step);
            let found = store.get_step(entry.key, entry.fingerprint).await;
            stored += u64::from(found.unwrap().is_some());
        }
        assert_eq!(balance.total().model_calls, stored);
        assert_eq!(balance.total().cost, MicroUsd(40 * stored));
        assert!(balance.reserved.model_calls <= 1);
    }
}

fn crash(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("crash-{number}"))
}

/// Two processes on one file: nothing fails, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_on_one_file_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let stores = [open(&path).await.unwrap(), open(&path).await.unwrap()];
    let job = sample::job_id(1);
    stores[0].open_account(job, Caps::default()).await.unwrap();
    let worst = Amount {
        cost: MicroUsd(1),
        model_calls: 1,
    };
    let mut workers = Vec::new();
    for (store, half) in stores.iter().zip(0u64..) {
        for worker in 0..4u64 {
            let store = store.clone();
            workers.push(tokio::spawn(async move {
                let evaluation = sample::evaluation_id(&format!("e{half}"));
                let task = sample::task_id(job, u32::try_from(half * 4 + worker).unwrap());
                let id = ReservationId { task, epoch: 1 };
                for n in 0..25 {
                    let ordinal = worker * 25 + n;
                    store.reserve(job, id, worst).await.unwrap();
                    let run = sample::run_record(evaluation, ordinal);
                    store.record_runs(None, vec![run]).await.unwrap();
                    let score = sample::case_score(evaluation, ordinal, 0.5);
                    store.record_scores(None, vec![score]).await.unwrap();
                }
            }));
        }
    }
    for worker in workers {
        worker.await.unwrap();
    }
    // each sees what the other wrote
    for (store, other) in [(&stores[0], "e1"), (&stores[1], "e0")] {
        let scored = store
            .scores(sample::evaluation_id(other), 0, 1000)
            .await
            .unwrap();
        assert_eq!(scored.len(), 100);
        assert_eq!(store.balance(job).await.unwrap().reserved.model_calls, 200);
    }
}
