//! What diagnosis has found, asked of a server.

use fapo_domain::model::finding::{Attribution, Finding};
use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::ports::StoreError;
use fapo_domain::{EvaluationId, JobId};
use fapo_proto::diagnosis::v1 as pb;
use fapo_proto::diagnosis::v1::diagnosis_service_client::DiagnosisServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::convert;
use crate::channel::{Connection, call};
use crate::fault::{Fault, unreadable_answer};
use crate::read::{self, Invalid};
use crate::travels::arrived;

/// The largest page that a server gives.
const LARGEST_PAGE: u32 = 1000;

/// Findings and sessions behind a connection: what is read of [`fapo_domain::ports::jobs::Findings`] and
/// [`fapo_domain::ports::sessions::Sessions`], by the same names. Only diagnosis itself writes them, beside its store.
#[derive(Debug, Clone)]
pub struct RemoteDiagnosis {
    connection: Connection,
    client: DiagnosisServiceClient<Channel>,
}

impl RemoteDiagnosis {
    /// The diagnosis that `connection` leads to.
    pub fn new(connection: Connection) -> Self {
        let most = connection.options().message_bytes;
        Self {
            client: DiagnosisServiceClient::new(connection.channel())
                .max_decoding_message_size(most)
                .max_encoding_message_size(most),
            connection,
        }
    }

    fn unreadable(&self, invalid: Invalid) -> StoreError {
        arrived(unreadable_answer(invalid, self.connection.server()))
    }

    /// An evaluation's attribution, or `None`.
    ///
    /// # Errors
    /// As of the port.
    pub async fn attribution(
        &self,
        evaluation: EvaluationId,
    ) -> Result<Option<Attribution>, StoreError> {
        let message = pb::GetAttributionRequest {
            evaluation_id: evaluation.to_string(),
        };
        let answer = call!(self.connection, self.client, get_attribution, message);
        match answer.map_err(arrived::<StoreError>) {
            Ok(answer) => read::inner(answer.attribution, "attribution", convert::attribution)
                .map(Some)
                .map_err(|invalid| self.unreadable(invalid)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An evaluation's findings, by ordinal.
    ///
    /// # Errors
    /// As of the port.
    pub async fn findings(&self, evaluation: EvaluationId) -> Result<Vec<Finding>, StoreError> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListFindingsRequest {
                evaluation_id: evaluation.to_string(),
                page_size: LARGEST_PAGE,
                page_token,
            };
            let answer = call!(self.connection, self.client, list_findings, message);
            let answer = answer.map_err(arrived::<StoreError>)?;
            let page = read::each(answer.findings, "findings", convert::finding);
            all.extend(page.map_err(|invalid| self.unreadable(invalid))?);
            if answer.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = answer.next_page_token;
        }
    }

    /// A job's sessions in order of their start, without their transcripts' texts.
    ///
    /// # Errors
    /// As of the port.
    pub async fn sessions(&self, job: JobId) -> Result<Vec<SessionRecord>, StoreError> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListSessionsRequest {
                job_id: job.to_string(),
                page_size: LARGEST_PAGE,
                page_token,
            };
            let answer = call!(self.connection, self.client, list_sessions, message);
            let answer = answer.map_err(arrived::<StoreError>)?;
            let page = read::each(answer.sessions, "sessions", convert::session);
            all.extend(page.map_err(|invalid| self.unreadable(invalid))?);
            if answer.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = answer.next_page_token;
        }
    }

    /// A session, without its transcript's text, or `None`.
    ///
    /// # Errors
    /// As of the port.
    pub async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let message = pb::GetSessionRequest {
            session_id: id.to_string(),
        };
        let answer = call!(self.connection, self.client, get_session, message);
        match answer.map_err(arrived::<StoreError>) {
            Ok(answer) => read::inner(answer.session, "session", convert::session)
                .map(Some)
                .map_err(|invalid| self.unreadable(invalid)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A session's transcript: JSON lines. `NotFound` where there is no session of that id, or it has none.
    ///
    /// # Errors
    /// As of the port.
    pub async fn transcript(&self, id: SessionId) -> Result<Vec<u8>, StoreError> {
        self.chunks(id).await.map_err(arrived)
    }

    async fn chunks(&self, id: SessionId) -> Result<Vec<u8>, Fault> {
        let message = pb::GetTranscriptRequest {
            session_id: id.to_string(),
        };
        let until = Instant::now() + self.connection.options().deadline;
        let mut stream = call!(self.connection, self.client, get_transcript, message)?;
        let mut bytes = Vec::new();
        while let Some(part) = self.connection.until(until, stream.message()).await? {
            bytes.extend_from_slice(&part.chunk);
        }
        Ok(bytes)
    }
}
