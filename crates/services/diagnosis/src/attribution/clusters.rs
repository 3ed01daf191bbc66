//! From findings to clusters, recoverable points and ceilings, in one pass and bounded memory.
//!
//! Formulas, over `n` counting cases (cases with a result, right or wrong):
//!
//! * recoverable points of a cluster: the sum of the points its cases lost, divided by `n`; the interval is Wilson's
//!   score interval for that share (Wilson 1927) at 95 %. Lost points lie in `[0, 1]`, so treating them as a share of
//!   cases never makes the interval too narrow.
//! * ceiling of a level: the same over all findings at that level. A finding whose confidence `c` is below one half is
//!   more likely wrong than right about its level: `0.5 - c` of its lost points are credited to each deeper level too.
//! * where a model read some of a cluster's unclear findings, chosen at random, those that it did not read are taken to be
//!   like them: their lost points go to the levels in the readings' shares, once there are [`ENOUGH_READ`] readings.

use std::collections::BTreeMap;

use fapo_domain::model::finding::{
    Attribution, CaseReading, Cluster, FailureKind, Finding, Points, ReaderSummary, Rule,
};
use fapo_domain::model::level::Level;
use fapo_domain::model::score::CaseScore;
use fapo_domain::wilson::wilson;
use fapo_domain::{CaseId, StepId};

use super::words::{direction, label, read_as, read_direction};

/// Of the intervals.
const CONFIDENCE: f64 = 0.95;
/// Cases named per cluster.
const SHOWN_CASES: usize = 5;
/// A rule that is less sure than this leaves a failure unclear.
const UNCLEAR_BELOW: f64 = 0.6;
/// Readings that a cluster shows.
const SHOWN_READINGS: usize = 3;
/// Readings of a cluster from which on its unread findings are taken to be like them.
pub const ENOUGH_READ: u64 = 5;
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
    levels: BTreeMap<Level, f64>,
    // of findings that the rules leave unclear and nobody read: how many, what they lost, and where that would go
    unread: u64,
    unread_lost: f64,
    unread_levels: BTreeMap<Level, f64>,
    unread_ceilings: BTreeMap<Level, f64>,
    // of findings that were read
    read: u64,
    read_levels: BTreeMap<Level, u64>,
    kinds: BTreeMap<FailureKind, u64>,
    steps: BTreeMap<(FailureKind, StepId), u64>,
    readings: Vec<CaseReading>,
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
        let unread = finding.reading.is_none() && is_unclear(&finding);
        let (levels, ceilings) = if unread {
            sums.unread += 1;
            sums.unread_lost += finding.lost;
            (&mut sums.unread_levels, &mut sums.unread_ceilings)
        } else {
            (&mut sums.levels, &mut self.ceilings)
        };
        *levels.entry(finding.level).or_default() += 1.0;
        for level in Level::ALL {
            let share = if level == finding.level {
                1.0
            } else if level > finding.level {
                (0.5 - finding.confidence).max(0.0)
            } else {
                0.0
            };
            if share > 0.0 {
                *ceilings.entry(level).or_default() += share * finding.lost;
            }
        }
        if let Some(reading) = &finding.reading {
            sums.read += 1;
            *sums.read_levels.entry(finding.level).or_default() += 1;
            *sums.kinds.entry(reading.kind).or_default() += 1;
            let at = (reading.kind, reading.step.clone());
            *sums.steps.entry(at).or_default() += 1;
            if sums.readings.len() < SHOWN_READINGS {
                sums.readings.push(CaseReading {
                    case: finding.case_id.clone(),
                    reading: reading.clone(),
                });
            }
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// The attribution, its clusters ordered by recoverable points (then by id), and the findings that were kept.
    pub fn finish(mut self, reader: Option<ReaderSummary>) -> (Vec<Finding>, Attribution) {
        let n = self.counting;
        for sums in self.clusters.values_mut() {
            sums.settle(&mut self.ceilings);
        }
        // what was read came last
        self.findings.sort_by_key(|finding| finding.ordinal);
        let mut clusters: Vec<Cluster> = self
            .clusters
            .into_iter()
            .map(|((rule, step), sums)| {
                let level = usual_level(&sums.levels);
                let direction = sums
                    .read_direction()
                    .unwrap_or_else(|| direction(rule, level, &step));
                Cluster {
                    id: format!("{}@{step}", rule.name()),
                    label: format!("{}{}", label(rule, &step), read_as(&sums.kinds)),
                    rule,
                    level,
                    count: sums.count,
                    cases: sums.worst.into_iter().map(|(_, _, case)| case).collect(),
                    confidence: sums.confidence / sums.count.max(1) as f64,
                    recoverable: points(sums.lost, n),
                    direction,
                    readings: sums.readings,
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
            reader,
        };
        (self.findings, attribution)
    }
}

impl Sums {
    /// Puts the unread findings where they belong: like those that were read, where enough were, else where their rule says.
    fn settle(&mut self, ceilings: &mut BTreeMap<Level, f64>) {
        let enough = self.read >= ENOUGH_READ;
        let shares: Vec<(Level, f64)> = self
            .read_levels
            .iter()
            .filter(|_| enough)
            .map(|(level, count)| (*level, *count as f64 / self.read as f64))
            .collect();
        for (level, share) in &shares {
            *self.levels.entry(*level).or_default() += share * self.unread as f64;
            *ceilings.entry(*level).or_default() += share * self.unread_lost;
        }
        if !enough {
            for (level, count) in &self.unread_levels {
                *self.levels.entry(*level).or_default() += count;
            }
            for (level, lost) in &self.unread_ceilings {
                *ceilings.entry(*level).or_default() += lost;
            }
        }
    }

    /// What to try, where more than half of the readings are of one kind.
    fn read_direction(&self) -> Option<String> {
        let (kind, _) = self
            .kinds
            .iter()
            .find(|(_, count)| **count * 2 > self.read)?;
        let at = self.steps.iter().filter(|((of, _), _)| of == kind);
        let ((_, step), _) = at.max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)))?;
        read_direction(*kind, step)
    }
}

/// Whether the rules leave open why a case failed: a model may read it.
pub fn is_unclear(finding: &Finding) -> bool {
    let open = matches!(
        finding.rule,
        Rule::WrongAnswer | Rule::RetrievalLowOverlap | Rule::Abstained
    );
    open || finding.confidence < UNCLEAR_BELOW
}

/// The level of most findings; the deeper one among equals.
fn usual_level(levels: &BTreeMap<Level, f64>) -> Level {
    levels
        .iter()
        .max_by(|a, b| a.1.total_cmp(b.1).then_with(|| a.0.cmp(b.0)))
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

#[cfg(test)]
mod tests {
    use fapo_domain::EvaluationId;
    use fapo_domain::hash::ContentHash;
    use fapo_domain::model::finding::Reading;
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
            reading: None,
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
        let (findings, attribution) = attributor.finish(None);
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
        let (_, attribution) = attributor.finish(None);
        assert!((attribution.ceilings[&Level::Prompt].estimate - 1.0).abs() < 1e-12);
        assert!((attribution.ceilings[&Level::Structure].estimate - 0.2).abs() < 1e-9);
    }

    #[test]
    fn unread_failures_are_taken_to_be_like_those_that_were_read() {
        let attribution = |kinds: &[FailureKind]| {
            let mut attributor = Attributor::new();
            for ordinal in 0..40 {
                attributor.count(&score(ordinal, ScoreStatus::Scored, 0.0), 1.0);
            }
            for ordinal in 0..40u64 {
                let mut finding = finding(ordinal, Rule::WrongAnswer, "answer", Level::Prompt, 1.0);
                if let Some(kind) = kinds.get(ordinal as usize) {
                    crate::attribution::reader::apply(
                        &mut finding,
                        Reading {
                            kind: *kind,
                            step: StepId::new("hop"),
                            quote: "q".to_owned(),
                            explanation: "e".to_owned(),
                        },
                    );
                }
                attributor.add(finding);
            }
            attributor.finish(None).1
        };
        let four = [FailureKind::Knowledge; 4];
        let few = attribution(&four);
        // a few say nothing of the others
        assert_eq!(few.clusters[0].level, Level::Prompt);
        assert!((few.ceilings[&Level::Prompt].estimate - 0.9).abs() < 1e-9);
        let mut ten = [FailureKind::Knowledge; 10];
        ten[..2].fill(FailureKind::Reasoning);
        let many = attribution(&ten);
        let cluster = &many.clusters[0];
        assert_eq!(cluster.level, Level::Structure);
        assert!((many.ceilings[&Level::Structure].estimate - 0.8).abs() < 1e-9);
        assert!((many.ceilings[&Level::Prompt].estimate - 0.2).abs() < 1e-9);
        assert_eq!(
            cluster.label,
            "wrong answer at answer (read: 8 knowledge, 2 reasoning)"
        );
        assert!(
            cluster
                .direction
                .starts_with("bring what is missing to hop")
        );
        assert_eq!(cluster.readings.len(), SHOWN_READINGS);
    }

    #[test]
    fn findings_beyond_the_cap_still_count() {
        let mut attributor = Attributor::new();
        let total = MAX_FINDINGS as u64 + 7;
        for ordinal in 0..total {
            attributor.count(&score(ordinal, ScoreStatus::Failed, 0.0), 1.0);
            attributor.add(finding(ordinal, Rule::StepFailed, "s", Level::Prompt, 1.0));
        }
        let (findings, attribution) = attributor.finish(None);
        assert_eq!(findings.len(), MAX_FINDINGS);
        assert_eq!(attribution.clusters[0].count, total);
        assert!((attribution.clusters[0].recoverable.estimate - 1.0).abs() < 1e-12);
    }
}
