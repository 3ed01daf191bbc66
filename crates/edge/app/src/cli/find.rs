//! Jobs and variants by the names people give them.

use std::collections::BTreeSet;

use fapo_domain::VariantId;
use fapo_domain::model::job::{Job, JobGoal, JobStatus};
use fapo_domain::model::variant::VariantTree;

use super::Context;
use super::advice::Advice;
use crate::ports::Ports;
use crate::report::assemble::read_state;

/// Jobs looked through.
const LIMIT: u32 = 1000;

/// All jobs of the store, newest first.
pub async fn jobs(ports: &Ports) -> anyhow::Result<Vec<Job>> {
    Ok(ports.jobs.list_jobs(None, LIMIT).await?)
}

/// The job whose id begins or ends with `name`; without a name the newest optimization.
pub async fn job(ports: &Ports, name: Option<&str>) -> anyhow::Result<Job> {
    let jobs = jobs(ports).await?;
    let Some(name) = name else {
        return jobs
            .into_iter()
            .find(|job| job.spec.goal == JobGoal::Optimize)
            .ok_or_else(|| {
                Advice::new("there is no optimization yet", "`fapo optimize` starts one").into()
            });
    };
    let mut found = jobs.into_iter().filter(|job| is_named(job, name));
    match (found.next(), found.next()) {
        (Some(job), None) => Ok(job),
        (Some(_), Some(_)) => Err(Advice::new(
            format!("several jobs are called {name}"),
            "give more digits; `fapo status` lists the jobs",
        )
        .into()),
        (None, _) => Err(Advice::new(
            format!("there is no job {name}"),
            "`fapo status` lists the jobs",
        )
        .into()),
    }
}

/// Puts the dead tasks of a failed job back to work, and the job with them. Says whether there was anything to revive.
pub async fn revive(context: &Context, ports: &Ports, job: &Job) -> anyhow::Result<bool> {
    if job.status != JobStatus::Failed {
        return Ok(false);
    }
    let revived = ports.tasks.retry_dead_tasks(job.id).await?;
    if revived > 0 {
        context.output.note(&format!(
            "job {} had failed; {} tried again",
            job.id.short(),
            match revived {
                1 => "the task that died is".to_owned(),
                more => format!("the {more} tasks that died are"),
            }
        ));
    }
    Ok(revived > 0)
}

fn is_named(job: &Job, name: &str) -> bool {
    let plain = job.id.0.simple().to_string();
    let wanted = name.to_lowercase().replace('-', "");
    !wanted.is_empty() && (plain.starts_with(&wanted) || plain.ends_with(&wanted))
}

/// A variant that a name stands for.
#[derive(Debug)]
pub struct Named {
    /// Its id.
    pub id: VariantId,
    /// Its files.
    pub tree: VariantTree,
}

/// The variant called `name`: `baseline` or `best` of the job (the newest optimization where none is given), `current` for
/// the project's folder, or the first digits of a hash.
pub async fn variant(
    ports: &Ports,
    name: &str,
    job_name: Option<&str>,
    current: impl FnOnce() -> anyhow::Result<VariantTree>,
) -> anyhow::Result<Named> {
    let id = match name {
        "current" => {
            let tree = current()?;
            return Ok(Named {
                id: tree.id(),
                tree,
            });
        }
        "baseline" => job(ports, job_name).await?.spec.baseline,
        "best" => read_state(&job(ports, job_name).await?)?.incumbent.variant,
        digits => by_digits(ports, digits).await?,
    };
    let tree = ports.variants.get_variant(id).await?;
    Ok(Named { id, tree })
}

async fn by_digits(ports: &Ports, digits: &str) -> anyhow::Result<VariantId> {
    let wanted = digits.to_lowercase();
    let mut found = BTreeSet::new();
    for job in jobs(ports).await? {
        let refused = read_state(&job)
            .map(|state| {
                state
                    .candidates
                    .iter()
                    .filter_map(|candidate| candidate.attempt.variant)
                    .collect::<Vec<_>>()
            })
            .unwrap_or_default();
        let made = ports.jobs.lineage(job.id).await?;
        found.extend(
            made.iter()
                .map(|row| row.child)
                .chain(refused)
                .chain([job.spec.baseline])
                .filter(|id| id.to_string().starts_with(&wanted)),
        );
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(Advice::new(
            format!("several variants begin with {digits}"),
            "give more digits; `fapo lineage` lists the variants",
        )
        .into()),
        (None, _) => Err(Advice::new(
            format!("there is no variant {digits}"),
            "`fapo lineage` lists the variants; baseline, best and current work, too",
        )
        .into()),
    }
}
