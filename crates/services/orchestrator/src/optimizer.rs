//! The service behind [`Optimizer`]: jobs, as clients see them, over the persistence ports and the orchestrator.
//!
//! Every method asks first whether the caller may at all, and then whether the job is theirs; a job of another project does
//! not exist for them. Nothing here keeps state but what a restart may lose: any number of processes may serve the same jobs.
//!
//! | file | what |
//! |---|---|
//! | `access` | who may, and whose it is |
//! | `submit` | blobs, and a project becoming a job |
//! | `watch` | summaries, and events as they come |
//! | `control` | cancel, pause, resume, retry |
//! | `lineage` | variants, decisions, files, reports |

mod access;
mod control;
mod lineage;
mod submit;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::hash::ContentHash;
use fapo_domain::ids::{JobId, VariantId};
use fapo_domain::model::access::{Caller, Role};
use fapo_domain::model::job::JobEvent;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::access::Requests;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::optimizer::{
    JobFilter, JobLineage, JobSummary, Optimizer, OptimizerError, ProjectIntake, ReportFormat,
    Reporter, Submission,
};
use fapo_domain::ports::tasks::DeadTask;
use fapo_domain::ports::variants::Variants;

use crate::service::OrchestratorService;

/// What the service needs besides the orchestrator, which has jobs, tasks, ledger, queue and clock.
#[derive(Clone)]
pub struct OptimizerPorts {
    /// Uploaded files.
    pub blobs: Arc<dyn Blobs>,
    /// Trees.
    pub variants: Arc<dyn Variants>,
    /// Which submission became which job.
    pub requests: Arc<dyn Requests>,
    /// Makes a job's specification of uploaded files.
    pub intake: Arc<dyn ProjectIntake>,
    /// Writes reports.
    pub reporter: Arc<dyn Reporter>,
}

/// Jobs, as clients see them; see the head of this file.
#[derive(Clone)]
pub struct OptimizerService {
    orchestrator: OrchestratorService,
    ports: OptimizerPorts,
}

impl OptimizerService {
    /// A service over these ports. The orchestrator need not be the one that ticks the jobs; where it is, events are handed
    /// over as soon as they are written.
    pub const fn new(orchestrator: OrchestratorService, ports: OptimizerPorts) -> Self {
        Self {
            orchestrator,
            ports,
        }
    }
}

impl std::fmt::Debug for OptimizerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OptimizerService").finish_non_exhaustive()
    }
}

#[async_trait]
impl Optimizer for OptimizerService {
    async fn missing_blobs(
        &self,
        caller: &Caller,
        hashes: &[ContentHash],
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        caller.need(Role::Submitter)?;
        self.absent(hashes).await
    }

    async fn upload_blobs(
        &self,
        caller: &Caller,
        contents: Vec<Arc<[u8]>>,
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        caller.need(Role::Submitter)?;
        self.store(contents).await
    }

    async fn submit(
        &self,
        caller: &Caller,
        submission: Submission,
        trace: Option<TraceParent>,
    ) -> Result<JobSummary, OptimizerError> {
        caller.need(Role::Submitter)?;
        let job = self.accept(caller, submission, trace).await?;
        self.summary(job).await
    }

    async fn job(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError> {
        let job = self.theirs(caller, Role::Viewer, id).await?;
        self.summary_of(&job).await
    }

    async fn jobs(
        &self,
        caller: &Caller,
        filter: &JobFilter,
    ) -> Result<Vec<JobSummary>, OptimizerError> {
        caller.need(Role::Viewer)?;
        self.page(caller, filter).await
    }

    async fn cancel(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError> {
        self.theirs(caller, Role::Submitter, id).await?;
        self.end(id).await?;
        self.summary(id).await
    }

    async fn set_paused(
        &self,
        caller: &Caller,
        id: JobId,
        paused: bool,
    ) -> Result<JobSummary, OptimizerError> {
        let job = self.theirs(caller, Role::Submitter, id).await?;
        self.pause(&job, paused).await?;
        self.summary(id).await
    }

    async fn events(
        &self,
        caller: &Caller,
        id: JobId,
        after_seq: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<JobEvent>, OptimizerError> {
        let job = self.theirs(caller, Role::Viewer, id).await?;
        self.await_events(&job, after_seq, limit, wait).await
    }

    async fn lineage(&self, caller: &Caller, id: JobId) -> Result<JobLineage, OptimizerError> {
        self.theirs(caller, Role::Viewer, id).await?;
        self.family(id).await
    }

    async fn variant(
        &self,
        caller: &Caller,
        id: JobId,
        variant: VariantId,
    ) -> Result<VariantTree, OptimizerError> {
        let job = self.theirs(caller, Role::Viewer, id).await?;
        self.tree(&job, variant).await
    }

    async fn report(
        &self,
        caller: &Caller,
        id: JobId,
        format: ReportFormat,
    ) -> Result<Vec<u8>, OptimizerError> {
        self.theirs(caller, Role::Viewer, id).await?;
        self.ports.reporter.report(id, format).await
    }

    async fn dead_tasks(
        &self,
        caller: &Caller,
        id: JobId,
    ) -> Result<Vec<DeadTask>, OptimizerError> {
        self.theirs(caller, Role::Viewer, id).await?;
        Ok(self.orchestrator.tasks.dead_tasks(id).await?)
    }

    async fn retry_dead_tasks(&self, caller: &Caller, id: JobId) -> Result<u64, OptimizerError> {
        let job = self.theirs(caller, Role::Submitter, id).await?;
        self.revive(&job).await
    }
}
