//! Executor: runs pipelines over cases, from the queue `execute`; answers for single cases and pipelines.

use super::{Parts, Process};

/// Adds the role to the process, where it is one of its roles.
pub fn add(parts: &Parts, process: &mut Process) {
    let Some(executor) = &parts.executor else {
        return;
    };
    parts.work(&process.tasks, executor.clone());
}
