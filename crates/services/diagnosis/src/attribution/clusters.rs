//! From findings to clusters, recoverable points and ceilings, in one pass and bounded memory.
//!
//! Formulas, over `n` counting cases (cases with a result, right or wrong):
//!
//! * recoverable points of a cluster: the sum of the points its cases lost, divided by `n`; the interval is Wilson's
//!   score interval for that share (Wilson 1927) at 95 %. Lost points lie in `[0, 1]`, so treating them as a share of
//!   cases never makes the interval too narrow.
//! * ceiling of a level: the same over all findings at that level. A finding whose confidence `c` is below one half is
//!   more likely wrong than right about its level: `0.5 - c` of its lost points are credited to each deeper level too.

use std::collections::BTreeMap;

use fapo_domain::model::finding::{Attribution, Cluster, Finding, Points, Rule};
use fapo_domain::model::level::Level;
use fapo_domain::model::score::CaseScore;
use fapo_domain::wilson::wilson;
use fapo_domain::{CaseId, StepId};

/// Of the intervals.
const CONFIDENCE: f64 = 0.95;
/// Cases named per cluster.
const SHOWN_CASES: usize = 5;
/// Findings kept with their words. Sums go on beyond it, so that memory stays bounded for any number of failures.
pub const MAX_FINDINGS: usize = 10_000;

/// Collects scores and findings; [`Attributor::finish`] makes the attribution.
#[derive(Debug, Default)]
pub struct Attributor {
    counting: u64,
    missing: u64,
    failures: u64,
    sum: f64,
    clusters: BTreeMap<(Rule, StepId), Sums>,
    ceilings: BTreeMap<Level, f64>,
    findings: Vec<Finding>,
}

#[derive(Debug, Default)]
struct Sums {
    count: u64,
    lost: f64,
    confidence: f64,
    levels: BTreeMap<Level, u64>,
    // those that lost most, the earliest first among equals
    worst: Vec<(f64, u64, CaseId)>,
}

impl Attributor {
    /// None seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a case's score.
    pub fn count(&mut self, score: &CaseScore, failure_below: f64) {
        if !score.status.counts() {
            self.missing += 1;
            return;
        }
        self.counting += 1;
        self.sum += score.score;
        if score.score < failure_below {
            self.failures += 1;
        }
    }

    /// Adds a failed case's finding.
    pub fn add(&mut self, finding: Finding) {
        let sums = self
            .clusters
            .entry((finding.rule, finding.step.clone()))
            .or_default();
        sums.count += 1;
        sums.lost += finding.lost;
        sums.confidence += finding.confidence;
        *sums.levels.entry(finding.level).or_default() += 1;
        let place = sums.worst.partition_point(|(lost, ordinal, _)| {
            *lost > finding.lost || (*lost == finding.lost && *ordinal < finding.ordinal)
        });
        if place < SHOWN_CASES {
            sums.worst.insert(
                place,
                (finding.lost, finding.ordinal, finding.case_id.clone()),
            );
            sums.worst.truncate(SHOWN_CASES);
        }
        for level in Level::ALL {
            let share = if level == finding.level {
                1.0
            } else if level > finding.level {
                (0.5 - finding.confidence).max(0.0)
            } else {
                0.0
            };
            if share > 0.0 {
                *self.ceilings.entry(level).or_default() += share * finding.lost;
            }
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// The attribution, its clusters ordered by recoverable points (then by id), and the findings that were kept.
    pub fn finish(self) -> (Vec<Finding>, Attribution) {
        let n = self.counting;
        let mut clusters: Vec<Cluster> = self
            .clusters
            .into_iter()
            .map(|((rule, step), sums)| {
                let level = usual_level(&sums.levels);
                Cluster {
                    id: format!("{}@{step}", rule.name()),
                    label: label(rule, &step),
                    rule,
                    level,
                    count: sums.count,
                    cases: sums.worst.into_iter().map(|(_, _, case)| case).collect(),
                    confidence: sums.confidence / sums.count.max(1) as f64,
                    recoverable: points(sums.lost, n),
                    direction: direction(rule, level, &step),
                    step,
                }
            })
            .collect();
        clusters.sort_by(|a, b| {
            b.recoverable
                .estimate
                .total_cmp(&a.recoverable.estimate)
                .then_with(|| a.id.cmp(&b.id))
        });
        let attribution = Attribution {
            cases: n,
            failures: self.failures,
            missing: self.missing,
            mean: if n == 0 { 0.0 } else { self.sum / n as f64 },
            clusters,
            ceilings: self
                .ceilings
                .into_iter()
                .map(|(level, lost)| (level, points(lost, n)))
                .collect(),
        };
        (self.findings, attribution)
    }
}

/// The level of most findings; the deeper one among equals.
fn usual_level(levels: &BTreeMap<Level, u64>) -> Level {
    levels
        .iter()
        .max_by_key(|(level, count)| (**count, **level))
        .map_or(Level::Prompt, |(level, _)| *level)
}

/// Points lost per case with Wilson's 95 % interval.
pub fn points(lost: f64, cases: u64) -> Points {
    if cases == 0 {
        return Points::default();
    }
    let (low, high) = wilson(lost, cases, CONFIDENCE);
    Points {
        estimate: (lost / cases as f64).clamp(0.0, 1.0),
        low,
        high,
    }
}

/// The cluster's name for people.
fn label(rule: Rule, step: &StepId) -> String {
    let what = match rule {
        Rule::CutOffOutput => "output cut off",
        Rule::StepFailed => "step failed",
        Rule::CapHit => "case limit hit",
        Rule::EmptyStep => "empty output",
        Rule::Refusal => "model declined",
        Rule::RetrievalTooShallow => "gold document ranked below the last one taken",
        Rule::RetrievalPartial => "only part of the gold documents found",
        Rule::RetrievalMiss => "no gold document found",
        Rule::RetrievalLowOverlap => "retrieved text shares little with the query",
        Rule::AnswerBuried => "right answer inside a longer output",
        Rule::AnswerForm => "right answer in the wrong form",
        Rule::Abstained => "said that the answer is unknown",
        Rule::WrongAnswer => "wrong answer",
    };
    format!("{what} at {step}")
}

/// What to try for a pattern.
fn direction(rule: Rule, level: Level, step: &StepId) -> String {
    match (rule, level) {
        (Rule::CutOffOutput, Level::Prompt) => {
            format!(
                "ask {step} for a shorter reply; its token limit is at the end of the allowed range"
            )
        }
        (Rule::CutOffOutput, _) => format!("raise max_tokens of {step}"),
        (Rule::StepFailed, Level::Prompt) => format!("say exactly what form {step} must reply in"),
        (Rule::StepFailed, _) => format!("mend the template or wiring of {step}"),
        (Rule::CapHit, Level::Structure) => format!("make fewer model calls around {step}"),
        (Rule::CapHit, _) => format!("lower k, n or max_tokens of {step}"),
        (Rule::EmptyStep, Level::Prompt) => format!("tell {step} that it must always reply"),
        (Rule::EmptyStep, _) => format!("mend what {step} takes from the steps before it"),
        (Rule::Refusal, _) => format!("tell {step} what the task is for and that it is harmless"),
        (Rule::RetrievalTooShallow, _) => format!("raise k of {step}"),
        (
            Rule::RetrievalPartial | Rule::RetrievalMiss | Rule::RetrievalLowOverlap,
            Level::Prompt,
        ) => format!("let the step that writes the query of {step} ask for what is still missing"),
        (Rule::RetrievalPartial, _) => {
            format!("retrieve again after {step}, with a query written from what it found")
        }
        (Rule::RetrievalMiss | Rule::RetrievalLowOverlap, _) => {
            format!("ask {step} several questions, or write its query by a model")
        }
        (Rule::AnswerBuried, _) => format!("let {step} reply with only the answer"),
        (Rule::AnswerForm, _) => format!("say exactly how {step} must write the answer"),
        (Rule::Abstained, _) => format!("let {step} always commit to its best answer"),
        (Rule::WrongAnswer, Level::Structure) => format!("change what surrounds {step}"),
        (Rule::WrongAnswer, _) => format!("make the instructions of {step} clearer"),
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::EvaluationId;
    use fapo_domain::hash::ContentHash;
    use fapo_domain::model::score::ScoreStatus;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::score;

    fn finding(ordinal: u64, rule: Rule, step: &str, level: Level, lost: f64) -> Finding {
        Finding {
            evaluation: EvaluationId(ContentHash::of(b"e")),
            ordinal,
            case_id: CaseId::new(format!("c{ordinal}")),
            step: StepId::new(step),
            rule,
            level,
            confidence: if rule == Rule::WrongAnswer { 0.3 } else { 0.9 },
            lost,
            detail: String::new(),
        }
    }

    #[test]
    fn points_match_wilsons_interval() {
        // 10 of 100: the textbook interval is 5.5 % to 17.4 %
        let points = points(10.0, 100);
        assert!((points.low - 0.0552).abs() < 5e-4, "{points:?}");
        assert!((points.high - 0.1744).abs() < 5e-4, "{points:?}");
        assert_eq!(super::points(1.0, 0), Points::default());
    }

    proptest! {
        #[test]
        fn intervals_hold_their_estimate(lost in 0.0f64..50.0, extra in 0u64..100) {
            let cases = lost.ceil() as u64 + extra;
            let points = points(lost, cases);
            prop_assert!(0.0 <= points.low && points.low <= points.estimate);
            prop_assert!(points.estimate <= points.high && points.high <= 1.0);
        }
    }

    #[test]
    fn clusters_are_ordered_by_what_they_cost_and_name_the_worst_cases() {
        let mut attributor = Attributor::new();
        for ordinal in 0..20 {
            let lost = if ordinal < 12 { 1.0 } else { 0.0 };
            attributor.count(&score(ordinal, ScoreStatus::Scored, 1.0 - lost), 1.0);
        }
        attributor.count(&score(20, ScoreStatus::Missing, 0.0), 1.0);
        for ordinal in 0..8 {
            let lost = if ordinal == 6 { 1.0 } else { 0.5 };
            attributor.add(finding(
                ordinal,
                Rule::AnswerBuried,
                "answer",
                Level::Prompt,
                lost,
            ));
        }
        for ordinal in 8..12 {
            attributor.add(finding(
                ordinal,
                Rule::RetrievalMiss,
                "hop",
                Level::Structure,
                1.0,
            ));
        }
        let (findings, attribution) = attributor.finish();
        assert_eq!(findings.len(), 12);
        assert_eq!(
            (attribution.cases, attribution.failures, attribution.missing),
            (20, 12, 1)
        );
        assert!((attribution.mean - 0.4).abs() < 1e-12);
        let ids: Vec<&str> = attribution.clusters.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["answer_buried@answer", "retrieval_miss@hop"]);
        let cases: Vec<&str> = attribution.clusters[0]
            .cases
            .iter()
            .map(CaseId::as_str)
            .collect();
        assert_eq!(cases, ["c6", "c0", "c1", "c2", "c3"]);
        assert!((attribution.clusters[0].recoverable.estimate - 0.225).abs() < 1e-12);
        assert!((attribution.ceilings[&Level::Structure].estimate - 0.2).abs() < 1e-12);
        assert!(!attribution.ceilings.contains_key(&Level::Parameter));
    }

    #[test]
    fn doubtful_findings_leave_something_to_the_deeper_levels() {
        let mut attributor = Attributor::new();
        for ordinal in 0..10 {
            attributor.count(&score(ordinal, ScoreStatus::Scored, 0.0), 1.0);
            attributor.add(finding(
                ordinal,
                Rule::WrongAnswer,
                "answer",
                Level::Prompt,
                1.0,
            ));
        }
        let (_, attribution) = attributor.finish();
        assert!((attribution.ceilings[&Level::Prompt].estimate - 1.0).abs() < 1e-12);
        assert!((attribution.ceilings[&Level::Structure].estimate - 0.2).abs() < 1e-9);
    }

    #[test]
    fn findings_beyond_the_cap_still_count() {
        let mut attributor = Attributor::new();
        let total = MAX_FINDINGS as u64 + 7;
        for ordinal in 0..total {
            attributor.count(&score(ordinal, ScoreStatus::Failed, 0.0), 1.0);
            attributor.add(finding(ordinal, Rule::StepFailed, "s", Level::Prompt, 1.0));
        }
        let (findings, attribution) = attributor.finish();
        assert_eq!(findings.len(), MAX_FINDINGS);
        assert_eq!(attribution.clusters[0].count, total);
        assert!((attribution.clusters[0].recoverable.estimate - 1.0).abs() < 1e-12);
    }
}
