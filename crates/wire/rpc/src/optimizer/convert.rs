//! Submissions, jobs, events, accounts.

use std::collections::BTreeMap;

use fapo_domain::clock::Timestamp;
use fapo_domain::model::job::{JobEvent, JobGoal};
use fapo_domain::ports::ledger::{Amount, Balance, Caps};
use fapo_domain::ports::optimizer::{JobSummary, Manifest, ReportFormat, Submission};
use fapo_domain::ports::tasks::DeadTask;
use fapo_domain::{TaskId, VariantId};
use fapo_proto::optimizer::v1 as pb;

use crate::common::{Enumerated, one_of, spelled, spend, unspelled, wire_spend};
use crate::read::{self, Invalid, Read, Within};

/// Files of one project.
const MOST_FILES: usize = 100_000;
/// Characters of a request's id.
const LONGEST_REQUEST_ID: usize = 64;

pub(super) fn wire_submission(submission: Submission) -> pb::SubmitJobRequest {
    pb::SubmitJobRequest {
        request_id: submission.request_id,
        project: submission.project,
        files: submission
            .files
            .0
            .into_iter()
            .map(|(path, hash)| pb::ManifestFile {
                path,
                sha256: hash.to_string(),
            })
            .collect(),
        goal: Some(wire_goal(&submission.goal)),
    }
}

pub(super) fn submission(message: pb::SubmitJobRequest) -> Read<Submission> {
    let request_id = read::named(message.request_id, "request_id")?;
    if request_id.chars().nth(LONGEST_REQUEST_ID).is_some() {
        let rule = format!("cannot be longer than {LONGEST_REQUEST_ID} characters");
        return Err(Invalid::new("request_id", rule));
    }
    read::at_most(message.files.len(), MOST_FILES, "files")?;
    let mut files = BTreeMap::new();
    for (position, file) in message.files.into_iter().enumerate() {
        let field = format!("files[{position}]");
        let path = read::named(file.path, "path").within(&field)?;
        let hash = read::hash(&file.sha256, "sha256").within(&field)?;
        if files.insert(path, hash).is_some() {
            return Err(Invalid::new(format!("{field}.path"), "is there twice"));
        }
    }
    Ok(Submission {
        request_id,
        project: read::named(message.project, "project")?,
        files: Manifest(files),
        goal: read::inner(message.goal, "goal", goal)?,
    })
}

fn wire_goal(goal: &JobGoal) -> pb::Goal {
    let kind = match goal {
        JobGoal::Optimize => pb::goal::Kind::Optimize(pb::OptimizeGoal {}),
        JobGoal::Evaluate {
            split,
            cases,
            sample,
        } => pb::goal::Kind::Evaluate(pb::EvaluateGoal {
            split: split.wire(),
            cases: *cases,
            sample: *sample,
        }),
    };
    pb::Goal { kind: Some(kind) }
}

fn goal(message: pb::Goal) -> Read<JobGoal> {
    Ok(match read::given(message.kind, "kind")? {
        pb::goal::Kind::Optimize(pb::OptimizeGoal {}) => JobGoal::Optimize,
        pb::goal::Kind::Evaluate(goal) => JobGoal::Evaluate {
            split: one_of(goal.split, "evaluate.split")?,
            cases: goal.cases,
            sample: goal.sample,
        },
    })
}

pub(super) fn wire_job(job: JobSummary) -> pb::Job {
    let progress = |(done, total)| Some(pb::Progress { done, total });
    let mean = |variant: VariantId, mean| {
        Some(pb::VariantMean {
            variant_id: variant.to_string(),
            mean,
        })
    };
    pb::Job {
        job_id: job.id.to_string(),
        project: job.project,
        goal: Some(wire_goal(&job.goal)),
        status: job.status.wire(),
        paused: job.paused,
        phase: job.phase,
        version: job.version,
        created_at: read::wire_timestamp(job.created_at),
        updated_at: read::wire_timestamp(job.updated_at),
        baseline: mean(job.baseline, job.baseline_mean),
        best: mean(job.best, job.best_mean),
        test: job
            .test
            .map(|(baseline, best)| pb::TestMeans { baseline, best }),
        proposals: progress((u64::from(job.proposals.0), u64::from(job.proposals.1))),
        cases: progress(job.cases),
        stopped: job.stopped,
        dead: job.dead,
        balance: Some(wire_balance(job.balance)),
        lineage_hash: job.lineage_hash.to_string(),
    }
}

pub(super) fn job(message: pb::Job) -> Read<JobSummary> {
    let variant = |message: Option<pb::VariantMean>, field| {
        read::inner(message, field, |message| {
            let id = VariantId(read::hash(&message.variant_id, "variant_id")?);
            Ok((id, message.mean))
        })
    };
    let (baseline, baseline_mean) = variant(message.baseline, "baseline")?;
    let (best, best_mean) = variant(message.best, "best")?;
    let few = |number: u64| {
        u32::try_from(number).map_err(|_| Invalid::new("proposals", "is out of range"))
    };
    let proposals = message.proposals.unwrap_or_default();
    let cases = message.cases.unwrap_or_default();
    Ok(JobSummary {
        id: read::job_id(&message.job_id, "job_id")?,
        project: message.project,
        goal: read::inner(message.goal, "goal", goal)?,
        status: one_of(message.status, "status")?,
        paused: message.paused,
        phase: message.phase,
        version: message.version,
        created_at: read::timestamp(message.created_at, "created_at")?,
        updated_at: read::timestamp(message.updated_at, "updated_at")?,
        baseline,
        baseline_mean,
        best,
        best_mean,
        test: message.test.map(|means| (means.baseline, means.best)),
        proposals: (few(proposals.done)?, few(proposals.total)?),
        cases: (cases.done, cases.total),
        stopped: message.stopped,
        dead: message.dead,
        balance: read::inner(message.balance, "balance", balance)?,
        lineage_hash: read::hash(&message.lineage_hash, "lineage_hash")?,
    })
}

fn wire_amount(amount: Amount) -> pb::Amount {
    pb::Amount {
        micro_usd: read::micro_usd(amount.cost),
        model_calls: amount.model_calls,
    }
}

/// An absent message is nothing.
fn amount(message: Option<pb::Amount>, field: &str) -> Read<Amount> {
    let message = message.unwrap_or_default();
    Ok(Amount {
        cost: read::money(message.micro_usd, "micro_usd").within(field)?,
        model_calls: message.model_calls,
    })
}

fn wire_balance(balance: Balance) -> pb::Balance {
    pb::Balance {
        caps: Some(pb::Caps {
            micro_usd: balance.caps.cost.map(read::micro_usd),
            model_calls: balance.caps.model_calls,
        }),
        reserved: Some(wire_amount(balance.reserved)),
        spent: balance
            .spent
            .into_iter()
            .map(|(role, spend)| pb::RoleSpend {
                role: role.wire(),
                spend: Some(wire_spend(spend)),
            })
            .collect(),
        lost: Some(wire_amount(balance.lost)),
    }
}

fn balance(message: pb::Balance) -> Read<Balance> {
    let caps = message.caps.unwrap_or_default();
    let cost = |cost| read::money(cost, "caps.micro_usd");
    Ok(Balance {
        caps: Caps {
            cost: caps.micro_usd.map(cost).transpose()?,
            model_calls: caps.model_calls,
        },
        reserved: amount(message.reserved, "reserved")?,
        spent: read::each(message.spent, "spent", |entry| {
            Ok((one_of(entry.role, "role")?, spend(entry.spend, "spend")?))
        })?,
        lost: amount(message.lost, "lost")?,
    })
}

pub(super) fn wire_event(event: &JobEvent) -> pb::Event {
    pb::Event {
        seq: event.seq,
        at: read::wire_timestamp(event.at),
        body_json: read::wire_json(&event.body),
    }
}

pub(super) fn event(message: pb::Event) -> Read<JobEvent> {
    let at: Timestamp = read::timestamp(message.at, "at")?;
    Ok(JobEvent {
        seq: message.seq,
        at,
        body: read::json(&message.body_json, "body_json")?,
    })
}

pub(super) fn wire_dead_task(task: DeadTask) -> pb::DeadTask {
    pb::DeadTask {
        task_id: task.id.to_string(),
        topic: spelled(&task.topic),
        reason: task.reason,
    }
}

pub(super) fn dead_task(message: pb::DeadTask) -> Read<DeadTask> {
    Ok(DeadTask {
        id: TaskId(read::hash(&message.task_id, "task_id")?),
        topic: unspelled(&message.topic, "topic")?,
        reason: message.reason,
    })
}

/// What the bytes of a report are.
pub(super) const fn media_type(format: ReportFormat) -> &'static str {
    match format {
        ReportFormat::Markdown => "text/markdown; charset=utf-8",
        ReportFormat::Html => "text/html; charset=utf-8",
        ReportFormat::Json => "application/json",
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::MicroUsd;

    use crate::read;

    #[test]
    fn money_beyond_the_wire_s_integers_is_their_most() {
        assert_eq!(read::micro_usd(MicroUsd(u64::MAX)), i64::MAX);
        assert!(read::money(-1, "cost").is_err());
    }
}
