//! Scoring: scores runs and compares evaluations, from the queue `score`; answers for single runs and for comparisons.

use std::sync::Arc;

use fapo_rpc::ScorerServer;
use fapo_scoring::{ComparisonService, scorers};

use super::{Parts, Process};

/// Adds the role to the process, where it is one of its roles.
pub fn add(parts: &Parts, process: &mut Process) {
    let Some(scoring) = &parts.scoring else {
        return;
    };
    parts.work(&process.tasks, scoring.clone());
    let ports = &parts.base.ports;
    let comparer = ComparisonService::new(scoring.clone(), ports.questions.clone());
    let server = ScorerServer::new(
        scoring.clone(),
        Arc::new(comparer),
        scorers(),
        ports.jobs.clone(),
        ports.questions.clone(),
    );
    process.offer(|grpc| grpc.scorer(server));
}
