//! The two entry points.

use fapo_domain::JobId;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::decision::Decision;
use fapo_domain::model::job::{JobSpec, JobStatus};
use fapo_domain::model::task::{FinishedTask, NewTask};
use fapo_domain::model::variant::Lineage;
use fapo_domain::ports::ledger::Balance;

use crate::engine::Engine;
use crate::event::Event;
use crate::state::{JobState, Phase};

/// What comes of a tick, to be committed at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Advance {
    /// The next state.
    pub state: JobState,
    /// The job's status.
    pub status: JobStatus,
    /// Events to append.
    pub events: Vec<Event>,
    /// Tasks to create.
    pub tasks: Vec<NewTask>,
    /// Lineage rows to add.
    pub lineage: Vec<Lineage>,
    /// Decision rows to add.
    pub decisions: Vec<Decision>,
    /// What the sealed test is to be opened for.
    pub open_test: Option<ContentHash>,
}

/// The state of a job that was just submitted.
pub fn start(_job: JobId, spec: &JobSpec) -> JobState {
    JobState::new(spec)
}

/// Takes in what finished and says what comes next. Pure: equal arguments give equal results.
///
/// `elapsed_ms` is how long the job has been running in all; `balance` is its account.
///
/// When a task died for good, nothing new is begun; what is under way is still taken in, and once it has ended the job
/// fails. A tick of a job that failed so means that its dead tasks were revived, and the job goes on where it was.
pub fn advance(
    job: JobId,
    spec: &JobSpec,
    state: JobState,
    inputs: &[FinishedTask],
    balance: &Balance,
    cancel: bool,
    elapsed_ms: u64,
) -> Advance {
    let mut engine = Engine::new(job, spec, state, balance);
    if engine.out.state.phase == Phase::Finished {
        return engine.out;
    }
    let elapsed = engine.out.state.elapsed_ms.max(elapsed_ms);
    engine.state().elapsed_ms = elapsed;
    if engine.out.state.status == JobStatus::Failed {
        let tasks = engine.out.state.dead.len() as u64;
        engine.event(Event::Revived { tasks });
        let state = engine.state();
        state.dead.clear();
        state.stop = None;
        engine.set_status(JobStatus::Running);
    }
    if cancel {
        engine.cancel();
        return engine.out;
    }
    for input in inputs {
        engine.take(input);
    }
    if engine.out.state.dead.is_empty() {
        engine.run();
    } else if engine.outstanding() <= engine.out.state.dead.len() {
        engine.fail_over_dead_tasks();
    }
    engine.out
}
