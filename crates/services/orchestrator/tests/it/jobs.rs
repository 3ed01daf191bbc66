//! Jobs driven by hand, step by step.

use std::time::Duration;

use anyhow::{Result, ensure};
use fapo_domain::Classified;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::StopReason;
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::ledger::Ledger;
use fapo_domain::ports::queue::{Message, TaskQueue};
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::{JobId, MicroUsd};
use fapo_policy::Event;

use crate::bench::{Bench, LEASE, result, spec};

async fn undisturbed() -> Result<fapo_domain::ContentHash> {
    let bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    bench.finish(job).await?;
    bench.hash(job).await
}

#[tokio::test]
async fn a_job_runs_to_its_sealed_test() -> Result<()> {
    let bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    bench.finish(job).await?;
    let state = bench.state(job).await?;
    assert_eq!(bench.store.get_job(job).await?.status, JobStatus::Done);
    assert_eq!(
        state.stop.map(|stop| stop.why),
        Some(StopReason::NothingToFix)
    );
    let test = state.test.expect("there is a test split");
    assert_eq!(test.comparison.map(|one| one.pairs), Some(20));
    assert_eq!(bench.store.lineage(job).await?.len(), 3);
    let events = bench.events(job).await?;
    assert!(matches!(events.first(), Some(Event::Submitted { .. })));
    assert!(matches!(events.last(), Some(Event::Finished { .. })));
    Ok(())
}

#[tokio::test]
async fn killed_after_every_step_it_decides_alike() -> Result<()> {
    let expected = undisturbed().await?;
    let mut bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    loop {
        bench.die();
        bench.service.tick(job).await?;
        bench.die();
        if bench.service.tick(job).await?.status.is_final() {
            break;
        }
        // one task, then dead again
        let due = bench.store.due_tasks(1).await?;
        for task in due {
            if let Claim::Claimed(claimed) = bench.store.claim_task(task.id, "w", LEASE).await? {
                let done = result(&claimed.payload)?;
                bench.store.complete_task(claimed.fence(), done).await?;
            }
        }
    }
    assert_eq!(bench.hash(job).await?, expected);
    Ok(())
}

#[tokio::test]
async fn a_tick_without_news_changes_nothing() -> Result<()> {
    let bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    let first = bench.service.tick(job).await?;
    let events = bench.events(job).await?;
    let second = bench.service.tick(job).await?;
    assert_eq!(first, second);
    assert_eq!(bench.events(job).await?, events);
    Ok(())
}

#[tokio::test]
async fn two_orchestrators_at_once_do_no_harm() -> Result<()> {
    let expected = undisturbed().await?;
    let bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    loop {
        let (a, b, c) = tokio::join!(
            bench.service.tick(job),
            bench.service.tick(job),
            bench.service.tick(job)
        );
        ensure!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
        if bench.store.get_job(job).await?.status.is_final() {
            break;
        }
        bench.do_tasks().await?;
    }
    assert_eq!(bench.hash(job).await?, expected);
    Ok(())
}

#[tokio::test]
async fn the_reconciler_fills_an_empty_queue() -> Result<()> {
    let mut bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    bench.die();
    assert_eq!(
        bench.service.reconcile().await?,
        1,
        "the job waits for its first tick"
    );
    bench.service.tick(job).await?;
    bench.die();
    let tasks = bench.service.reconcile().await?;
    assert_eq!(tasks, 6, "three blocks of train and three of val");
    let received = bench
        .queue
        .receive(Topic::Execute, "w", 100, Duration::ZERO, LEASE)
        .await?;
    assert_eq!(received.len(), 6);
    assert!(
        received
            .iter()
            .all(|one| matches!(one.message, Message::Task { .. }))
    );
    bench.service.reconcile().await?;
    let again = bench
        .queue
        .receive(Topic::Execute, "w", 100, Duration::ZERO, LEASE)
        .await?;
    assert!(again.is_empty(), "what is under way is not pushed twice");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_job_stays_cancelled() -> Result<()> {
    let bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    bench.service.tick(job).await?;
    let ticked = bench.service.cancel(job).await?;
    assert_eq!(ticked.status, JobStatus::Cancelled);
    assert_eq!(bench.service.cancel(job).await?, ticked);
    assert_eq!(bench.service.tick(job).await?, ticked);
    assert!(bench.store.due_tasks(100).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_dead_task_fails_the_job_and_a_revived_one_lets_it_go_on() -> Result<()> {
    let expected = undisturbed().await?;
    let bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    bench.service.tick(job).await?;
    let doomed = bench.store.due_tasks(1).await?[0].id;
    let Claim::Claimed(claimed) = bench.store.claim_task(doomed, "w", LEASE).await? else {
        anyhow::bail!("not claimed")
    };
    bench
        .store
        .kill_task(claimed.fence(), "PROVIDER_CONFIG: no key")
        .await?;
    bench.finish(job).await?;
    let failed = bench.store.get_job(job).await?;
    assert_eq!(failed.status, JobStatus::Failed);
    let stop = bench.state(job).await?.stop.expect("it stopped");
    assert_eq!(stop.reason, "a task died: PROVIDER_CONFIG: no key");

    assert_eq!(bench.store.retry_dead_tasks(job).await?, 1);
    bench.finish(job).await?;
    assert_eq!(bench.store.get_job(job).await?.status, JobStatus::Done);
    assert_eq!(bench.hash(job).await?, expected);
    Ok(())
}

#[tokio::test]
async fn time_counts_while_the_service_is_there_and_not_while_it_is_down() -> Result<()> {
    let mut bench = Bench::new().await?;
    let job = bench.service.submit(spec()).await?;
    bench.service.tick(job).await?;
    bench.clock.advance(Duration::from_secs(600));
    bench.do_tasks().await?;
    bench.service.tick(job).await?;
    assert_eq!(bench.state(job).await?.elapsed_ms, 600_000);
    bench.clock.advance(Duration::from_secs(8 * 3600)); // a night
    bench.die();
    bench.clock.advance(Duration::from_secs(60));
    bench.do_tasks().await?;
    bench.service.tick(job).await?;
    assert_eq!(bench.state(job).await?.elapsed_ms, 660_000);
    Ok(())
}

#[tokio::test]
async fn the_account_has_the_caps_of_the_budget() -> Result<()> {
    let bench = Bench::new().await?;
    let mut spec = spec();
    spec.project.budget.usd = Some(2.5);
    spec.project.budget.model_calls = Some(1000);
    let job = bench.service.submit(spec).await?;
    let caps = bench.store.balance(job).await?.caps;
    assert_eq!(caps.cost, Some(MicroUsd(2_500_000)));
    assert_eq!(caps.model_calls, Some(1000));
    Ok(())
}

#[tokio::test]
async fn a_job_without_the_cases_it_needs_is_refused() -> Result<()> {
    let bench = Bench::new().await?;
    let mut spec = spec();
    spec.cases.remove(&Split::Val);
    let refused = bench
        .service
        .submit(spec)
        .await
        .expect_err("it has no val cases");
    assert_eq!(refused.reason(), "JOB_INVALID");
    assert_eq!(
        refused.to_string(),
        "the dataset has no val cases; add some under `data:`"
    );
    assert!(bench.store.list_jobs(None, None, 10).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn submitting_the_same_job_twice_is_one_job() -> Result<()> {
    let bench = Bench::new().await?;
    let id = JobId::at(1, [1; 10]);
    bench.service.submit_as(id, spec(), None).await?;
    bench.service.tick(id).await?;
    bench.service.submit_as(id, spec(), None).await?;
    assert_eq!(bench.store.get_job(id).await?.version, 1);
    Ok(())
}
