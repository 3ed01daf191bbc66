//! Scores and comparisons.

use fapo_domain::CaseId;
use fapo_domain::model::score::{CaseScore, Comparison};
use fapo_proto::common::v1 as pb;

use super::{Enumerated, evaluation_id, one_of};
use crate::read::{self, Read};

pub(crate) fn wire_score(score: CaseScore) -> pb::Score {
    pb::Score {
        evaluation_id: score.evaluation.to_string(),
        ordinal: score.ordinal,
        case_id: score.case_id.to_string(),
        status: score.status.wire(),
        score: score.score,
        breakdown: score.breakdown,
        feedback: score.feedback,
        scorer_hash: score.scorer.to_string(),
    }
}

pub(crate) fn score(message: pb::Score) -> Read<CaseScore> {
    Ok(CaseScore {
        evaluation: evaluation_id(&message.evaluation_id, "evaluation_id")?,
        ordinal: message.ordinal,
        case_id: CaseId::new(read::named(message.case_id, "case_id")?),
        status: one_of(message.status, "status")?,
        score: read::share(message.score, "score")?,
        breakdown: message.breakdown,
        feedback: message.feedback,
        scorer: read::hash(&message.scorer_hash, "scorer_hash")?,
    })
}

pub(crate) fn wire_comparison(comparison: Comparison) -> pb::Comparison {
    let names = |cases: Vec<CaseId>| cases.iter().map(CaseId::to_string).collect();
    pb::Comparison {
        pairs: comparison.pairs,
        expected_pairs: comparison.expected_pairs,
        mean_a: comparison.mean_a,
        mean_b: comparison.mean_b,
        gain: comparison.gain,
        interval_low: comparison.interval.0,
        interval_high: comparison.interval.1,
        confidence: comparison.confidence,
        p_value: comparison.p_value,
        wins: comparison.wins,
        losses: comparison.losses,
        resamples: comparison.resamples,
        protected_regressions: names(comparison.protected_regressions),
        protected_missing: names(comparison.protected_missing),
        cost_ratio: comparison.cost_ratio,
        latency_p95_seconds: comparison.latency_p95_s,
    }
}

pub(crate) fn comparison(message: pb::Comparison) -> Comparison {
    let cases = |names: Vec<String>| names.iter().map(CaseId::new).collect();
    Comparison {
        pairs: message.pairs,
        expected_pairs: message.expected_pairs,
        mean_a: message.mean_a,
        mean_b: message.mean_b,
        gain: message.gain,
        interval: (message.interval_low, message.interval_high),
        confidence: message.confidence,
        p_value: message.p_value,
        wins: message.wins,
        losses: message.losses,
        resamples: message.resamples,
        protected_regressions: cases(message.protected_regressions),
        protected_missing: cases(message.protected_missing),
        cost_ratio: message.cost_ratio,
        latency_p95_s: message.latency_p95_seconds,
    }
}
