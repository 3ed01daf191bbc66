//! What a job's events say that no row says: scores as they stood at the last look, spending, and who had a session.

use std::collections::HashMap;

use fapo_domain::VariantId;
use fapo_domain::model::case::Split;
use fapo_domain::model::job::JobEvent;
use fapo_domain::model::score::ScoreSummary;
use fapo_domain::model::session::SessionId;
use fapo_policy::stage::StagePurpose;
use fapo_policy::{Event, ProposalAnswer};

use super::assemble::score;
use super::data::{Score, SpendPoint};

/// What the events say.
#[derive(Default)]
pub struct History {
    /// The last score of each variant on train and val.
    pub scores: HashMap<(VariantId, Split), Score>,
    /// Money and calls over the job.
    pub spending: Vec<SpendPoint>,
    /// The session in which each variant was written first, where an agent wrote it.
    pub proposed_in: HashMap<VariantId, SessionId>,
    /// The session in which each variant was reviewed last, where an agent did.
    pub reviewed_in: HashMap<VariantId, SessionId>,
}

impl History {
    /// Reads a job's events, all of them in order. One of a newer program says nothing to this one.
    pub fn read(events: &[JobEvent]) -> Self {
        let mut history = Self::default();
        let mut last = 0;
        for event in events {
            match serde_json::from_value(event.body.clone()) {
                Ok(Event::StageDone {
                    purpose,
                    variant,
                    split,
                    complete,
                    summary,
                    ..
                }) => {
                    let iteration = match purpose {
                        StagePurpose::Baseline | StagePurpose::Evaluate => 0,
                        StagePurpose::Screen { iteration, .. }
                        | StagePurpose::Validate { iteration, .. } => iteration,
                        StagePurpose::Test => last,
                    };
                    last = last.max(iteration);
                    history.spent(iteration, &summary);
                    if purpose != StagePurpose::Test {
                        let measured = Score {
                            partial: !complete,
                            ..score(&summary)
                        };
                        history.scores.insert((variant, split), measured);
                    }
                }
                Ok(Event::Proposed {
                    session: Some(session),
                    answer: ProposalAnswer::Variant { variant, .. },
                    ..
                }) => {
                    history.proposed_in.entry(variant).or_insert(session);
                }
                Ok(Event::Reviewed {
                    candidate,
                    session: Some(session),
                    ..
                }) => {
                    history.reviewed_in.insert(candidate, session);
                }
                Ok(_) | Err(_) => {}
            }
        }
        history
    }

    fn spent(&mut self, iteration: u32, summary: &ScoreSummary) {
        let (cost, calls) = self
            .spending
            .last()
            .map_or_else(Default::default, |point| (point.cost, point.model_calls));
        let point = SpendPoint {
            iteration,
            cost: cost + summary.spend.cost,
            model_calls: calls + summary.spend.model_calls,
        };
        match self
            .spending
            .last_mut()
            .filter(|last| last.iteration == iteration)
        {
            Some(same) => *same = point,
            None => self.spending.push(point),
        }
    }
}
