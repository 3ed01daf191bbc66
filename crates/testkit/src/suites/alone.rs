//! What every [`fapo_domain::ports::tasks::Tasks`] must do that one process has to itself. A store that processes share refuses
//! to release leases, so this suite is not for it.

use anyhow::{Result, ensure};
use fapo_domain::clock::Clock;
use fapo_domain::model::task::TaskState;
use fapo_domain::ports::StoreError;
use serde_json::json;

use super::Ports;
use super::tasks::{LEASE, claim, with_tasks};

/// A process that starts alone takes over at once what its dead predecessor held.
pub async fn released_leases_can_be_claimed_at_once_and_fence_the_old_owner(
    ports: &Ports,
) -> Result<()> {
    ensure!(ports.tasks.release_leases().await? == 0);
    let job = with_tasks(ports, 1, 2).await?;
    let old = claim(ports, job, 0).await?;
    ensure!(ports.tasks.release_leases().await? == 1);
    ensure!(ports.tasks.release_leases().await? == 0);
    ensure!(ports.tasks.due_tasks(10).await?.len() == 2);
    let late = ports.tasks.complete_task(old, json!(1)).await;
    ensure!(matches!(late, Err(StoreError::StaleLease { .. })));
    let new = claim(ports, job, 0).await?;
    ensure!(new.epoch > old.epoch);
    let late = ports.tasks.renew_task(old, LEASE).await;
    ensure!(matches!(late, Err(StoreError::StaleLease { .. })));
    Ok(())
}

/// Nobody is to blame for a claim whose owner died with the process.
pub async fn released_claims_do_not_count_as_attempts(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let now = ports.clock.now();
    for _ in 0..3 {
        claim(ports, job, 0).await?;
        ports.tasks.release_leases().await?;
    }
    for expected in [TaskState::Queued, TaskState::Dead] {
        let fence = claim(ports, job, 0).await?;
        let state = ports.tasks.fail_task(fence, "no luck", now, 2).await?;
        ensure!(state == expected, "{state:?}");
    }
    Ok(())
}
