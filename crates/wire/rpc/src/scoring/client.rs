//! The scorer's ports, answered by a server.

use async_trait::async_trait;
use fapo_domain::model::case::Case;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::score::{CaseScore, Comparison};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::pipelines::RunScorer;
use fapo_domain::ports::questions::Comparer;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{EvaluationId, JobId};
use fapo_proto::scoring::v1 as pb;
use fapo_proto::scoring::v1::scoring_service_client::ScoringServiceClient;
use tonic::transport::Channel;

use crate::channel::{Connection, call};
use crate::common;
use crate::fault::unreadable_answer;
use crate::read::{self, Invalid};
use crate::travels::arrived;

/// A metric that a server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScorerOffer {
    /// Its name in fapo.yaml.
    pub name: String,
    /// What it measures, in a sentence.
    pub about: String,
}

/// A scorer behind a connection.
#[derive(Debug, Clone)]
pub struct RemoteScorer {
    connection: Connection,
    client: ScoringServiceClient<Channel>,
}

impl RemoteScorer {
    /// The scorer that `connection` leads to.
    pub fn new(connection: Connection) -> Self {
        let most = connection.options().message_bytes;
        Self {
            client: ScoringServiceClient::new(connection.channel())
                .max_decoding_message_size(most)
                .max_encoding_message_size(most),
            connection,
        }
    }

    /// The metrics that a project can name.
    ///
    /// # Errors
    /// Where the server cannot be reached, or does not let the caller in.
    pub async fn list_scorers(&self) -> Result<Vec<ScorerOffer>, WorkError> {
        let message = pb::ListScorersRequest {};
        let answer = call!(self.connection, self.client, list_scorers, message);
        let scorers = answer.map_err(arrived::<WorkError>)?.scorers;
        Ok(scorers
            .into_iter()
            .map(|scorer| ScorerOffer {
                name: scorer.name,
                about: scorer.about,
            })
            .collect())
    }

    fn unreadable(&self, invalid: Invalid) -> WorkError {
        arrived(unreadable_answer(invalid, self.connection.server()))
    }
}

#[async_trait]
impl RunScorer for RemoteScorer {
    async fn score_run(
        &self,
        spec: &JobSpec,
        case: &Case,
        run: &RunRecord,
    ) -> Result<CaseScore, WorkError> {
        let spec = read::wire_json(spec);
        let message = pb::ScoreRunsRequest {
            scorer: Some(pb::score_runs_request::Scorer::JobSpecJson(spec)),
            runs: vec![pb::RunOfCase {
                case: Some(common::wire_case(case)),
                run: Some(common::wire_run(run.clone())),
            }],
        };
        let answer = call!(self.connection, self.client, score_runs, message);
        let mut answer = answer.map_err(arrived::<WorkError>)?;
        read::inner(answer.scores.pop(), "scores", common::score)
            .map_err(|invalid| self.unreadable(invalid))
    }
}

#[async_trait]
impl Comparer for RemoteScorer {
    async fn compare(
        &self,
        job: JobId,
        a: EvaluationId,
        b: EvaluationId,
        upto: u64,
        confidence: f64,
        seed: u64,
    ) -> Result<Comparison, WorkError> {
        let message = pb::CompareVariantsRequest {
            job_id: job.to_string(),
            evaluation_a_id: a.to_string(),
            evaluation_b_id: b.to_string(),
            upto,
            confidence,
            seed,
        };
        let answer = call!(self.connection, self.client, compare_variants, message);
        let answer = answer.map_err(arrived::<WorkError>)?;
        read::given(answer.comparison, "comparison")
            .map(common::comparison)
            .map_err(|invalid| self.unreadable(invalid))
    }
}
