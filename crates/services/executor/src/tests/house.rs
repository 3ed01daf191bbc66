//! The real store with one job, and an executor over it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::clock::Clock;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::evaluation::{Block, EvaluationSpec};
use fapo_domain::model::job::{BlockExecuted, JobSpec, JobStatus};
use fapo_domain::model::task::{ClaimedTask, NewTask, TaskPayload};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::code::CodeRunner;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::{Jobs, Tick};
use fapo_domain::ports::ledger::{Caps, Ledger};
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::{JobId, TaskId, VariantId};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::code::ScriptedCode;
use fapo_testkit::sample;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::script::Script;
use super::stage::{animals, spec};
use crate::{ExecutorConfig, ExecutorService, Ports};

/// A store with one job over some train, val and test cases, and an executor.
pub(super) struct House {
    pub(super) store: Arc<SqliteStore>,
    pub(super) script: Arc<Script>,
    pub(super) service: ExecutorService,
    pub(super) spec: JobSpec,
    pub(super) job: JobId,
    ports: Ports,
    _folder: tempfile::TempDir,
}

pub(super) fn cases(count: u64, split: Split) -> Vec<Case> {
    (0..count)
        .map(|number| {
            sample::case(
                &format!("{split}-{number}"),
                &format!("question {number} hunts"),
                "x",
            )
        })
        .collect()
}

impl House {
    pub(super) async fn new(
        count: u64,
        change: impl FnOnce(&mut JobSpec),
        script: impl FnOnce(Arc<dyn StepCache>) -> Script,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = ManualClock::new();
        let path = folder.path().join("store.sqlite");
        let store = SqliteStore::open(&path, Arc::clone(&clock), StoreOptions::default()).await;
        let store = Arc::new(store.unwrap());
        let import = store.begin_import("stage").await.unwrap();
        for split in Split::ALL {
            let incoming = cases(count, split)
                .into_iter()
                .zip(1..)
                .map(|(case, line)| sample::incoming(split, line, case))
                .collect();
            store.import_cases(import, incoming).await.unwrap();
        }
        let dataset = store.commit_import(import).await.unwrap();
        let text: String = animals()
            .iter()
            .map(|document| serde_json::to_string(document).unwrap() + "\n")
            .collect();
        store
            .put_blobs(vec![Arc::from(text.as_bytes())])
            .await
            .unwrap();
        let mut spec = spec();
        spec.dataset = dataset.id;
        spec.cases = BTreeMap::from(Split::ALL.map(|split| (split, count)));
        change(&mut spec);
        let job = sample::job_id(1);
        store
            .create_job(job, spec.clone(), Value::Null, clock.now(), None)
            .await
            .unwrap();
        store.open_account(job, Caps::default()).await.unwrap();
        let script = Arc::new(script(Arc::clone(&store) as Arc<dyn StepCache>));
        let ports = Ports {
            jobs: Arc::clone(&store) as Arc<dyn Jobs>,
            variants: Arc::clone(&store) as Arc<dyn Variants>,
            datasets: Arc::clone(&store) as Arc<dyn Datasets>,
            blobs: Arc::clone(&store) as Arc<dyn Blobs>,
            traces: Arc::clone(&store) as Arc<dyn Traces>,
            cache: Arc::clone(&store) as Arc<dyn StepCache>,
            models: Arc::clone(&script) as _,
            ledger: Arc::clone(&store) as Arc<dyn Ledger>,
            code: Arc::new(ScriptedCode::none()),
            clock,
        };
        let config = ExecutorConfig {
            flush_runs: 5,
            ..ExecutorConfig::default()
        };
        Self {
            service: ExecutorService::new(ports.clone(), config),
            ports,
            store,
            script,
            spec,
            job,
            _folder: folder,
        }
    }

    /// Gives the executor other workers for code.
    pub(super) fn set_code(&mut self, code: Arc<dyn CodeRunner>) {
        self.ports.code = code;
        self.service = ExecutorService::new(self.ports.clone(), ExecutorConfig::default());
    }

    pub(super) fn evaluation(&self, variant: VariantId, split: Split) -> EvaluationSpec {
        EvaluationSpec {
            dataset: self.spec.dataset,
            split,
            cases: self.spec.cases[&split],
            ..sample::evaluation_spec(self.job, variant)
        }
    }

    /// Creates and claims the task of one block.
    pub(super) async fn claimed(
        &self,
        evaluation: &EvaluationSpec,
        block: Block,
        round: u32,
    ) -> ClaimedTask {
        let key = format!("{}/{}/{round}", evaluation.id(), block.start);
        let id = TaskId::derive(self.job, "execute", &key);
        let version = self.store.get_job(self.job).await.unwrap().version;
        let tick = Tick {
            job: self.job,
            expected_version: version,
            state: Value::Null,
            status: JobStatus::Running,
            events: Vec::new(),
            tasks: vec![NewTask {
                id,
                job: self.job,
                payload: TaskPayload::Execute {
                    evaluation: evaluation.clone(),
                    block,
                    round,
                },
            }],
            consumed: Vec::new(),
            lineage: Vec::new(),
            decisions: Vec::new(),
            open_test: None,
            trace: None,
        };
        self.store.commit_tick(tick).await.unwrap();
        self.claim(id).await
    }

    pub(super) async fn claim(&self, id: TaskId) -> ClaimedTask {
        match self
            .store
            .claim_task(id, "me", Duration::from_secs(0))
            .await
            .unwrap()
        {
            Claim::Claimed(task) => *task,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn handle(&self, task: &ClaimedTask) -> Result<BlockExecuted, WorkError> {
        let result = self.service.handle(task, &CancellationToken::new()).await?;
        Ok(serde_json::from_value(result).unwrap())
    }

    /// Runs a whole evaluation as one block; returns its result and its runs.
    pub(super) async fn evaluate(
        &self,
        evaluation: &EvaluationSpec,
    ) -> (BlockExecuted, Vec<RunRecord>) {
        let block = Block {
            start: 0,
            end: evaluation.cases,
        };
        let task = self.claimed(evaluation, block, 0).await;
        let executed = self
            .handle(&task)
            .await
            .unwrap_or_else(|error| panic!("{error:?}"));
        (executed, self.runs(evaluation).await)
    }

    pub(super) async fn runs(&self, evaluation: &EvaluationSpec) -> Vec<RunRecord> {
        let all: Vec<u64> = (0..evaluation.cases).collect();
        self.store
            .runs(evaluation.id(), &all, StepsOf::All)
            .await
            .unwrap()
    }
}
