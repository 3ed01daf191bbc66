//! One case's run: a small scheduler over the steps.
//!
//! Every step starts as soon as what it needs is there; all steps of a run share one task, so nothing is spawned and
//! nothing is shared between threads but what the run's own lock holds (its trace and its counters).
//!
//! When a step fails by the pipeline's fault, or because the model declined, the steps that need it are not run, and all
//! others are, even where the output can no longer be reached: what a run ends with then depends on the replies alone and
//! not on which of two branches was faster, so a run with a warm cache ends as one without. When the run as a whole is
//! over (a cap, a provider that is down, a stop), nothing new starts; calls under way are awaited, because they are paid for
//! and their replies go into the step cache. Of several endings the gravest counts: one that ends the whole run, then a
//! refusal, then the output's own fault.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fapo_domain::clock::Clock;
use fapo_domain::model::case::Case;
use fapo_domain::model::project::LimitsSpec;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{RunRecord, RunStatus, StepOutput, StepStatus};
use fapo_domain::ports::code::CodeRunner;
use fapo_domain::ports::models::{MeteredModels, Waited, Waits};
use fapo_domain::ports::pipelines::StepObserver;
use fapo_domain::{EvaluationId, JobId, MicroUsd, Spend, StepFingerprint, StepId, StepKey};
use fapo_project::template::CaseInput;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Span;

use crate::duration::longest_way;
use crate::key::SamplePath;
use crate::observe;
use crate::outcome::{Cause, Fault, Halt, REFUSED, StepError, stopped};
use crate::plan::{Plan, Step};
use crate::retrieval::Index;
use crate::steps::Work;
use crate::trace::Trace;

/// What the runs of one block share.
pub(crate) struct Session<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) indices: Vec<Arc<Index>>,
    pub(crate) models: &'a dyn MeteredModels,
    pub(crate) code: &'a dyn CodeRunner,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) limits: &'a LimitsSpec,
    pub(crate) probe_depth: usize,
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    /// Cases of a block that were not begun yet: calls of the same claim that are still to come. None where it is no block,
    /// which releases what its calls leave reserved.
    pub(crate) waiting: Option<AtomicUsize>,
    pub(crate) evaluation: EvaluationId,
    /// The sample index of the evaluation.
    pub(crate) sample: u32,
    /// By [`crate::plan::Llm::slot`].
    pub(crate) calls: Vec<CallSite>,
    /// The keys asked for in this block under fingerprints that nothing was stored under before: the second call of a kind
    /// is worth a look-up. `None` where the cache is not read.
    pub(crate) asked: Option<Mutex<HashSet<StepKey>>>,
    /// Whether nothing new may start, because the work is to stop.
    pub(crate) stopping: AtomicBool,
    /// Who is told of each step as it ends.
    pub(crate) observer: Option<Arc<dyn StepObserver>>,
}

/// How one `llm` step meets the step cache in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallSite {
    pub(crate) fingerprint: StepFingerprint,
    /// `false` only where nothing was stored under the fingerprint when the block began.
    pub(crate) look_up: bool,
}

/// A run that ended, and what that means for its block.
pub(crate) struct Ended {
    pub(crate) record: RunRecord,
    pub(crate) cause: Cause,
}

/// A step that a template can see, and its value; `None` where it was skipped.
pub(crate) type Visible = (StepId, Option<Arc<StepOutput>>);

/// Where a list of steps runs.
pub(crate) struct Place {
    /// What can be seen from outside the list.
    pub(crate) outer: Vec<Visible>,
    /// `candidate` or `samples`.
    pub(crate) extra: Option<(&'static str, Value)>,
    /// Among samples.
    pub(crate) path: SamplePath,
    /// What comes before the ids of its steps in records: nothing, or `outer[2].`.
    pub(crate) prefix: String,
}

/// How a list of steps ended.
pub(crate) struct ListEnd {
    /// The value of its target step: `Some(None)` where that was skipped, `None` where it could not be reached.
    pub(crate) value: Option<Option<Arc<StepOutput>>>,
    /// Why it could not be reached.
    pub(crate) fault: Option<Fault>,
}

/// A case under way.
pub(crate) struct Run<'s> {
    pub(crate) session: &'s Session<'s>,
    pub(crate) input: CaseInput,
    pub(crate) began: Instant,
    /// Where its model calls say that they wait.
    pub(crate) waits: Waits,
    trace: Mutex<Trace>,
}

/// Runs one case from its input to its record. Never fails: how it ended stands in the record.
pub(crate) async fn run_case(session: &Session<'_>, ordinal: u64, case: Case) -> Ended {
    let started_at = session.clock.now();
    let run = Run {
        session,
        input: CaseInput::new(case.case_id.as_str(), case.input),
        began: Instant::now(),
        waits: Waits::default(),
        trace: Mutex::new(Trace::new(session.observer.clone())),
    };
    let place = Place {
        outer: Vec::new(),
        extra: None,
        path: SamplePath::new(session.sample),
        prefix: String::new(),
    };
    let plan = session.plan;
    let whole = run.list(&place, &plan.steps, plan.output.step);
    let limit = Duration::from_secs(u64::from(session.limits.seconds));
    let end = tokio::select! {
        biased;
        end = whole => Some(end),
        () = working_time(limit, run.waits.watch()) => None,
    };
    let elapsed = run.began.elapsed();
    let trace = run
        .trace
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let mut record = RunRecord {
        evaluation: session.evaluation,
        ordinal,
        case_id: case.case_id,
        status: RunStatus::Failed,
        reason: None,
        output_text: None,
        output_json: None,
        spend: Spend::default(),
        full_spend: Spend::default(),
        started_at,
        duration_ms: millis(elapsed),
        full_duration_ms: 0,
        steps: Vec::new(),
    };
    let unfinished = if end.is_none() {
        "cap_seconds"
    } else {
        "cancelled"
    };
    let refused = trace.refused;
    let (halt, steps) = trace.finish(elapsed, unfinished);
    record.steps = steps;
    for step in &record.steps {
        record.spend += step.spend;
        record.full_spend += step.full_spend;
    }
    record.full_duration_ms = longest_way(&plan.steps, &mut record.steps);
    if end.is_none() {
        record.full_duration_ms = record.full_duration_ms.max(millis(limit));
    }
    let mut cause = Cause::Own;
    match (halt, end) {
        (Some(halt), _) => {
            record.status = halt.status;
            record.reason = Some(halt.kind.to_owned());
            cause = halt.cause;
        }
        (None, _) if refused => {
            record.status = RunStatus::Refused;
            record.reason = Some(REFUSED.to_owned());
        }
        (None, None) => {
            record.status = RunStatus::TimedOut;
            record.reason = Some("cap_seconds".to_owned());
        }
        (None, Some(ListEnd { value, fault })) => match value {
            Some(Some(output)) => match plan.output.read(&output) {
                Some((text, json)) => {
                    record.status = RunStatus::Completed;
                    record.output_text = Some(text);
                    record.output_json = json;
                }
                None => record.reason = Some("output_missing".to_owned()),
            },
            Some(None) => record.reason = Some("output_skipped".to_owned()),
            None => {
                let kind = fault.map_or("output_missing", |fault| fault.kind);
                record.reason = Some(kind.to_owned());
            }
        },
    }
    Ended { record, cause }
}

/// Ends once so much time has passed in which no model call and no code waited, and that was not lost in tries that failed: a
/// provider that is down or overloaded, and the queue before it or before a worker, say nothing about the pipeline.
async fn working_time(limit: Duration, mut waits: watch::Receiver<Waited>) {
    let mut left = limit;
    let (mut forgiven, mut charged) = (Duration::ZERO, Duration::ZERO);
    let mut waited = *waits.borrow_and_update();
    loop {
        left += waited.forgiven - forgiven;
        forgiven = waited.forgiven;
        left = left.saturating_sub(waited.charged - charged);
        charged = waited.charged;
        let began = Instant::now();
        tokio::select! {
            biased;
            Ok(()) = waits.changed() => {}
            () = tokio::time::sleep(left), if waited.waiting == 0 => return,
            else => return,
        }
        if waited.waiting == 0 {
            left = left.saturating_sub(began.elapsed());
        }
        waited = *waits.borrow_and_update();
    }
}

/// Whole milliseconds; those of 49 days at most.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

enum Slot {
    Waiting,
    Running,
    Done(Option<Arc<StepOutput>>),
    Failed,
}

/// What starting a step led to.
pub(crate) enum Started<'r> {
    /// It has its value already; `None` where it is skipped.
    Now(Option<Arc<StepOutput>>),
    /// It has to wait for something.
    Later(Work<'r>),
}

impl Session<'_> {
    /// So many cases are to be run.
    pub(crate) fn expect(&self, cases: usize) {
        if let Some(waiting) = &self.waiting {
            waiting.store(cases, Ordering::Relaxed);
        }
    }

    /// One of them begins.
    pub(crate) fn begin_case(&self) {
        if let Some(waiting) = &self.waiting {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the claim can be expected to make another call after that of `step`, so that its reservation is worth keeping.
    pub(crate) fn more_after(&self, step: &Step) -> bool {
        let last = std::ptr::eq(step, &self.plan.steps[self.plan.output.step]);
        self.waiting
            .as_ref()
            .is_some_and(|waiting| !last || waiting.load(Ordering::Relaxed) > 0)
    }

    /// Whether a key can be in the step cache.
    pub(crate) fn may_hit(&self, site: CallSite, key: StepKey) -> bool {
        let Some(asked) = &self.asked else {
            return false;
        };
        site.look_up
            || !asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key)
    }
}

impl<'s> Run<'s> {
    /// The run's trace and counters. Never held across an await.
    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing new may start.
    pub(crate) fn is_closing(&self) -> bool {
        self.trace().closing
    }

    /// Runs a list of steps until its target has a value or cannot have one.
    pub(crate) async fn list<'r>(
        &'r self,
        place: &'r Place,
        steps: &'r [Step],
        target: usize,
    ) -> ListEnd {
        let mut list = List {
            run: self,
            place,
            steps,
            target,
            slots: steps.iter().map(|_| Slot::Waiting).collect(),
            fault: None,
        };
        let mut running = FuturesUnordered::new();
        loop {
            list.start_ready(|index, work, span| {
                running.push(async move { (index, work.finish(self, span).await) });
            });
            let Some((index, result)) = running.next().await else {
                break;
            };
            match result {
                Ok(output) => list.slots[index] = Slot::Done(Some(output)),
                Err(error) => list.lose(index, error),
            }
        }
        let value = match list.slots.swap_remove(target) {
            Slot::Done(value) => Some(value),
            Slot::Waiting | Slot::Running | Slot::Failed => None,
        };
        ListEnd {
            value,
            fault: list.fault,
        }
    }
}

/// The state of a list of steps.
struct List<'r, 's> {
    run: &'r Run<'s>,
    place: &'r Place,
    steps: &'r [Step],
    target: usize,
    slots: Vec<Slot>,
    /// Why the target cannot be reached.
    fault: Option<Fault>,
}

impl<'r> List<'r, '_> {
    /// Starts every step whose needs are met. One pass is enough: a step's needs come before it.
    fn start_ready(&mut self, mut later: impl FnMut(usize, Work<'r>, Span)) {
        for index in 0..self.steps.len() {
            if !matches!(self.slots[index], Slot::Waiting) || !self.is_ready(index) {
                continue;
            }
            if self.run.session.stopping.load(Ordering::Relaxed) {
                self.run.halt(stopped());
            }
            if self.run.is_closing() {
                return;
            }
            let step = &self.steps[index];
            let visible = self.visible(index);
            let span = observe::step(step);
            match span.in_scope(|| self.run.start(self.place, step, visible)) {
                Ok(Started::Now(value)) => {
                    observe::step_ended(&span, Ok(value.is_some()), false);
                    self.slots[index] = Slot::Done(value);
                }
                Ok(Started::Later(work)) => {
                    self.slots[index] = Slot::Running;
                    later(index, work, span);
                }
                Err(error) => {
                    observe::step_ended(&span, Err(&error), false);
                    self.lose(index, error);
                }
            }
        }
    }

    fn is_ready(&self, index: usize) -> bool {
        self.steps[index]
            .needs
            .iter()
            .all(|need| matches!(self.slots[*need], Slot::Done(_)))
    }

    /// What the step sees: what it needs, and what the list sees.
    fn visible(&self, index: usize) -> Vec<Visible> {
        let needs = &self.steps[index].needs;
        let mut visible = Vec::with_capacity(self.place.outer.len() + needs.len());
        visible.extend_from_slice(&self.place.outer);
        for need in needs {
            if let Slot::Done(value) = &self.slots[*need] {
                visible.push((self.steps[*need].id.clone(), value.clone()));
            }
        }
        visible
    }

    /// A step failed: so do those that need it.
    fn lose(&mut self, index: usize, error: StepError) {
        self.slots[index] = Slot::Failed;
        let fault = match error {
            StepError::Halt(halt) => return self.run.halt(*halt),
            StepError::Fault(fault) => fault,
            StepError::Refused => {
                self.run.trace().refused = true;
                Fault::new(REFUSED, error.message())
            }
        };
        for later in index + 1..self.steps.len() {
            let starved = self.steps[later]
                .needs
                .iter()
                .any(|need| matches!(self.slots[*need], Slot::Failed));
            if starved {
                self.slots[later] = Slot::Failed;
            }
        }
        if self.fault.is_none() && matches!(self.slots[self.target], Slot::Failed) {
            self.fault = Some(fault);
        }
    }
}

impl Run<'_> {
    /// Ends the run; the first reason stays.
    pub(crate) fn halt(&self, halt: Halt) {
        let mut trace = self.trace();
        trace.closing = true;
        trace.halt.get_or_insert(halt);
    }

    /// The money cap on a case.
    pub(crate) fn cost_cap(&self) -> Option<MicroUsd> {
        self.session.limits.usd.map(MicroUsd::from_usd)
    }

    /// Marks a step as skipped.
    pub(crate) fn skip(&self, position: usize) {
        self.trace().record(position).status = StepStatus::Skipped;
    }
}
