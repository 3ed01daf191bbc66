//! What every [`fapo_domain::ports::traces::TraceQueries`] must do.

use anyhow::{Context as _, Result, ensure};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::model::task::{NewTask, TaskPayload};
use fapo_domain::model::trace::{RunRecord, RunStatus, StepStatus};
use fapo_domain::ports::jobs::Tick;
use fapo_domain::ports::traces::{EvaluationAggregate, RunFilter, RunSummary};
use fapo_domain::{CaseId, EvaluationId, Spend, StepId};
use serde_json::json;

use super::Ports;
use super::jobs::tick;
use super::tasks::created;
use crate::sample;

async fn search(ports: &Ports, evaluation: EvaluationId, filter: RunFilter) -> Result<Vec<u64>> {
    let found = ports.questions.search(evaluation, &filter, 0, 100).await?;
    Ok(ordinals(&found))
}

fn ordinals(found: &[RunSummary]) -> Vec<u64> {
    found.iter().map(|run| run.ordinal).collect()
}

/// Once each, however many blocks they have; those of other jobs are not among them.
pub async fn a_jobs_evaluations_come_in_the_order_of_their_first_task(ports: &Ports) -> Result<()> {
    let job = created(ports, 1).await?;
    let other = created(ports, 2).await?;
    let execute = |evaluation: &EvaluationSpec, round: u32| {
        let task = sample::new_task(evaluation.job, round);
        let TaskPayload::Execute { block, .. } = task.payload else {
            unreachable!("a sample task executes");
        };
        NewTask {
            payload: TaskPayload::Execute {
                evaluation: evaluation.clone(),
                block,
                round,
            },
            ..task
        }
    };
    let specs: Vec<_> = [5, 3, 4]
        .map(|sample| EvaluationSpec {
            sample,
            ..sample::evaluation_spec(job, sample::variant_tree("Say.").id())
        })
        .into();
    let foreign = EvaluationSpec {
        job: other,
        ..specs[0].clone()
    };
    for (version, tasks) in [
        vec![execute(&specs[0], 0), execute(&specs[0], 1)],
        vec![execute(&specs[1], 2), execute(&specs[2], 3)],
        vec![execute(&specs[0], 4)],
    ]
    .into_iter()
    .enumerate()
    {
        let next = Tick {
            tasks,
            ..tick(job, version as u64)
        };
        ports.jobs.commit_tick(next).await?;
    }
    let next = Tick {
        tasks: vec![execute(&foreign, 0)],
        ..tick(other, 0)
    };
    ports.jobs.commit_tick(next).await?;
    ensure!(ports.questions.evaluations(job).await? == specs);
    ensure!(ports.questions.evaluations(other).await? == std::slice::from_ref(&foreign));
    ensure!(
        ports
            .questions
            .evaluations(sample::job_id(9))
            .await?
            .is_empty()
    );
    for spec in specs.iter().chain([&foreign]) {
        ensure!(ports.questions.evaluation(spec.id()).await?.as_ref() == Some(spec));
    }
    let unknown = sample::evaluation_id("unknown");
    ensure!(ports.questions.evaluation(unknown).await?.is_none());
    Ok(())
}

/// Every field of a summary, and pages that join up.
pub async fn a_search_lists_runs_by_ordinal_page_by_page(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let mut runs: Vec<_> = (0..7).rev().map(|n| sample::run_record(e, n)).collect();
    runs.extend((0..9).map(|n| sample::run_record(sample::evaluation_id("other"), n)));
    runs[2] = sample::missing_run(e, 4);
    ports.traces.record_runs(None, runs).await?;
    let mut scores: Vec<_> = (0..4).map(|n| sample::case_score(e, n, 0.25)).collect();
    // the score of a missing run says nothing
    scores.push(fapo_domain::model::score::CaseScore {
        status: ScoreStatus::Missing,
        ..sample::case_score(e, 4, 0.0)
    });
    ports.scores.record_scores(None, scores).await?;

    let all = RunFilter::default();
    let found = ports.questions.search(e, &all, 0, 100).await?;
    ensure!(ordinals(&found) == [0, 1, 2, 3, 4, 5, 6]);
    let run = sample::run_record(e, 3);
    let scored = RunSummary {
        evaluation: e,
        ordinal: 3,
        case_id: run.case_id,
        status: RunStatus::Completed,
        reason: None,
        output: Some("answer 3".to_owned()),
        score: Some(0.25),
        feedback: Some("expected another answer".to_owned()),
        failed_step: None,
        spend: run.spend,
        duration_ms: run.duration_ms,
    };
    ensure!(found[3] == scored, "{:#?}", found[3]);
    let missing = RunSummary {
        ordinal: 4,
        case_id: CaseId::new("c4"),
        status: RunStatus::Missing,
        reason: Some("provider_unavailable".to_owned()),
        output: None,
        score: None,
        feedback: None,
        failed_step: Some(StepId::new("think")),
        spend: Spend::default(),
        ..scored
    };
    ensure!(found[4] == missing, "{:#?}", found[4]);
    ensure!(found[5].score.is_none() && found[5].feedback.is_none());

    let mut pages = Vec::new();
    let mut from = 0;
    loop {
        let page = ports.questions.search(e, &all, from, 3).await?;
        ensure!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        from = last.ordinal + 1;
        pages.extend(page);
    }
    ensure!(pages == found);
    ensure!(ports.questions.search(e, &all, 0, 0).await?.is_empty());
    Ok(())
}

/// Each alone, and all together.
pub async fn every_condition_of_a_search_holds(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let failing = |ordinal: u64, step: usize| {
        let mut run = sample::run_record(e, ordinal);
        run.status = RunStatus::Failed;
        run.output_text = None;
        run.steps[step].status = StepStatus::Failed;
        run
    };
    let mut both = failing(5, 0);
    both.steps[1].status = StepStatus::Failed;
    let mut skipped = sample::run_record(e, 6);
    skipped.steps[0].status = StepStatus::Skipped;
    let mut loud = sample::run_record(e, 7);
    loud.output_text = Some("It is ÄPFEL 100%_".to_owned());
    let runs = vec![
        sample::run_record(e, 0),
        sample::run_record(e, 1),
        sample::run_record(e, 2),
        failing(3, 0),
        failing(4, 1),
        both,
        skipped,
        loud,
    ];
    ports.traces.record_runs(None, runs).await?;
    let scores = [(0, 1.0), (1, 0.5), (2, 0.0), (3, 0.0), (6, 0.5), (7, 1.0)]
        .map(|(ordinal, score)| sample::case_score(e, ordinal, score));
    ports.scores.record_scores(None, scores.into()).await?;

    let filter = RunFilter::default;
    let status = |status| RunFilter {
        status: Some(status),
        ..filter()
    };
    ensure!(search(ports, e, status(RunStatus::Failed)).await? == [3, 4, 5]);
    ensure!(
        search(ports, e, status(RunStatus::Refused))
            .await?
            .is_empty()
    );
    let below = |bound| RunFilter {
        failed_below: Some(bound),
        ..filter()
    };
    ensure!(search(ports, e, below(0.5)).await? == [2, 3, 4, 5]);
    ensure!(search(ports, e, below(0.6)).await? == [1, 2, 3, 4, 5, 6]);
    ensure!(search(ports, e, below(0.0)).await? == [3, 4, 5]);
    let case = RunFilter {
        case_id: Some(CaseId::new("c6")),
        ..filter()
    };
    ensure!(search(ports, e, case.clone()).await? == [6]);
    let step = |step: &str| RunFilter {
        failed_step: Some(StepId::new(step)),
        ..filter()
    };
    ensure!(search(ports, e, step("think")).await? == [3, 5]);
    ensure!(search(ports, e, step("answer")).await? == [4, 5]);
    ensure!(search(ports, e, step("nowhere")).await?.is_empty());
    let found = ports.questions.search(e, &step("answer"), 5, 1).await?;
    ensure!(found.len() == 1 && found[0].failed_step == Some(StepId::new("think")));
    let contains = |text: &str| RunFilter {
        output_contains: Some(text.to_owned()),
        ..filter()
    };
    ensure!(search(ports, e, contains("ANSWER")).await? == [0, 1, 2, 6]);
    ensure!(search(ports, e, contains("äpfel 100%_")).await? == [7]);
    // no pattern, but a text
    ensure!(search(ports, e, contains("a%r")).await?.is_empty());
    let all = RunFilter {
        status: Some(RunStatus::Completed),
        failed_below: Some(0.75),
        output_contains: Some("6".to_owned()),
        failed_step: None,
        case_id: case.case_id,
    };
    ensure!(search(ports, e, all.clone()).await? == [6]);
    let none = RunFilter {
        failed_below: Some(0.5),
        ..all
    };
    ensure!(search(ports, e, none).await?.is_empty());
    Ok(())
}

/// Short or long, text or JSON, in a row or in a blob; and only the start of it is shown.
pub async fn outputs_are_searched_whole_and_shown_cut_short(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    // characters of two bytes
    let long = "ü".repeat(3_000);
    let mut runs: Vec<RunRecord> = (0..600).map(|n| sample::run_record(e, n)).collect();
    runs[10].output_text = Some(format!("{long}needle"));
    runs[20].output_text = None;
    runs[20].output_json = Some(json!({ "found": "Needle" }));
    runs[30].output_text = None;
    runs[30].output_json = Some(json!([long, "needle"]));
    // the text is what counts, where there are both
    runs[40].output_json = Some(json!("needle"));
    runs[599].output_text = Some("NEEDLE".to_owned());
    ports.traces.record_runs(None, runs).await?;
    let filter = RunFilter {
        output_contains: Some("needle".to_owned()),
        ..RunFilter::default()
    };
    let found = ports.questions.search(e, &filter, 0, 100).await?;
    ensure!(ordinals(&found) == [10, 20, 30, 599]);
    ensure!(found[0].output == Some("ü".repeat(200)));
    ensure!(found[1].output.as_deref() == Some(r#"{"found":"Needle"}"#));
    ensure!(found[2].output == Some(format!("[\"{}", "ü".repeat(198))));
    ensure!(found[3].output.as_deref() == Some("NEEDLE"));
    // a page is filled however far apart they are, and not over-filled
    ensure!(ordinals(&ports.questions.search(e, &filter, 11, 2).await?) == [20, 30]);
    ensure!(ordinals(&ports.questions.search(e, &filter, 31, 2).await?) == [599]);
    ensure!(ports.questions.search(e, &filter, 600, 2).await?.is_empty());
    Ok(())
}

/// Counts, sums, the mean of scores that count, and nearest-rank percentiles.
pub async fn figures_of_an_evaluation_add_up(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let mut runs: Vec<_> = (0..20).map(|n| sample::run_record(e, n)).collect();
    for (run, ms) in runs.iter_mut().zip((1..=20).rev()) {
        run.steps[0].full_duration_ms = ms * 10;
        run.steps[1].status = StepStatus::Skipped;
        run.steps[1].full_duration_ms = 0;
    }
    let hit = &mut runs[7].steps[0];
    hit.cache_hit = true;
    hit.spend = Spend::default();
    runs[8].status = RunStatus::Failed;
    runs[8].steps[0].status = StepStatus::Failed;
    runs[9].steps[1].status = StepStatus::Ok;
    runs[9].steps[1].full_duration_ms = 3;
    for run in &mut runs {
        run.spend = run.steps.iter().map(|step| step.spend).sum();
        run.full_spend = run.steps.iter().map(|step| step.full_spend).sum();
    }
    let spend: Spend = runs.iter().map(|run| run.spend).sum();
    runs.push(sample::missing_run(e, 20));
    ports.traces.record_runs(None, runs).await?;
    let mut scores: Vec<_> = [(0, 1.0), (1, 0.5), (2, 0.25), (20, 0.0)]
        .map(|(ordinal, score)| sample::case_score(e, ordinal, score))
        .into();
    scores[3].status = ScoreStatus::Missing;
    ports.scores.record_scores(None, scores).await?;

    let figures = ports.questions.aggregate(e).await?;
    let mut ended = figures.runs.clone();
    ended.sort_by_key(|(_, count)| *count);
    ensure!(ended.contains(&(RunStatus::Completed, 19)) && ended.len() == 3);
    ensure!(ended.contains(&(RunStatus::Failed, 1)) && ended.contains(&(RunStatus::Missing, 1)));
    ensure!(figures.scored == 3);
    let mean = figures.mean.context("three scores have a mean")?;
    ensure!((mean - 1.75 / 3.0).abs() < 1e-12);
    ensure!(figures.spend == spend);

    let [answer, think] = figures.steps.as_slice() else {
        anyhow::bail!("two steps, not {:?}", figures.steps);
    };
    ensure!((answer.step.as_str(), think.step.as_str()) == ("answer", "think"));
    ensure!(think.kind == "llm");
    // the missing run has a failed step, too, which took 7 ms
    ensure!((think.count, think.failed, think.skipped, think.cache_hits) == (21, 2, 0, 1));
    ensure!((think.p50_ms, think.p95_ms) == (100, 190), "{think:?}");
    ensure!(think.spend == (0..19).map(|_| sample::spend(40)).sum());
    ensure!(think.full_spend == (0..20).map(|_| sample::spend(40)).sum());
    ensure!((answer.count, answer.failed, answer.skipped) == (20, 0, 19));
    // only of those that were not skipped
    ensure!((answer.p50_ms, answer.p95_ms) == (3, 3), "{answer:?}");
    Ok(())
}

/// As of one that has no runs yet.
pub async fn an_unknown_evaluation_has_no_runs_and_no_figures(ports: &Ports) -> Result<()> {
    let unknown = sample::evaluation_id("unknown");
    ensure!(ports.questions.aggregate(unknown).await? == EvaluationAggregate::default());
    ensure!(
        search(ports, unknown, RunFilter::default())
            .await?
            .is_empty()
    );
    Ok(())
}
