//! A block of cases: what is missing of it is run, what came of it is stored, and the policy is told.
//!
//! May be run any number of times: runs that have a final result are not run again, everything written carries the
//! task's fence, and a paid reply is met again in the step cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use fapo_domain::Spend;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::evaluation::{Block, CacheUse, EvaluationSpec};
use fapo_domain::model::job::{BlockExecuted, JobGoal};
use fapo_domain::model::task::ClaimedTask;
use fapo_domain::model::trace::{RunRecord, RunStatus};
use fapo_domain::ports::code::CodeError;
use fapo_domain::ports::models::ModelError;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{CaseId, Classified, EvaluationId};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::config::ExecutorConfig;
use crate::job::{JobContext, SessionOf};
use crate::observe;
use crate::outcome::Cause;
use crate::retrieval::Corpora;
use crate::run::{Ended, Session, run_case};
use crate::service::Ports;

/// One task's block.
pub(crate) struct BlockRun<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) config: &'a ExecutorConfig,
    pub(crate) corpora: &'a Corpora,
    pub(crate) job: Arc<JobContext>,
    pub(crate) task: &'a ClaimedTask,
    pub(crate) evaluation: &'a EvaluationSpec,
    pub(crate) block: Block,
    pub(crate) round: u32,
}

impl BlockRun<'_> {
    /// Runs what is missing of the block.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<BlockExecuted, WorkError> {
        self.check()?;
        self.execute(stop).await
    }

    /// The seal on the test split, held here too: whoever schedules wrongly still cannot look.
    fn check(&self) -> Result<(), WorkError> {
        let sealed =
            self.job.spec.goal == JobGoal::Optimize && self.evaluation.split == Split::Test;
        if sealed && self.evaluation.cache != CacheUse::Own {
            let message = "an evaluation on the sealed test may read only its own results";
            return Err(WorkError::permanent("TEST_SEALED", message));
        }
        if self.evaluation.job != self.task.job {
            let message = "the evaluation belongs to another job than the task";
            return Err(WorkError::permanent("TASK_INVALID", message));
        }
        Ok(())
    }

    async fn execute(&self, stop: &CancellationToken) -> Result<BlockExecuted, WorkError> {
        let (job, evaluation) = (&*self.job, self.evaluation);
        let id = evaluation.id();
        let split_len = job.spec.cases.get(&evaluation.split).copied().unwrap_or(0);
        let ordinals = evaluation.ordinals(split_len, self.block.start..self.block.end);
        let finished = self
            .ports
            .traces
            .finished_ordinals(id, &ordinals)
            .await
            .map_err(|error| WorkError::from_port("the block's runs cannot be read", error))?;
        let mut outcome = Outcome {
            executed: BlockExecuted {
                completed: finished.len() as u64,
                missing: 0,
                budget_exhausted: false,
                spend: Spend::default(),
            },
            ..Outcome::default()
        };
        let missing: Vec<u64> = ordinals
            .into_iter()
            .filter(|ordinal| finished.binary_search(ordinal).is_err())
            .collect();
        if missing.is_empty() {
            return Ok(outcome.executed);
        }
        let plan = job
            .plan(evaluation.variant, async || {
                let tree = self.ports.variants.get_variant(evaluation.variant).await;
                tree.map_err(|error| WorkError::from_port("the variant cannot be read", error))
            })
            .await?;
        let of = SessionOf {
            fence: self.task.fence(),
            evaluation: id,
            sample: evaluation.sample,
            own: (evaluation.cache == CacheUse::Own).then_some(id),
            read_cache: true,
            block: true,
        };
        let session = job.session(self.ports, self.corpora, &plan, of).await?;
        let cases = self
            .ports
            .datasets
            .cases(evaluation.dataset, evaluation.split, &missing)
            .await
            .map_err(|error| WorkError::from_port("the block's cases cannot be read", error))?;
        let cases = missing.into_iter().zip(cases);
        self.run_cases(&session, cases, stop, &mut outcome).await?;
        outcome.result(self.round)
    }

    async fn run_cases(
        &self,
        session: &Session<'_>,
        cases: impl Iterator<Item = (u64, Case)>,
        stop: &CancellationToken,
        outcome: &mut Outcome,
    ) -> Result<(), WorkError> {
        let gate = Gate::default();
        let mut runs: FuturesUnordered<_> = cases
            .map(|(ordinal, case)| self.run_one(session, &gate, ordinal, case))
            .collect();
        session.expect(runs.len());
        let drain = tokio::time::sleep_until(Instant::now());
        tokio::pin!(drain);
        let mut draining = false;
        loop {
            let one = tokio::select! {
                biased;
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    outcome.stopped = true;
                    gate.close(Closed::Stopped);
                    session.stopping.store(true, Ordering::Relaxed);
                    drain.as_mut().reset(Instant::now() + self.config.drain);
                    continue;
                }
                // before the deadline: what has ended has been paid for
                one = runs.next() => one,
                () = &mut drain, if draining => break,
            };
            let Some(one) = one else {
                break;
            };
            outcome.take(one, session, &gate, self.config.give_up_after);
            if outcome.pending.len() >= self.config.flush_runs
                && let Err(error) = self.flush(outcome).await
            {
                outcome.abort.get_or_insert(error);
                break;
            }
        }
        drop(runs);
        let released = session.models.release(session.job, session.fence).await;
        let flushed = self.flush(outcome).await;
        if let Some(abort) = outcome.abort.take() {
            return Err(abort);
        }
        flushed?;
        released.map_err(|error| {
            WorkError::from_port("what the block left reserved cannot be given back", error)
        })?;
        if outcome.stopped {
            Err(WorkError::interrupted())
        } else {
            Ok(())
        }
    }

    async fn run_one(&self, session: &Session<'_>, gate: &Gate, ordinal: u64, case: Case) -> One {
        let permit = self.job.permits.acquire().await;
        session.begin_case();
        match gate.state() {
            Closed::Open => {
                // Waiting cases stay small: the run's own state is made only now.
                let span = observe::case(session.job, session.evaluation, ordinal, &case);
                let run = run_case(session, ordinal, case).instrument(span.clone());
                let ended = Box::pin(run).await;
                observe::case_ended(&span, &ended.record);
                drop(permit);
                One::Ran(Box::new(ended))
            }
            closed => One::NotRun {
                ordinal,
                case_id: case.case_id,
                evaluation: session.evaluation,
                why: closed,
            },
        }
    }

    async fn flush(&self, outcome: &mut Outcome) -> Result<(), WorkError> {
        let runs = std::mem::take(&mut outcome.pending);
        if runs.is_empty() {
            return Ok(());
        }
        self.ports
            .traces
            .record_runs(Some(self.task.fence()), runs)
            .await
            .map_err(|error| WorkError::from_port("the block's runs cannot be stored", error))
    }
}

/// Whether, and why, no further case is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Closed {
    Open,
    Budget,
    Provider,
    Workers,
    Stopped,
}

#[derive(Default)]
struct Gate(AtomicU8);

impl Gate {
    /// Closes it; the first reason stays, but being stopped overrides.
    fn close(&self, why: Closed) {
        if why == Closed::Stopped || self.state() == Closed::Open {
            self.0.store(why as u8, Ordering::Relaxed);
        }
    }

    fn state(&self) -> Closed {
        match self.0.load(Ordering::Relaxed) {
            0 => Closed::Open,
            1 => Closed::Budget,
            2 => Closed::Provider,
            3 => Closed::Workers,
            _ => Closed::Stopped,
        }
    }
}

enum One {
    Ran(Box<Ended>),
    NotRun {
        ordinal: u64,
        case_id: CaseId,
        evaluation: EvaluationId,
        why: Closed,
    },
}

/// What failed outside a run.
enum Failure {
    Provider(ModelError),
    Workers(CodeError),
}

impl Failure {
    /// Whether no other run can fare better now.
    const fn nobody_is_there(&self) -> bool {
        matches!(
            self,
            Self::Provider(ModelError::Unavailable { .. }) | Self::Workers(_)
        )
    }

    /// The failure as that of a whole block.
    fn of_block(&self) -> WorkError {
        let error: &dyn Classified = match self {
            Self::Provider(error) => error,
            Self::Workers(error) => error,
        };
        WorkError {
            message: format!("no case of the block got a reply: {error}"),
            code: error.code(),
            retry: error.retry(),
            reason: error.reason(),
            source: None,
        }
    }
}

/// What came of the block so far.
struct Outcome {
    executed: BlockExecuted,
    pending: Vec<RunRecord>,
    stopped: bool,
    abort: Option<WorkError>,
    /// Runs that a failure outside left without a result, and the last such failure.
    failures: u32,
    last_failure: Option<Failure>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            executed: BlockExecuted {
                completed: 0,
                missing: 0,
                budget_exhausted: false,
                spend: Spend::default(),
            },
            pending: Vec::new(),
            stopped: false,
            abort: None,
            failures: 0,
            last_failure: None,
        }
    }
}

impl Outcome {
    fn take(&mut self, one: One, session: &Session<'_>, gate: &Gate, give_up_after: u32) {
        match one {
            One::Ran(ended) => {
                let Ended { record, cause } = *ended;
                self.executed.spend += record.spend;
                let mut keep = true;
                match cause {
                    Cause::Own => {}
                    Cause::Budget => {
                        self.executed.budget_exhausted = true;
                        gate.close(Closed::Budget);
                    }
                    Cause::Provider(error) => {
                        self.fail(Failure::Provider(error), gate, give_up_after);
                    }
                    Cause::Workers(error) => {
                        self.fail(Failure::Workers(error), gate, give_up_after);
                    }
                    Cause::Stopped => keep = false,
                    Cause::Abort(error) => {
                        self.abort.get_or_insert(error);
                        gate.close(Closed::Stopped);
                        session.stopping.store(true, Ordering::Relaxed);
                        keep = false;
                    }
                }
                if record.status == RunStatus::Missing {
                    self.executed.missing += 1;
                } else {
                    self.executed.completed += 1;
                }
                if keep {
                    self.pending.push(record);
                }
            }
            One::NotRun {
                ordinal,
                case_id,
                evaluation,
                why,
            } => {
                self.executed.missing += 1;
                let reason = match why {
                    Closed::Budget => "budget",
                    Closed::Provider => "provider_unavailable",
                    Closed::Workers => "code_unavailable",
                    Closed::Open | Closed::Stopped => return,
                };
                self.pending.push(RunRecord {
                    evaluation,
                    ordinal,
                    case_id,
                    status: RunStatus::Missing,
                    reason: Some(reason.to_owned()),
                    output_text: None,
                    output_json: None,
                    spend: Spend::default(),
                    full_spend: Spend::default(),
                    started_at: session.clock.now(),
                    duration_ms: 0,
                    full_duration_ms: 0,
                    steps: Vec::new(),
                });
            }
        }
    }

    /// Notes a failure outside; after some, and with nothing else, no further case is begun.
    fn fail(&mut self, failure: Failure, gate: &Gate, give_up_after: u32) {
        self.failures += 1;
        if self.executed.completed == 0 && self.failures >= give_up_after {
            gate.close(match failure {
                Failure::Provider(_) => Closed::Provider,
                Failure::Workers(_) => Closed::Workers,
            });
        }
        self.last_failure = Some(failure);
    }

    /// The block's result. Where failures outside left it without a single one, the task fails with the name of the
    /// provider or of the workers: tried again a bounded number of times, it then stops the job with a clear reason. A
    /// single case is given that weight only where nobody is there at all, and a block that is run again for its missing
    /// cases never: those may be hard for reasons of their own.
    fn result(self, round: u32) -> Result<BlockExecuted, WorkError> {
        let alone = self.executed.missing < 2;
        match self.last_failure {
            Some(error)
                if self.executed.completed == 0
                    && !self.executed.budget_exhausted
                    && round == 0
                    && (!alone || error.nobody_is_there()) =>
            {
                Err(error.of_block())
            }
            _ => Ok(self.executed),
        }
    }
}
