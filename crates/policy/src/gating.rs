//! Drives candidates through the gates. Slots run side by side; what is decided about one never depends on how far
//! another has come, except that val gates are decided in slot order, each against the incumbent of that moment.

use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, GateOutcome};
use fapo_domain::model::proposal::AttemptOutcome;
use fapo_domain::model::score::Comparison;
use serde_json::{Value, json};

use crate::cost::CostRatio;
use crate::engine::Engine;
use crate::event::Event;
use crate::gate::{self, Look, Verdict};
use crate::reviewing::with_records;
use crate::stage::StagePurpose;
use crate::state::{MeasuredVariant, SlotProgress};

/// Most protected cases that a decision names.
const PROTECTED_SHOWN: usize = 20;

impl Engine<'_> {
    pub fn step_gates(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.out.state.slots.len() {
            moved |= match self.out.state.slots[index].progress {
                SlotProgress::Screening => self.step_screen(index),
                SlotProgress::Validating => self.step_validation(index),
                SlotProgress::Waiting => self.step_val_gate(index),
                SlotProgress::Proposing
                | SlotProgress::Proposed
                | SlotProgress::Reviewing
                | SlotProgress::Reviewed
                | SlotProgress::Decided => false,
            };
        }
        let decided = |slot: &crate::state::Slot| slot.progress == SlotProgress::Decided;
        if self.out.state.slots.iter().all(decided) {
            self.end_iteration();
            return true;
        }
        moved
    }

    /// The stage of a slot; there is one while it is evaluated.
    fn stage_of(&self, index: usize) -> Option<usize> {
        let state = &self.out.state;
        let (iteration, slot) = (state.iteration, state.slots[index].slot);
        let screen = StagePurpose::Screen { iteration, slot };
        let validate = StagePurpose::Validate { iteration, slot };
        state
            .stages
            .iter()
            .position(|stage| stage.purpose == screen || stage.purpose == validate)
    }

    fn step_screen(&mut self, index: usize) -> bool {
        let Some(stage) = self.stage_of(index) else {
            return false;
        };
        let parent = self.out.state.parent;
        let Some((comparison, look)) = self.compared(stage) else {
            return self.look(index, stage, self.evaluation(parent, Split::Train));
        };
        let verdict = gate::screen(&self.spec.project.acceptance, &comparison, look);
        match verdict.outcome {
            None => self.out.state.stages[stage].next_look(),
            Some(GateOutcome::Pass) => {
                let evaluation = self.out.state.stages[stage].evaluation.clone();
                let measured = self.end_stage(stage);
                let slot = &mut self.out.state.slots[index];
                slot.train = Some(measured);
                slot.progress = SlotProgress::Validating;
                let number = slot.slot;
                self.gate(index, parent, Split::Train, verdict, Some(comparison));
                let purpose = StagePurpose::Validate {
                    iteration: self.out.state.iteration,
                    slot: number,
                };
                let val = self.evaluation(evaluation.variant, Split::Val);
                self.start_stage(val, purpose, true);
            }
            Some(outcome) => {
                let measured = self.end_stage(stage);
                let slot = &mut self.out.state.slots[index];
                if look.full {
                    slot.train = Some(measured);
                }
                let fate = match outcome {
                    GateOutcome::Undecided => AttemptOutcome::Undecided,
                    GateOutcome::Reject
                    | GateOutcome::Pass
                    | GateOutcome::Branch
                    | GateOutcome::Promote => AttemptOutcome::RejectedOnTrain,
                };
                // train is the proposer's to see
                let reason = verdict.reason.clone();
                self.gate(index, parent, Split::Train, verdict, Some(comparison));
                self.settle_slot(index, fate, reason);
            }
        }
        true
    }

    fn step_validation(&mut self, index: usize) -> bool {
        let Some(stage) = self.stage_of(index) else {
            return false;
        };
        let parent = self.out.state.parent;
        let Some((comparison, look)) = self.compared(stage) else {
            let running = &self.out.state.stages[stage];
            if running.is_at_look() && running.is_full_look() && !running.budget_exhausted {
                self.out.state.slots[index].progress = SlotProgress::Waiting;
                return true;
            }
            return self.look(index, stage, self.evaluation(parent, Split::Val));
        };
        let project = &self.spec.project;
        let limits = &project.objective.subject_to;
        let verdict = gate::validate(&project.acceptance, limits, &comparison, look, None);
        match verdict.outcome {
            None => self.out.state.stages[stage].next_look(),
            Some(_) => {
                self.end_stage(stage);
                let reason = coarse("dropped early on val", &comparison);
                self.gate(index, parent, Split::Val, verdict, Some(comparison));
                self.settle_slot(index, AttemptOutcome::RejectedOnVal, reason);
            }
        }
        true
    }

    /// The decision about a promotion. Waits for the slots before it.
    fn step_val_gate(&mut self, index: usize) -> bool {
        let slots = &self.out.state.slots;
        let first = slots[..index]
            .iter()
            .all(|slot| slot.progress == SlotProgress::Decided);
        let Some(stage) = self.stage_of(index).filter(|_| first) else {
            return false;
        };
        let incumbent = self.out.state.incumbent.variant;
        let Some((comparison, look)) = self.compared(stage) else {
            return self.look(index, stage, self.evaluation(incumbent, Split::Val));
        };
        let measured = self.end_stage(stage);
        let baseline = self.out.state.baseline.val.as_ref();
        let cost =
            baseline.and_then(|baseline| CostRatio::of(&measured.summary, &baseline.summary));
        let project = &self.spec.project;
        let limits = &project.objective.subject_to;
        let verdict = gate::validate(&project.acceptance, limits, &comparison, look, cost);
        let (fate, words) = match verdict.outcome {
            Some(GateOutcome::Promote) => (AttemptOutcome::Promoted, "promoted"),
            Some(GateOutcome::Branch) => (AttemptOutcome::Branched, "promising on val, no claim"),
            Some(GateOutcome::Undecided) => (AttemptOutcome::Undecided, "val results are missing"),
            Some(GateOutcome::Reject | GateOutcome::Pass) | None => {
                let words = if verdict.breaks_condition {
                    "better on val, but a condition is broken"
                } else {
                    "no sufficient gain on val"
                };
                (AttemptOutcome::RejectedOnVal, words)
            }
        };
        let reason = coarse(words, &comparison);
        let promoted = fate == AttemptOutcome::Promoted;
        let iteration = self.out.state.iteration;
        let slot = &mut self.out.state.slots[index];
        slot.val = Some(measured);
        if promoted && let Some(idea) = &slot.idea {
            self.out.state.incumbent = MeasuredVariant {
                variant: idea.variant,
                iteration,
                train: slot.train.clone(),
                val: slot.val.clone(),
            };
        }
        self.gate(index, incumbent, Split::Val, verdict, Some(comparison));
        self.settle_slot(index, fate, reason);
        true
    }

    /// The comparison that came back for a stage, with its look.
    fn compared(&mut self, stage: usize) -> Option<(Comparison, Look)> {
        let stage = &mut self.out.state.stages[stage];
        let comparison = stage.compared.take()?;
        let look = Look {
            cases: stage.evaluation.cases,
            full: stage.is_full_look(),
        };
        let event = Event::Compared {
            candidate: stage.evaluation.variant,
            against: stage.against.take().unwrap_or(stage.evaluation.variant),
            split: stage.evaluation.split,
            pairs: comparison.pairs,
            of: look.cases,
            gain: comparison.gain,
            interval: comparison.interval,
            p_value: comparison.p_value,
        };
        self.event(event);
        Some((comparison, look))
    }

    /// Asks for the comparison at a look, if the stage has come there.
    fn look(
        &mut self,
        index: usize,
        stage: usize,
        against: fapo_domain::model::evaluation::EvaluationSpec,
    ) -> bool {
        let running = &self.out.state.stages[stage];
        if !running.is_at_look() || running.comparing.is_some() {
            return false;
        }
        if running.budget_exhausted {
            let split = running.evaluation.split;
            let done = running.summary.counted();
            let cases = running.evaluation.cases;
            let parent = against.variant;
            self.end_stage(stage);
            let why = self.spent().unwrap_or_default();
            let reason =
                format!("{split}: {why} after {done} of {cases} cases, nothing is decided");
            let verdict = Verdict {
                outcome: Some(GateOutcome::Undecided),
                reason: reason.clone(),
                evidence: json!({ "budget_exhausted": true, "cases_done": done, "of": cases }),
                breaks_condition: false,
            };
            self.gate(index, parent, split, verdict, None);
            self.settle_slot(index, AttemptOutcome::Undecided, reason);
        } else {
            self.compare_stage(stage, against);
        }
        true
    }

    fn gate(
        &mut self,
        index: usize,
        against: fapo_domain::VariantId,
        split: Split,
        verdict: Verdict,
        comparison: Option<Comparison>,
    ) {
        let slot = &self.out.state.slots[index];
        let (Some(idea), Some(outcome)) = (&slot.idea, verdict.outcome) else {
            return;
        };
        let candidate = idea.variant;
        let comparison = comparison.map(|mut comparison| {
            comparison.protected_regressions.truncate(PROTECTED_SHOWN);
            comparison.protected_missing.truncate(PROTECTED_SHOWN);
            comparison
        });
        let mut evidence = verdict.evidence;
        if let Value::Object(fields) = &mut evidence {
            fields.insert("slot".to_owned(), json!(slot.slot));
        }
        let evidence = with_records(evidence, slot);
        self.decide(
            DecisionKind::Gate {
                candidate,
                parent: against,
                split,
                outcome,
                comparison,
            },
            verdict.reason,
            evidence,
        );
    }

    fn settle_slot(&mut self, index: usize, outcome: AttemptOutcome, reason: String) {
        let slot = &mut self.out.state.slots[index];
        slot.progress = SlotProgress::Decided;
        slot.outcome = Some(outcome);
        slot.reason = reason;
    }
}

/// What a proposer may know of a result on val: the gain, rounded to one point. Exact answers leak (the Ladder, Blum &
/// Hardt 2015).
fn coarse(words: &str, comparison: &Comparison) -> String {
    let mut rounded = (comparison.gain * 100.0).round() / 100.0;
    if rounded == 0.0 {
        rounded = 0.0; // no minus sign
    }
    format!("{words} (gain about {rounded:+.2})")
}
