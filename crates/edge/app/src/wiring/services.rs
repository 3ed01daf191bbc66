//! Every service, built over ports. Nothing here knows what is behind them, or in which process it is.

use std::sync::Arc;
use std::time::Duration;

use fapo_diagnosis::agent::AgentParts;
use fapo_diagnosis::mcp::ToolPorts;
use fapo_diagnosis::{
    AgentHouse, AgentProposer, AgentReaders, AgentReviewer, Backends, DiagnosisService,
    ProposeService, ReviewService, Reviewers, Reviewing,
};
use fapo_domain::clock::Clock;
use fapo_domain::model::project::ReviewerBackend;
use fapo_domain::ports::code::CodeRunner;
use fapo_domain::ports::limits::SharedLimits;
use fapo_domain::ports::models::{MeteredModels, Models};
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::queue::TaskQueue;
use fapo_domain::ports::sandbox::Sandbox;
use fapo_domain::ports::trace_context::TraceContext;
use fapo_domain::ports::work::TaskHandler;
use fapo_executor::{ExecutorConfig, ExecutorService, Ports as ExecutorPorts};
use fapo_llm::{
    Addresses, EnvLookup, LlmRelays, Metered, MeteredConfig, PriceTable, ProviderModels,
    RelayConfig,
};
use fapo_orchestrator::{
    OptimizerPorts, OptimizerService, OrchestratorConfig, OrchestratorService,
};
use fapo_queue::{Worker, WorkerConfig};
use fapo_sandbox::{Interpreter, ProcessSandbox, PythonScripts};
use fapo_scoring::ScoringService;

use super::{Callable, agents, sandbox};
use crate::config::Env;
use crate::intake::Intake;
use crate::ports::Ports;
use crate::reports::Reports;

/// How long a coding agent's session may take to be ended and recorded once the work is stopped: longer than what asks for it waits.
pub const SESSION_GRACE: Duration = Duration::from_secs(50);
/// How long a session's model may say nothing. Its provider sends signs of life while a model thinks, and a session has minutes: a
/// silence must end, and be told as the provider's, within them.
const RELAY_SILENCE: Duration = Duration::from_secs(90);

/// What services are built over.
pub struct BaseParts {
    /// What is stored.
    pub ports: Ports,
    /// How work travels.
    pub queue: Arc<dyn TaskQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The process's environment: where programs are.
    pub env: Env,
    /// Keys and addresses of models, as far as a project may name them.
    pub lookup: EnvLookup,
    /// Where models may be called.
    pub addresses: Addresses,
    /// What models cost.
    pub prices: PriceTable,
    /// What providers allow to all who call them.
    pub limits: Arc<dyn SharedLimits>,
    /// The distributed trace that spans belong to.
    pub trace: Arc<dyn TraceContext>,
    /// What holds processes that are not trusted.
    pub sandbox: Arc<ProcessSandbox>,
    /// The Python of steps and scorers.
    pub python: Arc<Interpreter>,
}

/// What every service needs, made once a process.
pub struct Base {
    /// What is stored.
    pub ports: Ports,
    /// How work travels.
    pub queue: Arc<dyn TaskQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    trace: Arc<dyn TraceContext>,
    providers: Arc<ProviderModels>,
    env: Env,
    sandbox: Arc<dyn Sandbox>,
    models: Arc<dyn MeteredModels>,
    lookup: EnvLookup,
    addresses: Addresses,
    prices: PriceTable,
    python: Arc<Interpreter>,
    code: Arc<dyn CodeRunner>,
}

/// Questions that the tools of a session ask of other roles.
pub struct Asked {
    /// Runs a case.
    pub runner: Arc<dyn PipelineRunner>,
    /// Scores it.
    pub scorer: Arc<dyn RunScorer>,
}

/// The handlers of the role diagnosis.
pub struct Diagnosing {
    /// Attributes evaluations.
    pub reader: Arc<DiagnosisService>,
    /// Writes proposals.
    pub proposer: Arc<ProposeService>,
    /// Lints and reviews them.
    pub reviewer: Arc<ReviewService>,
    /// The folder of its sessions, which goes with it.
    _scratch: agents::Scratch,
}

impl Base {
    /// Puts the parts together. Nothing is started: programs are looked for when they are wanted.
    pub fn new(parts: BaseParts) -> Self {
        let providers = ProviderModels::new(Arc::clone(&parts.lookup), parts.prices.clone())
            .with_addresses(parts.addresses.clone())
            .with_clock(Arc::clone(&parts.clock))
            .with_jitter_seed(jitter_seed(&parts.clock))
            .with_shared_limits(parts.limits);
        let providers = Arc::new(providers);
        let models: Arc<dyn MeteredModels> = Arc::new(Metered::new(
            Arc::clone(&providers) as Arc<dyn Models>,
            Arc::clone(&parts.ports.cache),
            Arc::clone(&parts.ports.ledger),
            MeteredConfig::default(),
        ));
        let held: Arc<dyn Sandbox> = parts.sandbox;
        let code = sandbox::pool(Arc::clone(&held), Arc::clone(&parts.python));
        Self {
            ports: parts.ports,
            queue: parts.queue,
            clock: parts.clock,
            trace: parts.trace,
            providers,
            env: parts.env,
            sandbox: held,
            models,
            lookup: parts.lookup,
            addresses: parts.addresses,
            prices: parts.prices,
            python: parts.python,
            code,
        }
    }

    /// What runs pipelines over cases.
    pub fn executor(&self) -> Arc<ExecutorService> {
        let ports = &self.ports;
        let executor = ExecutorService::new(
            ExecutorPorts {
                jobs: Arc::clone(&ports.jobs),
                variants: Arc::clone(&ports.variants),
                datasets: Arc::clone(&ports.datasets),
                blobs: Arc::clone(&ports.blobs),
                traces: Arc::clone(&ports.traces),
                cache: Arc::clone(&ports.cache),
                ledger: Arc::clone(&ports.ledger),
                models: Arc::clone(&self.models),
                code: Arc::clone(&self.code),
                clock: Arc::clone(&self.clock),
            },
            ExecutorConfig::default(),
        );
        Arc::new(executor)
    }

    /// What scores runs.
    pub fn scoring(&self) -> Arc<ScoringService> {
        let ports = &self.ports;
        Arc::new(ScoringService::new(
            Arc::clone(&ports.jobs),
            Arc::clone(&ports.datasets),
            Arc::clone(&ports.traces),
            Arc::clone(&ports.scores),
            Arc::clone(&self.code),
        ))
    }

    /// What attributes, proposes and reviews. Sessions have their folders in `scratch`; `recording` is the text of recorded
    /// proposals, for `proposer.backend: replay`.
    ///
    /// # Errors
    /// When the recorded proposals cannot be read.
    pub fn diagnosing(
        &self,
        asked: Asked,
        scratch: agents::Scratch,
        recording: Option<&str>,
    ) -> anyhow::Result<Diagnosing> {
        let ports = &self.ports;
        let mut reviewers = Reviewers::new(Arc::clone(&self.models));
        let mut readers = AgentReaders::new(Arc::clone(&ports.sessions));
        let mut backends = Backends::new(Arc::clone(&self.models), recording)?;
        let tools = self.tools(asked);
        for (backend, agent) in agents::agents(&self.env, &self.agent_parts(&scratch)) {
            readers = readers.with(backend, Arc::clone(&agent));
            let house = AgentHouse {
                agent,
                tools: tools.clone(),
                sessions: Arc::clone(&ports.sessions),
            };
            let proposer = AgentProposer::new(backend, house.clone());
            backends = backends.with(backend, Arc::new(proposer));
            if let Some(reviews) = ReviewerBackend::of(backend) {
                let reviewer = AgentReviewer::new(backend, house);
                reviewers = reviewers.with(reviews, Arc::new(reviewer));
            }
        }
        let reader = DiagnosisService {
            jobs: Arc::clone(&ports.jobs),
            variants: Arc::clone(&ports.variants),
            scores: Arc::clone(&ports.scores),
            traces: Arc::clone(&ports.traces),
            datasets: Arc::clone(&ports.datasets),
            findings: Arc::clone(&ports.findings),
            models: Arc::clone(&self.models),
            agents: readers,
        };
        let proposer = ProposeService {
            jobs: Arc::clone(&ports.jobs),
            variants: Arc::clone(&ports.variants),
            scores: Arc::clone(&ports.scores),
            traces: Arc::clone(&ports.traces),
            datasets: Arc::clone(&ports.datasets),
            findings: Arc::clone(&ports.findings),
            proposals: Arc::clone(&ports.proposals),
            backends,
        };
        let reviewer = ReviewService {
            jobs: Arc::clone(&ports.jobs),
            variants: Arc::clone(&ports.variants),
            datasets: Arc::clone(&ports.datasets),
            reviewing: Reviewing {
                scores: Arc::clone(&ports.scores),
                traces: Arc::clone(&ports.traces),
                findings: Arc::clone(&ports.findings),
                proposals: Arc::clone(&ports.proposals),
                reviewers,
            },
        };
        Ok(Diagnosing {
            reader: Arc::new(reader),
            proposer: Arc::new(proposer),
            reviewer: Arc::new(reviewer),
            _scratch: scratch,
        })
    }

    /// What the tools of a session read and ask.
    fn tools(&self, asked: Asked) -> ToolPorts {
        let ports = &self.ports;
        ToolPorts {
            variants: Arc::clone(&ports.variants),
            scores: Arc::clone(&ports.scores),
            traces: Arc::clone(&ports.traces),
            datasets: Arc::clone(&ports.datasets),
            findings: Arc::clone(&ports.findings),
            runner: asked.runner,
            scorer: asked.scorer,
            scripts: Arc::new(PythonScripts::new(
                Arc::clone(&self.sandbox),
                Arc::clone(&self.python),
            )),
        }
    }

    fn agent_parts(&self, scratch: &agents::Scratch) -> AgentParts {
        let relays = LlmRelays::new(
            Arc::clone(&self.lookup),
            self.prices.clone(),
            Arc::clone(&self.ports.ledger),
        )
        .with_addresses(self.addresses.clone())
        .with_config(RelayConfig {
            silence: RELAY_SILENCE,
            ..RelayConfig::default()
        });
        AgentParts {
            sandbox: Arc::clone(&self.sandbox),
            relays: Arc::new(relays),
            clock: Arc::clone(&self.clock),
            scratch: scratch.path().to_owned(),
        }
    }

    /// What drives jobs.
    pub fn orchestrator(&self, config: OrchestratorConfig) -> OrchestratorService {
        OrchestratorService::new(
            Arc::clone(&self.ports.jobs),
            Arc::clone(&self.ports.tasks),
            Arc::clone(&self.ports.ledger),
            Arc::clone(&self.queue),
            Arc::clone(&self.clock),
            config,
        )
        .with_traces(Arc::clone(&self.trace))
    }

    /// The loop around a handler.
    pub fn worker(&self, handler: Arc<dyn TaskHandler>, config: WorkerConfig) -> Worker {
        Worker::new(
            Arc::clone(&self.queue),
            Arc::clone(&self.ports.tasks),
            handler,
            Arc::clone(&self.clock),
            config,
        )
        .with_traces(Arc::clone(&self.trace))
    }

    /// Jobs, as clients see them. What is submitted is driven by `orchestrator`, or by another of its kind.
    pub fn optimizer(&self, orchestrator: OrchestratorService) -> OptimizerService {
        let ports = &self.ports;
        let callable = Arc::new(self.callable());
        let intake = Intake::new(ports.clone(), Arc::clone(&self.lookup), callable);
        OptimizerService::new(
            orchestrator,
            OptimizerPorts {
                blobs: Arc::clone(&ports.blobs),
                variants: Arc::clone(&ports.variants),
                requests: Arc::clone(&ports.requests),
                intake: Arc::new(intake),
                reporter: Arc::new(Reports::new(ports.clone())),
            },
        )
    }

    /// What this process can call.
    pub fn callable(&self) -> Callable {
        Callable::new(
            Arc::clone(&self.providers),
            Arc::clone(&self.sandbox),
            self.env.clone(),
        )
    }
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").finish_non_exhaustive()
    }
}

/// Waits between tries differ from process to process; nothing that is decided depends on them.
fn jitter_seed(clock: &Arc<dyn Clock>) -> u64 {
    u64::try_from(clock.now().0).unwrap_or(0) ^ u64::from(std::process::id())
}
