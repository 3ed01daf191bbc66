//! A job's state: what the policy remembers between two ticks. Plain data, stored as JSON, bounded in size by the
//! number of proposals and never by the number of cases.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::hash::ContentHash;
use fapo_domain::model::decision::StopReason;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::job::{JobSpec, JobStatus};
use fapo_domain::model::level::{Level, Strategy, Technique};
use fapo_domain::model::proposal::{Attempt, AttemptOutcome, LintFinding, Review};
use fapo_domain::model::score::{Comparison, ScoreSummary};
use fapo_domain::model::session::SessionId;
use fapo_domain::model::variant::DiffStats;
use fapo_domain::{TaskId, VariantId};
use serde::{Deserialize, Serialize};

use crate::levels::Levels;
use crate::stage::Stage;

/// What a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was started yet.
    Submitted,
    /// An evaluate job's one evaluation.
    Evaluating,
    /// The baseline on train and val.
    Baseline,
    /// The incumbent's failures are being attributed.
    Attributing,
    /// Proposals are being written.
    Proposing,
    /// Proposals are being linted and reviewed.
    Reviewing,
    /// Candidates are being evaluated.
    Gating,
    /// The sealed test runs.
    Testing,
    /// The sealed test's evaluations are being compared.
    ComparingTest,
    /// Nothing more will happen.
    Finished,
}

impl Phase {
    /// The name in stored states and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Evaluating => "evaluating",
            Self::Baseline => "baseline",
            Self::Attributing => "attributing",
            Self::Proposing => "proposing",
            Self::Reviewing => "reviewing",
            Self::Gating => "gating",
            Self::Testing => "testing",
            Self::ComparingTest => "comparing_test",
            Self::Finished => "finished",
        }
    }

    /// The phase of that name; `None` for one of a newer program.
    pub fn of(name: &str) -> Option<Self> {
        <Self as Deserialize>::deserialize(serde::de::value::StrDeserializer::<
            serde::de::value::Error,
        >::new(name))
        .ok()
    }
}

/// A finished evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was evaluated.
    pub evaluation: EvaluationSpec,
    /// Its sums.
    pub summary: ScoreSummary,
}

/// A variant and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredVariant {
    /// The variant.
    pub variant: VariantId,
    /// The iteration that made it; 0 is the baseline.
    pub iteration: u32,
    /// Its evaluation on train.
    pub train: Option<Measurement>,
    /// Its evaluation on val.
    pub val: Option<Measurement>,
}

impl MeasuredVariant {
    /// A variant of which nothing is known yet.
    pub const fn new(variant: VariantId, iteration: u32) -> Self {
        Self {
            variant,
            iteration,
            train: None,
            val: None,
        }
    }

    /// Its mean on val.
    pub fn val_mean(&self) -> Option<f64> {
        self.val.as_ref().and_then(|val| val.summary.mean())
    }

    /// Its mean on train.
    pub fn train_mean(&self) -> Option<f64> {
        self.train.as_ref().and_then(|train| train.summary.mean())
    }
}

/// What a slot's proposal is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotProgress {
    /// The proposer was asked.
    Proposing,
    /// The proposer answered; other slots' answers are awaited.
    Proposed,
    /// The lints were asked.
    Reviewing,
    /// The lints answered; other slots' reviews are awaited.
    Reviewed,
    /// It is evaluated on train.
    Screening,
    /// It is evaluated on val.
    Validating,
    /// Its evaluation on val is complete; earlier slots are decided first.
    Waiting,
    /// Its fate is decided.
    Decided,
}

/// What a proposer said about its proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotIdea {
    /// The variant.
    pub variant: VariantId,
    /// What was tried.
    pub technique: Technique,
    /// The proposer's own name for the idea.
    pub idea: String,
    /// What is expected and why.
    pub hypothesis: String,
    /// Expected gain in points of the mean score.
    #[serde(default)]
    pub expected_gain: Option<f64>,
    /// The agent's session, where one wrote it.
    #[serde(default)]
    pub session: Option<SessionId>,
    /// Hash over the instructions that the proposer was given.
    #[serde(default)]
    pub prompt_hash: Option<ContentHash>,
}

/// One of an iteration's parallel proposals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Its number, from 0.
    pub slot: u32,
    /// The cluster it works on.
    pub cluster: Option<String>,
    /// What it is at.
    pub progress: SlotProgress,
    /// The proposal; `None` where the proposer had none.
    pub idea: Option<SlotIdea>,
    /// The session that answered last, where an agent was asked; also where nothing came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Whether the proposer said that it has no further idea.
    pub no_idea: bool,
    /// The level of the change, decided from the diff.
    pub level: Option<Level>,
    /// The size of the change.
    pub diff: DiffStats,
    /// What the lints refused it for; the first few.
    pub refusals: Vec<LintFinding>,
    /// How the proposer was told to go about it.
    #[serde(default)]
    pub strategy: Strategy,
    /// 0 for the proposal, 1 for its revision.
    #[serde(default)]
    pub revision: u32,
    /// What the reviewer says of it; of the first proposal while its revision is written.
    #[serde(default)]
    pub review: Option<Review>,
    /// Its evaluation on train, once complete.
    pub train: Option<Measurement>,
    /// Its evaluation on val, once complete.
    pub val: Option<Measurement>,
    /// What became of it.
    pub outcome: Option<AttemptOutcome>,
    /// Why, in one line fit for the proposer: it holds nothing exact about val.
    pub reason: String,
}

/// An earlier proposal and how it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The slot among its iteration's parallel proposals.
    pub slot: u32,
    /// The cluster it aimed at.
    pub cluster: Option<String>,
    /// What was tried and what became of it.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// Its mean on train, where it was run on all of it.
    pub train_mean: Option<f64>,
    /// Its mean on val, where it was run on all of it.
    pub val_mean: Option<f64>,
}

/// Why the search ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The class.
    pub why: StopReason,
    /// One line for people.
    pub reason: String,
}

/// The sealed test on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestRun {
    /// How often each case is run for each variant.
    pub repeats: u32,
    /// The sample index that runs now.
    pub sample: u32,
    /// Finished evaluations of the baseline, one a repeat.
    pub baseline: Vec<Measurement>,
    /// Finished evaluations of the best variant, one a repeat; empty where the baseline is the best.
    pub best: Vec<Measurement>,
    /// Comparisons, one a repeat.
    pub comparisons: Vec<Comparison>,
}

/// What the sealed test measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// The best variant; the baseline where nothing was promoted.
    pub variant: VariantId,
    /// How often each case was run for each variant.
    pub repeats: u32,
    /// The baseline, summed over the repeats.
    pub baseline: ScoreSummary,
    /// The best variant, summed over the repeats; `None` where the baseline is the best.
    pub best: Option<ScoreSummary>,
    /// Best against baseline, averaged over the repeats. Each bound of the interval is the mean of the repeats' bounds,
    /// which is never narrower than an interval of the averaged differences: averaging over repeats can only reduce
    /// the spread (Minkowski). The p-value is the largest of the repeats'. Counts are sums.
    pub comparison: Option<Comparison>,
}

/// The state of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobState {
    /// The version of this layout.
    pub format: u32,
    /// What it is at.
    pub phase: Phase,
    /// Milliseconds it has been running, as the orchestrator counts them.
    pub elapsed_ms: u64,
    /// Evaluations under way.
    pub stages: Vec<Stage>,
    /// The variant it started from.
    pub baseline: MeasuredVariant,
    /// The best variant so far.
    pub incumbent: MeasuredVariant,
    /// The incumbent's failures on train.
    pub attribution: Option<Attribution>,
    /// Which levels are open, left, skipped.
    pub levels: Levels,
    /// The iteration under way or the last one; 0 before the first.
    pub iteration: u32,
    /// Proposals asked for so far.
    pub proposals_asked: u32,
    /// What the proposals of the iteration under way start from.
    pub parent: VariantId,
    /// The proposals of the iteration under way.
    pub slots: Vec<Slot>,
    /// Proposals of earlier iterations, oldest first.
    pub candidates: Vec<Candidate>,
    /// How many decisions were made.
    pub decisions: u32,
    /// Whether a task met the end of the budget.
    pub budget_exhausted: bool,
    /// Tasks under way that died for good, with their reasons.
    pub dead: BTreeMap<TaskId, String>,
    /// How the job stands after the last tick. A tick of a job that failed over dead tasks means that they were revived.
    pub status: JobStatus,
    /// Why the search ended, once it did.
    pub stop: Option<Stop>,
    /// The sealed test on its way.
    pub test_run: Option<TestRun>,
    /// What the sealed test measured.
    pub test: Option<TestResult>,
    /// An evaluate job's result.
    pub evaluated: Option<Measurement>,
}

/// How often a variant is run before it counts as tried although nothing could be decided about it: its results may be
/// missing for a reason of its own.
const UNDECIDED_TRIES: u32 = 2;

/// The layout that this program writes.
pub(crate) const FORMAT: u32 = 1;

impl JobState {
    pub(crate) fn new(spec: &JobSpec) -> Self {
        let baseline = MeasuredVariant::new(spec.baseline, 0);
        Self {
            format: FORMAT,
            phase: Phase::Submitted,
            elapsed_ms: 0,
            stages: Vec::new(),
            incumbent: baseline.clone(),
            baseline,
            attribution: None,
            levels: Levels::default(),
            iteration: 0,
            proposals_asked: 0,
            parent: spec.baseline,
            slots: Vec::new(),
            candidates: Vec::new(),
            decisions: 0,
            budget_exhausted: false,
            dead: BTreeMap::new(),
            status: JobStatus::Running,
            stop: None,
            test_run: None,
            test: None,
            evaluated: None,
        }
    }

    /// How often a variant was run without anything being decided about it.
    pub fn undecided(&self, variant: VariantId) -> u32 {
        let of = |candidate: &&Candidate| {
            candidate.attempt.variant == Some(variant)
                && candidate.attempt.outcome == AttemptOutcome::Undecided
        };
        self.candidates
            .iter()
            .filter(of)
            .fold(0, |tries, _| tries + 1)
    }

    /// Whether an earlier proposal counts as not tried: too many of its results were missing, which says nothing of it,
    /// and it has another try.
    pub fn is_untried(&self, candidate: &Candidate) -> bool {
        candidate.attempt.outcome == AttemptOutcome::Undecided
            && candidate
                .attempt
                .variant
                .is_some_and(|variant| self.undecided(variant) < UNDECIDED_TRIES)
    }

    /// Iterations in a row, up to the last one, in which something was run and nothing decided.
    pub fn undecided_iterations(&self) -> usize {
        let run = self
            .candidates
            .iter()
            .rev()
            .filter(|candidate| candidate.attempt.outcome != AttemptOutcome::Refused);
        let decided = run
            .clone()
            .find(|candidate| candidate.attempt.outcome != AttemptOutcome::Undecided)
            .map_or(0, |candidate| candidate.attempt.iteration);
        run.map(|candidate| candidate.attempt.iteration)
            .filter(|iteration| *iteration > decided)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Blocks scored and blocks in all, over the evaluations under way.
    pub fn blocks(&self) -> (u64, u64) {
        self.stages.iter().fold((0, 0), |(done, all), stage| {
            (done + stage.done, all + stage.blocks)
        })
    }
}
