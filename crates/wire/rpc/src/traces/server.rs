//! [`Traces`] and [`TraceQueries`] over the wire.

use std::sync::Arc;

use fapo_domain::model::access::Role;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::traces::{RunFilter, RunSummary, StepsOf, TraceQueries, Traces};
use fapo_domain::{EvaluationId, JobId};
use fapo_proto::common::v1::Run;
use fapo_proto::traces::v1 as pb;
use fapo_proto::traces::v1::traces_service_server::TracesService;
use futures::stream::{BoxStream, StreamExt, iter};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::convert;
use crate::access::{Owners, absent, need};
use crate::auth::caller;
use crate::common;
use crate::fault::status;
use crate::guard::broken_stream;
use crate::page;
use crate::read::{self, Invalid, Within};

/// Ordinals of one call.
const MOST_ORDINALS: usize = 1_000_000;
/// Runs that are read from the store at once for a stream: a batch of them stays far below a message's limit.
const RUNS_AT_ONCE: usize = 64;
/// Bytes of one message of a stream.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Evaluations that one page of a search looks through.
const EVALUATIONS_AT_ONCE: usize = 64;

/// Offers the traces' ports.
pub struct TracesServer {
    traces: Arc<dyn Traces>,
    owners: Owners,
    /// What a stream of runs may hold.
    pub(crate) stream_bytes: usize,
}

impl TracesServer {
    /// Offers `traces` and `queries`; `jobs` tells whose they are.
    pub fn new(
        traces: Arc<dyn Traces>,
        queries: Arc<dyn TraceQueries>,
        jobs: Arc<dyn Jobs>,
    ) -> Self {
        Self {
            traces,
            owners: Owners { jobs, queries },
            stream_bytes: crate::ServerOptions::default().stream_bytes,
        }
    }

    /// The evaluation that a viewer asks about.
    async fn viewed<T>(&self, request: &Request<T>, id: &str) -> Result<EvaluationId, Status> {
        let caller = caller(request)?;
        need(&caller, Role::Viewer)?;
        let id = common::evaluation_id(id, "evaluation_id")?;
        self.owners.may_see(&caller, id).await?;
        Ok(id)
    }

    /// The job that a viewer asks about.
    async fn viewed_job<T>(&self, request: &Request<T>, id: &str) -> Result<JobId, Status> {
        let caller = caller(request)?;
        need(&caller, Role::Viewer)?;
        let id = read::job_id(id, "job_id")?;
        self.owners.may_see_job(&caller, id).await?;
        Ok(id)
    }

    /// A page of an evaluation's runs: one more than fits tells whether there is another.
    async fn page(
        &self,
        evaluation: EvaluationId,
        filter: &RunFilter,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<pb::RunSummary>, String), Status> {
        let [from] = page::begin(page_token)?;
        let size = page::size(page_size);
        let queries = &self.owners.queries;
        let found = queries.search(evaluation, filter, from, size + 1).await;
        let mut found: Vec<RunSummary> = found.map_err(|error| status(&error))?;
        let next = match found.get(size as usize) {
            Some(run) => page::token([run.ordinal]),
            None => String::new(),
        };
        found.truncate(size as usize);
        Ok((found.into_iter().map(convert::wire_summary).collect(), next))
    }
}

#[tonic::async_trait]
impl TracesService for TracesServer {
    /// INVALID_ARGUMENT; PERMISSION_DENIED for who is no service; ABORTED for a stale fence; UNAVAILABLE, INTERNAL. Nothing is
    /// stored then.
    async fn ingest_runs(
        &self,
        request: Request<Streaming<pb::IngestRunsRequest>>,
    ) -> Result<Response<pb::IngestRunsResponse>, Status> {
        need(&caller(&request)?, Role::Service)?;
        let mut batches = request.into_inner();
        let (mut fence, mut runs, mut bytes, mut first) = (None, Vec::new(), 0, true);
        while let Some(batch) = batches.message().await.map_err(broken_stream)? {
            bytes += batch.encoded_len();
            if bytes > self.stream_bytes {
                let message = format!(
                    "one stream can hold {} bytes at most: send fewer runs at once",
                    self.stream_bytes
                );
                return Err(Invalid::new("runs", message).into());
            }
            if first {
                fence = read::maybe(batch.fence, "fence", common::fence)?;
                first = false;
            }
            for run in batch.runs {
                let field = format!("runs[{}]", runs.len());
                runs.push(common::run(run).within(field)?);
            }
        }
        let received = runs.len() as u64;
        let stored = self.traces.record_runs(fence, runs).await;
        stored.map_err(|error| status(&error))?;
        Ok(Response::new(pb::IngestRunsResponse { received }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn finished_ordinals(
        &self,
        request: Request<pb::FinishedOrdinalsRequest>,
    ) -> Result<Response<pb::FinishedOrdinalsResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let asked = request.into_inner().ordinals;
        read::at_most(asked.len(), MOST_ORDINALS, "ordinals")?;
        let ordinals = self.traces.finished_ordinals(id, &asked).await;
        let ordinals = ordinals.map_err(|error| status(&error))?;
        Ok(Response::new(pb::FinishedOrdinalsResponse { ordinals }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn get_run(
        &self,
        request: Request<pb::GetRunRequest>,
    ) -> Result<Response<pb::GetRunResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let ordinal = request.into_inner().ordinal;
        let runs = self.traces.runs(id, &[ordinal], StepsOf::All).await;
        let run = runs.map_err(|error| status(&error))?.pop();
        let run = run.ok_or_else(|| absent("run", format!("{ordinal} of {id}")))?;
        Ok(Response::new(pb::GetRunResponse {
            run: Some(common::wire_run(run)),
        }))
    }

    type GetRunsStream = BoxStream<'static, Result<pb::GetRunsResponse, Status>>;

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL; the last two also in the middle of the stream.
    async fn get_runs(
        &self,
        request: Request<pb::GetRunsRequest>,
    ) -> Result<Response<Self::GetRunsStream>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let message = request.into_inner();
        read::at_most(message.ordinals.len(), MOST_ORDINALS, "ordinals")?;
        let steps = convert::steps_of(message.steps)?;
        let chunks: Vec<Vec<u64>> = message
            .ordinals
            .chunks(RUNS_AT_ONCE)
            .map(<[u64]>::to_vec)
            .collect();
        let traces = Arc::clone(&self.traces);
        let batches = iter(chunks).then(move |ordinals| {
            let traces = Arc::clone(&traces);
            async move {
                match traces.runs(id, &ordinals, steps).await {
                    Ok(runs) => batches(runs),
                    Err(error) => vec![Err(status(&error))],
                }
            }
        });
        Ok(Response::new(batches.flat_map(iter).boxed()))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn list_runs(
        &self,
        request: Request<pb::ListRunsRequest>,
    ) -> Result<Response<pb::ListRunsResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let message = request.into_inner();
        let filter = convert::filter(message.filter.unwrap_or_default()).within("filter")?;
        let (runs, next_page_token) = self
            .page(id, &filter, message.page_size, &message.page_token)
            .await?;
        Ok(Response::new(pb::ListRunsResponse {
            runs,
            next_page_token,
        }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn list_failures(
        &self,
        request: Request<pb::ListFailuresRequest>,
    ) -> Result<Response<pb::ListFailuresResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let message = request.into_inner();
        let below = message.below.unwrap_or(1.0);
        let filter = RunFilter {
            failed_below: Some(read::share(below, "below")?),
            ..RunFilter::default()
        };
        let (runs, next_page_token) = self
            .page(id, &filter, message.page_size, &message.page_token)
            .await?;
        Ok(Response::new(pb::ListFailuresResponse {
            runs,
            next_page_token,
        }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn search_runs(
        &self,
        request: Request<pb::SearchRunsRequest>,
    ) -> Result<Response<pb::SearchRunsResponse>, Status> {
        let job = self.viewed_job(&request, &request.get_ref().job_id).await?;
        let message = request.into_inner();
        convert::searchable(&message.text, "text")?;
        let [skip, mut from] = page::begin(&message.page_token)?;
        let filter = RunFilter {
            output_contains: Some(message.text),
            ..RunFilter::default()
        };
        let size = page::size(message.page_size) as usize;
        let queries = &self.owners.queries;
        let evaluations = queries.evaluations(job).await;
        let evaluations = evaluations.map_err(|error| status(&error))?;
        let mut runs = Vec::new();
        let mut next_page_token = String::new();
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX);
        for (looked, (number, evaluation)) in
            evaluations.iter().enumerate().skip(skipped).enumerate()
        {
            if looked == EVALUATIONS_AT_ONCE {
                next_page_token = page::token([number as u64, 0]);
                break;
            }
            let left = size - runs.len();
            let most = u32::try_from(left + 1).unwrap_or(u32::MAX);
            let found = queries.search(evaluation.id(), &filter, from, most).await;
            let mut found: Vec<RunSummary> = found.map_err(|error| status(&error))?;
            if let Some(first_left_out) = found.get(left) {
                next_page_token = page::token([number as u64, first_left_out.ordinal]);
                found.truncate(left);
                runs.extend(found.into_iter().map(convert::wire_summary));
                break;
            }
            runs.extend(found.into_iter().map(convert::wire_summary));
            from = 0;
        }
        Ok(Response::new(pb::SearchRunsResponse {
            runs,
            next_page_token,
        }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn get_aggregates(
        &self,
        request: Request<pb::GetAggregatesRequest>,
    ) -> Result<Response<pb::GetAggregatesResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let figures = self.owners.queries.aggregate(id).await;
        let figures = figures.map_err(|error| status(&error))?;
        Ok(Response::new(convert::wire_aggregate(figures)))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn get_evaluation(
        &self,
        request: Request<pb::GetEvaluationRequest>,
    ) -> Result<Response<pb::GetEvaluationResponse>, Status> {
        let caller = caller(&request)?;
        need(&caller, Role::Viewer)?;
        let id = common::evaluation_id(&request.get_ref().evaluation_id, "evaluation_id")?;
        let spec = self.owners.evaluation(&caller, id).await?;
        Ok(Response::new(pb::GetEvaluationResponse {
            evaluation: Some(common::wire_evaluation(&spec)),
        }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn list_evaluations(
        &self,
        request: Request<pb::ListEvaluationsRequest>,
    ) -> Result<Response<pb::ListEvaluationsResponse>, Status> {
        let job = self.viewed_job(&request, &request.get_ref().job_id).await?;
        let message = request.into_inner();
        let all = self.owners.queries.evaluations(job).await;
        let all = all.map_err(|error| status(&error))?;
        let (page, next_page_token) = page::of(all, message.page_size, &message.page_token)?;
        Ok(Response::new(pb::ListEvaluationsResponse {
            evaluations: page.iter().map(common::wire_evaluation).collect(),
            next_page_token,
        }))
    }
}

/// Messages of a size that travels well; a run that is larger than that has one to itself.
fn batches(runs: Vec<RunRecord>) -> Vec<Result<pb::GetRunsResponse, Status>> {
    pack(runs.into_iter().map(common::wire_run))
        .into_iter()
        .map(|runs| Ok(pb::GetRunsResponse { runs }))
        .collect()
}

/// Runs in lists of about [`BATCH_BYTES`].
pub(super) fn pack(runs: impl Iterator<Item = Run>) -> Vec<Vec<Run>> {
    let (mut packed, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for run in runs {
        let size = run.encoded_len();
        if bytes + size > BATCH_BYTES && !batch.is_empty() {
            packed.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push(run);
    }
    if !batch.is_empty() {
        packed.push(batch);
    }
    packed
}
