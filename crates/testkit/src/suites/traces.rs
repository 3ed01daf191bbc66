//! What every [`fapo_domain::ports::traces::Traces`] must do.

use anyhow::{Result, ensure};
use fapo_domain::StepId;
use fapo_domain::model::case::Document;
use fapo_domain::model::trace::{
    FinishReason, RetrievedDocument, RunRecord, RunStatus, StepOutput, StepRecord, StepStatus,
};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::StepsOf;
use serde_json::json;

use super::Ports;
use super::tasks::{LEASE, claim, with_tasks};
use crate::sample;

/// A run with something in every field.
fn rich(name: &str, ordinal: u64) -> RunRecord {
    let mut run = sample::run_record(sample::evaluation_id(name), ordinal);
    run.output_json = Some(json!({ "answer": [1, 2.5, "ü", null] }));
    run.status = RunStatus::TimedOut;
    run.reason = Some("seconds".to_owned());
    run.steps.push(StepRecord {
        step: StepId::new("vote[2].look"),
        kind: "retrieve".to_owned(),
        key: None,
        input: Some(json!(["a query"])),
        output: Some(StepOutput {
            text: "two passages".to_owned(),
            json: Some(json!({ "n": 2 })),
            docs: Some(vec![RetrievedDocument {
                document: Document {
                    doc_id: "d1".to_owned(),
                    title: "T".to_owned(),
                    text: "long passage ".repeat(200),
                },
                score: 1.25,
            }]),
            beyond: vec![("d2".to_owned(), "U".to_owned())],
        }),
        finish: None,
        ..sample::step_record("look", 2, "")
    });
    run.steps.push(StepRecord {
        status: StepStatus::Failed,
        output: None,
        finish: Some(FinishReason::Length),
        error_kind: Some("invalid_json".to_owned()),
        error: Some("it ends in the middle".to_owned()),
        attempts: 4,
        ..sample::step_record("parse", 3, "x")
    });
    run.steps.push(StepRecord {
        cache_hit: true,
        spend: fapo_domain::Spend::default(),
        full_spend: sample::spend(77),
        full_duration_ms: 41,
        attempts: 0,
        ..sample::step_record("again", 4, "hit")
    });
    run.full_duration_ms = 99;
    run.full_spend = run.steps.iter().map(|step| step.full_spend).sum();
    run.spend = run.steps.iter().map(|step| step.spend).sum();
    run
}

/// Every field, in the order asked for, without those that are absent.
pub async fn runs_come_back_with_all_their_steps(ports: &Ports) -> Result<()> {
    let mut runs: Vec<_> = (0..5).map(|ordinal| rich("e", ordinal)).collect();
    for run in &mut runs[2..] {
        run.status = RunStatus::Completed;
    }
    ports.traces.record_runs(None, runs.clone()).await?;
    let evaluation = sample::evaluation_id("e");
    let got = ports
        .traces
        .runs(evaluation, &[3, 99, 0, 4, 3], StepsOf::All)
        .await?;
    ensure!(got.len() == 4);
    for (got, ordinal) in got.iter().zip([3, 0, 4, 3]) {
        ensure!(*got == runs[ordinal], "{got:#?}");
    }
    // without its steps where it completed
    let got = ports
        .traces
        .runs(evaluation, &[0, 1, 2, 3, 4], StepsOf::Incomplete)
        .await?;
    let bare: Vec<_> = runs
        .iter()
        .map(|run| match run.status {
            RunStatus::Completed => RunRecord {
                steps: Vec::new(),
                ..run.clone()
            },
            _ => run.clone(),
        })
        .collect();
    ensure!(got == bare, "{got:#?}");
    let other = ports
        .traces
        .runs(sample::evaluation_id("other"), &[0], StepsOf::All)
        .await?;
    ensure!(other.is_empty());
    Ok(())
}

/// Steps of the replaced run are gone with it.
pub async fn a_final_run_stays_and_a_missing_one_is_replaced(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let first = vec![sample::run_record(e, 0), sample::missing_run(e, 1)];
    ports.traces.record_runs(None, first.clone()).await?;
    ensure!(ports.traces.runs(e, &[0, 1], StepsOf::All).await? == first);
    let mut other = sample::run_record(e, 0);
    other.output_text = Some("another".to_owned());
    let second = vec![other, sample::run_record(e, 1), sample::missing_run(e, 2)];
    ports.traces.record_runs(None, second.clone()).await?;
    let got = ports.traces.runs(e, &[0, 1, 2], StepsOf::All).await?;
    ensure!(got == [first[0].clone(), second[1].clone(), second[2].clone()]);
    // nor does a missing one replace a final one
    ports
        .traces
        .record_runs(None, vec![sample::missing_run(e, 1)])
        .await?;
    ensure!(ports.traces.runs(e, &[1], StepsOf::All).await? == [second[1].clone()]);
    // a repeated block is the same block
    ports.traces.record_runs(None, second.clone()).await?;
    ensure!(ports.traces.runs(e, &[1, 2], StepsOf::All).await? == second[1..]);
    Ok(())
}

/// They are to be run again.
pub async fn finished_ordinals_leave_out_missing_runs(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let mut failed = sample::run_record(e, 7);
    failed.status = RunStatus::Failed;
    let runs = vec![failed, sample::missing_run(e, 5), sample::run_record(e, 3)];
    ports.traces.record_runs(None, runs).await?;
    let all: Vec<u64> = (0..10).rev().collect();
    ensure!(ports.traces.finished_ordinals(e, &all).await? == [3, 7]);
    ensure!(ports.traces.finished_ordinals(e, &[3, 4]).await? == [3]);
    let other = sample::evaluation_id("other");
    ensure!(
        ports
            .traces
            .finished_ordinals(other, &all)
            .await?
            .is_empty()
    );
    Ok(())
}

/// Neither an old epoch nor a finished claim nor an unknown task may write.
pub async fn a_stale_fence_stores_nothing(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let e = sample::evaluation_id("e");
    let runs = || vec![sample::run_record(e, 0)];
    let stale = claim(ports, job, 0).await?;
    ports.clock.advance(LEASE);
    let live = claim(ports, job, 0).await?;
    let refused = ports.traces.record_runs(Some(stale), runs()).await;
    ensure!(matches!(refused, Err(StoreError::StaleLease { .. })));
    ensure!(ports.traces.runs(e, &[0], StepsOf::All).await?.is_empty());
    ports.traces.record_runs(Some(live), runs()).await?;
    ensure!(ports.traces.runs(e, &[0], StepsOf::All).await?.len() == 1);
    ports.tasks.complete_task(live, json!(1)).await?;
    let refused = ports
        .traces
        .record_runs(Some(live), vec![sample::run_record(e, 1)])
        .await;
    ensure!(matches!(refused, Err(StoreError::StaleLease { .. })));
    let mut unknown = live;
    unknown.task = sample::task_id(job, 99);
    let refused = ports.traces.record_runs(Some(unknown), runs()).await;
    ensure!(matches!(refused, Err(StoreError::StaleLease { .. })));
    Ok(())
}

/// Of several evaluations, with ordinals in any order, some of them twice.
pub async fn a_block_is_stored_as_a_whole(ports: &Ports) -> Result<()> {
    let (a, b) = (sample::evaluation_id("a"), sample::evaluation_id("b"));
    let mut runs: Vec<_> = (0..150)
        .rev()
        .flat_map(|ordinal| {
            [
                sample::run_record(a, ordinal),
                sample::run_record(b, ordinal),
            ]
        })
        .collect();
    runs.insert(0, sample::missing_run(a, 9));
    let mut twice = sample::run_record(a, 10);
    twice.output_text = Some("second".to_owned());
    runs.push(twice);
    ports.traces.record_runs(None, runs).await?;
    let all: Vec<u64> = (0..150).collect();
    for evaluation in [a, b] {
        let got = ports.traces.runs(evaluation, &all, StepsOf::All).await?;
        ensure!(got.len() == 150);
        for (run, ordinal) in got.iter().zip(0..) {
            ensure!(*run == sample::run_record(evaluation, ordinal));
        }
    }
    ports.traces.record_runs(None, Vec::new()).await?;
    Ok(())
}

/// As text, as JSON, in input and output.
pub async fn long_values_shared_by_runs_come_back(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let long = "the same long context, again and again; ".repeat(100);
    let runs: Vec<_> = (0..20)
        .map(|ordinal| {
            let mut run = sample::run_record(e, ordinal);
            run.output_text = Some(long.clone());
            run.output_json = Some(json!({ "text": long }));
            run.steps[0].input = Some(json!([{ "role": "user", "content": long }]));
            run.steps[1].output = Some(sample::output(&format!("{long}{ordinal}")));
            run
        })
        .collect();
    ports.traces.record_runs(None, runs.clone()).await?;
    let ordinals: Vec<u64> = (0..20).collect();
    ensure!(ports.traces.runs(e, &ordinals, StepsOf::All).await? == runs);
    Ok(())
}
