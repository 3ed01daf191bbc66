//! The connections: one that writes, a few that read.
//!
//! sqlx's own pool is not used: it asks each connection for a sign of life before handing it out (a thread switch per
//! query) and has timers, which a test with paused time would fire while SQLite is at work.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::SqlSafeStr;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};

use crate::error::Failure;
use crate::sqlite::sql::{Args, args};

/// Called after each commit with its running number, from 1.
pub(crate) type OnCommit = Arc<dyn Fn(u64) + Send + Sync>;

/// The connection that writes. Whoever holds it writes alone in this process; `BEGIN IMMEDIATE` keeps out the others.
///
/// Transactions are begun and ended by plain statements and not through sqlx, which keeps a count of its own: on a full
/// disk SQLite rolls back by itself, the count is then wrong for good, and every later transaction is refused.
pub(crate) struct WriteConnection {
    state: tokio::sync::Mutex<WriteState>,
    commits: AtomicU64,
    on_commit: Option<OnCommit>,
}

struct WriteState {
    connection: SqliteConnection,
    /// A transaction may be open: it is set before one is begun and unset after it has ended.
    open: bool,
}

impl WriteState {
    /// Ends a transaction that was left open. Fails where SQLite has ended it already, which is as good.
    async fn roll_back(&mut self) {
        if self.open {
            if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.connection).await {
                tracing::debug!(%error, "nothing to roll back");
            }
            self.open = false;
        }
    }
}

impl WriteConnection {
    pub(crate) fn new(connection: SqliteConnection, on_commit: Option<OnCommit>) -> Self {
        Self {
            state: tokio::sync::Mutex::new(WriteState {
                connection,
                open: false,
            }),
            commits: AtomicU64::new(0),
            on_commit,
        }
    }

    /// Waits for the connection; callers get it in the order in which they asked.
    pub(crate) async fn lock(self: &Arc<Self>) -> WriteGuard<'_> {
        WriteGuard {
            state: self.state.lock().await,
            owner: self,
        }
    }
}

/// The writing connection, held.
pub(crate) struct WriteGuard<'a> {
    state: MutexGuard<'a, WriteState>,
    owner: &'a Arc<WriteConnection>,
}

impl WriteGuard<'_> {
    /// Runs a statement that must not be in a transaction.
    pub(crate) async fn outside_transaction(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.state.roll_back().await;
        args()
            .query(sql)
            .fetch_all(&mut self.state.connection)
            .await?;
        Ok(())
    }

    /// Begins a transaction. Dropping it (an error, a cancelled caller) rolls everything back.
    pub(crate) async fn begin(&mut self) -> Result<WriteTx<'_>, Failure> {
        Ok(self.begin_with("BEGIN IMMEDIATE", args()).await?.0)
    }

    /// Begins a transaction and reads in it, in one go. sqlx hands each call over to SQLite's thread and back, and on
    /// the hot path these switches would cost more than the work. `sql` starts with `BEGIN IMMEDIATE;`.
    pub(crate) async fn begin_with(
        &mut self,
        sql: &'static str,
        mut arguments: Args,
    ) -> Result<(WriteTx<'_>, Vec<SqliteRow>), Failure> {
        self.state.roll_back().await;
        self.state.open = true;
        let tx = WriteTx {
            state: &mut self.state,
            owner: self.owner,
        };
        let rows = arguments
            .query(sql)
            .fetch_all(&mut tx.state.connection)
            .await?;
        Ok((tx, rows))
    }
}

/// A write transaction.
pub(crate) struct WriteTx<'a> {
    state: &'a mut WriteState,
    owner: &'a Arc<WriteConnection>,
}

impl WriteTx<'_> {
    /// Makes everything durable.
    pub(crate) async fn commit(self) -> Result<(), Failure> {
        self.commit_with("COMMIT", args()).await
    }

    /// Writes and commits in one go. `sql` ends with `COMMIT`; should a statement before it fail, nothing is committed.
    pub(crate) async fn commit_with(
        self,
        sql: impl SqlSafeStr,
        mut arguments: Args,
    ) -> Result<(), Failure> {
        arguments
            .query(sql)
            .execute(&mut self.state.connection)
            .await?;
        self.state.open = false;
        let number = self.owner.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(on_commit) = &self.owner.on_commit {
            on_commit(number);
        }
        Ok(())
    }

    /// Undoes everything.
    pub(crate) async fn roll_back(self) {
        self.state.roll_back().await;
    }
}

impl Drop for WriteTx<'_> {
    fn drop(&mut self) {
        // the next transaction would do it, but other processes wait for the file now
        if self.state.open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let owner = Arc::clone(self.owner);
            runtime.spawn(async move { owner.lock().await.state.roll_back().await });
        }
    }
}

impl Deref for WriteTx<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.state.connection
    }
}

impl DerefMut for WriteTx<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.state.connection
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

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
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
