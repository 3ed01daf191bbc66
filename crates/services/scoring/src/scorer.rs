//! A project's scorer, compiled: from a case and its run to a score with a breakdown and a line of feedback.

mod measure;

use std::collections::BTreeMap;

use fapo_domain::hash::{ContentHash, Hasher, canonical_json};
use fapo_domain::ids::CaseId;
use fapo_domain::model::case::Case;
use fapo_domain::model::project::{
    AlsoMetric, Metric, MetricOptions, NamedMetric, ObjectiveSpec, ScorerSpec,
};
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::trace::{RunRecord, RunStatus, StepStatus};
use fapo_domain::ports::traces::StepsOf;

use crate::metrics::Mark;
use crate::text::quote;
use measure::Measure;

/// Grows whenever the code of a metric changes what it gives for any input: scores of two versions are never compared.
const CODE_VERSION: u64 = 5;

/// The name of a composite in breakdowns.
const WEIGHTED: &str = "weighted";

/// Why a case cannot be scored. The case is at fault, not the candidate, so there is no score at all.
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
}

impl ScoreError {
    /// The stable name.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ExpectedMissing { .. } => "EXPECTED_MISSING",
            Self::ExpectedUnusable { .. } => "EXPECTED_UNUSABLE",
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
    /// Compiles a scorer. Everything that is wrong with the specification is returned at once, each with its key.
    pub fn compile(spec: &ScorerSpec, objective: &ObjectiveSpec) -> Result<Self, Vec<String>> {
        let mut builder = Builder {
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
                version: Self::version_of(spec, objective),
            })
        } else {
            Err(builder.problems)
        }
    }

    /// The version that compiling `spec` would give, without compiling it: a hash over the scorer's specification, the
    /// name of what is maximized (the only part of the objective that a score depends on), and the version of this code.
    pub fn version_of(spec: &ScorerSpec, objective: &ObjectiveSpec) -> ContentHash {
        let mut hasher = Hasher::new("scorer/v1");
        let spec = serde_json::to_value(spec).expect("a scorer's specification has text keys only");
        hasher
            .number(CODE_VERSION)
            .part(canonical_json(&spec).as_bytes())
            .part(objective.maximize.as_deref().unwrap_or_default().as_bytes());
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

    /// Scores a run. Pure: equal arguments give an equal score.
    ///
    /// A completed run is scored. One that failed, was refused or timed out has 0 in every metric. A missing one has no
    /// metrics and does not count. The feedback is the maximized metric's, and empty at a full score.
    pub fn score(&self, case: &Case, run: &RunRecord) -> Result<CaseScore, ScoreError> {
        let status = match run.status {
            RunStatus::Completed => ScoreStatus::Scored,
            RunStatus::Failed => ScoreStatus::Failed,
            RunStatus::Missing => ScoreStatus::Missing,
            RunStatus::Refused => ScoreStatus::Refused,
            RunStatus::TimedOut => ScoreStatus::TimedOut,
        };
        let (score, breakdown, feedback) = match status {
            ScoreStatus::Scored => self.measure(case, run)?,
            ScoreStatus::Missing => (0.0, BTreeMap::new(), unscored(run)),
            ScoreStatus::Failed | ScoreStatus::Refused | ScoreStatus::TimedOut => {
                let zeros = self.names().into_iter().map(|name| (name.to_owned(), 0.0));
                (0.0, zeros.collect(), unscored(run))
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

    fn measure(
        &self,
        case: &Case,
        run: &RunRecord,
    ) -> Result<(f64, BTreeMap<String, f64>, String), ScoreError> {
        let marks = self
            .measures
            .iter()
            .map(|measure| measure.mark(case, run))
            .collect::<Result<Vec<Mark>, _>>()?;
        let mut breakdown: BTreeMap<String, f64> = self
            .measures
            .iter()
            .zip(&marks)
            .map(|(measure, mark)| (measure.name.clone(), mark.value))
            .collect();
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

fn named(metric: Metric) -> NamedMetric {
    NamedMetric {
        metric,
        name: None,
        options: MetricOptions::default(),
    }
}

/// Collects measures and problems.
struct Builder<'s> {
    defaults: &'s MetricOptions,
    primary: Option<Metric>,
    measures: Vec<Measure>,
    /// What each measure was made of, to tell a repeat from a clash.
    specs: Vec<(Metric, MetricOptions)>,
    problems: Vec<String>,
}

impl Builder<'_> {
    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Adds a measure; returns its index. One that is there already, with the same options, is the same measure.
    fn add(&mut self, place: &str, metric: &NamedMetric, primary: bool) -> Option<usize> {
        let name = metric
            .name
            .clone()
            .unwrap_or_else(|| metric.metric.as_str().to_owned());
        let options = if primary {
            self.defaults.clone()
        } else {
            measure::with_defaults(metric, self.defaults, self.primary)
        };
        let made_of = (metric.metric, options);
        if name == WEIGHTED {
            self.problem(format!(
                "`{place}`: the name {WEIGHTED:?} is the composite's"
            ));
            return None;
        }
        if let Some(index) = self.measures.iter().position(|known| known.name == name) {
            if self.specs[index] == made_of {
                return Some(index);
            }
            self.problem(format!(
                "`{place}`: {name:?} is used already for another metric or other options: give it a `name`"
            ));
            return None;
        }
        match Measure::compile(name, made_of.0, &made_of.1) {
            Ok(measure) => {
                self.measures.push(measure);
                self.specs.push(made_of);
                Some(self.measures.len() - 1)
            }
            Err(problem) => {
                let metric = metric.metric.as_str();
                self.problem(format!("`{place}` ({metric}): {problem}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
