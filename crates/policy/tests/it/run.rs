//! Drives a job through a made-up world: tasks finish in any order and any batches, some are handed over twice, and now
//! and then the orchestrator dies between reading and writing.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{Decision, DecisionKind, StopReason};
use fapo_domain::model::job::{JobGoal, JobSpec, JobStatus};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::task::{FinishedTask, NewTask, TaskPayload, TaskState};
use fapo_domain::model::variant::Lineage;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::ledger::Balance;
use fapo_domain::{DatasetId, JobId, Spend, TaskId};
use fapo_policy::stage::WINDOW;
use fapo_policy::{Event, JobState, advance, budget, lineage_hash, start};

use crate::world::{World, baseline, mix};

/// A small generator for interleavings (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) % bound.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// How tasks finish.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// One by one, in the order in which they were created.
    Calm,
    /// Any.
    Wild(u64),
}

pub struct Run {
    pub job: JobId,
    pub spec: JobSpec,
    pub world: World,
    pub state: JobState,
    pub status: JobStatus,
    pub events: Vec<Event>,
    pub lineage: Vec<Lineage>,
    pub decisions: Vec<Decision>,
    pub opened: BTreeSet<ContentHash>,
    pub balance: Balance,
    /// Every task that was ever created.
    pub created: BTreeSet<TaskId>,
    pub queued: Vec<NewTask>,
    pub finished: Vec<FinishedTask>,
    /// Tasks that died.
    pub buried: Vec<NewTask>,
    /// Which tasks die when their turn comes.
    pub deadly: Option<fn(&TaskPayload) -> bool>,
    pub elapsed_ms: u64,
    pub ms_per_tick: u64,
    pub largest_state: usize,
}

pub fn project() -> ProjectSpec {
    let text = serde_json::json!({
        "name": "made-up",
        "models": {},
        "data": { "train": "train.jsonl" },
        "scorer": { "metric": "exact_match" },
        "scope": { "allow": ["prompt", "parameter", "structure"] },
        "execution": { "block_size": 16 },
        "seed": 7,
    });
    serde_json::from_value(text).unwrap()
}

pub fn spec(project: ProjectSpec, train: u64, val: u64, test: u64) -> JobSpec {
    JobSpec {
        goal: JobGoal::Optimize,
        project,
        baseline: baseline(),
        dataset: DatasetId(ContentHash::of(b"data")),
        cases: BTreeMap::from([
            (Split::Train, train),
            (Split::Val, val),
            (Split::Test, test),
        ]),
        corpora: BTreeMap::new(),
        seal: ContentHash::of(b"seal"),
        protect: Vec::new(),
        scorer_code: BTreeMap::new(),
        playbook: None,
        prompts: BTreeMap::new(),
    }
}

impl Run {
    pub fn new(world: World, spec: JobSpec, job: u8) -> Self {
        let job = JobId::at(u64::from(job), [job; 10]);
        Self {
            job,
            state: start(job, &spec),
            status: JobStatus::Running,
            events: Vec::new(),
            lineage: Vec::new(),
            decisions: Vec::new(),
            opened: BTreeSet::new(),
            balance: Balance {
                caps: budget::caps(&spec.project.budget),
                spent: vec![
                    (SpendRole::Task, Spend::default()),
                    (SpendRole::Proposer, Spend::default()),
                ],
                ..Balance::default()
            },
            created: BTreeSet::new(),
            queued: Vec::new(),
            finished: Vec::new(),
            buried: Vec::new(),
            deadly: None,
            elapsed_ms: 0,
            ms_per_tick: 0,
            largest_state: 0,
            spec,
            world,
        }
    }

    /// Runs to the end.
    pub fn finish(mut self, order: Order) -> Self {
        self.drive(order);
        self
    }

    /// Runs until the job is final.
    pub fn drive(&mut self, order: Order) {
        self.drive_until(order, |_| false);
    }

    /// Runs until the job is final or a condition holds after a tick.
    pub fn drive_until(&mut self, order: Order, until: impl Fn(&Self) -> bool) {
        let mut random = match order {
            Order::Calm => Random(0),
            Order::Wild(seed) => Random(seed),
        };
        let mut old: Vec<FinishedTask> = Vec::new();
        for _ in 0..200_000 {
            let before = self.created.len();
            self.tick(order, &mut random, &mut old);
            if self.status.is_final() || until(self) {
                return;
            }
            assert!(
                !self.queued.is_empty() || !self.finished.is_empty() || self.created.len() > before,
                "the job hangs at {:?}",
                self.state.phase
            );
            let batch = match order {
                Order::Calm => 1,
                Order::Wild(_) => 1 + random.below(4),
            };
            for _ in 0..batch {
                if self.queued.is_empty() {
                    break;
                }
                let next = match order {
                    Order::Calm => 0,
                    Order::Wild(_) => random.below(self.queued.len()),
                };
                let task = self.queued.remove(next);
                self.do_task(task);
            }
        }
        panic!("the job does not end; it is at {:?}", self.state.phase);
    }

    fn do_task(&mut self, task: NewTask) {
        let dies = self.deadly.is_some_and(|deadly| deadly(&task.payload));
        if dies {
            self.buried.push(task.clone());
        }
        let role = match &task.payload {
            TaskPayload::Execute {
                evaluation,
                block,
                round: 0,
            } => {
                let spend = self.world.spend(evaluation, block.len());
                self.balance.spent[0].1 += spend;
                None
            }
            TaskPayload::Propose(_) => Some(1),
            _ => None,
        };
        let result = (!dies).then(|| self.world.result(&task.payload));
        if let (Some(role), Some(result)) = (role, &result) {
            let spend: Spend = serde_json::from_value(result["spend"].clone()).unwrap();
            self.balance.spent[role].1 += spend;
        }
        self.finished.push(FinishedTask {
            id: task.id,
            payload: task.payload,
            state: if dies {
                TaskState::Dead
            } else {
                TaskState::Done
            },
            result,
            reason: dies.then(|| "SCRIPTED: it died".to_owned()),
        });
    }

    fn tick(&mut self, order: Order, random: &mut Random, old: &mut Vec<FinishedTask>) {
        let mut inputs = std::mem::take(&mut self.finished);
        if let Order::Wild(_) = order {
            // some stay behind for a later tick, some come a second time, all in any order
            if !inputs.is_empty() && random.one_in(4) {
                let kept = random.below(inputs.len());
                self.finished = inputs.split_off(kept);
            }
            if !old.is_empty() && random.one_in(3) {
                inputs.push(old[random.below(old.len())].clone());
            }
            for index in (1..inputs.len()).rev() {
                inputs.swap(index, random.below(index + 1));
            }
            if random.one_in(10) {
                let stored = serde_json::to_vec(&self.state).unwrap();
                self.largest_state = self.largest_state.max(stored.len());
                let loaded: JobState = serde_json::from_slice(&stored).unwrap();
                assert_eq!(loaded, self.state, "storing changed the state");
                self.state = loaded;
            }
        }
        self.elapsed_ms += self.ms_per_tick;
        let act = || {
            advance(
                self.job,
                &self.spec,
                self.state.clone(),
                &inputs,
                &self.balance,
                false,
                self.elapsed_ms,
            )
        };
        let mut next = act();
        if let Order::Wild(_) = order
            && random.one_in(5)
        {
            // killed before the commit, and done again
            let again = act();
            assert_eq!(next, again, "not a pure function");
            next = again;
        }
        self.commit(next);
        if old.len() < 50 {
            old.extend(inputs);
        }
    }

    pub fn commit(&mut self, next: fapo_policy::Advance) {
        self.state = next.state;
        self.status = next.status;
        for decision in &next.decisions {
            assert_eq!(
                decision.seq as usize,
                self.decisions.len() + usize::from(false)
            );
            self.decisions.push(decision.clone());
        }
        self.events.extend(next.events);
        self.lineage.extend(next.lineage);
        self.opened.extend(next.open_test);
        for task in next.tasks {
            assert_eq!(task.job, self.job);
            assert!(
                self.created.insert(task.id),
                "asked for twice: {:?}",
                task.payload
            );
            self.queued.push(task);
        }
        for stage in &self.state.stages {
            assert!(stage.in_flight.len() <= WINDOW);
        }
    }

    /// Revives dead tasks, as `fapo tasks retry` does.
    pub fn revive(&mut self) {
        self.deadly = None;
        self.status = JobStatus::Running;
        self.queued.append(&mut self.buried);
    }

    pub fn cancel(&mut self) {
        let next = advance(
            self.job,
            &self.spec,
            self.state.clone(),
            &[],
            &self.balance,
            true,
            self.elapsed_ms,
        );
        self.commit(next);
    }

    pub fn hash(&self) -> ContentHash {
        lineage_hash(&self.lineage, &self.decisions)
    }

    pub fn stop_reason(&self) -> Option<StopReason> {
        self.state.stop.as_ref().map(|stop| stop.why)
    }

    pub fn decided(&self, what: impl Fn(&DecisionKind) -> bool) -> Vec<&Decision> {
        self.decisions
            .iter()
            .filter(|decision| what(&decision.what))
            .collect()
    }

    /// The decisions as lines for people.
    pub fn log(&self) -> String {
        self.decisions
            .iter()
            .map(|decision| format!("{:>2} {}\n", decision.iteration, decision.reason))
            .collect()
    }
}
