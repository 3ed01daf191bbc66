//! The cap under any interleaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fapo_domain::money::SpendRole;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::ledger::{Amount, Caps, Charge, Ledger, LedgerError, ReservationId};
use fapo_domain::{JobId, MicroUsd, Spend};
use fapo_testkit::sample;
use futures::FutureExt;
use proptest::prelude::*;

use crate::opening::open;

const CAP: u64 = 1_000;
const CALLS: u64 = 60;

/// What one caller does with its call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Settles at a share (in percent) of the worst case.
    Settled(u64),
    /// The same, with the reply stored in the same commit.
    Stored(u64),
    /// Dies; somebody closes its reservation.
    Lost,
    /// Is thought dead, and settles after its reservation was closed.
    Late(u64),
}

#[derive(Debug, Clone)]
struct Call {
    task: u32,
    worst: u64,
    fate: Fate,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let fate = prop_oneof![
        (0u64..=100).prop_map(Fate::Settled),
        (0u64..=100).prop_map(Fate::Stored),
        Just(Fate::Lost),
        (0u64..=100).prop_map(Fate::Late),
    ];
    let call =
        (0u32..6, 1u64..200, fate).prop_map(|(task, worst, fate)| Call { task, worst, fate });
    prop::collection::vec(call, 1..100)
}

/// What came of a call: what it settled, and what it lost.
#[derive(Default)]
struct Sums {
    spent: Amount,
    lost: Amount,
}

async fn make<S: Ledger + StepCache>(store: &S, job: JobId, number: u32, call: &Call) -> Sums {
    // a reservation of its own, so that a close hits this call only
    let id = ReservationId {
        task: sample::task_id(job, call.task * 1_000 + number),
        epoch: 1,
    };
    let worst = Amount {
        cost: MicroUsd(call.worst),
        model_calls: 1,
    };
    match store.reserve(job, id, worst).await {
        Ok(()) => {}
        Err(LedgerError::Exhausted { .. }) => return Sums::default(),
        Err(error) => panic!("{error:?}"),
    }
    let charge = |percent: u64| Charge {
        job,
        reservation: id,
        role: if call.task.is_multiple_of(2) {
            SpendRole::Task
        } else {
            SpendRole::Judge
        },
        release: worst,
        lost: Amount::default(),
        keep: false,
        spent: Spend {
            cost: MicroUsd(call.worst * percent / 100),
            model_calls: 1,
            ..Spend::default()
        },
    };
    let mut sums = Sums::default();
    match call.fate {
        Fate::Settled(percent) => {
            store.settle(charge(percent)).await.unwrap();
            sums.spent = amount_of(charge(percent).spent);
        }
        Fate::Stored(percent) => {
            let entry = sample::cache_entry(number);
            store.put_step(entry, Some(charge(percent))).await.unwrap();
            sums.spent = amount_of(charge(percent).spent);
        }
        Fate::Lost => {
            assert_eq!(store.close(job, id).await.unwrap(), worst);
            sums.lost = worst;
        }
        Fate::Late(percent) => {
            assert_eq!(store.close(job, id).await.unwrap(), worst);
            store.settle(charge(percent)).await.unwrap();
            sums.spent = amount_of(charge(percent).spent);
        }
    }
    sums
}

fn amount_of(spend: Spend) -> Amount {
    Amount {
        cost: spend.cost,
        model_calls: spend.model_calls,
    }
}

fn plus(a: Amount, b: Amount) -> Amount {
    Amount {
        cost: a.cost + b.cost,
        model_calls: a.model_calls + b.model_calls,
    }
}

async fn committed(store: &impl Ledger, job: JobId) -> Amount {
    let balance = store.balance(job).await.unwrap();
    plus(amount_of(balance.total()), balance.reserved)
}

/// Makes all calls at once, each through one of the stores, while somebody watches the account.
async fn check<S>(stores: [S; 2], job: JobId, calls: Vec<Call>)
where
    S: Ledger + StepCache + Clone + 'static,
{
    let caps = Caps {
        cost: Some(MicroUsd(CAP)),
        model_calls: Some(CALLS),
    };
    stores[0].open_account(job, caps).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let (store, over) = (stores[0].clone(), Arc::clone(&over));
        async move {
            while !over.load(Ordering::SeqCst) {
                let sum = committed(&store, job).await;
                assert!(sum.cost.0 <= CAP && sum.model_calls <= CALLS, "{sum:?}");
            }
        }
    });
    let callers: Vec<_> = calls
        .into_iter()
        .zip(0u32..)
        .map(|(call, number)| {
            let store = stores[number as usize % 2].clone();
            tokio::spawn(async move { make(&store, job, number, &call).await })
        })
        .collect();
    let (mut spent, mut lost) = (Amount::default(), Amount::default());
    for caller in callers {
        let sums = caller.await.unwrap();
        spent = plus(spent, sums.spent);
        lost = plus(lost, sums.lost);
    }
    over.store(true, Ordering::SeqCst);
    watcher.await.unwrap();

    let balance = stores[1].balance(job).await.unwrap();
    assert_eq!(balance.reserved, Amount::default());
    assert_eq!(balance.lost, lost);
    let settled: Spend = balance.spent.iter().map(|(_, spend)| *spend).sum();
    assert_eq!(amount_of(settled), spent);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_passes_a_cap_and_every_sum_is_exact(calls in calls()) {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let store = open(&folder.path().join("store.db")).await.unwrap();
            check([store.clone(), store], sample::job_id(1), calls).await;
        });
    }
}

/// The same with two processes' stores over one Postgres.
#[test]
fn no_interleaving_of_two_stores_passes_a_cap_and_every_sum_is_exact() {
    let runtime = runtime();
    // one database for all cases, and a job for each: a database of its own would take longer than the case
    let (stores, _database) = runtime.block_on(crate::postgres::open_two());
    let cases = AtomicU64::new(1);
    let config = ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest::test_runner::TestRunner::new(config)
        .run(&calls(), |calls| {
            let job = JobId::at(cases.fetch_add(1, Ordering::SeqCst), [7; 10]);
            runtime.block_on(check(stores.clone(), job, calls));
            Ok(())
        })
        .unwrap();
}

/// A caller that goes away before it hears of its reservation makes no call, so nothing stays reserved for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_whose_caller_is_gone_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    leave(&open(&folder.path().join("store.db")).await.unwrap()).await;
    let (postgres, _, _database) = crate::postgres::open().await.unwrap();
    leave(&postgres).await;
}

async fn leave(store: &impl Ledger) {
    let job = sample::job_id(1);
    store.open_account(job, Caps::default()).await.unwrap();
    let one = Amount {
        cost: MicroUsd(7),
        model_calls: 1,
    };
    let id = ReservationId {
        task: sample::task_id(job, 1),
        epoch: 1,
    };
    for _ in 0..50 {
        let call = store.reserve(job, id, one);
        // asked once, then dropped: at any point of its way
        let _ = call.now_or_never();
    }
    store.reserve(job, id, one).await.unwrap();
    let settled = async {
        while committed(store, job).await != one {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled)
        .await
        .expect("what nobody waits for is taken back");
}
