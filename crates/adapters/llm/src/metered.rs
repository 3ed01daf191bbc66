//! Calls that are cached and paid for: look up, reserve the worst case, call, then store the reply and settle its charge
//! in one commit.
//!
//! A claim that makes many calls ([`Meter::more`]) keeps what one call reserved for the next one, in the same commit and
//! under the same caps: of the two commits a call would take, one is left. What is kept is given back when the claim has
//! made its calls, and at once when it stands in another call's way.
//!
//! What a failure leaves behind: a call that the provider answered with an error gives its reservation back. Tries that ran
//! out of time, or brought half a reply or something that is none, may have been billed: each counts as lost at its worst case. A call
//! that is *cancelled* (its future dropped), or whose reply could not be stored, leaves its reservation: the provider may have
//! billed it, so it stays counted until the task's claim ends and it counts as lost. Tries are not reserved for one by
//! one: mostly one of a call's tries is billed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::ids::JobId;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{CacheEntry, CachedStep, FinishReason, StepOutput};
use fapo_domain::money::{MicroUsd, Spend};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::ledger::{Amount, Charge, Ledger, LedgerError, ReservationId, Room};
use fapo_domain::ports::models::{
    Meter, MeteredError, MeteredModels, MeteredReply, ModelError, ModelReply, ModelRequest, Models,
    Waits,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::flight::Flights;
use crate::kept::{Kept, Taken};
use crate::observe;

/// Waits of metered calls.
#[derive(Debug, Clone, Copy)]
pub struct MeteredConfig {
    /// How long a call waits, in all, for other reservations to make room in the budget.
    pub budget_wait: Duration,
    /// The first wait before asking the ledger again; it doubles up to two seconds. A call of this process that is settled
    /// ends the wait early.
    pub budget_poll: Duration,
}

impl Default for MeteredConfig {
    fn default() -> Self {
        Self {
            budget_wait: Duration::from_secs(300),
            budget_poll: Duration::from_millis(25),
        }
    }
}

const LONGEST_POLL: Duration = Duration::from_secs(2);
/// How long it is remembered whether a job has a cap in dollars (asked only for models without a price).
const CAP_MEMORY: Duration = Duration::from_secs(1);
/// Reservations with cancelled calls that are remembered; they end with their claims, which this side does not see.
const MOST_ABANDONED: usize = 4096;

/// The implementation of [`MeteredModels`] over models, step cache and ledger.
pub struct Metered {
    models: Arc<dyn Models>,
    cache: Arc<dyn StepCache>,
    ledger: Arc<dyn Ledger>,
    config: MeteredConfig,
    flights: Flights<CachedStep>,
    /// A call of this process was settled.
    settled: Notify,
    /// Calls that wait for room in a budget: while there are any, nothing is kept.
    waiting: AtomicUsize,
    kept: Kept,
    /// What cancelled calls left reserved, by claim.
    abandoned: Mutex<HashMap<ReservationId, Amount>>,
    /// The job that was asked about last, whether it has a cap in dollars, and when that was.
    capped: Mutex<Option<(JobId, bool, Instant)>>,
}

impl Metered {
    /// Metered calls over these ports.
    pub fn new(
        models: Arc<dyn Models>,
        cache: Arc<dyn StepCache>,
        ledger: Arc<dyn Ledger>,
        config: MeteredConfig,
    ) -> Self {
        Self {
            models,
            cache,
            ledger,
            config,
            flights: Flights::default(),
            settled: Notify::new(),
            waiting: AtomicUsize::new(0),
            kept: Kept::default(),
            abandoned: Mutex::default(),
            capped: Mutex::default(),
        }
    }

    /// The most the call can cost. A model without a price is refused only where the job has a cap in dollars.
    async fn worst_case(
        &self,
        request: &ModelRequest,
        meter: &Meter,
    ) -> Result<Amount, MeteredError> {
        let error = match self.models.worst_case(request) {
            Ok(amount) => return Ok(amount),
            Err(error) => error,
        };
        if !matches!(error, ModelError::Config { .. }) || self.has_cost_cap(meter.job).await? {
            return Err(error.into());
        }
        Ok(Amount {
            cost: MicroUsd::ZERO,
            model_calls: 1,
        })
    }

    async fn has_cost_cap(&self, job: JobId) -> Result<bool, MeteredError> {
        const POISON: &str = "nothing panics while the remembered cap is held";
        let remembered = *self.capped.lock().expect(POISON);
        if let Some((of, capped, at)) = remembered
            && of == job
            && at.elapsed() < CAP_MEMORY
        {
            return Ok(capped);
        }
        let capped = self.ledger.balance(job).await?.caps.cost.is_some();
        *self.capped.lock().expect(POISON) = Some((job, capped, Instant::now()));
        Ok(capped)
    }

    /// Reserves: from what the claim kept, then from the budget, waiting while other reservations may still make room.
    async fn reserve(
        &self,
        meter: &Meter,
        amount: Amount,
        waits: &Waits,
    ) -> Result<(), MeteredError> {
        let id = ReservationId::from(meter.fence);
        let taken = self.kept.take(meter.job, id, amount);
        let rest = match taken.rest() {
            Some(rest) => self.ledger.reserve(meter.job, id, rest).await,
            None => Ok(()),
        };
        match rest {
            Ok(()) => {
                taken.use_up();
                return Ok(());
            }
            Err(LedgerError::Store(error)) => return Err(error.into()),
            // What was taken goes back, to be given back with all that is kept, and the call asks for the whole: only then
            // does the ledger know what may fit.
            Err(LedgerError::Exhausted { .. }) => drop(taken),
        }
        self.reserve_waiting(meter, amount, waits).await
    }

    /// Reserves the whole amount, giving back what the job's claims keep, and waiting while others may make room.
    async fn reserve_waiting(
        &self,
        meter: &Meter,
        amount: Amount,
        waits: &Waits,
    ) -> Result<(), MeteredError> {
        let id = ReservationId::from(meter.fence);
        let _waiting = Waiting::enter(&self.waiting);
        let deadline = Instant::now() + self.config.budget_wait;
        let mut poll = self.config.budget_poll;
        loop {
            self.give_back(self.kept.take_all(meter.job)).await?;
            let what = match self.ledger.reserve(meter.job, id, amount).await {
                Ok(()) => return Ok(()),
                Err(LedgerError::Exhausted {
                    what,
                    may_fit_later: true,
                }) => what,
                Err(LedgerError::Store(error)) => return Err(error.into()),
                Err(error) => return Err(MeteredError::Budget(error)),
            };
            // What this claim's own cancelled calls hold is not given back while the claim lasts.
            let hopeless = match self.abandoned(id) {
                Some(lost) => {
                    let reserved = self.ledger.balance(meter.job).await?.reserved;
                    reserved.cost <= lost.cost && reserved.model_calls <= lost.model_calls
                }
                None => false,
            };
            if hopeless || Instant::now() >= deadline {
                return Err(MeteredError::Budget(LedgerError::Exhausted {
                    what,
                    may_fit_later: !hopeless,
                }));
            }
            let room = self.settled.notified();
            let next = deadline.min(Instant::now() + poll);
            if waits
                .during(tokio::time::timeout_at(next, room))
                .await
                .is_err()
            {
                poll = (poll * 2).min(LONGEST_POLL);
            }
        }
    }

    fn abandoned(&self, id: ReservationId) -> Option<Amount> {
        self.abandoned
            .lock()
            .expect("nothing panics while the abandoned amounts are held")
            .get(&id)
            .copied()
    }

    fn charge(&self, meter: &Meter, release: Amount, spent: Spend, unanswered: u32) -> Charge {
        let tries = u64::from(unanswered);
        Charge {
            lost: Amount {
                cost: MicroUsd(release.cost.0.saturating_mul(tries)),
                model_calls: release.model_calls.saturating_mul(tries),
            },
            job: meter.job,
            reservation: meter.fence.into(),
            role: meter.role,
            release,
            spent,
            // with somebody waiting for room, they come first
            keep: meter.more && self.waiting.load(Ordering::Relaxed) == 0,
        }
    }

    /// Gives kept room back to its budget.
    async fn give_back(&self, all: Vec<Taken<'_>>) -> Result<(), StoreError> {
        for taken in all {
            let charge = taken.charge();
            // Before the ledger is told: should this future be dropped, or the store fail, meanwhile, nobody can say whether
            // the room is still reserved. It must not be used then; at worst it counts as lost when the claim ends.
            taken.use_up();
            self.ledger.settle(charge).await?;
            self.settled.notify_one();
        }
        Ok(())
    }
}

/// Counts a call among those that wait for room, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes what a call leaves reserved when it does not come to its end.
struct Reserved<'a> {
    metered: &'a Metered,
    id: ReservationId,
    amount: Amount,
    settled: bool,
}

impl Reserved<'_> {
    fn settled(mut self, job: JobId, room: Room) {
        self.settled = true;
        if room == Room::Kept {
            self.metered.kept.put(job, self.id, self.amount);
        }
        self.metered.settled.notify_one();
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut abandoned = self
            .metered
            .abandoned
            .lock()
            .expect("nothing panics while the abandoned amounts are held");
        if abandoned.len() >= MOST_ABANDONED {
            abandoned.clear();
        }
        let sum = abandoned.entry(self.id).or_default();
        sum.cost += self.amount.cost;
        sum.model_calls += self.amount.model_calls;
    }
}

/// A reply that cost nothing now.
fn hit(step: &CachedStep) -> MeteredReply {
    MeteredReply {
        text: step.output.text.clone(),
        finish: step.finish.unwrap_or(FinishReason::Other),
        spend: Spend::default(),
        full_spend: step.spend,
        full_duration_ms: step.duration_ms,
        cache_hit: true,
        attempts: 0,
    }
}

fn remember(reply: &ModelReply, duration_ms: u32) -> CachedStep {
    CachedStep {
        output: StepOutput {
            text: reply.text.clone(),
            ..StepOutput::default()
        },
        finish: Some(reply.finish),
        spend: reply.spend,
        duration_ms,
    }
}

#[async_trait]
impl MeteredModels for Metered {
    async fn complete(
        &self,
        request: &ModelRequest,
        meter: &Meter,
    ) -> Result<MeteredReply, MeteredError> {
        let turn = request.waits.during(self.flights.enter(meter.key)).await;
        if let Some(step) = turn.result() {
            observe::looked_up(true);
            return Ok(hit(step));
        }
        if meter.look_up
            && let Some(step) = self.cache.get_step(meter.key, meter.fingerprint).await?
        {
            observe::looked_up(true);
            let reply = hit(&step);
            turn.finish(|| step);
            return Ok(reply);
        }
        observe::looked_up(false);
        let amount = self.worst_case(request, meter).await?;
        self.reserve(meter, amount, &request.waits)
            .await
            .inspect_err(|error| {
                if matches!(error, MeteredError::Budget(_)) {
                    observe::no_room(meter.role);
                }
            })?;
        let reserved = Reserved {
            metered: self,
            id: meter.fence.into(),
            amount,
            settled: false,
        };
        let reply = match self.models.complete(request).await {
            Ok(reply) => reply,
            Err(error) => {
                let charge = self.charge(meter, amount, Spend::default(), error.unanswered());
                let room = self.ledger.settle(charge).await?;
                reserved.settled(meter.job, room);
                return Err(error.into());
            }
        };
        let duration_ms = u32::try_from(reply.took.as_millis()).unwrap_or(u32::MAX);
        let entry = CacheEntry {
            key: meter.key,
            fingerprint: meter.fingerprint,
            step: remember(&reply, duration_ms),
        };
        let charge = self.charge(meter, amount, reply.spend, reply.unanswered);
        let room = self.cache.put_step(entry, Some(charge)).await?;
        observe::booked(meter.role, &request.spec.model, &reply.spend);
        reserved.settled(meter.job, room);
        turn.finish(|| remember(&reply, duration_ms));
        Ok(MeteredReply {
            text: reply.text,
            finish: reply.finish,
            spend: reply.spend,
            full_spend: reply.spend,
            full_duration_ms: duration_ms,
            cache_hit: false,
            attempts: reply.attempts,
        })
    }

    async fn release(&self, job: JobId, fence: Fence) -> Result<(), StoreError> {
        let taken = self.kept.take_claim(job, fence.into());
        self.give_back(taken.into_iter().collect()).await
    }
}

#[cfg(test)]
mod tests;
