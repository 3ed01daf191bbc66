//! A job in figures: what `fapo status`, the progress line and every client of [`Optimizer`] show, from one place.
//!
//! [`Optimizer`]: fapo_domain::ports::optimizer::Optimizer

use fapo_domain::hash::ContentHash;
use fapo_domain::model::job::Job;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::ledger::{Balance, Ledger};
use fapo_domain::ports::optimizer::JobSummary;
use fapo_policy::JobState;

/// What stands for the phase of a job whose state this program cannot read.
pub const UNKNOWN_PHASE: &str = "unknown";

/// Reads what a job's summary needs besides its row, and sums it up.
///
/// # Errors
/// The store's.
pub async fn read_summary(
    jobs: &dyn Jobs,
    ledger: &dyn Ledger,
    job: &Job,
) -> Result<JobSummary, StoreError> {
    let (balance, lineage, decisions) = tokio::try_join!(
        ledger.balance(job.id),
        jobs.lineage(job.id),
        jobs.decisions(job.id),
    )?;
    let hash = fapo_policy::lineage_hash(&lineage, &decisions);
    Ok(summarize(job, balance, hash))
}

/// Sums up a job from its row, its account and the hash over its lineage. Pure and total: a state that a newer program wrote
/// leaves blanks, so that a list of jobs never fails over one of them.
pub fn summarize(job: &Job, balance: Balance, lineage_hash: ContentHash) -> JobSummary {
    let budget = &job.spec.project.budget;
    let blank = JobSummary {
        id: job.id,
        project: job.project.clone(),
        goal: job.spec.goal.clone(),
        status: job.status,
        paused: job.paused,
        phase: UNKNOWN_PHASE.to_owned(),
        version: job.version,
        created_at: job.created_at,
        updated_at: job.updated_at,
        baseline: job.spec.baseline,
        baseline_mean: None,
        best: job.spec.baseline,
        best_mean: None,
        test: None,
        proposals: (0, budget.proposals),
        cases: (0, 0),
        stopped: None,
        dead: Vec::new(),
        balance,
        lineage_hash,
    };
    match <JobState as serde::Deserialize>::deserialize(&job.state) {
        Ok(state) => filled(blank, &state),
        Err(_) => blank,
    }
}

fn filled(blank: JobSummary, state: &JobState) -> JobSummary {
    let evaluated = state.evaluated.as_ref();
    let measured = evaluated.and_then(|measured| measured.summary.mean());
    let test = state.test.as_ref().and_then(|test| {
        let best = test.best.as_ref().unwrap_or(&test.baseline);
        Some((test.baseline.mean()?, best.mean()?))
    });
    let cases = state.stages.iter().fold((0, 0), |(done, all), stage| {
        (done + stage.summary.total(), all + stage.evaluation.cases)
    });
    JobSummary {
        phase: state.phase.as_str().to_owned(),
        baseline_mean: measured.or_else(|| state.baseline.val_mean()),
        best: state.incumbent.variant,
        best_mean: measured.or_else(|| state.incumbent.val_mean()),
        test,
        proposals: (state.proposals_asked, blank.proposals.1),
        cases,
        stopped: state.stop.as_ref().map(|stop| stop.reason.clone()),
        dead: state.dead.values().cloned().collect(),
        ..blank
    }
}
