//! A server and its clients in good and bad times: health, an orderly end, too many calls, calls that take too long, a server
//! that is not there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fapo_domain::ErrorCode;
use fapo_domain::error::Classified;
use fapo_domain::model::access::Caller;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::{Optimizer, OptimizerError};
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_proto::optimizer::v1::optimizer_service_client::OptimizerServiceClient;
use fapo_proto::optimizer::v1::{ListJobsRequest, WatchJobRequest};
use fapo_rpc::{RemoteOptimizer, RemoteTraces, ServerOptions};
use fapo_testkit::sample;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::scripted::Scripted;
use crate::world::{Setup, World};

const SERVICES: [&str; 6] = [
    "",
    "fapo.diagnosis.v1.DiagnosisService",
    "fapo.executor.v1.ExecutorService",
    "fapo.optimizer.v1.OptimizerService",
    "fapo.scoring.v1.ScoringService",
    "fapo.traces.v1.TracesService",
];

#[tokio::test]
async fn health_is_told_of_each_service_without_a_token_and_a_stopping_server_ends_its_streams()
-> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let things = world.fill("qa").await?;
    let mut health = HealthClient::new(world.channel().await?);
    let asked = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    for service in SERVICES {
        let answer = health.check(asked(service)).await.context(service)?;
        ensure!(
            answer.into_inner().status() == ServingStatus::Serving,
            "{service}"
        );
    }
    let mut changes = health.watch(asked(SERVICES[3])).await?.into_inner();
    let first = changes.message().await?.context("what it is now")?;
    ensure!(first.status() == ServingStatus::Serving);
    let mut client = OptimizerServiceClient::new(world.channel().await?);
    let request = WatchJobRequest {
        job_id: things.job.to_string(),
        after_seq: 0,
    };
    let mut watched = client.watch_job(request).await?.into_inner();
    let events = watched
        .message()
        .await?
        .context("there is one event")?
        .events;
    ensure!(events.len() == 1, "{events:?}");
    world.stop.cancel();
    let ended = watched.message().await.err().context("it is broken off")?;
    ensure!(ended.code() == Code::Unavailable, "{ended:?}");
    let info = ended.get_details_error_info().context("no reason")?;
    ensure!(info.reason == "SERVER_STOPPING");
    let next = changes.message().await?.context("the change")?;
    ensure!(next.status() == ServingStatus::NotServing);
    Ok(())
}

#[tokio::test]
async fn a_server_ends_once_its_last_call_has_or_the_grace_is_over() -> anyhow::Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let mut world = World::new(Setup {
        scripted: Scripted {
            gate: Some(gate),
            ..Scripted::default()
        },
        options: ServerOptions {
            grace: Duration::from_millis(100),
            ..ServerOptions::default()
        },
        ..Setup::default()
    })
    .await?;
    world.fill("qa").await?;
    let mut health = HealthClient::new(world.channel().await?);
    // a stream that would never end by itself
    let stream = health.watch(HealthCheckRequest::default()).await?;
    world.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), &mut world.served).await;
    ended.context("it goes on after its grace")???;
    drop(stream);
    Ok(())
}

#[tokio::test]
async fn a_watched_job_s_stream_ends_with_the_job_once_it_is_final() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    let things = world.fill("qa").await?;
    let mut client = OptimizerServiceClient::new(world.channel().await?);
    let request = |after_seq| WatchJobRequest {
        job_id: things.job.to_string(),
        after_seq,
    };
    let mut watched = client.watch_job(request(0)).await?.into_inner();
    let first = watched.message().await?.context("the first events")?;
    ensure!(first.job.is_none() && first.events[0].seq == 1);
    let remote = RemoteOptimizer::new(world.connection(None)?);
    remote.cancel(&Caller::local(), things.job).await?;
    let (mut last_seq, mut last_job) = (1, None);
    while let Some(message) = watched.message().await? {
        ensure!(last_job.is_none(), "nothing comes after the job");
        for event in &message.events {
            ensure!(event.seq == last_seq + 1);
            last_seq = event.seq;
        }
        last_job = message.job;
    }
    let job = last_job.context("the job comes last")?;
    ensure!(job.status == 4, "{job:?}");
    // taken up again at the end: the job alone
    let mut again = client.watch_job(request(last_seq)).await?.into_inner();
    let only = again.message().await?.context("the job")?;
    ensure!(only.events.is_empty() && only.job == Some(job));
    ensure!(again.message().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn more_calls_than_a_server_takes_are_told_to_wait() -> anyhow::Result<()> {
    let world = World::new(Setup {
        options: ServerOptions {
            calls: 1,
            ..ServerOptions::default()
        },
        ..Setup::default()
    })
    .await?;
    let mut health = HealthClient::new(world.channel().await?);
    let mut held = health
        .watch(HealthCheckRequest::default())
        .await?
        .into_inner();
    ensure!(held.message().await?.is_some());
    let mut client = OptimizerServiceClient::new(world.channel().await?);
    let refused = client.list_jobs(ListJobsRequest::default()).await;
    let refused = refused.err().context("the one place is taken")?;
    ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
    let info = refused.get_details_error_info().context("no reason")?;
    ensure!(info.reason == "SERVER_BUSY");
    ensure!(refused.get_details_retry_info().is_some());
    drop(held);
    // its end reaches the server a moment later
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let freed = async {
        while client.list_jobs(ListJobsRequest::default()).await.is_err() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await?;
    Ok(())
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended_by_the_server() -> anyhow::Result<()> {
    let world = World::new(Setup {
        options: ServerOptions {
            call_timeout: Duration::from_millis(200),
            ..ServerOptions::default()
        },
        ..Setup::default()
    })
    .await?;
    let things = world.fill("qa").await?;
    let remote = RemoteOptimizer::new(world.connection(None)?);
    // waits for an event that never comes
    let wait = Duration::from_secs(30);
    let answer = remote
        .events(&Caller::local(), things.job, 1, 10, wait)
        .await;
    let error = answer.err().context("nothing happens in the job")?;
    let cause = std::error::Error::source(&error).context("it says why")?;
    ensure!(
        cause.to_string().contains("longer than the server's limit"),
        "{cause}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_clean_error_after_a_few_tries() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    // a port that was free a moment ago
    let gone = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let options = fapo_rpc::ClientOptions {
        tries: 2,
        ..fapo_rpc::ClientOptions::new(format!("http://{gone}"))
    };
    let trace = Arc::new(fapo_domain::ports::trace_context::NoTraces);
    let connection = fapo_rpc::Connection::new(options, trace)?;
    let traces = RemoteTraces::new(connection.clone());
    let answer = traces
        .runs(sample::evaluation_id("e"), &[0], StepsOf::All)
        .await;
    let error = answer.err().context("nobody is there")?;
    ensure!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let optimizer = RemoteOptimizer::new(connection);
    let answer = optimizer.job(&Caller::local(), sample::job_id(1)).await;
    let error = answer.err().context("nobody is there")?;
    ensure!(
        error.code() == ErrorCode::Unavailable && error.to_string().contains(&gone.to_string()),
        "{error}"
    );
    ensure!(matches!(error, OptimizerError::Unreachable { .. }));
    drop(world);
    Ok(())
}

#[tokio::test]
async fn a_client_meets_a_server_that_comes_back() -> anyhow::Result<()> {
    let world = World::new(Setup::default()).await?;
    // connected to nothing yet: the address is taken, and nobody accepts
    let held = TcpListener::bind("127.0.0.1:0").await?;
    let address = held.local_addr()?;
    drop(held);
    let options = fapo_rpc::ClientOptions {
        tries: 20,
        ..fapo_rpc::ClientOptions::new(format!("http://{address}"))
    };
    let trace = Arc::new(fapo_domain::ports::trace_context::NoTraces);
    let remote = RemoteTraces::new(fapo_rpc::Connection::new(options, trace)?);
    let asking = remote.finished_ordinals(sample::evaluation_id("e"), &[1, 2]);
    let target = world.url.trim_start_matches("http://").to_owned();
    // a plain relay to the real server, which begins to listen while the client is trying
    let relaying = async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (mut near, _) = listener.accept().await?;
            let mut far = tokio::net::TcpStream::connect(&target).await?;
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        anyhow::Ok(())
    };
    tokio::select! {
        answer = asking => ensure!(answer?.is_empty()),
        ended = relaying => ended?,
    }
    Ok(())
}
