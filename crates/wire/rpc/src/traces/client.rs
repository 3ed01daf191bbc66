//! The traces' ports, answered by a server.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{
    EvaluationAggregate, RunFilter, RunSummary, StepsOf, TraceQueries, Traces,
};
use fapo_domain::{EvaluationId, JobId};
use fapo_proto::traces::v1 as pb;
use fapo_proto::traces::v1::traces_service_client::TracesServiceClient;
use futures::stream::iter;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::convert;
use super::server::pack;
use crate::channel::{Connection, call};
use crate::common;
use crate::fault::{Fault, unreadable_answer};
use crate::page;
use crate::read::{self, Invalid};
use crate::travels::arrived;

/// The largest page that a server gives.
const LARGEST_PAGE: u32 = 1000;

/// Traces behind a connection.
#[derive(Debug, Clone)]
pub struct RemoteTraces {
    connection: Connection,
    client: TracesServiceClient<Channel>,
}

impl RemoteTraces {
    /// The traces that `connection` leads to.
    pub fn new(connection: Connection) -> Self {
        let most = connection.options().message_bytes;
        Self {
            client: TracesServiceClient::new(connection.channel())
                .max_decoding_message_size(most)
                .max_encoding_message_size(most),
            connection,
        }
    }

    fn unreadable(&self, invalid: Invalid) -> StoreError {
        arrived(unreadable_answer(invalid, self.connection.server()))
    }

    /// All runs of a stream. One try: it is the same as the next page of a larger question.
    async fn stream(&self, message: pb::GetRunsRequest) -> Result<Vec<pb::GetRunsResponse>, Fault> {
        let until = Instant::now() + self.connection.options().deadline;
        // the opening is repeated where the server is not there; what broke off in the middle is not
        let mut stream = call!(self.connection, self.client, get_runs, message)?;
        let mut batches = Vec::new();
        while let Some(batch) = self.connection.until(until, stream.message()).await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

#[async_trait]
impl Traces for RemoteTraces {
    async fn record_runs(
        &self,
        fence: Option<Fence>,
        runs: Vec<RunRecord>,
    ) -> Result<(), StoreError> {
        let fence = fence.map(common::wire_fence);
        let mut batches: Vec<pb::IngestRunsRequest> = pack(runs.into_iter().map(common::wire_run))
            .into_iter()
            .map(|runs| pb::IngestRunsRequest { fence: None, runs })
            .collect();
        // the claim is checked also where there is nothing to store
        if batches.is_empty() {
            batches.push(pb::IngestRunsRequest::default());
        }
        batches[0].fence = fence;
        let batches = Arc::new(batches);
        let answer = self
            .connection
            .call(batches, |request| {
                let mut client = self.client.clone();
                async move {
                    let (metadata, extensions, batches) = request.into_parts();
                    let messages = (0..batches.len()).map(move |number| batches[number].clone());
                    let request = tonic::Request::from_parts(metadata, extensions, iter(messages));
                    client.ingest_runs(request).await
                }
            })
            .await;
        answer.map(drop).map_err(arrived)
    }

    async fn finished_ordinals(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
    ) -> Result<Vec<u64>, StoreError> {
        let message = pb::FinishedOrdinalsRequest {
            evaluation_id: evaluation.to_string(),
            ordinals: ordinals.to_vec(),
        };
        let answer = call!(self.connection, self.client, finished_ordinals, message);
        answer.map(|answer| answer.ordinals).map_err(arrived)
    }

    async fn runs(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
        steps: StepsOf,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let message = pb::GetRunsRequest {
            evaluation_id: evaluation.to_string(),
            ordinals: ordinals.to_vec(),
            steps: convert::wire_steps_of(steps).into(),
        };
        let batches = self.stream(message).await.map_err(arrived::<StoreError>)?;
        let runs = batches.into_iter().flat_map(|batch| batch.runs).collect();
        read::each(runs, "runs", common::run).map_err(|invalid| self.unreadable(invalid))
    }
}

#[async_trait]
impl TraceQueries for RemoteTraces {
    async fn evaluations(&self, job: JobId) -> Result<Vec<EvaluationSpec>, StoreError> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListEvaluationsRequest {
                job_id: job.to_string(),
                page_size: LARGEST_PAGE,
                page_token,
            };
            let answer = call!(self.connection, self.client, list_evaluations, message);
            let answer = answer.map_err(arrived::<StoreError>)?;
            let page = read::each(answer.evaluations, "evaluations", common::evaluation);
            all.extend(page.map_err(|invalid| self.unreadable(invalid))?);
            if answer.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = answer.next_page_token;
        }
    }

    async fn evaluation(&self, id: EvaluationId) -> Result<Option<EvaluationSpec>, StoreError> {
        let message = pb::GetEvaluationRequest {
            evaluation_id: id.to_string(),
        };
        let answer = call!(self.connection, self.client, get_evaluation, message);
        match answer.map_err(arrived::<StoreError>) {
            Ok(answer) => read::inner(answer.evaluation, "evaluation", common::evaluation)
                .map(Some)
                .map_err(|invalid| self.unreadable(invalid)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn search(
        &self,
        evaluation: EvaluationId,
        filter: &RunFilter,
        from: u64,
        limit: u32,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let mut all: Vec<RunSummary> = Vec::new();
        // a page token is where a page begins, and so is `from`
        let mut page_token = page::token([from]);
        loop {
            let have = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let left = limit.saturating_sub(have).min(LARGEST_PAGE);
            if left == 0 {
                return Ok(all);
            }
            let message = pb::ListRunsRequest {
                evaluation_id: evaluation.to_string(),
                filter: Some(convert::wire_filter(filter)),
                page_size: left,
                page_token,
            };
            let answer = call!(self.connection, self.client, list_runs, message);
            let answer = answer.map_err(arrived::<StoreError>)?;
            let page = read::each(answer.runs, "runs", convert::summary);
            all.extend(page.map_err(|invalid| self.unreadable(invalid))?);
            if answer.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = answer.next_page_token;
        }
    }

    async fn aggregate(&self, evaluation: EvaluationId) -> Result<EvaluationAggregate, StoreError> {
        let message = pb::GetAggregatesRequest {
            evaluation_id: evaluation.to_string(),
        };
        let answer = call!(self.connection, self.client, get_aggregates, message);
        let answer = answer.map_err(arrived::<StoreError>)?;
        convert::aggregate(answer).map_err(|invalid| self.unreadable(invalid))
    }
}
