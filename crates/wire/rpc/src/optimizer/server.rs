//! [`Optimizer`] over the wire. What a caller may do is the port's own matter: each of its methods holds the caller against it
//! before anything else.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::optimizer::{JobFilter, Optimizer, OptimizerError, ReportFormat};
use fapo_domain::ports::trace_context::TraceContext;
use fapo_domain::{ContentHash, JobId, VariantId};
use fapo_proto::optimizer::v1 as pb;
use fapo_proto::optimizer::v1::optimizer_service_server::OptimizerService;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::watch::Watch;
use super::{convert, lineage, upload};
use crate::auth::caller;
use crate::common;
use crate::fault::status;
use crate::page;
use crate::read::{self, Invalid};

/// Hashes of one call.
const MOST_HASHES: usize = 10_000;
/// The longest wait for an event.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Offers the optimizer's port.
pub struct OptimizerServer {
    optimizer: Arc<dyn Optimizer>,
    trace: Arc<dyn TraceContext>,
    stop: CancellationToken,
    /// What a stream of contents may hold.
    pub(crate) stream_bytes: usize,
}

impl OptimizerServer {
    /// Offers `optimizer`. `trace` tells a new job where it belongs; `stop` ends the streams of those who watch.
    pub fn new(
        optimizer: Arc<dyn Optimizer>,
        trace: Arc<dyn TraceContext>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            optimizer,
            trace,
            stop,
            stream_bytes: crate::ServerOptions::default().stream_bytes,
        }
    }

    /// The place of a call in a distributed trace: the span of the call, or what the caller sent where no spans are kept here.
    fn place<T>(&self, request: &Request<T>) -> Option<TraceParent> {
        self.trace.current().or_else(|| {
            let sent = request.metadata().get("traceparent")?;
            sent.to_str().ok()?.parse().ok()
        })
    }

    async fn set_paused<T>(
        &self,
        request: &Request<T>,
        id: &str,
        paused: bool,
    ) -> Result<pb::Job, Status> {
        let caller = caller(request)?;
        let id = job_id(id)?;
        let job = self.optimizer.set_paused(&caller, id, paused).await;
        Ok(convert::wire_job(job.map_err(told)?))
    }
}

fn texts(hashes: &[ContentHash]) -> Vec<String> {
    hashes.iter().map(ContentHash::to_string).collect()
}

fn job_id(text: &str) -> Result<JobId, Status> {
    Ok(read::job_id(text, "job_id")?)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "an argument of `map_err`, which passes by value"
)]
fn told(error: OptimizerError) -> Status {
    status(&error)
}

/// Every method: UNAUTHENTICATED, PERMISSION_DENIED for too small a role, NOT_FOUND also for another project's things,
/// INVALID_ARGUMENT for a message that breaks its rules, UNAVAILABLE and INTERNAL of store and queue. What a method has besides
/// stands above it.
#[tonic::async_trait]
impl OptimizerService for OptimizerServer {
    async fn find_missing_blobs(
        &self,
        request: Request<pb::FindMissingBlobsRequest>,
    ) -> Result<Response<pb::FindMissingBlobsResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner().sha256;
        read::at_most(asked.len(), MOST_HASHES, "sha256")?;
        let hashes = asked
            .iter()
            .enumerate()
            .map(|(position, text)| read::hash(text, &format!("sha256[{position}]")))
            .collect::<Result<Vec<_>, _>>()?;
        let missing = self.optimizer.missing_blobs(&caller, &hashes).await;
        let sha256 = texts(&missing.map_err(told)?);
        Ok(Response::new(pb::FindMissingBlobsResponse { sha256 }))
    }

    /// Nothing of a stream that breaks off is stored.
    async fn upload_blobs(
        &self,
        request: Request<Streaming<pb::UploadBlobsRequest>>,
    ) -> Result<Response<pb::UploadBlobsResponse>, Status> {
        let caller = caller(&request)?;
        // before anything is read: who may not upload is told so at once, and fills no memory
        let allowed = self.optimizer.missing_blobs(&caller, &[]).await;
        allowed.map_err(told)?;
        let contents = upload::collect(request.into_inner(), self.stream_bytes).await?;
        let hashes = self.optimizer.upload_blobs(&caller, contents).await;
        let sha256 = texts(&hashes.map_err(told)?);
        Ok(Response::new(pb::UploadBlobsResponse { sha256 }))
    }

    /// FAILED_PRECONDITION: PROJECT_INVALID with the problems, BLOBS_MISSING, MODELS_NOT_CALLABLE; ALREADY_EXISTS for a request
    /// id that was used for something else.
    async fn submit_job(
        &self,
        request: Request<pb::SubmitJobRequest>,
    ) -> Result<Response<pb::SubmitJobResponse>, Status> {
        let caller = caller(&request)?;
        let place = self.place(&request);
        let submission = convert::submission(request.into_inner())?;
        let job = self.optimizer.submit(&caller, submission, place).await;
        Ok(Response::new(pb::SubmitJobResponse {
            job: Some(convert::wire_job(job.map_err(told)?)),
        }))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::GetJobResponse>, Status> {
        let caller = caller(&request)?;
        let id = job_id(&request.get_ref().job_id)?;
        let job = self.optimizer.job(&caller, id).await;
        Ok(Response::new(pb::GetJobResponse {
            job: Some(convert::wire_job(job.map_err(told)?)),
        }))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let size = page::size(message.page_size);
        let before = match message.page_token.as_str() {
            "" => None,
            token => Some(read::job_id(token, "page_token")?),
        };
        let filter = JobFilter {
            project: Some(message.project).filter(|project| !project.is_empty()),
            before,
            // one more than fits tells whether there is another page
            limit: size + 1,
        };
        let mut jobs = self.optimizer.jobs(&caller, &filter).await.map_err(told)?;
        let more = jobs.len() > size as usize;
        jobs.truncate(size as usize);
        let next_page_token = match jobs.last() {
            Some(last) if more => last.id.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(pb::ListJobsResponse {
            jobs: jobs.into_iter().map(convert::wire_job).collect(),
            next_page_token,
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let caller = caller(&request)?;
        let id = job_id(&request.get_ref().job_id)?;
        let job = self.optimizer.cancel(&caller, id).await;
        Ok(Response::new(pb::CancelJobResponse {
            job: Some(convert::wire_job(job.map_err(told)?)),
        }))
    }

    /// FAILED_PRECONDITION for a final job.
    async fn pause_job(
        &self,
        request: Request<pb::PauseJobRequest>,
    ) -> Result<Response<pb::PauseJobResponse>, Status> {
        let id = &request.get_ref().job_id;
        let job = Some(self.set_paused(&request, id, true).await?);
        Ok(Response::new(pb::PauseJobResponse { job }))
    }

    /// FAILED_PRECONDITION for a final job.
    async fn resume_job(
        &self,
        request: Request<pb::ResumeJobRequest>,
    ) -> Result<Response<pb::ResumeJobResponse>, Status> {
        let id = &request.get_ref().job_id;
        let job = Some(self.set_paused(&request, id, false).await?);
        Ok(Response::new(pb::ResumeJobResponse { job }))
    }

    type WatchJobStream = BoxStream<'static, Result<pb::WatchJobResponse, Status>>;

    /// UNAVAILABLE at the end of a stream: the server is about to stop.
    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let job = job_id(&message.job_id)?;
        // who may not, or names no job, hears it at once and not in the stream
        self.optimizer.job(&caller, job).await.map_err(told)?;
        let watch = Watch {
            optimizer: Arc::clone(&self.optimizer),
            caller,
            job,
            after_seq: message.after_seq,
            stop: self.stop.clone(),
        };
        Ok(Response::new(watch.stream()))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let id = job_id(&message.job_id)?;
        let wait = read::duration(message.wait, "wait")?;
        if wait > LONGEST_WAIT {
            return Err(Invalid::new("wait", "cannot be longer than 60 seconds").into());
        }
        let limit = page::size(message.page_size);
        let events = self
            .optimizer
            .events(&caller, id, message.after_seq, limit, wait);
        let events = tokio::select! {
            events = events => events.map_err(told)?,
            () = self.stop.cancelled() => Vec::new(),
        };
        Ok(Response::new(pb::ListEventsResponse {
            events: events.iter().map(convert::wire_event).collect(),
        }))
    }

    async fn get_lineage(
        &self,
        request: Request<pb::GetLineageRequest>,
    ) -> Result<Response<pb::GetLineageResponse>, Status> {
        let caller = caller(&request)?;
        let id = job_id(&request.get_ref().job_id)?;
        let found = self.optimizer.lineage(&caller, id).await;
        Ok(Response::new(lineage::wire_lineage(found.map_err(told)?)))
    }

    async fn get_variant(
        &self,
        request: Request<pb::GetVariantRequest>,
    ) -> Result<Response<pb::GetVariantResponse>, Status> {
        let caller = caller(&request)?;
        let id = job_id(&request.get_ref().job_id)?;
        let variant = VariantId(read::hash(&request.get_ref().variant_id, "variant_id")?);
        let tree = self.optimizer.variant(&caller, id, variant).await;
        Ok(Response::new(pb::GetVariantResponse {
            files: Some(common::wire_files(&tree.map_err(told)?)),
        }))
    }

    async fn get_report(
        &self,
        request: Request<pb::GetReportRequest>,
    ) -> Result<Response<pb::GetReportResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let id = job_id(&message.job_id)?;
        let format = common::maybe_one_of(message.format, "format")?;
        let format = format.unwrap_or(ReportFormat::Markdown);
        let content = self.optimizer.report(&caller, id, format).await;
        Ok(Response::new(pb::GetReportResponse {
            content: content.map_err(told)?,
            media_type: convert::media_type(format).to_owned(),
        }))
    }

    async fn list_dead_tasks(
        &self,
        request: Request<pb::ListDeadTasksRequest>,
    ) -> Result<Response<pb::ListDeadTasksResponse>, Status> {
        let caller = caller(&request)?;
        let id = job_id(&request.get_ref().job_id)?;
        let tasks = self.optimizer.dead_tasks(&caller, id).await.map_err(told)?;
        Ok(Response::new(pb::ListDeadTasksResponse {
            tasks: tasks.into_iter().map(convert::wire_dead_task).collect(),
        }))
    }

    async fn retry_dead_tasks(
        &self,
        request: Request<pb::RetryDeadTasksRequest>,
    ) -> Result<Response<pb::RetryDeadTasksResponse>, Status> {
        let caller = caller(&request)?;
        let id = job_id(&request.get_ref().job_id)?;
        let retried = self.optimizer.retry_dead_tasks(&caller, id).await;
        Ok(Response::new(pb::RetryDeadTasksResponse {
            retried: retried.map_err(told)?,
        }))
    }
}
