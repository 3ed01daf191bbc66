//! The level state machine: prompts first; deeper only where the evidence says that prompts cannot help.
//!
//! ```text
//!            resolved | plateau | ceiling | exhausted          gives the level enough points
//!   open L ───────────────────────────────────────────▶ left ───────────────────────────────▶ open L+n
//!     ▲                                                   │  (levels between: skipped)            │
//!     └──────────── a structural change was promoted ─────┼───────────────────────────────────────┘
//!                                                         └─ no level has enough points ▶ the search ends
//! ```
//!
//! Attribution's rules are hints, and prompts are the cheapest thing to be wrong about. So the lowest allowed level is
//! opened whatever they say, and is not left as resolved or as at its ceiling before several techniques were tried.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::StepId;
use fapo_domain::model::decision::LevelLeft;
use fapo_domain::model::finding::{Attribution, Points};
use fapo_domain::model::level::{Level, Strategy, Technique};
use fapo_domain::model::project::{EscalationSpec, ScopeSpec};
use fapo_domain::model::proposal::AttemptOutcome;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod explain;

use explain::{ceiling, cluster_names, evidence, not_allowed, points, techniques};

/// Refused proposals in a row that count as one candidate without a promotion.
pub const REFUSALS_PER_CANDIDATE: u32 = 5;

/// Points below this are none.
const NO_POINTS: f64 = 1e-9;

/// How a level stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "level_is", rename_all = "snake_case")]
pub enum LevelStatus {
    /// It is worked at.
    Open,
    /// It was worked at.
    Left {
        /// Why it was left.
        why: LevelLeft,
    },
    /// It was passed over: not allowed, or the evidence is against it.
    Skipped,
}

/// The levels of a job. A level without a status has not been reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// The level that is worked at.
    pub open: Option<Level>,
    /// How the levels that were reached stand.
    pub status: BTreeMap<Level, LevelStatus>,
    /// Mean on val when the open level was opened.
    pub start_mean: f64,
    /// What attribution gave the open level when it was opened.
    pub ceiling: Points,
    /// Candidates in a row without a promotion, at the open level on the incumbent.
    pub without_promotion: u32,
    /// Refused proposals in a row, at the open level on the incumbent.
    pub refused_in_row: u32,
    /// Different techniques of this level tried on the incumbent while it was open.
    pub techniques: BTreeSet<Technique>,
    /// Whether the proposer said that it has no further idea at the open level.
    pub exhausted: bool,
    /// Iterations without a promotion, at the open level on the incumbent: the rungs of the ladder that are behind.
    #[serde(default)]
    pub rungs: u32,
    /// Steps that were tried alone meanwhile.
    #[serde(default)]
    pub isolated: BTreeSet<StepId>,
    /// Whether taking something away was tried meanwhile.
    #[serde(default)]
    pub ablated: bool,
}

/// One proposal's result, as the levels see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// What was tried, where that is known.
    pub technique: Option<Technique>,
    /// The level of the change, where it was decided.
    pub level: Option<Level>,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// How the proposer was told to go about it.
    pub strategy: Strategy,
}

/// What the levels decided, with the reason for people and the numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The level.
    pub level: Level,
    /// What happens to it.
    pub to: LevelStatus,
    /// One line for people.
    pub reason: String,
    /// The numbers and names the rule looked at.
    pub evidence: Value,
}

/// The project's rules that the levels follow.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What proposals may change.
    pub scope: &'a ScopeSpec,
    /// When a level is left.
    pub escalation: &'a EscalationSpec,
}

impl Rules<'_> {
    fn allows(&self, level: Level) -> bool {
        self.scope.allow.contains(&level)
    }

    fn lowest(&self) -> Option<Level> {
        Level::ALL.into_iter().find(|level| self.allows(*level))
    }
}

impl Levels {
    /// Takes in the proposals of one iteration. A promotion makes the counts start anew; the iteration's other proposals
    /// were tried on the variant before it and do not count then.
    pub fn record(&mut self, tries: &[Try]) {
        let promoted = |one: &&Try| one.outcome == AttemptOutcome::Promoted;
        if tries.iter().any(|one| promoted(&one)) {
            self.reset_counts();
            let structural = |one: &Try| one.level == Some(Level::Structure);
            if tries.iter().filter(promoted).any(structural) {
                self.open = None;
                self.status.clear();
            }
            return;
        }
        if !tries.is_empty() {
            self.rungs = self.rungs.saturating_add(1);
        }
        for one in tries {
            match &one.strategy {
                Strategy::IsolateStep { step } => {
                    self.isolated.insert(step.clone());
                }
                Strategy::Ablation => self.ablated = true,
                Strategy::Free | Strategy::OtherTechnique { .. } => {}
            }
            if let (Some(open), Some(technique)) = (self.open, one.technique)
                && (technique.level() == open || one.level == Some(open))
            {
                self.techniques.insert(technique);
            }
            if one.outcome == AttemptOutcome::Refused {
                self.refused_in_row += 1;
                if self.refused_in_row == REFUSALS_PER_CANDIDATE {
                    self.refused_in_row = 0;
                    self.without_promotion += 1;
                }
            } else {
                self.refused_in_row = 0;
                self.without_promotion += 1;
            }
        }
    }

    /// Notes that the proposer has no further idea.
    pub const fn exhaust(&mut self) {
        self.exhausted = true;
    }

    fn reset_counts(&mut self) {
        self.without_promotion = 0;
        self.refused_in_row = 0;
        self.techniques.clear();
        self.exhausted = false;
        self.rungs = 0;
        self.isolated.clear();
        self.ablated = false;
    }

    /// Moves on as far as the evidence allows: leaves the open level if it must be left, and opens the next. Returns what
    /// happened, in order. Afterwards [`Self::open`] is the level to work at, or `None` where all are left.
    pub fn settle(
        &mut self,
        rules: Rules<'_>,
        attribution: &Attribution,
        val_mean: f64,
    ) -> Vec<Step> {
        let Some(open) = self.open else {
            return self.open_lowest(rules, attribution, val_mean);
        };
        let Some((why, reason)) = self.reason_to_leave(open, rules, attribution, val_mean) else {
            return Vec::new();
        };
        let mut steps = vec![Step {
            level: open,
            to: LevelStatus::Left { why },
            reason: format!("{open} left: {reason}"),
            evidence: self.leave_evidence(open, rules, attribution, val_mean),
        }];
        self.open = None;
        for level in Level::ALL.into_iter().filter(|level| *level > open) {
            let step = self.consider(level, rules, attribution);
            let opened = step.to == LevelStatus::Open;
            steps.push(step);
            if opened {
                self.enter(level, attribution, val_mean);
                break;
            }
        }
        for step in &steps {
            self.status.insert(step.level, step.to);
        }
        steps
    }

    fn open_lowest(
        &mut self,
        rules: Rules<'_>,
        attribution: &Attribution,
        val_mean: f64,
    ) -> Vec<Step> {
        let Some(lowest) = rules.lowest() else {
            return Vec::new();
        };
        let mut steps: Vec<Step> = Level::ALL
            .into_iter()
            .filter(|level| *level < lowest)
            .map(|level| not_allowed(level, attribution))
            .collect();
        steps.push(Step {
            level: lowest,
            to: LevelStatus::Open,
            reason: format!(
                "{lowest} opened: the search starts at the lowest allowed level; attribution gives it {}",
                points(ceiling(attribution, lowest))
            ),
            evidence: evidence(lowest, rules, attribution),
        });
        self.enter(lowest, attribution, val_mean);
        for step in &steps {
            self.status.insert(step.level, step.to);
        }
        steps
    }

    fn enter(&mut self, level: Level, attribution: &Attribution, val_mean: f64) {
        self.open = Some(level);
        self.start_mean = val_mean;
        self.ceiling = ceiling(attribution, level);
        self.reset_counts();
    }

    fn consider(&self, level: Level, rules: Rules<'_>, attribution: &Attribution) -> Step {
        if !rules.allows(level) {
            return not_allowed(level, attribution);
        }
        let given = ceiling(attribution, level);
        let needed = rules.escalation.min_recoverable;
        let (to, verb, relation) = if given.estimate >= needed {
            (LevelStatus::Open, "opened", "at least")
        } else {
            (LevelStatus::Skipped, "skipped", "less than")
        };
        let names = cluster_names(attribution, level);
        let tail = if names.is_empty() {
            String::new()
        } else {
            format!(": {names}")
        };
        Step {
            level,
            to,
            reason: format!(
                "{level} {verb}: attribution gives it {}, {relation} the {needed} needed{tail}",
                points(given)
            ),
            evidence: evidence(level, rules, attribution),
        }
    }

    fn reason_to_leave(
        &self,
        open: Level,
        rules: Rules<'_>,
        attribution: &Attribution,
        val_mean: f64,
    ) -> Option<(LevelLeft, String)> {
        let escalation = rules.escalation;
        let tried = self.techniques.len();
        let enough_techniques = tried >= escalation.techniques as usize;
        if self.exhausted {
            let reason = "the proposer has no further idea".to_owned();
            return Some((LevelLeft::Exhausted, reason));
        }
        // on the lowest level the evidence alone is not enough: see the head of this file
        let evidence_counts = enough_techniques || rules.lowest() != Some(open);
        let here_and_below: f64 = Level::ALL
            .into_iter()
            .filter(|level| *level <= open)
            .map(|level| ceiling(attribution, level).estimate)
            .sum();
        if evidence_counts && here_and_below <= NO_POINTS {
            let reason = format!(
                "attribution gives it and the levels below no points, after {}",
                techniques(tried)
            );
            return Some((LevelLeft::Resolved, reason));
        }
        let reachable = self.start_mean + self.ceiling.high;
        if evidence_counts && val_mean > self.start_mean && val_mean >= reachable {
            let reason = format!(
                "val is at {val_mean:.3}, and {:.3} plus at most {:.3} was in reach",
                self.start_mean, self.ceiling.high
            );
            return Some((LevelLeft::Ceiling, reason));
        }
        if enough_techniques && self.without_promotion >= escalation.plateau {
            let reason = format!(
                "{} candidates in a row without a promotion (limit {}), {} tried (at least {})",
                self.without_promotion,
                escalation.plateau,
                techniques(tried),
                escalation.techniques
            );
            return Some((LevelLeft::Plateau, reason));
        }
        None
    }

    fn leave_evidence(
        &self,
        open: Level,
        rules: Rules<'_>,
        attribution: &Attribution,
        val_mean: f64,
    ) -> Value {
        json!({
            "without_promotion": self.without_promotion,
            "plateau": rules.escalation.plateau,
            "refused_in_row": self.refused_in_row,
            "techniques": self.techniques,
            "min_techniques": rules.escalation.techniques,
            "val_mean": val_mean,
            "start_mean": self.start_mean,
            "ceiling_at_start": self.ceiling,
            "ceiling_now": ceiling(attribution, open),
            "ceilings": attribution.ceilings,
            "no_further_idea": self.exhausted,
        })
    }
}

#[cfg(test)]
mod tests;
