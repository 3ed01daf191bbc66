//! How long a run would have taken without the step cache and without waiting for anybody.

use std::collections::HashMap;

use fapo_domain::model::trace::StepRecord;

use crate::plan::{Action, CombinePlan, Sample, Step};

/// The longest way through a run's steps, in milliseconds: each step starts once all that it needs have ended, and takes its
/// full duration. Steps that were not run take no time. Notes the full durations of `sample` steps, which are such ways
/// themselves.
pub(crate) fn longest_way(steps: &[Step], records: &mut [StepRecord]) -> u32 {
    let mut way = Way {
        taken: records
            .iter()
            .map(|record| (record.step.to_string(), record.full_duration_ms))
            .collect(),
    };
    let longest = way.list(steps, "");
    for record in records {
        if let Some(taken) = way.taken.get(record.step.as_str()) {
            record.full_duration_ms = *taken;
        }
    }
    longest
}

/// What each step took, by its name in the records.
struct Way {
    taken: HashMap<String, u32>,
}

impl Way {
    fn list(&mut self, steps: &[Step], prefix: &str) -> u32 {
        // what a step needs comes before it
        let mut ends: Vec<u32> = Vec::with_capacity(steps.len());
        for step in steps {
            let start = step.needs.iter().map(|need| ends[*need]).max().unwrap_or(0);
            ends.push(start.saturating_add(self.one(step, prefix)));
        }
        ends.into_iter().max().unwrap_or(0)
    }

    fn one(&mut self, step: &Step, prefix: &str) -> u32 {
        let name = format!("{prefix}{}", step.id);
        let Action::Sample(sample) = &step.action else {
            return self.taken.get(name.as_str()).copied().unwrap_or(0);
        };
        let whole = self.sample(sample, &name);
        if let Some(taken) = self.taken.get_mut(name.as_str()) {
            *taken = whole;
        }
        whole
    }

    /// The samples run side by side, and so do their checks.
    fn sample(&mut self, sample: &Sample, name: &str) -> u32 {
        let mut samples = 0;
        for index in 0..sample.n {
            samples = samples.max(self.list(&sample.steps, &format!("{name}[{index}].")));
        }
        let mut combine = 0;
        match &sample.combine {
            CombinePlan::Vote { .. } => {}
            CombinePlan::BestBy { check } => {
                for index in 0..sample.n {
                    combine = combine.max(self.one(check, &format!("{name}[{index}].")));
                }
            }
            CombinePlan::Merge { step } => combine = self.one(step, &format!("{name}.")),
        }
        samples.saturating_add(combine)
    }
}
