//! Questions that are asked of one thing at a time: runs, scores, comparisons, transcripts, pages.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use fapo_domain::clock::Timestamp;
use fapo_domain::model::trace::StepRecord;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::pipelines::{CaseRun, PipelineRunner, RunScorer, StepObserver};
use fapo_domain::ports::questions::{Comparer, PipelineChecker};
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::traces::Traces;
use fapo_proto::traces::v1::traces_service_client::TracesServiceClient;
use fapo_proto::traces::v1::{ListFailuresRequest, SearchRunsRequest};
use fapo_rpc::{RemoteDiagnosis, RemoteExecutor, RemoteScorer};
use fapo_testkit::sample;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::scripted::{Scripted, comparison, problem, run_of};
use crate::world::{Setup, World};

struct Heard(mpsc::UnboundedSender<StepRecord>);

impl StepObserver for Heard {
    fn step_ended(&self, step: &StepRecord) {
        self.0
            .send(step.clone())
            .expect("the test listens to its end");
    }
}

#[tokio::test]
async fn a_run_is_told_step_by_step_while_it_is_under_way() -> anyhow::Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let scripted = Scripted {
        gate: Some(Arc::clone(&gate)),
        ..Scripted::default()
    };
    let world = World::new(Setup {
        scripted,
        ..Setup::default()
    })
    .await?;
    let things = world.fill("qa").await?;
    let spec = world.store.get_job(things.job).await?.spec;
    let executor = RemoteExecutor::new(world.connection(None)?);
    let (sender, mut heard) = mpsc::unbounded_channel();
    let (tree, case) = (sample::variant_tree("Say."), sample::case("c1", "q", "a"));
    let wanted = run_of(&case);
    let asked = wanted.clone();
    let running = tokio::spawn(async move {
        let run = CaseRun {
            job: things.job,
            spec: &spec,
            tree: &tree,
            case: &case,
            fresh: true,
            payer: None,
        };
        executor
            .run_case_observed(run, Arc::new(Heard(sender)))
            .await
    });
    // each step comes before the next may begin, so it cannot have come with the whole
    for step in &wanted.steps {
        gate.add_permits(1);
        ensure!(heard.recv().await.as_ref() == Some(step));
    }
    ensure!(running.await?? == asked);
    Ok(())
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_ended() -> anyhow::Result<()> {
    let scripted = Scripted {
        gate: Some(Arc::new(Semaphore::new(0))),
        ..Scripted::default()
    };
    let dropped = Arc::clone(&scripted.dropped);
    let world = World::new(Setup {
        scripted,
        ..Setup::default()
    })
    .await?;
    let things = world.fill("qa").await?;
    let spec = world.store.get_job(things.job).await?.spec;
    let executor = RemoteExecutor::new(world.connection(None)?);
    let (tree, case) = (sample::variant_tree("Say."), sample::case("c1", "q", "a"));
    let running = executor.run_case(things.job, &spec, &tree, &case, true, None);
    let asked = || {
        world
            .scripted
            .asked
            .load(std::sync::atomic::Ordering::SeqCst)
            == 1
    };
    tokio::select! {
        _ = running => anyhow::bail!("it cannot end: its gate is closed"),
        () = until(asked) => {}
    }
    until(|| dropped.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    Ok(())
}

/// Waits until something is so; a test that hangs is ended by its runner.
async fn until(so: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
    let waiting = async {
        while !so() {
            tick.tick().await;
        }
    };
    let within = std::time::Duration::from_secs(20);
    tokio::time::timeout(within, waiting)
        .await
        .expect("it is so within 20 seconds");
}

#[tokio::test]
async fn pipelines_are_checked_runs_scored_and_variants_compared() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let things = world.fill("qa").await?;
    let spec = world.store.get_job(things.job).await?.spec;
    let tree = sample::variant_tree("Say.");
    let connection = world.connection(None)?;
    let executor = RemoteExecutor::new(connection.clone());
    let problems = executor.check_pipeline(&spec, &tree).await?;
    ensure!(problems.into_iter().collect::<Vec<_>>() == [problem()]);
    let scorer = RemoteScorer::new(connection);
    let case = sample::case("c0", "q", "a");
    let run = sample::run_record(things.evaluation.id(), 0);
    let score = scorer.score_run(&spec, &case, &run).await?;
    ensure!(score == sample::case_score(run.evaluation, 0, 0.25));
    let id = things.evaluation.id();
    let compared = scorer
        .compare(things.job, id, id, 10, 0.95, u64::MAX)
        .await?;
    ensure!(compared == comparison());
    let scorers = scorer.list_scorers().await?;
    ensure!(scorers.len() == 1 && scorers[0].name == "exact_match");
    Ok(())
}

#[tokio::test]
async fn a_transcript_of_several_messages_comes_back_whole() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let things = world.fill("qa").await?;
    let remote = RemoteDiagnosis::new(world.connection(None)?);
    let transcript = remote.transcript(things.session).await?;
    ensure!(transcript == b"{\"line\":1}\n".repeat(200_000));
    let stored = world.store.session(things.session).await?;
    ensure!(remote.session(things.session).await? == stored);
    ensure!(stored.context("it is there")?.started_at == Timestamp(1));
    Ok(())
}

#[tokio::test]
async fn failures_and_finds_come_page_by_page() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let things = world.fill("qa").await?;
    let id = things.evaluation.id();
    // beside the run that is there: 30 whose output says so, of which every third is missing
    let runs = (1..=30).map(|ordinal| match ordinal % 3 {
        0 => sample::missing_run(id, ordinal),
        _ => sample::run_record(id, ordinal),
    });
    world.store.record_runs(None, runs.collect()).await?;
    let mut client = TracesServiceClient::new(world.channel().await?);
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    let mut page_token = String::new();
    loop {
        let request = SearchRunsRequest {
            job_id: things.job.to_string(),
            text: "ANSWER 1".to_owned(),
            page_size: 3,
            page_token,
        };
        let page = client.search_runs(request).await?.into_inner();
        ensure!(page.runs.len() <= 3);
        found.extend(page.runs.into_iter().map(|run| run.ordinal));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(found == [1, 10, 11, 13, 14, 16, 17, 19], "{found:?}");
    loop {
        let request = ListFailuresRequest {
            evaluation_id: id.to_string(),
            below: None,
            page_size: 4,
            page_token,
        };
        let page = client.list_failures(request).await?.into_inner();
        failed.extend(page.runs.into_iter().map(|run| run.ordinal));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let missing: Vec<u64> = (1..=10).map(|n| n * 3).collect();
    ensure!(failed == missing, "{failed:?}");
    Ok(())
}
