//! [`RunScorer`] and [`Comparer`] over the wire.

use std::sync::Arc;

use fapo_domain::model::access::Role;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::pipelines::RunScorer;
use fapo_domain::ports::questions::{Comparer, ScorerInfo};
use fapo_domain::ports::traces::TraceQueries;
use fapo_proto::scoring::v1 as pb;
use fapo_proto::scoring::v1::scoring_service_server::ScoringService;
use tonic::{Request, Response, Status};

use crate::access::{Owners, absent, need};
use crate::auth::caller;
use crate::common;
use crate::fault::status;
use crate::read::{self, Invalid};

/// Runs of one call.
const MOST_RUNS: usize = 1000;

/// Offers the scorer's ports.
pub struct ScorerServer {
    scorer: Arc<dyn RunScorer>,
    comparer: Arc<dyn Comparer>,
    scorers: Vec<ScorerInfo>,
    owners: Owners,
}

impl ScorerServer {
    /// Offers `scorer` and `comparer`, and names `scorers`; `jobs` and `queries` tell specifications and whose things are.
    pub fn new(
        scorer: Arc<dyn RunScorer>,
        comparer: Arc<dyn Comparer>,
        scorers: Vec<ScorerInfo>,
        jobs: Arc<dyn Jobs>,
        queries: Arc<dyn TraceQueries>,
    ) -> Self {
        Self {
            scorer,
            comparer,
            scorers,
            owners: Owners { jobs, queries },
        }
    }
}

#[tonic::async_trait]
impl ScoringService for ScorerServer {
    /// INVALID_ARGUMENT, NOT_FOUND; PERMISSION_DENIED for who is no service; what scoring reports.
    async fn score_runs(
        &self,
        request: Request<pb::ScoreRunsRequest>,
    ) -> Result<Response<pb::ScoreRunsResponse>, Status> {
        let caller = caller(&request)?;
        need(&caller, Role::Service)?;
        let message = request.into_inner();
        read::at_most(message.runs.len(), MOST_RUNS, "runs")?;
        let runs = read::each(message.runs, "runs", |pair| {
            let case = read::inner(pair.case, "case", common::case)?;
            let run = read::inner(pair.run, "run", common::run)?;
            Ok((case, run))
        })?;
        let spec = match read::given(message.scorer, "scorer")? {
            pb::score_runs_request::Scorer::JobId(id) => {
                let id = read::job_id(&id, "job_id")?;
                self.owners.job(&caller, id).await?.spec
            }
            pb::score_runs_request::Scorer::JobSpecJson(json) => common::job_spec(&json)?,
        };
        let mut scores = Vec::with_capacity(runs.len());
        for (case, run) in &runs {
            let score = self.scorer.score_run(&spec, case, run).await;
            scores.push(common::wire_score(score.map_err(|error| status(&error))?));
        }
        Ok(Response::new(pb::ScoreRunsResponse { scores }))
    }

    /// INVALID_ARGUMENT; NOT_FOUND also for an evaluation of another job; PERMISSION_DENIED below viewer; what comparing reports:
    /// FAILED_PRECONDITION where the two cannot be compared.
    async fn compare_variants(
        &self,
        request: Request<pb::CompareVariantsRequest>,
    ) -> Result<Response<pb::CompareVariantsResponse>, Status> {
        let caller = caller(&request)?;
        need(&caller, Role::Viewer)?;
        let message = request.into_inner();
        let job = read::job_id(&message.job_id, "job_id")?;
        let a = common::evaluation_id(&message.evaluation_a_id, "evaluation_a_id")?;
        let b = common::evaluation_id(&message.evaluation_b_id, "evaluation_b_id")?;
        if !(message.confidence > 0.0 && message.confidence < 1.0) {
            let rule = "has to be a number between 0 and 1, such as 0.95";
            return Err(Invalid::new("confidence", rule).into());
        }
        self.owners.job(&caller, job).await?;
        for id in [a, b] {
            if self.owners.evaluation(&caller, id).await?.job != job {
                return Err(absent("evaluation", id.to_string()));
            }
        }
        let upto = if message.upto == 0 {
            u64::MAX
        } else {
            message.upto
        };
        let compared = self
            .comparer
            .compare(job, a, b, upto, message.confidence, message.seed)
            .await;
        let comparison = compared.map_err(|error| status(&error))?;
        Ok(Response::new(pb::CompareVariantsResponse {
            comparison: Some(common::wire_comparison(comparison)),
        }))
    }

    /// PERMISSION_DENIED below viewer.
    async fn list_scorers(
        &self,
        request: Request<pb::ListScorersRequest>,
    ) -> Result<Response<pb::ListScorersResponse>, Status> {
        need(&caller(&request)?, Role::Viewer)?;
        let mut scorers: Vec<pb::Scorer> = self
            .scorers
            .iter()
            .map(|info| pb::Scorer {
                name: info.name.to_owned(),
                about: info.about.to_owned(),
            })
            .collect();
        scorers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::new(pb::ListScorersResponse { scorers }))
    }
}
