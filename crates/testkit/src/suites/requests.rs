//! What every [`fapo_domain::ports::access::Requests`] must do.

use anyhow::{Result, ensure};
use fapo_domain::JobId;
use fapo_domain::clock::Timestamp;
use fapo_domain::ports::StoreError;
use futures::future::try_join_all;

use super::Ports;
use crate::sample;

async fn bind(
    ports: &Ports,
    project: &str,
    key: &str,
    asked: &str,
    job: JobId,
) -> Result<JobId, StoreError> {
    let fingerprint = sample::hash(asked);
    ports
        .requests
        .bind_request(project, key, fingerprint, job, Timestamp(1))
        .await
}

/// Whichever job it would have made.
pub async fn a_repeated_request_gets_the_first_job(ports: &Ports) -> Result<()> {
    let (first, second) = (sample::job_id(1), sample::job_id(2));
    ensure!(bind(ports, "qa", "key", "asked", first).await? == first);
    ensure!(bind(ports, "qa", "key", "asked", second).await? == first);
    ensure!(bind(ports, "qa", "other key", "asked", second).await? == second);
    Ok(())
}

/// A key says that the request is the same; where it is not, the client has a bug.
pub async fn a_key_with_another_request_is_refused(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    bind(ports, "qa", "key", "asked", job).await?;
    let refused = bind(ports, "qa", "key", "something else", job).await;
    ensure!(matches!(refused, Err(StoreError::AlreadyExists { .. })));
    ensure!(bind(ports, "qa", "key", "asked", sample::job_id(2)).await? == job);
    Ok(())
}

/// Nobody can learn of, or take, another project's keys.
pub async fn keys_of_projects_do_not_mix(ports: &Ports) -> Result<()> {
    let (mine, theirs) = (sample::job_id(1), sample::job_id(2));
    ensure!(bind(ports, "mine", "key", "asked", mine).await? == mine);
    ensure!(bind(ports, "theirs", "key", "something else", theirs).await? == theirs);
    Ok(())
}

/// A client that sends twice without waiting.
pub async fn of_many_callers_all_get_the_same_job(ports: &Ports) -> Result<()> {
    for round in 0..8 {
        let key = format!("key {round}");
        let bound = try_join_all(
            (0..8).map(|number| bind(ports, "qa", &key, "asked", sample::job_id(number))),
        )
        .await?;
        ensure!(bound.iter().all(|job| *job == bound[0]), "{bound:?}");
    }
    Ok(())
}
