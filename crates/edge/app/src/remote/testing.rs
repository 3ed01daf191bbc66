//! A server in the test's own process: the same service, store and workers, without a network in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::ContentHash;
use fapo_domain::ids::{JobId, VariantId};
use fapo_domain::model::access::Caller;
use fapo_domain::model::job::JobEvent;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::optimizer::{
    JobFilter, JobLineage, JobSummary, Optimizer, OptimizerError, ReportFormat, Submission,
};
use fapo_domain::ports::tasks::DeadTask;
use tempfile::TempDir;

use super::Remote;
use crate::project::{World, world_variable};
use crate::wiring::{Embedded, EmbeddedOptions};

/// The example with the structure fault.
pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/missing-hop")
}

/// A server that can reach the example's simulated model.
pub struct Server {
    /// What runs the jobs, once it is told to.
    pub engine: Embedded,
    /// How often it does not answer before it answers again.
    pub silent: Arc<AtomicU32>,
    /// Clients ask this.
    pub remote: Remote,
    _folder: TempDir,
}

impl Server {
    /// One with nothing in it.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(example().join("sim.json")).unwrap();
        let variable = world_variable(&text);
        let options = EmbeddedOptions {
            worlds: vec![World { variable, text }],
            ..EmbeddedOptions::default()
        };
        let engine = Embedded::open(folder.path(), options).await.unwrap();
        let silent = Arc::new(AtomicU32::new(0));
        let optimizer = Silent {
            service: Arc::new(engine.optimizer()),
            silent: Arc::clone(&silent),
        };
        Self {
            engine,
            silent,
            remote: Remote {
                server: "http://test".to_owned(),
                optimizer: Arc::new(optimizer),
                caller: Caller::local(),
            },
            _folder: folder,
        }
    }
}

/// A service that cannot be reached for so many calls.
struct Silent {
    service: Arc<dyn Optimizer>,
    silent: Arc<AtomicU32>,
}

impl Silent {
    fn reach(&self) -> Result<&dyn Optimizer, OptimizerError> {
        let less = |left: u32| left.checked_sub(1);
        let order = Ordering::SeqCst;
        match self.silent.fetch_update(order, order, less) {
            Ok(_) => Err(OptimizerError::Unreachable {
                server: "http://test".to_owned(),
                source: "connection refused".into(),
            }),
            Err(_) => Ok(&*self.service),
        }
    }
}

#[async_trait]
impl Optimizer for Silent {
    async fn missing_blobs(
        &self,
        caller: &Caller,
        hashes: &[ContentHash],
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        self.reach()?.missing_blobs(caller, hashes).await
    }

    async fn upload_blobs(
        &self,
        caller: &Caller,
        contents: Vec<Arc<[u8]>>,
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        self.reach()?.upload_blobs(caller, contents).await
    }

    async fn submit(
        &self,
        caller: &Caller,
        submission: Submission,
        trace: Option<TraceParent>,
    ) -> Result<JobSummary, OptimizerError> {
        self.reach()?.submit(caller, submission, trace).await
    }

    async fn job(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError> {
        self.reach()?.job(caller, id).await
    }

    async fn jobs(
        &self,
        caller: &Caller,
        filter: &JobFilter,
    ) -> Result<Vec<JobSummary>, OptimizerError> {
        self.reach()?.jobs(caller, filter).await
    }

    async fn cancel(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError> {
        self.reach()?.cancel(caller, id).await
    }

    async fn set_paused(
        &self,
        caller: &Caller,
        id: JobId,
        paused: bool,
    ) -> Result<JobSummary, OptimizerError> {
        self.reach()?.set_paused(caller, id, paused).await
    }

    async fn events(
        &self,
        caller: &Caller,
        id: JobId,
        after_seq: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<JobEvent>, OptimizerError> {
        let service = self.reach()?;
        service.events(caller, id, after_seq, limit, wait).await
    }

    async fn lineage(&self, caller: &Caller, id: JobId) -> Result<JobLineage, OptimizerError> {
        self.reach()?.lineage(caller, id).await
    }

    async fn variant(
        &self,
        caller: &Caller,
        id: JobId,
        variant: VariantId,
    ) -> Result<VariantTree, OptimizerError> {
        self.reach()?.variant(caller, id, variant).await
    }

    async fn report(
        &self,
        caller: &Caller,
        id: JobId,
        format: ReportFormat,
    ) -> Result<Vec<u8>, OptimizerError> {
        self.reach()?.report(caller, id, format).await
    }

    async fn dead_tasks(
        &self,
        caller: &Caller,
        id: JobId,
    ) -> Result<Vec<DeadTask>, OptimizerError> {
        self.reach()?.dead_tasks(caller, id).await
    }

    async fn retry_dead_tasks(&self, caller: &Caller, id: JobId) -> Result<u64, OptimizerError> {
        self.reach()?.retry_dead_tasks(caller, id).await
    }
}
