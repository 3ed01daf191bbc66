//! What may be written into a server's configuration: the shape of `deploy/config/default.toml`, which holds every default.
//!
//! No field here has a default of its own, and none is optional: the file is the first layer, so a key that one of the two
//! lacks fails every test that reads a configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Keep, Period, Secret, Size};

/// The whole configuration, before it is validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// This process.
    pub node: RawNode,
    /// Its addresses.
    pub listen: RawListen,
    /// Where runs and lineage are.
    pub store: RawStore,
    /// How work travels.
    pub queue: RawQueue,
    /// The roles that are elsewhere.
    pub services: RawServices,
    /// How much is done at once.
    pub workers: RawWorkers,
    /// Who may call.
    pub auth: RawAuth,
    /// How much one may ask.
    pub limits: RawLimits,
    /// Certificates.
    pub tls: RawTls,
    /// Logs, traces, metrics.
    pub telemetry: RawTelemetry,
    /// What models are called with.
    pub models: RawModels,
    /// What is thrown away.
    pub retention: RawRetention,
}

/// `[node]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawNode {
    /// What this process calls itself in leases, queues and logs.
    pub name: String,
    /// What it does.
    pub roles: Vec<RoleName>,
    /// The folder for what it keeps itself.
    pub dir: String,
    /// How long a stop may take in all.
    pub grace: Period,
    /// How long a start waits for Postgres and Redis.
    pub start_timeout: Period,
}

/// A role, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Every role.
    All,
    /// The HTTP API.
    Gateway,
    /// Jobs: the `Optimizer` service and the queue `job`.
    Orchestrator,
    /// Runs pipelines over cases.
    Executor,
    /// Stores runs and answers for them.
    Traces,
    /// Scores runs, compares variants.
    Scoring,
    /// Attributes, proposes, reviews.
    Diagnosis,
}

/// `[listen]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawListen {
    /// The address of gRPC; port 0 picks a free one.
    pub grpc: String,
    /// The address of HTTP; port 0 picks a free one.
    pub http: String,
}

/// Where runs and lineage are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One file, one process.
    Sqlite,
    /// A server, any number of processes.
    Postgres,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStore {
    /// Which one.
    pub kind: StoreKind,
    /// SQLite: the file.
    pub path: String,
    /// Postgres: its URL.
    pub url: Secret,
    /// A file that holds the URL.
    pub url_file: String,
    /// Connections of this process.
    pub pool: u32,
    /// How long a call waits for a free connection.
    pub acquire_timeout: Period,
    /// How long a statement may run.
    pub statement_timeout: Period,
    /// Whether the schema is brought up to date at the start.
    pub migrate: bool,
}

/// How work travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Within one process.
    Memory,
    /// Over Redis Streams.
    Redis,
}

/// `[queue]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawQueue {
    /// Which one.
    pub kind: QueueKind,
    /// Redis: its URL.
    pub url: Secret,
    /// A file that holds the URL.
    pub url_file: String,
    /// What the keys of this deployment begin with.
    pub prefix: String,
    /// Messages that wait in one topic at most.
    pub max_waiting: u64,
    /// Whether limits of providers are held over all processes together.
    pub shared_limits: bool,
}

/// `[services]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawServices {
    /// Where the executor is.
    pub executor: String,
    /// Where traces are.
    pub traces: String,
    /// Where scoring is.
    pub scoring: String,
    /// Where the orchestrator is.
    pub optimizer: String,
    /// The token that calls between roles carry.
    pub token: Secret,
    /// A file that holds it.
    pub token_file: String,
    /// The authority of the other roles' certificates, as PEM.
    pub ca_file: String,
    /// How long a call may take.
    pub timeout: Period,
}

/// `[workers]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWorkers {
    /// Ticks at once.
    pub job: u32,
    /// Blocks executed at once.
    pub execute: u32,
    /// Blocks scored at once.
    pub score: u32,
    /// Evaluations attributed at once.
    pub diagnose: u32,
    /// Proposals written at once.
    pub propose: u32,
    /// Proposals reviewed at once.
    pub review: u32,
    /// How long a claim lasts without a heartbeat.
    pub lease: Period,
    /// How often its owner says that it is alive.
    pub heartbeat: Period,
    /// Claims after which a failing task is dead.
    pub max_attempts: u32,
    /// How often the queue is filled from the rows.
    pub reconcile_every: Period,
    /// How often queue depth and lag are measured.
    pub sample_every: Period,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody who reaches the port.
    Off,
    /// Who shows a token.
    Tokens,
}

/// `[auth]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAuth {
    /// Who may call.
    pub mode: AuthMode,
    /// Whether `off` is let through on addresses that others can reach.
    pub allow_insecure: bool,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    /// The largest body of a request.
    pub body: Size,
    /// The largest file of a project, uploaded over HTTP.
    pub file: Size,
    /// How long a request may take.
    pub request_timeout: Period,
    /// Requests under way at once.
    pub concurrency: u32,
    /// Requests a minute of one caller.
    pub requests_per_minute: u32,
    /// Whether X-Forwarded-For names the client.
    pub trust_proxy: bool,
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// The certificate and those that vouch for it, as PEM.
    pub cert_file: String,
    /// Its key, as PEM.
    pub key_file: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTelemetry {
    /// The OTLP/gRPC address of a collector.
    pub otlp_endpoint: String,
    /// A file with headers of the export.
    pub otlp_headers_file: String,
    /// The part of traces that is kept.
    pub sampling: f64,
    /// Whether prompts and outputs stand in spans.
    pub content: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written (`tracing` filter syntax).
    pub log_filter: String,
}

/// `[models]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModels {
    /// Variables that projects may name.
    pub env: Vec<String>,
    /// Addresses that projects may write down.
    pub base_urls: Vec<String>,
    /// A price table of one's own.
    pub prices_file: String,
}

/// `[retention]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRetention {
    /// How long runs, steps, scores and findings are kept once their job has ended.
    pub traces: Keep,
    /// How long step results are kept.
    pub cache: Keep,
    /// How often an orchestrator looks.
    pub every: Period,
}
