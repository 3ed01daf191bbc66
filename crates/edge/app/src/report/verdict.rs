//! The report's first sentence: what came of the job, and how far that can be trusted.

use fapo_domain::model::job::JobStatus;
use fapo_domain::model::score::Comparison;

use super::data::{Outcome, ReportData, Versus};
use crate::output::format;

/// What a reader should take away, as one sentence.
pub fn verdict(data: &ReportData) -> String {
    match data.status {
        JobStatus::Failed => {
            return "The job could not finish; what it found so far is below.".to_owned();
        }
        JobStatus::Cancelled => {
            return "The job was cancelled; what it found so far is below.".to_owned();
        }
        JobStatus::Running if data.test.is_none() => {
            return "The job has not ended; these are its figures so far.".to_owned();
        }
        JobStatus::Running | JobStatus::Done => {}
    }
    if !data.improved() {
        let stands = data
            .test
            .as_ref()
            .map(|versus| ("the sealed test", versus))
            .or_else(|| data.val.as_ref().map(|versus| ("validation", versus)))
            .map_or_else(String::new, |(where_, versus)| {
                format!(
                    "; it scores {} on {where_}",
                    format::percent(versus.baseline.mean)
                )
            });
        let tried = data
            .candidates
            .iter()
            .any(|candidate| !matches!(candidate.outcome, Outcome::Baseline | Outcome::Refused));
        let found = if tried {
            "Nothing beat the baseline at the stated error rate"
        } else if data.candidates.len() > 1 {
            "Every proposal was refused before a case was run with it, so the baseline stands"
        } else {
            "No change was tried, so the baseline stands"
        };
        return format!("{found}{stands}.");
    }
    if let Some(test) = &data.test {
        return on_test(test, data.alpha);
    }
    data.val.as_ref().map_or_else(
        || "A better variant was found.".to_owned(),
        |val| {
            format!(
                "On validation the best variant scores {} against {} for the baseline; no sealed test was run, \
                 and a score that chose the winner flatters it.",
                format::percent(val.best.mean),
                format::percent(val.baseline.mean),
            )
        },
    )
}

fn on_test(test: &Versus, alpha: f64) -> String {
    let best = format::percent(test.best.mean);
    let base = format::percent(test.baseline.mean);
    let Some(comparison) = &test.comparison else {
        return format!(
            "On the sealed test the best variant scores {best} against {base} for the baseline."
        );
    };
    let gain = format!("{:.1}", comparison.gain * 100.0);
    if comparison.gain <= 0.0 {
        format!(
            "The gain seen on validation did not hold: on the sealed test the best variant scores {best} against \
             {base} for the baseline."
        )
    } else if comparison.p_value <= alpha {
        format!(
            "On the sealed test the best variant scores {best} against {base} for the baseline, a gain of {gain} \
             points."
        )
    } else {
        format!(
            "On the sealed test the best variant scores {best} against {base} for the baseline; a gain of {gain} \
             points could still be chance."
        )
    }
}

/// A comparison's figures in one line.
pub fn evidence(comparison: &Comparison) -> String {
    format!(
        "{} points ({:.0} % interval {}), {}, {} won and {} lost of {}",
        format::points(comparison.gain),
        comparison.confidence * 100.0,
        format::points_interval(comparison.interval.0, comparison.interval.1),
        format::p_value(comparison.p_value),
        comparison.wins,
        comparison.losses,
        format::counted(comparison.pairs, "pair"),
    )
}
