//! Jobs and variants by the names people give them.

use std::collections::BTreeSet;

use fapo_domain::model::job::{Job, JobGoal, JobStatus};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::{JobId, VariantId};

use super::Context;
use super::advice::Advice;
use crate::ports::Ports;
use crate::report::assemble::read_state;

/// Jobs looked through.
const LIMIT: u32 = 1000;

/// That there is nothing to be shown of.
pub(super) fn no_optimization() -> Advice {
    Advice::new("there is no optimization yet", "`fapo optimize` starts one")
}

/// All jobs of the store, newest first.
pub async fn jobs(ports: &Ports) -> anyhow::Result<Vec<Job>> {
    Ok(ports.jobs.list_jobs(None, None, LIMIT).await?)
}

/// Candidates that are told of one ambiguous name.
const TOLD: usize = 8;

/// The job that `name` stands for: the beginning of its id as it is shown, or the beginning or the end of the whole id.
/// Without a name the newest optimization.
pub async fn job(ports: &Ports, name: Option<&str>) -> anyhow::Result<Job> {
    let jobs = jobs(ports).await?;
    let Some(name) = name else {
        return jobs
            .into_iter()
            .find(|job| job.spec.goal == JobGoal::Optimize)
            .ok_or_else(|| no_optimization().into());
    };
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let id = pick(&ids, name)?;
    let found = jobs.into_iter().find(|job| job.id == id);
    found.ok_or_else(|| no_job(name).into())
}

/// The one id that `name` stands for. A whole id, or a whole shown id, is that one whatever else it may be a part of.
pub(super) fn pick(ids: &[JobId], name: &str) -> Result<JobId, Advice> {
    let wanted = name.to_lowercase().replace('-', "");
    if wanted.is_empty() {
        return Err(no_job(name));
    }
    let exact = |id: &JobId| id.short() == wanted || plain(*id) == wanted;
    let part = |id: &JobId| {
        let plain = plain(*id);
        id.short().starts_with(&wanted) || plain.starts_with(&wanted) || plain.ends_with(&wanted)
    };
    let mut found: Vec<JobId> = ids.iter().copied().filter(exact).collect();
    if found.is_empty() {
        found = ids.iter().copied().filter(part).collect();
    }
    match found.as_slice() {
        [] => Err(no_job(name)),
        [id] => Ok(*id),
        several => Err(ambiguous(name, several)),
    }
}

fn no_job(name: &str) -> Advice {
    Advice::new(
        format!("there is no job {name}"),
        "`fapo status` lists the jobs",
    )
}

fn ambiguous(name: &str, ids: &[JobId]) -> Advice {
    let shorts: BTreeSet<String> = ids.iter().map(JobId::short).collect();
    // where the shown ids do not tell them apart, the whole ones do
    let shown = |id: &JobId| {
        if shorts.len() == ids.len() {
            id.short()
        } else {
            id.to_string()
        }
    };
    let listed: Vec<String> = ids.iter().take(TOLD).map(shown).collect();
    let more = match ids.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Advice::new(
        format!(
            "{name} may be any of {} jobs: {}{more}",
            ids.len(),
            listed.join(", ")
        ),
        "give more digits; `fapo status` lists the jobs",
    )
}

/// The id's digits.
fn plain(id: JobId) -> String {
    id.0.simple().to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An id with these last six bytes.
    fn id(unix_ms: u64, end: [u8; 6]) -> JobId {
        let mut random = [7; 10];
        random[4..].copy_from_slice(&end);
        JobId::at(unix_ms, random)
    }

    #[test]
    fn a_job_is_found_by_any_beginning_of_what_is_shown_of_it() {
        let one = id(0x0190_0000_0000, [0x9c, 0x56, 0xb7, 0x20, 0x44, 0x3c]);
        let other = id(0x0191_0000_0000, [0x9d, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let ids = [one, other];
        let whole = one.to_string();
        for name in ["9c56", "9C56b7", "9c56b720443c", "443c", "0190", &whole] {
            assert_eq!(pick(&ids, name).unwrap(), one, "{name}");
        }
        for name in ["56b7", "zz", "", "-"] {
            let said = pick(&ids, name).unwrap_err().to_string();
            assert_eq!(said, format!("there is no job {name}"));
        }
    }

    #[test]
    fn a_name_of_several_jobs_is_told_with_all_of_them() {
        let ids = [
            id(1 << 40, [0x9c, 1, 2, 3, 4, 5]),
            id(2 << 40, [0x9d, 1, 2, 3, 4, 0x9c]),
        ];
        let said = pick(&ids, "9").unwrap_err().to_string();
        assert_eq!(said, "9 may be any of 2 jobs: 9c0102030405, 9d010203049c");
        // the beginning of one and the end of the other
        assert!(pick(&ids, "9c").is_err());
        assert_eq!(pick(&ids, "9c0").unwrap(), ids[0]);
        let twins = [id(1 << 40, [0xab; 6]), id(2 << 40, [0xab; 6])];
        let said = pick(&twins, "abab").unwrap_err().to_string();
        assert!(said.contains(&twins[1].to_string()), "{said}");
        let many: Vec<JobId> = (0..12)
            .map(|end| id(1 << 40, [0xcd, 0, 0, 0, 0, end]))
            .collect();
        let said = pick(&many, "cd").unwrap_err().to_string();
        assert!(said.ends_with("and 4 more"), "{said}");
    }
}
