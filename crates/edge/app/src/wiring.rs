//! Which implementation stands behind which port: the one file that knows that all roles run in this process, over SQLite
//! and an in-process queue.

pub mod agents;
pub mod sandbox;

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fapo_diagnosis::agent::AgentParts;
use fapo_diagnosis::mcp::ToolPorts;
use fapo_diagnosis::{
    AgentHouse, AgentProposer, AgentReaders, AgentReviewer, Backends, DiagnosisService,
    ProposeService, ReviewService, Reviewers, Reviewing,
};
use fapo_domain::clock::{Clock, SystemClock};
use fapo_domain::model::case::Case;
use fapo_domain::model::job::{Job, JobGoal, JobSpec};
use fapo_domain::model::project::{ModelSpec, ProposerBackend, ReaderBackend, ReviewerBackend};
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::task::Topic;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::money::{MicroUsd, Price};
use fapo_domain::ports::code::CodeRunner;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::ledger::{Caps, Ledger};
use fapo_domain::ports::models::{MeteredModels, ModelError, Models};
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::queue::TaskQueue;
use fapo_domain::ports::sandbox::Sandbox;
use fapo_domain::ports::tasks::Tasks;
use fapo_domain::ports::work::TaskHandler;
use fapo_domain::{JobId, hash::Hasher};
use fapo_executor::{ExecutorConfig, ExecutorService, Ports as ExecutorPorts};
use fapo_llm::{
    EnvLookup, LlmRelays, Metered, MeteredConfig, PriceTable, ProviderModels, RelayConfig,
};
use fapo_orchestrator::{OrchestratorConfig, OrchestratorService};
use fapo_project::Pipeline;
use fapo_queue::{MemoryLimits, MemoryQueue, Worker, WorkerConfig};
use fapo_sandbox::PythonScripts;
use fapo_scoring::ScoringService;
use fapo_sim::{SimHandle, SimServer};
use fapo_store::{SqliteStore, StoreOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Env;
use crate::project::World;

/// How often a running job is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often the folder's lock is tried, and the wait after each try.
const LOCK_TRIES: u32 = 5;
const LOCK_WAIT: Duration = Duration::from_millis(20);
/// Blocks under way at once, so that one slow case does not hold up the next block.
const BLOCKS: usize = 4;
/// How long a coding agent's session may take to be ended and recorded once the work is stopped: longer than what asks for it waits.
const SESSION_GRACE: Duration = Duration::from_secs(50);
/// How long a session's model may say nothing. Its provider sends signs of life while a model thinks, and a session has minutes: a
/// silence must end, and be told as the provider's, within them.
const RELAY_SILENCE: Duration = Duration::from_secs(90);

/// What a project needs besides its folder.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedOptions {
    /// The environment: keys and addresses.
    pub env: Env,
    /// Worlds of simulated models.
    pub worlds: Vec<World>,
    /// Recorded proposals, for `proposer.backend: replay`.
    pub recording: Option<String>,
    /// Fault injection: abort the process right after so many durable commits.
    pub abort_after_commits: Option<u64>,
}

/// Everything in one process.
pub struct Embedded {
    store: Arc<SqliteStore>,
    queue: Arc<dyn TaskQueue>,
    clock: Arc<dyn Clock>,
    providers: Arc<ProviderModels>,
    executor: Arc<ExecutorService>,
    scoring: Arc<ScoringService>,
    diagnosis: Arc<DiagnosisService>,
    proposers: Arc<ProposeService>,
    reviewer: Arc<ReviewService>,
    orchestrator: OrchestratorService,
    sandbox: Arc<dyn Sandbox>,
    env: Env,
    _scratch: agents::Scratch,
    /// Simulated models, stopped when this is dropped.
    _simulated: Vec<SimHandle>,
    /// Held while this is open: two processes would run the same tasks.
    _lock: File,
}

/// The folder that holds a project's store.
pub fn store_folder(dir: &Path) -> PathBuf {
    dir.join(".fapo")
}

fn store_file(dir: &Path) -> PathBuf {
    store_folder(dir).join("fapo.db")
}

impl Embedded {
    /// Opens `dir/.fapo` (making it), starts the simulated models, and builds the services. No worker runs yet.
    ///
    /// # Errors
    /// When the folder cannot be written, another process works on it, or a file in it is damaged.
    pub async fn open(dir: &Path, options: EmbeddedOptions) -> anyhow::Result<Self> {
        fapo_llm::install_crypto();
        let folder = store_folder(dir);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let lock = lock(&folder).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // the lock is ours: nobody else writes
        let store = open_sqlite(dir, &clock, options.abort_after_commits, true).await?;
        // the lock is ours: whoever held a lease is dead
        store.release_leases().await?;

        let (simulated, addresses) = start_simulated(&options.worlds).await?;
        let env = options.env.clone();
        let lookup: EnvLookup = Arc::new(move |name: &str| {
            let simulated = addresses.iter().find(|(variable, _)| variable == name);
            simulated
                .map(|(_, url)| url.clone())
                .or_else(|| env.get(name).map(str::to_owned))
        });
        let ledger: Arc<dyn Ledger> = Arc::clone(&store) as Arc<dyn Ledger>;
        let relays =
            LlmRelays::new(Arc::clone(&lookup), prices(dir)?, ledger).with_config(RelayConfig {
                silence: RELAY_SILENCE,
                ..RelayConfig::default()
            });
        let providers = Arc::new(
            ProviderModels::new(lookup, prices(dir)?)
                .with_clock(Arc::clone(&clock))
                .with_jitter_seed(jitter_seed(&clock))
                .with_shared_limits(Arc::new(MemoryLimits::new())),
        );
        let models: Arc<dyn MeteredModels> = Arc::new(Metered::new(
            Arc::clone(&providers) as Arc<dyn Models>,
            store.clone(),
            store.clone(),
            MeteredConfig::default(),
        ));

        let sandbox: Arc<dyn Sandbox> = sandbox::sandbox(&options.env, dir)?;
        let python = sandbox::interpreter(&options.env, dir);
        let scripts = PythonScripts::new(Arc::clone(&sandbox), Arc::clone(&python));
        let code: Arc<dyn CodeRunner> = sandbox::pool(Arc::clone(&sandbox), python);
        let executor = ExecutorService::new(
            ExecutorPorts {
                jobs: store.clone(),
                variants: store.clone(),
                datasets: store.clone(),
                blobs: store.clone(),
                traces: store.clone(),
                cache: store.clone(),
                ledger: store.clone(),
                models: Arc::clone(&models),
                code: Arc::clone(&code),
                clock: Arc::clone(&clock),
            },
            ExecutorConfig::default(),
        );
        let executor = Arc::new(executor);
        let scoring = Arc::new(ScoringService::new(
            store.clone(),
            store.clone(),
            store.clone(),
            store.clone(),
            code,
        ));
        let mut reviewers = Reviewers::new(Arc::clone(&models));
        let mut readers = AgentReaders::new(store.clone());
        let mut backends = Backends::new(Arc::clone(&models), options.recording.as_deref())
            .context("the recorded proposals cannot be read")?;
        let tools = ToolPorts {
            variants: store.clone(),
            scores: store.clone(),
            traces: store.clone(),
            datasets: store.clone(),
            findings: store.clone(),
            runner: executor.clone(),
            scorer: scoring.clone(),
            scripts: Arc::new(scripts),
        };
        // the lock is ours: whoever had a session there is dead
        let scratch = agents::Scratch::of(dir);
        let parts = AgentParts {
            sandbox: Arc::clone(&sandbox),
            relays: Arc::new(relays),
            clock: Arc::clone(&clock),
            scratch: scratch.path().to_owned(),
        };
        for (backend, agent) in agents::agents(&options.env, &parts) {
            readers = readers.with(backend, Arc::clone(&agent));
            let house = AgentHouse {
                agent,
                tools: tools.clone(),
                sessions: store.clone(),
            };
            let proposer = AgentProposer::new(backend, house.clone());
            backends = backends.with(backend, Arc::new(proposer));
            if let Some(reviews) = ReviewerBackend::of(backend) {
                let reviewer = AgentReviewer::new(backend, house);
                reviewers = reviewers.with(reviews, Arc::new(reviewer));
            }
        }
        let diagnosis = DiagnosisService {
            jobs: store.clone(),
            variants: store.clone(),
            scores: store.clone(),
            traces: store.clone(),
            datasets: store.clone(),
            findings: store.clone(),
            models,
            agents: readers,
        };
        let proposers = ProposeService {
            jobs: store.clone(),
            variants: store.clone(),
            scores: store.clone(),
            traces: store.clone(),
            datasets: store.clone(),
            findings: store.clone(),
            proposals: store.clone(),
            backends,
        };
        let reviewer = ReviewService {
            jobs: store.clone(),
            variants: store.clone(),
            datasets: store.clone(),
            reviewing: Reviewing {
                scores: store.clone(),
                traces: store.clone(),
                findings: store.clone(),
                proposals: store.clone(),
                reviewers,
            },
        };
        let queue: Arc<dyn TaskQueue> = Arc::new(MemoryQueue::new());
        let orchestrator = OrchestratorService::new(
            store.clone(),
            store.clone(),
            store.clone(),
            Arc::clone(&queue),
            Arc::clone(&clock),
            OrchestratorConfig::new("embedded"),
        );
        Ok(Self {
            store,
            queue,
            clock,
            providers,
            executor,
            scoring,
            diagnosis: Arc::new(diagnosis),
            proposers: Arc::new(proposers),
            reviewer: Arc::new(reviewer),
            orchestrator,
            sandbox,
            env: options.env,
            _scratch: scratch,
            _simulated: simulated,
            _lock: lock,
        })
    }

    /// The store alone, for commands that only read; `None` where nothing was run in `dir` yet.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub async fn open_store(
        dir: &Path,
        abort_after_commits: Option<u64>,
    ) -> anyhow::Result<Option<Arc<SqliteStore>>> {
        if !store_file(dir).is_file() {
            return Ok(None);
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        open_sqlite(dir, &clock, abort_after_commits, false)
            .await
            .map(Some)
    }

    /// Whether a process works on the project in `dir` now.
    ///
    /// # Errors
    /// When its lock cannot be looked at.
    pub fn is_at_work(dir: &Path) -> anyhow::Result<bool> {
        let path = store_folder(dir).join("lock");
        let looked = || format!("cannot look at {}", path.display());
        match File::open(&path) {
            // shared and let go at once: those who look do not hinder each other, and whoever starts tries more than once
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(error)) => Err(error).with_context(looked),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(looked),
        }
    }

    /// The store.
    pub const fn store(&self) -> &Arc<SqliteStore> {
        &self.store
    }

    /// Submits a job: its row, its account, its first tick.
    ///
    /// # Errors
    /// When the job cannot be run as it is, or the store fails.
    pub async fn submit(&self, spec: JobSpec) -> anyhow::Result<JobId> {
        Ok(self.orchestrator.submit(spec).await?)
    }

    /// Works until `job` is final or `stop` is cancelled, then lets what is under way end, and returns the job as it
    /// stands. Whatever an earlier process left undone is picked up first.
    ///
    /// # Errors
    /// When the store fails, or the job's state cannot be read. What was stored stays, and the same call goes on from it.
    pub async fn run_job(&self, job: JobId, stop: CancellationToken) -> anyhow::Result<Job> {
        let quit = stop.child_token();
        let mut roles = JoinSet::new();
        for (handler, concurrency) in self.handlers() {
            let mut config = WorkerConfig::new(
                format!("embedded-{}", handler.topic().as_str()),
                concurrency,
            );
            if matches!(handler.topic(), Topic::Propose | Topic::Review) {
                config.grace = SESSION_GRACE;
            }
            let worker = Arc::new(Worker::new(
                Arc::clone(&self.queue),
                Arc::clone(&self.store) as Arc<dyn Tasks>,
                handler,
                Arc::clone(&self.clock),
                config,
            ));
            let quit = quit.clone();
            roles.spawn(async move { worker.run(quit).await.map_err(anyhow::Error::from) });
        }
        let orchestrator = self.orchestrator.clone();
        let orchestrator_quit = quit.clone();
        roles.spawn(async move { Ok(orchestrator.run(orchestrator_quit).await?) });

        let outcome = self.watch(job, &mut roles, &quit).await;
        quit.cancel();
        while roles.join_next().await.is_some() {}
        outcome
    }

    /// Looks at `job` until it is final, `quit` is cancelled, or one of the `roles` fails.
    async fn watch(
        &self,
        job: JobId,
        roles: &mut JoinSet<anyhow::Result<()>>,
        quit: &CancellationToken,
    ) -> anyhow::Result<Job> {
        // not left to the loop: it goes on in spite of a job that it cannot read, and this job would never end
        self.orchestrator.tick(job).await?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = quit.cancelled() => return Ok(self.store.get_job(job).await?),
                _ = look.tick() => {
                    let found = self.store.get_job(job).await?;
                    if found.status.is_final() {
                        return Ok(found);
                    }
                }
                Some(ended) = roles.join_next() => ended??,
            }
        }
    }

    fn handlers(&self) -> Vec<(Arc<dyn TaskHandler>, usize)> {
        vec![
            (Arc::clone(&self.executor) as Arc<dyn TaskHandler>, BLOCKS),
            (Arc::clone(&self.scoring) as Arc<dyn TaskHandler>, 2),
            (Arc::clone(&self.diagnosis) as Arc<dyn TaskHandler>, 1),
            (Arc::clone(&self.proposers) as Arc<dyn TaskHandler>, 4),
            (Arc::clone(&self.reviewer) as Arc<dyn TaskHandler>, 2),
        ]
    }

    /// Puts other caps on a job's account where they are given, and returns what it then has; what was spent stays
    /// counted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_caps(
        &self,
        job: JobId,
        usd: Option<f64>,
        model_calls: Option<u64>,
    ) -> anyhow::Result<Caps> {
        let known = self.store.balance(job).await?.caps;
        let caps = Caps {
            cost: usd.map(MicroUsd::from_usd).or(known.cost),
            model_calls: model_calls.or(known.model_calls),
        };
        self.store.open_account(job, caps).await?;
        Ok(caps)
    }

    /// Checks, without a call, that a job's models can be called: those of the steps, and those that propose, review and read.
    ///
    /// # Errors
    /// Where a key or an address is missing, or the job has a cap in dollars and a model no price.
    pub fn check_models(&self, spec: &JobSpec, pipeline: &Pipeline) -> Result<(), ModelError> {
        let project = &spec.project;
        let mut entries = pipeline.models();
        if spec.goal == JobGoal::Optimize {
            if project.proposer.backend == ProposerBackend::Reflect {
                entries.insert(project.proposing_model());
            }
            if project.reviewer_backend() == ReviewerBackend::Model {
                entries.insert(project.reviewing_model());
            }
            if project.diagnosis.reader.backend == ReaderBackend::Model {
                entries.insert(project.reading_model());
            }
        }
        for entry in entries {
            // an entry that is not there was told when the project was read
            let Some(model) = project.models.get(entry) else {
                continue;
            };
            self.providers.check(entry, model)?;
            if project.budget.usd.is_some() && self.price(model).is_none() {
                return Err(fapo_llm::unpriced(entry, model));
            }
        }
        Ok(())
    }

    /// Ends a running job for good.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn cancel_job(&self, job: JobId) -> anyhow::Result<()> {
        self.orchestrator.cancel(job).await?;
        Ok(())
    }

    /// Runs one case now, under an account of its own without caps.
    ///
    /// # Errors
    /// When the model cannot be called as it is set up, or the store fails.
    pub async fn run_case(
        &self,
        spec: &JobSpec,
        tree: &VariantTree,
        case: &Case,
        fresh: bool,
    ) -> anyhow::Result<RunRecord> {
        let now = self.clock.now();
        let mut about = Hasher::new("ad-hoc-run/v1");
        about
            .part(case.case_id.as_str().as_bytes())
            .number(u64::from(std::process::id()));
        let mut random = [0u8; 10];
        random.copy_from_slice(&about.finish().as_bytes()[..10]);
        let job = JobId::at(u64::try_from(now.0).unwrap_or(0), random);
        self.store.open_account(job, Caps::default()).await?;
        let run = self.executor.run_case(job, spec, tree, case, fresh, None);
        Ok(run.await?)
    }

    /// Scores a run.
    ///
    /// # Errors
    /// When the case lacks what the scorer needs.
    pub async fn score_run(
        &self,
        spec: &JobSpec,
        case: &Case,
        run: &RunRecord,
    ) -> anyhow::Result<CaseScore> {
        Ok(self.scoring.score_run(spec, case, run).await?)
    }

    /// What a model costs: as fapo.yaml says, else as the price table says.
    pub fn price(&self, model: &ModelSpec) -> Option<Price> {
        self.providers.price(model)
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

/// Takes the folder for this process; the lock goes with the process, however it ends.
async fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // who only looks (see `Embedded::is_at_work`) holds it for an instant
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_WAIT).await,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    bail!(
        "another fapo works in {}: wait for it, or look at it with `fapo status`",
        folder.display()
    )
}

async fn open_sqlite(
    dir: &Path,
    clock: &Arc<dyn Clock>,
    abort_after_commits: Option<u64>,
    sole_writer: bool,
) -> anyhow::Result<Arc<SqliteStore>> {
    let mut options = StoreOptions {
        sole_writer,
        ..StoreOptions::default()
    };
    if let Some(last) = abort_after_commits {
        options.on_commit = Some(Arc::new(move |commit| {
            if commit == last {
                std::process::abort();
            }
        }));
    }
    let file = store_file(dir);
    let store = SqliteStore::open(&file, Arc::clone(clock), options)
        .await
        .with_context(|| format!("cannot use {}", file.display()))?;
    Ok(Arc::new(store))
}

/// Starts each simulated model on a loopback port of its own; returns the variables that stand for their addresses.
async fn start_simulated(
    worlds: &[World],
) -> anyhow::Result<(Vec<SimHandle>, Vec<(String, String)>)> {
    let mut handles = Vec::new();
    let mut addresses = Vec::new();
    for world in worlds {
        let loaded = fapo_sim::World::load(&world.text)
            .context("the simulated model's world file cannot be used")?;
        let handle = SimServer::start(loaded, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .context("cannot start the simulated model on a loopback port")?;
        addresses.push((world.variable.clone(), handle.base_url()));
        handles.push(handle);
    }
    Ok((handles, addresses))
}

/// The price table: `prices.toml` in the project folder goes before what ships with fapo.
pub fn prices(dir: &Path) -> anyhow::Result<PriceTable> {
    let path = dir.join("prices.toml");
    let own = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    PriceTable::load(fapo_llm::DEFAULT_PRICES, own.as_deref())
        .with_context(|| format!("cannot use the prices in {}", path.display()))
}

/// Waits between tries differ from process to process; nothing that is decided depends on them.
fn jitter_seed(clock: &Arc<dyn Clock>) -> u64 {
    u64::try_from(clock.now().0).unwrap_or(0) ^ u64::from(std::process::id())
}
