//! A Postgres database of its own for each test.
//!
//! The server is the one that `FAPO_TEST_POSTGRES` names (a URL of a login that may create databases), by default
//! `postgres://postgres@127.0.0.1:5432/postgres`. A database is a copy of one template, which is migrated once for all tests that
//! run at the same time; both are dropped with their last user. What processes left that were killed is dropped after an hour.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result};
use fapo_domain::clock::{Clock as _, SystemClock};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Row as _};
use tokio::sync::Mutex;

const DEFAULT: &str = "postgres://postgres@127.0.0.1:5432/postgres";
const PREFIX: &str = "fapo_test_";
/// In seconds; no test runs this long.
const ABANDONED: i64 = 3600;

/// A database that is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    /// Kept as long as a copy of it is in use.
    _template: Option<Arc<TestDatabase>>,
}

impl TestDatabase {
    /// A database without a schema.
    pub async fn empty() -> Result<Self> {
        Self::create(None).await
    }

    /// A copy of a database that `migrate` was called with, by its URL. `migrate` closes its connections before it returns: a
    /// database that is in use cannot be copied. All tests of a process pass the same `migrate`.
    pub async fn migrated<F>(migrate: impl FnOnce(String) -> F) -> Result<Self>
    where
        F: Future<Output = Result<()>>,
    {
        static TEMPLATE: Mutex<Weak<TestDatabase>> = Mutex::const_new(Weak::new());
        let mut slot = TEMPLATE.lock().await;
        let template = match slot.upgrade() {
            Some(template) => template,
            None => {
                let template = Arc::new(Self::empty().await?);
                migrate(template.url.clone())
                    .await
                    .context("the template of the test databases cannot be migrated")?;
                *slot = Arc::downgrade(&template);
                template
            }
        };
        drop(slot);
        Self::create(Some(template)).await
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection past the store, to look at rows and to break them.
    pub async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnectOptions::from_str(&self.url)?.connect().await?)
    }

    async fn create(template: Option<Arc<Self>>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut server = server().await?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            drop_abandoned(&mut server).await?;
        }
        let name = format!("{PREFIX}{}_{}_{number}", now(), std::process::id());
        let from = template
            .as_ref()
            .map_or("template0", |template| &template.name);
        execute(
            &mut server,
            format!("CREATE DATABASE {name} TEMPLATE {from}"),
        )
        .await?;
        server.close().await?;
        let url = PgConnectOptions::from_str(&address())?
            .database(&name)
            .to_url_lossy()
            .to_string();
        Ok(Self {
            name,
            url,
            _template: template,
        })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // a runtime of its own: whoever drops this may be within one, and must wait, so that no test leaves anything
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut server = server().await?;
                drop_database(&mut server, &name).await?;
                anyhow::Ok(server.close().await?)
            })
        });
        // where it cannot be dropped, a later run does it
        let _ = dropper.join();
    }
}

fn address() -> String {
    std::env::var_os("FAPO_TEST_POSTGRES")
        .and_then(|named| named.into_string().ok())
        .filter(|named| !named.is_empty())
        .unwrap_or_else(|| DEFAULT.to_owned())
}

/// A connection to the server's own database.
async fn server() -> Result<PgConnection> {
    let address = address();
    PgConnectOptions::from_str(&address)
        .context("FAPO_TEST_POSTGRES is no URL of a database")?
        .disable_statement_logging()
        .connect()
        .await
        .with_context(|| {
            format!(
                "these tests need a Postgres server, and none answers at {address}: install one (Debian: apt-get install \
                 postgresql), or name another in FAPO_TEST_POSTGRES, with a login that may create databases"
            )
        })
}

async fn execute(server: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(server).await?;
    Ok(())
}

async fn drop_database(server: &mut PgConnection, name: &str) -> Result<()> {
    execute(
        server,
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
    )
    .await
}

/// Drops what killed processes left. Its age stands in its name.
async fn drop_abandoned(server: &mut PgConnection) -> Result<()> {
    let rows = sqlx::query("SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)")
        .bind(PREFIX)
        .fetch_all(&mut *server)
        .await?;
    for row in rows {
        let name: String = row.try_get(0)?;
        let made = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('_').next()?.parse::<i64>().ok());
        if made.is_some_and(|made| made + ABANDONED < now()) {
            // another process may be at it, too
            let _ = drop_database(server, &name).await;
        }
    }
    Ok(())
}

/// Seconds since 1970, by the machine's clock: what a killed process left must be told from what runs now.
fn now() -> i64 {
    SystemClock.now().0 / 1_000
}
