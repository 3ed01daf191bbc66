//! The optimizer's port, answered by a server. A call on somebody's behalf shows their token; one without shows that of the
//! connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::model::access::Caller;
use fapo_domain::model::job::JobEvent;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::optimizer::{
    JobFilter, JobLineage, JobSummary, Optimizer, OptimizerError, ReportFormat, Submission,
};
use fapo_domain::ports::tasks::DeadTask;
use fapo_domain::{ContentHash, JobId, VariantId};
use fapo_proto::optimizer::v1 as pb;
use fapo_proto::optimizer::v1::optimizer_service_client::OptimizerServiceClient;
use futures::stream::iter;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::{convert, lineage, upload};
use crate::channel::{Connection, call};
use crate::common::{self, Enumerated};
use crate::fault::unreadable_answer;
use crate::read::{self, Invalid, Read};
use crate::travels::arrived;

/// Bytes of one stream of contents, far below what a server takes; a larger content has one to itself.
const STREAM_BYTES: usize = 64 << 20;
/// The longest wait of one call for an event.
const WAIT_AT_ONCE: Duration = Duration::from_secs(20);
/// The largest page that a server gives.
const LARGEST_PAGE: u32 = 1000;

/// An optimizer behind a connection.
#[derive(Debug, Clone)]
pub struct RemoteOptimizer {
    connection: Connection,
    client: OptimizerServiceClient<Channel>,
}

/// A method by its message, with the caller's token.
macro_rules! ask {
    ($self:ident, $caller:expr, $method:ident, $message:expr) => {
        call!(
            $self.connection,
            $self.client,
            $method,
            $message,
            $caller.credential.as_ref()
        )
        .map_err(arrived::<OptimizerError>)
    };
}

impl RemoteOptimizer {
    /// The optimizer that `connection` leads to.
    pub fn new(connection: Connection) -> Self {
        let most = connection.options().message_bytes;
        Self {
            client: OptimizerServiceClient::new(connection.channel())
                .max_decoding_message_size(most)
                .max_encoding_message_size(most),
            connection,
        }
    }

    fn unreadable(&self, invalid: Invalid) -> OptimizerError {
        arrived(unreadable_answer(invalid, self.connection.server()))
    }

    fn read<T>(&self, value: Read<T>) -> Result<T, OptimizerError> {
        value.map_err(|invalid| self.unreadable(invalid))
    }

    fn job_of(&self, job: Option<pb::Job>) -> Result<JobSummary, OptimizerError> {
        self.read(read::inner(job, "job", convert::job))
    }

    fn hashes(&self, texts: Vec<String>) -> Result<Vec<ContentHash>, OptimizerError> {
        self.read(read::each(texts, "sha256", |text| {
            read::hash(&text, "hash")
        }))
    }

    async fn upload(
        &self,
        caller: &Caller,
        contents: Vec<Arc<[u8]>>,
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        let contents = Arc::new(contents);
        let answer = self
            .connection
            .call_as(caller.credential.as_ref(), contents, |request| {
                let mut client = self.client.clone();
                async move {
                    let (metadata, extensions, contents) = request.into_parts();
                    let parts = iter(upload::parts(contents));
                    let request = tonic::Request::from_parts(metadata, extensions, parts);
                    client.upload_blobs(request).await
                }
            })
            .await;
        self.hashes(answer.map_err(arrived::<OptimizerError>)?.sha256)
    }
}

#[async_trait]
impl Optimizer for RemoteOptimizer {
    async fn missing_blobs(
        &self,
        caller: &Caller,
        hashes: &[ContentHash],
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        let message = pb::FindMissingBlobsRequest {
            sha256: hashes.iter().map(ContentHash::to_string).collect(),
        };
        let answer = ask!(self, caller, find_missing_blobs, message)?;
        self.hashes(answer.sha256)
    }

    /// Atomic for each 64 MiB: more travels in several streams, of which those before a failure stay stored.
    async fn upload_blobs(
        &self,
        caller: &Caller,
        contents: Vec<Arc<[u8]>>,
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        let (mut hashes, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
        for content in contents {
            if bytes + content.len() > STREAM_BYTES && !group.is_empty() {
                hashes.extend(self.upload(caller, std::mem::take(&mut group)).await?);
                bytes = 0;
            }
            bytes += content.len();
            group.push(content);
        }
        // also an empty call is held against what the caller may do
        if !group.is_empty() || hashes.is_empty() {
            hashes.extend(self.upload(caller, group).await?);
        }
        Ok(hashes)
    }

    async fn submit(
        &self,
        caller: &Caller,
        submission: Submission,
        trace: Option<TraceParent>,
    ) -> Result<JobSummary, OptimizerError> {
        let message = convert::wire_submission(submission);
        let place = trace.and_then(|trace| trace.as_str().parse().ok());
        let answer = self
            .connection
            .call_as(caller.credential.as_ref(), message, |mut request| {
                if let Some(place) = &place {
                    let place: &tonic::metadata::MetadataValue<_> = place;
                    request.metadata_mut().insert("traceparent", place.clone());
                }
                let mut client = self.client.clone();
                async move { client.submit_job(request).await }
            })
            .await;
        self.job_of(answer.map_err(arrived::<OptimizerError>)?.job)
    }

    async fn job(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError> {
        let job_id = id.to_string();
        let answer = ask!(self, caller, get_job, pb::GetJobRequest { job_id })?;
        self.job_of(answer.job)
    }

    async fn jobs(
        &self,
        caller: &Caller,
        filter: &JobFilter,
    ) -> Result<Vec<JobSummary>, OptimizerError> {
        let mut all = Vec::new();
        // a page token is the last job of the page before, and so is `before`
        let mut page_token = filter.before.map_or_else(String::new, |id| id.to_string());
        loop {
            let have = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let left = filter.limit.saturating_sub(have).min(LARGEST_PAGE);
            if left == 0 {
                return Ok(all);
            }
            let message = pb::ListJobsRequest {
                project: filter.project.clone().unwrap_or_default(),
                page_size: left,
                page_token,
            };
            let answer = ask!(self, caller, list_jobs, message)?;
            all.extend(self.read(read::each(answer.jobs, "jobs", convert::job))?);
            if answer.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = answer.next_page_token;
        }
    }

    async fn cancel(&self, caller: &Caller, id: JobId) -> Result<JobSummary, OptimizerError> {
        let job_id = id.to_string();
        let answer = ask!(self, caller, cancel_job, pb::CancelJobRequest { job_id })?;
        self.job_of(answer.job)
    }

    async fn set_paused(
        &self,
        caller: &Caller,
        id: JobId,
        paused: bool,
    ) -> Result<JobSummary, OptimizerError> {
        let job_id = id.to_string();
        let job = if paused {
            ask!(self, caller, pause_job, pb::PauseJobRequest { job_id })?.job
        } else {
            ask!(self, caller, resume_job, pb::ResumeJobRequest { job_id })?.job
        };
        self.job_of(job)
    }

    async fn events(
        &self,
        caller: &Caller,
        id: JobId,
        after_seq: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<JobEvent>, OptimizerError> {
        let until = Instant::now() + wait;
        if limit == 0 {
            return Ok(Vec::new());
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let asked = left.min(WAIT_AT_ONCE);
            let message = pb::ListEventsRequest {
                job_id: id.to_string(),
                after_seq,
                page_size: limit.min(LARGEST_PAGE),
                wait: Some(read::wire_duration(asked)),
            };
            let began = Instant::now();
            let answer = ask!(self, caller, list_events, message)?;
            let events = self.read(read::each(answer.events, "events", convert::event))?;
            // an empty answer before its time is of a final job, or of a server that is about to stop
            if !events.is_empty() || asked == left || began.elapsed() < asked {
                return Ok(events);
            }
        }
    }

    async fn lineage(&self, caller: &Caller, id: JobId) -> Result<JobLineage, OptimizerError> {
        let job_id = id.to_string();
        let answer = ask!(self, caller, get_lineage, pb::GetLineageRequest { job_id })?;
        self.read(lineage::lineage(answer))
    }

    async fn variant(
        &self,
        caller: &Caller,
        id: JobId,
        variant: VariantId,
    ) -> Result<VariantTree, OptimizerError> {
        let message = pb::GetVariantRequest {
            job_id: id.to_string(),
            variant_id: variant.to_string(),
        };
        let answer = ask!(self, caller, get_variant, message)?;
        self.read(read::inner(answer.files, "files", common::files))
    }

    async fn report(
        &self,
        caller: &Caller,
        id: JobId,
        format: ReportFormat,
    ) -> Result<Vec<u8>, OptimizerError> {
        let message = pb::GetReportRequest {
            job_id: id.to_string(),
            format: format.wire(),
        };
        let answer = ask!(self, caller, get_report, message)?;
        Ok(answer.content)
    }

    async fn dead_tasks(
        &self,
        caller: &Caller,
        id: JobId,
    ) -> Result<Vec<DeadTask>, OptimizerError> {
        let job_id = id.to_string();
        let message = pb::ListDeadTasksRequest { job_id };
        let answer = ask!(self, caller, list_dead_tasks, message)?;
        self.read(read::each(answer.tasks, "tasks", convert::dead_task))
    }

    async fn retry_dead_tasks(&self, caller: &Caller, id: JobId) -> Result<u64, OptimizerError> {
        let job_id = id.to_string();
        let message = pb::RetryDeadTasksRequest { job_id };
        Ok(ask!(self, caller, retry_dead_tasks, message)?.retried)
    }
}
