//! What becomes of a proposal before anything is spent on evaluating it: the lints' word, the reviewer's word, one revision.
//!
//! ```text
//! proposed ─▶ lints refuse ───────────────────────────────────────────────▶ refused
//!          └▶ reviewer: pass, warn ─────────────────────────────────────▶ evaluated on train
//!          └▶ reviewer: fail ─▶ sent back ─▶ proposed again ─▶ lints refuse ─▶ refused
//!                                       │                └▶ pass, warn ──▶ evaluated on train
//!                                       └▶ no revision came, or it fails ▶ refused
//! ```
//!
//! A revision belongs to its proposal: it uses up no further one and counts as no try of its own, so an iteration ends
//! after at most two rounds. A review that was unusable is no reason to revise anything; its proposal is refused.

use fapo_domain::VariantId;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, Refuser};
use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::{
    AttemptOutcome, Lint, LintFinding, Review, ReviewSeverity, ReviewVerdict, Revise,
};
use fapo_domain::model::task::{ReviewTask, TaskPayload};
use fapo_domain::model::variant::Lineage;
use fapo_domain::ports::ledger::Amount;
use fapo_domain::text::one_line;
use serde_json::{Value, json};

use crate::budget;
use crate::engine::Engine;
use crate::stage::StagePurpose;
use crate::state::{Phase, Slot, SlotIdea, SlotProgress};

/// Longest caution of a reviewer that later proposers see, in characters.
const CAUTION_KEPT: usize = 300;

impl Engine<'_> {
    /// Asks for the review of a slot's proposal.
    pub fn ask_reviewer(&mut self, index: usize, idea: SlotIdea, earlier: Vec<VariantId>) {
        let state = &self.out.state;
        let slot = &state.slots[index];
        let task = ReviewTask {
            iteration: state.iteration,
            slot: slot.slot,
            parent: state.parent,
            candidate: idea.variant,
            level: state.levels.open.unwrap_or(Level::Prompt),
            earlier,
            revision: slot.revision,
            evaluation: Some(self.evaluation(state.parent, Split::Train)),
            technique: Some(idea.technique),
            idea: idea.idea,
            hypothesis: idea.hypothesis,
            cluster: slot.cluster.clone(),
            expected_gain: idea.expected_gain,
            history: self.history(),
        };
        self.task(TaskPayload::Review(Box::new(task)));
    }

    /// Once every slot's review is there: those that failed it are sent back once; if none is, those that passed are
    /// evaluated on train.
    pub fn end_reviewing(&mut self) -> bool {
        let slots = &self.out.state.slots;
        if slots
            .iter()
            .any(|slot| slot.progress == SlotProgress::Reviewing)
        {
            return false;
        }
        let reviewed: Vec<usize> = (0..slots.len())
            .filter(|index| slots[*index].progress == SlotProgress::Reviewed)
            .collect();
        for index in &reviewed {
            self.hold_to_level(*index);
        }
        let mut sent_back = false;
        for index in &reviewed {
            sent_back |= self.send_back(*index);
        }
        if sent_back {
            self.state().phase = Phase::Proposing;
            return true;
        }
        self.state().phase = Phase::Gating;
        for index in reviewed {
            let slot = &self.out.state.slots[index];
            let Some(idea) = slot.idea.clone() else {
                continue;
            };
            let failed = |review: &Review| review.verdict() == ReviewVerdict::Fail;
            if !slot.refusals.is_empty() {
                self.refuse(index, idea.variant);
            } else if slot.review.as_ref().is_some_and(failed) {
                self.refuse_reviewed(index, idea.variant);
            } else {
                self.screen(index, idea);
            }
        }
        true
    }

    /// The lints hold this already; believed twice, because levels are what the search is about.
    fn hold_to_level(&mut self, index: usize) {
        let open = self.out.state.levels.open;
        let slot = &mut self.out.state.slots[index];
        if slot.refusals.is_empty() && (slot.level.is_none() || slot.level > open) {
            slot.refusals.push(LintFinding {
                lint: Lint::ScopeLevel,
                place: "pipeline".to_owned(),
                message: "the change is deeper than the open level".to_owned(),
            });
        }
    }

    /// Asks for a revision where the review asks for one and none was asked for yet.
    fn send_back(&mut self, index: usize) -> bool {
        let slot = &self.out.state.slots[index];
        let (Some(idea), Some(review)) = (&slot.idea, &slot.review) else {
            return false;
        };
        let may = slot.revision == 0 && slot.refusals.is_empty() && review.asks_for_revision();
        if !may || self.spent().is_some() || !self.can_pay_a_proposal() {
            return false;
        }
        let revise = Revise {
            candidate: idea.variant,
            findings: review.findings().to_vec(),
            hypothesis: idea.hypothesis.clone(),
            idea: idea.idea.clone(),
            technique: idea.technique,
            summary: review.summary().to_owned(),
        };
        let (number, strategy) = (slot.slot, slot.strategy.clone());
        let attribution = self.out.state.attribution.as_ref();
        let cluster = slot.cluster.as_ref().and_then(|id| {
            let mut clusters = attribution?.clusters.iter();
            clusters.find(|cluster| cluster.id == *id).cloned()
        });
        let reason = format!(
            "the reviewer sends it back: {}",
            review.words(ReviewSeverity::Block)
        );
        let evidence = with_records(json!({ "slot": number }), slot);
        let candidate = revise.candidate;
        self.decide(DecisionKind::SentBack { candidate }, reason, evidence);
        let slot = &mut self.out.state.slots[index];
        slot.progress = SlotProgress::Proposing;
        slot.revision = 1;
        let level = self.out.state.levels.open.unwrap_or(Level::Prompt);
        self.ask_proposer(number, level, cluster, strategy, Some(revise));
        true
    }

    /// Whether what is left pays for one more proposal with its review.
    fn can_pay_a_proposal(&self) -> bool {
        let one = budget::per_proposal(self.balance, self.out.state.proposals_asked);
        budget::left(self.balance).fits(Amount::default(), one) != Some(0)
    }

    /// Begins a candidate's evaluation on train.
    fn screen(&mut self, index: usize, idea: SlotIdea) {
        let (iteration, parent) = (self.out.state.iteration, self.out.state.parent);
        let slot = &mut self.out.state.slots[index];
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
    }

    /// Drops what the lints refuse.
    fn refuse(&mut self, index: usize, candidate: VariantId) {
        let slot = &self.out.state.slots[index];
        let (words, told) = words_of(&slot.refusals);
        let reason = if slot.revision == 0 {
            format!("refused: {words}")
        } else {
            format!("its revision is refused: {words}")
        };
        let evidence = json!({ "slot": slot.slot, "refusals": slot.refusals });
        self.drop_slot(index, candidate, Refuser::Lints, (told, reason), evidence);
    }

    /// Drops what the reviewer fails.
    pub fn refuse_reviewed(&mut self, index: usize, candidate: VariantId) {
        let slot = &self.out.state.slots[index];
        let Some(review) = &slot.review else {
            return;
        };
        let mut words = review.words(ReviewSeverity::Block);
        // of the revision: that none came, and why
        if !slot.reason.is_empty() {
            words = format!("{words}; it was not revised: {}", slot.reason);
        }
        let which = if slot.revision == 0 {
            "refused by the reviewer"
        } else {
            "refused by the reviewer, after one revision"
        };
        let reason = format!("{which}: {words}");
        let evidence = json!({ "slot": slot.slot });
        let told = (format!("the reviewer: {words}"), reason);
        self.drop_slot(index, candidate, Refuser::Reviewer, told, evidence);
    }

    /// Decides a slot as refused, with what later proposers are told and the decision's reason.
    fn drop_slot(
        &mut self,
        index: usize,
        candidate: VariantId,
        by: Refuser,
        (told, reason): (String, String),
        evidence: Value,
    ) {
        let slot = &mut self.out.state.slots[index];
        slot.progress = SlotProgress::Decided;
        slot.outcome = Some(AttemptOutcome::Refused);
        slot.reason = told;
        let evidence = with_records(evidence, slot);
        self.decide(
            DecisionKind::Refusal {
                candidate: Some(candidate),
                by,
            },
            reason,
            evidence,
        );
    }
}

/// The evidence of a decision about a slot, with what proposer and reviewer leave on record: the review's words, sessions,
/// and hashes of prompts. Where there is nothing of that kind it stays as it is.
pub fn with_records(evidence: Value, slot: &Slot) -> Value {
    let Value::Object(mut fields) = evidence else {
        return evidence;
    };
    if let Some(review) = &slot.review {
        let mut record = json!({
            "verdict": review.verdict(),
            "findings": review.findings(),
            "summary": review.summary(),
        });
        record["session"] = json!(review.session);
        record["prompt_hash"] = json!(review.prompt_hash);
        record["evidence_hash"] = json!(review.evidence_hash);
        fields.insert("review".to_owned(), record);
    }
    let (session, prompt_hash) = match &slot.idea {
        Some(idea) => (idea.session, idea.prompt_hash),
        None => (slot.session, None),
    };
    if session.is_some() || prompt_hash.is_some() {
        let record = json!({ "session": session, "prompt_hash": prompt_hash });
        fields.insert("proposer".to_owned(), record);
    }
    if slot.revision > 0 {
        fields.insert("revision".to_owned(), json!(slot.revision));
    }
    Value::Object(fields)
}

/// The reason of an attempt as later proposers see it, with what the reviewer warned of.
pub fn with_caution(reason: String, review: Option<&Review>) -> String {
    match review {
        Some(review) if review.verdict() == ReviewVerdict::Warn => {
            let words = one_line(&review.words(ReviewSeverity::Warn), CAUTION_KEPT);
            format!("{reason}; the reviewer warned: {words}")
        }
        _ => reason,
    }
}

/// Refusals in words: for the record, and for later proposers, who hear nothing finer of held-out cases than that they are there.
fn words_of(refusals: &[LintFinding]) -> (String, String) {
    let words = |finding: &LintFinding| {
        format!(
            "{} at {}: {}",
            finding.lint.name(),
            finding.place,
            finding.message
        )
    };
    let all: Vec<String> = refusals.iter().map(words).collect();
    let (held_out, open): (Vec<&LintFinding>, Vec<&LintFinding>) = refusals
        .iter()
        .partition(|finding| finding.is_about_held_out());
    let mut told: Vec<String> = open.into_iter().map(words).collect();
    if !held_out.is_empty() {
        told.push("something in it stands in validation or test cases".to_owned());
    }
    (all.join("; "), told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_proposers_hear_nothing_fine_of_held_out_cases() {
        let finding = |lint, message: &str| LintFinding {
            lint,
            place: "prompts/a.md".to_owned(),
            message: message.to_owned(),
        };
        let (all, told) = words_of(&[
            finding(Lint::ScopeFile, "not allowed"),
            finding(Lint::HardCodedCase, LintFinding::HELD_OUT_ID),
            finding(Lint::HardCodedAnswer, LintFinding::HELD_OUT_ANSWER),
        ]);
        assert!(all.contains("hard_coded_case at prompts/a.md: names a validation or test case"));
        assert_eq!(
            told,
            "scope_file at prompts/a.md: not allowed; something in it stands in validation or test cases"
        );
    }
}
