//! Everything in one process, over SQLite in the project's folder and an in-process queue: what `fapo eval DIR` and `fapo
//! optimize DIR` run on.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fapo_domain::clock::{Clock, SystemClock};
use fapo_domain::model::case::Case;
use fapo_domain::model::job::{Job, JobSpec};
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::task::Topic;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::money::MicroUsd;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::ledger::{Caps, Ledger};
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::tasks::Tasks;
use fapo_domain::ports::trace_context::NoTraces;
use fapo_domain::ports::work::TaskHandler;
use fapo_domain::{JobId, hash::Hasher};
use fapo_executor::ExecutorService;
use fapo_llm::{Addresses, EnvLookup};
use fapo_orchestrator::{OptimizerService, OrchestratorConfig, OrchestratorService};
use fapo_queue::{MemoryLimits, MemoryQueue, WorkerConfig};
use fapo_scoring::ScoringService;
use fapo_sim::{SimHandle, SimServer};
use fapo_store::SqliteStore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::folder::lock;
use super::services::{Asked, Base, BaseParts, Diagnosing, SESSION_GRACE};
use super::store::open_sqlite;
use super::{Callable, agents, prices, sandbox};
use crate::config::Env;
use crate::ports::Ports;
use crate::project::World;

/// How often a running job is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Blocks under way at once, so that one slow case does not hold up the next block.
const BLOCKS: usize = 4;

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
    base: Base,
    callable: Callable,
    executor: Arc<ExecutorService>,
    scoring: Arc<ScoringService>,
    diagnosing: Diagnosing,
    orchestrator: OrchestratorService,
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
        let store = open_in(dir, &clock, options.abort_after_commits, true).await?;
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
        let base = Base::new(BaseParts {
            ports: Ports::over(Arc::clone(&store)),
            queue: Arc::new(MemoryQueue::new()),
            limits: Arc::new(MemoryLimits::new()),
            trace: Arc::new(NoTraces),
            sandbox: sandbox::sandbox(&options.env, dir)?,
            python: sandbox::interpreter(&options.env, dir),
            prices: prices(dir)?,
            clock,
            lookup,
            // the project is the user's own, and so are the keys
            addresses: Addresses::any(),
            env: options.env,
        });
        let executor = base.executor();
        let scoring = base.scoring();
        // the lock is ours: whoever had a session there is dead
        let scratch = agents::Scratch::of(dir);
        let tools = Asked {
            runner: executor.clone(),
            scorer: scoring.clone(),
        };
        let diagnosing = base
            .diagnosing(tools, scratch, options.recording.as_deref())
            .context("the recorded proposals cannot be read")?;
        let orchestrator = base.orchestrator(OrchestratorConfig::new("embedded"));
        Ok(Self {
            store,
            callable: base.callable(),
            base,
            executor,
            scoring,
            diagnosing,
            orchestrator,
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
        open_in(dir, &clock, abort_after_commits, false)
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
            let name = format!("embedded-{}", handler.topic().as_str());
            let mut config = WorkerConfig::new(name, concurrency);
            if matches!(handler.topic(), Topic::Propose | Topic::Review) {
                config.grace = SESSION_GRACE;
            }
            let worker = Arc::new(self.base.worker(handler, config));
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
            (
                Arc::clone(&self.diagnosing.reader) as Arc<dyn TaskHandler>,
                1,
            ),
            (
                Arc::clone(&self.diagnosing.proposer) as Arc<dyn TaskHandler>,
                4,
            ),
            (
                Arc::clone(&self.diagnosing.reviewer) as Arc<dyn TaskHandler>,
                2,
            ),
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

    /// The jobs of this process, as clients see them.
    pub fn optimizer(&self) -> OptimizerService {
        self.base.optimizer(self.orchestrator.clone())
    }

    /// What this process can call.
    pub const fn callable(&self) -> &Callable {
        &self.callable
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
        let now = self.base.clock.now();
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
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
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

/// Opens the store of the project in `dir`.
async fn open_in(
    dir: &Path,
    clock: &Arc<dyn Clock>,
    abort_after_commits: Option<u64>,
    sole_writer: bool,
) -> anyhow::Result<Arc<SqliteStore>> {
    open_sqlite(&store_file(dir), clock, abort_after_commits, sole_writer).await
}
