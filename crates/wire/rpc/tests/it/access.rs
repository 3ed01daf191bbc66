//! Who may call what, as a table over every method of every service.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use fapo_domain::model::access::{Credential, Role};
use fapo_proto::common::v1 as common;
use fapo_proto::diagnosis::v1::{
    self as diagnosis, diagnosis_service_client::DiagnosisServiceClient,
};
use fapo_proto::executor::v1::{self as executor, executor_service_client::ExecutorServiceClient};
use fapo_proto::optimizer::v1::{
    self as optimizer, optimizer_service_client::OptimizerServiceClient,
};
use fapo_proto::scoring::v1::{self as scoring, scoring_service_client::ScoringServiceClient};
use fapo_proto::traces::v1::{self as traces, traces_service_client::TracesServiceClient};
use fapo_testkit::clock::ManualClock;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::world::{Setup, Things, World};

/// Whose a method's thing is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    /// A project's: for another project's callers it does not exist.
    Project,
    /// Nobody's.
    Nobody,
}

use Of::{Nobody, Project};
use Role::{Service, Submitter, Viewer};

/// Every method, the least role that may call it, and whose its thing is.
const METHODS: &[(&str, Role, Of)] = &[
    ("ExecutorService/ValidatePipeline", Viewer, Project),
    ("ExecutorService/RunCase", Service, Project),
    ("TracesService/IngestRuns", Service, Nobody),
    ("TracesService/FinishedOrdinals", Viewer, Project),
    ("TracesService/GetRun", Viewer, Project),
    ("TracesService/GetRuns", Viewer, Project),
    ("TracesService/ListRuns", Viewer, Project),
    ("TracesService/ListFailures", Viewer, Project),
    ("TracesService/SearchRuns", Viewer, Project),
    ("TracesService/GetAggregates", Viewer, Project),
    ("TracesService/GetEvaluation", Viewer, Project),
    ("TracesService/ListEvaluations", Viewer, Project),
    ("ScoringService/ScoreRuns", Service, Project),
    ("ScoringService/CompareVariants", Viewer, Project),
    ("ScoringService/ListScorers", Viewer, Nobody),
    ("DiagnosisService/GetAttribution", Viewer, Project),
    ("DiagnosisService/ListClusters", Viewer, Project),
    ("DiagnosisService/ListFindings", Viewer, Project),
    ("DiagnosisService/ListSessions", Viewer, Project),
    ("DiagnosisService/GetSession", Viewer, Project),
    ("DiagnosisService/GetTranscript", Viewer, Project),
    ("OptimizerService/FindMissingBlobs", Submitter, Nobody),
    ("OptimizerService/UploadBlobs", Submitter, Nobody),
    ("OptimizerService/SubmitJob", Submitter, Project),
    ("OptimizerService/GetJob", Viewer, Project),
    ("OptimizerService/ListJobs", Viewer, Nobody),
    ("OptimizerService/PauseJob", Submitter, Project),
    ("OptimizerService/ResumeJob", Submitter, Project),
    ("OptimizerService/WatchJob", Viewer, Project),
    ("OptimizerService/ListEvents", Viewer, Project),
    ("OptimizerService/GetLineage", Viewer, Project),
    ("OptimizerService/GetVariant", Viewer, Project),
    ("OptimizerService/GetReport", Viewer, Project),
    ("OptimizerService/ListDeadTasks", Viewer, Project),
    ("OptimizerService/RetryDeadTasks", Submitter, Project),
    // the last: a job that has ended takes no more of the others
    ("OptimizerService/CancelJob", Submitter, Project),
];

#[test]
fn the_table_has_every_method() {
    let set = prost_types::FileDescriptorSet::decode(fapo_proto::DESCRIPTORS).unwrap();
    let described: BTreeSet<String> = set
        .file
        .iter()
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            let name = service.name();
            service
                .method
                .iter()
                .map(move |m| format!("{name}/{}", m.name()))
        })
        .collect();
    let listed: BTreeSet<String> = METHODS
        .iter()
        .map(|(name, ..)| (*name).to_owned())
        .collect();
    assert_eq!(described, listed);
}

/// Who calls, and about what.
struct Asking<'a> {
    channel: Channel,
    things: &'a Things,
    token: Option<String>,
}

impl Asking<'_> {
    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let value = format!("Bearer {token}").parse().expect("a token is ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Calls a method with a request that is right for what there is.
    async fn call(&self, method: &str) -> Result<(), Status> {
        match method.split_once('/').unwrap_or_default() {
            ("ExecutorService", method) => self.executor(method).await,
            ("TracesService", method) => self.traces(method).await,
            ("ScoringService", method) => self.scoring(method).await,
            ("DiagnosisService", method) => self.diagnosis(method).await,
            (_, method) => self.optimizer(method).await,
        }
    }

    fn files() -> common::VariantFiles {
        common::VariantFiles {
            files: vec![common::VariantFile {
                path: "answer.md".to_owned(),
                content: b"Say.".to_vec(),
            }],
        }
    }

    fn case() -> common::Case {
        common::Case {
            case_id: "c0".to_owned(),
            ..common::Case::default()
        }
    }

    async fn executor(&self, method: &str) -> Result<(), Status> {
        let mut client = ExecutorServiceClient::new(self.channel.clone());
        let job_id = self.things.job.to_string();
        match method {
            "ValidatePipeline" => {
                let request = executor::ValidatePipelineRequest {
                    rules: Some(executor::validate_pipeline_request::Rules::JobId(job_id)),
                    pipeline: Some(executor::validate_pipeline_request::Pipeline::Files(
                        Self::files(),
                    )),
                };
                client.validate_pipeline(self.with(request)).await?;
            }
            _ => {
                let request = executor::RunCaseRequest {
                    job_id,
                    pipeline: Some(executor::run_case_request::Pipeline::Files(Self::files())),
                    case: Some(Self::case()),
                    fresh: false,
                    payer: None,
                };
                let mut parts = client.run_case(self.with(request)).await?.into_inner();
                while parts.message().await?.is_some() {}
            }
        }
        Ok(())
    }

    #[expect(
        clippy::needless_update,
        reason = "some of the messages have no other field"
    )]
    async fn traces(&self, method: &str) -> Result<(), Status> {
        let mut client = TracesServiceClient::new(self.channel.clone());
        let evaluation_id = self.things.evaluation.id().to_string();
        let job_id = self.things.job.to_string();
        macro_rules! evaluation {
            ($request:ident) => {
                self.with(traces::$request {
                    evaluation_id,
                    ..traces::$request::default()
                })
            };
        }
        match method {
            "IngestRuns" => {
                let batch = traces::IngestRunsRequest::default();
                let stream = futures::stream::iter([batch]);
                drop(client.ingest_runs(self.with(stream)).await?);
            }
            "FinishedOrdinals" => {
                let request = evaluation!(FinishedOrdinalsRequest);
                drop(client.finished_ordinals(request).await?);
            }
            "GetRun" => drop(client.get_run(evaluation!(GetRunRequest)).await?),
            "GetRuns" => drop(client.get_runs(evaluation!(GetRunsRequest)).await?),
            "ListRuns" => drop(client.list_runs(evaluation!(ListRunsRequest)).await?),
            "ListFailures" => {
                drop(
                    client
                        .list_failures(evaluation!(ListFailuresRequest))
                        .await?,
                );
            }
            "SearchRuns" => {
                let request = traces::SearchRunsRequest {
                    job_id,
                    text: "answer".to_owned(),
                    ..traces::SearchRunsRequest::default()
                };
                drop(client.search_runs(self.with(request)).await?);
            }
            "GetAggregates" => {
                drop(
                    client
                        .get_aggregates(evaluation!(GetAggregatesRequest))
                        .await?,
                );
            }
            "GetEvaluation" => {
                drop(
                    client
                        .get_evaluation(evaluation!(GetEvaluationRequest))
                        .await?,
                );
            }
            _ => {
                let request = traces::ListEvaluationsRequest {
                    job_id,
                    ..traces::ListEvaluationsRequest::default()
                };
                drop(client.list_evaluations(self.with(request)).await?);
            }
        }
        Ok(())
    }

    async fn scoring(&self, method: &str) -> Result<(), Status> {
        let mut client = ScoringServiceClient::new(self.channel.clone());
        let job_id = self.things.job.to_string();
        match method {
            "ScoreRuns" => {
                let request = scoring::ScoreRunsRequest {
                    scorer: Some(scoring::score_runs_request::Scorer::JobId(job_id)),
                    runs: Vec::new(),
                };
                drop(client.score_runs(self.with(request)).await?);
            }
            "CompareVariants" => {
                let id = self.things.evaluation.id().to_string();
                let request = scoring::CompareVariantsRequest {
                    job_id,
                    evaluation_a_id: id.clone(),
                    evaluation_b_id: id,
                    upto: 0,
                    confidence: 0.9,
                    seed: 1,
                };
                drop(client.compare_variants(self.with(request)).await?);
            }
            _ => {
                let request = self.with(scoring::ListScorersRequest {});
                drop(client.list_scorers(request).await?);
            }
        }
        Ok(())
    }

    async fn diagnosis(&self, method: &str) -> Result<(), Status> {
        let mut client = DiagnosisServiceClient::new(self.channel.clone());
        let evaluation_id = self.things.evaluation.id().to_string();
        let session_id = self.things.session.to_string();
        match method {
            "GetAttribution" => {
                let request = diagnosis::GetAttributionRequest { evaluation_id };
                drop(client.get_attribution(self.with(request)).await?);
            }
            "ListClusters" => {
                let request = diagnosis::ListClustersRequest {
                    evaluation_id,
                    ..diagnosis::ListClustersRequest::default()
                };
                drop(client.list_clusters(self.with(request)).await?);
            }
            "ListFindings" => {
                let request = diagnosis::ListFindingsRequest {
                    evaluation_id,
                    ..diagnosis::ListFindingsRequest::default()
                };
                drop(client.list_findings(self.with(request)).await?);
            }
            "ListSessions" => {
                let request = diagnosis::ListSessionsRequest {
                    job_id: self.things.job.to_string(),
                    ..diagnosis::ListSessionsRequest::default()
                };
                drop(client.list_sessions(self.with(request)).await?);
            }
            "GetSession" => {
                let request = diagnosis::GetSessionRequest { session_id };
                drop(client.get_session(self.with(request)).await?);
            }
            _ => {
                let request = diagnosis::GetTranscriptRequest { session_id };
                drop(client.get_transcript(self.with(request)).await?);
            }
        }
        Ok(())
    }

    #[expect(
        clippy::needless_update,
        reason = "some of the messages have no other field"
    )]
    async fn optimizer(&self, method: &str) -> Result<(), Status> {
        let mut client = OptimizerServiceClient::new(self.channel.clone());
        let job_id = self.things.job.to_string();
        macro_rules! about {
            ($method:ident, $request:ident) => {
                drop(
                    client
                        .$method(self.with(optimizer::$request {
                            job_id,
                            ..Default::default()
                        }))
                        .await?,
                )
            };
        }
        match method {
            "FindMissingBlobs" => {
                let request = optimizer::FindMissingBlobsRequest::default();
                drop(client.find_missing_blobs(self.with(request)).await?);
            }
            "UploadBlobs" => {
                let part = optimizer::UploadBlobsRequest {
                    data: b"qa".to_vec(),
                    last: true,
                };
                let stream = futures::stream::iter([part]);
                drop(client.upload_blobs(self.with(stream)).await?);
            }
            "SubmitJob" => {
                let goal = optimizer::goal::Kind::Optimize(optimizer::OptimizeGoal {});
                let settings = fapo_domain::ContentHash::of(b"qa");
                let request = optimizer::SubmitJobRequest {
                    request_id: "table".to_owned(),
                    project: "qa".to_owned(),
                    files: vec![optimizer::ManifestFile {
                        path: "fapo.yaml".to_owned(),
                        sha256: settings.to_string(),
                    }],
                    goal: Some(optimizer::Goal { kind: Some(goal) }),
                };
                drop(client.submit_job(self.with(request)).await?);
            }
            "GetJob" => about!(get_job, GetJobRequest),
            "ListJobs" => {
                let request = optimizer::ListJobsRequest::default();
                drop(client.list_jobs(self.with(request)).await?);
            }
            "CancelJob" => about!(cancel_job, CancelJobRequest),
            "PauseJob" => about!(pause_job, PauseJobRequest),
            "ResumeJob" => about!(resume_job, ResumeJobRequest),
            "WatchJob" => about!(watch_job, WatchJobRequest),
            "ListEvents" => about!(list_events, ListEventsRequest),
            "GetLineage" => about!(get_lineage, GetLineageRequest),
            "GetVariant" => {
                let request = optimizer::GetVariantRequest {
                    job_id,
                    variant_id: self.things.evaluation.variant.to_string(),
                };
                drop(client.get_variant(self.with(request)).await?);
            }
            "GetReport" => about!(get_report, GetReportRequest),
            "ListDeadTasks" => about!(list_dead_tasks, ListDeadTasksRequest),
            "RetryDeadTasks" => about!(retry_dead_tasks, RetryDeadTasksRequest),
            other => unreachable!("{other} is in the table and not here"),
        }
        Ok(())
    }
}

/// The code and reason of a refusal.
fn refusal(answer: Result<(), Status>) -> anyhow::Result<(Code, String)> {
    let status = answer.err().context("the call was let through")?;
    let info = status.get_details_error_info();
    let info = info.with_context(|| format!("no reason: {status:?}"))?;
    ensure!(info.domain == "fapo");
    Ok((status.code(), info.reason))
}

#[tokio::test]
async fn every_method_asks_who_calls_and_what_they_may() -> anyhow::Result<()> {
    let world = World::new(Setup {
        tokens: true,
        ..Setup::default()
    })
    .await?;
    let things = world.fill("qa").await?;
    let channel = world.channel().await?;
    let asking = |credential: Option<&Credential>| Asking {
        channel: channel.clone(),
        things: &things,
        token: credential.map(|credential| credential.expose().to_owned()),
    };
    let now = ManualClock::START;
    let expired = world.token(Service, None, Some(now)).await?;
    let viewer = world.token(Viewer, Some("qa"), None).await?;
    let submitter = world.token(Submitter, Some("qa"), None).await?;
    let admin = world.token(Role::Admin, Some("qa"), None).await?;
    let service = world.token(Service, None, None).await?;
    let mut strangers = Vec::new();
    for role in [Viewer, Submitter, Service] {
        strangers.push((role, world.token(role, Some("other"), None).await?));
    }
    let guess = Credential::new("fapo_0123456789abcdef_guess");
    for (method, needed, of) in METHODS.iter().copied() {
        let told =
            async |credential: Option<&Credential>| refusal(asking(credential).call(method).await);
        let missing = told(None).await.context(method)?;
        ensure!(
            missing == (Code::Unauthenticated, "TOKEN_MISSING".to_owned()),
            "{method}: {missing:?}"
        );
        for (token, reason) in [(&guess, "TOKEN_INVALID"), (&expired, "TOKEN_EXPIRED")] {
            let refused = told(Some(token)).await.context(method)?;
            ensure!(
                refused == (Code::Unauthenticated, reason.to_owned()),
                "{method}: {refused:?}"
            );
        }
        let below: &[&Credential] = match needed {
            Viewer => &[],
            Submitter | Role::Admin => &[&viewer],
            Service => &[&viewer, &submitter, &admin],
        };
        for token in below {
            let refused = told(Some(token)).await.context(method)?;
            ensure!(
                refused == (Code::PermissionDenied, "ACCESS_FORBIDDEN".to_owned()),
                "{method}: {refused:?}"
            );
        }
        if of == Project {
            let (_, stranger) = strangers
                .iter()
                .find(|(role, _)| *role == needed)
                .context("one of each role")?;
            let (code, reason) = told(Some(stranger)).await.context(method)?;
            ensure!(
                matches!((code, reason.as_str()), (Code::NotFound, "NOT_FOUND")),
                "{method}: {code:?} {reason}"
            );
        }
    }
    for (method, needed, _) in METHODS.iter().copied() {
        let allowed = match needed {
            Viewer => &viewer,
            Submitter => &submitter,
            Role::Admin | Service => &service,
        };
        asking(Some(allowed)).call(method).await.context(method)?;
    }
    Ok(())
}
