//! How long a run would have taken without the step cache.

use std::collections::HashMap;

use fapo_domain::model::trace::StepRecord;

use crate::plan::{Action, CombinePlan, Step};

/// The longest way through a run's steps, in milliseconds: each step starts once all that it needs have ended, and takes its
/// full duration. Steps that were not run take no time.
pub(crate) fn longest_way(steps: &[Step], records: &[StepRecord]) -> u32 {
    let taken = records
        .iter()
        .map(|record| (record.step.as_str(), record.full_duration_ms))
        .collect();
    list(steps, "", &taken)
}

fn list(steps: &[Step], prefix: &str, taken: &HashMap<&str, u32>) -> u32 {
    // what a step needs comes before it
    let mut ends: Vec<u32> = Vec::with_capacity(steps.len());
    for step in steps {
        let start = step.needs.iter().map(|need| ends[*need]).max().unwrap_or(0);
        ends.push(start.saturating_add(one(step, prefix, taken)));
    }
    ends.into_iter().max().unwrap_or(0)
}

fn one(step: &Step, prefix: &str, taken: &HashMap<&str, u32>) -> u32 {
    let name = format!("{prefix}{}", step.id);
    let Action::Sample(sample) = &step.action else {
        return taken.get(name.as_str()).copied().unwrap_or(0);
    };
    // the samples run side by side, and so do their checks
    let longest = |run: &dyn Fn(&str) -> u32| {
        (0..sample.n)
            .map(|index| run(&format!("{name}[{index}].")))
            .max()
            .unwrap_or(0)
    };
    let samples = longest(&|prefix| list(&sample.steps, prefix, taken));
    let combine = match &sample.combine {
        CombinePlan::Vote { .. } => 0,
        CombinePlan::BestBy { check } => longest(&|prefix| one(check, prefix, taken)),
        CombinePlan::Merge { step } => one(step, &format!("{name}."), taken),
    };
    samples.saturating_add(combine)
}
