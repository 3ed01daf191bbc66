//! The reviewer that is one structured call to a model.
//!
//! A reply that cannot be used is asked for once more, with what was wrong with it. After that the review is unusable, which
//! fails: nobody vouched for the change ([`Review::unusable`]). Where the budget does not allow the call, nobody can vouch for
//! it either; the search then ends by itself, because the budget does not allow the next proposal.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::Spend;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::proposal::{Review, ReviewRequest};
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::diagnosis::{ReviewError, Reviewer};
use fapo_domain::ports::ledger::LedgerError;
use fapo_domain::ports::models::{ChatRole, MeteredError, MeteredModels};
use tokio_util::sync::CancellationToken;

use super::evidence::brief;
use super::reply::{parse, schema};
use crate::asking::{Asker, message, model_of, unfinished};

/// Findings are short; the thinking before them need not be.
const LEAST_REPLY: u32 = 2048;
/// How often a model is asked for a usable reply.
const TRIES: usize = 2;

/// Asks a model.
pub struct ModelReviewer {
    models: Arc<dyn MeteredModels>,
}

impl ModelReviewer {
    /// A reviewer over metered models.
    pub fn new(models: Arc<dyn MeteredModels>) -> Self {
        Self { models }
    }
}

#[async_trait]
impl Reviewer for ModelReviewer {
    async fn review(
        &self,
        spec: &JobSpec,
        request: &ReviewRequest,
        fence: Fence,
        _stop: &CancellationToken,
    ) -> Result<Review, ReviewError> {
        let config = |message: String| ReviewError::Config { message };
        let entry = spec.project.reviewing_model();
        let model = model_of(&spec.project, entry, "reviewer").map_err(config)?;
        let brief = brief(spec, request, None).map_err(|error| config(error.to_string()))?;
        let about = [request.iteration, request.slot, request.revision].map(u64::from);
        let asker = Asker {
            purpose: "reviewer",
            role: SpendRole::Reviewer,
            job: request.job,
            fence,
            about: &about,
            least_reply: LEAST_REPLY,
        };
        let mut messages = vec![
            message(ChatRole::System, brief.system),
            message(ChatRole::User, brief.user),
        ];
        let mut spend = Spend::default();
        let mut why = String::new();
        let mut usable = None;
        for _ in 0..TRIES {
            let call = asker.call(entry, model.clone(), messages.clone(), schema());
            let reply = match asker.ask(&*self.models, &call).await {
                Ok(reply) => reply,
                Err(MeteredError::Budget(error @ LedgerError::Exhausted { .. })) => {
                    why = error.to_string();
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            spend += reply.spend;
            let read = match unfinished(&reply, &call) {
                Some(reason) => Err(reason),
                None => parse(&reply.text),
            };
            match read {
                Ok(review) => {
                    usable = Some(review);
                    break;
                }
                Err(reason) => {
                    // what it said is not repeated to it: a reply that was cut off may be long
                    messages.push(message(
                        ChatRole::User,
                        format!(
                            "Your answer could not be used: {reason}. Answer again: one JSON object with \"verdict\", \"findings\" and \"summary\", and nothing else."
                        ),
                    ));
                    why = reason;
                }
            }
        }
        let mut review = usable.unwrap_or_else(|| Review::unusable(&why));
        review.prompt_hash = Some(brief.prompt_hash);
        review.evidence_hash = Some(brief.evidence_hash);
        review.spend = spend;
        Ok(review)
    }
}

#[cfg(test)]
mod tests;
