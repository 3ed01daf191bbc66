//! An executor and a scorer that answer as they are told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use fapo_domain::model::case::Case;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::score::{CaseScore, Comparison};
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::pipelines::{CaseRun, PipelineRunner, RunScorer, StepObserver};
use fapo_domain::ports::questions::{Comparer, PipelineChecker};
use fapo_domain::ports::work::WorkError;
use fapo_domain::problem::{Problem, Problems, Severity};
use fapo_domain::{EvaluationId, JobId};
use fapo_testkit::sample;
use tokio::sync::Semaphore;

/// What is asked of it is counted; whatever has `fail` is answered with it.
#[derive(Default)]
pub struct Scripted {
    pub asked: AtomicUsize,
    pub fail: Option<fn() -> WorkError>,
    /// Where there is one, each step of a run waits for a permit.
    pub gate: Option<Arc<Semaphore>>,
    /// Counts runs that were dropped in the middle.
    pub dropped: Arc<AtomicUsize>,
}

/// The run that every case has.
pub fn run_of(case: &Case) -> RunRecord {
    RunRecord {
        case_id: case.case_id.clone(),
        ..sample::run_record(sample::evaluation_id("by hand"), 0)
    }
}

/// The problem that every pipeline has.
pub fn problem() -> Problem {
    Problem {
        severity: Severity::Warning,
        rule: "scripted".into(),
        file: "pipeline/pipeline.yaml".to_owned(),
        line: Some(3),
        column: Some(1),
        path: Some("steps[0]".to_owned()),
        message: "it is scripted".to_owned(),
        help: Some("nothing".to_owned()),
    }
}

/// The comparison that any two have.
pub fn comparison() -> Comparison {
    Comparison {
        pairs: 40,
        expected_pairs: 41,
        mean_a: 0.1,
        mean_b: 0.7,
        gain: 0.6,
        interval: (0.2, 0.9),
        confidence: 0.95,
        p_value: 0.001,
        wins: 30,
        losses: 1,
        resamples: 2000,
        protected_regressions: vec!["c7".into()],
        protected_missing: vec!["c8".into()],
        cost_ratio: Some(1.5),
        latency_p95_s: None,
    }
}

struct CountsDrop(Arc<AtomicUsize>, bool);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Scripted {
    fn ask(&self) -> Result<(), WorkError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.fail.map_or(Ok(()), |fail| Err(fail()))
    }
}

#[async_trait]
impl PipelineRunner for Scripted {
    async fn run_case(
        &self,
        _job: JobId,
        _spec: &JobSpec,
        _tree: &VariantTree,
        case: &Case,
        _fresh: bool,
        _payer: Option<Fence>,
    ) -> Result<RunRecord, WorkError> {
        self.ask()?;
        Ok(run_of(case))
    }

    async fn run_case_observed(
        &self,
        run: CaseRun<'_>,
        observer: Arc<dyn StepObserver>,
    ) -> Result<RunRecord, WorkError> {
        self.ask()?;
        let mut whole = CountsDrop(Arc::clone(&self.dropped), false);
        let record = run_of(run.case);
        for step in &record.steps {
            if let Some(gate) = &self.gate {
                gate.acquire()
                    .await
                    .expect("a gate is never closed")
                    .forget();
            }
            observer.step_ended(step);
        }
        whole.1 = true;
        Ok(record)
    }
}

#[async_trait]
impl PipelineChecker for Scripted {
    async fn check_pipeline(
        &self,
        _spec: &JobSpec,
        _tree: &VariantTree,
    ) -> Result<Problems, WorkError> {
        self.ask()?;
        let mut problems = Problems::new();
        problems.push(problem());
        Ok(problems)
    }
}

#[async_trait]
impl RunScorer for Scripted {
    async fn score_run(
        &self,
        _spec: &JobSpec,
        case: &Case,
        run: &RunRecord,
    ) -> Result<CaseScore, WorkError> {
        self.ask()?;
        Ok(CaseScore {
            case_id: case.case_id.clone(),
            ..sample::case_score(run.evaluation, run.ordinal, 0.25)
        })
    }
}

#[async_trait]
impl Comparer for Scripted {
    async fn compare(
        &self,
        _job: JobId,
        _a: EvaluationId,
        _b: EvaluationId,
        _upto: u64,
        _confidence: f64,
        _seed: u64,
    ) -> Result<Comparison, WorkError> {
        self.ask()?;
        Ok(comparison())
    }
}
