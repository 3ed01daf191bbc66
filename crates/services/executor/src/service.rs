//! The service: takes `execute` tasks from the queue, and answers for single runs.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fapo_domain::clock::Clock;
use fapo_domain::hash::Hasher;
use fapo_domain::model::case::Case;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::task::{ClaimedTask, Fence, TaskPayload, Topic};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::code::CodeRunner;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::ledger::Ledger;
use fapo_domain::ports::models::MeteredModels;
use fapo_domain::ports::pipelines::{CaseRun, PipelineRunner, StepObserver};
use fapo_domain::ports::questions::PipelineChecker;
use fapo_domain::ports::traces::Traces;
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::problem::Problems;
use fapo_domain::{ContentHash, EvaluationId, JobId, TaskId, VariantId};
use fapo_project::{PipelineContext, read_pipeline};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::block::BlockRun;
use crate::config::ExecutorConfig;
use crate::job::{JobContext, SessionOf};
use crate::observe;
use crate::outcome::Cause;
use crate::recent::Recent;
use crate::retrieval::Corpora;
use crate::run::run_case;

/// What the executor needs from outside.
#[derive(Clone)]
pub struct Ports {
    /// Jobs.
    pub jobs: Arc<dyn Jobs>,
    /// Variants.
    pub variants: Arc<dyn Variants>,
    /// Cases.
    pub datasets: Arc<dyn Datasets>,
    /// Corpora.
    pub blobs: Arc<dyn Blobs>,
    /// Runs.
    pub traces: Arc<dyn Traces>,
    /// The step cache, asked only whether it has anything.
    pub cache: Arc<dyn StepCache>,
    /// Models, cached and paid for.
    pub models: Arc<dyn MeteredModels>,
    /// Workers for the code of `python` steps.
    pub code: Arc<dyn CodeRunner>,
    /// Money.
    pub ledger: Arc<dyn Ledger>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

type Cell<T> = Arc<OnceCell<Arc<T>>>;
/// A job as asked for by hand: its id, the variant, and the seal over everything else that its spec holds.
type ByHand = (JobId, VariantId, ContentHash);

/// Runs pipelines. See the crate's head for what it guarantees.
pub struct ExecutorService {
    ports: Ports,
    config: ExecutorConfig,
    corpora: Corpora,
    jobs: Mutex<Recent<JobId, Cell<JobContext>>>,
    by_hand: Mutex<Recent<ByHand, Arc<JobContext>>>,
    /// Numbers runs by hand, so that each has its own reservation.
    runs_by_hand: AtomicU64,
}

impl ExecutorService {
    /// An executor over these ports.
    pub fn new(ports: Ports, config: ExecutorConfig) -> Self {
        Self {
            corpora: Corpora::new(Arc::clone(&ports.blobs)),
            ports,
            config,
            jobs: Mutex::new(Recent::default()),
            by_hand: Mutex::new(Recent::default()),
            runs_by_hand: AtomicU64::new(0),
        }
    }

    /// The job, read once: its spec never changes.
    async fn job(&self, id: JobId) -> Result<Arc<JobContext>, WorkError> {
        let cell = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(id, Cell::default);
        cell.get_or_try_init(async || {
            let job = self.ports.jobs.get_job(id).await?;
            Ok(Arc::new(JobContext::new(id, job.spec)))
        })
        .await
        .map(Arc::clone)
        .map_err(|error: StoreError| WorkError::from_port("the job cannot be read", error))
    }
}

impl std::fmt::Debug for ExecutorService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecutorService")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TaskHandler for ExecutorService {
    fn topic(&self) -> Topic {
        Topic::Execute
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        let TaskPayload::Execute {
            evaluation,
            block,
            round,
        } = &task.payload
        else {
            let message = "a task that is not about executing came to the executor";
            return Err(WorkError::permanent("TASK_MISROUTED", message));
        };
        let run = BlockRun {
            ports: &self.ports,
            config: &self.config,
            corpora: &self.corpora,
            job: self.job(task.job).await?,
            task,
            evaluation,
            block: *block,
            round: *round,
        };
        let executed = run.run(stop).await?;
        serde_json::to_value(executed).map_err(|error| {
            WorkError::permanent(
                "RESULT_UNWRITABLE",
                format!("the result has no JSON: {error}"),
            )
        })
    }
}

#[async_trait]
impl PipelineRunner for ExecutorService {
    async fn run_case(
        &self,
        job: JobId,
        spec: &JobSpec,
        tree: &VariantTree,
        case: &Case,
        fresh: bool,
        payer: Option<Fence>,
    ) -> Result<RunRecord, WorkError> {
        let run = CaseRun {
            job,
            spec,
            tree,
            case,
            fresh,
            payer,
        };
        self.run_by_hand(run, None).await
    }

    async fn run_case_observed(
        &self,
        run: CaseRun<'_>,
        observer: Arc<dyn StepObserver>,
    ) -> Result<RunRecord, WorkError> {
        self.run_by_hand(run, Some(observer)).await
    }
}

impl ExecutorService {
    async fn run_by_hand(
        &self,
        run: CaseRun<'_>,
        observer: Option<Arc<dyn StepObserver>>,
    ) -> Result<RunRecord, WorkError> {
        use std::sync::atomic::Ordering::Relaxed;

        let CaseRun {
            job,
            spec,
            tree,
            case,
            fresh,
            payer,
        } = run;
        let variant = tree.id();
        let context = self
            .by_hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with((job, variant, spec.seal), || {
                Arc::new(JobContext::new(job, spec.clone()))
            });
        let plan = context.plan(variant, async || Ok(tree.clone())).await?;
        let fence = payer.unwrap_or_else(|| {
            // A reservation of its own, which no task has: closing it touches nobody else's.
            let number = self.runs_by_hand.fetch_add(1, Relaxed);
            let now = self.ports.clock.now().0;
            let name = format!("{variant}/{}/{now}/{number}", case.case_id);
            Fence {
                task: TaskId::derive(job, "run-case", &name),
                epoch: 1,
            }
        });
        let mut hasher = Hasher::new("run-case/v1");
        hasher
            .part(job.0.as_bytes())
            .hash(&variant.0)
            .part(case.case_id.as_str().as_bytes());
        let of = SessionOf {
            fence,
            evaluation: EvaluationId(hasher.finish()),
            sample: 0,
            own: None,
            read_cache: !fresh,
            block: false,
        };
        let mut session = context
            .session(&self.ports, &self.corpora, &plan, of)
            .await?;
        session.observer = observer;
        let span = observe::case(job, session.evaluation, 0, case);
        let ended = run_case(&session, 0, case.clone())
            .instrument(span.clone())
            .await;
        observe::case_ended(&span, &ended.record);
        let closed = match payer {
            // the claim goes on, and others may be calling under it
            Some(_) => Ok(()),
            None => self.ports.ledger.close(job, fence.into()).await.map(drop),
        };
        if let Cause::Abort(error) = ended.cause {
            return Err(error);
        }
        closed.map_err(|error| WorkError::from_port("the reservation cannot be closed", error))?;
        Ok(ended.record)
    }
}

#[async_trait]
impl PipelineChecker for ExecutorService {
    /// As `fapo check` reads a project's `pipeline/`, without its data: which keys the cases have is not asked.
    async fn check_pipeline(
        &self,
        spec: &JobSpec,
        tree: &VariantTree,
    ) -> Result<Problems, WorkError> {
        let context = PipelineContext {
            project: &spec.project,
            input_keys: None,
        };
        let (_, mut problems) = read_pipeline(tree, &context);
        problems.sort();
        Ok(problems)
    }
}
