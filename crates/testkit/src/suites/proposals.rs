//! What every [`fapo_domain::ports::jobs::Proposals`] must do.

use anyhow::{Result, ensure};
use fapo_domain::ports::StoreError;
use serde_json::json;

use super::Ports;
use super::tasks::{LEASE, claim, with_tasks};
use crate::sample;

/// A task claimed again answers as it did before.
pub async fn the_first_proposal_under_a_task_stays(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 2).await?;
    let first = claim(ports, job, 0).await?;
    ensure!(ports.proposals.proposal(first.task).await?.is_none());
    let body = json!({ "asked": { "level": "prompt" }, "transcript": "words ".repeat(300) });
    ports.proposals.record_proposal(first, body.clone()).await?;
    ports.clock.advance(LEASE);
    let second = claim(ports, job, 0).await?;
    ports
        .proposals
        .record_proposal(second, json!("other"))
        .await?;
    ensure!(ports.proposals.proposal(first.task).await? == Some(body));
    ensure!(
        ports
            .proposals
            .proposal(sample::task_id(job, 1))
            .await?
            .is_none()
    );
    Ok(())
}

/// As everywhere.
pub async fn a_stale_fence_stores_no_proposal(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let stale = claim(ports, job, 0).await?;
    ports.clock.advance(LEASE);
    claim(ports, job, 0).await?;
    let refused = ports.proposals.record_proposal(stale, json!(1)).await;
    ensure!(matches!(refused, Err(StoreError::StaleLease { .. })));
    ensure!(ports.proposals.proposal(stale.task).await?.is_none());
    Ok(())
}
