//! A gateway over a store in a temporary folder, with two projects, their tokens, a job in each, and something to see of the
//! first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::ids::{EvaluationId, JobId, VariantId};
use fapo_domain::model::access::{Caller, NewToken, Role};
use fapo_domain::model::decision::{Decision, DecisionKind};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::finding::{Attribution, Cluster, Finding, Points, Rule};
use fapo_domain::model::job::{JobGoal, JobStatus};
use fapo_domain::model::level::Level;
use fapo_domain::model::session::{SessionEnd, SessionId, SessionRecord};
use fapo_domain::model::task::Fence;
use fapo_domain::money::{Spend, SpendRole};
use fapo_domain::ports::access::Tokens;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::jobs::{Findings, Jobs, Tick};
use fapo_domain::ports::optimizer::{
    Manifest, Optimizer, OptimizerError, ReportFormat, Reporter, Submission,
};
use fapo_domain::ports::sandbox::Confinement;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::trace_context::{NoTraces, TraceContext};
use fapo_domain::ports::traces::Traces;
use fapo_gateway::{ApiState, GatewayConfig, Ops, Ports, Probe, ServeOptions, api_router, serve};
use fapo_orchestrator::{
    OptimizerPorts, OptimizerService, OrchestratorConfig, OrchestratorService,
};
use fapo_queue::MemoryQueue;
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::optimizing::{SETTINGS, ScriptedIntake};
use fapo_testkit::sample;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::shelf::Shelf;

/// Puts something in front of an Optimizer.
pub type Wrap = fn(Arc<dyn Optimizer>) -> Arc<dyn Optimizer>;

/// What may differ between two worlds.
#[derive(Default)]
pub struct Setup {
    pub config: GatewayConfig,
    pub options: ServeOptions,
    pub probes: Vec<(String, Arc<dyn Probe>)>,
    /// Stands in front of the real Optimizer.
    pub wrap: Option<Wrap>,
    pub trace_context: Option<Arc<dyn TraceContext>>,
}

/// The texts of tokens, by who holds them.
pub type TokenTexts = BTreeMap<&'static str, String>;

pub struct World {
    pub address: SocketAddr,
    pub tokens: TokenTexts,
    pub token_ids: BTreeMap<&'static str, String>,
    /// The job of the project `qa`, and its evaluation.
    pub job: JobId,
    pub evaluation: EvaluationId,
    pub baseline: VariantId,
    /// The job of the project `other`, and its evaluation.
    pub other_job: JobId,
    pub other_evaluation: EvaluationId,
    pub clock: Arc<ManualClock>,
    pub store: Arc<SqliteStore>,
    pub stop: CancellationToken,
    pub server: Option<JoinHandle<std::io::Result<()>>>,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new() -> anyhow::Result<Self> {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock = ManualClock::new();
        let path = folder.path().join("store.db");
        let opened = SqliteStore::open(&path, clock.clone(), StoreOptions::default()).await?;
        let store = Arc::new(opened);
        let (tokens, token_ids) = make_tokens(&store).await?;
        let optimizer: Arc<dyn Optimizer> = Arc::new(optimizer(&store, &clock));
        let job = submitted(&*optimizer, &store, "qa").await?;
        let other_job = submitted(&*optimizer, &store, "other").await?;
        let baseline = sample::variant_tree("Answer.").id();
        let evaluations = [job, other_job].map(|job| sample::evaluation_spec(job, baseline));
        let [evaluation, other_evaluation] = evaluations.each_ref().map(EvaluationSpec::id);
        fill(&store, job, evaluation, baseline).await?;

        let stop = CancellationToken::new();
        let optimizer = match setup.wrap {
            Some(wrap) => wrap(optimizer),
            None => optimizer,
        };
        let ports = Ports {
            optimizer,
            queries: Arc::new(Shelf {
                evaluations: evaluations.to_vec(),
                traces: store.clone(),
            }),
            traces: store.clone(),
            findings: store.clone(),
            sessions: store.clone(),
            tokens: store.clone(),
            clock: clock.clone(),
            trace_context: setup.trace_context.unwrap_or_else(|| Arc::new(NoTraces)),
        };
        let metrics = Arc::new(|| "fapo_up 1\n".to_owned());
        let ops = Ops::new(setup.probes, metrics, stop.clone());
        let state = ApiState::new(ports, setup.config, stop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = api_router(state, ops);
        let server = tokio::spawn(serve(listener, router, setup.options, stop.clone()));
        Ok(Self {
            address,
            tokens,
            token_ids,
            job,
            evaluation,
            baseline,
            other_job,
            other_evaluation,
            clock,
            store,
            stop,
            server: Some(server),
            _folder: folder,
        })
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Plays a tick of the first job: what `change` makes of one that changes nothing.
    pub async fn tick(&self, change: impl FnOnce(&mut Tick)) -> anyhow::Result<()> {
        tick(&self.store, self.job, change).await
    }

    /// Adds events to the first job.
    pub async fn say(&self, events: impl IntoIterator<Item = Value>) -> anyhow::Result<()> {
        let events = events.into_iter().collect();
        self.tick(|tick| tick.events = events).await
    }

    /// Ends the first job.
    pub async fn finish(&self) -> anyhow::Result<()> {
        self.tick(|tick| tick.status = JobStatus::Done).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn optimizer(store: &Arc<SqliteStore>, clock: &Arc<ManualClock>) -> OptimizerService {
    let service = OrchestratorService::new(
        store.clone(),
        store.clone(),
        store.clone(),
        Arc::new(MemoryQueue::new()),
        clock.clone(),
        OrchestratorConfig::new("test"),
    );
    let ports = OptimizerPorts {
        blobs: store.clone(),
        variants: store.clone(),
        requests: store.clone(),
        intake: Arc::new(ScriptedIntake {
            blobs: store.clone(),
            variants: store.clone(),
        }),
        reporter: Arc::new(SampleReporter),
    };
    OptimizerService::new(service, ports)
}

/// A report of one line in each format.
struct SampleReporter;

#[async_trait]
impl Reporter for SampleReporter {
    async fn report(&self, id: JobId, format: ReportFormat) -> Result<Vec<u8>, OptimizerError> {
        let text = match format {
            ReportFormat::Markdown => format!("# Job {id}\n"),
            ReportFormat::Html => format!("<!doctype html><title>{id}</title>"),
            ReportFormat::Json => json!({"id": id}).to_string(),
        };
        Ok(text.into_bytes())
    }
}

/// One token of each kind.
async fn make_tokens(
    store: &SqliteStore,
) -> anyhow::Result<(TokenTexts, BTreeMap<&'static str, String>)> {
    let holders = [
        ("viewer", Some("qa"), Role::Viewer),
        ("submitter", Some("qa"), Role::Submitter),
        ("admin", Some("qa"), Role::Admin),
        ("other_viewer", Some("other"), Role::Viewer),
        ("other_submitter", Some("other"), Role::Submitter),
        ("other_admin", Some("other"), Role::Admin),
        ("root", None, Role::Admin),
        ("service", None, Role::Service),
        ("expired", Some("qa"), Role::Admin),
        ("revoked", Some("qa"), Role::Admin),
    ];
    let (mut texts, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for (number, (holder, project, role)) in holders.into_iter().enumerate() {
        let token = NewToken::from_random([u8::try_from(number)? + 1; NewToken::RANDOM_BYTES]);
        let made = Timestamp(ManualClock::START.0 - 1000);
        let ends = (holder == "expired").then_some(ManualClock::START);
        let project = project.map(str::to_owned);
        let record = token.record(holder.to_owned(), project, role, made, ends);
        store.create_token(record).await?;
        if holder == "revoked" {
            store.revoke_token(token.id(), made).await?;
        }
        texts.insert(holder, token.text().to_owned());
        ids.insert(holder, token.id().to_owned());
    }
    Ok((texts, ids))
}

async fn submitted(
    optimizer: &dyn Optimizer,
    store: &SqliteStore,
    project: &str,
) -> anyhow::Result<JobId> {
    let stored = store.put_blobs(vec![Arc::from(project.as_bytes())]).await?;
    let submission = Submission {
        request_id: "seed".to_owned(),
        project: project.to_owned(),
        files: Manifest([(SETTINGS.to_owned(), stored[0])].into()),
        goal: JobGoal::Optimize,
    };
    Ok(optimizer
        .submit(&Caller::local(), submission, None)
        .await?
        .id)
}

async fn tick(
    store: &SqliteStore,
    job: JobId,
    change: impl FnOnce(&mut Tick),
) -> anyhow::Result<()> {
    let job = store.get_job(job).await?;
    let mut tick = Tick {
        job: job.id,
        expected_version: job.version,
        state: job.state,
        status: job.status,
        events: Vec::new(),
        tasks: Vec::new(),
        consumed: Vec::new(),
        lineage: Vec::new(),
        decisions: Vec::new(),
        open_test: None,
        trace: None,
    };
    change(&mut tick);
    store.commit_tick(tick).await?;
    Ok(())
}

/// Runs, findings, a decision, a session.
async fn fill(
    store: &SqliteStore,
    job: JobId,
    evaluation: EvaluationId,
    baseline: VariantId,
) -> anyhow::Result<()> {
    let runs = (0..5).map(|ordinal| sample::run_record(evaluation, ordinal));
    store.record_runs(None, runs.collect()).await?;
    let finding = |ordinal: u64| Finding {
        evaluation,
        ordinal,
        case_id: format!("c{ordinal}").as_str().into(),
        step: "answer".into(),
        rule: Rule::WrongAnswer,
        level: Level::Prompt,
        confidence: 0.5,
        lost: 1.0,
        detail: "it says 4".to_owned(),
        reading: None,
    };
    let points = Points {
        estimate: 0.4,
        low: 0.2,
        high: 0.6,
    };
    let attribution = Attribution {
        cases: 5,
        failures: 3,
        mean: 0.4,
        clusters: vec![Cluster {
            id: "wrong_answer@answer".to_owned(),
            label: "wrong answers".to_owned(),
            step: "answer".into(),
            rule: Rule::WrongAnswer,
            level: Level::Prompt,
            count: 3,
            cases: vec!["c1".into()],
            confidence: 0.5,
            recoverable: points,
            direction: "say more clearly what is asked".to_owned(),
            readings: Vec::new(),
        }],
        ceilings: [(Level::Prompt, points)].into(),
        ..Attribution::default()
    };
    let findings = [1, 2, 3].map(finding).to_vec();
    store
        .record_attribution(None, evaluation, findings, &attribution)
        .await?;
    tick(store, job, |tick| {
        tick.decisions = vec![Decision {
            // far from those that the policy numbers itself
            seq: 100,
            iteration: 1,
            what: DecisionKind::Refusal {
                candidate: Some(baseline),
                by: Default::default(),
            },
            reason: "it changes nothing".to_owned(),
            evidence: json!({"lints": 1}),
        }];
        tick.events = vec![json!({"event": "submitted"})];
    })
    .await?;
    let task = sample::task_id(job, 1);
    store
        .record_session(session(job, Fence { task, epoch: 1 }))
        .await?;
    Ok(())
}

fn session(job: JobId, fence: Fence) -> SessionRecord {
    SessionRecord {
        id: SessionId::derive(fence, 1),
        job,
        task: fence.task,
        role: SpendRole::Proposer,
        agent: "claude-code".to_owned(),
        version: None,
        model: "opus".to_owned(),
        confinement: Confinement {
            namespaces: true,
            landlock_abi: 7,
            detail: "bubblewrap".to_owned(),
        },
        prompt_hash: ContentHash::of(b"prompts"),
        started_at: ManualClock::START,
        ended_at: ManualClock::START.plus(Duration::from_secs(9)),
        end: SessionEnd::Answered,
        prompts: 1,
        turns: 2,
        tool_calls: vec![("Edit".to_owned(), 3)],
        refused: Vec::new(),
        spend: Spend::default(),
        first_request_ms: None,
        harvest_us: 3,
        peak_memory: None,
        transcript: None,
        transcript_text: b"{}\n".to_vec(),
    }
}
