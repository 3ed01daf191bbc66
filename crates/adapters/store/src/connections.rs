//! The connections: one that writes, a few that read.
//!
//! sqlx's own pool is not used: it asks each connection for a sign of life before handing it out (a thread switch per
//! query) and has timers, which a test with paused time would fire while SQLite is at work.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite, Transaction};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Failure;

/// Called after each commit with its running number, from 1.
pub(crate) type OnCommit = Arc<dyn Fn(u64) + Send + Sync>;

/// The connection that writes. Whoever holds it writes alone in this process; `BEGIN IMMEDIATE` keeps out the others.
pub(crate) struct WriteConnection {
    connection: tokio::sync::Mutex<SqliteConnection>,
    commits: AtomicU64,
    on_commit: Option<OnCommit>,
}

impl WriteConnection {
    pub(crate) fn new(connection: SqliteConnection, on_commit: Option<OnCommit>) -> Self {
        Self {
            connection: tokio::sync::Mutex::new(connection),
            commits: AtomicU64::new(0),
            on_commit,
        }
    }

    /// Waits for the connection; callers get it in the order in which they asked.
    pub(crate) async fn lock(&self) -> WriteGuard<'_> {
        WriteGuard {
            connection: self.connection.lock().await,
            owner: self,
        }
    }
}

/// The writing connection, held.
pub(crate) struct WriteGuard<'a> {
    connection: tokio::sync::MutexGuard<'a, SqliteConnection>,
    owner: &'a WriteConnection,
}

impl WriteGuard<'_> {
    /// Begins a transaction. Dropping it (an error, a cancelled caller) rolls everything back.
    pub(crate) async fn begin(&mut self) -> Result<WriteTx<'_>, Failure> {
        Ok(WriteTx {
            tx: self.connection.begin_with("BEGIN IMMEDIATE").await?,
            owner: self.owner,
        })
    }
}

/// A write transaction.
pub(crate) struct WriteTx<'a> {
    tx: Transaction<'a, Sqlite>,
    owner: &'a WriteConnection,
}

impl WriteTx<'_> {
    /// Makes everything durable.
    pub(crate) async fn commit(self) -> Result<(), Failure> {
        self.tx.commit().await?;
        let number = self.owner.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(on_commit) = &self.owner.on_commit {
            on_commit(number);
        }
        Ok(())
    }
}

impl Deref for WriteTx<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.tx
    }
}

impl DerefMut for WriteTx<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }
}

/// The connections that read.
pub(crate) struct ReadPool {
    free: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
}

impl ReadPool {
    pub(crate) fn new(connections: Vec<SqliteConnection>) -> Self {
        Self {
            permits: Semaphore::new(connections.len()),
            free: Mutex::new(connections),
        }
    }

    /// Waits for a connection; dropping it gives it back.
    pub(crate) async fn get(&self) -> ReadConnection<'_> {
        let permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let connection = self.free().pop();
        ReadConnection {
            connection,
            pool: self,
            _permit: permit,
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reading connection, on loan.
pub(crate) struct ReadConnection<'a> {
    connection: Option<SqliteConnection>,
    pool: &'a ReadPool,
    // declared last, so that the connection is back before the next one is let in
    _permit: SemaphorePermit<'a>,
}

impl Deref for ReadConnection<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.connection
            .as_ref()
            .expect("there are as many connections as permits")
    }
}

impl DerefMut for ReadConnection<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection
            .as_mut()
            .expect("there are as many connections as permits")
    }
}

impl Drop for ReadConnection<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.free().push(connection);
        }
    }
}
