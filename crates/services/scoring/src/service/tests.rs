//! The service over the real store.

use std::time::Duration;

use fapo_domain::clock::{SystemClock, Timestamp};
use fapo_domain::error::Retry;
use fapo_domain::ids::{DatasetId, TaskId, VariantId};
use fapo_domain::model::evaluation::{Block, CacheUse};
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::score::{Comparison, ScoreStatus, ScoreSummary};
use fapo_domain::model::task::NewTask;
use fapo_domain::model::trace::{RunStatus, StepRecord, StepStatus};
use fapo_domain::money::{MicroUsd, Spend};
use fapo_domain::ports::datasets::IncomingCase;
use fapo_domain::ports::jobs::Tick;
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::code::ScriptedCode;
use serde_json::json;

use super::*;

mod asked;
mod code;

const CASES: u64 = 40;

struct World {
    store: SqliteStore,
    service: ScoringService,
    job: JobId,
    dataset: DatasetId,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl World {
    /// A job over `CASES` val cases whose right answer is always `yes`.
    async fn new() -> anyhow::Result<Self> {
        let scorer = json!({"metric": "exact_match", "expected": "answer", "also": ["f1"]});
        Self::scoring(scorer, ScriptedCode::none()).await
    }

    /// The same with another scorer, whose code these workers run.
    async fn scoring(scorer: Value, workers: ScriptedCode) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = SqliteStore::open(
            &folder.path().join("store.db"),
            Arc::new(SystemClock),
            StoreOptions::default(),
        )
        .await?;
        let import = store.begin_import("p").await?;
        let cases = (0..CASES)
            .map(|at| {
                Ok(IncomingCase {
                    split: Split::Val,
                    case: serde_json::from_value(json!({
                        "case_id": format!("c{at}"), "input": {"n": at}, "expected": {"answer": "yes"}
                    }))?,
                    file: "val.jsonl".to_owned(),
                    line: at + 1,
                })
            })
            .collect::<Result<Vec<_>, serde_json::Error>>()?;
        store.import_cases(import, cases).await?;
        let dataset = store.commit_import(import).await?;
        let spec: JobSpec = serde_json::from_value(json!({
            "goal": {"goal": "optimize"},
            "project": {
                "name": "p",
                "models": {"task": {"provider": "sim", "model": "m"}},
                "data": {"train": "t.jsonl"},
                "scorer": scorer
            },
            "baseline": ContentHash::of(b"v"),
            "dataset": dataset.id,
            "cases": {"val": CASES},
            "seal": ContentHash::of(b"seal"),
            "protect": ["c3"],
            "scorer_code": {"scorers/own.py": "frozen with the job"}
        }))?;
        let job = JobId::at(1, [7; 10]);
        store
            .create_job(job, spec, json!({}), Timestamp(0), None)
            .await?;
        let port = Arc::new(store.clone());
        let service = ScoringService::new(
            port.clone(),
            port.clone(),
            port.clone(),
            port,
            Arc::new(workers),
        );
        Ok(Self {
            store,
            service,
            job,
            dataset: dataset.id,
            stop: CancellationToken::new(),
            _folder: folder,
        })
    }

    fn evaluation(&self, variant: &[u8], order_seed: Option<u64>) -> EvaluationSpec {
        EvaluationSpec {
            job: self.job,
            variant: VariantId(ContentHash::of(variant)),
            dataset: self.dataset,
            split: Split::Val,
            sample: 0,
            cases: CASES,
            order_seed,
            cache: CacheUse::Shared,
            attempt: 0,
        }
    }

    /// Stores a run with the given answer for each ordinal; `None` makes it missing.
    async fn record(
        &self,
        evaluation: &EvaluationSpec,
        answer: impl Fn(u64) -> Option<&'static str>,
        ordinals: impl IntoIterator<Item = u64>,
    ) -> anyhow::Result<()> {
        let runs = ordinals
            .into_iter()
            .map(|ordinal| run(evaluation, ordinal, answer(ordinal)))
            .collect();
        Ok(self.store.record_runs(None, runs).await?)
    }

    /// Creates and claims a task.
    async fn claim(&self, payload: TaskPayload, key: &str) -> anyhow::Result<ClaimedTask> {
        let id = TaskId::derive(self.job, "score", key);
        let job = self.store.get_job(self.job).await?;
        self.store
            .commit_tick(Tick {
                job: self.job,
                expected_version: job.version,
                state: json!({}),
                status: JobStatus::Running,
                events: Vec::new(),
                tasks: vec![NewTask {
                    id,
                    job: self.job,
                    payload,
                }],
                consumed: Vec::new(),
                lineage: Vec::new(),
                decisions: Vec::new(),
                open_test: None,
                trace: None,
            })
            .await?;
        match self
            .store
            .claim_task(id, "test", Duration::from_secs(60))
            .await?
        {
            Claim::Claimed(task) => Ok(*task),
            other => anyhow::bail!("not claimed: {other:?}"),
        }
    }

    async fn score(&self, evaluation: &EvaluationSpec, key: &str) -> anyhow::Result<ScoreSummary> {
        let payload = TaskPayload::Score {
            evaluation: evaluation.clone(),
            block: Block {
                start: 0,
                end: CASES,
            },
        };
        let task = self.claim(payload, key).await?;
        let result = self.service.handle(&task, &self.stop).await?;
        // a second delivery of the same claim changes nothing
        let again = self.service.handle(&task, &self.stop).await?;
        assert_eq!(result, again);
        Ok(serde_json::from_value(result)?)
    }

    async fn compare(
        &self,
        a: &EvaluationSpec,
        b: &EvaluationSpec,
        upto: u64,
    ) -> Result<Comparison, WorkError> {
        let payload = TaskPayload::Compare {
            a: a.clone(),
            b: b.clone(),
            upto,
            confidence: 0.9,
            seed: 5,
        };
        let task = self
            .claim(payload, &format!("compare {upto}"))
            .await
            .unwrap();
        let result = self.service.handle(&task, &self.stop).await?;
        Ok(serde_json::from_value(result).unwrap())
    }
}

fn run(evaluation: &EvaluationSpec, ordinal: u64, answer: Option<&str>) -> RunRecord {
    let full_spend = Spend {
        cost: MicroUsd(20),
        model_calls: 1,
        ..Spend::default()
    };
    // every other run came from the cache
    let cache_hit = ordinal % 2 == 1;
    let spend = if cache_hit {
        Spend::default()
    } else {
        full_spend
    };
    RunRecord {
        evaluation: evaluation.id(),
        ordinal,
        case_id: CaseId::new(format!("c{ordinal}")),
        status: if answer.is_some() {
            RunStatus::Completed
        } else {
            RunStatus::Missing
        },
        reason: None,
        output_text: answer.map(str::to_owned),
        output_json: None,
        spend,
        full_spend,
        started_at: Timestamp(1),
        duration_ms: 100,
        full_duration_ms: 100 + 50 * u32::from(cache_hit),
        steps: vec![StepRecord {
            step: "answer".into(),
            position: 0,
            kind: "llm".to_owned(),
            status: StepStatus::Ok,
            key: None,
            cache_hit,
            input: None,
            output: None,
            finish: None,
            error_kind: None,
            error: None,
            spend,
            full_spend,
            attempts: u32::from(!cache_hit),
            started_ms: 0,
            duration_ms: 100,
            full_duration_ms: 100 + 50 * u32::from(cache_hit),
        }],
    }
}

#[tokio::test]
async fn a_block_is_scored_summed_and_stored() -> anyhow::Result<()> {
    let world = World::new().await?;
    let evaluation = world.evaluation(b"v", None);
    // 10 right, 10 partly, 10 wrong, 5 missing, 5 never run
    let answer = |ordinal| match ordinal {
        0..10 => Some("yes"),
        10..20 => Some("Yes."),
        20..30 => Some("no"),
        _ => None,
    };
    world.record(&evaluation, answer, 0..35).await?;
    let summary = world.score(&evaluation, "block").await?;
    assert_eq!(summary.count(ScoreStatus::Scored), 30);
    assert_eq!(summary.count(ScoreStatus::Missing), 10);
    assert_eq!(summary.mean(), Some(1.0 / 3.0));
    assert!((summary.metric("f1").unwrap_or_default() - 2.0 / 3.0).abs() < 1e-6);
    // 18 of the 35 runs paid; the 30 with a result count in full
    assert_eq!(summary.spend.cost, MicroUsd(18 * 20));
    assert_eq!(summary.full_spend.cost, MicroUsd(30 * 20));
    assert_eq!(summary.full_spend.model_calls, 30);
    let stored = world.store.scores(evaluation.id(), 0, 100).await?;
    assert_eq!(stored.len(), 35);
    assert_eq!(
        stored[12].score.feedback,
        "expected `yes`, got `Yes.`: only punctuation, articles or white space differ"
    );
    assert_eq!(stored[12].full_cost, MicroUsd(20));
    assert_eq!(
        (stored[12].uncached_ms, stored[13].uncached_ms),
        (Some(100), None)
    );
    assert_eq!(
        (stored[12].full_ms, stored[13].full_ms),
        (Some(100), Some(150))
    );
    // the missing ones are run again and scored in a second round
    world.record(&evaluation, |_| Some("yes"), 30..40).await?;
    let second = world.score(&evaluation, "block, round 1").await?;
    assert_eq!((second.counted(), second.total()), (40, 40));
    assert_eq!(
        world.store.scores(evaluation.id(), 32, 1).await?[0]
            .score
            .score,
        1.0
    );
    Ok(())
}

#[tokio::test]
async fn evaluations_are_compared_over_the_first_positions_of_their_order() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (a, b) = (
        world.evaluation(b"a", Some(9)),
        world.evaluation(b"b", Some(9)),
    );
    let order = a.ordinals(CASES, 0..CASES);
    // the second is better on even ordinals but for case 3, where it is worse; case 6 is missing in the first
    world
        .record(
            &a,
            |at| {
                if at == 6 {
                    None
                } else {
                    Some(if at == 3 { "yes" } else { "no" })
                }
            },
            order.clone(),
        )
        .await?;
    world
        .record(
            &b,
            |at| Some(if at % 2 == 0 { "yes" } else { "no" }),
            order.clone(),
        )
        .await?;
    world.score(&a, "a").await?;
    world.score(&b, "b").await?;
    let all = world.compare(&a, &b, CASES).await?;
    assert_eq!((all.pairs, all.expected_pairs), (39, 40));
    assert_eq!((all.wins, all.losses), (19, 1));
    assert_eq!(all.protected_regressions, [CaseId::new("c3")]);
    assert_eq!(all.cost_ratio, Some(1.0));
    assert_eq!(all.latency_p95_s, Some(0.15));
    assert!(all.p_value < 0.01, "{all:?}");
    let first = world.compare(&a, &b, 12).await?;
    let wins = order[..12]
        .iter()
        .filter(|at| **at % 2 == 0 && **at != 6)
        .count() as u64;
    assert_eq!((first.expected_pairs, first.wins), (12, wins));
    let same = world.compare(&a, &a, 20).await?;
    assert_eq!((same.p_value, same.gain), (1.0, 0.0));
    Ok(())
}

#[tokio::test]
async fn a_protected_case_without_a_row_on_the_candidates_side_is_named() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (a, b) = (world.evaluation(b"a", None), world.evaluation(b"b", None));
    world.record(&a, |_| Some("yes"), 0..CASES).await?;
    world.score(&a, "a").await?;
    for (key, ordinals, upto) in [("hole", [0, 1, 2, 9], 40), ("more", [4, 5, 6, 7], 39)] {
        world.record(&b, |_| Some("yes"), ordinals).await?;
        world.score(&b, key).await?;
        let found = world.compare(&a, &b, upto).await?;
        assert_eq!(found.protected_missing, [CaseId::new("c3")]);
    }
    let short = world.evaluation(b"short", None);
    world.record(&short, |_| Some("yes"), 0..3).await?;
    world.score(&short, "short").await?;
    let found = world.compare(&a, &short, 38).await?;
    assert_eq!((found.pairs, found.protected_missing.len()), (3, 1));
    let early = world.compare(&a, &short, 3).await?;
    assert!(
        early.protected_missing.is_empty(),
        "it was not asked for yet"
    );
    Ok(())
}

#[tokio::test]
async fn comparisons_across_scorers_or_orders_are_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (a, b) = (world.evaluation(b"a", None), world.evaluation(b"b", None));
    world.record(&a, |_| Some("yes"), 0..CASES).await?;
    world.record(&b, |_| Some("yes"), 0..CASES).await?;
    world.score(&a, "a").await?;
    let foreign = (0..CASES)
        .map(|ordinal| CaseScore {
            evaluation: b.id(),
            ordinal,
            case_id: CaseId::new(format!("c{ordinal}")),
            status: ScoreStatus::Scored,
            score: 1.0,
            breakdown: BTreeMap::new(),
            feedback: String::new(),
            scorer: ContentHash::of(b"another scorer"),
        })
        .collect();
    world.store.record_scores(None, foreign).await?;
    let refused = world.compare(&a, &b, CASES).await.unwrap_err();
    assert_eq!(
        (refused.reason, refused.retry),
        ("SCORER_VERSION_MISMATCH", Retry::Never)
    );
    let other_order = world.evaluation(b"b", Some(1));
    let refused = world.compare(&a, &other_order, 5).await.unwrap_err();
    assert_eq!(refused.reason, "COMPARISON_UNPAIRED");
    Ok(())
}

#[tokio::test]
async fn a_stale_claim_writes_nothing_and_a_stopped_task_is_interrupted() -> anyhow::Result<()> {
    let world = World::new().await?;
    let evaluation = world.evaluation(b"v", None);
    world.record(&evaluation, |_| Some("yes"), 0..CASES).await?;
    let payload = TaskPayload::Score {
        evaluation: evaluation.clone(),
        block: Block { start: 0, end: 5 },
    };
    let mut task = world.claim(payload, "stale").await?;
    task.epoch -= 1;
    let refused = world.service.handle(&task, &world.stop).await.unwrap_err();
    assert_eq!(refused.reason, "LEASE_STALE");
    assert!(world.store.scores(evaluation.id(), 0, 9).await?.is_empty());
    task.epoch += 1;
    world.stop.cancel();
    let stopped = world.service.handle(&task, &world.stop).await.unwrap_err();
    assert_eq!(stopped.reason, "INTERRUPTED");
    Ok(())
}

#[tokio::test]
async fn a_run_of_another_case_and_a_foreign_task_are_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let evaluation = world.evaluation(b"v", None);
    let mut strange = run(&evaluation, 0, Some("yes"));
    strange.case_id = CaseId::new("c1");
    world.store.record_runs(None, vec![strange]).await?;
    let payload = TaskPayload::Score {
        evaluation: evaluation.clone(),
        block: Block { start: 0, end: 5 },
    };
    let task = world.claim(payload, "strange").await?;
    let refused = world.service.handle(&task, &world.stop).await.unwrap_err();
    assert_eq!(refused.reason, "RUN_CASE_MISMATCH");
    let attribute = world
        .claim(TaskPayload::Attribute { evaluation }, "foreign")
        .await?;
    let refused = world
        .service
        .handle(&attribute, &world.stop)
        .await
        .unwrap_err();
    assert_eq!(refused.reason, "TASK_MISROUTED");
    Ok(())
}

#[tokio::test]
async fn a_single_run_is_scored_on_request() -> anyhow::Result<()> {
    let world = World::new().await?;
    let spec = world.store.get_job(world.job).await?.spec;
    let evaluation = world.evaluation(b"v", None);
    let mut case = world
        .store
        .page(world.dataset, Split::Val, 0, 1)
        .await?
        .remove(0);
    let record = run(&evaluation, 0, Some("yes"));
    assert_eq!(
        world.service.score_run(&spec, &case, &record).await?.score,
        1.0
    );
    case.expected.clear();
    let refused = world
        .service
        .score_run(&spec, &case, &record)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.reason, refused.retry),
        ("EXPECTED_MISSING", Retry::Never)
    );
    Ok(())
}
