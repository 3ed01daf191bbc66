//! The loop: attribute, ask for proposals, take stock.

use fapo_domain::VariantId;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, Refuser, StopReason};
use fapo_domain::model::evaluation::HeldOutMean;
use fapo_domain::model::finding::{Attribution, Cluster};
use fapo_domain::model::level::{Level, Strategy};
use fapo_domain::model::proposal::{Attempt, AttemptOutcome, Lint, LintFinding, Revise};
use fapo_domain::model::task::{ProposeTask, TaskPayload};
use serde_json::json;

use crate::engine::Engine;
use crate::event::Event;
use crate::levels::Try;
use crate::reviewing::{with_caution, with_records};
use crate::state::{Candidate, MeasuredVariant, Measurement, Phase, Slot, SlotProgress};

/// Iterations in a row in which candidates were run and nothing could be decided, after which the job ends: enough for
/// several candidates to have all their tries, so that it is not the fault of one.
const UNDECIDED_ITERATIONS: usize = 6;

impl Engine<'_> {
    pub fn end_baseline(&mut self) -> bool {
        if !self
            .out
            .state
            .stages
            .iter()
            .all(crate::stage::Stage::is_complete)
        {
            return false;
        }
        let mut measured = MeasuredVariant::new(self.spec.baseline, 0);
        let mut poor = None;
        while !self.out.state.stages.is_empty() {
            let measurement = self.end_stage(0);
            if let Some(reason) = self.poorly_measured(&measurement) {
                poor.get_or_insert(reason);
            }
            match measurement.evaluation.split {
                Split::Train => measured.train = Some(measurement),
                Split::Val | Split::Test => measured.val = Some(measurement),
            }
        }
        let state = self.state();
        state.baseline = measured.clone();
        state.incumbent = measured;
        match poor {
            None => self.attribute(),
            Some(reason) => match self.spent() {
                Some(why) => self.stop(
                    StopReason::BudgetSpent,
                    format!("{why} while the baseline was measured: {reason}"),
                    json!({}),
                ),
                None => self.fail_unmeasured(reason),
            },
        }
        true
    }

    /// Why too little is known of a variant on a split to compare anything with it; `None` where enough is.
    pub fn poorly_measured(&self, measurement: &Measurement) -> Option<String> {
        let split = measurement.evaluation.split;
        let (cases, counted) = (measurement.evaluation.cases, measurement.summary.counted());
        if cases == 0 {
            return Some(format!("the dataset has no {split} cases"));
        }
        let needed = self.spec.project.acceptance.coverage;
        (counted == 0 || (counted as f64) < needed * cases as f64).then(|| {
            format!(
                "only {counted} of the baseline's {cases} {split} cases have a result, {:.0}% are needed",
                needed * 100.0
            )
        })
    }

    /// Asks why the incumbent fails where it does.
    fn attribute(&mut self) {
        let state = self.state();
        state.phase = Phase::Attributing;
        state.attribution = None;
        if let Some(train) = &state.incumbent.train {
            let evaluation = train.evaluation.clone();
            self.task(TaskPayload::Attribute { evaluation });
        }
    }

    pub fn end_attribution(&mut self) -> bool {
        match self.state().attribution.take() {
            None => false,
            Some(attribution) => {
                self.plan(attribution);
                true
            }
        }
    }

    pub fn ask(&mut self, attribution: &Attribution, level: Level, slots: u32) {
        let parent = self.out.state.incumbent.variant;
        let plans = self.approaches(attribution, level, slots as usize);
        let state = self.state();
        state.iteration += 1;
        state.proposals_asked += slots;
        state.parent = parent;
        state.phase = Phase::Proposing;
        for (slot, (strategy, cluster)) in (0..slots).zip(plans) {
            let name = cluster.as_ref().map(|cluster| cluster.id.clone());
            self.state()
                .slots
                .push(Slot::new(slot, name, strategy.clone()));
            self.ask_proposer(slot, level, cluster, strategy, None);
        }
    }

    /// Asks for the proposal of a slot, or for its revision.
    pub fn ask_proposer(
        &mut self,
        slot: u32,
        level: Level,
        cluster: Option<Cluster>,
        strategy: Strategy,
        revise: Option<Revise>,
    ) {
        let (iteration, parent) = (self.out.state.iteration, self.out.state.parent);
        let revision = u32::from(revise.is_some());
        self.event(Event::ProposalAsked {
            iteration,
            slot,
            parent,
            level,
            cluster: cluster.as_ref().map(|cluster| cluster.id.clone()),
            strategy: strategy.clone(),
            revision,
        });
        let about = [iteration, slot, revision].map(u32::to_le_bytes);
        // a proposal's seed is what it was before there were revisions
        let parts: Vec<&[u8]> = about
            .iter()
            .take(2 + revision as usize)
            .map(<[u8; 4]>::as_slice)
            .collect();
        let seed = self.seed("propose", &parts);
        let evaluation = self.evaluation(parent, Split::Train);
        let history = self.history();
        self.task(TaskPayload::Propose(Box::new(ProposeTask {
            iteration,
            slot,
            parent,
            evaluation,
            level,
            cluster,
            history,
            strategy,
            revise,
            val: self.told_of_val(parent),
            seed,
        })));
    }

    /// What a proposer is told of its parent on validation.
    fn told_of_val(&self, parent: VariantId) -> Option<HeldOutMean> {
        let incumbent = &self.out.state.incumbent;
        let summary = &incumbent.val.as_ref()?.summary;
        (incumbent.variant == parent)
            .then(|| summary.mean())
            .flatten()
            .map(|mean| HeldOutMean::rounded(summary.counted(), mean))
    }

    /// What was tried in earlier iterations and says something.
    pub fn history(&self) -> Vec<Attempt> {
        let state = &self.out.state;
        state
            .candidates
            .iter()
            .filter(|candidate| !state.is_untried(candidate))
            .map(|candidate| candidate.attempt.clone())
            .collect()
    }

    /// Once every slot's proposal is there, all are reviewed.
    pub fn end_proposing(&mut self) -> bool {
        let state = &self.out.state;
        if state
            .slots
            .iter()
            .any(|slot| slot.progress == SlotProgress::Proposing)
        {
            return false;
        }
        let mut known = self.known_variants();
        // where some are revised, others have their reviews already
        known.extend(
            state
                .slots
                .iter()
                .filter(|slot| slot.progress == SlotProgress::Reviewed && slot.refusals.is_empty())
                .filter_map(|slot| Some(slot.idea.as_ref()?.variant)),
        );
        self.state().phase = Phase::Reviewing;
        for index in 0..self.out.state.slots.len() {
            let slot = &mut self.out.state.slots[index];
            if slot.progress != SlotProgress::Proposed {
                continue;
            }
            let number = slot.slot;
            let Some(idea) = slot.idea.clone() else {
                slot.progress = SlotProgress::Decided;
                if !slot.no_idea {
                    let reason = slot.reason.clone();
                    slot.outcome = Some(AttemptOutcome::Refused);
                    let evidence = with_records(json!({ "slot": number }), slot);
                    self.decide(
                        DecisionKind::Refusal {
                            candidate: None,
                            by: Refuser::Lints,
                        },
                        format!("the proposer's answer is unusable: {reason}"),
                        evidence,
                    );
                }
                continue;
            };
            // it was to be revised, and was not
            if slot.review.is_some() {
                self.refuse_reviewed(index, idea.variant);
                continue;
            }
            // its evaluations would be those that exist already
            if known.contains(&idea.variant) {
                slot.progress = SlotProgress::Reviewed;
                slot.refusals = vec![LintFinding {
                    lint: Lint::Duplicate,
                    place: "pipeline".to_owned(),
                    message: "the same files as an earlier variant of this job".to_owned(),
                }];
                continue;
            }
            slot.progress = SlotProgress::Reviewing;
            let variant = idea.variant;
            self.ask_reviewer(index, idea, known.clone());
            known.push(variant);
        }
        true
    }

    /// The variants that were evaluated. A refused one may come again, when a deeper level is open, and so may one whose
    /// results were missing.
    fn known_variants(&self) -> Vec<VariantId> {
        let state = &self.out.state;
        let evaluated = state
            .candidates
            .iter()
            .filter(|candidate| {
                candidate.attempt.outcome != AttemptOutcome::Refused && !state.is_untried(candidate)
            })
            .filter_map(|candidate| candidate.attempt.variant);
        std::iter::once(self.spec.baseline)
            .chain(evaluated)
            .collect()
    }

    /// Takes stock of the iteration once every slot is decided.
    pub fn end_iteration(&mut self) {
        let state = self.state();
        let slots = std::mem::take(&mut state.slots);
        let open = state.levels.open.unwrap_or(Level::Prompt);
        let no_idea = !slots.is_empty() && slots.iter().all(|slot| slot.no_idea);
        let mut tries = Vec::with_capacity(slots.len());
        for slot in slots {
            let Some(outcome) = slot.outcome else {
                continue;
            };
            let one = Try {
                technique: slot.idea.as_ref().map(|idea| idea.technique),
                level: slot.level,
                outcome,
                strategy: slot.strategy.clone(),
            };
            let candidate = slot.into_candidate(state.iteration, state.parent, open, outcome);
            state.candidates.push(candidate.clone());
            if !state.is_untried(&candidate) {
                tries.push(one);
            }
        }
        state.levels.record(&tries);
        if no_idea {
            state.levels.exhaust();
        }
        let promoted = tries
            .iter()
            .any(|one| one.outcome == AttemptOutcome::Promoted);
        if let Some(reason) = self.outage() {
            return self.fail_unmeasured(reason);
        }
        match self.state().attribution.take() {
            Some(attribution) if !promoted => self.plan(attribution),
            _ => self.attribute(),
        }
    }
}

impl Engine<'_> {
    /// That nothing can be decided any more because results are missing, in words. An evaluation that the budget ended is
    /// no sign of that.
    fn outage(&self) -> Option<String> {
        let state = &self.out.state;
        let iterations = state.undecided_iterations();
        if iterations < UNDECIDED_ITERATIONS || self.spent().is_some() {
            return None;
        }
        let last = state.candidates.iter().rev();
        let last = last
            .map(|one| &one.attempt)
            .find(|one| one.outcome == AttemptOutcome::Undecided)?;
        Some(format!(
            "nothing could be decided about any candidate in {iterations} iterations in a row; the last: {}",
            last.reason
        ))
    }
}

impl Slot {
    fn new(slot: u32, cluster: Option<String>, strategy: Strategy) -> Self {
        Self {
            slot,
            cluster,
            progress: SlotProgress::Proposing,
            idea: None,
            session: None,
            no_idea: false,
            level: None,
            diff: fapo_domain::model::variant::DiffStats::default(),
            refusals: Vec::new(),
            strategy,
            revision: 0,
            review: None,
            train: None,
            val: None,
            outcome: None,
            reason: String::new(),
        }
    }

    fn into_candidate(
        self,
        iteration: u32,
        parent: VariantId,
        open: Level,
        outcome: AttemptOutcome,
    ) -> Candidate {
        let mean =
            |measured: &Option<Measurement>| measured.as_ref().and_then(|one| one.summary.mean());
        let (train_mean, val_mean) = (mean(&self.train), mean(&self.val));
        let reason = with_caution(self.reason, self.review.as_ref());
        let (variant, technique, idea, hypothesis) = match self.idea {
            Some(idea) => (
                Some(idea.variant),
                Some(idea.technique),
                idea.idea,
                idea.hypothesis,
            ),
            None => (None, None, String::new(), String::new()),
        };
        Candidate {
            slot: self.slot,
            cluster: self.cluster,
            attempt: Attempt {
                iteration,
                parent,
                variant,
                level: self.level.unwrap_or(open),
                technique,
                hypothesis,
                idea,
                outcome,
                reason,
            },
            train_mean,
            val_mean,
        }
    }
}
