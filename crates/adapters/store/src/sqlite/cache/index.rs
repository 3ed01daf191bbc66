//! The index of the step cache, which lags behind its rows.
//!
//! A row is appended for every paid call, in the commit that charges it; its key goes into the index later, together with a
//! thousand others and in the order of the index, so that each page of it is written once for all of them. Whoever looks a
//! key up reads the index and, where that has not everything, the rows after its end, in one statement and so in one
//! snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnection;

use crate::error::Failure;
use crate::sqlite::connections::WriteGuard;
use crate::sqlite::sql::{Columns, args};

/// So many rows wait for the index.
const WAITING: u64 = 1024;

/// How many rows this process knows to be after the index's end.
#[derive(Debug)]
pub(crate) struct Tail {
    rows: AtomicU64,
    most: u64,
}

impl Tail {
    /// Counts what an earlier process left.
    pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Self, Failure> {
        let row = args()
            .query(
                "SELECT max(0, coalesce((SELECT max(seq) FROM step_cache), 0) - (SELECT seq FROM step_index_end))",
            )
            .fetch_one(connection)
            .await?;
        Ok(Self {
            rows: AtomicU64::new(row.number(0)?),
            most: WAITING,
        })
    }

    /// Rows were appended.
    pub(crate) fn grow(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Puts what waits into the index, once it is enough. One transaction.
    pub(crate) async fn index(&self, guard: &mut WriteGuard<'_>) -> Result<(), Failure> {
        if self.rows.load(Ordering::Relaxed) < self.most {
            return Ok(());
        }
        let (tx, _) = guard.begin_with("BEGIN IMMEDIATE", args()).await?;
        tx.commit_with(
            "INSERT OR IGNORE INTO step_index (key, seq) SELECT key, seq FROM step_cache \
             WHERE seq > (SELECT seq FROM step_index_end) ORDER BY key, seq; \
             UPDATE step_index_end SET seq = (SELECT max(seq) FROM step_cache); COMMIT",
            args(),
        )
        .await?;
        self.rows.store(0, Ordering::Relaxed);
        Ok(())
    }
}

/// The query for up to so many keys: `?1` and on are the keys, the rest of them null; the last argument is how many there
/// are. Of two rows with one key the first counts. The rows after the index's end are read only where the index has not
/// everything.
pub(crate) fn select_statement(keys: usize) -> String {
    let list: Vec<String> = (1..=keys).map(|n| format!("?{n}")).collect();
    let (list, count) = (list.join(","), keys + 1);
    format!(
        "SELECT step_index.key, body FROM step_index JOIN step_cache USING (seq) WHERE step_index.key IN ({list}) \
         UNION ALL \
         SELECT key, body FROM step_cache WHERE seq > (SELECT seq FROM step_index_end) AND key IN ({list}) \
         AND (SELECT count(*) FROM step_index WHERE key IN ({list})) < ?{count}"
    )
}
