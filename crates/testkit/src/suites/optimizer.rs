//! What every [`fapo_domain::ports::optimizer::Optimizer`] must do, in the process or over a network.
//!
//! The suite plays the orchestrator itself, on the rows behind the service: nothing else may tick the jobs meanwhile.

mod bench;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fapo_domain::error::Classified;
use fapo_domain::hash::ContentHash;
use fapo_domain::ids::VariantId;
use fapo_domain::model::access::Caller;
use fapo_domain::model::case::Split;
use fapo_domain::model::job::{JobGoal, JobStatus};
use fapo_domain::model::variant::{DiffStats, Lineage};
use fapo_domain::ports::optimizer::{JobFilter, OptimizerError, ReportFormat, Submission};
use fapo_domain::ports::tasks::Claim;
use serde_json::{Value, json};

use crate::optimizing::{NO_MODELS, PROBLEM, SETTINGS};
use crate::sample;

pub use bench::{Callers, Optimizing};

/// How many of [`Optimizing::calls`] only read.
const READS: usize = 6;

/// How long a wait for events may take that has something to wait for.
const WAIT: Duration = Duration::from_secs(20);

/// The reason of a call that must fail.
fn reason<T>(result: Result<T, OptimizerError>) -> Result<&'static str> {
    match result {
        Ok(_) => bail!("the call succeeded"),
        Err(error) => Ok(error.reason()),
    }
}

/// A client asks what is missing, and uploads that.
pub async fn a_blob_is_missing_until_it_is_uploaded(bench: &Optimizing) -> Result<()> {
    let caller = &bench.callers.submitter;
    let (a, b) = (ContentHash::of(b"a"), ContentHash::of(b"b"));
    let missing = bench.optimizer.missing_blobs(caller, &[b, a]).await?;
    ensure!(missing == [b, a]);
    for _ in 0..2 {
        let contents = vec![Arc::from(b"a".as_slice())];
        ensure!(bench.optimizer.upload_blobs(caller, contents).await? == [a]);
    }
    let missing = bench.optimizer.missing_blobs(caller, &[b, a]).await?;
    ensure!(missing == [b]);
    let viewer = &bench.callers.viewer;
    let refused = bench.optimizer.missing_blobs(viewer, &[a]).await;
    ensure!(reason(refused)? == "ACCESS_FORBIDDEN");
    let contents = vec![Arc::from(b"a".as_slice())];
    let refused = bench
        .optimizer
        .upload_blobs(&bench.callers.viewer, contents);
    ensure!(reason(refused.await)? == "ACCESS_FORBIDDEN");
    Ok(())
}

/// Its figures are those of a job that has just begun.
pub async fn a_submission_becomes_a_job(bench: &Optimizing) -> Result<()> {
    let submission = bench.submission("r", "qa", "qa").await?;
    let caller = &bench.callers.submitter;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
    let submit = bench.optimizer.submit(caller, submission, Some(trace));
    let job = submit.await?;
    ensure!((job.project.as_str(), job.status, job.paused) == ("qa", JobStatus::Running, false));
    ensure!(job.goal == JobGoal::Optimize && job.phase == "submitted");
    ensure!(job.baseline == job.best && job.baseline_mean.is_none());
    ensure!(job.proposals.0 == 0 && job.proposals.1 > 0);
    ensure!(bench.optimizer.job(&bench.callers.viewer, job.id).await? == job);
    let row = bench.jobs.get_job(job.id).await?;
    ensure!(row.version == job.version && row.spec.baseline == job.baseline);
    // over a network the server's own span stands between, in the same trace
    let kept = row.trace.context("the trace is lost")?;
    ensure!(kept.trace_id() == "0af7651916cd43dd8448eb211c80319c");
    Ok(())
}

/// The other goal.
pub async fn an_evaluation_can_be_submitted(bench: &Optimizing) -> Result<()> {
    let goal = JobGoal::Evaluate {
        split: Split::Val,
        cases: Some(3),
        sample: 2,
    };
    let submission = Submission {
        goal: goal.clone(),
        ..bench.submission("r", "qa", "qa").await?
    };
    let submit = bench
        .optimizer
        .submit(&bench.callers.submitter, submission, None);
    ensure!(submit.await?.goal == goal);
    Ok(())
}

/// A client whose answer was lost asks again.
pub async fn a_repeated_submission_is_the_same_job(bench: &Optimizing) -> Result<()> {
    let submission = bench.submission("r", "qa", "qa").await?;
    let caller = &bench.callers.submitter;
    let submit = || bench.optimizer.submit(caller, submission.clone(), None);
    let (a, b, c) = tokio::try_join!(submit(), submit(), submit())?;
    ensure!(a.id == b.id && b.id == c.id);
    // what has become of it since stays
    bench.said(a.id, vec![json!({ "n": 1 })]).await?;
    bench.ended(a.id, JobStatus::Done).await?;
    let again = submit().await?;
    ensure!((again.id, again.status) == (a.id, JobStatus::Done));
    ensure!(bench.jobs.list_jobs(None, None, 10).await?.len() == 1);
    Ok(())
}

/// The same name for something else is a mistake of the client's; another project's names are its own.
pub async fn a_request_id_names_one_request(bench: &Optimizing) -> Result<()> {
    let first = bench.submitted("r", "qa").await?;
    let submission = bench.submission("r", "qa", "qa").await?;
    let another = Submission {
        goal: JobGoal::Evaluate {
            split: Split::Val,
            cases: None,
            sample: 0,
        },
        ..submission
    };
    let caller = &bench.callers.submitter;
    let refused = bench.optimizer.submit(caller, another, None).await;
    ensure!(reason(refused)? == "REQUEST_ID_REUSED");
    let other = bench.submitted("r", "other").await?;
    let new = bench.submitted("r-2", "qa").await?;
    ensure!(first.id != other.id && first.id != new.id);
    ensure!(bench.jobs.list_jobs(None, None, 10).await?.len() == 3);
    Ok(())
}

/// Nothing of a job is stored that cannot be run.
pub async fn a_submission_that_cannot_be_run_is_no_job(bench: &Optimizing) -> Result<()> {
    let caller = &bench.callers.submitter;
    let good = bench.submission("r", "qa", "qa").await?;
    let with_file = |path: &str, hash| {
        let mut bad = good.clone();
        bad.request_id = path.to_owned();
        bad.files.0.insert(path.to_owned(), hash);
        bad
    };
    let absent = sample::hash("absent");
    let uploaded = good.files.0[SETTINGS];
    let mut nameless = good.clone();
    nameless.request_id = String::new();
    let mut endless = good.clone();
    endless.request_id = "x".repeat(65);
    let mut empty = good.clone();
    empty.files.0.clear();
    let table = [
        (with_file("data.jsonl", absent), "BLOBS_MISSING"),
        (with_file("../x", uploaded), "REQUEST_INVALID"),
        (nameless, "REQUEST_INVALID"),
        (endless, "REQUEST_INVALID"),
        (empty, "REQUEST_INVALID"),
        (
            bench.submission("p", "qa", PROBLEM).await?,
            "PROJECT_INVALID",
        ),
        (
            bench.submission("m", "qa", NO_MODELS).await?,
            "MODELS_NOT_CALLABLE",
        ),
        // fapo.yaml says another name, of a project that may not be the caller's
        (
            bench.submission("n", "qa", "other").await?,
            "REQUEST_INVALID",
        ),
    ];
    for (bad, wanted) in table {
        let refused = bench.optimizer.submit(caller, bad.clone(), None).await;
        ensure!(reason(refused)? == wanted, "{wanted}: {bad:?}");
    }
    let refused = bench.optimizer.submit(caller, with_file("d", absent), None);
    let Err(OptimizerError::MissingBlobs { missing }) = refused.await else {
        bail!("the missing file is not named")
    };
    ensure!(missing == [absent]);
    let bad = bench.submission("p", "qa", PROBLEM).await?;
    let Err(OptimizerError::Project(problems)) = bench.optimizer.submit(caller, bad, None).await
    else {
        bail!("the problems are not listed")
    };
    ensure!(problems.len() == 1 && problems.has_errors());
    ensure!(bench.jobs.list_jobs(None, None, 10).await?.is_empty());
    Ok(())
}

/// Roles, each with what it includes.
pub async fn a_viewer_may_read_and_nothing_else(bench: &Optimizing) -> Result<()> {
    let job = bench.submitted("r", "qa").await?;
    let calls = bench.calls(&bench.callers.viewer, job.id).await;
    for (at, (name, said)) in calls.into_iter().enumerate() {
        let wanted = (at >= READS).then(|| "ACCESS_FORBIDDEN".to_owned());
        ensure!(said == wanted, "{name}: {said:?}");
    }
    let submission = bench.submission("s", "qa", "qa").await?;
    let refused = bench
        .optimizer
        .submit(&bench.callers.viewer, submission, None);
    ensure!(reason(refused.await)? == "ACCESS_FORBIDDEN");
    let job = bench.optimizer.job(&bench.callers.viewer, job.id).await?;
    ensure!((job.status, job.paused) == (JobStatus::Running, false));
    Ok(())
}

/// That there is one is not told either.
pub async fn another_projects_job_does_not_exist(bench: &Optimizing) -> Result<()> {
    let job = bench.submitted("r", "qa").await?;
    let stranger = &bench.callers.stranger;
    let absent = bench.calls(stranger, sample::job_id(9)).await;
    ensure!(bench.calls(stranger, job.id).await == absent);
    for (name, said) in absent {
        ensure!(said.as_deref() == Some("NOT_FOUND"), "{name}: {said:?}");
    }
    let submission = bench.submission("s", "qa", "qa").await?;
    let refused = bench.optimizer.submit(stranger, submission, None).await;
    ensure!(reason(refused)? == "NOT_FOUND");
    ensure!(bench.jobs.get_job(job.id).await?.status == JobStatus::Running);
    Ok(())
}

/// Page by page; who has one project sees that one.
pub async fn jobs_are_listed_newest_first(bench: &Optimizing) -> Result<()> {
    let mut ids = Vec::new();
    for (request, project) in [("1", "qa"), ("2", "other"), ("3", "qa")] {
        ids.push(bench.submitted(request, project).await?.id);
    }
    let list = async |caller: &Caller, project: Option<&str>, before, limit| {
        let filter = JobFilter {
            project: project.map(str::to_owned),
            before,
            limit,
        };
        let jobs = bench.optimizer.jobs(caller, &filter).await?;
        anyhow::Ok(jobs.iter().map(|job| job.id).collect::<Vec<_>>())
    };
    let Callers { viewer, anyone, .. } = &bench.callers;
    ensure!(list(anyone, None, None, 10).await? == [ids[2], ids[1], ids[0]]);
    ensure!(list(anyone, Some("other"), None, 10).await? == [ids[1]]);
    ensure!(list(viewer, None, None, 10).await? == [ids[2], ids[0]]);
    ensure!(list(viewer, Some("other"), None, 10).await? == [ids[2], ids[0]]);
    ensure!(list(viewer, None, None, 1).await? == [ids[2]]);
    ensure!(list(viewer, None, Some(ids[2]), 1).await? == [ids[0]]);
    ensure!(list(viewer, None, Some(ids[0]), 1).await?.is_empty());
    Ok(())
}

/// From where the reader stopped.
pub async fn events_can_be_read_from_any_point(bench: &Optimizing) -> Result<()> {
    let id = bench.submitted("r", "qa").await?.id;
    let bodies: Vec<Value> = (1..=3).map(|n| json!({ "n": n })).collect();
    bench.said(id, bodies.clone()).await?;
    let all = bench.events(id, 0, Duration::ZERO).await?;
    ensure!(all.iter().map(|event| event.seq).eq(1..=3));
    ensure!(all.iter().map(|event| &event.body).eq(&bodies));
    ensure!(bench.events(id, 2, WAIT).await? == all[2..]);
    let caller = &bench.callers.viewer;
    let few = bench.optimizer.events(caller, id, 0, 2, WAIT).await?;
    ensure!(few == all[..2]);
    ensure!(bench.events(id, 3, Duration::ZERO).await?.is_empty());
    Ok(())
}

/// A watcher needs no loop of its own.
pub async fn a_wait_for_events_ends_with_the_first(bench: &Optimizing) -> Result<()> {
    let id = bench.submitted("r", "qa").await?.id;
    let (waited, said) = tokio::join!(
        bench.events(id, 0, WAIT),
        bench.said(id, vec![json!({ "n": 1 })])
    );
    said?;
    ensure!(waited?.len() == 1);
    ensure!(
        bench
            .events(id, 1, Duration::from_millis(60))
            .await?
            .is_empty()
    );
    let (last, ended) = tokio::join!(bench.events(id, 1, WAIT), bench.ended(id, JobStatus::Done));
    ended?;
    ensure!(last?.len() == 1);
    let over = tokio::time::timeout(WAIT / 2, bench.events(id, 2, WAIT));
    ensure!(
        over.await
            .context("a job that is over is waited for")??
            .is_empty()
    );
    Ok(())
}

/// However often it is asked for.
pub async fn a_cancelled_job_stays_cancelled(bench: &Optimizing) -> Result<()> {
    let caller = &bench.callers.submitter;
    for (request, paused) in [("1", false), ("2", true)] {
        let id = bench.submitted(request, "qa").await?.id;
        if paused {
            bench.optimizer.set_paused(caller, id, true).await?;
        }
        let job = bench.optimizer.cancel(caller, id).await?;
        ensure!(job.status == JobStatus::Cancelled && job.stopped.is_some());
        ensure!(bench.optimizer.cancel(caller, id).await? == job);
        let refused = bench.optimizer.retry_dead_tasks(caller, id).await;
        ensure!(reason(refused)? == "JOB_STATE");
    }
    let done = bench.submitted("3", "qa").await?.id;
    bench.ended(done, JobStatus::Done).await?;
    let job = bench.optimizer.cancel(caller, done).await?;
    ensure!(job.status == JobStatus::Done, "one that is over stays");
    Ok(())
}

/// And a job that is over is neither paused nor resumed.
pub async fn a_job_is_paused_until_it_is_resumed(bench: &Optimizing) -> Result<()> {
    let caller = &bench.callers.submitter;
    let id = bench.submitted("r", "qa").await?.id;
    for paused in [true, true, false, false, true] {
        let job = bench.optimizer.set_paused(caller, id, paused).await?;
        ensure!(job.paused == paused && job.status == JobStatus::Running);
        ensure!(bench.jobs.get_job(id).await?.paused == paused);
        let waits = bench.jobs.jobs_to_tick(10).await?.contains(&id);
        ensure!(
            waits != paused,
            "a paused job is not ticked, a resumed one is"
        );
    }
    bench.ended(id, JobStatus::Done).await?;
    for paused in [true, false] {
        let refused = bench.optimizer.set_paused(caller, id, paused).await;
        ensure!(reason(refused)? == "JOB_STATE");
    }
    Ok(())
}

/// Trees are stored for all projects alike, so an id is no right to read one.
pub async fn only_a_jobs_own_variants_are_shown(bench: &Optimizing) -> Result<()> {
    let job = bench.submitted("r", "qa").await?;
    let (child, foreign) = (sample::variant_tree("Child."), sample::variant_tree("Not."));
    for tree in [&child, &foreign] {
        bench.variants.put_variant(tree).await?;
    }
    let row = |child: VariantId, parents: &[VariantId], iteration| Lineage {
        child,
        parents: parents.to_vec(),
        iteration,
        level: None,
        technique: None,
        hypothesis: "it helps".to_owned(),
        diff: DiffStats::default(),
    };
    let rows = vec![
        row(job.baseline, &[], 0),
        row(child.id(), &[job.baseline], 1),
    ];
    bench
        .ticked(job.id, |tick| tick.lineage.clone_from(&rows))
        .await?;
    let viewer = &bench.callers.viewer;
    let family = bench.optimizer.lineage(viewer, job.id).await?;
    ensure!(family.variants == rows && family.decisions.is_empty());
    let grown = bench.optimizer.job(viewer, job.id).await?;
    ensure!(grown.lineage_hash != job.lineage_hash);
    let tree = bench.optimizer.variant(viewer, job.id, child.id());
    ensure!(tree.await? == child);
    let tree = bench.optimizer.variant(viewer, job.id, job.baseline);
    ensure!(tree.await?.id() == job.baseline);
    let refused = bench.optimizer.variant(viewer, job.id, foreign.id());
    ensure!(reason(refused.await)? == "NOT_FOUND");
    Ok(())
}

/// A person mends the cause and says so.
pub async fn dead_tasks_are_listed_and_retried(bench: &Optimizing) -> Result<()> {
    let caller = &bench.callers.submitter;
    let id = bench.submitted("r", "qa").await?.id;
    let task = sample::new_task(id, 1);
    let doomed = task.id;
    bench.ticked(id, |tick| tick.tasks.push(task)).await?;
    ensure!(bench.optimizer.dead_tasks(caller, id).await?.is_empty());
    ensure!(bench.optimizer.retry_dead_tasks(caller, id).await? == 0);
    let lease = Duration::from_secs(30);
    let Claim::Claimed(claimed) = bench.tasks.claim_task(doomed, "w", lease).await? else {
        bail!("the task cannot be claimed")
    };
    let why = "MODEL_NO_KEY: there is no key";
    bench.tasks.kill_task(claimed.fence(), why).await?;
    let dead = bench
        .optimizer
        .dead_tasks(&bench.callers.viewer, id)
        .await?;
    ensure!(dead.len() == 1 && (dead[0].id, dead[0].reason.as_str()) == (doomed, why));
    let early = bench.optimizer.retry_dead_tasks(caller, id).await;
    ensure!(reason(early)? == "JOB_STATE", "it has not failed yet");
    bench.ended(id, JobStatus::Failed).await?;
    ensure!(bench.optimizer.retry_dead_tasks(caller, id).await? == 1);
    let job = bench.optimizer.job(caller, id).await?;
    ensure!(job.status == JobStatus::Running);
    ensure!(bench.optimizer.retry_dead_tasks(caller, id).await? == 0);
    Ok(())
}

/// As the reporter wrote it.
pub async fn a_report_comes_in_each_format(bench: &Optimizing) -> Result<()> {
    let id = bench.submitted("r", "qa").await?.id;
    for format in [
        ReportFormat::Markdown,
        ReportFormat::Html,
        ReportFormat::Json,
    ] {
        let viewer = &bench.callers.viewer;
        let bytes = bench.optimizer.report(viewer, id, format).await?;
        ensure!(bytes == format!("{id} {format:?}").into_bytes());
    }
    Ok(())
}

/// The suite of [`Optimizer`], as a module of tests.
///
/// `optimizer_suite!(sqlite, || async { Ok(Optimizing { .. }) })`; `$make` gives a fresh service each time.
#[macro_export]
macro_rules! optimizer_suite {
    ($module:ident, $make:expr) => {
        $crate::optimizer_suite!(@tests $module, $make, [
            a_blob_is_missing_until_it_is_uploaded,
            a_submission_becomes_a_job,
            an_evaluation_can_be_submitted,
            a_repeated_submission_is_the_same_job,
            a_request_id_names_one_request,
            a_submission_that_cannot_be_run_is_no_job,
            a_viewer_may_read_and_nothing_else,
            another_projects_job_does_not_exist,
            jobs_are_listed_newest_first,
            events_can_be_read_from_any_point,
            a_wait_for_events_ends_with_the_first,
            a_cancelled_job_stays_cancelled,
            a_job_is_paused_until_it_is_resumed,
            only_a_jobs_own_variants_are_shown,
            dead_tasks_are_listed_and_retried,
            a_report_comes_in_each_format,
        ]);
    };
    (@tests $module:ident, $make:expr, [$($name:ident),+ $(,)?]) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() -> anyhow::Result<()> {
                    let bench: $crate::suites::optimizer::Optimizing = ($make)().await?;
                    $crate::suites::optimizer::$name(&bench).await
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    /// A test that the macro does not name would never run.
    #[test]
    fn every_function_of_the_suite_is_named_by_the_macro() {
        let text = include_str!("optimizer.rs");
        let list = text
            .split_once("(@tests $module, $make, [")
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(list, _)| list)
            .unwrap();
        for rest in text.split("\npub async fn ").skip(1) {
            let name = rest.split_once('(').unwrap().0;
            assert!(list.contains(&format!("{name},")), "{name} never runs");
        }
    }
}
