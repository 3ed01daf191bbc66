//! A server's configuration, validated: every value is there, and they fit together.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fapo_domain::clock::Timestamp;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::retention::RetentionRule;
use fapo_llm::Addresses;

use super::raw::{AuthMode, LogFormat, RawWorkers};
use super::units::Secret;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The HTTP API, and the gRPC of the orchestrator for clients that reach only this one.
    Gateway,
    /// Jobs.
    Orchestrator,
    /// Runs of pipelines.
    Executor,
    /// Stored runs.
    Traces,
    /// Scores.
    Scoring,
    /// Attributions, proposals, reviews.
    Diagnosis,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Gateway,
        Self::Orchestrator,
        Self::Executor,
        Self::Traces,
        Self::Scoring,
        Self::Diagnosis,
    ];

    /// The name in configuration and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Orchestrator => "orchestrator",
            Self::Executor => "executor",
            Self::Traces => "traces",
            Self::Scoring => "scoring",
            Self::Diagnosis => "diagnosis",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The whole configuration of a process.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// This process.
    pub node: Node,
    /// Its addresses.
    pub listen: Listen,
    /// Where runs and lineage are.
    pub store: Store,
    /// Whether the schema is brought up to date at the start.
    pub migrate: bool,
    /// How work travels.
    pub queue: Queue,
    /// The roles that are elsewhere.
    pub services: Services,
    /// How much is done at once.
    pub workers: Workers,
    /// Who may call.
    pub auth: AuthMode,
    /// How much one may ask.
    pub limits: Limits,
    /// Certificate and key of both ports.
    pub tls: Option<Tls>,
    /// Logs, traces, metrics.
    pub telemetry: Telemetry,
    /// What models are called with.
    pub models: ModelAccess,
    /// What is thrown away.
    pub retention: KeepFor,
}

/// This process.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it calls itself, before what makes it unique.
    pub name: String,
    /// What it does; never empty.
    pub roles: BTreeSet<Role>,
    /// The folder for what it keeps itself.
    pub dir: PathBuf,
    /// How long a stop may take in all.
    pub grace: Duration,
    /// How long a start waits for what it needs.
    pub start_timeout: Duration,
}

impl Node {
    /// Whether it has this role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Its roles in words, for logs.
    pub fn role_names(&self) -> String {
        let names: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        names.join(",")
    }
}

/// Where a process listens.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

/// Where runs and lineage are.
#[derive(Debug, Clone)]
pub enum Store {
    /// One file, one process.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A server.
    Postgres {
        /// Its URL.
        url: Secret,
        /// Connections of this process.
        pool: u32,
        /// How long a call waits for a free one.
        acquire_timeout: Duration,
        /// How long a statement may run.
        statement_timeout: Duration,
    },
}

/// How work travels.
#[derive(Debug, Clone)]
pub enum Queue {
    /// Within this process.
    Memory,
    /// Over Redis.
    Redis {
        /// Its URL.
        url: Secret,
        /// What the keys begin with.
        prefix: String,
        /// Messages that wait in one topic at most.
        max_waiting: u64,
        /// Whether limits of providers are held there.
        shared_limits: bool,
    },
}

/// The roles that are elsewhere.
#[derive(Debug, Clone)]
pub struct Services {
    /// Where the executor is.
    pub executor: Option<String>,
    /// Where traces are.
    pub traces: Option<String>,
    /// Where scoring is.
    pub scoring: Option<String>,
    /// Where the orchestrator is.
    pub optimizer: Option<String>,
    /// The token that calls between roles carry.
    pub token: Option<Secret>,
    /// The file of the authority of their certificates.
    pub ca: Option<PathBuf>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// How much is done at once.
#[derive(Debug, Clone)]
pub struct Workers {
    concurrency: RawWorkers,
    /// How long a claim lasts without a heartbeat.
    pub lease: Duration,
    /// How often its owner says that it is alive; at most a third of the lease.
    pub heartbeat: Duration,
    /// Claims after which a failing task is dead.
    pub max_attempts: u64,
    /// How often the queue is filled from the rows.
    pub reconcile_every: Duration,
    /// How often queue depth and lag are measured.
    pub sample_every: Duration,
}

impl Workers {
    /// From what was written, which was looked at before.
    pub(super) fn new(raw: RawWorkers) -> Self {
        Self {
            lease: raw.lease.0,
            heartbeat: raw.heartbeat.0,
            max_attempts: u64::from(raw.max_attempts),
            reconcile_every: raw.reconcile_every.0,
            sample_every: raw.sample_every.0,
            concurrency: raw,
        }
    }

    /// Tasks of a topic under way at once in this process.
    pub fn concurrency(&self, topic: Topic) -> usize {
        let raw = &self.concurrency;
        let number = match topic {
            Topic::Job => raw.job,
            Topic::Execute => raw.execute,
            Topic::Score => raw.score,
            Topic::Diagnose => raw.diagnose,
            Topic::Propose => raw.propose,
            Topic::Review => raw.review,
        };
        usize::try_from(number).unwrap_or(usize::MAX)
    }
}

/// How much one may ask.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body of a request, in bytes.
    pub body: usize,
    /// The largest file of a project, uploaded over HTTP, in bytes.
    pub file: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Requests a minute of one caller.
    pub requests_per_minute: u32,
    /// Whether X-Forwarded-For names the client.
    pub trust_proxy: bool,
}

impl Limits {
    /// How long a request may take that sends much, or for which a whole project is read.
    pub fn upload_timeout(&self) -> Duration {
        self.request_timeout * 10
    }
}

/// Certificate and key, as files of PEM that can be read.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate's file.
    pub cert_file: PathBuf,
    /// The key's file.
    pub key_file: PathBuf,
}

/// Logs, traces, metrics.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The address of a collector.
    pub otlp_endpoint: Option<String>,
    /// Headers of the export; their values may be secret.
    pub otlp_headers: Vec<(String, Secret)>,
    /// The part of traces that is kept, 0 to 1.
    pub sampling: f64,
    /// Whether prompts and outputs stand in spans.
    pub content: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_filter: String,
}

/// What models are called with.
#[derive(Debug, Clone)]
pub struct ModelAccess {
    /// Variables that projects may name; a `*` at the end stands for any rest.
    pub env: Vec<String>,
    /// Where models may be called.
    pub addresses: Addresses,
    /// The text of a price table of one's own.
    pub prices: Option<String>,
}

impl ModelAccess {
    /// Whether a project may name this variable.
    pub fn allows(&self, name: &str) -> bool {
        self.env.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => known == name,
        })
    }
}

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct KeepFor {
    /// Runs of ended jobs; `None` for ever.
    pub traces: Option<Duration>,
    /// Step results; `None` for ever.
    pub cache: Option<Duration>,
    /// How often an orchestrator looks.
    pub every: Duration,
}

impl KeepFor {
    /// What may go at `now`; `None` where everything is kept.
    pub fn rule(&self, now: Timestamp, dry_run: bool) -> Option<RetentionRule> {
        if self.traces.is_none() && self.cache.is_none() {
            return None;
        }
        let before = |period: Duration| {
            let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
            Timestamp(now.0.saturating_sub(period))
        };
        Some(RetentionRule {
            // nothing is older than the beginning of time
            traces_before: self.traces.map_or(Timestamp(i64::MIN), before),
            cache_before: self.cache.map(before),
            dry_run,
        })
    }
}
