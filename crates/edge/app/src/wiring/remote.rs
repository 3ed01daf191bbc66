//! Clients of the roles that are in other processes.

use std::sync::Arc;

use anyhow::bail;
use fapo_domain::model::access::Credential;
use fapo_domain::ports::optimizer::Optimizer;
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};

use crate::cli::advice::Advice;
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

/// The jobs of the server at `server`, asked for under `credential`.
///
/// # Errors
/// Where the address cannot be used.
pub fn optimizer(
    server: &str,
    _credential: Option<Credential>,
) -> anyhow::Result<Arc<dyn Optimizer>> {
    Err(Advice::new(
        format!("{server} cannot be asked: this build of fapo has no client for servers"),
        "use a build that has one",
    )
    .into())
}
