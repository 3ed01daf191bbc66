//! Traces: stores runs that others made, and answers for them.

use fapo_rpc::TracesServer;

use super::{Parts, Process};
use crate::config::server::Role;

/// Adds the role to the process, where it is one of its roles.
pub fn add(parts: &Parts, process: &mut Process) {
    if !parts.config.node.has(Role::Traces) {
        return;
    }
    let ports = &parts.base.ports;
    let server = TracesServer::new(
        ports.traces.clone(),
        ports.questions.clone(),
        ports.jobs.clone(),
    );
    process.offer(|grpc| grpc.traces(server));
}
