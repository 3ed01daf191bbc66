//! Scoring: scores runs and compares evaluations, from the queue `score`; answers for single runs.

use super::{Parts, Process};

/// Adds the role to the process, where it is one of its roles.
pub fn add(parts: &Parts, process: &mut Process) {
    let Some(scoring) = &parts.scoring else {
        return;
    };
    parts.work(&process.tasks, scoring.clone());
}
