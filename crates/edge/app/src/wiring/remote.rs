//! Clients of the roles that are in other processes.

use std::sync::Arc;

use anyhow::bail;
use fapo_domain::model::access::Credential;
use fapo_domain::ports::optimizer::Optimizer;
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::trace_context::NoTraces;
use fapo_rpc::{ClientOptions, Connection, RemoteOptimizer};

use crate::config::server::ServerConfig;

/// The roles that are elsewhere. Connections come about with the first call, and again after they were lost.
#[derive(Debug)]
pub struct Remote {}

impl Remote {
    /// As the configuration names them.
    ///
    /// # Errors
    /// When an address or the certificates cannot be used.
    pub fn new(_config: &ServerConfig) -> anyhow::Result<Self> {
        Ok(Self {})
    }

    /// The executor.
    ///
    /// # Errors
    /// When it is not named.
    pub fn executor(&self) -> anyhow::Result<Arc<dyn PipelineRunner>> {
        bail!("services.executor names no address")
    }

    /// Scoring.
    ///
    /// # Errors
    /// When it is not named.
    pub fn scorer(&self) -> anyhow::Result<Arc<dyn RunScorer>> {
        bail!("services.scoring names no address")
    }
}

/// The jobs of the server at `server`, asked for under `credential`. Nothing is asked yet.
///
/// # Errors
/// Where the address or the token cannot be used.
pub fn optimizer(
    server: &str,
    credential: Option<Credential>,
) -> anyhow::Result<Arc<dyn Optimizer>> {
    let options = ClientOptions {
        credential,
        ..ClientOptions::new(server)
    };
    fapo_llm::install_crypto();
    let connection = Connection::new(options, Arc::new(NoTraces))?;
    Ok(Arc::new(RemoteOptimizer::new(connection)))
}
