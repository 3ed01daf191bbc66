//! The order of the rules, and what a rule sees.

use fapo_domain::StepId;
use fapo_domain::model::case::Case;
use fapo_domain::model::finding::{Finding, Rule};
use fapo_domain::model::level::Level;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::trace::{RunRecord, RunStatus};

use super::flow::{Flow, FlowStep};
use super::scored::{Part, parts};
use super::{answers, execution, retrieval};

/// One case as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct CaseView<'a> {
    /// The case.
    pub case: &'a Case,
    /// Its run, with every step.
    pub run: &'a RunRecord,
    /// Its score.
    pub score: &'a CaseScore,
    /// The pipeline.
    pub flow: &'a Flow,
    /// Thresholds, scope and scorer.
    pub project: &'a ProjectSpec,
}

impl<'a> CaseView<'a> {
    /// The part of what is maximized in which the case lost most: what its failure is about.
    pub fn part(&self) -> Part<'a> {
        let lost = |part: &Part<'_>| {
            let score = self.score.breakdown.get(part.name);
            part.weight * (1.0 - score.copied().unwrap_or(self.score.score))
        };
        let parts = parts(self.project);
        let mut most = parts[0];
        for part in &parts[1..] {
            if lost(part) > lost(&most) {
                most = *part;
            }
        }
        most
    }

    /// The step that writes what that part scores.
    pub fn answer(&self) -> &'a FlowStep {
        self.flow.answer_at(self.part().from)
    }
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The step to blame.
    pub step: StepId,
    /// The level at which it can be mended.
    pub level: Level,
    /// In `[0, 1]`.
    pub confidence: f64,
    /// What was seen, in one line, with a short quote.
    pub detail: String,
}

/// A rule: a pure function of the case.
pub type RuleFn = for<'a, 'b> fn(&'b CaseView<'a>) -> Option<Hit>;

/// Every rule, in the order in which they are asked.
pub const RULES: [(Rule, RuleFn); 13] = [
    (Rule::CutOffOutput, execution::cut_off_output),
    (Rule::StepFailed, execution::step_failed),
    (Rule::CapHit, execution::cap_hit),
    (Rule::EmptyStep, execution::empty_step),
    (Rule::Refusal, execution::refusal),
    (Rule::RetrievalTooShallow, retrieval::too_shallow),
    (Rule::RetrievalPartial, retrieval::partial),
    (Rule::RetrievalMiss, retrieval::miss),
    (Rule::RetrievalLowOverlap, retrieval::low_overlap),
    (Rule::AnswerBuried, answers::buried),
    (Rule::AnswerForm, answers::form),
    (Rule::Abstained, answers::abstained),
    (Rule::WrongAnswer, answers::wrong),
];

/// The finding of one case: the first rule that fires. `None` when the case is no failure: its score reaches
/// `diagnosis.failure_below`, or it has no result.
pub fn attribute(view: &CaseView<'_>) -> Option<Finding> {
    if !view.score.status.counts()
        || view.run.status == RunStatus::Missing
        || view.score.score >= view.project.diagnosis.failure_below
    {
        return None;
    }
    RULES.iter().find_map(|(rule, ask)| {
        let hit = ask(view)?;
        Some(Finding {
            evaluation: view.score.evaluation,
            ordinal: view.score.ordinal,
            case_id: view.score.case_id.clone(),
            step: hit.step,
            rule: *rule,
            level: hit.level,
            confidence: hit.confidence,
            lost: (1.0 - view.score.score).clamp(0.0, 1.0),
            detail: hit.detail,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_asked_in_the_order_of_the_domain() {
        let order: Vec<Rule> = RULES.iter().map(|(rule, _)| *rule).collect();
        assert!(order.is_sorted(), "{order:?}");
    }
}
