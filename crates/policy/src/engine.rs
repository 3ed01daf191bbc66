//! The machine that one call of `advance` drives: the state, what is to be written, and the helpers that all parts use.

use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{Decision, DecisionKind};
use fapo_domain::model::evaluation::{CacheUse, EvaluationSpec};
use fapo_domain::model::job::{JobGoal, JobSpec, JobStatus};
use fapo_domain::model::task::TaskPayload;
use fapo_domain::model::variant::{DiffStats, Lineage};
use fapo_domain::ports::ledger::Balance;
use fapo_domain::seed::Seed;
use fapo_domain::{JobId, VariantId};
use serde_json::Value;

use crate::advance::Advance;
use crate::event::Event;
use crate::keys;
use crate::stage::{Stage, StagePurpose};
use crate::state::{JobState, Measurement, Phase, SlotProgress};

pub(crate) struct Engine<'a> {
    pub job: JobId,
    pub spec: &'a JobSpec,
    pub balance: &'a Balance,
    pub out: Advance,
}

impl<'a> Engine<'a> {
    pub fn new(job: JobId, spec: &'a JobSpec, state: JobState, balance: &'a Balance) -> Self {
        Self {
            job,
            spec,
            balance,
            out: Advance {
                status: state.status,
                state,
                events: Vec::new(),
                tasks: Vec::new(),
                lineage: Vec::new(),
                decisions: Vec::new(),
                open_test: None,
            },
        }
    }

    pub const fn state(&mut self) -> &mut JobState {
        &mut self.out.state
    }

    pub fn event(&mut self, event: Event) {
        self.out.events.push(event);
    }

    pub fn task(&mut self, payload: TaskPayload) {
        let task = keys::new_task(self.job, payload, self.block_size());
        self.out.tasks.push(task);
    }

    pub fn decide(&mut self, what: DecisionKind, reason: String, evidence: Value) {
        let decision = Decision {
            seq: self.out.state.decisions,
            iteration: self.out.state.iteration,
            what,
            reason,
            evidence,
        };
        self.out.state.decisions += 1;
        self.event(Event::Decided {
            decision: decision.clone(),
        });
        self.out.decisions.push(decision);
    }

    /// A seed for one use: from the project's seed and what it is about, never from the job.
    pub fn seed(&self, purpose: &str, about: &[&[u8]]) -> u64 {
        Seed::derive(self.spec.project.seed, purpose, about).as_u64()
    }

    pub fn block_size(&self) -> u64 {
        u64::from(self.spec.project.execution.block_size)
    }

    pub fn cases(&self, split: Split) -> u64 {
        self.spec.cases.get(&split).copied().unwrap_or(0)
    }

    /// The evaluation of a variant on train or val, as the search uses it.
    pub fn evaluation(&self, variant: VariantId, split: Split) -> EvaluationSpec {
        EvaluationSpec {
            job: self.job,
            variant,
            dataset: self.spec.dataset,
            split,
            sample: 0,
            cases: self.cases(split),
            order_seed: Some(self.spec.project.seed),
            cache: CacheUse::Shared,
            attempt: self.out.state.undecided(variant),
        }
    }

    pub fn start_stage(&mut self, evaluation: EvaluationSpec, purpose: StagePurpose, looks: bool) {
        let stage = Stage::new(evaluation, purpose, self.block_size(), looks);
        self.event(Event::StageStarted {
            evaluation: stage.id,
            purpose,
            variant: stage.evaluation.variant,
            split: stage.evaluation.split,
            sample: stage.evaluation.sample,
            cases: stage.evaluation.cases,
            blocks: stage.blocks,
        });
        self.state().stages.push(stage);
    }

    /// Takes a stage out of the state and says that it ended.
    pub fn end_stage(&mut self, index: usize) -> Measurement {
        let stage = self.state().stages.remove(index);
        self.event(Event::StageDone {
            evaluation: stage.id,
            purpose: stage.purpose,
            variant: stage.evaluation.variant,
            split: stage.evaluation.split,
            complete: stage.done == stage.blocks,
            summary: stage.summary.clone(),
        });
        Measurement {
            evaluation: stage.evaluation,
            summary: stage.summary,
        }
    }

    /// Asks for a comparison of a stage's variant with another evaluation, up to the stage's look.
    pub fn compare_stage(&mut self, index: usize, against: EvaluationSpec) {
        let stage = &self.out.state.stages[index];
        let (b, upto) = (stage.evaluation.clone(), stage.cases_at_look());
        self.out.state.stages[index].comparing = Some(crate::stage::PendingComparison {
            against: against.clone(),
            upto,
        });
        self.compare(against, b, upto);
    }

    pub fn compare(&mut self, a: EvaluationSpec, b: EvaluationSpec, upto: u64) {
        let seed = self.seed(
            "compare",
            &[
                a.variant.0.as_bytes(),
                b.variant.0.as_bytes(),
                a.split.as_str().as_bytes(),
                &a.sample.to_le_bytes(),
                &upto.to_le_bytes(),
            ],
        );
        let confidence = 1.0 - 2.0 * self.spec.project.acceptance.alpha;
        self.task(TaskPayload::Compare {
            a,
            b,
            upto,
            confidence,
            seed,
        });
    }

    /// Tasks under way, dead ones included.
    pub fn outstanding(&self) -> usize {
        let state = &self.out.state;
        let stages: usize = state.stages.iter().map(Stage::outstanding).sum();
        let slots = state
            .slots
            .iter()
            .filter(|slot| {
                matches!(
                    slot.progress,
                    SlotProgress::Proposing | SlotProgress::Reviewing
                )
            })
            .count();
        let attributing = state.phase == Phase::Attributing && state.attribution.is_none();
        let comparing_test = state.phase == Phase::ComparingTest;
        stages + slots + usize::from(attributing) + usize::from(comparing_test)
    }

    /// Goes on as far as it can without a task that is still under way.
    pub fn run(&mut self) {
        loop {
            self.fill();
            let moved = match self.out.state.phase {
                Phase::Submitted => self.begin(),
                Phase::Evaluating => self.end_evaluation(),
                Phase::Baseline => self.end_baseline(),
                Phase::Attributing => self.end_attribution(),
                Phase::Proposing => self.end_proposing(),
                Phase::Reviewing => self.end_reviewing(),
                Phase::Gating => self.step_gates(),
                Phase::Testing => self.end_test_sample(),
                Phase::ComparingTest | Phase::Finished => false,
            };
            if !moved {
                return;
            }
        }
    }

    /// Starts blocks wherever a stage's window has room. Hours bound the search and not the sealed test, which comes after
    /// it.
    fn fill(&mut self) {
        let late = self.hours_spent().is_some();
        for index in 0..self.out.state.stages.len() {
            if late && self.out.state.stages[index].purpose != StagePurpose::Test {
                self.state().stages[index].out_of_time();
            }
            while let Some(block) = self.out.state.stages[index].start_block() {
                let stage = &self.out.state.stages[index];
                let payload = TaskPayload::Execute {
                    evaluation: stage.evaluation.clone(),
                    block: stage.block(block),
                    round: 0,
                };
                self.task(payload);
            }
        }
    }

    fn begin(&mut self) -> bool {
        let baseline = self.spec.baseline;
        self.event(Event::Submitted {
            goal: self.spec.goal.clone(),
            project: self.spec.project.name.clone(),
            baseline,
            data: self.spec.cases.clone(),
            proposals: self.spec.project.budget.proposals,
        });
        self.out.lineage.push(Lineage {
            child: baseline,
            parents: Vec::new(),
            iteration: 0,
            level: None,
            technique: None,
            hypothesis: String::new(),
            diff: DiffStats::default(),
        });
        match &self.spec.goal {
            JobGoal::Evaluate {
                split,
                cases,
                sample,
            } => {
                let all = self.cases(*split);
                let evaluation = EvaluationSpec {
                    sample: *sample,
                    cases: cases.unwrap_or(all).min(all),
                    // "the first so many cases" are the first in the file
                    order_seed: None,
                    ..self.evaluation(baseline, *split)
                };
                self.start_stage(evaluation, StagePurpose::Evaluate, false);
                self.state().phase = Phase::Evaluating;
            }
            JobGoal::Optimize => {
                for split in [Split::Train, Split::Val] {
                    let evaluation = self.evaluation(baseline, split);
                    self.start_stage(evaluation, StagePurpose::Baseline, false);
                }
                self.state().phase = Phase::Baseline;
            }
        }
        true
    }

    pub fn set_status(&mut self, status: JobStatus) {
        self.out.status = status;
        self.out.state.status = status;
    }
}
