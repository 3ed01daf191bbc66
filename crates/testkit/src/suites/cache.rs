//! What every [`fapo_domain::ports::cache::StepCache`] must do.

use anyhow::{Result, ensure};
use fapo_domain::model::trace::{CacheEntry, CachedStep};
use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Caps, Charge, ReservationId};
use fapo_domain::{MicroUsd, StepFingerprint, StepKey};
use futures::future::{join_all, try_join_all};

use super::Ports;
use crate::sample::{self, cache_entry};

async fn look_up(ports: &Ports, entry: &CacheEntry) -> Result<Option<CachedStep>, StoreError> {
    ports.cache.get_step(entry.key, entry.fingerprint).await
}

/// Short and long.
pub async fn a_step_comes_back_as_it_was_stored(ports: &Ports) -> Result<()> {
    let mut long = cache_entry(2);
    long.step.output = sample::output(&"a long reply, ü; ".repeat(300));
    long.step.output.json = Some(serde_json::json!({ "b": 1, "a": [0.1, null] }));
    for entry in [cache_entry(1), long] {
        ensure!(look_up(ports, &entry).await?.is_none());
        ports.cache.put_step(entry.clone(), None).await?;
        ensure!(look_up(ports, &entry).await? == Some(entry.step));
    }
    Ok(())
}

/// A call that was made twice was billed twice.
pub async fn the_first_result_under_a_key_stays_and_every_charge_is_settled(
    ports: &Ports,
) -> Result<()> {
    let job = sample::job_id(1);
    let reservation = ReservationId {
        task: sample::task_id(job, 1),
        epoch: 1,
    };
    let worst = Amount {
        cost: MicroUsd(100),
        model_calls: 1,
    };
    let charge = Charge {
        job,
        reservation,
        role: SpendRole::Task,
        release: worst,
        spent: sample::spend(40),
        lost: Amount::default(),
        keep: false,
    };
    // no account: neither stored nor charged
    let refused = ports.cache.put_step(cache_entry(0), Some(charge)).await;
    ensure!(matches!(refused, Err(StoreError::NotFound { .. })));
    ensure!(look_up(ports, &cache_entry(0)).await?.is_none());

    ports.ledger.open_account(job, Caps::default()).await?;
    for text in ["first", "second"] {
        ports.ledger.reserve(job, reservation, worst).await?;
        let mut entry = cache_entry(1);
        entry.step.output = sample::output(text);
        ports.cache.put_step(entry, Some(charge)).await?;
    }
    let step = look_up(ports, &cache_entry(1)).await?;
    ensure!(step.is_some_and(|step| step.output.text == "first"));
    let balance = ports.ledger.balance(job).await?;
    ensure!(balance.reserved == Amount::default());
    ensure!(balance.spent == [(SpendRole::Task, sample::spend(40) + sample::spend(40))]);
    Ok(())
}

/// Before that, a caller may skip its look-ups.
pub async fn a_fingerprint_is_known_once_something_is_stored(ports: &Ports) -> Result<()> {
    let entry = cache_entry(1);
    let other = StepFingerprint(sample::hash("other"));
    ensure!(!ports.cache.has_any(entry.fingerprint).await?);
    ports.cache.put_step(entry.clone(), None).await?;
    ensure!(ports.cache.has_any(entry.fingerprint).await?);
    ensure!(!ports.cache.has_any(other).await?);
    Ok(())
}

/// Joined calls must not mix up their answers.
pub async fn many_at_once_each_get_their_own(ports: &Ports) -> Result<()> {
    for round in 0..4 {
        let entries: Vec<_> = (0..200).map(|n| cache_entry(round * 100 + n)).collect();
        try_join_all(
            entries
                .iter()
                .map(|entry| ports.cache.put_step(entry.clone(), None)),
        )
        .await?;
        let got = join_all(entries.iter().map(|entry| look_up(ports, entry))).await;
        for (got, entry) in got.into_iter().zip(&entries) {
            ensure!(got?.as_ref() == Some(&entry.step));
        }
        let fingerprint = cache_entry(0).fingerprint;
        let absent = (0..50).map(|n| StepKey(sample::hash(&format!("absent {n}"))));
        let got = try_join_all(absent.map(|key| ports.cache.get_step(key, fingerprint))).await?;
        ensure!(got.iter().all(Option::is_none));
    }
    Ok(())
}
