//! The executor's ports, answered by a server.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::ErrorCode;
use fapo_domain::JobId;
use fapo_domain::model::case::Case;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::pipelines::{CaseRun, PipelineRunner, StepObserver};
use fapo_domain::ports::questions::PipelineChecker;
use fapo_domain::ports::work::WorkError;
use fapo_domain::problem::Problems;
use fapo_proto::executor::v1::executor_service_client::ExecutorServiceClient;
use fapo_proto::executor::v1::run_case_response::Part;
use fapo_proto::executor::v1::{
    RunCaseRequest, ValidatePipelineRequest, run_case_request, validate_pipeline_request,
};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::channel::{Connection, call};
use crate::common;
use crate::fault::{Fault, unreadable_answer};
use crate::read::{self, Within};
use crate::travels::arrived;

/// An executor behind a connection.
#[derive(Debug, Clone)]
pub struct RemoteExecutor {
    connection: Connection,
    client: ExecutorServiceClient<Channel>,
}

impl RemoteExecutor {
    /// The executor that `connection` leads to.
    pub fn new(connection: Connection) -> Self {
        let most = connection.options().message_bytes;
        Self {
            client: ExecutorServiceClient::new(connection.channel())
                .max_decoding_message_size(most)
                .max_encoding_message_size(most),
            connection,
        }
    }

    async fn run(
        &self,
        run: CaseRun<'_>,
        observer: Option<Arc<dyn StepObserver>>,
    ) -> Result<RunRecord, Fault> {
        let message = RunCaseRequest {
            job_id: run.job.to_string(),
            // the files and not the id: a tree that is tried out is not stored
            pipeline: Some(run_case_request::Pipeline::Files(common::wire_files(
                run.tree,
            ))),
            case: Some(common::wire_case(run.case)),
            fresh: run.fresh,
            payer: run.payer.map(common::wire_fence),
        };
        let until = Instant::now() + self.connection.options().run_deadline;
        let request = self.connection.request(None, message, until)?;
        let mut client = self.client.clone();
        // one try: what a run has paid for is in the step cache, but whoever asked decides whether it is worth another
        let answer = self
            .connection
            .until(until, client.run_case(request))
            .await?;
        let mut parts = answer.into_inner();
        while let Some(part) = self.connection.until(until, parts.message()).await? {
            let unreadable = |invalid| unreadable_answer(invalid, self.connection.server());
            match part.part {
                Some(Part::Step(step)) => {
                    if let Some(observer) = &observer {
                        let step = common::step(step).within("step").map_err(unreadable)?;
                        observer.step_ended(&step);
                    }
                }
                Some(Part::Run(run)) => return common::run(run).within("run").map_err(unreadable),
                // of a newer server
                None => {}
            }
        }
        let message = "the run broke off before its end";
        Err(Fault {
            server: self.connection.server().to_owned(),
            ..Fault::new(ErrorCode::Unavailable, crate::fault::UNREACHABLE, message)
        })
    }
}

#[async_trait]
impl PipelineRunner for RemoteExecutor {
    /// `spec` has to be the job's own: the server reads it by the job's id.
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
        self.run(run, None).await.map_err(arrived)
    }

    async fn run_case_observed(
        &self,
        run: CaseRun<'_>,
        observer: Arc<dyn StepObserver>,
    ) -> Result<RunRecord, WorkError> {
        self.run(run, Some(observer)).await.map_err(arrived)
    }
}

#[async_trait]
impl PipelineChecker for RemoteExecutor {
    async fn check_pipeline(
        &self,
        spec: &JobSpec,
        tree: &VariantTree,
    ) -> Result<Problems, WorkError> {
        let message = ValidatePipelineRequest {
            rules: Some(validate_pipeline_request::Rules::JobSpecJson(
                read::wire_json(spec),
            )),
            pipeline: Some(validate_pipeline_request::Pipeline::Files(
                common::wire_files(tree),
            )),
        };
        let answer = call!(self.connection, self.client, validate_pipeline, message);
        let answer = answer.map_err(arrived::<WorkError>)?;
        let problems = read::each(answer.problems, "problems", common::problem)
            .map_err(|invalid| arrived(unreadable_answer(invalid, self.connection.server())))?;
        let mut all = Problems::new();
        for problem in problems {
            all.push(problem);
        }
        Ok(all)
    }
}
