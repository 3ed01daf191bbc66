//! Puts a scorer together: its measures, and everything that is wrong with what it is made of.

use fapo_domain::model::project::{Metric, MetricOptions, NamedMetric};

use super::measure::{self, Measure};
use super::{Code, WEIGHTED};

pub(super) fn named(metric: Metric) -> NamedMetric {
    NamedMetric {
        metric,
        name: None,
        options: MetricOptions::default(),
    }
}

/// Collects measures and problems.
pub(super) struct Builder<'s> {
    pub(super) code: &'s Code,
    pub(super) defaults: &'s MetricOptions,
    pub(super) primary: Option<Metric>,
    pub(super) measures: Vec<Measure>,
    /// What each measure was made of, to tell a repeat from a clash.
    pub(super) specs: Vec<(Metric, MetricOptions)>,
    pub(super) problems: Vec<String>,
}

impl Builder<'_> {
    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Adds a measure; returns its index. One that is there already, with the same options, is the same measure.
    pub(super) fn add(
        &mut self,
        place: &str,
        metric: &NamedMetric,
        primary: bool,
    ) -> Option<usize> {
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
        match Measure::compile(name, made_of.0, &made_of.1, self.code) {
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
