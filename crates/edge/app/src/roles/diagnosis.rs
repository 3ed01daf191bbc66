//! Diagnosis: attributes failures, writes proposals and reviews them, from the queues `diagnose`, `propose` and `review`; answers
//! for findings and sessions. The tools of a session ask executor and scoring, here or elsewhere.

use std::sync::Arc;

use fapo_rpc::DiagnosisServer;

use super::{Parts, Process};
use crate::config::server::Role;
use crate::wiring::agents::Scratch;
use crate::wiring::services::Asked;

/// Adds the role to the process, where it is one of its roles.
///
/// # Errors
/// When a role that it asks is neither here nor named.
pub fn add(parts: &Parts, process: &mut Process) -> anyhow::Result<()> {
    if !parts.config.node.has(Role::Diagnosis) {
        return Ok(());
    }
    let asked = Asked {
        runner: parts.runner()?,
        scorer: parts.scorer()?,
    };
    let scratch = Scratch::of_process(&parts.owner);
    let diagnosing = parts.base.diagnosing(asked, scratch, None)?;
    parts.work(&process.tasks, Arc::clone(&diagnosing.reader) as _);
    parts.work(&process.tasks, Arc::clone(&diagnosing.proposer) as _);
    parts.work(&process.tasks, Arc::clone(&diagnosing.reviewer) as _);
    process.keep(diagnosing);
    let ports = &parts.base.ports;
    let server = DiagnosisServer::new(
        ports.findings.clone(),
        ports.sessions.clone(),
        ports.blobs.clone(),
        ports.jobs.clone(),
        ports.questions.clone(),
    );
    process.offer(|grpc| grpc.diagnosis(server));
    Ok(())
}
