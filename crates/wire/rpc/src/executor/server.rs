//! [`PipelineRunner`] and [`PipelineChecker`] over the wire.

use std::sync::Arc;

use fapo_domain::JobId;
use fapo_domain::VariantId;
use fapo_domain::model::access::{Caller, Role};
use fapo_domain::model::case::Case;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{RunRecord, StepRecord};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::pipelines::{CaseRun, PipelineRunner, StepObserver};
use fapo_domain::ports::questions::PipelineChecker;
use fapo_domain::ports::traces::TraceQueries;
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::WorkError;
use fapo_proto::executor::v1::executor_service_server::ExecutorService;
use fapo_proto::executor::v1::{
    RunCaseRequest, RunCaseResponse, ValidatePipelineRequest, ValidatePipelineResponse,
    run_case_request, run_case_response, validate_pipeline_request,
};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::access::{Owners, absent, need};
use crate::auth::caller;
use crate::common;
use crate::fault::status;
use crate::read::{self, Invalid, Read, Within};

/// Offers the executor's ports.
pub struct ExecutorServer {
    runner: Arc<dyn PipelineRunner>,
    checker: Arc<dyn PipelineChecker>,
    variants: Arc<dyn Variants>,
    owners: Owners,
}

impl ExecutorServer {
    /// Offers `runner` and `checker`; the others are asked for jobs' specifications and variants' files.
    pub fn new(
        runner: Arc<dyn PipelineRunner>,
        checker: Arc<dyn PipelineChecker>,
        variants: Arc<dyn Variants>,
        jobs: Arc<dyn Jobs>,
        queries: Arc<dyn TraceQueries>,
    ) -> Self {
        Self {
            runner,
            checker,
            variants,
            owners: Owners { jobs, queries },
        }
    }

    async fn variant(&self, id: VariantId) -> Result<VariantTree, Status> {
        let found = self.variants.get_variant(id).await;
        found.map_err(|error| status(&error))
    }

    /// A stored variant of the job; that of another job does not exist for it.
    async fn variant_of(
        &self,
        job: JobId,
        spec: &JobSpec,
        id: VariantId,
    ) -> Result<VariantTree, Status> {
        if id != spec.baseline {
            let lineage = self.owners.jobs.lineage(job).await;
            let lineage = lineage.map_err(|error| status(&error))?;
            if lineage.iter().all(|row| row.child != id) {
                return Err(absent("variant", id.to_string()));
            }
        }
        self.variant(id).await
    }

    /// The rules that a pipeline is looked at under, and the job they are of, where they are of one.
    async fn rules(
        &self,
        caller: &Caller,
        rules: validate_pipeline_request::Rules,
    ) -> Result<(JobSpec, Option<JobId>), Status> {
        match rules {
            validate_pipeline_request::Rules::JobId(id) => {
                let id = read::job_id(&id, "job_id")?;
                Ok((self.owners.job(caller, id).await?.spec, Some(id)))
            }
            validate_pipeline_request::Rules::JobSpecJson(json) => {
                let spec = common::job_spec(&json)?;
                if caller.sees(&spec.project.name) {
                    Ok((spec, None))
                } else {
                    Err(absent("project", spec.project.name))
                }
            }
        }
    }
}

#[tonic::async_trait]
impl ExecutorService for ExecutorServer {
    /// INVALID_ARGUMENT, NOT_FOUND; PERMISSION_DENIED below viewer; UNAVAILABLE, INTERNAL of the store.
    async fn validate_pipeline(
        &self,
        request: Request<ValidatePipelineRequest>,
    ) -> Result<Response<ValidatePipelineResponse>, Status> {
        let caller = caller(&request)?;
        need(&caller, Role::Viewer)?;
        let message = request.into_inner();
        let rules = read::given(message.rules, "rules")?;
        let pipeline = read::given(message.pipeline, "pipeline")?;
        let (spec, job) = self.rules(&caller, rules).await?;
        let tree = match pipeline {
            validate_pipeline_request::Pipeline::Files(files) => {
                common::files(files).within("files")?
            }
            validate_pipeline_request::Pipeline::VariantId(id) => {
                let id = VariantId(read::hash(&id, "variant_id")?);
                let job = job.ok_or_else(|| {
                    Invalid::new("variant_id", "can be given only together with `job_id`")
                })?;
                self.variant_of(job, &spec, id).await?
            }
        };
        let problems = self.checker.check_pipeline(&spec, &tree).await;
        let problems = problems.map_err(|error| status(&error))?;
        Ok(Response::new(ValidatePipelineResponse {
            problems: problems.iter().map(common::wire_problem).collect(),
        }))
    }

    type RunCaseStream = BoxStream<'static, Result<RunCaseResponse, Status>>;

    /// INVALID_ARGUMENT, NOT_FOUND; PERMISSION_DENIED for who is no service; what running reports: ABORTED for a stale payer,
    /// RESOURCE_EXHAUSTED for a spent budget, UNAVAILABLE.
    async fn run_case(
        &self,
        request: Request<RunCaseRequest>,
    ) -> Result<Response<Self::RunCaseStream>, Status> {
        let caller = caller(&request)?;
        need(&caller, Role::Service)?;
        let asked = Asked::read(request.into_inner())?;
        let spec = self.owners.job(&caller, asked.job).await?.spec;
        let tree = match asked.pipeline {
            Pipeline::Files(tree) => tree,
            Pipeline::Variant(id) => self.variant(id).await?,
        };
        let (sender, steps) = mpsc::unbounded_channel();
        let runner = Arc::clone(&self.runner);
        let run = Box::pin(async move {
            let run = CaseRun {
                job: asked.job,
                spec: &spec,
                tree: &tree,
                case: &asked.case,
                fresh: asked.fresh,
                payer: asked.payer,
            };
            runner.run_case_observed(run, Arc::new(Tell(sender))).await
        });
        Ok(Response::new(stream(UnderWay { run, steps })))
    }
}

/// A request to run a case, read.
struct Asked {
    job: JobId,
    pipeline: Pipeline,
    case: Case,
    fresh: bool,
    payer: Option<Fence>,
}

enum Pipeline {
    Files(VariantTree),
    Variant(VariantId),
}

impl Asked {
    fn read(message: RunCaseRequest) -> Read<Self> {
        use run_case_request::Pipeline as Wire;
        Ok(Self {
            job: read::job_id(&message.job_id, "job_id")?,
            pipeline: match read::given(message.pipeline, "pipeline")? {
                Wire::Files(files) => Pipeline::Files(common::files(files).within("files")?),
                Wire::VariantId(id) => Pipeline::Variant(VariantId(read::hash(&id, "variant_id")?)),
            },
            case: read::inner(message.case, "case", common::case)?,
            fresh: message.fresh,
            payer: read::maybe(message.payer, "payer", common::fence)?,
        })
    }
}

/// Tells the stream of steps. A run has a bounded number of them, so what waits to be sent is bounded too.
struct Tell(mpsc::UnboundedSender<StepRecord>);

impl StepObserver for Tell {
    fn step_ended(&self, step: &StepRecord) {
        // nobody listens any more where the client went away; the run is dropped then
        let _ = self.0.send(step.clone());
    }
}

/// A run under way. It is driven by whoever reads the stream, so that it ends when the client goes away.
struct UnderWay {
    run: BoxFuture<'static, Result<RunRecord, WorkError>>,
    steps: mpsc::UnboundedReceiver<StepRecord>,
}

enum State {
    Running(UnderWay),
    /// The run has ended; steps that were not sent yet come before it.
    Ended(
        Result<Box<RunRecord>, WorkError>,
        mpsc::UnboundedReceiver<StepRecord>,
    ),
    Over,
}

/// Each step as it ends, then the run.
fn stream(run: UnderWay) -> BoxStream<'static, Result<RunCaseResponse, Status>> {
    let part = |part| Ok(RunCaseResponse { part: Some(part) });
    unfold(State::Running(run), move |mut state| async move {
        loop {
            state = match state {
                State::Running(mut running) => {
                    tokio::select! {
                        biased;
                        Some(step) = running.steps.recv() => {
                            let step = run_case_response::Part::Step(common::wire_step(step));
                            return Some((part(step), State::Running(running)));
                        }
                        ended = &mut running.run => {
                            State::Ended(ended.map(Box::new), running.steps)
                        }
                    }
                }
                State::Ended(ended, mut steps) => {
                    if let Ok(step) = steps.try_recv() {
                        let step = run_case_response::Part::Step(common::wire_step(step));
                        return Some((part(step), State::Ended(ended, steps)));
                    }
                    let last = match ended {
                        Ok(run) => part(run_case_response::Part::Run(common::wire_run(*run))),
                        Err(error) => Err(status(&error)),
                    };
                    return Some((last, State::Over));
                }
                State::Over => return None,
            };
        }
    })
    .boxed()
}
