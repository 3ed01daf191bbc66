//! What a session may ask for.

use std::sync::Arc;

use fapo_domain::model::evaluation::{EvaluationSpec, HeldOutMean};
use fapo_domain::model::finding::Cluster;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::Attempt;
use fapo_domain::model::task::Fence;
use fapo_domain::ports::agents::SessionFiles;
use fapo_domain::ports::code::ScriptRunner;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::Findings;
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::Traces;
use fapo_domain::ports::variants::Variants;
use fapo_domain::{JobId, VariantId};
use tokio::time::Instant;

/// As whom a session asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRole {
    /// Writes a change: all tools.
    Proposer,
    /// Judges one: all tools but those that spend.
    Reviewer,
}

/// What the tools ask of the house.
#[derive(Clone)]
pub struct ToolPorts {
    /// The parent, the baseline, earlier variants.
    pub variants: Arc<dyn Variants>,
    /// Scores of train.
    pub scores: Arc<dyn Scores>,
    /// Runs of train.
    pub traces: Arc<dyn Traces>,
    /// Cases of train; of all splits for the lints.
    pub datasets: Arc<dyn Datasets>,
    /// The parent's attribution.
    pub findings: Arc<dyn Findings>,
    /// Runs cases for `try`.
    pub runner: Arc<dyn PipelineRunner>,
    /// Scores them.
    pub scorer: Arc<dyn RunScorer>,
    /// Runs the scripts of `analyze`.
    pub scripts: Arc<dyn ScriptRunner>,
}

/// One session's whole authority.
#[derive(Clone)]
pub struct SessionGrant {
    /// The job that pays.
    pub job: JobId,
    /// What it is to do.
    pub spec: Arc<JobSpec>,
    /// The claimed task that runs the session, and pays for `try`.
    pub fence: Fence,
    /// As whom it asks.
    pub role: SessionRole,
    /// The variant that it started from.
    pub parent: VariantId,
    /// The parent's train evaluation.
    pub evaluation: EvaluationSpec,
    /// The iteration, from 1.
    pub iteration: u32,
    /// The slot among parallel proposals.
    pub slot: u32,
    /// The deepest level that a change may reach.
    pub level: Level,
    /// The cluster to work on.
    pub cluster: Option<Cluster>,
    /// What was tried in this job, oldest first.
    pub history: Vec<Attempt>,
    /// The job's earlier variants, against repeats.
    pub earlier: Vec<VariantId>,
    /// The incumbent on validation, where it is known.
    pub val: Option<HeldOutMean>,
    /// The session's files.
    pub tree: Arc<dyn SessionFiles>,
    /// Cases that `try` may run, in all.
    pub tries: u32,
    /// Scripts that `analyze` may run, in all.
    pub analyses: u32,
    /// When the tools stop answering, whether the session is closed by then or not.
    pub expires: Instant,
}

impl std::fmt::Debug for SessionGrant {
    /// Whose it is and what it allows; no case and no file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionGrant")
            .field("job", &self.job)
            .field("role", &self.role)
            .field("parent", &self.parent)
            .field("tries", &self.tries)
            .field("analyses", &self.analyses)
            .finish_non_exhaustive()
    }
}
