//! Which implementation stands behind which port. Local or remote, SQLite or Postgres, memory or Redis: that is decided in these
//! files, and known nowhere else.
//!
//! * [`services`] builds every service over ports, whatever is behind them.
//! * [`embedded`] puts all of them into one process over one project's folder.
//! * [`store`] and [`queue`] open what a server's configuration names.

pub mod agents;
mod callable;
mod embedded;
mod folder;
pub mod queue;
pub mod remote;
pub mod sandbox;
pub mod services;
pub mod store;
mod wait;

use std::path::Path;

use anyhow::Context as _;
use fapo_llm::PriceTable;

pub use callable::Callable;
pub use embedded::{Embedded, EmbeddedOptions, store_folder};

/// The price table: `prices.toml` in the project folder goes before what ships with fapo.
pub fn prices(dir: &Path) -> anyhow::Result<PriceTable> {
    let path = dir.join("prices.toml");
    let own = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    PriceTable::load(fapo_llm::DEFAULT_PRICES, own.as_deref())
        .with_context(|| format!("cannot use the prices in {}", path.display()))
}
