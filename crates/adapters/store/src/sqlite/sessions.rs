//! Sessions of coding agents, and their transcripts as blobs.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::JobId;
use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::sessions::Sessions;
use sqlx::sqlite::SqliteRow;

use crate::codec::{pack_json, unpack_json};
use crate::error::Failure;
use crate::sqlite::blobs;
use crate::sqlite::sql::{Columns, args};
use crate::sqlite::store::SqliteStore;

fn record(row: &SqliteRow) -> Result<SessionRecord, Failure> {
    unpack_json(row.column(0)?)
}

#[async_trait]
impl Sessions for SqliteStore {
    async fn record_session(&self, mut record: SessionRecord) -> Result<(), StoreError> {
        self.run("record a session", async {
            let text = std::mem::take(&mut record.transcript_text);
            let (hashes, transcript) = blobs::prepare(vec![Arc::from(text)]).await?;
            record.transcript = hashes.first().copied();
            let packed = pack_json(&record)?;
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            blobs::insert(&mut tx, transcript, self.now()).await?;
            args()
                .hash(&record.id.0)
                .job(record.job)
                .int(record.started_at.0)
                .bytes(packed)
                .query(
                    "INSERT OR IGNORE INTO sessions (id, job, started_at, body) VALUES (?, ?, ?, ?)",
                )
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        })
        .await
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.run("read a session", async {
            let row = args()
                .hash(&id.0)
                .query("SELECT body FROM sessions WHERE id = ?")
                .fetch_optional(&mut *self.reader().await)
                .await?;
            row.as_ref().map(record).transpose()
        })
        .await
    }

    async fn sessions(&self, job: JobId) -> Result<Vec<SessionRecord>, StoreError> {
        self.run("list a job's sessions", async {
            let rows = args()
                .job(job)
                .query("SELECT body FROM sessions WHERE job = ? ORDER BY started_at, id")
                .fetch_all(&mut *self.reader().await)
                .await?;
            rows.iter().map(record).collect()
        })
        .await
    }

    async fn find_sessions(
        &self,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        self.run("look for sessions", async {
            // ids are hex digits; anything else finds nothing, and no pattern
            if !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
                return Ok(Vec::new());
            }
            let rows = args()
                .text(format!("{}%", prefix.to_ascii_uppercase()))
                .number(u64::from(limit))
                .query(
                    "SELECT body FROM sessions WHERE hex(id) LIKE ? ORDER BY started_at DESC, id LIMIT ?",
                )
                .fetch_all(&mut *self.reader().await)
                .await?;
            rows.iter().map(record).collect()
        })
        .await
    }
}
