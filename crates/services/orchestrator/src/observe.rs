//! What metrics say about jobs.

use std::time::Duration;

use fapo_domain::measure;
use fapo_domain::model::decision::{DecisionKind, GateOutcome};
use fapo_domain::model::job::{Job, JobStatus};
use fapo_domain::model::task::Topic;
use fapo_domain::ports::jobs::Tick;
use fapo_domain::ports::tasks::DueTask;

/// What a tick is to change, counted once it is committed.
pub(crate) struct Changes {
    verdicts: Vec<&'static str>,
    /// Where the job came to another status.
    status: Option<&'static str>,
}

impl Changes {
    pub(crate) fn of(job: &Job, tick: &Tick) -> Self {
        Self {
            verdicts: tick
                .decisions
                .iter()
                .filter_map(|decision| verdict(&decision.what))
                .collect(),
            status: (tick.status != job.status).then_some(status(tick.status)),
        }
    }

    pub(crate) fn count(self) {
        for verdict in self.verdicts {
            measure!(monotonic_counter.fapo_decisions_total = 1_u64, verdict);
        }
        if let Some(status) = self.status {
            measure!(monotonic_counter.fapo_job_transitions_total = 1_u64, status);
        }
    }
}

/// Counts a tick.
pub(crate) fn ticked(well: bool, took: Duration) {
    let outcome = if well { "ok" } else { "failed" };
    measure!(histogram.fapo_tick_seconds = took.as_secs_f64(), outcome);
}

/// Notes what waits, as the rows say. Topics for which nothing waits are noted too: a gauge keeps its last value.
pub(crate) fn due(tasks: &[DueTask], jobs: usize) {
    for topic in Topic::ALL {
        let waiting = tasks.iter().filter(|task| task.topic == topic).count();
        measure!(
            gauge.fapo_tasks_due = waiting as u64,
            topic = topic.as_str()
        );
    }
    measure!(gauge.fapo_jobs_due = jobs as u64);
}

/// The word for a decision on a candidate; others are none.
const fn verdict(what: &DecisionKind) -> Option<&'static str> {
    match what {
        DecisionKind::Gate { outcome, .. } => Some(match outcome {
            GateOutcome::Pass => "passed_train",
            GateOutcome::Reject => "rejected",
            GateOutcome::Branch => "branched",
            GateOutcome::Promote => "promoted",
            GateOutcome::Undecided => "undecided",
        }),
        DecisionKind::Refusal { .. } => Some("refused"),
        DecisionKind::SentBack { .. } => Some("sent_back"),
        DecisionKind::LevelLeft { .. }
        | DecisionKind::LevelOpened { .. }
        | DecisionKind::LevelSkipped { .. }
        | DecisionKind::Stopped { .. }
        | DecisionKind::TestSkipped => None,
    }
}

const fn status(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Running => "running",
        JobStatus::Done => "done",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "cancelled",
    }
}
