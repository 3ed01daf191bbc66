//! The loop: attribute, ask for proposals, have them reviewed, take stock.

use fapo_domain::VariantId;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, StopReason};
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::{Attempt, AttemptOutcome, Lint, LintFinding};
use fapo_domain::model::task::{ProposeTask, ReviewTask, TaskPayload};
use fapo_domain::model::variant::Lineage;
use serde_json::json;

use crate::engine::Engine;
use crate::event::Event;
use crate::levels::Try;
use crate::stage::StagePurpose;
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
        let clusters = self.choose_clusters(attribution, level, slots as usize);
        let state = self.state();
        state.iteration += 1;
        state.proposals_asked += slots;
        state.parent = parent;
        state.phase = Phase::Proposing;
        let iteration = state.iteration;
        let history: Vec<Attempt> = state
            .candidates
            .iter()
            .filter(|candidate| !state.is_untried(candidate))
            .map(|candidate| candidate.attempt.clone())
            .collect();
        for slot in 0..slots {
            let cluster = clusters.get(slot as usize).cloned();
            let name = cluster.as_ref().map(|cluster| cluster.id.clone());
            self.event(Event::ProposalAsked {
                iteration,
                slot,
                parent,
                level,
                cluster: name.clone(),
            });
            let about = [iteration.to_le_bytes(), slot.to_le_bytes()];
            let seed = self.seed("propose", &[&about[0], &about[1]]);
            self.task(TaskPayload::Propose(Box::new(ProposeTask {
                iteration,
                slot,
                parent,
                evaluation: self.evaluation(parent, Split::Train),
                level,
                cluster,
                history: history.clone(),
                seed,
            })));
            self.state().slots.push(Slot::new(slot, name));
        }
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
        let level = state.levels.open.unwrap_or(Level::Prompt);
        let (iteration, parent) = (state.iteration, state.parent);
        let mut known = self.known_variants();
        self.state().phase = Phase::Reviewing;
        for index in 0..self.out.state.slots.len() {
            let slot = &mut self.out.state.slots[index];
            let number = slot.slot;
            let Some(idea) = slot.idea.clone() else {
                slot.progress = SlotProgress::Decided;
                if !slot.no_idea {
                    let reason = slot.reason.clone();
                    slot.outcome = Some(AttemptOutcome::Refused);
                    self.decide(
                        DecisionKind::Refusal { candidate: None },
                        format!("the proposer's answer is unusable: {reason}"),
                        json!({ "slot": number }),
                    );
                }
                continue;
            };
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
            self.task(TaskPayload::Review(Box::new(ReviewTask {
                iteration,
                slot: number,
                parent,
                candidate: idea.variant,
                level,
                earlier: known.clone(),
            })));
            known.push(idea.variant);
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

    /// Once every slot's review is there, those that passed are evaluated on train.
    pub fn end_reviewing(&mut self) -> bool {
        let state = &self.out.state;
        if state
            .slots
            .iter()
            .any(|slot| slot.progress == SlotProgress::Reviewing)
        {
            return false;
        }
        let open = state.levels.open;
        let (iteration, parent) = (state.iteration, state.parent);
        self.state().phase = Phase::Gating;
        for index in 0..self.out.state.slots.len() {
            let slot = &mut self.out.state.slots[index];
            let Some(idea) = slot
                .idea
                .clone()
                .filter(|_| slot.progress == SlotProgress::Reviewed)
            else {
                continue;
            };
            if slot.refusals.is_empty() && (slot.level.is_none() || slot.level > open) {
                // the lints hold this already; believed twice, because levels are what the search is about
                slot.refusals.push(LintFinding {
                    lint: Lint::ScopeLevel,
                    place: "pipeline".to_owned(),
                    message: "the change is deeper than the open level".to_owned(),
                });
            }
            if slot.refusals.is_empty() {
                slot.progress = SlotProgress::Screening;
                let (number, level, diff) = (slot.slot, slot.level, slot.diff);
                // one that is tried again has its row
                if self.out.state.undecided(idea.variant) == 0 {
                    self.out.lineage.push(Lineage {
                        child: idea.variant,
                        parents: vec![parent],
                        iteration,
                        level,
                        technique: Some(idea.technique),
                        hypothesis: idea.hypothesis,
                        diff,
                    });
                }
                let purpose = StagePurpose::Screen {
                    iteration,
                    slot: number,
                };
                let evaluation = self.evaluation(idea.variant, Split::Train);
                self.start_stage(evaluation, purpose, true);
            } else {
                self.refuse(index, idea.variant);
            }
        }
        true
    }

    fn refuse(&mut self, index: usize, candidate: VariantId) {
        let slot = &mut self.out.state.slots[index];
        slot.progress = SlotProgress::Decided;
        slot.outcome = Some(AttemptOutcome::Refused);
        let words: Vec<String> = slot
            .refusals
            .iter()
            .map(|finding| {
                format!(
                    "{} at {}: {}",
                    finding.lint.name(),
                    finding.place,
                    finding.message
                )
            })
            .collect();
        slot.reason = words.join("; ");
        let reason = format!("refused: {}", slot.reason);
        let evidence = json!({ "slot": slot.slot, "refusals": slot.refusals });
        self.decide(
            DecisionKind::Refusal {
                candidate: Some(candidate),
            },
            reason,
            evidence,
        );
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
    fn new(slot: u32, cluster: Option<String>) -> Self {
        Self {
            slot,
            cluster,
            progress: SlotProgress::Proposing,
            idea: None,
            no_idea: false,
            level: None,
            diff: fapo_domain::model::variant::DiffStats::default(),
            refusals: Vec::new(),
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
                reason: self.reason,
            },
            train_mean,
            val_mean,
        }
    }
}
