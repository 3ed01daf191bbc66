//! The loops together: orchestrator, queue and workers, in real time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use fapo_domain::clock::SystemClock;
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::task::{ClaimedTask, Topic};
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_queue::{Worker, WorkerConfig};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, result, spec};

struct Scripted(Topic);

#[async_trait]
impl TaskHandler for Scripted {
    fn topic(&self) -> Topic {
        self.0
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        _stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        result(&task.payload).map_err(|error| WorkError::permanent("SCRIPT", error.to_string()))
    }
}

#[tokio::test]
async fn jobs_run_to_their_ends_through_the_queue() -> Result<()> {
    let bench = Bench::new().await?;
    let stop = CancellationToken::new();
    let mut loops = JoinSet::new();
    for topic in Topic::ALL.into_iter().filter(|topic| *topic != Topic::Job) {
        let worker = Worker::new(
            bench.queue.clone(),
            bench.store.clone(),
            Arc::new(Scripted(topic)),
            Arc::new(SystemClock),
            WorkerConfig::new(topic.as_str(), 4),
        );
        let stop = stop.clone();
        loops.spawn(async move { Ok(Arc::new(worker).run(stop).await?) });
    }
    let (service, stop_service) = (bench.service.clone(), stop.clone());
    loops.spawn(async move { anyhow::Ok(service.run(stop_service).await?) });

    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(bench.service.submit(spec()).await?);
    }
    let all_done = async {
        loop {
            let mut done = 0;
            for job in &jobs {
                let status = bench.store.get_job(*job).await?.status;
                done += usize::from(status == JobStatus::Done);
            }
            if done == jobs.len() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_done)
        .await
        .context("the jobs did not end in time")??;

    stop.cancel();
    let ended = async {
        while let Some(ended) = loops.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .context("the loops did not end in time")??;

    let first = bench.hash(jobs[0]).await?;
    for job in &jobs[1..] {
        assert_eq!(bench.hash(*job).await?, first, "they decide alike");
    }
    Ok(())
}
