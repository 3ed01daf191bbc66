//! `sample` steps: a list of steps run several times, and one output made of the results.
//!
//! A sample that fails by the pipeline's fault, or whose output step is skipped, is left out; the step fails only when
//! none is left. The checks of `best_by` and the step of `merge` run at the sample path of the step itself: equal
//! candidates get equal marks.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use fapo_domain::model::trace::StepOutput;
use futures::future::{BoxFuture, join_all};
use regex::Regex;
use serde_json::{Value, json};

use crate::key::SamplePath;
use crate::outcome::{Fault, StepError, stopped};
use crate::plan::{CombinePlan, Sample, Step};
use crate::run::{ListEnd, Place, Run, Visible};
use crate::steps::extract;

/// A `sample` step under way.
pub(crate) struct SampleWork<'r> {
    sample: &'r Sample,
    path: &'r SamplePath,
    /// What its sub-steps see around them.
    visible: Vec<Visible>,
    /// Its name in records.
    name: String,
    pub(crate) position: usize,
}

impl<'r> SampleWork<'r> {
    pub(crate) fn new(
        sample: &'r Sample,
        place: &'r Place,
        step: &Step,
        visible: Vec<Visible>,
        position: usize,
    ) -> Self {
        Self {
            sample,
            path: &place.path,
            visible,
            name: format!("{}{}", place.prefix, step.id),
            position,
        }
    }

    fn place(&self, path: SamplePath, prefix: String) -> Place {
        Place {
            outer: self.visible.clone(),
            extra: None,
            path,
            prefix,
        }
    }
}

impl Run<'_> {
    /// Runs all samples at once and combines them. Boxed: a sample runs lists of steps, which may hold samples.
    pub(crate) fn sample<'r>(
        &'r self,
        work: SampleWork<'r>,
    ) -> BoxFuture<'r, Result<Arc<StepOutput>, StepError>> {
        Box::pin(self.samples(work))
    }

    async fn samples(&self, work: SampleWork<'_>) -> Result<Arc<StepOutput>, StepError> {
        let sample = work.sample;
        self.trace().record(work.position).input = Some(json!({ "n": sample.n }));
        let places: Vec<Place> = (0..sample.n)
            .map(|index| work.place(work.path.child(index), format!("{}[{index}].", work.name)))
            .collect();
        let runs = places
            .iter()
            .map(|place| self.list(place, &sample.steps, sample.output));
        let mut first_fault = None;
        let mut values: Vec<(usize, Arc<StepOutput>)> = Vec::with_capacity(places.len());
        for (index, ListEnd { value, fault }) in join_all(runs).await.into_iter().enumerate() {
            match value {
                Some(Some(output)) => values.push((index, output)),
                Some(None) | None => first_fault = first_fault.or(fault),
            }
        }
        self.go_on()?;
        if values.is_empty() {
            let fault = first_fault
                .unwrap_or_else(|| Fault::new("output_skipped", "every sample was skipped"));
            let message = format!("no sample succeeded; the first: {}", fault.message);
            return Err(Fault::new(fault.kind, message).into());
        }
        match &sample.combine {
            CombinePlan::Vote { extract } => Ok(vote(&values, extract.as_ref())),
            CombinePlan::BestBy { check } => self.best(&work, values, check).await,
            CombinePlan::Merge { step } => self.merge(&work, &values, step).await,
        }
    }

    /// Ends the step where the run is over. The first reason is noted already and stays.
    fn go_on(&self) -> Result<(), StepError> {
        if self.is_closing() {
            Err(stopped().into())
        } else {
            Ok(())
        }
    }

    async fn best(
        &self,
        work: &SampleWork<'_>,
        mut values: Vec<(usize, Arc<StepOutput>)>,
        check: &Step,
    ) -> Result<Arc<StepOutput>, StepError> {
        let places: Vec<Place> = values
            .iter()
            .map(|(index, output)| {
                let prefix = format!("{}[{index}].", work.name);
                let mut place = work.place(work.path.clone(), prefix);
                place.extra = Some(("candidate", Value::String(output.text.clone())));
                place
            })
            .collect();
        let checks = places
            .iter()
            .map(|place| self.list(place, std::slice::from_ref(check), 0));
        let ends = join_all(checks).await;
        self.go_on()?;
        let mut best = (0, f64::NEG_INFINITY);
        for (position, end) in ends.iter().enumerate() {
            let mark = match &end.value {
                Some(Some(output)) => first_number(&output.text).unwrap_or(f64::NEG_INFINITY),
                Some(None) | None => f64::NEG_INFINITY,
            };
            if mark > best.1 {
                best = (position, mark);
            }
        }
        Ok(values.swap_remove(best.0).1)
    }

    async fn merge(
        &self,
        work: &SampleWork<'_>,
        values: &[(usize, Arc<StepOutput>)],
        step: &Step,
    ) -> Result<Arc<StepOutput>, StepError> {
        let texts: Vec<&str> = values
            .iter()
            .map(|(_, output)| output.text.as_str())
            .collect();
        let mut place = work.place(work.path.clone(), format!("{}.", work.name));
        place.extra = Some(("samples", json!(texts)));
        let ListEnd { value, fault } = self.list(&place, std::slice::from_ref(step), 0).await;
        self.go_on()?;
        match value {
            Some(Some(output)) => Ok(output),
            Some(None) | None => Err(fault
                .unwrap_or_else(|| Fault::new("output_skipped", "the merging step was skipped"))
                .into()),
        }
    }
}

/// The earliest sample of the largest group of samples that say the same, apart from case and the space around. With a
/// pattern, what it finds is compared where it matches.
fn vote(values: &[(usize, Arc<StepOutput>)], pattern: Option<&Regex>) -> Arc<StepOutput> {
    let mut groups: HashMap<String, (usize, usize)> = HashMap::new();
    for (position, (_, output)) in values.iter().enumerate() {
        let text = pattern
            .and_then(|pattern| extract(pattern, &output.text))
            .unwrap_or(&output.text);
        groups
            .entry(text.trim().to_lowercase())
            .or_insert((0, position))
            .0 += 1;
    }
    let winner = groups
        .into_values()
        .max_by_key(|(votes, first)| (*votes, std::cmp::Reverse(*first)))
        .map_or(0, |(_, first)| first);
    Arc::clone(&values[winner].1)
}

/// The first number in a text.
fn first_number(text: &str) -> Option<f64> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?").expect("a fixed pattern")
    });
    NUMBER.find(text)?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<(usize, Arc<StepOutput>)> {
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let output = StepOutput {
                    text: (*text).to_owned(),
                    ..StepOutput::default()
                };
                (index, Arc::new(output))
            })
            .collect()
    }

    #[test]
    fn the_most_frequent_text_wins_and_the_earliest_a_tie() {
        assert_eq!(
            vote(&values(&["b", " A ", "a", "b\n", "a"]), None).text,
            " A "
        );
        assert_eq!(vote(&values(&["x", "y"]), None).text, "x");
        assert_eq!(vote(&values(&["z", "ÄÖ", "äö"]), None).text, "ÄÖ");
    }

    #[test]
    fn votes_are_counted_on_what_the_pattern_finds() {
        let pattern = Regex::new(r"(?i)answer: (\w+)").unwrap();
        let given = values(&[
            "I think so. Answer: no",
            "Answer: YES",
            "well... answer: yes",
            "yes",
        ]);
        assert_eq!(vote(&given, Some(&pattern)).text, "Answer: YES");
    }

    #[test]
    fn the_first_number_counts() {
        assert_eq!(first_number("score: -1.5 of 3"), Some(-1.5));
        assert_eq!(first_number("about .5"), Some(0.5));
        assert_eq!(first_number("1e3!"), Some(1000.0));
        assert_eq!(first_number("none"), None);
    }
}
