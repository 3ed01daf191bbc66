//! What every [`fapo_domain::ports::tasks::Tasks`] must do.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fapo_domain::JobId;
use fapo_domain::clock::Clock;
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::task::{Fence, TaskState, Topic};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Tick;
use fapo_domain::ports::tasks::Claim;
use futures::future::join_all;
use serde_json::json;

use super::Ports;
use super::jobs::tick;
use crate::sample;

pub(super) const LEASE: Duration = Duration::from_secs(60);

/// A new job, by number.
pub(super) async fn created(ports: &Ports, number: u8) -> Result<JobId> {
    let job = sample::job_id(number);
    ports
        .jobs
        .create_job(
            job,
            sample::job_spec("p"),
            json!({}),
            ports.clock.now(),
            None,
        )
        .await?;
    Ok(job)
}

/// A job at version 1 with so many tasks.
pub(super) async fn with_tasks(ports: &Ports, number: u8, tasks: u32) -> Result<JobId> {
    let job = created(ports, number).await?;
    let first = Tick {
        tasks: (0..tasks).map(|n| sample::new_task(job, n)).collect(),
        ..tick(job, 0)
    };
    ports.jobs.commit_tick(first).await?;
    Ok(job)
}

/// Claims a task that can be claimed.
pub(super) async fn claim(ports: &Ports, job: JobId, number: u32) -> Result<Fence> {
    let id = sample::task_id(job, number);
    match ports.tasks.claim_task(id, "worker", LEASE).await? {
        Claim::Claimed(task) => Ok(task.fence()),
        other => bail!("task {number} cannot be claimed: {other:?}"),
    }
}

/// To the millisecond.
pub async fn a_claimed_task_is_held_until_its_lease_ends(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let id = sample::task_id(job, 0);
    let Claim::Claimed(task) = ports.tasks.claim_task(id, "a", LEASE).await? else {
        bail!("a queued task can be claimed");
    };
    ensure!((task.id, task.job, task.epoch) == (id, job, 1));
    ensure!(task.payload == sample::new_task(job, 0).payload);
    ensure!(task.lease_until == ports.clock.now().plus(LEASE));
    ports.clock.advance(LEASE - Duration::from_millis(1));
    let held = ports.tasks.claim_task(id, "b", LEASE).await?;
    ensure!(held == Claim::Held(task.lease_until));
    let renewed = ports.tasks.renew_task(task.fence(), LEASE).await?;
    ensure!(renewed == ports.clock.now().plus(LEASE));
    ports.clock.advance(LEASE - Duration::from_millis(1));
    ensure!(ports.tasks.claim_task(id, "b", LEASE).await? == Claim::Held(renewed));
    ports.clock.advance(Duration::from_millis(1));
    ensure!(claim(ports, job, 0).await?.epoch == 2);
    Ok(())
}

/// Of any number at the same moment.
pub async fn of_many_claimers_one_succeeds(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 8).await?;
    for number in 0..8 {
        let id = sample::task_id(job, number);
        let claims = join_all((0..8).map(|_| ports.tasks.claim_task(id, "w", LEASE))).await;
        let mut won = 0;
        for claim in claims {
            match claim? {
                Claim::Claimed(_) => won += 1,
                Claim::Held(_) => {}
                other => bail!("{other:?}"),
            }
        }
        ensure!(won == 1, "{won} claimers won");
    }
    Ok(())
}

/// Every write of an earlier epoch is refused.
pub async fn a_stale_claim_can_write_nothing(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let stale = claim(ports, job, 0).await?;
    ports.clock.advance(LEASE);
    // late, but nobody else has it
    ports.tasks.renew_task(stale, LEASE).await?;
    ports.clock.advance(LEASE);
    let live = claim(ports, job, 0).await?;
    ensure!(live.epoch == stale.epoch + 1);
    let now = ports.clock.now();
    let is_stale = |result: Result<(), StoreError>| matches!(result, Err(StoreError::StaleLease { task }) if task == stale.task);
    ensure!(is_stale(
        ports.tasks.renew_task(stale, LEASE).await.map(|_| ())
    ));
    ensure!(is_stale(ports.tasks.complete_task(stale, json!(1)).await));
    ensure!(is_stale(
        ports.tasks.fail_task(stale, "x", now, 9).await.map(|_| ())
    ));
    ensure!(is_stale(ports.tasks.kill_task(stale, "x").await));
    ensure!(ports.tasks.finished_tasks(job, 10).await?.is_empty());
    ports.tasks.complete_task(live, json!(2)).await?;
    ensure!(ports.tasks.finished_tasks(job, 10).await?[0].result == Some(json!(2)));
    Ok(())
}

/// The first result stays.
pub async fn completing_twice_is_harmless(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let fence = claim(ports, job, 0).await?;
    ports.tasks.complete_task(fence, json!({ "n": 1 })).await?;
    ports.tasks.complete_task(fence, json!({ "n": 2 })).await?;
    let finished = ports.tasks.finished_tasks(job, 10).await?;
    ensure!(finished.len() == 1 && finished[0].result == Some(json!({ "n": 1 })));
    ensure!(finished[0].state == TaskState::Done && finished[0].reason.is_none());
    let id = fence.task;
    ensure!(ports.tasks.claim_task(id, "w", LEASE).await? == Claim::Over);
    Ok(())
}

/// `max_attempts` counts claims.
pub async fn a_failed_task_waits_then_dies_after_its_attempts(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let id = sample::task_id(job, 0);
    for attempt in 1..=3 {
        let fence = claim(ports, job, 0).await?;
        ensure!(fence.epoch == attempt);
        let later = ports.clock.now().plus(Duration::from_secs(10));
        let state = ports.tasks.fail_task(fence, "no luck", later, 3).await?;
        if attempt == 3 {
            ensure!(state == TaskState::Dead);
            break;
        }
        ensure!(state == TaskState::Queued);
        ensure!(ports.tasks.claim_task(id, "w", LEASE).await? == Claim::NotBefore(later));
        ports.clock.advance(Duration::from_secs(10));
    }
    ensure!(ports.tasks.claim_task(id, "w", LEASE).await? == Claim::Over);
    let finished = ports.tasks.finished_tasks(job, 10).await?;
    ensure!(finished.len() == 1 && finished[0].state == TaskState::Dead);
    ensure!(finished[0].reason.as_deref() == Some("no luck") && finished[0].result.is_none());
    Ok(())
}

/// They were given back because of a shutdown, say.
pub async fn interrupted_claims_do_not_count_as_attempts(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let now = ports.clock.now();
    for _ in 0..3 {
        let fence = claim(ports, job, 0).await?;
        ports
            .tasks
            .fail_task(fence, "stopped", now, u64::MAX)
            .await?;
    }
    for expected in [TaskState::Queued, TaskState::Dead] {
        let fence = claim(ports, job, 0).await?;
        let state = ports.tasks.fail_task(fence, "no luck", now, 2).await?;
        ensure!(state == expected, "{state:?}");
    }
    Ok(())
}

/// At its first attempt.
pub async fn a_killed_task_is_dead_at_once(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let fence = claim(ports, job, 0).await?;
    ports.tasks.kill_task(fence, "unreadable").await?;
    let finished = ports.tasks.finished_tasks(job, 10).await?;
    ensure!(finished.len() == 1 && finished[0].state == TaskState::Dead);
    ensure!(finished[0].reason.as_deref() == Some("unreadable"));
    ensure!(ports.jobs.jobs_to_tick(10).await? == [job]);
    Ok(())
}

/// Not in order of completion.
pub async fn finished_tasks_come_in_order_of_creation_until_consumed(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 5).await?;
    let other = with_tasks(ports, 2, 1).await?;
    for number in [4, 0, 2] {
        let fence = claim(ports, job, number).await?;
        ports.tasks.complete_task(fence, json!(number)).await?;
    }
    let fence = claim(ports, other, 0).await?;
    ports.tasks.complete_task(fence, json!("other")).await?;
    let results = async |limit| -> Result<Vec<_>> {
        let finished = ports.tasks.finished_tasks(job, limit).await?;
        Ok(finished
            .into_iter()
            .filter_map(|task| task.result)
            .collect())
    };
    ensure!(results(10).await? == [json!(0), json!(2), json!(4)]);
    ensure!(results(2).await? == [json!(0), json!(2)]);
    let consumed = Tick {
        // one that is not finished, and one of another job, are left alone
        consumed: [0, 2, 3].map(|n| sample::task_id(job, n)).to_vec(),
        ..tick(job, 1)
    };
    ports.jobs.commit_tick(consumed).await?;
    ensure!(results(10).await? == [json!(4)]);
    let fence = claim(ports, job, 3).await?;
    ports.tasks.complete_task(fence, json!(3)).await?;
    ensure!(results(10).await? == [json!(3), json!(4)]);
    Ok(())
}

/// Oldest first; delayed ones with their time.
pub async fn due_tasks_are_those_that_wait_for_a_worker(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 4).await?;
    let later = ports.clock.now().plus(Duration::from_secs(10));
    let delayed = claim(ports, job, 1).await?;
    ports.tasks.fail_task(delayed, "x", later, 9).await?;
    let leased = claim(ports, job, 2).await?;
    let done = claim(ports, job, 3).await?;
    ports.tasks.complete_task(done, json!(1)).await?;
    let due = ports.tasks.due_tasks(10).await?;
    let ids: Vec<_> = due.iter().map(|task| task.id).collect();
    ensure!(ids == [sample::task_id(job, 0), delayed.task]);
    ensure!(due[0].not_before <= ports.clock.now() && due[1].not_before == later);
    ensure!(due[0].job == job && due[0].topic == Topic::Execute);
    ports.clock.advance(LEASE);
    let due = ports.tasks.due_tasks(10).await?;
    ensure!(due.len() == 3 && due[2].id == leased.task && due[2].not_before <= ports.clock.now());
    ensure!(ports.tasks.due_tasks(1).await?.len() == 1);
    Ok(())
}

/// Even one whose lease ran out.
pub async fn tasks_of_a_final_job_are_over(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 2).await?;
    let leased = claim(ports, job, 0).await?;
    let last = Tick {
        status: JobStatus::Cancelled,
        ..tick(job, 1)
    };
    ports.jobs.commit_tick(last).await?;
    ports.clock.advance(LEASE);
    ensure!(ports.tasks.claim_task(leased.task, "w", LEASE).await? == Claim::Over);
    ensure!(ports.tasks.due_tasks(10).await?.is_empty());
    Ok(())
}

/// With a fresh count of attempts and a higher epoch; the job runs again.
pub async fn dead_tasks_can_be_revived(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 3).await?;
    let now = ports.clock.now();
    let dead = claim(ports, job, 0).await?;
    ports.tasks.fail_task(dead, "x", now, 1).await?;
    ensure!(ports.tasks.retry_dead_tasks(sample::job_id(2)).await? == 0);
    let listed = ports.tasks.dead_tasks(job).await?;
    ensure!(listed.len() == 1 && (listed[0].id, listed[0].reason.as_str()) == (dead.task, "x"));
    ensure!(listed[0].topic == sample::new_task(job, 0).payload.topic());
    let last = Tick {
        status: JobStatus::Failed,
        consumed: vec![dead.task],
        ..tick(job, 1)
    };
    let version = ports.jobs.commit_tick(last).await?;

    ensure!(ports.tasks.retry_dead_tasks(job).await? == 1);
    let row = ports.jobs.get_job(job).await?;
    ensure!(row.status == JobStatus::Running && row.version > version);
    // those that the end of the job cancelled wait again too
    ensure!(ports.tasks.due_tasks(10).await?.len() == 3);
    for _ in 0..2 {
        let fence = claim(ports, job, 0).await?;
        ensure!(fence.epoch > dead.epoch);
        ports.tasks.fail_task(fence, "y", now, 2).await?;
    }
    let finished = ports.tasks.finished_tasks(job, 10).await?;
    ensure!(finished.len() == 1 && finished[0].state == TaskState::Dead);
    ensure!(finished[0].reason.as_deref() == Some("y"));
    ensure!(ports.tasks.retry_dead_tasks(job).await? == 1);
    ensure!(ports.tasks.retry_dead_tasks(job).await? == 0);
    Ok(())
}

/// A message that names one is a bug, and is told as such.
pub async fn an_unknown_task_is_not_found(ports: &Ports) -> Result<()> {
    let id = sample::task_id(sample::job_id(1), 0);
    let error = ports.tasks.claim_task(id, "w", LEASE).await;
    ensure!(matches!(error, Err(StoreError::NotFound { .. })));
    Ok(())
}
