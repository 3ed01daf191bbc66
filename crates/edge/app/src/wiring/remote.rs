//! Who stands behind the jobs of a server.

use std::sync::Arc;

use fapo_domain::model::access::Credential;
use fapo_domain::ports::optimizer::Optimizer;

use crate::cli::advice::Advice;

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
