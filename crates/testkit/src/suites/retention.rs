//! What every [`fapo_domain::ports::retention::Retention`] must do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fapo_domain::clock::{Clock as _, Timestamp};
use fapo_domain::hash::ContentHash;
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::job::{CorpusRef, JobSpec, JobStatus};
use fapo_domain::model::trace::{CacheEntry, RunRecord};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Tick;
use fapo_domain::ports::retention::{Collected, RetentionRule};
use fapo_domain::ports::traces::StepsOf;
use fapo_domain::{EvaluationId, JobId, VariantId};
use serde_json::json;

use super::Ports;
use super::jobs::tick;
use super::sessions;
use super::tasks::with_tasks;
use crate::sample;

const DAY: Duration = Duration::from_secs(24 * 3600);
const RUNS: u64 = 12;
/// Steps of a sample run.
const STEPS: u64 = 2;

/// A text that stands in a blob, not in a row.
fn long(name: &str) -> String {
    format!("{name}: a value too long for its row; ").repeat(60)
}

/// The evaluation that the sample tasks of a job execute.
fn evaluation_of(job: JobId) -> EvaluationId {
    sample::evaluation_spec(job, VariantId(sample::hash("variant"))).id()
}

/// Runs whose outputs are blobs of their own, and whose first inputs are one blob.
fn runs_of(evaluation: EvaluationId, name: &str, count: u64) -> Vec<RunRecord> {
    (0..count)
        .map(|ordinal| {
            let mut run = sample::run_record(evaluation, ordinal);
            run.output_text = Some(long(&format!("{name} {ordinal}")));
            run.steps[0].input = Some(json!(long("shared")));
            run
        })
        .collect()
}

/// A running job with runs, scores and an attribution.
async fn running(ports: &Ports, number: u8) -> Result<(JobId, EvaluationId)> {
    let job = with_tasks(ports, number, 1).await?;
    let evaluation = evaluation_of(job);
    let runs = runs_of(evaluation, &format!("job {number}"), RUNS);
    ports.traces.record_runs(None, runs).await?;
    let scores = (0..RUNS).map(|n| sample::case_score(evaluation, n, 0.5));
    ports.scores.record_scores(None, scores.collect()).await?;
    let attribution = Attribution {
        cases: RUNS,
        ..Attribution::default()
    };
    ports
        .findings
        .record_attribution(None, evaluation, Vec::new(), &attribution)
        .await?;
    Ok((job, evaluation))
}

async fn finish(ports: &Ports, job: JobId, status: JobStatus) -> Result<()> {
    let last = Tick {
        status,
        events: vec![json!("the end")],
        ..tick(job, 1)
    };
    ports.jobs.commit_tick(last).await?;
    Ok(())
}

/// Everything of a job that became final before now, once a day and more has passed.
fn traces_until(before: Timestamp) -> RetentionRule {
    RetentionRule {
        traces_before: before,
        cache_before: None,
        dry_run: false,
    }
}

async fn traces_left(ports: &Ports, evaluation: EvaluationId) -> Result<usize> {
    let ordinals: Vec<u64> = (0..RUNS).collect();
    let runs = ports
        .traces
        .runs(evaluation, &ordinals, StepsOf::All)
        .await?;
    ensure!(runs.iter().all(|run| run.steps.len() as u64 == STEPS));
    let scores = ports.scores.scores(evaluation, 0, 1_000).await?.len();
    let attribution = ports.findings.attribution(evaluation).await?.is_some();
    ensure!(scores == runs.len() && attribution != runs.is_empty());
    Ok(runs.len())
}

async fn is_gone(ports: &Ports, hash: ContentHash) -> Result<bool> {
    match ports.blobs.get_blobs(&[hash]).await {
        Ok(_) => Ok(false),
        Err(StoreError::NotFound { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Its runs, steps, scores and findings, and what only they named; its row, its events and its evaluations' names stay.
pub async fn traces_of_a_job_that_ended_before_go_and_the_job_stays(ports: &Ports) -> Result<()> {
    let (job, evaluation) = running(ports, 1).await?;
    finish(ports, job, JobStatus::Failed).await?;
    let ended = ports.clock.now();
    // to the millisecond
    let collected = ports.retention.collect(traces_until(ended)).await?;
    ensure!(collected == Collected::default(), "{collected:?}");
    ports.clock.advance(3 * DAY);
    let rule = traces_until(Timestamp(ended.0 + 1));
    let collected = ports.retention.collect(rule).await?;
    ensure!(collected.evaluations == 1 && collected.runs == RUNS);
    ensure!(collected.steps == RUNS * STEPS && collected.cache_entries == 0);
    ensure!(collected.blobs == RUNS + 1 && collected.blob_bytes > 0);
    ensure!(traces_left(ports, evaluation).await? == 0);
    ensure!(ports.questions.aggregate(evaluation).await? == Default::default());
    ensure!(is_gone(ports, ContentHash::of(long("job 1 0").as_bytes())).await?);

    ensure!(ports.jobs.get_job(job).await?.status == JobStatus::Failed);
    ensure!(ports.jobs.events(job, 0, 10).await?.len() == 1);
    ensure!(ports.questions.evaluations(job).await?.len() == 1);
    ensure!(ports.questions.evaluation(evaluation).await?.is_some());
    // nothing is left to be collected
    let again = ports.retention.collect(rule).await?;
    ensure!(again == Collected::default(), "{again:?}");
    Ok(())
}

/// However old it is, paused or not; nor does one that ended later, nor runs that no job is known to have asked for.
pub async fn what_a_running_job_may_need_stays(ports: &Ports) -> Result<()> {
    let (_, busy) = running(ports, 1).await?;
    let (paused_job, paused) = running(ports, 2).await?;
    ports.jobs.set_paused(paused_job, true).await?;
    let (late_job, late) = running(ports, 3).await?;
    let stray = sample::evaluation_id("stray");
    ports
        .traces
        .record_runs(None, runs_of(stray, "stray", 1))
        .await?;
    for number in 0..5 {
        ports
            .cache
            .put_step(sample::cache_entry(number), None)
            .await?;
    }
    ports.clock.advance(100 * DAY);
    let cutoff = ports.clock.now();
    finish(ports, late_job, JobStatus::Done).await?;
    ports.clock.advance(100 * DAY);
    let rule = RetentionRule {
        cache_before: Some(ports.clock.now()),
        ..traces_until(cutoff)
    };
    let collected = ports.retention.collect(rule).await?;
    ensure!(collected == Collected::default(), "{collected:?}");
    for evaluation in [busy, paused, late] {
        ensure!(traces_left(ports, evaluation).await? as u64 == RUNS);
    }
    ensure!(ports.traces.finished_ordinals(stray, &[0]).await? == [0]);
    let CacheEntry {
        key, fingerprint, ..
    } = sample::cache_entry(0);
    ensure!(ports.cache.get_step(key, fingerprint).await?.is_some());
    Ok(())
}

/// To the last byte.
pub async fn a_dry_run_counts_the_same_and_changes_nothing(ports: &Ports) -> Result<()> {
    let (old, evaluation) = running(ports, 1).await?;
    let (_, kept) = running(ports, 2).await?;
    ports.blobs.put_blobs(vec![Arc::from(*b"loose")]).await?;
    finish(ports, old, JobStatus::Cancelled).await?;
    ports.clock.advance(2 * DAY);
    let rule = RetentionRule {
        dry_run: true,
        ..traces_until(ports.clock.now())
    };
    let counted = ports.retention.collect(rule).await?;
    // what both jobs' runs name stays
    ensure!(counted.evaluations == 1 && counted.runs == RUNS && counted.blobs == RUNS + 1);
    ensure!(ports.retention.collect(rule).await? == counted);
    ensure!(traces_left(ports, evaluation).await? as u64 == RUNS);
    ensure!(!is_gone(ports, ContentHash::of(b"loose")).await?);
    let collected = ports
        .retention
        .collect(RetentionRule {
            dry_run: false,
            ..rule
        })
        .await?;
    ensure!(collected == counted, "{collected:?} instead of {counted:?}");
    ensure!(is_gone(ports, ContentHash::of(b"loose")).await?);
    ensure!(traces_left(ports, kept).await? as u64 == RUNS);
    Ok(())
}

/// Files of variants, chunks of corpora, transcripts of sessions, values of other runs.
pub async fn a_blob_that_something_names_stays(ports: &Ports) -> Result<()> {
    let tree = sample::variant_tree(&long("prompt"));
    ports.variants.put_variant(&tree).await?;
    let session = sessions::record(1, 0, 5);
    ports.sessions.record_session(session.clone()).await?;
    let chunks = ports
        .blobs
        .put_blobs(vec![Arc::from(*b"chunk 1"), Arc::from(*b"chunk 2")])
        .await?;
    let corpus = CorpusRef {
        hash: sample::hash("corpus"),
        chunks: chunks.clone(),
        documents: 2,
    };
    let spec = JobSpec {
        corpora: BTreeMap::from([("wiki".to_owned(), corpus)]),
        ..sample::job_spec("p")
    };
    let now = ports.clock.now();
    ports
        .jobs
        .create_job(sample::job_id(7), spec, json!({}), now, None)
        .await?;
    let last = Tick {
        status: JobStatus::Done,
        ..tick(sample::job_id(7), 0)
    };
    ports.jobs.commit_tick(last).await?;
    let (old, _) = running(ports, 1).await?;
    finish(ports, old, JobStatus::Done).await?;
    let (_, kept) = running(ports, 2).await?;
    ports.clock.advance(30 * DAY);
    let collected = ports
        .retention
        .collect(traces_until(ports.clock.now()))
        .await?;
    ensure!(collected.blobs == RUNS, "{collected:?}");
    ensure!(ports.variants.get_variant(tree.id()).await? == tree);
    ports.blobs.get_blobs(&chunks).await?;
    let transcript = ports
        .sessions
        .session(session.id)
        .await?
        .and_then(|session| session.transcript)
        .context("the session names its transcript")?;
    ensure!(!is_gone(ports, transcript).await?);
    ensure!(traces_left(ports, kept).await? as u64 == RUNS);
    Ok(())
}

/// What is uploaded has no job yet; stored again it is as good as new.
pub async fn a_blob_stored_lately_stays(ports: &Ports) -> Result<()> {
    let put = || ports.blobs.put_blobs(vec![Arc::from(*b"a file")]);
    put().await?;
    ports.clock.advance(DAY - Duration::from_secs(1));
    let rule = || traces_until(ports.clock.now());
    ensure!(ports.retention.collect(rule()).await? == Collected::default());
    put().await?;
    ports.clock.advance(DAY - Duration::from_secs(1));
    ensure!(ports.retention.collect(rule()).await? == Collected::default());
    ports.clock.advance(Duration::from_secs(2));
    ensure!(ports.retention.collect(rule()).await?.blobs == 1);
    ensure!(is_gone(ports, ContentHash::of(b"a file")).await?);
    Ok(())
}

/// A store that remembers what it has seen stored would name what is gone.
pub async fn what_went_can_be_stored_again(ports: &Ports) -> Result<()> {
    let (old, _) = running(ports, 1).await?;
    finish(ports, old, JobStatus::Done).await?;
    ports.clock.advance(2 * DAY);
    ports
        .retention
        .collect(traces_until(ports.clock.now()))
        .await?;
    let evaluation = evaluation_of(with_tasks(ports, 2, 1).await?);
    let runs = runs_of(evaluation, "job 1", RUNS);
    ports.traces.record_runs(None, runs.clone()).await?;
    let ordinals: Vec<u64> = (0..RUNS).collect();
    let read = || ports.traces.runs(evaluation, &ordinals, StepsOf::All);
    ensure!(read().await? == runs);
    // named again by a run a day after it was stored, it is kept for that run
    ports.clock.advance(2 * DAY);
    ports
        .retention
        .collect(traces_until(ports.clock.now()))
        .await?;
    ensure!(read().await? == runs);
    Ok(())
}

/// By the time they were stored; what comes after them is found all the same.
pub async fn old_step_results_go_and_new_ones_are_found(ports: &Ports) -> Result<()> {
    let entry = |number: u32| {
        let mut entry: CacheEntry = sample::cache_entry(number);
        entry.step.output = sample::output(&long(&number.to_string()));
        entry
    };
    for number in 0..700 {
        ports.cache.put_step(entry(number), None).await?;
    }
    ports.clock.advance(DAY);
    let cutoff = ports.clock.now();
    ports.cache.put_step(entry(700), None).await?;
    let rule = RetentionRule {
        traces_before: Timestamp(0),
        cache_before: Some(cutoff),
        dry_run: true,
    };
    let found = async |number: u32| {
        let CacheEntry {
            key, fingerprint, ..
        } = entry(number);
        ports.cache.get_step(key, fingerprint).await
    };
    ensure!(ports.retention.collect(rule).await?.cache_entries == 700);
    ensure!(found(3).await?.is_some());
    let rule = RetentionRule {
        dry_run: false,
        ..rule
    };
    ensure!(ports.retention.collect(rule).await?.cache_entries == 700);
    for number in [0, 3, 699] {
        ensure!(found(number).await?.is_none());
    }
    ensure!(found(700).await?.is_some());
    // all of them, and then new ones, some of them under old keys
    ports.clock.advance(DAY);
    let rule = RetentionRule {
        cache_before: Some(ports.clock.now()),
        ..rule
    };
    ensure!(ports.retention.collect(rule).await?.cache_entries == 1);
    for number in [3, 700, 701] {
        ports.cache.put_step(entry(number), None).await?;
    }
    for number in [3, 700, 701] {
        ensure!(found(number).await? == Some(entry(number).step));
    }
    ensure!(found(702).await?.is_none());
    // without a moment nothing of it goes
    let rule = RetentionRule {
        cache_before: None,
        ..rule
    };
    ports.clock.advance(DAY);
    ensure!(ports.retention.collect(rule).await?.cache_entries == 0);
    Ok(())
}

/// More runs than go in one step.
pub async fn a_large_evaluation_goes_as_a_whole(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let evaluation = evaluation_of(job);
    let many = 1_100;
    for start in [0, 550] {
        let runs = (start..start + 550).map(|n| sample::run_record(evaluation, n * 3));
        ports.traces.record_runs(None, runs.collect()).await?;
    }
    finish(ports, job, JobStatus::Done).await?;
    ports.clock.advance(DAY);
    let rule = traces_until(ports.clock.now());
    let counted = ports
        .retention
        .collect(RetentionRule {
            dry_run: true,
            ..rule
        })
        .await?;
    let collected = ports.retention.collect(rule).await?;
    ensure!((collected.runs, collected.steps) == (many, many * STEPS));
    ensure!(counted == collected);
    ensure!(ports.questions.aggregate(evaluation).await? == Default::default());
    Ok(())
}

/// The job runs again, and what it does from then on is kept.
pub async fn a_job_that_was_revived_is_not_touched(ports: &Ports) -> Result<()> {
    let (job, evaluation) = running(ports, 1).await?;
    let fence = super::tasks::claim(ports, job, 0).await?;
    ports.tasks.kill_task(fence, "broken").await?;
    finish(ports, job, JobStatus::Failed).await?;
    ports.clock.advance(10 * DAY);
    ensure!(ports.tasks.retry_dead_tasks(job).await? == 1);
    let collected = ports
        .retention
        .collect(traces_until(ports.clock.now()))
        .await?;
    ensure!(collected == Collected::default(), "{collected:?}");
    ensure!(traces_left(ports, evaluation).await? as u64 == RUNS);
    Ok(())
}
