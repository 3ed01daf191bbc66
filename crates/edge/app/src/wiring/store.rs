//! The store that a process runs on, as one value of ports.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fapo_domain::clock::Clock;
use fapo_domain::ports::tasks::Tasks as _;
use fapo_store::{PgOptions, PgStore, SqliteStore, StoreOptions};

use super::wait::until_up;
use crate::cli::advice::Advice;
use crate::config::server::{self, ServerConfig};
use crate::ports::Ports;

/// How long connections may take to be given back.
const CLOSE: Duration = Duration::from_secs(2);

/// Opens the SQLite store in a file. `abort_after_commits` ends the process, as by a kill, right after so many durable commits.
/// `sole_writer` says that no other process writes while it is open.
///
/// # Errors
/// When the file cannot be used.
pub async fn open_sqlite(
    file: &Path,
    clock: &Arc<dyn Clock>,
    abort_after_commits: Option<u64>,
    sole_writer: bool,
) -> anyhow::Result<Arc<SqliteStore>> {
    let options = StoreOptions {
        sole_writer,
        on_commit: abort_after_commits.map(abort_after),
    };
    let store = SqliteStore::open(file, Arc::clone(clock), options)
        .await
        .with_context(|| format!("cannot use {}", file.display()))?;
    Ok(Arc::new(store))
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To do a server's work: what only one process may have is taken.
    Serve,
    /// For a command beside the processes that serve.
    Command,
}

/// The store of a server, opened.
pub struct OpenStore {
    /// Its ports.
    pub ports: Ports,
    /// What it is, as a person knows it; no password.
    pub place: String,
    kind: Kind,
}

/// What has to be closed.
enum Kind {
    Sqlite {
        store: Arc<SqliteStore>,
        _lock: Option<File>,
    },
    Postgres(PgStore),
}

impl OpenStore {
    /// Opens what the configuration names, waiting for a server that is not up yet.
    ///
    /// # Errors
    /// When it cannot be used, or another process has what only one may have.
    pub async fn open(
        config: &ServerConfig,
        clock: &Arc<dyn Clock>,
        abort_after_commits: Option<u64>,
        to: Use,
    ) -> anyhow::Result<Self> {
        match &config.store {
            server::Store::Sqlite { path } => {
                Self::sqlite(path, clock, abort_after_commits, to).await
            }
            server::Store::Postgres { .. } => {
                let options = postgres_options(config, abort_after_commits)?;
                let bound = config.node.start_timeout;
                let place = options.url.to_string();
                let connect = || PgStore::connect(&options, Arc::clone(clock));
                let store = until_up(&place, bound, connect).await?;
                Ok(Self {
                    ports: Ports::over(Arc::new(store.clone())),
                    place,
                    kind: Kind::Postgres(store),
                })
            }
        }
    }

    async fn sqlite(
        path: &Path,
        clock: &Arc<dyn Clock>,
        abort_after_commits: Option<u64>,
        to: Use,
    ) -> anyhow::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut lock = None;
        if to == Use::Serve {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            lock = Some(super::folder::lock(folder).await?);
        } else if !path.is_file() {
            // a command would make an empty store in whatever folder it was called
            return Err(Advice::new(
                format!("there is no store at {}", path.display()),
                "`fapo serve` makes one; --config or --set store.path=FILE names another",
            )
            .into());
        }
        let sole = lock.is_some();
        let store = open_sqlite(path, clock, abort_after_commits, sole).await?;
        if sole {
            // the lock is ours: whoever held a lease is dead
            store.release_leases().await?;
        }
        Ok(Self {
            ports: Ports::over(Arc::clone(&store)),
            place: path.display().to_string(),
            kind: Kind::Sqlite { store, _lock: lock },
        })
    }

    /// Ends it in good order. Nothing depends on it: what was committed stays, however a process ends.
    pub async fn close(self) {
        match self.kind {
            Kind::Sqlite { store, _lock } => {
                // so that a copy of the database file is a copy of the store
                if let Err(error) = store.fold_log().await {
                    tracing::debug!(%error, "the write-ahead log stays");
                }
            }
            Kind::Postgres(store) => {
                let closed = tokio::time::timeout(CLOSE, store.disconnect());
                if closed.await.is_err() {
                    tracing::debug!("connections to Postgres are dropped as they are");
                }
            }
        }
    }
}

impl std::fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenStore")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// How the configuration has Postgres used.
fn postgres_options(
    config: &ServerConfig,
    abort_after_commits: Option<u64>,
) -> anyhow::Result<PgOptions> {
    let server::Store::Postgres {
        url,
        pool,
        acquire_timeout,
        statement_timeout,
    } = &config.store
    else {
        anyhow::bail!("the configuration names no Postgres");
    };
    let mut options = PgOptions::new(url.expose().parse()?);
    options.connections = *pool;
    options.acquire_timeout = *acquire_timeout;
    options.statement_timeout = *statement_timeout;
    options.migrate = config.migrate;
    options.on_commit = abort_after_commits.map(abort_after);
    Ok(options)
}

/// Ends the process, as by a kill, right after a commit.
fn abort_after(last: u64) -> Arc<dyn Fn(u64) + Send + Sync> {
    Arc::new(move |commit| {
        if commit == last {
            std::process::abort();
        }
    })
}
