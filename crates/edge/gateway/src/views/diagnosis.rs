//! What an evaluation's failures say.

use fapo_domain::ids::{CaseId, StepId};
use fapo_domain::model::finding::{
    Attribution, CaseReading, Cluster, FailureKind, Finding, Points, ReaderSummary, Reading, Rule,
};
use fapo_domain::model::level::Level;
use fapo_domain::model::session::SessionId;
use schemars::JsonSchema;
use serde::Serialize;

use super::SpendView;

/// What an evaluation's failures say.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AttributionView {
    /// Counting cases.
    pub cases: u64,
    /// Cases below a full score.
    pub failures: u64,
    /// Cases without a result; they are no failures.
    pub missing: u64,
    /// The mean score.
    pub mean: f64,
    /// Patterns, most recoverable points first.
    pub clusters: Vec<ClusterView>,
    /// Points to be won at each level.
    pub ceilings: Vec<CeilingView>,
    /// How the reading of unclear failures went; `null` where the project has no reader.
    pub reader: Option<ReaderView>,
}

/// Failures with one pattern.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ClusterView {
    /// `rule@step`.
    pub id: String,
    /// For people.
    pub label: String,
    /// The step.
    pub step: StepId,
    /// The rule.
    pub rule: Rule,
    /// The level at which it can be mended.
    pub level: Level,
    /// How many failures.
    pub count: u64,
    /// At most five of them, those that lost most first.
    pub cases: Vec<CaseId>,
    /// Mean confidence of its findings.
    pub confidence: f64,
    /// Points to be won if all of it were mended.
    pub recoverable: PointsView,
    /// What to try.
    pub direction: String,
    /// A few readings of its failures.
    pub readings: Vec<CaseReadingView>,
}

/// Points of the mean score, with a 95 % interval.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PointsView {
    /// The estimate.
    pub estimate: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// What a level could win.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CeilingView {
    /// The level.
    pub level: Level,
    /// The points.
    pub points: PointsView,
}

/// How the reading of failures went.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ReaderView {
    /// Failures that the rules left unclear.
    pub unclear: u64,
    /// How many of them a model was asked about.
    pub asked: u64,
    /// Readings that were kept.
    pub kept: u64,
    /// Readings whose quote is not in the trace.
    pub discarded: u64,
    /// Replies that could not be read.
    pub unusable: u64,
    /// Why not all were asked about.
    pub note: Option<String>,
    /// What reading cost.
    pub spend: SpendView,
    /// The session that read, where a coding agent did.
    pub session: Option<SessionId>,
}

/// A reading, with its case.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CaseReadingView {
    /// The case.
    pub case_id: CaseId,
    /// What was read.
    pub reading: ReadingView,
}

/// What a model read in the trace of a failure.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ReadingView {
    /// What is missing.
    pub kind: FailureKind,
    /// The step it was seen at.
    pub step: StepId,
    /// Words of the trace that show it.
    pub quote: String,
    /// Why, in one line.
    pub explanation: String,
}

/// Why one case lost points.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FindingView {
    /// The case's place in the split.
    pub ordinal: u64,
    /// The case.
    pub case_id: CaseId,
    /// The step to blame.
    pub step: StepId,
    /// The rule that fired.
    pub rule: Rule,
    /// The level at which it can be mended.
    pub level: Level,
    /// From 0 to 1.
    pub confidence: f64,
    /// Points that this case lost, from 0 to 1.
    pub lost: f64,
    /// What was seen, in one line.
    pub detail: String,
    /// What a model read in the trace, where one was asked.
    pub reading: Option<ReadingView>,
}

impl From<Points> for PointsView {
    fn from(points: Points) -> Self {
        Self {
            estimate: points.estimate,
            low: points.low,
            high: points.high,
        }
    }
}

impl From<Reading> for ReadingView {
    fn from(reading: Reading) -> Self {
        Self {
            kind: reading.kind,
            step: reading.step,
            quote: reading.quote,
            explanation: reading.explanation,
        }
    }
}

impl From<CaseReading> for CaseReadingView {
    fn from(reading: CaseReading) -> Self {
        Self {
            case_id: reading.case,
            reading: reading.reading.into(),
        }
    }
}

impl From<Cluster> for ClusterView {
    fn from(cluster: Cluster) -> Self {
        Self {
            id: cluster.id,
            label: cluster.label,
            step: cluster.step,
            rule: cluster.rule,
            level: cluster.level,
            count: cluster.count,
            cases: cluster.cases,
            confidence: cluster.confidence,
            recoverable: cluster.recoverable.into(),
            direction: cluster.direction,
            readings: cluster.readings.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ReaderSummary> for ReaderView {
    fn from(reader: ReaderSummary) -> Self {
        Self {
            unclear: reader.unclear,
            asked: reader.asked,
            kept: reader.kept,
            discarded: reader.discarded,
            unusable: reader.unusable,
            note: reader.note,
            spend: reader.spend.into(),
            session: reader.session,
        }
    }
}

impl From<Attribution> for AttributionView {
    fn from(attribution: Attribution) -> Self {
        Self {
            cases: attribution.cases,
            failures: attribution.failures,
            missing: attribution.missing,
            mean: attribution.mean,
            clusters: attribution.clusters.into_iter().map(Into::into).collect(),
            ceilings: attribution
                .ceilings
                .into_iter()
                .map(|(level, points)| CeilingView {
                    level,
                    points: points.into(),
                })
                .collect(),
            reader: attribution.reader.map(Into::into),
        }
    }
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            ordinal: finding.ordinal,
            case_id: finding.case_id,
            step: finding.step,
            rule: finding.rule,
            level: finding.level,
            confidence: finding.confidence,
            lost: finding.lost,
            detail: finding.detail,
            reading: finding.reading.map(Into::into),
        }
    }
}
