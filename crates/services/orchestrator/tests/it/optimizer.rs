//! The service for clients, over SQLite and an in-process queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::ids::JobId;
use fapo_domain::model::access::Caller;
use fapo_domain::model::job::{JobGoal, JobSpec, JobStatus};
use fapo_domain::model::task::Topic;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::access::Requests;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::optimizer::{
    Manifest, Optimizer, OptimizerError, ProjectIntake, Submission,
};
use fapo_domain::ports::queue::{Message, TaskQueue};
use fapo_orchestrator::{OptimizerPorts, OptimizerService};
use fapo_store::SqliteStore;
use fapo_testkit::optimizing::{LineReporter, SETTINGS, ScriptedIntake};
use fapo_testkit::suites::optimizer::{Callers, Optimizing};

use crate::bench::{Bench, LEASE, spec};

fn intake(bench: &Bench) -> ScriptedIntake {
    ScriptedIntake {
        blobs: bench.store.clone(),
        variants: bench.store.clone(),
    }
}

fn ports(bench: &Bench) -> OptimizerPorts {
    OptimizerPorts {
        blobs: bench.store.clone(),
        variants: bench.store.clone(),
        requests: bench.store.clone(),
        intake: Arc::new(intake(bench)),
        reporter: Arc::new(LineReporter),
    }
}

fn service(bench: &Bench) -> OptimizerService {
    OptimizerService::new(bench.service.clone(), ports(bench))
}

async fn open() -> anyhow::Result<Optimizing> {
    let bench = Bench::new().await?;
    Ok(Optimizing {
        optimizer: Arc::new(service(&bench)),
        callers: Callers::local(),
        jobs: bench.store.clone(),
        tasks: bench.store.clone(),
        variants: bench.store.clone(),
        keep: Box::new(bench),
    })
}

fapo_testkit::optimizer_suite!(sqlite, open);

async fn submission(bench: &Bench) -> anyhow::Result<Submission> {
    let stored = bench
        .store
        .put_blobs(vec![Arc::from(b"qa".as_slice())])
        .await?;
    Ok(Submission {
        request_id: "r".to_owned(),
        project: "qa".to_owned(),
        files: Manifest([(SETTINGS.to_owned(), stored[0])].into()),
        goal: JobGoal::Optimize,
    })
}

async fn messages(bench: &Bench, topic: Topic) -> anyhow::Result<Vec<Message>> {
    let received = bench
        .queue
        .receive(topic, "w", 100, Duration::ZERO, LEASE)
        .await?;
    for delivery in &received {
        bench.queue.acknowledge(delivery).await?;
    }
    Ok(received.into_iter().map(|one| one.message).collect())
}

/// Requests that remember what each was bound to.
struct Recorded {
    requests: Arc<SqliteStore>,
    bound: Mutex<Vec<JobId>>,
}

#[async_trait]
impl Requests for Recorded {
    async fn bind_request(
        &self,
        project: &str,
        key: &str,
        fingerprint: ContentHash,
        job: JobId,
        at: Timestamp,
    ) -> Result<JobId, StoreError> {
        let bound = self
            .requests
            .bind_request(project, key, fingerprint, job, at);
        let bound = bound.await?;
        self.bound.lock().unwrap().push(bound);
        Ok(bound)
    }
}

/// An intake that dies of its first project.
struct DiesOnce {
    intake: ScriptedIntake,
    died: AtomicBool,
}

#[async_trait]
impl ProjectIntake for DiesOnce {
    async fn import(&self, files: &Manifest, goal: JobGoal) -> Result<JobSpec, OptimizerError> {
        if self.died.swap(true, Ordering::Relaxed) {
            return self.intake.import(files, goal).await;
        }
        Err(OptimizerError::Internal {
            message: "the process died".to_owned(),
            source: None,
        })
    }
}

#[tokio::test]
async fn a_death_between_binding_and_making_the_job_is_healed_by_a_repetition() -> anyhow::Result<()>
{
    let bench = Bench::new().await?;
    let requests = Arc::new(Recorded {
        requests: bench.store.clone(),
        bound: Mutex::default(),
    });
    let ports = OptimizerPorts {
        requests: requests.clone(),
        intake: Arc::new(DiesOnce {
            intake: intake(&bench),
            died: AtomicBool::new(false),
        }),
        ..ports(&bench)
    };
    let service = OptimizerService::new(bench.service.clone(), ports);
    let (caller, submission) = (Caller::local(), submission(&bench).await?);
    let first = service.submit(&caller, submission.clone(), None).await;
    ensure!(first.is_err() && bench.store.list_jobs(None, None, 10).await?.is_empty());
    let job = service.submit(&caller, submission, None).await?;
    let bound = requests.bound.lock().unwrap().clone();
    ensure!(bound == [job.id, job.id], "{bound:?}");
    Ok(())
}

#[tokio::test]
async fn a_submitted_job_runs_and_its_summary_tells_how_it_went() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let service = service(&bench);
    let caller = Caller::local();
    let id = bench.service.submit(spec()).await?;
    bench.service.tick(id).await?;
    let begun = service.job(&caller, id).await?;
    ensure!(
        (begun.phase.as_str(), begun.cases) == ("baseline", (0, 80)),
        "{begun:?}"
    );
    bench.finish(id).await?;
    let done = service.job(&caller, id).await?;
    ensure!((done.status, done.phase.as_str()) == (JobStatus::Done, "finished"));
    ensure!(
        (done.baseline_mean, done.best_mean) == (Some(0.5), Some(1.0)),
        "{done:?}"
    );
    ensure!(
        done.best != done.baseline && done.test == Some((0.5, 1.0)),
        "{done:?}"
    );
    ensure!(done.proposals.0 == 2 && done.stopped.is_some());
    ensure!(done.lineage_hash == bench.hash(id).await?);
    Ok(())
}

#[tokio::test]
async fn a_resumed_job_is_queued_again_with_its_tasks() -> anyhow::Result<()> {
    let mut bench = Bench::new().await?;
    let service = service(&bench);
    let caller = Caller::local();
    let id = bench.service.submit(spec()).await?;
    bench.service.tick(id).await?;
    service.set_paused(&caller, id, true).await?;
    bench.die();
    let service = self::service(&bench);
    ensure!(
        bench.service.reconcile().await? == 0,
        "nothing of a paused job is queued"
    );
    let before = bench.store.get_job(id).await?.version;
    bench.service.tick(id).await?;
    ensure!(
        bench.store.get_job(id).await?.version == before,
        "it is not ticked either"
    );
    service.set_paused(&caller, id, false).await?;
    ensure!(messages(&bench, Topic::Job).await? == [Message::Tick { job: id }]);
    ensure!(messages(&bench, Topic::Execute).await?.len() == 6);
    bench.finish(id).await?;
    ensure!(service.job(&caller, id).await?.status == JobStatus::Done);
    Ok(())
}

#[tokio::test]
async fn the_time_of_a_pause_does_not_count() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let service = service(&bench);
    let caller = Caller::local();
    let id = bench.service.submit(spec()).await?;
    bench.service.tick(id).await?;
    service.set_paused(&caller, id, true).await?;
    bench.clock.advance(Duration::from_secs(8 * 3600)); // a night
    service.set_paused(&caller, id, false).await?;
    bench.clock.advance(Duration::from_secs(60));
    bench.do_tasks().await?;
    bench.service.tick(id).await?;
    ensure!(bench.state(id).await?.elapsed_ms == 60_000);
    Ok(())
}
