//! An evaluation's figures.

use std::collections::BTreeMap;

use fapo_domain::EvaluationId;
use fapo_domain::model::job::Job;
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::ports::traces::StepsOf;
use fapo_policy::Measurement;
use serde::Serialize;

use super::failures::{Failure, Worst};
use crate::output::format;
use crate::output::style::{Style, printable};
use crate::ports::Ports;
use crate::report::assemble::score;

/// Rows per read.
const PAGE: u32 = 1000;

/// What `fapo eval` says.
#[derive(Debug, Serialize)]
pub struct EvalResult {
    /// The job.
    pub job: String,
    /// The variant.
    pub variant: String,
    /// The split.
    pub split: &'static str,
    /// The sample index.
    pub sample: u32,
    /// The maximized metric.
    pub metric: String,
    /// Its mean over counting cases.
    pub mean: Option<f64>,
    /// Ends of its 95 % interval over cases (Wilson).
    pub interval: (f64, f64),
    /// Cases in all.
    pub cases: u64,
    /// Cases that count.
    pub counted: u64,
    /// Cases per status.
    pub statuses: BTreeMap<&'static str, u64>,
    /// Every metric.
    pub metrics: BTreeMap<String, f64>,
    /// Dollars spent now.
    pub usd: f64,
    /// Model calls made now.
    pub model_calls: u64,
    /// Input tokens of these calls.
    pub input_tokens: u64,
    /// Output tokens of these calls.
    pub output_tokens: u64,
    /// Dollars it would have cost without the cache.
    pub full_usd: f64,
    /// Cases of which at least one step was answered from the cache.
    pub cases_with_cache_hits: u64,
    /// Seconds from submission to end.
    pub seconds: f64,
    /// Median seconds of a case without cache hits.
    pub case_seconds_p50: Option<f64>,
    /// 95th percentile.
    pub case_seconds_p95: Option<f64>,
    /// Why results are missing, by the first that is.
    pub missing_because: Option<String>,
    /// The worst cases.
    pub failures: Vec<Failure>,
}

impl EvalResult {
    /// Reads the evaluation's rows, page by page.
    pub async fn gather(
        ports: &Ports,
        job: &Job,
        measured: &Measurement,
        show: usize,
    ) -> anyhow::Result<Self> {
        let evaluation = measured.evaluation.id();
        let mut worst = Worst::new(show);
        let mut times: Vec<u32> = Vec::new();
        let mut cached = 0;
        let mut missing = None;
        let mut from = 0;
        loop {
            let page = ports.scores.scores(evaluation, from, PAGE).await?;
            let Some(last) = page.last() else { break };
            from = last.score.ordinal + 1;
            for case in page {
                if case.score.status == ScoreStatus::Missing {
                    missing = missing.or(Some(case.score.ordinal));
                    continue;
                }
                match case.uncached_ms {
                    Some(ms) => times.push(ms),
                    None => cached += 1,
                }
                worst.offer(case.score);
            }
        }
        times.sort_unstable();
        let summary = &measured.summary;
        let shown = score(summary);
        let statuses = [
            ScoreStatus::Scored,
            ScoreStatus::Failed,
            ScoreStatus::Missing,
            ScoreStatus::Refused,
            ScoreStatus::TimedOut,
        ]
        .into_iter()
        .filter(|status| summary.count(*status) > 0)
        .map(|status| (status.as_str(), summary.count(status)))
        .collect();
        Ok(Self {
            job: job.id.to_string(),
            variant: measured.evaluation.variant.to_string(),
            split: measured.evaluation.split.as_str(),
            sample: measured.evaluation.sample,
            metric: job.spec.project.maximized(),
            mean: summary.mean(),
            interval: (shown.low, shown.high),
            cases: summary.total(),
            counted: summary.counted(),
            statuses,
            metrics: shown.metrics,
            usd: summary.spend.cost.usd(),
            model_calls: summary.spend.model_calls,
            input_tokens: summary.spend.usage.input_tokens,
            output_tokens: summary.spend.usage.output_tokens,
            full_usd: summary.full_spend.cost.usd(),
            cases_with_cache_hits: cached,
            seconds: job.updated_at.since(job.created_at).as_secs_f64(),
            case_seconds_p50: percentile(&times, 0.5),
            case_seconds_p95: percentile(&times, 0.95),
            missing_because: match missing {
                Some(ordinal) => why_missing(ports, evaluation, ordinal).await?,
                None => None,
            },
            failures: worst.describe(ports, &measured.evaluation).await?,
        })
    }

    /// For a terminal.
    pub fn text(&self, style: Style) -> String {
        let mean = self
            .mean
            .map_or_else(|| "no result".to_owned(), format::percent);
        let mut lines = vec![format!(
            "{} {} on {}: {}, {}",
            style.bold(&mean),
            self.metric,
            self.split,
            format::percent_interval(self.interval.0, self.interval.1),
            format::counted(self.counted, "case"),
        )];
        for (name, value) in &self.metrics {
            if *name != self.metric {
                lines.push(format!("{:>7} {name}", format::percent(*value)));
            }
        }
        if self.statuses.len() > 1 || !self.statuses.contains_key("scored") {
            let counts = self
                .statuses
                .iter()
                .map(|(status, count)| format!("{status} {}", format::count(*count)))
                .collect::<Vec<_>>();
            lines.push(counts.join(", "));
        }
        lines.push(self.costs());
        if !self.failures.is_empty() {
            lines.push(String::new());
            lines.push(format!("worst {}:", self.failures.len()));
            for failure in &self.failures {
                lines.extend(failure.lines(style));
            }
        }
        lines.join("\n")
    }

    fn costs(&self) -> String {
        let money = |usd: f64| fapo_domain::MicroUsd::from_usd(usd).to_string();
        let mut parts = vec![format!(
            "{} in {}",
            money(self.usd),
            format::counted(self.model_calls, "model call")
        )];
        if self.cases_with_cache_hits > 0 {
            parts.push(format!(
                "{} answered from the cache in part ({} without it)",
                format::counted(self.cases_with_cache_hits, "case"),
                money(self.full_usd)
            ));
        }
        parts.push(format!("took {}", seconds(self.seconds)));
        if let (Some(p50), Some(p95)) = (self.case_seconds_p50, self.case_seconds_p95) {
            parts.push(format!("a case p50 {}, p95 {}", seconds(p50), seconds(p95)));
        }
        parts.join("; ")
    }
}

/// What the run of a case without a result says: the step's error, else the class of the failure.
async fn why_missing(
    ports: &Ports,
    evaluation: EvaluationId,
    ordinal: u64,
) -> anyhow::Result<Option<String>> {
    let runs = ports
        .traces
        .runs(evaluation, &[ordinal], StepsOf::All)
        .await?;
    Ok(runs.into_iter().next().and_then(|run| {
        run.steps
            .into_iter()
            .find_map(|step| step.error)
            .or(run.reason)
    }))
}

fn seconds(value: f64) -> String {
    format::duration(std::time::Duration::from_secs_f64(value.max(0.0)))
}

/// The nearest-rank percentile of sorted milliseconds, in seconds.
fn percentile(sorted: &[u32], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).map(|ms| f64::from(*ms) / 1000.0)
}

impl Failure {
    fn lines(&self, style: Style) -> Vec<String> {
        let field = |name: &str, text: &str| {
            format!(
                "      {} {}",
                style.dim(&format!("{name:<8}")),
                printable(&format::one_line(text, 160))
            )
        };
        let mut lines = vec![format!(
            "  {}  {}{}",
            style.bad(&format!("{:.2}", self.score)),
            printable(&self.case_id),
            if self.status == "scored" {
                String::new()
            } else {
                format!("  {}", style.warn(self.status))
            }
        )];
        if let Some(input) = &self.input {
            lines.push(field("input", input));
        }
        if let Some(output) = &self.output {
            lines.push(field("output", output));
        }
        if !self.feedback.is_empty() {
            lines.push(field("because", &self.feedback));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn result() -> EvalResult {
        EvalResult {
            job: "j".to_owned(),
            variant: "v".to_owned(),
            split: "val",
            sample: 0,
            metric: "exact_match".to_owned(),
            mean: Some(0.71),
            interval: (0.62, 0.784),
            cases: 120,
            counted: 118,
            statuses: BTreeMap::from([("scored", 115), ("failed", 3), ("missing", 2)]),
            metrics: BTreeMap::from([("exact_match".to_owned(), 0.71), ("f1".to_owned(), 0.782)]),
            usd: 0.0123,
            model_calls: 240,
            input_tokens: 100_000,
            output_tokens: 2000,
            full_usd: 0.02,
            cases_with_cache_hits: 56,
            seconds: 12.3,
            case_seconds_p50: Some(0.81),
            case_seconds_p95: Some(2.1),
            missing_because: None,
            failures: vec![
                Failure {
                    case_id: "q-017".to_owned(),
                    ordinal: 16,
                    status: "scored",
                    score: 0.0,
                    feedback: "expected \"Ada Brandt\"".to_owned(),
                    input: Some(
                        "{\"question\":\"Who built the \u{1b}[31mlighthouse?\"}".to_owned(),
                    ),
                    output: Some("The lighthouse was built\nby Ada Brandt.".to_owned()),
                    expected: None,
                },
                Failure {
                    case_id: "q-018".to_owned(),
                    ordinal: 17,
                    status: "failed",
                    score: 0.0,
                    feedback: "invalid_json: the reply is not JSON".to_owned(),
                    input: None,
                    output: None,
                    expected: None,
                },
            ],
        }
    }

    #[test]
    fn an_evaluation_reads_well() {
        insta::assert_snapshot!(result().text(Style::new(false)));
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[1000, 2000, 3000, 4000], 0.5), Some(2.0));
        assert_eq!(percentile(&[1000, 2000, 3000, 4000], 0.95), Some(4.0));
    }
}
