//! The strategy ladder: how proposers are told to go about it while nothing is promoted.
//!
//! | rung | strategy |
//! |---|---|
//! | 1 | as it likes |
//! | 2 | by a technique that was not tried on the incumbent |
//! | 3 and on | by one step alone: of those with failures that the open level can mend, the one with most points first |
//! | then | by taking something away, once |
//! | then | by another technique again |
//!
//! A rung is an iteration without a promotion; a promotion, and the opening of a level, begin at the bottom. The ladder
//! guides and does not decide: when a level is left stands in [`crate::levels`].

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::StepId;
use fapo_domain::model::finding::{Attribution, Cluster};
use fapo_domain::model::level::{Level, Strategy};

use crate::engine::Engine;
use crate::levels::Levels;

impl Engine<'_> {
    /// A strategy and a cluster for each slot; no cluster goes to two slots while there are others.
    pub fn approaches(
        &self,
        attribution: &Attribution,
        level: Level,
        slots: usize,
    ) -> Vec<(Strategy, Option<Cluster>)> {
        let ranked = self.choose_clusters(attribution, level, usize::MAX);
        let mut used: BTreeSet<&str> = BTreeSet::new();
        strategies(&self.out.state.levels, attribution, level, slots)
            .into_iter()
            .map(|strategy| {
                let free = |cluster: &&Cluster| !used.contains(cluster.id.as_str());
                let fits = |cluster: &&Cluster| match &strategy {
                    Strategy::IsolateStep { step } => cluster.step == *step,
                    Strategy::Free | Strategy::OtherTechnique { .. } | Strategy::Ablation => true,
                };
                let cluster = ranked
                    .iter()
                    .filter(free)
                    .find(fits)
                    .or_else(|| ranked.iter().find(free));
                used.extend(cluster.map(|cluster| cluster.id.as_str()));
                (strategy, cluster.cloned())
            })
            .collect()
    }
}

/// The strategy of each slot of the next iteration.
fn strategies(
    levels: &Levels,
    attribution: &Attribution,
    level: Level,
    slots: usize,
) -> Vec<Strategy> {
    let other = || {
        if levels.techniques.is_empty() {
            Strategy::Free
        } else {
            Strategy::OtherTechnique {
                avoid: levels.techniques.iter().copied().collect(),
            }
        }
    };
    match levels.rungs {
        0 => vec![Strategy::Free; slots],
        1 => vec![other(); slots],
        _ => {
            let steps = steps_by_points(attribution, level)
                .into_iter()
                .filter(|step| !levels.isolated.contains(step))
                .map(|step| Strategy::IsolateStep { step });
            let ablation = (!levels.ablated).then_some(Strategy::Ablation);
            steps
                .chain(ablation)
                .chain(std::iter::repeat_with(other))
                .take(slots)
                .collect()
        }
    }
}

/// The steps with failures that `level` can mend, by the points to be won there, then by name.
fn steps_by_points(attribution: &Attribution, level: Level) -> Vec<StepId> {
    let mut points: BTreeMap<&StepId, f64> = BTreeMap::new();
    for cluster in &attribution.clusters {
        if cluster.level <= level {
            *points.entry(&cluster.step).or_default() += cluster.recoverable.estimate;
        }
    }
    let mut steps: Vec<(&StepId, f64)> = points.into_iter().collect();
    steps.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    steps.into_iter().map(|(step, _)| step.clone()).collect()
}

#[cfg(test)]
mod tests {
    use fapo_domain::model::finding::{Points, Rule};
    use fapo_domain::model::level::Technique;

    use super::*;

    fn attribution() -> Attribution {
        let cluster = |step: &str, level, estimate| Cluster {
            id: format!("wrong_answer@{step}"),
            label: String::new(),
            step: step.into(),
            rule: Rule::WrongAnswer,
            level,
            count: 1,
            cases: Vec::new(),
            confidence: 0.5,
            recoverable: Points {
                estimate,
                low: 0.0,
                high: 1.0,
            },
            direction: String::new(),
            readings: Vec::new(),
        };
        Attribution {
            clusters: vec![
                cluster("hop", Level::Structure, 0.5),
                cluster("answer", Level::Prompt, 0.2),
                cluster("notes", Level::Prompt, 0.1),
            ],
            ..Attribution::default()
        }
    }

    fn next(levels: &Levels, slots: usize) -> Vec<Strategy> {
        strategies(levels, &attribution(), Level::Prompt, slots)
    }

    #[test]
    fn the_ladder_goes_from_free_over_other_techniques_and_single_steps_to_ablation() {
        let mut levels = Levels::default();
        assert_eq!(next(&levels, 1), [Strategy::Free]);
        levels.techniques.insert(Technique::Role);
        levels.rungs = 1;
        let other = Strategy::OtherTechnique {
            avoid: vec![Technique::Role],
        };
        assert_eq!(next(&levels, 2), [other.clone(), other.clone()]);
        levels.rungs = 2;
        let alone = |step: &str| Strategy::IsolateStep { step: step.into() };
        assert_eq!(next(&levels, 1), [alone("answer")]);
        // what lies deeper than the open level is not worked at alone
        let all = [
            alone("answer"),
            alone("notes"),
            Strategy::Ablation,
            other.clone(),
        ];
        assert_eq!(next(&levels, 4), all);
        levels.isolated.extend(["answer".into(), "notes".into()]);
        assert_eq!(next(&levels, 1), [Strategy::Ablation]);
        levels.ablated = true;
        assert_eq!(next(&levels, 1), [other]);
    }
}
