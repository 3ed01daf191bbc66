//! The persistence ports, as one value: what commands and reports read through, and what services are built over.

use std::sync::Arc;

use fapo_domain::ports::access::{Requests, Tokens};
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::{Findings, Jobs, Proposals};
use fapo_domain::ports::ledger::Ledger;
use fapo_domain::ports::retention::Retention;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::tasks::Tasks;
use fapo_domain::ports::traces::{TraceQueries, Traces};
use fapo_domain::ports::variants::Variants;

/// The ports, each behind a pointer: whether one of them is here or elsewhere is decided where they are made.
#[derive(Clone)]
pub struct Ports {
    /// Long texts.
    pub blobs: Arc<dyn Blobs>,
    /// Results of steps.
    pub cache: Arc<dyn StepCache>,
    /// Cases.
    pub datasets: Arc<dyn Datasets>,
    /// Jobs, their events, lineage and decisions.
    pub jobs: Arc<dyn Jobs>,
    /// Attributions.
    pub findings: Arc<dyn Findings>,
    /// Accounts.
    pub ledger: Arc<dyn Ledger>,
    /// What was proposed and reviewed.
    pub proposals: Arc<dyn Proposals>,
    /// Questions about runs.
    pub questions: Arc<dyn TraceQueries>,
    /// Which submission became which job.
    pub requests: Arc<dyn Requests>,
    /// Throws old things away.
    pub retention: Arc<dyn Retention>,
    /// Scores.
    pub scores: Arc<dyn Scores>,
    /// Sessions of coding agents.
    pub sessions: Arc<dyn Sessions>,
    /// Units of work.
    pub tasks: Arc<dyn Tasks>,
    /// Who may call.
    pub tokens: Arc<dyn Tokens>,
    /// Runs.
    pub traces: Arc<dyn Traces>,
    /// Trees.
    pub variants: Arc<dyn Variants>,
}

impl Ports {
    /// All ports over one store.
    pub fn over<S>(store: Arc<S>) -> Self
    where
        S: Blobs
            + StepCache
            + Datasets
            + Jobs
            + Findings
            + Ledger
            + Proposals
            + TraceQueries
            + Requests
            + Retention
            + Scores
            + Sessions
            + Tasks
            + Tokens
            + Traces
            + Variants
            + 'static,
    {
        Self {
            blobs: Arc::clone(&store) as Arc<dyn Blobs>,
            cache: Arc::clone(&store) as Arc<dyn StepCache>,
            datasets: Arc::clone(&store) as Arc<dyn Datasets>,
            jobs: Arc::clone(&store) as Arc<dyn Jobs>,
            findings: Arc::clone(&store) as Arc<dyn Findings>,
            ledger: Arc::clone(&store) as Arc<dyn Ledger>,
            proposals: Arc::clone(&store) as Arc<dyn Proposals>,
            questions: Arc::clone(&store) as Arc<dyn TraceQueries>,
            requests: Arc::clone(&store) as Arc<dyn Requests>,
            retention: Arc::clone(&store) as Arc<dyn Retention>,
            scores: Arc::clone(&store) as Arc<dyn Scores>,
            sessions: Arc::clone(&store) as Arc<dyn Sessions>,
            tasks: Arc::clone(&store) as Arc<dyn Tasks>,
            tokens: Arc::clone(&store) as Arc<dyn Tokens>,
            traces: Arc::clone(&store) as Arc<dyn Traces>,
            variants: store,
        }
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}
