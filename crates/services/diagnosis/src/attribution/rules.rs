//! What a rule sees, what it finds, and how a case gets its finding.

use fapo_domain::StepId;
use fapo_domain::model::case::Case;
use fapo_domain::model::finding::Finding;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::trace::{RunRecord, RunStatus};

use super::flow::{Flow, FlowStep};
use super::scored::{Part, parts};
use super::table::RULES;

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
    /// Whether what was seen may be chance or another's fault: the rule is less sure of it.
    pub doubtful: bool,
    /// What was seen, in one line, with a short quote.
    pub detail: String,
}

/// The finding of one case: the first rule that fires. `None` when the case is no failure: its score reaches
/// `diagnosis.failure_below`, or it has no result.
pub fn attribute(view: &CaseView<'_>) -> Option<Finding> {
    if !view.score.status.counts()
        || view.run.status == RunStatus::Missing
        || view.score.score >= view.project.diagnosis.failure_below
    {
        return None;
    }
    RULES.iter().find_map(|spec| {
        let hit = (spec.ask)(view)?;
        Some(Finding {
            evaluation: view.score.evaluation,
            ordinal: view.score.ordinal,
            case_id: view.score.case_id.clone(),
            rule: spec.rule,
            level: hit.level,
            confidence: spec.confidence_of(&hit),
            step: hit.step,
            lost: (1.0 - view.score.score).clamp(0.0, 1.0),
            detail: hit.detail,
            reading: None,
        })
    })
}
