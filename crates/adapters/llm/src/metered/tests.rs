use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use fapo_domain::ContentHash;
use fapo_domain::ids::{StepFingerprint, StepKey, TaskId};
use fapo_domain::model::task::Fence;
use fapo_domain::money::{SpendRole, Usage};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Balance, Caps};
use futures::FutureExt;
use tokio::sync::Semaphore;

use super::*;
use crate::wire::tests::request;

mod room;

const JOB: JobId = JobId(uuid::Uuid::nil());
const CALL: Amount = Amount {
    cost: MicroUsd(100),
    model_calls: 1,
};

fn meter(key: &str, epoch: u64) -> Meter {
    Meter {
        job: JOB,
        fence: Fence {
            task: TaskId(ContentHash::of(b"task")),
            epoch,
        },
        role: SpendRole::Task,
        key: StepKey(ContentHash::of(key.as_bytes())),
        fingerprint: StepFingerprint(ContentHash::of(b"fingerprint")),
        look_up: true,
        more: false,
    }
}

/// A store in memory: the step cache and a ledger that keeps to its caps.
#[derive(Default)]
struct Memory {
    steps: Mutex<HashMap<StepKey, CachedStep>>,
    account: Mutex<Account>,
    look_ups: AtomicU32,
    fail_puts: AtomicU32,
    /// Times the ledger was asked to reserve.
    reservations: AtomicU32,
}

#[derive(Default)]
struct Account {
    caps: Caps,
    reserved: HashMap<ReservationId, Amount>,
    spent: Spend,
    lost: Amount,
}

impl Account {
    fn reserved(&self) -> Amount {
        let mut sum = Amount::default();
        for amount in self.reserved.values() {
            sum.cost += amount.cost;
            sum.model_calls += amount.model_calls;
        }
        sum
    }

    fn fits(&self, amount: Amount) -> bool {
        let after = self.spent.cost + self.lost.cost + self.reserved().cost + amount.cost;
        self.caps.cost.is_none_or(|cap| after <= cap)
    }

    /// With everything reserved settled at nothing.
    fn could_fit(&self, amount: Amount) -> bool {
        let after = self.spent.cost + self.lost.cost + amount.cost;
        self.caps.cost.is_none_or(|cap| after <= cap)
    }

    fn settle(&mut self, charge: &Charge) -> Room {
        let reserved = self.reserved.get_mut(&charge.reservation).unwrap();
        reserved.cost.0 -= charge.release.cost.0;
        reserved.model_calls -= charge.release.model_calls;
        self.spent += charge.spent;
        self.lost.cost += charge.lost.cost;
        self.lost.model_calls += charge.lost.model_calls;
        if charge.keep && self.fits(charge.release) {
            let reserved = self.reserved.get_mut(&charge.reservation).unwrap();
            reserved.cost.0 += charge.release.cost.0;
            reserved.model_calls += charge.release.model_calls;
            return Room::Kept;
        }
        Room::Released
    }
}

impl Memory {
    fn capped(cost: u64) -> Arc<Self> {
        let memory = Self::default();
        memory.account.lock().unwrap().caps.cost = Some(MicroUsd(cost));
        Arc::new(memory)
    }

    fn spent(&self) -> (u64, u64) {
        let account = self.account.lock().unwrap();
        (account.spent.cost.0, account.spent.model_calls)
    }

    fn reserved(&self) -> u64 {
        self.account.lock().unwrap().reserved().cost.0
    }
}

fn down() -> StoreError {
    StoreError::Unavailable {
        operation: "store a step",
        source: "down".into(),
    }
}

#[async_trait]
impl StepCache for Memory {
    async fn get_step(
        &self,
        key: StepKey,
        _: StepFingerprint,
    ) -> Result<Option<CachedStep>, StoreError> {
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        Ok(self.steps.lock().unwrap().get(&key).cloned())
    }

    async fn put_step(
        &self,
        entry: CacheEntry,
        charge: Option<Charge>,
    ) -> Result<Room, StoreError> {
        tokio::task::yield_now().await;
        if self.fail_puts.load(Ordering::SeqCst) > 0 {
            self.fail_puts.fetch_sub(1, Ordering::SeqCst);
            return Err(down());
        }
        self.steps
            .lock()
            .unwrap()
            .entry(entry.key)
            .or_insert(entry.step);
        Ok(charge.map_or(Room::Released, |charge| {
            self.account.lock().unwrap().settle(&charge)
        }))
    }

    async fn has_any(&self, _: StepFingerprint) -> Result<bool, StoreError> {
        Ok(!self.steps.lock().unwrap().is_empty())
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn open_account(&self, _: JobId, caps: Caps) -> Result<(), StoreError> {
        self.account.lock().unwrap().caps = caps;
        Ok(())
    }

    async fn reserve(
        &self,
        _: JobId,
        id: ReservationId,
        amount: Amount,
    ) -> Result<(), LedgerError> {
        self.reservations.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let mut account = self.account.lock().unwrap();
        if !account.fits(amount) {
            return Err(LedgerError::Exhausted {
                what: "usd".into(),
                may_fit_later: account.could_fit(amount),
            });
        }
        let entry = account.reserved.entry(id).or_default();
        entry.cost += amount.cost;
        entry.model_calls += amount.model_calls;
        Ok(())
    }

    async fn settle(&self, charge: Charge) -> Result<Room, StoreError> {
        tokio::task::yield_now().await;
        let room = self.account.lock().unwrap().settle(&charge);
        // done, and not heard of yet
        tokio::task::yield_now().await;
        Ok(room)
    }

    async fn close(&self, _: JobId, id: ReservationId) -> Result<Amount, StoreError> {
        let mut account = self.account.lock().unwrap();
        let lost = account.reserved.remove(&id).unwrap_or_default();
        account.lost.cost += lost.cost;
        account.lost.model_calls += lost.model_calls;
        Ok(lost)
    }

    async fn balance(&self, _: JobId) -> Result<Balance, StoreError> {
        let account = self.account.lock().unwrap();
        Ok(Balance {
            caps: account.caps,
            reserved: account.reserved(),
            spent: vec![(SpendRole::Task, account.spent)],
            lost: account.lost,
        })
    }
}

/// Models that answer when they are let, from a script of outcomes (then with success).
struct Scripted {
    gate: Semaphore,
    outcomes: Mutex<VecDeque<ModelError>>,
    calls: AtomicU32,
    priced: bool,
    /// The worst case is one for each token of the reply, and not that of [`CALL`].
    by_tokens: bool,
}

impl Scripted {
    fn new(open: usize) -> Self {
        Self {
            gate: Semaphore::new(open),
            outcomes: Mutex::default(),
            calls: AtomicU32::new(0),
            priced: true,
            by_tokens: false,
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Models for Scripted {
    async fn complete(&self, _: &ModelRequest) -> Result<ModelReply, ModelError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        if let Some(error) = self.outcomes.lock().unwrap().pop_front() {
            return Err(error);
        }
        Ok(ModelReply {
            text: format!("reply {number}"),
            finish: FinishReason::Length,
            spend: Spend {
                cost: MicroUsd(40),
                model_calls: 1,
                usage: Usage {
                    output_tokens: 3,
                    ..Usage::default()
                },
            },
            attempts: 3,
            unanswered: 0,
            took: Duration::from_millis(70),
            served_by: None,
        })
    }

    fn worst_case(&self, request: &ModelRequest) -> Result<Amount, ModelError> {
        if self.by_tokens {
            Ok(Amount {
                cost: MicroUsd(u64::from(request.max_tokens)),
                model_calls: 1,
            })
        } else if self.priced {
            Ok(CALL)
        } else {
            Err(ModelError::Config {
                entry: request.entry.to_string(),
                message: "no price".into(),
            })
        }
    }
}

fn metered(models: &Arc<Scripted>, memory: &Arc<Memory>) -> Arc<Metered> {
    Arc::new(Metered::new(
        Arc::clone(models) as _,
        Arc::clone(memory) as _,
        Arc::clone(memory) as _,
        MeteredConfig::default(),
    ))
}

fn ask() -> ModelRequest {
    request("openai", "m", &[])
}

#[tokio::test(start_paused = true)]
async fn a_call_is_paid_once_and_a_hit_costs_nothing() {
    let (models, memory) = (Arc::new(Scripted::new(9)), Memory::capped(1000));
    let metered = metered(&models, &memory);
    let first = metered.complete(&ask(), &meter("a", 1)).await.unwrap();
    assert_eq!((first.cache_hit, first.attempts), (false, 3));
    assert_eq!(
        (first.spend.cost, first.full_spend.cost),
        (MicroUsd(40), MicroUsd(40))
    );
    let second = metered.complete(&ask(), &meter("a", 2)).await.unwrap();
    assert!(second.cache_hit);
    assert_eq!(
        (second.text, second.finish),
        (first.text, FinishReason::Length)
    );
    assert_eq!((second.spend, second.attempts), (Spend::default(), 0));
    assert_eq!(second.full_spend.cost, MicroUsd(40));
    // The tries inside the call do not multiply anything.
    assert_eq!((memory.spent(), memory.reserved()), ((40, 1), 0));
}

#[tokio::test(start_paused = true)]
async fn a_hit_says_how_long_the_call_took_without_what_it_waited() {
    let (models, memory) = (Arc::new(Scripted::new(0)), Memory::capped(1000));
    let metered = metered(&models, &memory);
    let (request, first) = (ask(), meter("a", 1));
    let answer = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        models.gate.add_permits(1);
    };
    let (made, ()) = tokio::join!(metered.complete(&request, &first), answer);
    assert_eq!(made.unwrap().full_duration_ms, 70);
    let hit = metered.complete(&request, &meter("a", 2)).await.unwrap();
    assert_eq!((hit.cache_hit, hit.full_duration_ms), (true, 70));
}

#[tokio::test(start_paused = true)]
async fn without_a_look_up_the_cache_is_not_asked() {
    let (models, memory) = (Arc::new(Scripted::new(9)), Memory::capped(1000));
    let meter = Meter {
        look_up: false,
        ..meter("a", 1)
    };
    metered(&models, &memory)
        .complete(&ask(), &meter)
        .await
        .unwrap();
    assert_eq!(memory.look_ups.load(Ordering::SeqCst), 0);
    assert_eq!(memory.steps.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn identical_calls_at_the_same_time_are_one_call() {
    let (models, memory) = (Arc::new(Scripted::new(0)), Memory::capped(1000));
    let metered = metered(&models, &memory);
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let metered = Arc::clone(&metered);
            tokio::spawn(async move { metered.complete(&ask(), &meter("a", 1)).await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    models.gate.add_permits(9);
    let mut hits = 0;
    for call in calls {
        let reply = call.await.unwrap();
        assert_eq!(reply.text, "reply 0");
        hits += u32::from(reply.cache_hit);
    }
    assert_eq!((hits, models.calls()), (9, 1));
    assert_eq!((memory.spent(), memory.reserved()), ((40, 1), 0));
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_gives_its_reservation_back_and_passes_its_turn_on() {
    let (models, memory) = (Arc::new(Scripted::new(9)), Memory::capped(1000));
    models
        .outcomes
        .lock()
        .unwrap()
        .push_back(ModelError::Rejected {
            provider: "p".into(),
            status: 400,
            message: "no".into(),
            unanswered: 0,
        });
    let metered = metered(&models, &memory);
    let (meter, ask) = (meter("a", 1), ask());
    let (first, second) = tokio::join!(
        metered.complete(&ask, &meter),
        metered.complete(&ask, &meter)
    );
    assert!(matches!(
        first,
        Err(MeteredError::Model(ModelError::Rejected { .. }))
    ));
    assert!(!second.unwrap().cache_hit);
    assert_eq!((memory.spent(), memory.reserved()), ((40, 1), 0));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_leaves_its_reservation_for_the_end_of_the_claim() {
    let (models, memory) = (Arc::new(Scripted::new(0)), Memory::capped(1000));
    let metered = metered(&models, &memory);
    let (meter, ask) = (meter("a", 1), ask());
    let cancelled = tokio::time::timeout(Duration::from_secs(1), metered.complete(&ask, &meter));
    assert!(cancelled.await.is_err());
    assert_eq!((memory.spent(), memory.reserved()), ((0, 0), 100));
    models.gate.add_permits(9);
    let again = metered.complete(&ask, &meter).await.unwrap();
    assert!(!again.cache_hit, "the turn is free again");
    let lost = memory.close(JOB, meter.fence.into()).await.unwrap();
    assert_eq!(lost, CALL);
}

#[tokio::test(start_paused = true)]
async fn tries_that_may_have_been_billed_count_as_lost() {
    let (models, memory) = (Arc::new(Scripted::new(9)), Memory::capped(1000));
    models
        .outcomes
        .lock()
        .unwrap()
        .push_back(ModelError::Timeout {
            provider: "p".into(),
            seconds: 120,
            attempts: 4,
            unanswered: 3,
        });
    let metered = metered(&models, &memory);
    metered.complete(&ask(), &meter("a", 1)).await.unwrap_err();
    let balance = memory.balance(JOB).await.unwrap();
    assert_eq!(memory.reserved(), 0);
    assert_eq!(balance.lost.cost, MicroUsd(300));
    assert_eq!(balance.lost.model_calls, 3);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_stored_stays_reserved() {
    let (models, memory) = (Arc::new(Scripted::new(9)), Memory::capped(1000));
    memory.fail_puts.store(1, Ordering::SeqCst);
    let metered = metered(&models, &memory);
    let error = metered.complete(&ask(), &meter("a", 1)).await.unwrap_err();
    assert!(matches!(
        error,
        MeteredError::Store(StoreError::Unavailable { .. })
    ));
    assert_eq!((memory.spent(), memory.reserved()), ((0, 0), 100));
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_room_in_the_budget_and_the_cap_holds() {
    // Each call reserves 100 and costs 40: under 250, two fit at once, and four in all (40 * 4 + 100 > 250).
    let (models, memory) = (Arc::new(Scripted::new(99)), Memory::capped(250));
    let metered = metered(&models, &memory);
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let metered = Arc::clone(&metered);
            let meter = meter(&n.to_string(), 1);
            tokio::spawn(async move { metered.complete(&ask(), &meter).await })
        })
        .collect();
    let mut made = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => made += 1,
            Err(MeteredError::Budget(LedgerError::Exhausted { may_fit_later, .. })) => {
                assert!(!may_fit_later);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(made, 4);
    assert_eq!((memory.spent(), memory.reserved()), ((160, 4), 0));
}

#[tokio::test(start_paused = true)]
async fn a_settled_call_wakes_one_that_waits_at_once() {
    let (models, memory) = (Arc::new(Scripted::new(0)), Memory::capped(150));
    let metered = metered(&models, &memory);
    let first = tokio::spawn({
        let metered = Arc::clone(&metered);
        async move { metered.complete(&ask(), &meter("a", 1)).await.map(drop) }
    });
    tokio::task::yield_now().await;
    let (meter, ask) = (meter("b", 1), ask());
    let mut second = Box::pin(metered.complete(&ask, &meter));
    assert!(second.as_mut().now_or_never().is_none());
    models.gate.add_permits(9);
    let started = Instant::now();
    let (first, second) = tokio::join!(first, second);
    first.unwrap().unwrap();
    second.unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(25),
        "no poll was needed"
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_ends() {
    let (models, memory) = (Arc::new(Scripted::new(0)), Memory::capped(150));
    let metered = metered(&models, &memory);
    // Somebody else's reservation that is never settled.
    let other = ReservationId {
        task: TaskId(ContentHash::of(b"other")),
        epoch: 1,
    };
    memory.reserve(JOB, other, CALL).await.unwrap();
    let started = Instant::now();
    let error = metered.complete(&ask(), &meter("a", 1)).await.unwrap_err();
    assert!(matches!(
        error,
        MeteredError::Budget(LedgerError::Exhausted {
            may_fit_later: true,
            ..
        })
    ));
    assert!(started.elapsed() >= MeteredConfig::default().budget_wait);
}

#[tokio::test(start_paused = true)]
async fn a_claim_does_not_wait_for_what_its_own_cancelled_calls_hold() {
    let (models, memory) = (Arc::new(Scripted::new(0)), Memory::capped(150));
    let metered = metered(&models, &memory);
    let ask = ask();
    let first = meter("a", 1);
    let cancelled = tokio::time::timeout(Duration::from_secs(1), metered.complete(&ask, &first));
    assert!(cancelled.await.is_err());
    let started = Instant::now();
    let error = metered.complete(&ask, &meter("b", 1)).await.unwrap_err();
    assert!(matches!(
        error,
        MeteredError::Budget(LedgerError::Exhausted {
            may_fit_later: false,
            ..
        })
    ));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_is_refused_only_under_a_cap_in_dollars() {
    let models = Arc::new(Scripted {
        priced: false,
        ..Scripted::new(9)
    });
    let capped = Memory::capped(1000);
    let error = metered(&models, &capped)
        .complete(&ask(), &meter("a", 1))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        MeteredError::Model(ModelError::Config { .. })
    ));
    assert_eq!(models.calls(), 0);
    let free = Arc::new(Memory::default());
    metered(&models, &free)
        .complete(&ask(), &meter("a", 1))
        .await
        .unwrap();
    assert_eq!(free.spent().1, 1);
}

#[tokio::test]
async fn a_storm_of_tries_is_one_call_in_the_ledger_and_the_cache() {
    let world = serde_json::json!({"default_answer": "done", "faults": [
        {"first": 3, "fault": {"kind": "status", "status": 429, "retry_after_s": 0}}
    ]});
    let world = fapo_sim::World::load(&world.to_string()).unwrap();
    let sim = fapo_sim::SimServer::start(world, ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let models = crate::ProviderModels::new(Arc::new(|_| None), crate::PriceTable::builtin());
    let memory = Memory::capped(1_000_000);
    let metered = Metered::new(
        Arc::new(models),
        Arc::clone(&memory) as _,
        Arc::clone(&memory) as _,
        MeteredConfig::default(),
    );
    let mut ask = request(
        "openai",
        "gpt-4.1",
        &[(fapo_domain::ports::models::ChatRole::User, "x")],
    );
    Arc::make_mut(&mut ask.spec).base_url = Some(sim.base_url());
    let reply = metered.complete(&ask, &meter("a", 1)).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.attempts), ("done", 4));
    let again = metered.complete(&ask, &meter("a", 1)).await.unwrap();
    assert!(again.cache_hit);
    assert_eq!(memory.spent(), (reply.spend.cost.0, 1));
    assert_eq!(memory.reserved(), 0);
    let stats = sim.stats();
    assert_eq!((stats.requests, stats.answered, stats.repeated), (4, 1, 0));
}
