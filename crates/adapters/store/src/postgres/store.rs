//! Connecting, and running transactions.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fapo_domain::clock::{Clock, Timestamp};
use fapo_domain::ports::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Postgres, Transaction};
use tokio::sync::mpsc;

use crate::error::{Failure, is_broken_off, is_connection_lost};
use crate::group::Op;
use crate::postgres::cache::Known;
use crate::postgres::options::PgOptions;
use crate::postgres::reader::Lookup;
use crate::postgres::{datasets, migrate, reader, writer};

/// How often a transaction is tried that Postgres breaks off, or whose connection is lost.
pub(crate) const TRIES: u32 = 5;
/// The wait before the second try after a lost connection; it doubles with each.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// Joined calls waiting for the writer or the reader; more callers wait for a place.
const WAITING: usize = 4096;
/// A connection that was not used for so long is asked whether it still stands before it is used: after a restart of the
/// server none does.
const IDLE: Duration = Duration::from_secs(1);

/// Begins a transaction that reads one state with all its statements.
pub(crate) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// The Postgres store. Clones share it; its connections are closed when the last one is dropped.
#[derive(Clone)]
pub struct PgStore {
    inner: Arc<Inner>,
}

struct Inner {
    place: Arc<str>,
    clock: Arc<dyn Clock>,
    pool: PgPool,
    commits: Arc<Commits>,
    ops: mpsc::Sender<Op>,
    lookups: mpsc::Sender<Lookup>,
    known: Arc<Known>,
}

/// Counts commits, for crash tests.
struct Commits {
    count: AtomicU64,
    hook: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

impl Commits {
    fn happened(&self) {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(hook) = &self.hook {
            hook(number);
        }
    }
}

impl std::fmt::Debug for PgStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgStore")
            .field("place", &self.inner.place)
            .finish_non_exhaustive()
    }
}

impl PgStore {
    /// Connects to the database, brings its schema up to date (unless the options say not to), also when several processes start
    /// at once, and drops imports that were abandoned. Must be called within a tokio runtime.
    ///
    /// Errors: `Unavailable` where the server cannot be reached or has no connection left; `Unwritable` where the login is
    /// refused, the database is not there, or nothing may be written to it; `Corrupt` where the database is another program's,
    /// or was written by a newer version.
    pub async fn connect(options: &PgOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let place: Arc<str> = options.url.to_string().into();
        Self::connect_at(options, Arc::clone(&place), clock)
            .await
            .map_err(|failure| failure.explain("connect to Postgres", &place))
    }

    async fn connect_at(
        options: &PgOptions,
        place: Arc<str>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let pool = pool(options).await?;
        let mut connection = pool.acquire().await?;
        if options.migrate {
            migrate::migrate(&mut connection, &place, clock.now()).await?;
        } else {
            migrate::require_current(&mut connection, &place).await?;
        }
        drop(connection);
        let commits = Arc::new(Commits {
            count: AtomicU64::new(0),
            hook: options.on_commit.clone(),
        });
        let (ops, op_receiver) = mpsc::channel(WAITING);
        let (lookups, lookup_receiver) = mpsc::channel(WAITING);
        let store = Self {
            inner: Arc::new(Inner {
                place: Arc::clone(&place),
                clock,
                pool: pool.clone(),
                commits,
                ops,
                lookups,
                known: Arc::default(),
            }),
        };
        writer::forget_old(&store).await?;
        datasets::drop_abandoned(&store).await?;
        // both end when the last clone of the store drops the sending half
        tokio::spawn(writer::Group::new(store.for_tasks()).run(op_receiver));
        tokio::spawn(reader::run(pool, place, lookup_receiver));
        Ok(store)
    }

    /// Closes all connections, once the calls under way have given theirs back. Calls after this are `Unavailable`.
    pub async fn disconnect(&self) {
        self.inner.pool.close().await;
    }

    /// The same store for the joining tasks: without the sending halves, which would keep them from ending.
    fn for_tasks(&self) -> Self {
        Self {
            inner: Arc::new(Inner {
                place: Arc::clone(&self.inner.place),
                clock: Arc::clone(&self.inner.clock),
                pool: self.inner.pool.clone(),
                commits: Arc::clone(&self.inner.commits),
                ops: mpsc::channel(1).0,
                lookups: mpsc::channel(1).0,
                known: Arc::clone(&self.inner.known),
            }),
        }
    }

    /// Runs `work`, and tells its failure as what `operation` names. `work` is a whole transaction (or only reads): where
    /// Postgres breaks it off, or the connection is lost before its commit, it is run again from its beginning. Where the answer
    /// to its commit is lost, that is told as `Unavailable`: nobody knows whether it happened.
    pub(crate) async fn run<T, F>(
        &self,
        operation: &'static str,
        work: impl Fn() -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let mut tries = 1;
        let mut pause = PAUSE;
        loop {
            let failure = match work().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let lost = is_connection_lost(&failure);
            if tries == TRIES || !(lost || is_broken_off(&failure)) {
                return Err(failure.explain(operation, &self.inner.place));
            }
            if lost {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            tries += 1;
            tracing::debug!(operation, tries, "a transaction is tried again");
        }
    }

    /// Does what needs no second try: what is prepared before a transaction begins.
    pub(crate) async fn once<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, StoreError> {
        work.await
            .map_err(|failure| failure.explain(operation, &self.inner.place))
    }

    /// Begins a transaction; dropped without [`PgTx::commit`] it is rolled back.
    pub(crate) async fn begin(&self) -> Result<PgTx, Failure> {
        Ok(PgTx {
            tx: self.inner.pool.begin().await?,
            commits: Arc::clone(&self.inner.commits),
        })
    }

    /// Connections for single statements that only read: `.fetch_all(store.pool())`.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// A connection for several statements that only read.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<Postgres>, Failure> {
        Ok(self.inner.pool.acquire().await?)
    }

    pub(crate) fn place(&self) -> &str {
        &self.inner.place
    }

    pub(crate) fn known(&self) -> &Known {
        &self.inner.known
    }

    pub(crate) async fn submit(&self, op: Op) -> Result<(), StoreError> {
        self.inner.ops.send(op).await.map_err(|_| gone())
    }

    pub(crate) async fn look_up(&self, lookup: Lookup) -> Result<(), StoreError> {
        self.inner.lookups.send(lookup).await.map_err(|_| gone())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

/// The joining task is gone: its runtime is shutting down.
pub(crate) fn gone() -> StoreError {
    StoreError::Unavailable {
        operation: "reach the store's own task",
        source: "the runtime is shutting down".into(),
    }
}

/// An open transaction. It is a connection to whoever runs statements in it.
pub(crate) struct PgTx {
    tx: Transaction<'static, Postgres>,
    commits: Arc<Commits>,
}

impl PgTx {
    /// Commits. Durable when it returns; where the answer is lost, the error is the port's own, so that nobody tries again.
    pub(crate) async fn commit(self) -> Result<(), Failure> {
        self.try_commit().await.map_err(|error| {
            let failure = Failure::from(error);
            if is_connection_lost(&failure) {
                failure.explain("commit", "Postgres").into()
            } else {
                failure
            }
        })
    }

    /// Commits, for whoever finds out what became of a commit whose answer is lost.
    pub(crate) async fn try_commit(self) -> Result<(), sqlx::Error> {
        self.tx.commit().await?;
        self.commits.happened();
        Ok(())
    }
}

impl Deref for PgTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl DerefMut for PgTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}

/// Connects once, so that a wrong address is told at once and not by the first call.
async fn pool(options: &PgOptions) -> Result<PgPool, Failure> {
    let milliseconds = options.statement_timeout.as_millis();
    // READ COMMITTED and no other: the reasoning about locks rests on it. Plans of short statements are not worth compiling.
    let session: Arc<str> = format!(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET statement_timeout = {milliseconds}; \
         SET idle_in_transaction_session_timeout = {milliseconds}; \
         SET client_min_messages = warning; SET jit = off"
    )
    .into();
    let pool = PgPoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            let session = Arc::clone(&session);
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(session))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .connect_with(options.url.connect_options())
        .await?;
    Ok(pool)
}
