//! Sessions of coding agents, and their transcripts as blobs.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::JobId;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::sessions::Sessions;
use sqlx::postgres::PgRow;

use crate::blob::prepare;
use crate::codec::{pack_json, unpack_json};
use crate::error::Failure;
use crate::postgres::blobs;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;

fn record(row: &PgRow) -> Result<SessionRecord, Failure> {
    unpack_json(row.column(0)?)
}

/// The first and the last id that begin with these hex digits, so that they are looked up in the ids' own order; `None` where
/// no id does.
fn ids_from(prefix: &str) -> Option<[ContentHash; 2]> {
    let digits = 2 * size_of::<[u8; 32]>();
    if prefix.len() > digits || !prefix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let filled = |fill: &str| {
        let mut bytes = [0; 32];
        let text = format!("{prefix}{}", fill.repeat(digits - prefix.len()));
        hex::decode_to_slice(text, &mut bytes)
            .ok()
            .map(|()| ContentHash::from_bytes(bytes))
    };
    Some([filled("0")?, filled("f")?])
}

#[async_trait]
impl Sessions for PgStore {
    async fn record_session(&self, mut record: SessionRecord) -> Result<(), StoreError> {
        let text = std::mem::take(&mut record.transcript_text);
        let (hashes, transcript) = self
            .once("record a session", prepare(vec![Arc::from(text)]))
            .await?;
        record.transcript = hashes.first().copied();
        self.run("record a session", || async {
            let packed = pack_json(&record)?;
            let mut tx = self.begin().await?;
            blobs::insert(&mut tx, &transcript, self.now()).await?;
            args()
                .hash(&record.id.0)
                .job(record.job)
                .int(record.started_at.0)
                .bytes(packed)
                .query(
                    "INSERT INTO sessions (id, job, started_at, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        })
        .await
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.run("read a session", || async {
            let row = args()
                .hash(&id.0)
                .query("SELECT body FROM sessions WHERE id = $1")
                .fetch_optional(self.pool())
                .await?;
            row.as_ref().map(record).transpose()
        })
        .await
    }

    async fn sessions(&self, job: JobId) -> Result<Vec<SessionRecord>, StoreError> {
        self.run("list a job's sessions", || async {
            let rows = args()
                .job(job)
                .query("SELECT body FROM sessions WHERE job = $1 ORDER BY started_at, id")
                .fetch_all(self.pool())
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
        let Some([first, last]) = ids_from(prefix) else {
            return Ok(Vec::new());
        };
        self.run("look for sessions", || async {
            let rows = args()
                .hash(&first)
                .hash(&last)
                .number(u64::from(limit))
                .query(
                    "SELECT body FROM sessions WHERE id BETWEEN $1 AND $2 ORDER BY started_at DESC, id LIMIT $3",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter().map(record).collect()
        })
        .await
    }
}
