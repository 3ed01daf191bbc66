//! Requests that break a rule: each is INVALID_ARGUMENT with the field that is wrong, and nothing is stored.

use anyhow::{Context as _, ensure};
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::traces::{RunFilter, TraceQueries};
use fapo_proto::common::v1 as common;
use fapo_proto::executor::v1::executor_service_client::ExecutorServiceClient;
use fapo_proto::executor::v1::{RunCaseRequest, run_case_request};
use fapo_proto::optimizer::v1 as optimizer;
use fapo_proto::optimizer::v1::optimizer_service_client::OptimizerServiceClient;
use fapo_proto::scoring::v1::CompareVariantsRequest;
use fapo_proto::scoring::v1::scoring_service_client::ScoringServiceClient;
use fapo_proto::traces::v1 as traces;
use fapo_proto::traces::v1::traces_service_client::TracesServiceClient;
use fapo_rpc::ServerOptions;
use futures::stream::iter;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::world::{Setup, World};

/// The field that a refusal names.
fn field<T>(answer: Result<T, Status>) -> anyhow::Result<String> {
    let status = answer.err().context("the call was let through")?;
    ensure!(status.code() == Code::InvalidArgument, "{status:?}");
    let info = status.get_details_error_info().context("no reason")?;
    ensure!(info.reason == "REQUEST_INVALID", "{info:?}");
    let bad = status.get_details_bad_request().context("no field")?;
    Ok(bad.field_violations[0].field.clone())
}

/// A run that is right.
fn run(evaluation: &str) -> common::Run {
    common::Run {
        evaluation_id: evaluation.to_owned(),
        ordinal: 5,
        case_id: "c5".to_owned(),
        status: common::RunStatus::Completed.into(),
        started_at: Some(prost_types::Timestamp::default()),
        steps: vec![common::Step {
            step_id: "answer".to_owned(),
            status: common::StepStatus::Ok.into(),
            ..common::Step::default()
        }],
        ..common::Run::default()
    }
}

#[tokio::test]
async fn a_bad_run_in_a_stream_stores_none_of_it() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let things = world.fill("qa").await?;
    let id = things.evaluation.id().to_string();
    let mut client = TracesServiceClient::new(world.channel().await?);
    type Change = fn(&mut common::Run);
    let table: &[(Change, &str)] = &[
        (|run| run.evaluation_id.clear(), "runs[1].evaluation_id"),
        (
            |run| run.evaluation_id = "xyz".to_owned(),
            "runs[1].evaluation_id",
        ),
        (|run| run.case_id.clear(), "runs[1].case_id"),
        (|run| run.status = 0, "runs[1].status"),
        (|run| run.status = 99, "runs[1].status"),
        (|run| run.started_at = None, "runs[1].started_at"),
        (
            |run| run.output_json = Some(b"{".to_vec()),
            "runs[1].output_json",
        ),
        (
            |run| {
                run.duration = Some(prost_types::Duration {
                    seconds: -1,
                    nanos: 0,
                });
            },
            "runs[1].duration",
        ),
        (
            |run| {
                run.spend = Some(common::Spend {
                    micro_usd: -1,
                    ..common::Spend::default()
                });
            },
            "runs[1].spend.micro_usd",
        ),
        (|run| run.steps[0].status = 17, "runs[1].steps[0].status"),
        (
            |run| run.steps[0].cache_key = Some("short".to_owned()),
            "runs[1].steps[0].cache_key",
        ),
        (
            |run| run.steps[0].finish_reason = -4,
            "runs[1].steps[0].finish_reason",
        ),
    ];
    for (change, wanted) in table {
        let mut bad = run(&id);
        change(&mut bad);
        let batch = traces::IngestRunsRequest {
            fence: None,
            runs: vec![run(&id), bad],
        };
        let refused = field(client.ingest_runs(iter([batch])).await).context(*wanted)?;
        ensure!(refused == *wanted, "{refused} instead of {wanted}");
    }
    let fence = Some(common::Fence {
        task_id: "no".to_owned(),
        epoch: 1,
    });
    let batch = traces::IngestRunsRequest {
        fence,
        runs: vec![run(&id)],
    };
    ensure!(field(client.ingest_runs(iter([batch])).await)? == "fence.task_id");
    let filter = RunFilter::default();
    let stored = world
        .store
        .search(things.evaluation.id(), &filter, 0, 10)
        .await?;
    ensure!(stored.len() == 1, "only what was there: {stored:?}");
    // and the same without the mistake is stored
    let batch = traces::IngestRunsRequest {
        fence: None,
        runs: vec![run(&id)],
    };
    ensure!(
        client
            .ingest_runs(iter([batch]))
            .await?
            .into_inner()
            .received
            == 1
    );
    let stored = world
        .store
        .search(things.evaluation.id(), &filter, 0, 10)
        .await?;
    ensure!(stored.len() == 2);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_names_its_field() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let things = world.fill("qa").await?;
    let job_id = things.job.to_string();
    let id = things.evaluation.id().to_string();
    let mut jobs = OptimizerServiceClient::new(world.channel().await?);
    let job = |job_id: &str| optimizer::GetJobRequest {
        job_id: job_id.to_owned(),
    };
    ensure!(field(jobs.get_job(job("")).await)? == "job_id");
    ensure!(field(jobs.get_job(job("17")).await)? == "job_id");
    let list = optimizer::ListJobsRequest {
        page_token: "next".to_owned(),
        ..optimizer::ListJobsRequest::default()
    };
    ensure!(field(jobs.list_jobs(list).await)? == "page_token");
    let report = optimizer::GetReportRequest {
        job_id: job_id.clone(),
        format: 44,
    };
    ensure!(field(jobs.get_report(report).await)? == "format");
    let missing = optimizer::FindMissingBlobsRequest {
        sha256: vec!["0".repeat(64); 10_001],
    };
    ensure!(field(jobs.find_missing_blobs(missing).await)? == "sha256");
    let events = optimizer::ListEventsRequest {
        job_id: job_id.clone(),
        wait: Some(prost_types::Duration {
            seconds: 61,
            nanos: 0,
        }),
        ..optimizer::ListEventsRequest::default()
    };
    ensure!(field(jobs.list_events(events).await)? == "wait");
    let unfinished = optimizer::UploadBlobsRequest {
        data: b"half".to_vec(),
        last: false,
    };
    ensure!(field(jobs.upload_blobs(iter([unfinished])).await)? == "last");

    let mut traces = TracesServiceClient::new(world.channel().await?);
    let list = |filter, page_token: &str| traces::ListRunsRequest {
        evaluation_id: id.clone(),
        filter: Some(filter),
        page_size: 0,
        page_token: page_token.to_owned(),
    };
    let filter = traces::RunFilter::default;
    let unknown = traces::RunFilter {
        status: 9,
        ..filter()
    };
    ensure!(field(traces.list_runs(list(unknown, "")).await)? == "filter.status");
    let endless = traces::RunFilter {
        output_contains: Some("x".repeat(1001)),
        ..filter()
    };
    ensure!(field(traces.list_runs(list(endless, "")).await)? == "filter.output_contains");
    ensure!(field(traces.list_runs(list(filter(), "!")).await)? == "page_token");

    let mut scoring = ScoringServiceClient::new(world.channel().await?);
    let compare = CompareVariantsRequest {
        job_id: job_id.clone(),
        evaluation_a_id: id.clone(),
        evaluation_b_id: id.clone(),
        confidence: 1.0,
        ..CompareVariantsRequest::default()
    };
    ensure!(field(scoring.compare_variants(compare).await)? == "confidence");

    let mut executor = ExecutorServiceClient::new(world.channel().await?);
    let file = |path: &str| common::VariantFile {
        path: path.to_owned(),
        content: Vec::new(),
    };
    let run = |files: &[&str], input: &str| RunCaseRequest {
        job_id: job_id.clone(),
        pipeline: Some(run_case_request::Pipeline::Files(common::VariantFiles {
            files: files.iter().copied().map(file).collect(),
        })),
        case: Some(common::Case {
            case_id: "c".to_owned(),
            input_json: input.as_bytes().to_vec(),
            ..common::Case::default()
        }),
        ..RunCaseRequest::default()
    };
    for outside in ["../x", "/x", "a//b", "a/./b", "a\\b", ""] {
        let refused = field(executor.run_case(run(&["a", outside], "{}")).await)?;
        ensure!(refused == "files.files[1].path", "{outside}: {refused}");
    }
    let twice = field(executor.run_case(run(&["a", "a"], "{}")).await)?;
    ensure!(twice == "files.files[1].path");
    let no_object = field(executor.run_case(run(&["a"], "[1]")).await)?;
    ensure!(no_object == "case.input_json");
    let nothing = field(executor.run_case(RunCaseRequest::default()).await)?;
    ensure!(nothing == "job_id");
    ensure!(
        world
            .scripted
            .asked
            .load(std::sync::atomic::Ordering::SeqCst)
            == 0
    );
    Ok(())
}

#[tokio::test]
async fn a_submission_that_breaks_a_rule_makes_no_job() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let mut client = OptimizerServiceClient::new(world.channel().await?);
    let file = |path: &str| optimizer::ManifestFile {
        path: path.to_owned(),
        sha256: "0".repeat(64),
    };
    let good = optimizer::SubmitJobRequest {
        request_id: "r".to_owned(),
        project: "qa".to_owned(),
        files: vec![file("fapo.yaml")],
        goal: Some(optimizer::Goal {
            kind: Some(optimizer::goal::Kind::Evaluate(optimizer::EvaluateGoal {
                split: common::Split::Val.into(),
                ..optimizer::EvaluateGoal::default()
            })),
        }),
    };
    type Change = fn(&mut optimizer::SubmitJobRequest);
    let table: &[(Change, &str)] = &[
        (|r| r.request_id.clear(), "request_id"),
        (|r| r.request_id = "x".repeat(65), "request_id"),
        (|r| r.project.clear(), "project"),
        (|r| r.goal = None, "goal"),
        (|r| r.goal = Some(optimizer::Goal::default()), "goal.kind"),
        (
            |r| {
                let kind = optimizer::goal::Kind::Evaluate(optimizer::EvaluateGoal::default());
                r.goal = Some(optimizer::Goal { kind: Some(kind) });
            },
            "goal.evaluate.split",
        ),
        (|r| r.files[0].path.clear(), "files[0].path"),
        (|r| r.files[0].sha256 = "1".to_owned(), "files[0].sha256"),
        (|r| r.files.push(r.files[0].clone()), "files[1].path"),
    ];
    for (change, wanted) in table {
        let mut bad = good.clone();
        change(&mut bad);
        let refused = field(client.submit_job(bad).await).context(*wanted)?;
        ensure!(refused == *wanted, "{refused} instead of {wanted}");
    }
    ensure!(world.store.list_jobs(None, None, 10).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_too_large_is_refused_in_messages_and_in_streams() -> anyhow::Result<()> {
    let options = ServerOptions {
        message_bytes: 64 << 10,
        stream_bytes: 128 << 10,
        ..ServerOptions::default()
    };
    let world = World::new(Setup {
        options,
        ..Setup::default()
    })
    .await?;
    let mut client = OptimizerServiceClient::new(world.channel().await?);
    let reason = |status: &Status| status.get_details_error_info().map(|info| info.reason);
    let large = optimizer::ListJobsRequest {
        project: "x".repeat(65 << 10),
        ..optimizer::ListJobsRequest::default()
    };
    let refused = client
        .list_jobs(large)
        .await
        .err()
        .context("it is too large")?;
    ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
    ensure!(
        reason(&refused).as_deref() == Some("REQUEST_TOO_LARGE"),
        "{refused:?}"
    );
    let part = |bytes: usize| optimizer::UploadBlobsRequest {
        data: vec![1; bytes],
        last: true,
    };
    let refused = client.upload_blobs(iter([part(65 << 10)])).await;
    let refused = refused.err().context("its part is too large")?;
    ensure!(
        reason(&refused).as_deref() == Some("REQUEST_TOO_LARGE"),
        "{refused:?}"
    );
    let parts = vec![part(60 << 10); 3];
    ensure!(field(client.upload_blobs(iter(parts)).await)? == "data");
    let hashes = optimizer::FindMissingBlobsRequest {
        sha256: vec![fapo_domain::ContentHash::of(&vec![1; 60 << 10]).to_string()],
    };
    let missing = client.find_missing_blobs(hashes).await?.into_inner().sha256;
    ensure!(missing.len() == 1, "nothing of the stream is stored");
    Ok(())
}
