//! Runs in Postgres: several processes at once, partitions, imports that nobody goes on with.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fapo_domain::clock::Clock as _;
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::trace::{RunRecord, RunStatus};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::retention::{Retention, RetentionRule};
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::{StepsOf, TraceQueries, Traces};
use fapo_domain::{EvaluationId, JobId, VariantId};
use fapo_store::PgStore;
use fapo_testkit::clock::ManualClock;
use fapo_testkit::postgres::TestDatabase;
use fapo_testkit::sample;
use futures::future::try_join_all;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::postgres::{connect, open};

const MONTH: Duration = Duration::from_secs(31 * 24 * 3600);

/// Another process over the same database, with the same clock.
async fn beside(database: &TestDatabase, clock: &Arc<ManualClock>) -> PgStore {
    connect(database.url(), Arc::<ManualClock>::clone(clock))
        .await
        .unwrap()
}

async fn count(connection: &mut PgConnection, what: &str) -> i64 {
    sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM {what}")))
        .fetch_one(connection)
        .await
        .unwrap()
        .get(0)
}

/// A job that ended when `clock` says, with an evaluation that it asked for.
async fn ended_job(connection: &mut PgConnection, clock: &ManualClock, number: u8) -> EvaluationId {
    let job: JobId = sample::job_id(number);
    let spec = EvaluationSpec {
        sample: u32::from(number),
        ..sample::evaluation_spec(job, VariantId(sample::hash("v")))
    };
    let mut packed = vec![0];
    packed.extend(serde_json::to_vec(&spec).unwrap());
    sqlx::query(
        "INSERT INTO jobs (id, project, spec, status, version, state, created_at, updated_at) \
         VALUES ($1, 'p', '\\x007b7d', 'done', 1, '\\x007b7d', $2, $2)",
    )
    .bind(job.0)
    .bind(clock.now().0)
    .execute(&mut *connection)
    .await
    .unwrap();
    sqlx::query("INSERT INTO job_evaluations (job, hash, spec) VALUES ($1, $2, $3)")
        .bind(job.0)
        .bind(&spec.id().0.as_bytes()[..])
        .bind(packed)
        .execute(connection)
        .await
        .unwrap();
    spec.id()
}

fn rule(clock: &ManualClock) -> RetentionRule {
    RetentionRule {
        traces_before: clock.now(),
        cache_before: None,
        dry_run: false,
    }
}

/// Runs that say who recorded them, in every step, too.
fn block_of(who: &str, evaluation: EvaluationId, count: u64) -> Vec<RunRecord> {
    (0..count)
        .map(|ordinal| {
            let mut run = sample::run_record(evaluation, ordinal);
            run.output_text = Some(who.to_owned());
            for step in &mut run.steps {
                step.error = Some(who.to_owned());
            }
            // the two have different numbers of steps
            if who == "b" {
                run.steps.truncate(1);
            }
            run
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_with_one_block_store_each_run_once_and_whole() {
    let (a, clock, database) = open().await.unwrap();
    let b = beside(&database, &clock).await;
    let mut connection = database.connect().await.unwrap();
    let all: Vec<u64> = (0..40).collect();
    for round in 0..15 {
        let evaluation = sample::evaluation_id(&format!("round {round}"));
        // in some rounds there are missing runs to be replaced
        if round % 3 == 1 {
            let missing = (0..40).map(|n| sample::missing_run(evaluation, n));
            a.record_runs(None, missing.collect()).await.unwrap();
        }
        let mut reversed = block_of("b", evaluation, 40);
        reversed.reverse();
        tokio::try_join!(
            a.record_runs(None, block_of("a", evaluation, 40)),
            b.record_runs(None, reversed),
        )
        .unwrap();
        let runs = a.runs(evaluation, &all, StepsOf::All).await.unwrap();
        assert_eq!(runs.len(), 40);
        for run in runs {
            let who = run.output_text.as_deref().unwrap();
            assert_eq!(run.steps.len(), if who == "a" { 2 } else { 1 });
            for step in &run.steps {
                assert_eq!(step.error.as_deref(), Some(who));
            }
        }
    }
    // no step is left of a run that lost
    let orphans = count(
        &mut connection,
        "steps AS s LEFT JOIN runs AS r USING (part, evaluation, ordinal) \
         WHERE r.part IS NULL",
    )
    .await;
    assert_eq!(orphans, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scores_of_two_processes_with_two_scorers_never_meet() {
    let (a, clock, database) = open().await.unwrap();
    let b = beside(&database, &clock).await;
    for round in 0..10 {
        let evaluation = sample::evaluation_id(&format!("round {round}"));
        let scores = |scorer: &'static str| {
            (0..30)
                .map(|n| {
                    let mut score = sample::case_score(evaluation, n, 0.5);
                    score.scorer = sample::hash(scorer);
                    score
                })
                .collect::<Vec<_>>()
        };
        let (first, second) = tokio::join!(
            a.record_scores(None, scores("one")),
            b.record_scores(None, scores("other")),
        );
        let refused = [first, second]
            .into_iter()
            .filter_map(Result::err)
            .collect::<Vec<_>>();
        assert!(
            matches!(refused.as_slice(), [StoreError::AlreadyExists { .. }]),
            "{refused:?}"
        );
        let stored = a.scores(evaluation, 0, 100).await.unwrap();
        assert_eq!(stored.len(), 30);
        assert!(
            stored
                .iter()
                .all(|one| one.score.scorer == stored[0].score.scorer)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_evaluations_of_a_month_may_come_from_many_processes() {
    let (first, clock, database) = open().await.unwrap();
    let mut stores = vec![first];
    for _ in 0..3 {
        stores.push(beside(&database, &clock).await);
    }
    try_join_all((0..12u64).map(|n| {
        let store = &stores[n as usize % 4];
        // some of them with the same evaluation
        let evaluation = sample::evaluation_id(&format!("e{}", n % 6));
        store.record_runs(None, vec![sample::run_record(evaluation, n)])
    }))
    .await
    .unwrap();
    let mut connection = database.connect().await.unwrap();
    // the clock stands in January 2027
    assert_eq!(count(&mut connection, "runs_202701").await, 12);
    assert_eq!(count(&mut connection, "steps_202701").await, 24);
    assert_eq!(count(&mut connection, "evaluations").await, 6);
}

#[tokio::test]
async fn an_evaluation_stays_in_the_month_of_its_first_run_and_goes_with_it() {
    let (store, clock, database) = open().await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let january = ended_job(&mut connection, &clock, 1).await;
    let record = async |evaluation, ordinal| {
        let runs = vec![sample::run_record(evaluation, ordinal)];
        store.record_runs(None, runs).await.unwrap();
    };
    record(january, 0).await;
    let score = sample::case_score(january, 0, 0.5);
    store.record_scores(None, vec![score]).await.unwrap();
    clock.advance(MONTH);
    record(january, 1).await;
    let february = ended_job(&mut connection, &clock, 2).await;
    record(february, 0).await;
    let stray = sample::evaluation_id("asked for by no job");
    record(stray, 0).await;
    assert_eq!(count(&mut connection, "runs_202701").await, 2);
    assert_eq!(count(&mut connection, "runs_202702").await, 2);

    // whatever is in February's partition beside the stray run goes by itself, January's with its partition
    clock.advance(MONTH);
    let collected = store.collect(rule(&clock)).await.unwrap();
    assert_eq!((collected.evaluations, collected.runs), (2, 3));
    assert_eq!(collected.steps, 6);
    let partitions = "pg_class WHERE relkind = 'r' AND relname";
    assert_eq!(
        count(&mut connection, &format!("{partitions} ~ '_202701$'")).await,
        0
    );
    assert_eq!(
        count(&mut connection, &format!("{partitions} ~ '_202702$'")).await,
        2
    );
    assert_eq!(count(&mut connection, "runs").await, 1);
    assert_eq!(count(&mut connection, "scores").await, 0);
    // a late writer finds a place again
    record(january, 2).await;
    assert_eq!(
        store
            .runs(january, &[0, 1, 2], StepsOf::All)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(count(&mut connection, "runs_202703").await, 1);
}

#[tokio::test]
async fn a_partition_that_is_being_read_is_emptied_and_not_waited_for() {
    let (store, clock, database) = open().await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let evaluation = ended_job(&mut connection, &clock, 1).await;
    let runs = (0..30).map(|n| sample::run_record(evaluation, n));
    store.record_runs(None, runs.collect()).await.unwrap();
    clock.advance(MONTH);
    let mut reader = database.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM runs_202701")
        .execute(&mut reader)
        .await
        .unwrap();
    let collected = store.collect(rule(&clock)).await.unwrap();
    assert_eq!((collected.evaluations, collected.runs), (1, 30));
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(count(&mut connection, "runs_202701").await, 0);
    assert_eq!(count(&mut connection, "evaluations").await, 0);
    // the next time it is dropped
    store.collect(rule(&clock)).await.unwrap();
    let left = count(&mut connection, "pg_class WHERE relname ~ '_202701$'").await;
    assert_eq!(left, 0);
}

/// However the two interleave: what was recorded last is there as a whole or not at all, and nothing is without an owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn runs_recorded_while_their_evaluation_is_removed_have_an_owner() {
    let (store, clock, database) = open().await.unwrap();
    let other = beside(&database, &clock).await;
    let mut connection = database.connect().await.unwrap();
    let mut evaluations = Vec::new();
    for number in 1..=4 {
        evaluations.push(ended_job(&mut connection, &clock, number).await);
    }
    clock.advance(MONTH);
    let writers = try_join_all((0..60u64).map(|n| {
        let evaluation = evaluations[n as usize % 4];
        let runs = (0..5).map(|k| sample::run_record(evaluation, n * 5 + k));
        other.record_runs(None, runs.collect())
    }));
    let collector = async {
        for _ in 0..12 {
            store.collect(rule(&clock)).await?;
        }
        Ok(())
    };
    tokio::try_join!(async { writers.await.map(drop) }, collector).unwrap();
    for (table, owner) in [("runs", "evaluations"), ("steps", "evaluations")] {
        let orphans = format!(
            "{table} AS t WHERE NOT EXISTS (SELECT 1 FROM {owner} AS e WHERE e.id = t.evaluation AND e.part = t.part)"
        );
        assert_eq!(count(&mut connection, &orphans).await, 0, "{table}");
    }
    store.collect(rule(&clock)).await.unwrap();
    assert_eq!(count(&mut connection, "runs").await, 0);
    assert_eq!(count(&mut connection, "steps").await, 0);
    for evaluation in evaluations {
        let figures = store.aggregate(evaluation).await.unwrap();
        assert!(figures.runs.is_empty());
        assert!(store.evaluation(evaluation).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn texts_that_postgres_cannot_hold_are_kept_as_near_as_can_be() {
    let (store, _, _database) = open().await.unwrap();
    let evaluation = sample::evaluation_id("e");
    let mut run = sample::run_record(evaluation, 0);
    run.status = RunStatus::Failed;
    run.reason = Some("odd\0reason".to_owned());
    run.output_text = Some("bytes are kept: \0".to_owned());
    run.steps[0].error = Some("a NUL: \0".to_owned());
    store.record_runs(None, vec![run.clone()]).await.unwrap();
    let stored = store.runs(evaluation, &[0], StepsOf::All).await.unwrap();
    run.reason = Some("odd\u{2400}reason".to_owned());
    run.steps[0].error = Some("a NUL: \u{2400}".to_owned());
    assert_eq!(stored, [run]);
}

#[tokio::test]
async fn an_import_that_nobody_goes_on_with_is_dropped_and_a_live_one_stays() {
    let (store, clock, database) = open().await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let case = |n: u64| sample::incoming(Split::Train, n, sample::case(&format!("c{n}"), "q", "a"));
    let left = store.begin_import("p").await.unwrap();
    store
        .import_cases(left, (0..50).map(case).collect())
        .await
        .unwrap();
    clock.advance(Duration::from_secs(3000));
    let live = store.begin_import("p").await.unwrap();
    store
        .import_cases(live, (0..3).map(case).collect())
        .await
        .unwrap();
    clock.advance(Duration::from_secs(3000));
    // the other half of it is done by another process
    let other = beside(&database, &clock).await;
    assert_eq!(count(&mut connection, "cases").await, 3);
    assert_eq!(count(&mut connection, "case_bodies").await, 3);
    assert_eq!(count(&mut connection, "import_rows").await, 3);
    other
        .import_cases(live, (3..6).map(case).collect())
        .await
        .unwrap();
    let dataset = other.commit_import(live).await.unwrap();
    assert_eq!(dataset.cases[&Split::Train], 6);
    let refused = store.import_cases(left, vec![case(99)]).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_imports_of_two_processes_are_one_version() {
    let (a, clock, database) = open().await.unwrap();
    let b = beside(&database, &clock).await;
    let import = async |store: &PgStore| -> Result<_, StoreError> {
        let import = store.begin_import("p").await?;
        let cases = (0..20).map(|n| {
            sample::incoming(
                Split::Val,
                n,
                sample::case(&format!("c{n}"), &format!("q{n}"), "a"),
            )
        });
        store.import_cases(import, cases.collect()).await?;
        store.commit_import(import).await
    };
    let (first, second) = tokio::try_join!(import(&a), import(&b)).unwrap();
    assert_eq!(first, second);
    let mut connection = database.connect().await.unwrap();
    assert_eq!(count(&mut connection, "datasets").await, 1);
    assert_eq!(count(&mut connection, "cases").await, 20);
}
