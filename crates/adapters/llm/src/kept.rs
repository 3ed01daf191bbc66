//! What answered calls left reserved for the next calls of their claims.
//!
//! The ledger's rows hold the truth: whatever stands here is reserved there. An amount is in one place at a time, with the
//! claim or with whoever took it; one that was taken and not used goes back to the claim, also when a future is dropped.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fapo_domain::ids::JobId;
use fapo_domain::money::{MicroUsd, Spend, SpendRole};
use fapo_domain::ports::ledger::{Amount, Charge, ReservationId};

/// Kept amounts by claim.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<HashMap<ReservationId, (JobId, Amount)>>);

impl Kept {
    /// Adds to what a claim keeps.
    pub(crate) fn put(&self, job: JobId, id: ReservationId, amount: Amount) {
        if amount == Amount::default() {
            return;
        }
        let mut kept = self.lock();
        let (_, sum) = kept.entry(id).or_insert_with(|| (job, Amount::default()));
        sum.cost += amount.cost;
        sum.model_calls += amount.model_calls;
    }

    /// Takes up to `amount` of what a claim keeps.
    pub(crate) fn take(&self, job: JobId, id: ReservationId, amount: Amount) -> Taken<'_> {
        let mut kept = self.lock();
        let mut covered = Amount::default();
        if let Some((_, sum)) = kept.get_mut(&id) {
            covered.cost = sum.cost.min(amount.cost);
            covered.model_calls = sum.model_calls.min(amount.model_calls);
            sum.cost = MicroUsd(sum.cost.0 - covered.cost.0);
            sum.model_calls -= covered.model_calls;
            if *sum == Amount::default() {
                kept.remove(&id);
            }
        }
        Taken {
            kept: self,
            job,
            id,
            wanted: amount,
            covered,
        }
    }

    /// Takes all that a claim keeps.
    pub(crate) fn take_claim(&self, job: JobId, id: ReservationId) -> Option<Taken<'_>> {
        let (_, amount) = self.lock().remove(&id)?;
        Some(Taken {
            kept: self,
            job,
            id,
            wanted: amount,
            covered: amount,
        })
    }

    /// Takes all that the claims of a job keep.
    pub(crate) fn take_all(&self, job: JobId) -> Vec<Taken<'_>> {
        let mut kept = self.lock();
        let claims: Vec<ReservationId> = kept
            .iter()
            .filter(|(_, (of, _))| *of == job)
            .map(|(id, _)| *id)
            .collect();
        let all = claims
            .into_iter()
            .filter_map(|id| Some((id, kept.remove(&id)?.1)));
        all.map(|(id, amount)| Taken {
            kept: self,
            job,
            id,
            wanted: amount,
            covered: amount,
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ReservationId, (JobId, Amount)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An amount on its way from a claim's kept room to a call or back to the budget. Dropped unused, it returns to the claim.
#[derive(Debug)]
pub(crate) struct Taken<'k> {
    kept: &'k Kept,
    job: JobId,
    id: ReservationId,
    wanted: Amount,
    covered: Amount,
}

impl Taken<'_> {
    /// What is still to be reserved, if anything is.
    pub(crate) fn rest(&self) -> Option<Amount> {
        let rest = Amount {
            cost: MicroUsd(self.wanted.cost.0 - self.covered.cost.0),
            model_calls: self.wanted.model_calls - self.covered.model_calls,
        };
        (self.covered == Amount::default() || rest != Amount::default()).then_some(rest)
    }

    /// The charge that gives it back to the budget.
    pub(crate) fn charge(&self) -> Charge {
        Charge {
            job: self.job,
            reservation: self.id,
            role: SpendRole::Task,
            release: self.covered,
            spent: Spend::default(),
            lost: Amount::default(),
            keep: false,
        }
    }

    /// It is a call's now, or the budget's.
    pub(crate) fn use_up(mut self) {
        self.covered = Amount::default();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.kept.put(self.job, self.id, self.covered);
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::ContentHash;
    use fapo_domain::ids::TaskId;

    use super::*;

    const JOB: JobId = JobId(uuid::Uuid::nil());

    fn claim(epoch: u64) -> ReservationId {
        ReservationId {
            task: TaskId(ContentHash::of(b"task")),
            epoch,
        }
    }

    const fn amount(cost: u64, model_calls: u64) -> Amount {
        Amount {
            cost: MicroUsd(cost),
            model_calls,
        }
    }

    #[test]
    fn a_call_takes_what_its_claim_keeps_and_reserves_the_rest() {
        let kept = Kept::default();
        kept.put(JOB, claim(1), amount(30, 1));
        // another claim's is not its own
        assert_eq!(
            kept.take(JOB, claim(2), amount(10, 1)).rest(),
            Some(amount(10, 1))
        );
        let dearer = kept.take(JOB, claim(1), amount(50, 1));
        assert_eq!(dearer.rest(), Some(amount(20, 0)));
        dearer.use_up();
        assert_eq!(
            kept.take(JOB, claim(1), amount(5, 1)).rest(),
            Some(amount(5, 1))
        );
        kept.put(JOB, claim(1), amount(30, 2));
        let cheaper = kept.take(JOB, claim(1), amount(10, 1));
        assert_eq!(cheaper.rest(), None);
        cheaper.use_up();
        let left = kept.take_claim(JOB, claim(1)).unwrap();
        assert_eq!(left.charge().release, amount(20, 1));
    }

    #[test]
    fn what_is_taken_and_not_used_goes_back() {
        let kept = Kept::default();
        kept.put(JOB, claim(1), amount(30, 1));
        drop(kept.take(JOB, claim(1), amount(50, 1)));
        drop(kept.take_all(JOB));
        let all = kept.take_all(JOB);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].charge().release, amount(30, 1));
        for taken in all {
            taken.use_up();
        }
        assert!(kept.take_claim(JOB, claim(1)).is_none());
    }

    #[test]
    fn a_call_that_costs_nothing_still_asks_the_ledger_unless_something_is_kept() {
        // a model without a price and a job without a cap: the call itself is counted
        let kept = Kept::default();
        assert_eq!(
            kept.take(JOB, claim(1), Amount::default()).rest(),
            Some(Amount::default())
        );
    }
}
