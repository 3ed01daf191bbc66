//! Clients of what is in other processes: the roles of a cluster, and the server that a command asks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fapo_domain::model::access::Credential;
use fapo_domain::ports::optimizer::Optimizer;
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::trace_context::{NoTraces, TraceContext};
use fapo_domain::ports::traces::{TraceQueries, Traces};
use fapo_rpc::{
    ClientOptions, Connection, RemoteExecutor, RemoteOptimizer, RemoteScorer, RemoteTraces,
};

use crate::config::server::{Role, ServerConfig};
use crate::ports::Ports;

/// The roles that are elsewhere. Connections come about with the first call, and again after they were lost.
#[derive(Debug, Default)]
pub struct Others {
    executor: Option<Connection>,
    scoring: Option<Connection>,
    traces: Option<Connection>,
    optimizer: Option<Connection>,
}

impl Others {
    /// As the configuration names them. A role that is in this process is not asked elsewhere.
    ///
    /// # Errors
    /// When an address, a token or the certificates cannot be used.
    pub fn new(config: &ServerConfig, trace: &Arc<dyn TraceContext>) -> anyhow::Result<Self> {
        let services = &config.services;
        let connect = |role: Role, url: &Option<String>| match url {
            Some(url) if !config.node.has(role) => connect(config, url, trace).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            executor: connect(Role::Executor, &services.executor)?,
            scoring: connect(Role::Scoring, &services.scoring)?,
            traces: connect(Role::Traces, &services.traces)?,
            optimizer: connect(Role::Orchestrator, &services.optimizer)?,
        })
    }

    /// The executor.
    ///
    /// # Errors
    /// When it is not named.
    pub fn executor(&self) -> anyhow::Result<Arc<dyn PipelineRunner>> {
        let connection = named("services.executor", &self.executor)?;
        Ok(Arc::new(RemoteExecutor::new(connection)))
    }

    /// Scoring.
    ///
    /// # Errors
    /// When it is not named.
    pub fn scorer(&self) -> anyhow::Result<Arc<dyn RunScorer>> {
        let connection = named("services.scoring", &self.scoring)?;
        Ok(Arc::new(RemoteScorer::new(connection)))
    }

    /// The orchestrator, as clients see it.
    ///
    /// # Errors
    /// When it is not named.
    pub fn optimizer(&self) -> anyhow::Result<Arc<dyn Optimizer>> {
        let connection = named("services.optimizer", &self.optimizer)?;
        Ok(Arc::new(RemoteOptimizer::new(connection)))
    }

    /// Puts the role traces in the place of the store's own tables, where it is named.
    pub fn replace_traces(&self, ports: &mut Ports) {
        if let Some(connection) = &self.traces {
            let traces = Arc::new(RemoteTraces::new(connection.clone()));
            ports.traces = Arc::clone(&traces) as Arc<dyn Traces>;
            ports.questions = traces as Arc<dyn TraceQueries>;
        }
    }
}

fn named(key: &str, connection: &Option<Connection>) -> anyhow::Result<Connection> {
    match connection {
        Some(connection) => Ok(connection.clone()),
        // the configuration was validated
        None => bail!("{key} names no address"),
    }
}

fn connect(
    config: &ServerConfig,
    url: &str,
    trace: &Arc<dyn TraceContext>,
) -> anyhow::Result<Connection> {
    let services = &config.services;
    let mut options = ClientOptions::new(url);
    options.credential = services
        .token
        .as_ref()
        .map(|token| Credential::new(token.expose()));
    options.ca.clone_from(&services.ca);
    options.deadline = services.timeout;
    options.message_bytes = config.limits.body;
    Connection::new(options, Arc::clone(trace)).with_context(|| format!("cannot use {url}"))
}

/// The jobs of the server at `server`, asked for under `credential`.
///
/// # Errors
/// Where the address cannot be used.
pub fn optimizer(
    server: &str,
    credential: Option<Credential>,
) -> anyhow::Result<Arc<dyn Optimizer>> {
    fapo_llm::install_crypto();
    let mut options = ClientOptions::new(server);
    options.credential = credential;
    let connection = Connection::new(options, Arc::new(NoTraces))?;
    Ok(Arc::new(RemoteOptimizer::new(connection)))
}

/// Asks the server at `url` whether it serves.
///
/// # Errors
/// When it does not answer in time, or says that it does not.
pub async fn check_health(url: &str, timeout: Duration) -> anyhow::Result<()> {
    fapo_rpc::check_health(url, timeout).await?;
    Ok(())
}
