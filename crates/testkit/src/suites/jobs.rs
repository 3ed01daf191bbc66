//! What every [`fapo_domain::ports::jobs::Jobs`] must do.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fapo_domain::clock::Clock;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{Decision, DecisionKind, GateOutcome, StopReason};
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::task::TaskState;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::{DiffStats, Lineage};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Tick;
use fapo_domain::ports::tasks::Claim;
use fapo_domain::{JobId, VariantId};
use serde_json::json;

use super::Ports;
use super::tasks::{LEASE, claim, created, with_tasks};
use crate::sample;

/// A place in a distributed trace.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A tick that changes nothing but the version.
pub(super) fn tick(job: JobId, expected_version: u64) -> Tick {
    Tick {
        job,
        expected_version,
        state: json!({ "at": expected_version + 1 }),
        status: JobStatus::Running,
        events: Vec::new(),
        tasks: Vec::new(),
        consumed: Vec::new(),
        lineage: Vec::new(),
        decisions: Vec::new(),
        open_test: None,
        trace: None,
    }
}

fn decision(seq: u32) -> Decision {
    Decision {
        seq,
        iteration: 1,
        what: DecisionKind::Gate {
            candidate: VariantId(sample::hash("child")),
            parent: VariantId(sample::hash("parent")),
            split: Split::Train,
            outcome: GateOutcome::Pass,
            comparison: None,
        },
        reason: "it gained".to_owned(),
        evidence: json!({ "gain": 0.125 }),
    }
}

fn lineage(child: &str) -> Lineage {
    Lineage {
        child: VariantId(sample::hash(child)),
        parents: vec![VariantId(sample::hash("p1")), VariantId(sample::hash("p2"))],
        iteration: 3,
        level: Some(Level::Parameter),
        technique: Some(Technique::RetrievalDepth),
        hypothesis: "more documents help".to_owned(),
        diff: DiffStats {
            files: 1,
            added: 2,
            removed: 3,
        },
    }
}

/// Every field.
pub async fn a_job_comes_back_as_it_was_made(ports: &Ports) -> Result<()> {
    let id = sample::job_id(1);
    let now = ports.clock.now();
    let state = json!({ "any": ["thing", 1, null] });
    let spec = sample::job_spec("p");
    let trace: TraceParent = TRACE.parse()?;
    ports
        .jobs
        .create_job(id, spec.clone(), state.clone(), now, Some(trace.clone()))
        .await?;
    let job = ports.jobs.get_job(id).await?;
    ensure!((job.id, job.project.as_str(), job.version) == (id, "p", 0));
    ensure!(job.spec == spec && job.state == state && job.status == JobStatus::Running);
    ensure!((job.created_at, job.updated_at) == (now, now));
    ensure!(!job.paused && job.trace == Some(trace));
    let absent = ports.jobs.get_job(sample::job_id(2)).await;
    ensure!(matches!(absent, Err(StoreError::NotFound { .. })));
    Ok(())
}

/// A repeated submission must not undo what has happened since.
pub async fn creating_again_is_harmless_unless_the_spec_differs(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    ports.jobs.commit_tick(tick(job, 0)).await?;
    ensure!(created(ports, 1).await? == job);
    ensure!(ports.jobs.get_job(job).await?.version == 1);
    let other = ports
        .jobs
        .create_job(
            job,
            sample::job_spec("other"),
            json!({}),
            ports.clock.now(),
            None,
        )
        .await;
    ensure!(matches!(other, Err(StoreError::AlreadyExists { .. })));
    Ok(())
}

/// By project or all, up to a limit.
pub async fn jobs_are_listed_newest_first(ports: &Ports) -> Result<()> {
    for (number, project) in [(1, "a"), (2, "b"), (3, "a")] {
        ports.clock.advance(Duration::from_secs(1));
        let spec = sample::job_spec(project);
        ports
            .jobs
            .create_job(
                sample::job_id(number),
                spec,
                json!({}),
                ports.clock.now(),
                None,
            )
            .await?;
    }
    let list = async |project, limit| -> Result<Vec<JobId>> {
        let jobs = ports.jobs.list_jobs(project, None, limit).await?;
        Ok(jobs.iter().map(|job| job.id).collect())
    };
    let id = sample::job_id;
    ensure!(list(None, 10).await? == [id(3), id(2), id(1)]);
    ensure!(list(Some("a"), 10).await? == [id(3), id(1)]);
    ensure!(list(None, 1).await? == [id(3)]);
    ensure!(list(Some("c"), 10).await?.is_empty());
    let before = async |project, before| -> Result<Vec<JobId>> {
        let jobs = ports.jobs.list_jobs(project, Some(before), 10).await?;
        Ok(jobs.iter().map(|job| job.id).collect())
    };
    ensure!(before(None, id(3)).await? == [id(2), id(1)]);
    ensure!(before(Some("a"), id(3)).await? == [id(1)]);
    ensure!(before(None, id(1)).await?.is_empty());
    ensure!(before(None, id(9)).await?.is_empty());
    Ok(())
}

/// Nothing of it begins, what is under way ends, and the time of the pause does not count.
pub async fn a_paused_job_begins_nothing_until_it_is_resumed(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 2).await?;
    let under_way = claim(ports, job, 0).await?;
    let before = ports.jobs.get_job(job).await?;
    ensure!(ports.jobs.set_paused(job, true).await?);
    ensure!(ports.jobs.set_paused(job, true).await?);
    let paused = ports.jobs.get_job(job).await?;
    ensure!(paused.paused && paused.status == JobStatus::Running);
    ensure!(paused.version == before.version + 1, "once, not twice");
    let waiting = sample::task_id(job, 1);
    let claimed = ports.tasks.claim_task(waiting, "a", LEASE).await?;
    ensure!(claimed == Claim::Over, "{claimed:?}");
    ensure!(ports.tasks.due_tasks(10).await?.is_empty());
    ports.tasks.renew_task(under_way, LEASE).await?;
    ports.tasks.complete_task(under_way, json!(1)).await?;
    ensure!(ports.jobs.jobs_to_tick(10).await?.is_empty());
    ports.clock.advance(Duration::from_secs(3600));
    ensure!(!ports.jobs.set_paused(job, false).await?);
    let resumed = ports.jobs.get_job(job).await?;
    ensure!(!resumed.paused && resumed.updated_at == ports.clock.now());
    ensure!(ports.jobs.jobs_to_tick(10).await? == [job]);
    ensure!(ports.tasks.due_tasks(10).await?.len() == 1);
    claim(ports, job, 1).await?;
    let absent = ports.jobs.set_paused(sample::job_id(9), true).await;
    ensure!(matches!(absent, Err(StoreError::NotFound { .. })));
    Ok(())
}

/// Its place in the distributed trace goes from the tick to whoever claims the task.
pub async fn a_task_carries_the_trace_of_its_tick(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    let trace: TraceParent = TRACE.parse()?;
    let first = Tick {
        tasks: vec![sample::new_task(job, 0)],
        trace: Some(trace.clone()),
        ..tick(job, 0)
    };
    ports.jobs.commit_tick(first).await?;
    let task = sample::task_id(job, 0);
    let Claim::Claimed(claimed) = ports.tasks.claim_task(task, "a", LEASE).await? else {
        bail!("a queued task can be claimed");
    };
    ensure!(claimed.trace == Some(trace));
    Ok(())
}

/// What is under way learns of it at its next heartbeat.
pub async fn a_lease_of_a_final_job_is_not_renewed(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let claimed = claim(ports, job, 0).await?;
    let last = Tick {
        status: JobStatus::Cancelled,
        ..tick(job, 1)
    };
    ports.jobs.commit_tick(last).await?;
    let renewed = ports.tasks.renew_task(claimed, LEASE).await;
    ensure!(matches!(renewed, Err(StoreError::StaleLease { .. })));
    Ok(())
}

/// State, status, events, tasks, consumed marks, lineage and decisions.
pub async fn a_tick_commits_everything_at_once(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let done = claim(ports, job, 0).await?;
    ports.tasks.complete_task(done, json!("result")).await?;
    ports.clock.advance(Duration::from_secs(5));
    let version = ports
        .jobs
        .commit_tick(Tick {
            events: vec![json!({ "event": "b" }), json!({ "event": "c" })],
            // the first is there already and stays as it is
            tasks: vec![sample::new_task(job, 0), sample::new_task(job, 1)],
            consumed: vec![done.task],
            lineage: vec![lineage("one"), lineage("two")],
            decisions: vec![decision(0), decision(1)],
            ..tick(job, 1)
        })
        .await?;
    ensure!(version == 2);
    let row = ports.jobs.get_job(job).await?;
    ensure!(row.version == 2 && row.state == json!({ "at": 2 }));
    ensure!(row.updated_at == ports.clock.now() && row.created_at < row.updated_at);
    let events = ports.jobs.events(job, 0, 10).await?;
    ensure!(events.len() == 2 && events[0].seq == 1 && events[1].body == json!({ "event": "c" }));
    ensure!(events[0].at == ports.clock.now());
    ensure!(ports.tasks.finished_tasks(job, 10).await?.is_empty());
    let due = ports.tasks.due_tasks(10).await?;
    ensure!(due.len() == 1 && due[0].id == sample::task_id(job, 1));
    ensure!(ports.jobs.lineage(job).await? == [lineage("one"), lineage("two")]);
    ensure!(ports.jobs.decisions(job).await? == [decision(0), decision(1)]);

    let more = Tick {
        events: vec![json!("d")],
        lineage: vec![Lineage {
            level: None,
            technique: None,
            parents: Vec::new(),
            ..lineage("three")
        }],
        decisions: vec![Decision {
            what: DecisionKind::Stopped {
                why: StopReason::TargetMet,
            },
            ..decision(2)
        }],
        ..tick(job, 2)
    };
    ports.jobs.commit_tick(more).await?;
    let lineage = ports.jobs.lineage(job).await?;
    ensure!(lineage.len() == 3 && lineage[2].level.is_none() && lineage[2].parents.is_empty());
    ensure!(ports.jobs.events(job, 2, 10).await?[0].seq == 3);
    ensure!(ports.jobs.decisions(job).await?.len() == 3);
    Ok(())
}

/// A conflict leaves no trace.
pub async fn a_tick_on_an_old_version_writes_nothing(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    ports.jobs.commit_tick(tick(job, 0)).await?;
    let stale = Tick {
        events: vec![json!("x")],
        tasks: vec![sample::new_task(job, 0)],
        lineage: vec![lineage("x")],
        ..tick(job, 0)
    };
    let error = ports.jobs.commit_tick(stale).await;
    ensure!(matches!(error, Err(StoreError::VersionConflict { .. })));
    ensure!(ports.jobs.get_job(job).await?.version == 1);
    ensure!(ports.jobs.events(job, 0, 10).await?.is_empty());
    ensure!(ports.tasks.due_tasks(10).await?.is_empty());
    ensure!(ports.jobs.lineage(job).await?.is_empty());
    let absent = ports.jobs.commit_tick(tick(sample::job_id(9), 0)).await;
    ensure!(matches!(absent, Err(StoreError::NotFound { .. })));
    Ok(())
}

/// Whatever the interleaving.
pub async fn of_two_ticks_at_once_one_wins(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    for version in 0..20 {
        let (a, b) = futures::join!(
            ports.jobs.commit_tick(tick(job, version)),
            ports.jobs.commit_tick(tick(job, version))
        );
        ensure!(a.is_ok() != b.is_ok());
    }
    ensure!(ports.jobs.get_job(job).await?.version == 20);
    Ok(())
}

/// A decision that is there already is a bug in whoever ticks; the whole tick is refused.
pub async fn a_failed_tick_writes_nothing(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    let first = Tick {
        decisions: vec![decision(0)],
        ..tick(job, 0)
    };
    ports.jobs.commit_tick(first).await?;
    let second = Tick {
        events: vec![json!("x")],
        tasks: vec![sample::new_task(job, 0)],
        decisions: vec![decision(0)],
        ..tick(job, 1)
    };
    let error = ports.jobs.commit_tick(second).await;
    ensure!(matches!(error, Err(StoreError::AlreadyExists { .. })));
    ensure!(ports.jobs.get_job(job).await?.version == 1);
    ensure!(ports.jobs.events(job, 0, 10).await?.is_empty());
    ensure!(ports.tasks.due_tasks(10).await?.is_empty());
    Ok(())
}

/// A leased one may end as it likes; its result is of no more use.
pub async fn a_final_job_has_its_queued_tasks_cancelled(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 3).await?;
    let leased = claim(ports, job, 0).await?;
    let last = Tick {
        status: JobStatus::Done,
        ..tick(job, 1)
    };
    ports.jobs.commit_tick(last).await?;
    for number in 1..3 {
        let id = sample::task_id(job, number);
        ensure!(ports.tasks.claim_task(id, "w", LEASE).await? == Claim::Over);
    }
    ensure!(ports.tasks.due_tasks(10).await?.is_empty());
    let state = ports
        .tasks
        .fail_task(leased, "stopped", ports.clock.now(), 9)
        .await?;
    ensure!(state == TaskState::Cancelled);
    ensure!(ports.jobs.jobs_to_tick(10).await?.is_empty());
    Ok(())
}

/// New jobs, jobs with results, and none that wait or are final.
pub async fn jobs_to_tick_are_those_with_something_to_do(ports: &Ports) -> Result<()> {
    let fresh = created(ports, 1).await?;
    let waiting = with_tasks(ports, 2, 2).await?;
    let finished = with_tasks(ports, 3, 2).await?;
    let fence = claim(ports, finished, 0).await?;
    ports.tasks.complete_task(fence, json!(1)).await?;
    let over = created(ports, 4).await?;
    let last = Tick {
        status: JobStatus::Failed,
        ..tick(over, 0)
    };
    ports.jobs.commit_tick(last).await?;
    ensure!(ports.jobs.jobs_to_tick(10).await? == [fresh, finished]);
    ensure!(ports.jobs.jobs_to_tick(1).await?.len() == 1);

    let consumed = Tick {
        consumed: vec![fence.task],
        ..tick(finished, 1)
    };
    ports.jobs.commit_tick(consumed).await?;
    ensure!(ports.jobs.jobs_to_tick(10).await? == [fresh]);
    // when nothing is under way any more, somebody must look at it
    for number in 0..2 {
        let fence = claim(ports, waiting, number).await?;
        ports.tasks.complete_task(fence, json!(1)).await?;
    }
    ensure!(ports.jobs.jobs_to_tick(10).await? == [fresh, waiting]);
    Ok(())
}

/// A reader that was away misses nothing.
pub async fn events_can_be_read_from_any_point(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    for version in 0..10u64 {
        let one = Tick {
            events: (0..20).map(|n| json!(version * 20 + n)).collect(),
            ..tick(job, version)
        };
        ports.jobs.commit_tick(one).await?;
    }
    let events = ports.jobs.events(job, 57, 100).await?;
    ensure!(events.len() == 100);
    ensure!(events.iter().zip(58..).all(|(event, seq)| event.seq == seq));
    ensure!(events[0].body == json!(57));
    ensure!(ports.jobs.events(job, 200, 100).await?.is_empty());
    ensure!(
        ports
            .jobs
            .events(sample::job_id(9), 0, 100)
            .await?
            .is_empty()
    );
    Ok(())
}

/// A tick that is lost opens nothing, so that a job killed there may still end otherwise. Once a tick is there, what it
/// opened stays.
pub async fn the_sealed_test_opens_once_and_with_its_tick(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    let opening = |version, what: &str| Tick {
        open_test: Some(sample::hash(what)),
        ..tick(job, version)
    };
    let lost = ports.jobs.commit_tick(opening(7, "a and b")).await;
    ensure!(matches!(lost, Err(StoreError::VersionConflict { .. })));
    ports.jobs.commit_tick(opening(0, "a and c")).await?;
    ports.jobs.commit_tick(opening(1, "a and c")).await?;
    ports.jobs.commit_tick(tick(job, 2)).await?;
    let other = ports.jobs.commit_tick(opening(3, "a and b")).await;
    ensure!(matches!(other, Err(StoreError::AlreadyExists { .. })));
    ensure!(ports.jobs.get_job(job).await?.version == 3);
    Ok(())
}
