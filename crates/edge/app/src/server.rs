//! A server's process, from its configuration to its end.
//!
//! ```text
//! listen ─▶ store, queue (waited for, bounded) ─▶ services ─▶ roles ─▶ ready ─▶ signal or failure ─▶ ordered shutdown
//! ```
//!
//! Its ports are taken before anything is built: an address that is in use is told at once, and whoever connects meanwhile waits
//! instead of being refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use fapo_domain::clock::{Clock, SystemClock};
use fapo_domain::error::chain;
use fapo_domain::ports::queue::QueueDepth;
use fapo_domain::ports::tasks::Tasks;
use fapo_domain::ports::trace_context::TraceContext;
use fapo_gateway::{
    Ops, Probe, ProbeFailure, ServeOptions, TlsFiles, TlsServer, api_router, ops_router,
};
use fapo_llm::PriceTable;
use fapo_rpc::{Authenticator, Health, ServerBuilder, ServerTls};
use fapo_telemetry::{Guard, MetricsPage};
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::advice::Advice;
use crate::cli::signals::Signals;
use crate::config::Env;
use crate::config::raw::AuthMode;
use crate::config::server::{Role, ServerConfig};
use crate::exit::Exit;
use crate::lifecycle::{Kind, TaskSet};
use crate::output::Output;
use crate::roles::{Parts, Process, orchestrator};
use crate::wiring::queue::OpenQueue;
use crate::wiring::remote::Others;
use crate::wiring::sandbox;
use crate::wiring::services::{Base, BaseParts};
use crate::wiring::store::{OpenStore, Use};

/// The part of the grace period, in percent, that requests under way have.
const REQUESTS: u32 = 18;
/// The same for calls under way, which end last.
const LAST_CALLS: u32 = 8;

/// What a server is run with.
#[derive(Debug)]
pub struct ServerOptions {
    /// Its configuration.
    pub config: ServerConfig,
    /// The process's environment.
    pub env: Env,
    /// What it calls itself in leases and queues; see [`owner`].
    pub owner: String,
    /// Fault injection: abort the process right after so many durable commits.
    pub abort_after_commits: Option<u64>,
}

/// The listeners of a process.
#[derive(Debug)]
struct Listeners {
    grpc: TcpListener,
    http: TcpListener,
}

/// A process's name in leases and queues, unique among all processes at all times.
pub fn owner(config: &ServerConfig) -> std::io::Result<String> {
    let mut random = [0_u8; 4];
    SysRng
        .try_fill_bytes(&mut random)
        .map_err(std::io::Error::other)?;
    let random = u32::from_le_bytes(random);
    Ok(format!(
        "{}-{}-{random:08x}",
        config.node.name,
        std::process::id()
    ))
}

/// Serves until it is told to stop, or cannot go on.
///
/// # Errors
/// When it cannot start, or a part of it ended that it cannot do without.
pub async fn run(
    options: ServerOptions,
    output: &Output,
    telemetry: Guard,
) -> anyhow::Result<Exit> {
    // before anything else: whoever starts this may stop it at once
    let mut signals = Signals::take().context("cannot listen for signals")?;
    let listeners = Listeners::bind(&options.config).await?;
    let addresses = (listeners.grpc.local_addr()?, listeners.http.local_addr()?);
    let started = tokio::select! {
        started = start(&options, listeners, &telemetry) => started?,
        _ = signals.next() => {
            output.note("stopped while starting");
            return Ok(Exit::Ok);
        }
    };
    announce(&options.config, addresses, output)?;
    let ended = started
        .until_stopped(&options.config, signals, output)
        .await;
    // what is still buffered; blocking is fine, as nothing runs any more
    telemetry.shutdown(options.config.node.grace / 10);
    ended.map(|()| Exit::Ok)
}

/// A process whose roles run.
struct Started {
    tasks: TaskSet,
    /// Cancelled first of all: nothing new is to be sent here.
    stopping: CancellationToken,
    health: Health,
    store: OpenStore,
    queue: OpenQueue,
    process: Process,
}

/// Builds everything, and starts it.
async fn start(
    options: &ServerOptions,
    listeners: Listeners,
    telemetry: &Guard,
) -> anyhow::Result<Started> {
    fapo_llm::install_crypto();
    let config = &options.config;
    if config.auth == AuthMode::Tokens {
        sandbox::must_be_required(&options.env)?;
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // before what is waited for: a certificate that cannot be used is told at once
    let http_options = http_options(config)?;
    let store = OpenStore::open(config, &clock, options.abort_after_commits, Use::Serve).await?;
    let queue = OpenQueue::open(config).await?;
    let parts = parts(options, &store, &queue, clock, telemetry.trace_context())?;
    let mut process = Process::new(grpc_server(config, &parts));
    parts.add_roles(&mut process)?;

    let tasks = std::mem::take(&mut process.tasks);
    let stopping = process.stopping.clone();
    let ops = ops(&parts, telemetry, stopping.clone());
    let (kind, router) = match process.api.take() {
        Some(api) => (Kind::Intake, api_router(api, ops)),
        None => (Kind::Server, ops_router(ops)),
    };
    tasks.spawn(kind, "http", |stop| async move {
        fapo_gateway::serve(listeners.http, router, http_options, stop).await?;
        Ok(())
    });
    let grpc = process.grpc.take().context("a process has a gRPC port")?;
    let health = grpc.health();
    tasks.spawn(Kind::Server, "grpc", |stop| async move {
        grpc.serve(listeners.grpc, stop).await?;
        Ok(())
    });
    Ok(Started {
        tasks,
        stopping,
        health,
        store,
        queue,
        process,
    })
}

/// What the roles are made of. Projects come from the store here, and name of the environment only what the configuration lets
/// them.
fn parts(
    options: &ServerOptions,
    store: &OpenStore,
    queue: &OpenQueue,
    clock: Arc<dyn Clock>,
    trace: Arc<dyn TraceContext>,
) -> anyhow::Result<Parts> {
    let config = &options.config;
    let models = &config.models;
    let visible = options.env.only(|name| models.allows(name));
    let prices = PriceTable::load(fapo_llm::DEFAULT_PRICES, models.prices.as_deref())
        .context("the prices of models.prices_file cannot be used")?;
    let others = Others::new(config, &trace)?;
    let mut ports = store.ports.clone();
    others.replace_traces(&mut ports);
    #[cfg(feature = "planted")]
    crate::wiring::planted::plant(&mut ports);
    let node = &config.node;
    let base = Base::new(BaseParts {
        ports,
        queue: Arc::clone(&queue.queue),
        clock,
        lookup: Arc::new(move |name: &str| visible.get(name).map(str::to_owned)),
        addresses: models.addresses.clone(),
        prices,
        limits: Arc::clone(&queue.limits),
        trace: Arc::clone(&trace),
        sandbox: sandbox::sandbox(&options.env, &node.dir)?,
        python: sandbox::interpreter(&options.env, &node.dir),
        env: options.env.clone(),
    });
    let orchestrating = orchestrator::config(config, &options.owner);
    Ok(Parts {
        executor: node.has(Role::Executor).then(|| base.executor()),
        scoring: node.has(Role::Scoring).then(|| base.scoring()),
        orchestrator: node
            .has(Role::Orchestrator)
            .then(|| base.orchestrator(orchestrating)),
        depth: Arc::clone(&queue.depth),
        owner: options.owner.clone(),
        trace,
        others,
        config: config.clone(),
        base,
    })
}

/// The gRPC port, without services.
fn grpc_server(config: &ServerConfig, parts: &Parts) -> ServerBuilder {
    let clock = Arc::clone(&parts.base.clock);
    let authenticator = match config.auth {
        AuthMode::Off => Authenticator::off(clock),
        AuthMode::Tokens => Authenticator::by_token(parts.base.ports.tokens.clone(), clock),
    };
    let limits = config.limits;
    let options = fapo_rpc::ServerOptions {
        message_bytes: limits.body,
        calls: limits.concurrency,
        call_timeout: limits.upload_timeout(),
        grace: config.node.grace * LAST_CALLS / 100,
        tls: config.tls.as_ref().map(|tls| ServerTls {
            certificate: tls.cert_file.clone(),
            key: tls.key_file.clone(),
        }),
        ..fapo_rpc::ServerOptions::default()
    };
    ServerBuilder::new(options, authenticator, Arc::clone(&parts.trace))
}

/// How the HTTP port is served.
fn http_options(config: &ServerConfig) -> anyhow::Result<ServeOptions> {
    let tls = config.tls.as_ref().map(|tls| {
        TlsServer::load(&TlsFiles {
            cert: tls.cert_file.clone(),
            key: tls.key_file.clone(),
        })
    });
    Ok(ServeOptions {
        tls: tls.transpose()?,
        grace: config.node.grace * REQUESTS / 100,
        ..ServeOptions::default()
    })
}

/// What operates the process asks of it.
fn ops(parts: &Parts, telemetry: &Guard, stopping: CancellationToken) -> Ops {
    let probes: Vec<(String, Arc<dyn Probe>)> = vec![
        (
            "store".to_owned(),
            Arc::new(StoreProbe(Arc::clone(&parts.base.ports.tasks))),
        ),
        (
            "queue".to_owned(),
            Arc::new(QueueProbe(Arc::clone(&parts.depth))),
        ),
    ];
    let page = telemetry.metrics();
    let metrics = move || page.as_ref().map(MetricsPage::render).unwrap_or_default();
    Ops::new(probes, Arc::new(metrics), stopping)
}

impl Listeners {
    async fn bind(config: &ServerConfig) -> anyhow::Result<Self> {
        Ok(Self {
            grpc: bind("listen.grpc", config.listen.grpc).await?,
            http: bind("listen.http", config.listen.http).await?,
        })
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|source| {
        Advice::because(
            format!("cannot listen on {address}"),
            format!("another process may have the port: choose another with {key}; port 0 picks a free one"),
            source,
        )
        .into()
    })
}

/// Says where the process listens: one line, for people or as JSON.
fn announce(
    config: &ServerConfig,
    (grpc, http): (SocketAddr, SocketAddr),
    output: &Output,
) -> anyhow::Result<()> {
    let roles: Vec<&str> = config.node.roles.iter().map(|role| role.as_str()).collect();
    if output.json {
        return Ok(output.json_line(&serde_json::json!({
            "grpc": grpc.to_string(),
            "http": http.to_string(),
            "roles": roles,
            "pid": std::process::id(),
        }))?);
    }
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    output.note(&format!(
        "serving {}: HTTP on {scheme}://{http}, gRPC on {scheme}://{grpc} (Ctrl-C stops it)",
        roles.join(", ")
    ));
    Ok(())
}

impl Started {
    /// Runs until a signal comes or a part fails, then ends everything in order.
    async fn until_stopped(
        mut self,
        config: &ServerConfig,
        mut signals: Signals,
        output: &Output,
    ) -> anyhow::Result<()> {
        let failure = tokio::select! {
            failure = self.tasks.failure() => Some(failure),
            _ = signals.next() => None,
        };
        match &failure {
            Some(failure) => {
                let error = format!("{:#}", failure.error);
                tracing::error!(task = failure.task, error, "the process cannot go on");
            }
            None => {
                output.note("stopping: what is under way is handed back (again to end at once)");
            }
        }
        self.stopping.cancel();
        self.health.set_serving(false).await;
        let grace = config.node.grace;
        tokio::select! {
            () = self.end(grace) => {}
            _ = signals.next() => std::process::exit(i32::from(Exit::Interrupted.code())),
        }
        match failure {
            None => Ok(()),
            Some(failure) => Err(failure.error.context(format!("{} ended", failure.task))),
        }
    }

    async fn end(self, grace: Duration) {
        self.tasks.shut_down(grace).await;
        // what the roles kept: folders of sessions
        drop(self.process);
        if let Err(error) = self.queue.leave().await {
            tracing::debug!(
                error = format!("{error:#}"),
                "this process's names stay in the queue for a while"
            );
        }
        self.store.close().await;
    }
}

/// Whether the store answers.
struct StoreProbe(Arc<dyn Tasks>);

#[async_trait]
impl Probe for StoreProbe {
    async fn probe(&self) -> Result<(), ProbeFailure> {
        match self.0.due_tasks(1).await {
            Ok(_) => Ok(()),
            Err(error) => Err(ProbeFailure {
                message: chain(&error),
            }),
        }
    }
}

/// Whether the queue answers.
struct QueueProbe(Arc<dyn QueueDepth>);

#[async_trait]
impl Probe for QueueProbe {
    async fn probe(&self) -> Result<(), ProbeFailure> {
        match self.0.depth().await {
            Ok(_) => Ok(()),
            Err(error) => Err(ProbeFailure {
                message: chain(&error),
            }),
        }
    }
}
