//! Opening the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::clock::{Clock, Timestamp};
use fapo_domain::ports::StoreError;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::group::Op;
use crate::sqlite::cache::{Known, Tail};
use crate::sqlite::connections::{ReadConnection, ReadPool, WriteConnection, WriteGuard};
use crate::sqlite::datasets::Imports;
use crate::sqlite::sql::{Columns, args};
use crate::sqlite::{migrate, reader, writer};

/// Connections that read.
const READERS: usize = 4;
/// How long a statement waits for another process's transaction. Ours take milliseconds; a large import's commit takes
/// the longest, a few seconds per million cases.
const BUSY: Duration = Duration::from_secs(15);
/// Joined calls waiting for the writer or the reader; more callers wait for a place.
const WAITING: usize = 4096;

/// What may be chosen when a store is opened.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// Called after each durable commit with its running number, from 1, before anybody hears of its success. Crash
    /// tests end the process here.
    pub on_commit: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// Whether no other process writes step results while this store is open: keys under fingerprints that this process
    /// was the first to store are then known to be absent without a look-up. Where it is wrongly said, a reply that another
    /// process stored in the meantime may be paid for again.
    pub sole_writer: bool,
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions")
            .field("on_commit", &self.on_commit.is_some())
            .field("sole_writer", &self.sole_writer)
            .finish()
    }
}

/// The SQLite store. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    place: Arc<str>,
    clock: Arc<dyn Clock>,
    writer: Arc<WriteConnection>,
    readers: Arc<ReadPool>,
    ops: mpsc::Sender<Op>,
    lookups: mpsc::Sender<reader::Lookup>,
    known: Arc<Known>,
    imports: Imports,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("place", &self.inner.place)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store at `path`, making the file and its folder if need be, bringing its schema up to date, and
    /// dropping imports that a dead process left. Must be called within a tokio runtime.
    ///
    /// Errors: `Unwritable` where the file or folder cannot be written or the disk is full; `Corrupt` where the file is
    /// damaged, of another program, or written by a newer version; `Unavailable` where another process holds it.
    pub async fn open(
        path: &Path,
        clock: Arc<dyn Clock>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let place: Arc<str> = path.display().to_string().into();
        Self::open_at(path, Arc::clone(&place), clock, options)
            .await
            .map_err(|failure| failure.explain("open the store", &place))
    }

    async fn open_at(
        path: &Path,
        place: Arc<str>,
        clock: Arc<dyn Clock>,
        options: StoreOptions,
    ) -> Result<Self, Failure> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            tokio::fs::create_dir_all(folder).await?;
        }
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .statement_cache_capacity(512)
            // fewer, larger checkpoints: each costs two syncs, and writes a page once however often it changed
            .pragma("wal_autocheckpoint", "12000")
            // give the log's space back after a large import
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging();

        let mut connection = connect.connect().await?;
        migrate::check(&mut connection, &place).await?;
        use_write_ahead_log(&mut connection).await?;
        migrate::migrate(&mut connection, &place).await?;
        let tail = Tail::read(&mut connection).await?;
        let writer = Arc::new(WriteConnection::new(connection, options.on_commit));

        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(connect.clone().pragma("query_only", "1").connect().await?);
        }
        let readers = Arc::new(ReadPool::new(readers));

        let imports = Imports::new(lock_path(path));
        imports.drop_abandoned(&writer).await?;

        let (ops, op_receiver) = mpsc::channel(WAITING);
        let (lookups, lookup_receiver) = mpsc::channel(WAITING);
        let known = Arc::new(Known::new(options.sole_writer));
        // both end when the last clone of the store drops the sending half
        tokio::spawn(
            writer::Group {
                writer: Arc::clone(&writer),
                known: Arc::clone(&known),
                tail,
                clock: Arc::clone(&clock),
                place: Arc::clone(&place),
            }
            .run(op_receiver),
        );
        tokio::spawn(reader::run(
            Arc::clone(&readers),
            Arc::clone(&place),
            lookup_receiver,
        ));
        Ok(Self {
            inner: Arc::new(Inner {
                place,
                clock,
                writer,
                readers,
                ops,
                lookups,
                known,
                imports,
            }),
        })
    }

    /// Moves what the write-ahead log holds into the database file, which then is the whole store. Nothing depends on it:
    /// what another process's reading keeps from being moved stays in the log, and the next opening finds it there.
    ///
    /// Errors: `Unwritable` where the disk is full; the log still holds everything.
    pub async fn fold_log(&self) -> Result<(), StoreError> {
        self.run("fold the write-ahead log", async {
            let mut writer = self.writer().await;
            writer
                .outside_transaction("PRAGMA wal_checkpoint(TRUNCATE)")
                .await
        })
        .await
    }

    /// Runs `work`, and tells its failure as what `operation` names.
    pub(crate) async fn run<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, StoreError> {
        work.await
            .map_err(|failure| failure.explain(operation, &self.inner.place))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) async fn writer(&self) -> WriteGuard<'_> {
        self.inner.writer.lock().await
    }

    pub(crate) fn write_connection(&self) -> &Arc<WriteConnection> {
        &self.inner.writer
    }

    pub(crate) async fn reader(&self) -> ReadConnection<'_> {
        self.inner.readers.get().await
    }

    pub(crate) fn known(&self) -> &Known {
        &self.inner.known
    }

    pub(crate) fn imports(&self) -> &Imports {
        &self.inner.imports
    }

    pub(crate) async fn submit(&self, op: Op) -> Result<(), StoreError> {
        self.inner.ops.send(op).await.map_err(|_| gone())
    }

    pub(crate) async fn look_up(&self, lookup: reader::Lookup) -> Result<(), StoreError> {
        self.inner.lookups.send(lookup).await.map_err(|_| gone())
    }
}

/// The joining task is gone: its runtime is shutting down.
pub(crate) fn gone() -> StoreError {
    StoreError::Unavailable {
        operation: "reach the store's own task",
        source: "the runtime is shutting down".into(),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-imports.lock");
    name.into()
}

/// Switches to WAL. The mode stays with the file. SQLite does not wait for other openers here, so this does.
async fn use_write_ahead_log(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let mode = args()
            .query("PRAGMA journal_mode = WAL")
            .fetch_one(&mut *connection)
            .await;
        match mode {
            Ok(row) => {
                let mode: String = row.column(0)?;
                if mode == "wal" {
                    return Ok(());
                }
                return Err(Failure::invalid(format!(
                    "the folder's file system does not support SQLite's write-ahead log (it offers {mode:?})"
                )));
            }
            Err(error) if tries < 100 && crate::error::is_busy(&error) => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
