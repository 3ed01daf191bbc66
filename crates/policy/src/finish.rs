//! The end of a job: why the search stopped, the sealed test, and what is left behind.

use std::collections::BTreeSet;

use fapo_domain::hash::{ContentHash, Hasher};
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, StopReason};
use fapo_domain::model::evaluation::{CacheUse, EvaluationSpec};
use fapo_domain::model::job::{JobGoal, JobSpec, JobStatus};
use fapo_domain::model::score::{Comparison, ScoreSummary};
use fapo_domain::ports::ledger::Amount;
use fapo_domain::{CaseId, VariantId};
use serde_json::{Value, json};

use crate::budget;
use crate::engine::Engine;
use crate::event::Event;
use crate::stage::{Stage, StagePurpose};
use crate::state::{Measurement, Phase, Stop, TestResult, TestRun};

impl Engine<'_> {
    /// Ends the search, and begins the sealed test if there is one.
    pub fn stop(&mut self, why: StopReason, reason: String, evidence: Value) {
        self.note_stop(why, reason, evidence);
        match self.test_repeats() {
            Ok(repeats) => self.open_test(repeats),
            Err(reason) => {
                let words = format!("no sealed test: {reason}");
                self.decide(DecisionKind::TestSkipped, words, json!({}));
                self.event(Event::TestSkipped { reason });
                self.finish_done();
            }
        }
    }

    fn note_stop(&mut self, why: StopReason, reason: String, evidence: Value) {
        self.decide(DecisionKind::Stopped { why }, reason.clone(), evidence);
        self.event(Event::Stopped {
            why,
            reason: reason.clone(),
        });
        self.state().stop = Some(Stop { why, reason });
    }

    /// How often the sealed test can be run, or why it cannot.
    fn test_repeats(&self) -> Result<u32, String> {
        let cases = self.cases(Split::Test);
        if cases == 0 {
            return Err("the dataset has no test cases".to_owned());
        }
        match &self.out.state.baseline.val {
            None => return Err("the baseline was not measured".to_owned()),
            Some(val) => self.poorly_measured(val).map_or(Ok(()), Err)?,
        }
        let variants = if self.is_baseline_best() { 1.0 } else { 2.0 };
        let one = self.per_case().times(cases as f64 * variants);
        let wanted = self.spec.project.acceptance.test_repeats.max(1);
        let left = budget::left(self.balance);
        match left.fits(Amount::default(), one) {
            None => Ok(wanted),
            Some(0) => Err(format!(
                "{left} left, and the sealed test needs {}",
                budget::words(one)
            )),
            Some(fits) => Ok(wanted.min(u32::try_from(fits).unwrap_or(u32::MAX))),
        }
    }

    fn is_baseline_best(&self) -> bool {
        self.out.state.incumbent.variant == self.out.state.baseline.variant
    }

    fn open_test(&mut self, repeats: u32) {
        let state = &self.out.state;
        let (baseline, best) = (state.baseline.variant, state.incumbent.variant);
        let what = sealed_test(self.spec, baseline, best, repeats);
        self.out.open_test = Some(what);
        self.event(Event::TestOpened {
            what,
            best,
            cases: self.cases(Split::Test),
            repeats,
        });
        self.state().test_run = Some(TestRun {
            repeats,
            sample: 0,
            baseline: Vec::new(),
            best: Vec::new(),
            comparisons: Vec::new(),
        });
        self.start_test_sample(0);
    }

    fn start_test_sample(&mut self, sample: u32) {
        let (baseline, best) = (
            self.out.state.baseline.variant,
            self.out.state.incumbent.variant,
        );
        self.state().phase = Phase::Testing;
        let mut variants = vec![baseline];
        if best != baseline {
            variants.push(best);
        }
        for variant in variants {
            let evaluation = EvaluationSpec {
                sample,
                cache: CacheUse::Own,
                ..self.evaluation(variant, Split::Test)
            };
            self.start_stage(evaluation, StagePurpose::Test, false);
        }
    }

    pub fn end_test_sample(&mut self) -> bool {
        if !self.out.state.stages.iter().all(Stage::is_complete) {
            return false;
        }
        let baseline = self.out.state.baseline.variant;
        let mut measured = Vec::new();
        while !self.out.state.stages.is_empty() {
            measured.push(self.end_stage(0));
        }
        let Some(run) = &mut self.out.state.test_run else {
            return false;
        };
        for measurement in measured {
            if measurement.evaluation.variant == baseline {
                run.baseline.push(measurement);
            } else {
                run.best.push(measurement);
            }
        }
        match (run.baseline.last(), run.best.last()) {
            (Some(a), Some(b)) => {
                let (a, b) = (a.evaluation.clone(), b.evaluation.clone());
                self.state().phase = Phase::ComparingTest;
                let upto = b.cases;
                self.compare(a, b, upto);
            }
            _ => self.next_test_sample(),
        }
        true
    }

    pub fn test_compared(&mut self, comparison: Comparison) {
        if let Some(run) = &mut self.out.state.test_run {
            run.comparisons.push(comparison);
        }
        self.next_test_sample();
    }

    fn next_test_sample(&mut self) {
        let Some(run) = &mut self.out.state.test_run else {
            return;
        };
        run.sample += 1;
        if run.sample < run.repeats && !self.out.state.budget_exhausted {
            let sample = run.sample;
            return self.start_test_sample(sample);
        }
        let Some(run) = self.state().test_run.take() else {
            return;
        };
        let result = TestResult {
            variant: self.out.state.incumbent.variant,
            repeats: run.sample,
            baseline: total(&run.baseline),
            best: (!run.best.is_empty()).then(|| total(&run.best)),
            comparison: average(&run.comparisons),
        };
        self.event(Event::TestDone {
            result: result.clone(),
        });
        self.state().test = Some(result);
        self.finish_done();
    }

    fn finish_done(&mut self) {
        let state = &self.out.state;
        let stopped = state
            .stop
            .as_ref()
            .map_or_else(String::new, |stop| format!(" ({})", stop.reason));
        let reason = if self.is_baseline_best() {
            format!("no candidate was promoted{stopped}")
        } else {
            let (before, after) = (state.baseline.val_mean(), state.incumbent.val_mean());
            format!(
                "{} was promoted in iteration {}: val {:.3} -> {:.3}{stopped}",
                state.incumbent.variant.short(),
                state.incumbent.iteration,
                before.unwrap_or(0.0),
                after.unwrap_or(0.0)
            )
        };
        self.finish(JobStatus::Done, reason);
    }

    /// Nothing more will happen.
    fn finish(&mut self, status: JobStatus, reason: String) {
        let state = &self.out.state;
        let mean = match &self.spec.goal {
            JobGoal::Optimize => state.incumbent.val_mean(),
            JobGoal::Evaluate { .. } => state
                .evaluated
                .as_ref()
                .and_then(|measured| measured.summary.mean()),
        };
        let event = Event::Finished {
            status,
            reason,
            best: state.incumbent.variant,
            mean,
            baseline_mean: state.baseline.val_mean(),
        };
        self.event(event);
        if status != JobStatus::Failed || self.out.state.dead.is_empty() {
            self.state().phase = Phase::Finished;
        }
        self.set_status(status);
    }

    /// The baseline, or every candidate for a while, has too few results: whatever hid them would hide everything that
    /// follows.
    pub fn fail_unmeasured(&mut self, reason: String) {
        self.note_stop(StopReason::NotMeasured, reason.clone(), json!({}));
        self.finish(JobStatus::Failed, reason);
    }

    /// A person stopped the job.
    pub fn cancel(&mut self) {
        let reason = "a person stopped the job".to_owned();
        self.note_stop(StopReason::Cancelled, reason.clone(), json!({}));
        self.finish(JobStatus::Cancelled, reason);
    }

    /// Tasks died, and nothing else is under way any more. The state stays as it is: when the dead tasks are revived and
    /// done, the job goes on where it was.
    pub fn fail_over_dead_tasks(&mut self) {
        let dead = &self.out.state.dead;
        let first = dead.values().next().cloned().unwrap_or_default();
        let reason = match dead.len() {
            1 => format!("a task died: {first}"),
            count => format!("{count} tasks died, such as: {first}"),
        };
        let evidence = json!({ "tasks": dead.keys().take(8).collect::<Vec<_>>() });
        self.note_stop(StopReason::TaskDead, reason.clone(), evidence);
        self.finish(JobStatus::Failed, reason);
    }

    /// The end of an evaluate job.
    pub fn end_evaluation(&mut self) -> bool {
        if !self.out.state.stages.iter().all(Stage::is_complete) {
            return false;
        }
        let ended_early = self.out.state.stages[0].budget_exhausted;
        let measured = self.end_stage(0);
        let (cases, counted) = (measured.evaluation.cases, measured.summary.counted());
        self.state().evaluated = Some(measured);
        if ended_early {
            let why = self.spent().unwrap_or_default();
            let reason = format!("{why} after {counted} of {cases} cases");
            self.note_stop(StopReason::BudgetSpent, reason.clone(), json!({}));
            self.finish(JobStatus::Done, reason);
        } else if cases > 0 && counted == 0 {
            self.fail_unmeasured(format!("none of the {cases} cases has a result"));
        } else {
            self.finish(
                JobStatus::Done,
                format!("{counted} of {cases} cases have a result"),
            );
        }
        true
    }
}

/// What the sealed test is opened for. Not the job: two jobs that end alike open it for the same.
fn sealed_test(spec: &JobSpec, baseline: VariantId, best: VariantId, repeats: u32) -> ContentHash {
    let mut hasher = Hasher::new("sealed-test/v1");
    hasher
        .hash(&spec.dataset.0)
        .hash(&spec.seal)
        .hash(&baseline.0)
        .hash(&best.0)
        .number(u64::from(repeats));
    hasher.finish()
}

fn total(measured: &[Measurement]) -> ScoreSummary {
    let mut sum = ScoreSummary::default();
    for one in measured {
        sum.merge(&one.summary);
    }
    sum
}

/// The average of comparisons of the same two variants over the same cases; see [`TestResult::comparison`].
fn average(comparisons: &[Comparison]) -> Option<Comparison> {
    let (first, others) = comparisons.split_first()?;
    if others.is_empty() {
        return Some(first.clone());
    }
    let mean = |value: fn(&Comparison) -> f64| {
        comparisons.iter().map(value).sum::<f64>() / comparisons.len() as f64
    };
    let ratios: Vec<f64> = comparisons
        .iter()
        .filter_map(|one| one.cost_ratio)
        .collect();
    let cases = |list: fn(&Comparison) -> &Vec<CaseId>| -> Vec<CaseId> {
        let named: BTreeSet<_> = comparisons.iter().flat_map(list).collect();
        named.into_iter().cloned().collect()
    };
    Some(Comparison {
        pairs: comparisons.iter().map(|one| one.pairs).sum(),
        expected_pairs: comparisons.iter().map(|one| one.expected_pairs).sum(),
        mean_a: mean(|one| one.mean_a),
        mean_b: mean(|one| one.mean_b),
        gain: mean(|one| one.gain),
        interval: (mean(|one| one.interval.0), mean(|one| one.interval.1)),
        confidence: first.confidence,
        p_value: comparisons
            .iter()
            .map(|one| one.p_value)
            .fold(0.0, f64::max),
        wins: comparisons.iter().map(|one| one.wins).sum(),
        losses: comparisons.iter().map(|one| one.losses).sum(),
        resamples: first.resamples,
        protected_regressions: cases(|one| &one.protected_regressions),
        protected_missing: cases(|one| &one.protected_missing),
        cost_ratio: (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64),
        latency_p95_s: comparisons
            .iter()
            .filter_map(|one| one.latency_p95_s)
            .reduce(f64::max),
    })
}
