//! Takes in finished tasks: each result goes to the place in the state that waits for it. A result that nothing waits
//! for (handed over twice, or of a candidate that was dropped) changes nothing.

use fapo_domain::TaskId;
use fapo_domain::model::evaluation::{Block, EvaluationSpec};
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::job::{BlockExecuted, Proposed, Reviewed};
use fapo_domain::model::score::{Comparison, ScoreStatus, ScoreSummary};
use fapo_domain::model::task::{FinishedTask, TaskPayload, TaskState, Topic};
use serde::de::DeserializeOwned;

use crate::engine::Engine;
use crate::event::{ClusterLine, Event, ProposalAnswer};
use crate::stage::BlockStep;
use crate::state::{Phase, SlotIdea, SlotProgress};

/// Most clusters that are remembered; those with most points come first.
const CLUSTERS_KEPT: usize = 32;
/// Most refusals of one proposal that are remembered.
const REFUSALS_KEPT: usize = 5;
/// Most findings of a review that an event names.
const FINDINGS_SHOWN: usize = 5;
/// Longest text of a proposer that is remembered, in characters.
const TEXT_KEPT: usize = 400;

/// What waits for a finished task.
enum Waiting {
    /// A block of a stage, its number and its round.
    Executed(usize, u64, u32),
    /// A block of a stage.
    Scored(usize, u64),
    /// A stage's look.
    Compared(usize),
    /// The sealed test.
    TestCompared,
    /// The incumbent.
    Attributed,
    /// A slot.
    Proposed(usize),
    /// A slot.
    Reviewed(usize),
}

impl Engine<'_> {
    /// Takes in one finished task.
    pub fn take(&mut self, input: &FinishedTask) {
        let Some(waiting) = self.waiting_for(&input.payload) else {
            return;
        };
        match input.state {
            TaskState::Done => {
                self.state().dead.remove(&input.id);
                if let Err(error) = self.apply(waiting, input) {
                    let reason = format!("its result cannot be read: {error}");
                    self.died(input.id, input.payload.topic(), reason);
                }
            }
            TaskState::Dead => {
                let reason = input
                    .reason
                    .clone()
                    .unwrap_or_else(|| "no reason was given".to_owned());
                self.died(input.id, input.payload.topic(), reason);
            }
            TaskState::Queued | TaskState::Leased | TaskState::Cancelled => {}
        }
    }

    fn died(&mut self, task: TaskId, topic: Topic, reason: String) {
        if self.state().dead.insert(task, reason.clone()).is_none() {
            self.event(Event::TaskDied {
                task,
                topic,
                reason,
            });
        }
    }

    fn waiting_for(&mut self, payload: &TaskPayload) -> Option<Waiting> {
        match payload {
            TaskPayload::Execute {
                evaluation,
                block,
                round,
            } => {
                let at = BlockStep::Executing { round: *round };
                let (stage, index) = self.block_waiting(evaluation, *block, at)?;
                Some(Waiting::Executed(stage, index, *round))
            }
            TaskPayload::Score { evaluation, block } => {
                let (stage, index) = self.block_waiting(evaluation, *block, BlockStep::Scoring)?;
                Some(Waiting::Scored(stage, index))
            }
            TaskPayload::Compare { a, b, upto, .. } => self.comparison_waiting(a, b, *upto),
            TaskPayload::Attribute { evaluation } => {
                let state = &self.out.state;
                let train = state.incumbent.train.as_ref()?;
                (state.phase == Phase::Attributing
                    && state.attribution.is_none()
                    && train.evaluation == *evaluation)
                    .then_some(Waiting::Attributed)
            }
            TaskPayload::Propose(task) => {
                let revision = u32::from(task.revise.is_some());
                let slot = (task.iteration, task.slot, revision);
                self.slot_waiting(slot, SlotProgress::Proposing)
                    .map(Waiting::Proposed)
            }
            TaskPayload::Review(task) => {
                let slot = (task.iteration, task.slot, task.revision);
                self.slot_waiting(slot, SlotProgress::Reviewing)
                    .map(Waiting::Reviewed)
            }
        }
    }

    fn block_waiting(
        &mut self,
        evaluation: &EvaluationSpec,
        block: Block,
        at: BlockStep,
    ) -> Option<(usize, u64)> {
        let stages = &mut self.state().stages;
        let stage = stages
            .iter()
            .position(|stage| stage.evaluation == *evaluation)?;
        let flight = stages[stage].find(block, at)?;
        Some((stage, flight.index))
    }

    fn comparison_waiting(
        &self,
        a: &EvaluationSpec,
        b: &EvaluationSpec,
        upto: u64,
    ) -> Option<Waiting> {
        let state = &self.out.state;
        let stage = state.stages.iter().position(|stage| {
            stage.evaluation == *b
                && stage
                    .comparing
                    .as_ref()
                    .is_some_and(|asked| asked.against == *a && asked.upto == upto)
        });
        if let Some(stage) = stage {
            return Some(Waiting::Compared(stage));
        }
        let run = state.test_run.as_ref()?;
        let best = run.best.last()?;
        (state.phase == Phase::ComparingTest && best.evaluation == *b)
            .then_some(Waiting::TestCompared)
    }

    /// The slot of an iteration that waits at a point for a revision.
    fn slot_waiting(
        &self,
        (iteration, slot, revision): (u32, u32, u32),
        at: SlotProgress,
    ) -> Option<usize> {
        if iteration != self.out.state.iteration {
            return None;
        }
        self.out
            .state
            .slots
            .iter()
            .position(|one| one.slot == slot && one.revision == revision && one.progress == at)
    }

    fn apply(&mut self, waiting: Waiting, input: &FinishedTask) -> Result<(), serde_json::Error> {
        match waiting {
            Waiting::Executed(stage, index, round) => {
                self.executed(stage, index, round, &read(input)?);
            }
            Waiting::Scored(stage, index) => self.scored(stage, index, &read(input)?),
            Waiting::Compared(stage) => {
                let comparison: Comparison = read(input)?;
                let stage = &mut self.state().stages[stage];
                stage.against = stage.comparing.take().map(|asked| asked.against.variant);
                stage.compared = Some(comparison);
            }
            Waiting::TestCompared => {
                let comparison: Comparison = read(input)?;
                self.test_compared(comparison);
            }
            Waiting::Attributed => {
                let attribution: Attribution = read(input)?;
                self.attributed(attribution);
            }
            Waiting::Proposed(slot) => self.proposed(slot, read(input)?),
            Waiting::Reviewed(slot) => self.reviewed(slot, read(input)?),
        }
        Ok(())
    }

    /// A block ran: what is missing is run again a few times, then the block is scored.
    fn executed(&mut self, stage: usize, index: u64, round: u32, result: &BlockExecuted) {
        let again = result.missing > 0
            && !result.budget_exhausted
            && round < self.spec.project.execution.missing_rounds;
        let state = self.state();
        if result.budget_exhausted {
            state.budget_exhausted = true;
            state.stages[stage].budget_exhausted = true;
        }
        let stage = &mut state.stages[stage];
        let (evaluation, block) = (stage.evaluation.clone(), stage.block(index));
        let step = if again {
            BlockStep::Executing { round: round + 1 }
        } else {
            BlockStep::Scoring
        };
        for flight in &mut stage.in_flight {
            if flight.index == index {
                flight.step = step;
            }
        }
        self.task(if again {
            TaskPayload::Execute {
                evaluation,
                block,
                round: round + 1,
            }
        } else {
            TaskPayload::Score { evaluation, block }
        });
    }

    fn scored(&mut self, stage: usize, index: u64, summary: &ScoreSummary) {
        let stage = &mut self.state().stages[stage];
        stage.finish_block(index, summary);
        let event = Event::BlockScored {
            evaluation: stage.id,
            block: index,
            cases_done: stage.summary.total(),
            cases: stage.evaluation.cases,
            mean: stage.summary.mean(),
            missing: stage.summary.count(ScoreStatus::Missing),
        };
        self.event(event);
    }

    fn attributed(&mut self, mut attribution: Attribution) {
        self.event(Event::Attributed {
            variant: self.out.state.incumbent.variant,
            cases: attribution.cases,
            failures: attribution.failures,
            mean: attribution.mean,
            clusters: ClusterLine::top(&attribution),
            ceilings: attribution.ceilings.clone(),
        });
        attribution.clusters.truncate(CLUSTERS_KEPT);
        // proposers read them in the store; a state stays small
        for cluster in &mut attribution.clusters {
            cluster.readings.clear();
        }
        self.state().attribution = Some(attribution);
    }

    fn proposed(&mut self, index: usize, result: Proposed) {
        let iteration = self.out.state.iteration;
        let slot = &mut self.state().slots[index];
        slot.progress = SlotProgress::Proposed;
        slot.session = match &result {
            Proposed::Variant { session, .. }
            | Proposed::NoIdea { session, .. }
            | Proposed::Unusable { session, .. } => *session,
        };
        let asked = slot.session;
        let answer = match result {
            Proposed::Variant {
                variant,
                technique,
                idea,
                hypothesis,
                cluster,
                expected_gain,
                expected_cost_ratio: _,
                session,
                prompt_hash,
                spend: _,
            } => {
                let (idea, hypothesis) = (shorten(&idea), shorten(&hypothesis));
                let before = slot.idea.as_ref().map(|idea| idea.variant);
                if before == Some(variant) {
                    slot.reason = "the same files again".to_owned();
                } else {
                    // the review was of what this replaces
                    slot.review = None;
                }
                slot.cluster = cluster.or_else(|| slot.cluster.take());
                slot.idea = Some(SlotIdea {
                    variant,
                    technique,
                    idea: idea.clone(),
                    hypothesis: hypothesis.clone(),
                    expected_gain,
                    session,
                    prompt_hash,
                });
                ProposalAnswer::Variant {
                    variant,
                    technique,
                    idea,
                    hypothesis,
                }
            }
            Proposed::NoIdea { reason, .. } => {
                // how a change could be mended says nothing of further changes
                slot.no_idea = slot.revision == 0;
                slot.reason = shorten(&reason);
                ProposalAnswer::NoIdea {
                    reason: slot.reason.clone(),
                }
            }
            Proposed::Unusable { reason, .. } => {
                slot.reason = shorten(&reason);
                ProposalAnswer::Unusable {
                    reason: slot.reason.clone(),
                }
            }
        };
        let slot = slot.slot;
        self.event(Event::Proposed {
            iteration,
            slot,
            session: asked,
            answer,
        });
    }

    /// The lints go before the reviewer, whatever the result says: what they refuse stays refused.
    fn reviewed(&mut self, index: usize, result: Reviewed) {
        let iteration = self.out.state.iteration;
        let slot = &mut self.state().slots[index];
        slot.progress = SlotProgress::Reviewed;
        slot.level = result.level.or(result.lints.level);
        slot.diff = result.diff;
        slot.refusals = result.lints.refusals;
        slot.refusals.truncate(REFUSALS_KEPT);
        slot.review = result.review.filter(|_| slot.refusals.is_empty());
        let linted = Event::Linted {
            iteration,
            slot: slot.slot,
            candidate: result.candidate,
            level: slot.level,
            refusals: slot.refusals.clone(),
        };
        let reviewed = slot.review.as_ref().map(|review| Event::Reviewed {
            iteration,
            slot: slot.slot,
            candidate: result.candidate,
            revision: slot.revision,
            verdict: review.verdict(),
            summary: review.summary().to_owned(),
            findings: review
                .findings()
                .iter()
                .take(FINDINGS_SHOWN)
                .cloned()
                .collect(),
            session: review.session,
        });
        self.event(linted);
        if let Some(reviewed) = reviewed {
            self.event(reviewed);
        }
    }
}

fn read<T: DeserializeOwned>(input: &FinishedTask) -> Result<T, serde_json::Error> {
    match &input.result {
        Some(value) => T::deserialize(value),
        None => T::deserialize(serde_json::Value::Null),
    }
}

/// The beginning of a text.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(TEXT_KEPT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
