//! What is read of [`Findings`] and [`Sessions`], over the wire.

use std::sync::Arc;

use fapo_domain::EvaluationId;
use fapo_domain::model::access::Role;
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::jobs::{Findings, Jobs};
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::traces::TraceQueries;
use fapo_proto::diagnosis::v1 as pb;
use fapo_proto::diagnosis::v1::diagnosis_service_server::DiagnosisService;
use futures::stream::{BoxStream, StreamExt, iter};
use tonic::{Request, Response, Status};

use super::convert;
use crate::access::{Owners, absent, need};
use crate::auth::caller;
use crate::common;
use crate::fault::status;
use crate::page;
use crate::read;

/// Bytes of one message of a transcript.
const CHUNK_BYTES: usize = 1 << 20;

/// Offers what diagnosis has found.
pub struct DiagnosisServer {
    findings: Arc<dyn Findings>,
    sessions: Arc<dyn Sessions>,
    blobs: Arc<dyn Blobs>,
    owners: Owners,
}

impl DiagnosisServer {
    /// Offers what `findings` and `sessions` hold; `blobs` has the transcripts, `jobs` and `queries` tell whose things are.
    pub fn new(
        findings: Arc<dyn Findings>,
        sessions: Arc<dyn Sessions>,
        blobs: Arc<dyn Blobs>,
        jobs: Arc<dyn Jobs>,
        queries: Arc<dyn TraceQueries>,
    ) -> Self {
        Self {
            findings,
            sessions,
            blobs,
            owners: Owners { jobs, queries },
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

    async fn attribution(&self, id: EvaluationId) -> Result<Attribution, Status> {
        let found = self.findings.attribution(id).await;
        let found = found.map_err(|error| status(&error))?;
        found.ok_or_else(|| absent("attribution of evaluation", id.to_string()))
    }

    /// The session that a viewer asks about; that of another's job does not exist.
    async fn session<T>(&self, request: &Request<T>, id: &str) -> Result<SessionRecord, Status> {
        let caller = caller(request)?;
        need(&caller, Role::Viewer)?;
        let id = SessionId(read::hash(id, "session_id")?);
        let gone = || absent("session", id.to_string());
        let found = self.sessions.session(id).await;
        let session = found.map_err(|error| status(&error))?.ok_or_else(gone)?;
        match self.owners.may_see_job(&caller, session.job).await {
            Ok(()) => Ok(session),
            Err(error) if error.code() == tonic::Code::NotFound => Err(gone()),
            Err(error) => Err(error),
        }
    }
}

#[tonic::async_trait]
impl DiagnosisService for DiagnosisServer {
    /// INVALID_ARGUMENT; NOT_FOUND also for an evaluation that was not attributed; PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn get_attribution(
        &self,
        request: Request<pb::GetAttributionRequest>,
    ) -> Result<Response<pb::GetAttributionResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let attribution = self.attribution(id).await?;
        Ok(Response::new(pb::GetAttributionResponse {
            attribution: Some(convert::wire_attribution(attribution)),
        }))
    }

    /// As `GetAttribution`.
    async fn list_clusters(
        &self,
        request: Request<pb::ListClustersRequest>,
    ) -> Result<Response<pb::ListClustersResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let message = request.into_inner();
        let all = self.attribution(id).await?.clusters;
        let (page, next_page_token) = page::of(all, message.page_size, &message.page_token)?;
        Ok(Response::new(pb::ListClustersResponse {
            clusters: page.into_iter().map(convert::wire_cluster).collect(),
            next_page_token,
        }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn list_findings(
        &self,
        request: Request<pb::ListFindingsRequest>,
    ) -> Result<Response<pb::ListFindingsResponse>, Status> {
        let id = self
            .viewed(&request, &request.get_ref().evaluation_id)
            .await?;
        let message = request.into_inner();
        let all = self.findings.findings(id).await;
        let all = all.map_err(|error| status(&error))?;
        let (page, next_page_token) = page::of(all, message.page_size, &message.page_token)?;
        Ok(Response::new(pb::ListFindingsResponse {
            findings: page.into_iter().map(convert::wire_finding).collect(),
            next_page_token,
        }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let caller = caller(&request)?;
        need(&caller, Role::Viewer)?;
        let message = request.into_inner();
        let job = read::job_id(&message.job_id, "job_id")?;
        self.owners.may_see_job(&caller, job).await?;
        let all = self.sessions.sessions(job).await;
        let all = all.map_err(|error| status(&error))?;
        let (page, next_page_token) = page::of(all, message.page_size, &message.page_token)?;
        Ok(Response::new(pb::ListSessionsResponse {
            sessions: page.into_iter().map(convert::wire_session).collect(),
            next_page_token,
        }))
    }

    /// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL.
    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        let session = self
            .session(&request, &request.get_ref().session_id)
            .await?;
        Ok(Response::new(pb::GetSessionResponse {
            session: Some(convert::wire_session(session)),
        }))
    }

    type GetTranscriptStream = BoxStream<'static, Result<pb::GetTranscriptResponse, Status>>;

    /// As `GetSession`; NOT_FOUND also for a session without a transcript.
    async fn get_transcript(
        &self,
        request: Request<pb::GetTranscriptRequest>,
    ) -> Result<Response<Self::GetTranscriptStream>, Status> {
        let session = self
            .session(&request, &request.get_ref().session_id)
            .await?;
        let id = session.id;
        let hash = session.transcript;
        let hash = hash.ok_or_else(|| absent("transcript of session", id.to_string()))?;
        let blobs = self.blobs.get_blobs(&[hash]).await;
        let bytes = blobs.map_err(|error| status(&error))?.pop();
        let bytes = bytes.ok_or_else(|| absent("blob", hash.to_string()))?;
        let chunks: Vec<Vec<u8>> = bytes.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
        let parts = iter(chunks).map(|chunk| Ok(pb::GetTranscriptResponse { chunk }));
        Ok(Response::new(parts.boxed()))
    }
}
