//! Executor: runs pipelines over cases, from the queue `execute`; answers for single cases and pipelines.

use fapo_rpc::ExecutorServer;

use super::{Parts, Process};

/// Adds the role to the process, where it is one of its roles.
pub fn add(parts: &Parts, process: &mut Process) {
    let Some(executor) = &parts.executor else {
        return;
    };
    parts.work(&process.tasks, executor.clone());
    let ports = &parts.base.ports;
    let server = ExecutorServer::new(
        executor.clone(),
        executor.clone(),
        ports.variants.clone(),
        ports.jobs.clone(),
        ports.questions.clone(),
    );
    process.offer(|grpc| grpc.executor(server));
}
