//! A server with all services over SQLite, one job of the project `qa` with something of everything, and tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::clock::Timestamp;
use fapo_domain::model::access::{Caller, Credential, Role, TokenRecord};
use fapo_domain::model::evaluation::{Block, EvaluationSpec};
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::job::JobGoal;
use fapo_domain::model::session::{SessionEnd, SessionId, SessionRecord};
use fapo_domain::model::task::{Fence, NewTask, TaskPayload};
use fapo_domain::money::SpendRole;
use fapo_domain::ports::access::Tokens;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::jobs::{Findings, Jobs, Tick};
use fapo_domain::ports::optimizer::{Manifest, Optimizer, Submission};
use fapo_domain::ports::questions::ScorerInfo;
use fapo_domain::ports::sandbox::Confinement;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::trace_context::{NoTraces, TraceContext};
use fapo_domain::ports::traces::Traces;
use fapo_domain::{ContentHash, JobId, Spend, TaskId};
use fapo_orchestrator::{
    OptimizerPorts, OptimizerService, OrchestratorConfig, OrchestratorService,
};
use fapo_queue::MemoryQueue;
use fapo_rpc::{
    Authenticator, ClientOptions, Connection, DiagnosisServer, ExecutorServer, OptimizerServer,
    ScorerServer, ServeError, ServerBuilder, ServerOptions, TracesServer,
};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::optimizing::{LineReporter, SETTINGS, ScriptedIntake};
use fapo_testkit::sample;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::scripted::Scripted;

/// How a world is set up.
pub struct Setup {
    pub options: ServerOptions,
    /// Whether a call needs a token.
    pub tokens: bool,
    pub scripted: Scripted,
    pub trace: Arc<dyn TraceContext>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            options: ServerOptions::default(),
            tokens: false,
            scripted: Scripted::default(),
            trace: Arc::new(NoTraces),
        }
    }
}

pub struct World {
    pub url: String,
    pub stop: CancellationToken,
    pub store: Arc<SqliteStore>,
    pub clock: Arc<ManualClock>,
    pub scripted: Arc<Scripted>,
    pub optimizer: Arc<OptimizerService>,
    pub served: JoinHandle<Result<(), ServeError>>,
    _folder: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A job with something of everything.
#[derive(Debug, Clone)]
pub struct Things {
    pub job: JobId,
    pub evaluation: EvaluationSpec,
    pub session: SessionId,
}

impl World {
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock = ManualClock::new();
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(&path, clock.clone(), StoreOptions::default()).await?;
        let store = Arc::new(store);
        let optimizer = Arc::new(optimizer(&store, &clock));
        let scripted = Arc::new(setup.scripted);
        let stop = CancellationToken::new();
        let authenticator = if setup.tokens {
            Authenticator::by_token(store.clone(), clock.clone())
        } else {
            Authenticator::off(clock.clone())
        };
        let scorers = vec![ScorerInfo {
            name: "exact_match",
            about: "Whether both are the same.",
        }];
        let trace = setup.trace;
        let builder = ServerBuilder::new(setup.options, authenticator, trace.clone())
            .executor(ExecutorServer::new(
                scripted.clone(),
                scripted.clone(),
                store.clone(),
                store.clone(),
                store.clone(),
            ))
            .traces(TracesServer::new(
                store.clone(),
                store.clone(),
                store.clone(),
            ))
            .scorer(ScorerServer::new(
                scripted.clone(),
                scripted.clone(),
                scorers,
                store.clone(),
                store.clone(),
            ))
            .diagnosis(DiagnosisServer::new(
                store.clone(),
                store.clone(),
                store.clone(),
                store.clone(),
                store.clone(),
            ))
            .optimizer(OptimizerServer::new(optimizer.clone(), trace, stop.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self {
            url,
            served: tokio::spawn(builder.serve(listener, stop.clone())),
            stop,
            store,
            clock,
            scripted,
            optimizer,
            _folder: folder,
        })
    }

    /// A channel of any client's, without a token.
    pub async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(self.url.clone())?.connect().await?)
    }

    /// A connection that shows `credential`, with two quick tries.
    pub fn connection(&self, credential: Option<Credential>) -> anyhow::Result<Connection> {
        let options = ClientOptions {
            credential,
            deadline: Duration::from_secs(30),
            tries: 2,
            ..ClientOptions::new(&self.url)
        };
        Ok(Connection::new(options, Arc::new(NoTraces))?)
    }

    /// A token of that role.
    pub async fn token(
        &self,
        role: Role,
        project: Option<&str>,
        expires_at: Option<Timestamp>,
    ) -> anyhow::Result<Credential> {
        let name = format!("{} of {project:?} until {expires_at:?}", role.as_str());
        let id = ContentHash::of(name.as_bytes()).to_string()[..16].to_owned();
        let text = format!("fapo_{id}_{}", ContentHash::of(id.as_bytes()));
        let record = TokenRecord {
            id,
            hash: Some(ContentHash::of(text.as_bytes())),
            name,
            project: project.map(str::to_owned),
            role,
            created_at: Timestamp(0),
            expires_at,
            revoked_at: None,
        };
        self.store.create_token(record).await?;
        Ok(Credential::new(text))
    }

    /// A job of `project` with an evaluation, a run, an attribution and a session.
    pub async fn fill(&self, project: &str) -> anyhow::Result<Things> {
        let settings: Arc<[u8]> = Arc::from(project.as_bytes());
        let hashes = self.store.put_blobs(vec![settings]).await?;
        let submission = Submission {
            request_id: format!("fill {project}"),
            project: project.to_owned(),
            files: Manifest(BTreeMap::from([(SETTINGS.to_owned(), hashes[0])])),
            goal: JobGoal::Optimize,
        };
        let job = self
            .optimizer
            .submit(&Caller::local(), submission, None)
            .await?;
        let evaluation = EvaluationSpec {
            cases: 1,
            ..sample::evaluation_spec(job.id, job.baseline)
        };
        let row = self.store.get_job(job.id).await?;
        let task = NewTask {
            id: sample::task_id(job.id, 1),
            job: job.id,
            payload: TaskPayload::Execute {
                evaluation: evaluation.clone(),
                block: Block { start: 0, end: 1 },
                round: 0,
            },
        };
        let tick = Tick {
            job: job.id,
            expected_version: row.version,
            state: row.state,
            status: row.status,
            events: vec![serde_json::json!({ "event": "made up" })],
            tasks: vec![task],
            consumed: Vec::new(),
            lineage: Vec::new(),
            decisions: Vec::new(),
            open_test: None,
            trace: None,
        };
        self.store.commit_tick(tick).await?;
        let run = sample::run_record(evaluation.id(), 0);
        self.store.record_runs(None, vec![run]).await?;
        let attribution = Attribution::default();
        self.store
            .record_attribution(None, evaluation.id(), Vec::new(), &attribution)
            .await?;
        let session = session(job.id);
        self.store.record_session(session.clone()).await?;
        Ok(Things {
            job: job.id,
            evaluation,
            session: session.id,
        })
    }
}

fn optimizer(store: &Arc<SqliteStore>, clock: &Arc<ManualClock>) -> OptimizerService {
    let orchestrator = OrchestratorService::new(
        store.clone(),
        store.clone(),
        store.clone(),
        Arc::new(MemoryQueue::new()),
        clock.clone(),
        OrchestratorConfig::new("test"),
    );
    let intake = ScriptedIntake {
        blobs: store.clone(),
        variants: store.clone(),
    };
    let ports = OptimizerPorts {
        blobs: store.clone(),
        variants: store.clone(),
        requests: store.clone(),
        intake: Arc::new(intake),
        reporter: Arc::new(LineReporter),
    };
    OptimizerService::new(orchestrator, ports)
}

fn session(job: JobId) -> SessionRecord {
    let task = TaskId::derive(job, "propose", "1");
    SessionRecord {
        id: SessionId::derive(Fence { task, epoch: 1 }, 0),
        job,
        task,
        role: SpendRole::Proposer,
        agent: "codex".to_owned(),
        version: None,
        model: "small".to_owned(),
        confinement: Confinement {
            namespaces: false,
            landlock_abi: 0,
            detail: "none".to_owned(),
        },
        prompt_hash: sample::hash("prompts"),
        started_at: Timestamp(1),
        ended_at: Timestamp(2),
        end: SessionEnd::Answered,
        prompts: 1,
        turns: 1,
        tool_calls: Vec::new(),
        refused: Vec::new(),
        spend: Spend::default(),
        first_request_ms: None,
        harvest_us: 0,
        peak_memory: None,
        transcript: None,
        // more than one message of its stream
        transcript_text: b"{\"line\":1}\n".repeat(200_000),
    }
}
