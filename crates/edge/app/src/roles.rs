//! What each role of a server builds and runs. A role adds itself to its [`Process`]: its loops, its gRPC service, what it needs to
//! be ready. Which roles there are in one process makes no difference to any of them.

mod diagnosis;
mod executor;
mod gateway;
pub mod orchestrator;
mod scoring;
mod traces;

use std::any::Any;
use std::sync::Arc;

use fapo_domain::model::task::Topic;
use fapo_domain::ports::optimizer::Optimizer;
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::queue::QueueDepth;
use fapo_domain::ports::trace_context::TraceContext;
use fapo_domain::ports::work::TaskHandler;
use fapo_executor::ExecutorService;
use fapo_gateway::ApiState;
use fapo_orchestrator::OrchestratorService;
use fapo_queue::WorkerConfig;
use fapo_rpc::ServerBuilder;
use fapo_scoring::ScoringService;
use tokio_util::sync::CancellationToken;

use crate::config::server::ServerConfig;
use crate::lifecycle::{Kind, TaskSet, grace_of_work};
use crate::wiring::remote::Others;
use crate::wiring::services::Base;

/// A process under construction: what its roles have added.
pub struct Process {
    /// What runs.
    pub tasks: TaskSet,
    /// What its gRPC port offers; taken once all roles are there.
    pub grpc: Option<ServerBuilder>,
    /// What its HTTP port offers besides what every process does.
    pub api: Option<ApiState>,
    /// Cancelled first of all when the process stops: nothing new is to be sent here, and streams end.
    pub stopping: CancellationToken,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Process {
    /// A process without roles.
    pub fn new(grpc: ServerBuilder) -> Self {
        Self {
            tasks: TaskSet::default(),
            grpc: Some(grpc),
            api: None,
            stopping: CancellationToken::new(),
            kept: Vec::new(),
        }
    }

    /// Adds to what the gRPC port offers.
    fn offer(&mut self, add: impl FnOnce(ServerBuilder) -> ServerBuilder) {
        self.grpc = self.grpc.take().map(add);
    }

    /// Keeps something until the process ends.
    fn keep(&mut self, thing: impl Any + Send + Sync) {
        self.kept.push(Box::new(thing));
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// What roles are made of.
pub struct Parts {
    /// What the process was told.
    pub config: ServerConfig,
    /// What services are built over.
    pub base: Base,
    /// How much the queue holds.
    pub depth: Arc<dyn QueueDepth>,
    /// What the process calls itself in leases and queues; unique.
    pub owner: String,
    /// The distributed trace that spans belong to.
    pub trace: Arc<dyn TraceContext>,
    /// The roles that are elsewhere.
    pub others: Others,
    /// The executor, where that role is here.
    pub executor: Option<Arc<ExecutorService>>,
    /// Scoring, where that role is here.
    pub scoring: Option<Arc<ScoringService>>,
    /// The orchestrator, where that role is here.
    pub orchestrator: Option<OrchestratorService>,
}

impl Parts {
    /// Adds every role of the process to it.
    ///
    /// # Errors
    /// When one of them cannot be built.
    pub fn add_roles(&self, process: &mut Process) -> anyhow::Result<()> {
        executor::add(self, process);
        scoring::add(self, process);
        traces::add(self, process);
        diagnosis::add(self, process)?;
        orchestrator::add(self, process)?;
        gateway::add(self, process)
    }

    /// What runs cases: here, or where it is.
    fn runner(&self) -> anyhow::Result<Arc<dyn PipelineRunner>> {
        match &self.executor {
            Some(here) => Ok(Arc::clone(here) as Arc<dyn PipelineRunner>),
            None => self.others.executor(),
        }
    }

    /// What scores runs: here, or where it is.
    fn scorer(&self) -> anyhow::Result<Arc<dyn RunScorer>> {
        match &self.scoring {
            Some(here) => Ok(Arc::clone(here) as Arc<dyn RunScorer>),
            None => self.others.scorer(),
        }
    }

    /// Jobs, as clients see them: here, or where they are driven.
    fn optimizer(&self) -> anyhow::Result<Arc<dyn Optimizer>> {
        match &self.orchestrator {
            Some(here) => Ok(Arc::new(self.base.optimizer(here.clone()))),
            None => self.others.optimizer(),
        }
    }

    /// Starts a worker loop around a handler.
    fn work(&self, tasks: &TaskSet, handler: Arc<dyn TaskHandler>) {
        let topic = handler.topic();
        let name = format!("worker {}", topic.as_str());
        let worker = Arc::new(self.base.worker(handler, self.worker_config(topic)));
        tasks.spawn(Kind::Worker, name, |stop| async move {
            worker.run(stop).await?;
            Ok(())
        });
    }

    fn worker_config(&self, topic: Topic) -> WorkerConfig {
        let workers = &self.config.workers;
        let name = format!("{}/{}", self.owner, topic.as_str());
        let mut config = WorkerConfig::new(name, workers.concurrency(topic));
        config.lease = workers.lease;
        config.heartbeat = workers.heartbeat;
        config.max_attempts = workers.max_attempts;
        config.grace = grace_of_work(self.config.node.grace);
        config
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
