//! The scoring service: handles `score` tasks and scores single runs on request.

mod compare;
mod score;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fapo_domain::hash::ContentHash;
use fapo_domain::ids::{CaseId, JobId};
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::score::{CaseScore, Comparison};
use fapo_domain::model::task::{ClaimedTask, TaskPayload, Topic};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::code::CodeRunner;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::pipelines::RunScorer;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::Traces;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::telemetry as names;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::scorer::{ScoreError, Scorer};

/// Jobs and scorers kept compiled; more are compiled again when they come back.
const KEPT: usize = 32;

/// Scores blocks, compares evaluations, scores single runs.
///
/// Holds no state but compiled scorers, so any number of instances may run beside one another. Everything it writes
/// carries the task's fence and is harmless to repeat.
pub struct ScoringService {
    jobs: Arc<dyn Jobs>,
    datasets: Arc<dyn Datasets>,
    traces: Arc<dyn Traces>,
    scores: Arc<dyn Scores>,
    code: Arc<dyn CodeRunner>,
    contexts: Mutex<HashMap<JobId, Arc<Context>>>,
    scorers: Mutex<HashMap<ContentHash, Arc<Scorer>>>,
}

/// What scoring needs of a job; a job's specification never changes.
struct Context {
    scorer: Arc<Scorer>,
    cases: BTreeMap<Split, u64>,
    protect: Arc<HashSet<CaseId>>,
}

impl Context {
    /// The number of cases of an evaluation's split.
    fn split_len(&self, evaluation: &EvaluationSpec) -> Result<u64, WorkError> {
        self.cases.get(&evaluation.split).copied().ok_or_else(|| {
            WorkError::permanent(
                "SPLIT_ABSENT",
                format!("the job's dataset has no {} cases", evaluation.split),
            )
        })
    }
}

impl ScoringService {
    /// A service over these ports.
    pub fn new(
        jobs: Arc<dyn Jobs>,
        datasets: Arc<dyn Datasets>,
        traces: Arc<dyn Traces>,
        scores: Arc<dyn Scores>,
        code: Arc<dyn CodeRunner>,
    ) -> Self {
        Self {
            jobs,
            datasets,
            traces,
            scores,
            code,
            contexts: Mutex::default(),
            scorers: Mutex::default(),
        }
    }

    /// Compares two evaluations of `job`, as its `Compare` tasks do.
    pub(crate) async fn compare_on_request(
        &self,
        job: JobId,
        a: &EvaluationSpec,
        b: &EvaluationSpec,
        upto: u64,
        confidence: f64,
        seed: u64,
    ) -> Result<Comparison, WorkError> {
        let question = compare::Question {
            a,
            b,
            upto,
            confidence,
            seed,
        };
        let context = self.context(job).await?;
        self.compare(&context, question, &CancellationToken::new())
            .await
    }

    async fn context(&self, job: JobId) -> Result<Arc<Context>, WorkError> {
        if let Some(known) = lock(&self.contexts).get(&job) {
            return Ok(Arc::clone(known));
        }
        let spec = self
            .jobs
            .get_job(job)
            .await
            .map_err(|error| WorkError::from_port("the job cannot be read", error))?
            .spec;
        let context = Arc::new(Context {
            scorer: self.scorer(&spec)?,
            cases: spec.cases,
            protect: Arc::new(spec.protect.into_iter().collect()),
        });
        keep(&self.contexts, job, &context);
        Ok(context)
    }

    fn scorer(&self, spec: &JobSpec) -> Result<Arc<Scorer>, WorkError> {
        let (scorer, objective) = (&spec.project.scorer, &spec.project.objective);
        let code = &spec.scorer_code;
        let version = Scorer::version_of(scorer, objective, code);
        if let Some(known) = lock(&self.scorers).get(&version) {
            return Ok(Arc::clone(known));
        }
        let compiled = Scorer::compile(scorer, objective, code)
            .map(Arc::new)
            .map_err(|problems| {
                WorkError::permanent(
                    "SCORER_INVALID",
                    format!("the scorer cannot be compiled: {}", problems.join("; ")),
                )
            })?;
        keep(&self.scorers, version, &compiled);
        Ok(compiled)
    }
}

/// What a case that cannot be scored means for the work on it.
fn work_error(error: ScoreError) -> WorkError {
    match error {
        ScoreError::NoWorkers(error) => {
            WorkError::from_port(format!("the scorer's code cannot be run: {error}"), error)
        }
        ScoreError::ExpectedMissing { .. } | ScoreError::ExpectedUnusable { .. } => {
            WorkError::permanent(error.reason(), error.to_string())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // what is kept here can be made anew, so a panic elsewhere does no harm to it
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<K: Eq + std::hash::Hash, V>(kept: &Mutex<HashMap<K, Arc<V>>>, key: K, value: &Arc<V>) {
    let mut kept = lock(kept);
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, Arc::clone(value));
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Value, WorkError> {
    serde_json::to_value(value).map_err(|error| WorkError {
        message: "the result cannot be written as JSON".to_owned(),
        code: fapo_domain::error::ErrorCode::Internal,
        retry: fapo_domain::error::Retry::Never,
        reason: "RESULT_UNWRITABLE",
        source: Some(Box::new(error)),
    })
}

#[async_trait]
impl TaskHandler for ScoringService {
    fn topic(&self) -> Topic {
        Topic::Score
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        let context = self.context(task.job).await?;
        match &task.payload {
            TaskPayload::Score { evaluation, block } => {
                let span = tracing::info_span!(
                    "score",
                    { names::JOB_ID } = %task.job,
                    { names::EVALUATION_ID } = %evaluation.id(),
                    start = block.start,
                    end = block.end,
                    { names::OPENINFERENCE_KIND } = names::KIND_EVALUATOR,
                );
                let summary = self
                    .score_block(&context, task.fence(), evaluation, *block, stop)
                    .instrument(span)
                    .await?;
                to_json(&summary)
            }
            TaskPayload::Compare {
                a,
                b,
                upto,
                confidence,
                seed,
            } => {
                let question = compare::Question {
                    a,
                    b,
                    upto: *upto,
                    confidence: *confidence,
                    seed: *seed,
                };
                let span = tracing::info_span!(
                    "compare",
                    { names::JOB_ID } = %task.job,
                    { names::OPENINFERENCE_KIND } = names::KIND_EVALUATOR,
                );
                let compared = self.compare(&context, question, stop).instrument(span);
                to_json(&compared.await?)
            }
            TaskPayload::Execute { .. }
            | TaskPayload::Attribute { .. }
            | TaskPayload::Propose(_)
            | TaskPayload::Review(_) => Err(WorkError::permanent(
                "TASK_MISROUTED",
                format!("a {} task came to scoring", task.payload.topic().as_str()),
            )),
        }
    }
}

#[async_trait]
impl RunScorer for ScoringService {
    async fn score_run(
        &self,
        spec: &JobSpec,
        case: &Case,
        run: &RunRecord,
    ) -> Result<CaseScore, WorkError> {
        self.scorer(spec)?
            .score(case, run, &*self.code)
            .await
            .map_err(work_error)
    }
}

#[cfg(test)]
mod tests;
