//! What a report is made from: plain values, assembled from the ports elsewhere. Rendering is a pure function of them.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::clock::Timestamp;
use fapo_domain::model::decision::{Decision, DecisionKind, StopReason};
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::score::Comparison;
use fapo_domain::model::session::SessionId;
use fapo_domain::model::variant::DiffStats;
use fapo_domain::ports::ledger::Balance;
use fapo_domain::{JobId, MicroUsd, VariantId};
use serde::{Deserialize, Serialize};

use super::bare_reason;
use crate::output::format;

/// Everything a report says about a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportData {
    /// The project's name.
    pub project: String,
    /// What it is for.
    pub description: Option<String>,
    /// The job.
    pub job: JobId,
    /// How it stands.
    pub status: JobStatus,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The maximized metric.
    pub metric: String,
    /// The rule of acceptance, in words.
    pub rule: String,
    /// The error rate at which a difference is called real.
    pub alpha: f64,
    /// Levels that the scope allows.
    pub allowed: Vec<Level>,
    /// The baseline first, then candidates in order of creation.
    pub candidates: Vec<Candidate>,
    /// The best variant; the baseline where nothing was promoted.
    pub best: VariantId,
    /// Baseline against best on validation.
    pub val: Option<Versus>,
    /// Baseline against best on the sealed test.
    pub test: Option<Versus>,
    /// The baseline's failures on train.
    pub before: Option<Attribution>,
    /// The best variant's failures on train.
    pub after: Option<Attribution>,
    /// All decisions in order.
    pub decisions: Vec<Decision>,
    /// Money and calls over the job.
    pub spending: Vec<SpendPoint>,
    /// The account.
    pub balance: Balance,
    /// What is needed to do it again: names and values.
    pub facts: Vec<(String, String)>,
}

/// One variant of the job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Candidate {
    /// The variant.
    pub variant: VariantId,
    /// What it was made from; none for the baseline.
    pub parent: Option<VariantId>,
    /// The iteration; 0 is the baseline.
    pub iteration: u32,
    /// The level of its difference from its parent.
    pub level: Option<Level>,
    /// What was tried.
    pub technique: Option<Technique>,
    /// What was expected and why.
    pub hypothesis: String,
    /// The size of the difference.
    pub diff: DiffStats,
    /// The difference from its parent as a patch.
    pub patch: String,
    /// Its score on train, so far as it was evaluated.
    pub train: Option<Score>,
    /// Its score on validation, so far as it was evaluated.
    pub val: Option<Score>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in one line.
    pub reason: String,
    /// The session in which an agent wrote it.
    pub session: Option<SessionId>,
    /// The session in which an agent reviewed it.
    pub reviewed_in: Option<SessionId>,
}

/// What became of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The start.
    Baseline,
    /// Better at the stated error rate.
    Promoted,
    /// Promising, without a claim.
    Branched,
    /// No gain on validation.
    RejectedOnVal,
    /// Lost on train.
    RejectedOnTrain,
    /// Refused by a lint before anything was spent on it.
    Refused,
    /// Too many results are missing.
    Undecided,
    /// Not decided yet.
    Running,
}

impl Outcome {
    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Promoted => "promoted",
            Self::Branched => "kept, no claim",
            Self::RejectedOnVal => "no gain on val",
            Self::RejectedOnTrain => "lost on train",
            Self::Refused => "refused",
            Self::Undecided => "undecided",
            Self::Running => "running",
        }
    }

    /// For style sheets.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Baseline => "base",
            Self::Promoted => "good",
            Self::Branched => "maybe",
            Self::RejectedOnVal | Self::RejectedOnTrain => "out",
            Self::Refused => "refused",
            Self::Undecided | Self::Running => "open",
        }
    }
}

/// A mean with its interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The mean of the maximized metric, in `[0, 1]`.
    pub mean: f64,
    /// Lower end of the interval over cases (Wilson).
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Cases that count.
    pub counted: u64,
    /// Cases in all, missing ones included.
    pub cases: u64,
    /// Whether it is over a part of the split only: the candidate was dropped before the end.
    pub partial: bool,
    /// What the runs would have cost without a cache.
    pub full_cost: MicroUsd,
    /// Model calls that the runs would have made without a cache.
    pub full_calls: u64,
    /// Every metric by name.
    pub metrics: BTreeMap<String, f64>,
}

impl Score {
    /// Model calls per counting case, as without a cache; `None` where no case counts.
    pub fn calls_per_case(&self) -> Option<f64> {
        (self.counted > 0).then(|| self.full_calls as f64 / self.counted as f64)
    }

    /// Dollars per counting case, as without a cache; `None` where no case counts.
    pub fn usd_per_case(&self) -> Option<f64> {
        (self.counted > 0).then(|| self.full_cost.usd() / self.counted as f64)
    }

    /// The mean for people; one over a part of the split says so.
    pub fn shown(&self) -> String {
        let mean = format::percent(self.mean);
        if self.partial {
            format!("{mean} of {}", format::count(self.counted))
        } else {
            mean
        }
    }
}

/// Two variants on one split.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Versus {
    /// The baseline.
    pub baseline: Score,
    /// The best; the baseline again where nothing was promoted.
    pub best: Score,
    /// The paired comparison, where there was one.
    pub comparison: Option<Comparison>,
}

/// What was spent up to a moment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct SpendPoint {
    /// The iteration it belongs to.
    pub iteration: u32,
    /// Dollars since the start.
    pub cost: MicroUsd,
    /// Model calls since the start.
    pub model_calls: u64,
}

impl ReportData {
    /// The baseline.
    pub fn baseline(&self) -> Option<&Candidate> {
        self.candidates.first()
    }

    /// A variant's entry.
    pub fn find(&self, variant: VariantId) -> Option<&Candidate> {
        self.candidates
            .iter()
            .find(|candidate| candidate.variant == variant)
    }

    /// The chain from the baseline to `variant`, both included. A damaged lineage ends it early instead of looping.
    pub fn path_to(&self, variant: VariantId) -> Vec<&Candidate> {
        let mut path = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = Some(variant);
        while let Some(id) = next {
            if !seen.insert(id) {
                break;
            }
            let Some(candidate) = self.find(id) else {
                break;
            };
            path.push(candidate);
            next = candidate.parent;
        }
        path.reverse();
        path
    }

    /// Whether no change on the way from the baseline to `variant` reaches structure.
    pub fn keeps_structure(&self, variant: VariantId) -> bool {
        self.path_to(variant)
            .iter()
            .all(|step| step.level != Some(Level::Structure))
    }

    /// The best accepted variant that keeps the baseline's structure: the baseline, or the promoted one with the
    /// highest validation mean (the earliest of equals).
    pub fn fixed_structure_best(&self) -> Option<&Candidate> {
        let mut best = self.baseline()?;
        for candidate in &self.candidates {
            let better = match (&candidate.val, &best.val) {
                (Some(this), Some(that)) => this.mean > that.mean,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if candidate.outcome == Outcome::Promoted
                && better
                && self.keeps_structure(candidate.variant)
            {
                best = candidate;
            }
        }
        Some(best)
    }

    /// Why the search ended, where it did.
    pub fn stopped(&self) -> Option<(StopReason, &str)> {
        self.decisions
            .iter()
            .rev()
            .find_map(|decision| match &decision.what {
                DecisionKind::Stopped { why } => Some((*why, decision.reason.as_str())),
                DecisionKind::Gate { .. }
                | DecisionKind::Refusal { .. }
                | DecisionKind::SentBack { .. }
                | DecisionKind::LevelLeft { .. }
                | DecisionKind::LevelOpened { .. }
                | DecisionKind::LevelSkipped { .. }
                | DecisionKind::TestSkipped => None,
            })
    }

    /// Why the sealed test was not run, where the optimizer decided so.
    pub fn test_skipped(&self) -> Option<&str> {
        self.decisions
            .iter()
            .rev()
            .find(|decision| decision.what == DecisionKind::TestSkipped)
            .map(bare_reason)
    }

    /// Whether what validation chose is also better on the sealed test, where that was run.
    pub fn holds(&self) -> bool {
        let comparison = self.test.as_ref().and_then(|test| test.comparison.as_ref());
        self.improved() && comparison.is_none_or(|comparison| comparison.gain > 0.0)
    }

    /// Whether validation chose anything over the baseline.
    pub fn improved(&self) -> bool {
        self.baseline()
            .is_some_and(|baseline| baseline.variant != self.best)
    }
}
