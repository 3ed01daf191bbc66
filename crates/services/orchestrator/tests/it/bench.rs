//! A store in a temporary folder, an orchestrator over it, and results for every kind of task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::finding::{Attribution, Cluster, Points, Rule};
use fapo_domain::model::job::{BlockExecuted, JobSpec, Proposed, Reviewed};
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::proposal::LintReport;
use fapo_domain::model::score::{Comparison, ScoreStatus, ScoreSummary};
use fapo_domain::model::task::TaskPayload;
use fapo_domain::model::variant::DiffStats;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::{JobId, Spend, VariantId};
use fapo_orchestrator::{OrchestratorConfig, OrchestratorService};
use fapo_queue::MemoryQueue;
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::sample;
use serde_json::Value;

pub const LEASE: Duration = Duration::from_secs(30);

pub struct Bench {
    pub clock: Arc<ManualClock>,
    pub store: Arc<SqliteStore>,
    pub queue: Arc<MemoryQueue>,
    pub service: OrchestratorService,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock = ManualClock::new();
        let path = folder.path().join("store.db");
        let store =
            Arc::new(SqliteStore::open(&path, clock.clone(), StoreOptions::default()).await?);
        let queue = Arc::new(MemoryQueue::new());
        let service = service(&store, &queue, &clock);
        Ok(Self {
            clock,
            store,
            queue,
            service,
            _folder: folder,
        })
    }

    /// The process dies: the queue is empty, and the service knows nothing.
    pub fn die(&mut self) {
        self.queue = Arc::new(MemoryQueue::new());
        self.service = service(&self.store, &self.queue, &self.clock);
    }

    /// Does every task that waits, and says how many there were.
    pub async fn do_tasks(&self) -> anyhow::Result<usize> {
        let due = self.store.due_tasks(1000).await?;
        for task in &due {
            let claim = self.store.claim_task(task.id, "bench", LEASE).await?;
            let Claim::Claimed(claimed) = claim else {
                anyhow::bail!("a due task could not be claimed: {claim:?}")
            };
            let result = result(&claimed.payload)?;
            self.store.complete_task(claimed.fence(), result).await?;
        }
        Ok(due.len())
    }

    /// Ticks and does tasks until the job is final.
    pub async fn finish(&self, job: JobId) -> anyhow::Result<()> {
        while !self.service.tick(job).await?.status.is_final() {
            self.do_tasks().await?;
        }
        Ok(())
    }

    pub async fn hash(&self, job: JobId) -> anyhow::Result<ContentHash> {
        let lineage = self.store.lineage(job).await?;
        let decisions = self.store.decisions(job).await?;
        Ok(fapo_policy::lineage_hash(&lineage, &decisions))
    }

    pub async fn events(&self, job: JobId) -> anyhow::Result<Vec<fapo_policy::Event>> {
        let rows = self.store.events(job, 0, 10_000).await?;
        Ok(rows
            .into_iter()
            .map(|row| serde_json::from_value(row.body))
            .collect::<Result<_, _>>()?)
    }

    pub async fn state(&self, job: JobId) -> anyhow::Result<fapo_policy::JobState> {
        Ok(serde_json::from_value(
            self.store.get_job(job).await?.state,
        )?)
    }
}

fn service(
    store: &Arc<SqliteStore>,
    queue: &Arc<MemoryQueue>,
    clock: &Arc<ManualClock>,
) -> OrchestratorService {
    OrchestratorService::new(
        store.clone(),
        store.clone(),
        store.clone(),
        queue.clone(),
        clock.clone(),
        OrchestratorConfig::new("test"),
    )
}

/// A job that promotes its second proposal and then has nothing left to mend.
pub fn spec() -> JobSpec {
    let mut spec = sample::job_spec("made-up");
    spec.cases = BTreeMap::from([(Split::Train, 40), (Split::Val, 40), (Split::Test, 20)]);
    spec.project.execution.block_size = 16;
    spec
}

fn child(iteration: u32) -> VariantId {
    VariantId(ContentHash::of(format!("child {iteration}").as_bytes()))
}

fn points_of(evaluation: &EvaluationSpec) -> u64 {
    if evaluation.variant == child(2) {
        1_000_000
    } else if evaluation.variant == child(1) {
        400_000
    } else {
        500_000
    }
}

/// What a task brings.
pub fn result(payload: &TaskPayload) -> anyhow::Result<Value> {
    Ok(match payload {
        TaskPayload::Execute { block, .. } => serde_json::to_value(BlockExecuted {
            completed: block.len(),
            missing: 0,
            budget_exhausted: false,
            spend: Spend::default(),
        })?,
        TaskPayload::Score { evaluation, block } => {
            let sum = points_of(evaluation) * block.len();
            serde_json::to_value(ScoreSummary {
                counts: BTreeMap::from([(ScoreStatus::Scored, block.len())]),
                sum_micro: sum,
                metrics_micro: BTreeMap::from([("exact_match".to_owned(), sum)]),
                ..ScoreSummary::default()
            })?
        }
        TaskPayload::Compare { a, b, upto, .. } => {
            let mean = |of| points_of(of) as f64 / 1e6;
            let gain = mean(b) - mean(a);
            serde_json::to_value(Comparison {
                pairs: *upto,
                expected_pairs: *upto,
                mean_a: mean(a),
                mean_b: mean(b),
                gain,
                interval: (gain - 0.1, gain + 0.1),
                confidence: 0.9,
                p_value: if gain > 0.0 { 0.001 } else { 0.999 },
                wins: 0,
                losses: 0,
                resamples: 1000,
                protected_regressions: Vec::new(),
                protected_missing: Vec::new(),
                cost_ratio: None,
                latency_p95_s: None,
            })?
        }
        TaskPayload::Attribute { evaluation } => {
            let failures = u64::from(points_of(evaluation) < 1_000_000) * evaluation.cases / 2;
            let points = Points {
                estimate: 0.5,
                low: 0.4,
                high: 0.6,
            };
            serde_json::to_value(Attribution {
                cases: evaluation.cases,
                failures,
                missing: 0,
                mean: 0.5,
                clusters: vec![Cluster {
                    id: "answer_form@answer".to_owned(),
                    label: "wrong form".to_owned(),
                    step: "answer".into(),
                    rule: Rule::AnswerForm,
                    level: Level::Prompt,
                    count: failures,
                    cases: Vec::new(),
                    confidence: 0.9,
                    recoverable: points,
                    direction: String::new(),
                    readings: Vec::new(),
                }],
                ceilings: BTreeMap::from([(Level::Prompt, points)]),
                reader: None,
            })?
        }
        TaskPayload::Propose(task) => serde_json::to_value(Proposed::Variant {
            variant: child(task.iteration),
            technique: Technique::OutputConstraint,
            idea: "only the answer".to_owned(),
            hypothesis: "the form is wrong".to_owned(),
            cluster: None,
            expected_gain: None,
            expected_cost_ratio: None,
            session: None,
            prompt_hash: None,
            spend: Spend::default(),
        })?,
        TaskPayload::Review(task) => serde_json::to_value(Reviewed {
            candidate: task.candidate,
            lints: LintReport {
                level: Some(Level::Prompt),
                ..LintReport::default()
            },
            level: Some(Level::Prompt),
            diff: DiffStats::default(),
            review: None,
            spend: Spend::default(),
        })?,
    })
}
