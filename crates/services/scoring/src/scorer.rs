//! A project's scorer, compiled: from a case and its run to a score with a breakdown and a line of feedback.

mod builder;
mod code;
mod measure;

use std::collections::BTreeMap;

use fapo_domain::error::Classified;
use fapo_domain::hash::{ContentHash, Hasher, canonical_json};
use fapo_domain::ids::CaseId;
use fapo_domain::model::case::Case;
use fapo_domain::model::project::{AlsoMetric, ObjectiveSpec, ScorerSpec};
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::trace::{RunRecord, RunStatus, StepStatus};
use fapo_domain::ports::code::{CodeError, CodeRunner};
use fapo_domain::ports::traces::StepsOf;

use crate::metrics::Mark;
use crate::text::quote;
use builder::{Builder, named};
use code::Said;
use measure::Measure;

/// Grows whenever the code of a metric changes what it gives for any input: scores of two versions are never compared.
const CODE_VERSION: u64 = 5;

/// The name of a composite in breakdowns.
const WEIGHTED: &str = "weighted";

/// Why a case cannot be scored. The candidate is not at fault, so there is no score at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// The case lacks the right answer.
    #[error("case {case} has no `expected.{key}`, which {metric} compares with")]
    ExpectedMissing {
        /// The case.
        case: CaseId,
        /// The key of `expected`.
        key: String,
        /// The metric, by its name in breakdowns.
        metric: String,
    },
    /// The case's right answer is not of the kind that the metric compares with.
    #[error("case {case}: {metric} cannot compare with `expected.{key}`: {problem}")]
    ExpectedUnusable {
        /// The case.
        case: CaseId,
        /// The key of `expected`.
        key: String,
        /// The metric, by its name in breakdowns.
        metric: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The code of a `python` metric could not be run.
    #[error("the scorer's code cannot be run")]
    NoWorkers(#[source] CodeError),
}

impl ScoreError {
    /// The stable name.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ExpectedMissing { .. } => "EXPECTED_MISSING",
            Self::ExpectedUnusable { .. } => "EXPECTED_UNUSABLE",
            Self::NoWorkers(error) => error.reason(),
        }
    }

    /// Whether both say that a key is missing, and name the same one.
    fn is_the_same_lack_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ExpectedMissing { key, .. }, Self::ExpectedMissing { key: known, .. }) => {
                key == known
            }
            _ => false,
        }
    }
}

/// Code files, by path relative to the project folder.
pub type Code = BTreeMap<String, String>;

/// What code said, by the index of its measure.
type Answers = BTreeMap<usize, Said>;

/// What the scorer maximizes: one of its measures, or the weighted mean of several.
#[derive(Debug)]
enum Maximized {
    Measure(usize),
    Weighted,
}

/// A compiled scorer. Patterns and schemas are compiled once; scoring a case is pure.
#[derive(Debug)]
pub struct Scorer {
    measures: Vec<Measure>,
    /// Index of a measure and its share of the composite; shares add up to 1.
    weights: Vec<(usize, f64)>,
    maximized: Maximized,
    version: ContentHash,
}

impl Scorer {
    /// Compiles a scorer; `code` is what its `python` metrics run and import, by path. Everything that is wrong with the
    /// specification is returned at once, each with its key.
    pub fn compile(
        spec: &ScorerSpec,
        objective: &ObjectiveSpec,
        code: &Code,
    ) -> Result<Self, Vec<String>> {
        let mut builder = Builder {
            code,
            defaults: &spec.options,
            primary: spec.metric,
            measures: Vec::new(),
            specs: Vec::new(),
            problems: Vec::new(),
        };
        let primary = match (spec.metric, spec.weighted.is_empty()) {
            (Some(_), false) => {
                builder.problem("`metric` and `weighted` exclude each other: keep one");
                None
            }
            (None, true) => {
                builder.problem("`metric` is missing: name one, or a list under `weighted`");
                None
            }
            (Some(metric), true) => builder.add("scorer", &named(metric), true),
            (None, false) => None,
        };
        let total: f64 = spec.weighted.iter().map(|part| part.weight).sum();
        let mut weights = Vec::new();
        for (position, part) in spec.weighted.iter().enumerate() {
            let place = format!("weighted[{position}]");
            if !part.weight.is_finite() || part.weight < 0.0 {
                builder.problem(format!("`{place}.weight` must be a number of at least 0"));
            }
            if let Some(index) = builder.add(&place, &part.metric, false) {
                weights.push((index, part.weight / total));
            }
        }
        if !spec.weighted.is_empty() && total <= 0.0 {
            builder.problem("`weighted`: the weights add up to nothing");
        }
        for (position, also) in spec.also.iter().enumerate() {
            let place = format!("also[{position}]");
            match also {
                AlsoMetric::Name(metric) => builder.add(&place, &named(*metric), false),
                AlsoMetric::Full(metric) => builder.add(&place, metric, false),
            };
        }
        let maximized = match &objective.maximize {
            None => primary.map_or(Maximized::Weighted, Maximized::Measure),
            Some(name) if name == WEIGHTED && !spec.weighted.is_empty() => Maximized::Weighted,
            Some(name) => match builder.measures.iter().position(|m| m.name == *name) {
                Some(index) => Maximized::Measure(index),
                None => {
                    let known: Vec<&str> =
                        builder.measures.iter().map(|m| m.name.as_str()).collect();
                    builder.problem(format!(
                        "`objective.maximize` names {name:?}, which the scorer does not give; it gives: {}",
                        known.join(", ")
                    ));
                    Maximized::Weighted
                }
            },
        };
        if builder.problems.is_empty() {
            Ok(Self {
                measures: builder.measures,
                weights,
                maximized,
                version: Self::version_of(spec, objective, code),
            })
        } else {
            Err(builder.problems)
        }
    }

    /// The version that compiling `spec` would give, without compiling it: a hash over the scorer's specification, the
    /// name of what is maximized (the only part of the objective that a score depends on), the version of this code, and the
    /// project's own.
    pub fn version_of(spec: &ScorerSpec, objective: &ObjectiveSpec, code: &Code) -> ContentHash {
        let mut hasher = Hasher::new("scorer/v1");
        let spec = serde_json::to_value(spec).expect("a scorer's specification has text keys only");
        hasher
            .number(CODE_VERSION)
            .part(canonical_json(&spec).as_bytes())
            .part(objective.maximize.as_deref().unwrap_or_default().as_bytes());
        for (path, text) in code {
            hasher.part(path.as_bytes()).part(text.as_bytes());
        }
        hasher.finish()
    }

    /// Hash of everything that decides a score besides case and run.
    pub const fn version(&self) -> ContentHash {
        self.version
    }

    /// The names of the breakdown, the maximized one first.
    pub fn names(&self) -> Vec<&str> {
        let all = self
            .measures
            .iter()
            .map(|measure| measure.name.as_str())
            .chain((!self.weights.is_empty()).then_some(WEIGHTED));
        let first = match self.maximized {
            Maximized::Measure(index) => self.measures[index].name.as_str(),
            Maximized::Weighted => WEIGHTED,
        };
        std::iter::once(first)
            .chain(all.filter(|name| *name != first))
            .collect()
    }

    /// Which runs must come with their steps to be scored: those that failed, whose feedback names the step, and all
    /// where a metric reads `from` a step.
    pub fn reads_steps_of(&self) -> StepsOf {
        if self.measures.iter().all(Measure::reads_output_only) {
            StepsOf::Incomplete
        } else {
            StepsOf::All
        }
    }

    /// What the case lacks of what scoring needs; nothing where it can be scored. Each names the case and the key, and a
    /// key that several metrics miss is named once.
    pub fn check_case(&self, case: &Case) -> Vec<ScoreError> {
        let mut found: Vec<ScoreError> = Vec::new();
        for measure in &self.measures {
            if let Err(error) = measure.check(case)
                && !found.iter().any(|known| error.is_the_same_lack_as(known))
            {
                found.push(error);
            }
        }
        found
    }

    /// Scores a run: asks the project's own code where a metric is `python`, and sums up. Equal arguments give an equal
    /// score, as far as that code does.
    ///
    /// A completed run is scored. One that failed, was refused or timed out has 0 in every metric. A missing one has no
    /// metrics and does not count. The feedback is the maximized metric's, and empty at a full score. Where code fails that
    /// gives what is maximized, the case has failed; where it gives another metric, that is 0.
    ///
    /// # Errors
    /// When the case cannot be scored by this scorer, or no worker for its code can be had.
    pub async fn score(
        &self,
        case: &Case,
        run: &RunRecord,
        workers: &dyn CodeRunner,
    ) -> Result<CaseScore, ScoreError> {
        let mut said = Answers::new();
        if run.status == RunStatus::Completed {
            for (index, measure) in self.measures.iter().enumerate() {
                if let Some(answer) = measure.ask(case, run, workers).await? {
                    said.insert(index, answer);
                }
            }
        }
        self.judge(case, run, &said)
    }

    /// The score of a case whose run is there, and that could not be scored for a reason outside.
    pub fn missing(&self, case: &Case, run: &RunRecord, why: &str) -> CaseScore {
        CaseScore {
            evaluation: run.evaluation,
            ordinal: run.ordinal,
            case_id: case.case_id.clone(),
            status: ScoreStatus::Missing,
            score: 0.0,
            breakdown: BTreeMap::new(),
            feedback: why.to_owned(),
            scorer: self.version,
        }
    }

    /// Sums up what all metrics say. Pure: equal arguments give an equal score.
    fn judge(&self, case: &Case, run: &RunRecord, said: &Answers) -> Result<CaseScore, ScoreError> {
        let mut status = match run.status {
            RunStatus::Completed => ScoreStatus::Scored,
            RunStatus::Failed => ScoreStatus::Failed,
            RunStatus::Missing => ScoreStatus::Missing,
            RunStatus::Refused => ScoreStatus::Refused,
            RunStatus::TimedOut => ScoreStatus::TimedOut,
        };
        let broken = self.broken(said);
        if broken.is_some() {
            status = ScoreStatus::Failed;
        }
        let (score, breakdown, feedback) = match status {
            ScoreStatus::Scored => self.measure(case, run, said)?,
            ScoreStatus::Missing => (0.0, BTreeMap::new(), unscored(run)),
            ScoreStatus::Failed | ScoreStatus::Refused | ScoreStatus::TimedOut => {
                let zeros = self.names().into_iter().map(|name| (name.to_owned(), 0.0));
                let why = broken.unwrap_or_else(|| unscored(run));
                (0.0, zeros.collect(), why)
            }
        };
        Ok(CaseScore {
            evaluation: run.evaluation,
            ordinal: run.ordinal,
            case_id: case.case_id.clone(),
            status,
            score,
            breakdown,
            feedback,
            scorer: self.version,
        })
    }

    /// Why there is no score although the run completed: what is maximized is given by code that failed.
    fn broken(&self, said: &Answers) -> Option<String> {
        let counts = |index: usize| match self.maximized {
            Maximized::Measure(maximized) => index == maximized,
            Maximized::Weighted => self
                .weights
                .iter()
                .any(|(part, weight)| *part == index && *weight > 0.0),
        };
        said.iter().find_map(|(index, answer)| match answer {
            Said::Failed(why) if counts(*index) => Some(format!(
                "the scorer `{}` failed: {why}",
                self.measures[*index].name
            )),
            Said::Failed(_) | Said::Mark(..) => None,
        })
    }

    fn measure(
        &self,
        case: &Case,
        run: &RunRecord,
        said: &Answers,
    ) -> Result<(f64, BTreeMap<String, f64>, String), ScoreError> {
        let marks = self
            .measures
            .iter()
            .enumerate()
            .map(|(index, measure)| match said.get(&index) {
                Some(Said::Mark(mark, _)) => Ok(mark.clone()),
                Some(Said::Failed(why)) => Ok(Mark::wrong(why)),
                None => measure.mark(case, run),
            })
            .collect::<Result<Vec<Mark>, _>>()?;
        let mut breakdown: BTreeMap<String, f64> = self
            .measures
            .iter()
            .zip(&marks)
            .map(|(measure, mark)| (measure.name.clone(), mark.value))
            .collect();
        for (index, answer) in said {
            if let Said::Mark(_, parts) = answer {
                let name = &self.measures[*index].name;
                for (part, value) in parts {
                    let part = format!("{name}.{part}");
                    breakdown.entry(part).or_insert(*value);
                }
            }
        }
        let weighted = || {
            let sum: f64 = self
                .weights
                .iter()
                .map(|(index, weight)| weight * marks[*index].value)
                .sum();
            // shares are rounded: a full score is one all the same
            if self
                .weights
                .iter()
                .all(|(index, weight)| *weight == 0.0 || marks[*index].value >= 1.0)
            {
                1.0
            } else {
                sum.clamp(0.0, 1.0)
            }
        };
        if !self.weights.is_empty() {
            breakdown.insert(WEIGHTED.to_owned(), weighted());
        }
        let (score, feedback) = match self.maximized {
            Maximized::Measure(index) => (marks[index].value, marks[index].feedback.clone()),
            Maximized::Weighted => {
                let parts: Vec<String> = self
                    .weights
                    .iter()
                    .filter(|(index, weight)| *weight > 0.0 && !marks[*index].feedback.is_empty())
                    .map(|(index, _)| {
                        format!("{}: {}", self.measures[*index].name, marks[*index].feedback)
                    })
                    .collect();
                (weighted(), parts.join("; "))
            }
        };
        Ok((score, breakdown, feedback))
    }
}

/// Why a run that did not complete has no score of its own.
fn unscored(run: &RunRecord) -> String {
    let what = match run.status {
        RunStatus::Completed => return String::new(),
        RunStatus::Failed => "the run failed",
        RunStatus::Missing => "the run is missing",
        RunStatus::Refused => "the model declined",
        RunStatus::TimedOut => "the case's time limit passed",
    };
    let mut feedback = what.to_owned();
    if let Some(step) = run
        .steps
        .iter()
        .find(|step| step.status == StepStatus::Failed)
    {
        feedback.push_str(&format!(" at step `{}`", step.step));
    }
    if let Some(reason) = &run.reason {
        feedback.push_str(&format!(": {reason}"));
    }
    if let Some(error) = run.steps.iter().find_map(|step| step.error.as_deref()) {
        feedback.push_str(&format!(" ({})", quote(error)));
    }
    feedback
}

#[cfg(test)]
mod tests;
