//! Errors of a port, as whoever is far away gets them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::pipelines::RunScorer;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{ErrorCode, Retry};
use fapo_proto::scoring::v1::scoring_service_client::ScoringServiceClient;
use fapo_proto::scoring::v1::{RunOfCase, ScoreRunsRequest, score_runs_request};
use fapo_rpc::RemoteScorer;
use fapo_testkit::sample;
use tonic::Code;
use tonic_types::StatusExt;

use crate::scripted::Scripted;
use crate::world::{Setup, World};

fn failing(code: ErrorCode, retry: Retry) -> WorkError {
    WorkError {
        message: "it is scripted".to_owned(),
        code,
        retry,
        reason: "SCRIPTED",
        source: Some("a secret of the server".into()),
    }
}

type Fail = fn() -> WorkError;

/// One of each class, with the code that it has on the wire.
const CLASSES: &[(Fail, Code)] = &[
    (
        || failing(ErrorCode::InvalidArgument, Retry::Never),
        Code::InvalidArgument,
    ),
    (
        || failing(ErrorCode::Unauthenticated, Retry::Never),
        Code::Unauthenticated,
    ),
    (
        || failing(ErrorCode::Forbidden, Retry::Never),
        Code::PermissionDenied,
    ),
    (
        || failing(ErrorCode::NotFound, Retry::Never),
        Code::NotFound,
    ),
    (
        || failing(ErrorCode::AlreadyExists, Retry::Never),
        Code::AlreadyExists,
    ),
    (|| failing(ErrorCode::Conflict, Retry::Never), Code::Aborted),
    (
        || failing(ErrorCode::FailedPrecondition, Retry::Never),
        Code::FailedPrecondition,
    ),
    (
        || {
            let wait = Duration::from_millis(1250);
            failing(ErrorCode::Exhausted, Retry::After(wait))
        },
        Code::ResourceExhausted,
    ),
    (
        || failing(ErrorCode::Timeout, Retry::Now),
        Code::DeadlineExceeded,
    ),
    (
        || failing(ErrorCode::Unavailable, Retry::Never),
        Code::Unavailable,
    ),
    (
        || failing(ErrorCode::Internal, Retry::Never),
        Code::Internal,
    ),
];

#[tokio::test]
async fn every_class_of_error_comes_back_as_it_was() -> anyhow::Result<()> {
    for (fail, code) in CLASSES {
        let scripted = Scripted {
            fail: Some(*fail),
            ..Scripted::default()
        };
        let world = World::new(Setup {
            scripted,
            ..Setup::default()
        })
        .await?;
        let things = world.fill("qa").await?;
        let spec = world.store.get_job(things.job).await?.spec;
        let case = sample::case("c0", "q", "a");
        let run = sample::run_record(things.evaluation.id(), 0);
        let remote = RemoteScorer::new(world.connection(None)?);
        let error = remote.score_run(&spec, &case, &run).await;
        let (error, sent) = (error.err().context("it is scripted to fail")?, fail());
        ensure!(
            (error.code, error.retry, error.reason) == (sent.code, sent.retry, "SCRIPTED"),
            "{error:?}"
        );
        // and as any other client sees it
        let mut client = ScoringServiceClient::new(world.channel().await?);
        let request = ScoreRunsRequest {
            scorer: Some(score_runs_request::Scorer::JobId(things.job.to_string())),
            runs: vec![RunOfCase {
                case: Some(fapo_proto::common::v1::Case {
                    case_id: "c0".to_owned(),
                    ..fapo_proto::common::v1::Case::default()
                }),
                run: Some(fapo_proto::common::v1::Run {
                    evaluation_id: things.evaluation.id().to_string(),
                    case_id: "c0".to_owned(),
                    status: 1,
                    started_at: Some(prost_types::Timestamp::default()),
                    ..fapo_proto::common::v1::Run::default()
                }),
            }],
        };
        let status = client.score_runs(request).await;
        let status = status.err().context("it is scripted to fail")?;
        ensure!(status.code() == *code, "{status:?}");
        let wait = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        ensure!(
            wait == match sent.retry {
                Retry::Never => None,
                Retry::Now => Some(Duration::ZERO),
                Retry::After(wait) => Some(wait),
            },
            "{status:?}"
        );
        if *code == Code::Internal {
            let info = status.get_details_error_info().context("no details")?;
            let id = info.metadata.get("error_id").context("no id")?;
            ensure!(id.len() == 16 && status.message().contains(id.as_str()));
            ensure!(!status.message().contains("scripted"), "{status:?}");
        }
        // what a server that has trouble knows of it stays in its log
        let tells = matches!(
            code,
            Code::Internal | Code::Unavailable | Code::DeadlineExceeded | Code::FailedPrecondition
        );
        ensure!(
            !(tells && status.message().contains("secret")),
            "{status:?}"
        );
    }
    Ok(())
}
