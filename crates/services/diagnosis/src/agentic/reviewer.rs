//! The reviewer that is a coding agent: a session of its own, which may read and not write.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::model::proposal::{Review, ReviewRequest};
use fapo_domain::model::session::SessionEnd;
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::agents::AgentRequest;
use fapo_domain::ports::diagnosis::{ReviewError, Reviewer};
use tokio_util::sync::CancellationToken;

use super::{AgentHouse, Attended, expires, limits, session_id};
use crate::mcp::{SessionGrant, SessionRole};
use crate::review::brief;
use crate::review::reply::{parse_value, schema};

/// What the brief says of the session's tools.
const TOOLS: &str = "The files after the change are in `pipeline/`; you can read them. The tools clusters, case, step, compare, history, scope, analyze and check answer about training cases and the change.";

/// What a session is told whose answer cannot be used.
fn again(why: &str) -> String {
    format!(
        "Your answer could not be used: {why}. Answer again, with the structured answer and nothing else."
    )
}

/// Reviews by sessions of a coding agent.
pub struct AgentReviewer {
    backend: ProposerBackend,
    house: AgentHouse,
}

impl AgentReviewer {
    /// A reviewer over an agent; `backend` is what the project calls it.
    pub const fn new(backend: ProposerBackend, house: AgentHouse) -> Self {
        Self { backend, house }
    }

    /// Asks, and once more where the answer cannot be used.
    async fn converse(
        &self,
        attended: &mut Attended,
        (task, turns): (&str, u32),
        stop: &CancellationToken,
    ) -> Result<Result<Review, String>, ReviewError> {
        let mut text = task.to_owned();
        let mut turns = turns;
        let mut why = String::new();
        for _ in 0..2 {
            let turn = attended.session.prompt(&text, turns, stop).await?;
            why = match (&turn.end, &turn.answer) {
                (SessionEnd::Cancelled, _) => return Err(ReviewError::Stopped),
                (_, Some(answer)) => match parse_value(answer) {
                    Ok(review) => return Ok(Ok(review)),
                    Err(why) => why,
                },
                (SessionEnd::NoAnswer | SessionEnd::OutOfTurns, None) => turn.end.to_string(),
                // nothing more can come of it
                (end, None) => return Ok(Err(format!("the session {end}"))),
            };
            text = again(&why);
            turns = (turns / 2).max(2);
        }
        Ok(Err(why))
    }
}

#[async_trait]
impl Reviewer for AgentReviewer {
    async fn review(
        &self,
        spec: &JobSpec,
        request: &ReviewRequest,
        fence: Fence,
        stop: &CancellationToken,
    ) -> Result<Review, ReviewError> {
        let reviewer = &spec.project.reviewer;
        let brief = brief(spec, request, Some(TOOLS)).map_err(|error| ReviewError::Config {
            message: error.to_string(),
        })?;
        let (entry, model) = spec.project.agent_model(
            self.backend,
            spec.project.reviewing_agent_model(self.backend),
        );
        let session = self
            .house
            .agent
            .open(AgentRequest {
                id: session_id(fence),
                job: request.job,
                fence,
                role: SpendRole::Reviewer,
                entry,
                model,
                system: brief.system.clone(),
                tree: request.candidate_tree.clone(),
                writable: false,
                schema: schema(),
                limits: limits(reviewer.minutes, reviewer.usd),
            })
            .await?;
        let grant = SessionGrant {
            job: request.job,
            spec: Arc::new(spec.clone()),
            fence,
            role: SessionRole::Reviewer,
            parent: request.parent,
            evaluation: request.evaluation.clone(),
            iteration: request.iteration,
            slot: request.slot,
            level: request.level.unwrap_or(Level::Structure),
            cluster: request.cluster.clone(),
            history: request.history.clone(),
            earlier: Vec::new(),
            val: None,
            tree: session.files(),
            tries: 0,
            analyses: spec.project.proposer.analyses,
            expires: expires(reviewer.minutes),
        };
        let mut attended = self.house.attend(session, grant)?;
        let said = self
            .converse(&mut attended, (&brief.user, reviewer.turns), stop)
            .await;
        let record = self.house.end(attended).await?;
        let mut review = match said? {
            Ok(review) => review,
            Err(why) => Review::unusable(&why),
        };
        review.session = Some(record.id);
        review.prompt_hash = Some(brief.prompt_hash);
        review.evidence_hash = Some(brief.evidence_hash);
        review.spend = record.spend;
        Ok(review)
    }
}
